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
fn m7_committing_the_position_apart_from_its_rows_is_caught() {
    is_caught(Mutant::SeparatePosition);
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
fn m20_an_up_caster_that_drops_a_field_is_caught() {
    is_caught(Mutant::DropsField);
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

#[test]
fn m30_counting_what_was_admitted_for_ever_is_caught() {
    is_caught(Mutant::KeepPermit);
}

#[test]
fn m33_rows_that_forget_what_they_were_built_without_are_caught() {
    is_caught(Mutant::ForgetLacking);
}

/// What the exhaustive mode finds in its first operations where a bug is planted: the checker, and the last line.
fn enumerated(arguments: &[&str]) -> (Option<i32>, String, Vec<String>) {
    let output =
        std::process::Command::new(env!("CARGO_BIN_EXE_siltstone-sim")).args(arguments).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let violation = text.lines().find(|line| line.starts_with("VIOLATION ")).unwrap_or_default().to_owned();
    let last = text.lines().last().unwrap_or_default();
    let command =
        last.split(" # ").next().unwrap_or_default().split(' ').skip(1).map(str::to_owned).collect();
    (output.status.code(), violation, command)
}

#[test]
fn the_exhaustive_mode_catches_m1_and_m2_and_its_last_line_repeats_the_crash() {
    for mutant in ["M1", "M2"] {
        let (code, violation, command) =
            enumerated(&["exhaustive", "--operations", "20", "--mutant", mutant]);
        assert_eq!(code, Some(9), "{mutant} survived");
        assert!(command.iter().any(|word| word == "--survivors"), "{mutant}: {violation} {command:?}");
        let arguments: Vec<&str> = command.iter().map(String::as_str).collect();
        assert_eq!(enumerated(&arguments), (code, violation, command.clone()), "{mutant}");
    }
}
