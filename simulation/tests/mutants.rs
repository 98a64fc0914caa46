//! Each planted bug is caught, and by the promise it breaks.
#![cfg(feature = "mutants")]

use siltstone_log::mutants::Mutant;
use siltstone_simulation::mutants::hunt;

/// More than the worst of them needs; the promise that is broken shows within so many seeds or the check is too weak.
const SEEDS: u64 = 500;

fn is_caught(mutant: Mutant) {
    let caught = hunt(mutant, SEEDS).unwrap_or_else(|| panic!("{mutant:?} survived {SEEDS} seeds"));
    println!("{mutant:?}: {} at seed {}", caught.violation, caught.plan.seed);
}

#[test]
fn m1_acknowledging_before_the_sync_is_caught() {
    is_caught(Mutant::AckBeforeSync);
}

#[test]
fn m2_a_segment_whose_name_was_not_synced_is_caught() {
    is_caught(Mutant::NoFolderSync);
}

#[test]
fn m3_going_on_after_a_failed_sync_is_caught() {
    is_caught(Mutant::RetrySync);
}

#[test]
fn m4_cutting_the_log_at_damage_is_caught() {
    is_caught(Mutant::TruncateAtDamage);
}

#[test]
fn m5_naming_a_blob_before_it_is_durable_is_caught() {
    is_caught(Mutant::SubmitBeforeBlobSync);
}

#[test]
fn m6_projections_that_forget_what_the_log_lost_are_caught() {
    is_caught(Mutant::ForgetLostEnd);
}

#[test]
fn m8_applying_a_record_again_is_caught() {
    is_caught(Mutant::ApplyAgain);
}

#[test]
fn m14_losing_a_key_between_two_pages_is_caught() {
    is_caught(Mutant::SkipAtPageEnd);
}

#[test]
fn m17_following_the_clock_back_is_caught() {
    is_caught(Mutant::FollowClockBack);
}

#[test]
fn m19_deleting_the_object_when_a_completion_fails_is_caught() {
    is_caught(Mutant::DeleteOnFailedComplete);
}

#[test]
fn m21_an_order_that_no_seed_determines_is_caught() {
    is_caught(Mutant::HashOrder);
}

#[test]
fn m23_giving_back_bytes_that_a_copy_shares_is_caught() {
    is_caught(Mutant::FreeShared);
}

#[test]
fn m24_ending_the_history_window_early_is_caught() {
    is_caught(Mutant::ExpireEarly);
}

#[test]
fn m25_forgetting_half_of_a_bucket_is_caught() {
    is_caught(Mutant::ForgetSecondHalf);
}

#[test]
fn m26_sweeping_what_waits_for_its_record_is_caught() {
    is_caught(Mutant::SweepStaged);
}

#[test]
fn m27_sweeping_what_only_history_has_is_caught() {
    is_caught(Mutant::SweepPast);
}

#[test]
fn m28_sweeping_nothing_is_caught() {
    is_caught(Mutant::SweepNothing);
}

#[test]
fn m29_leaving_what_is_left_of_blobs_given_back_by_half_is_caught() {
    is_caught(Mutant::KeepRemains);
}
