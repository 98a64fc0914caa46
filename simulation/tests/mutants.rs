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
