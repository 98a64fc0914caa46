//! Seeds that once showed something, and a few of each scenario: quick, and always the same.

use siltstone_simulation::fault::{Plan, Scenario};
use siltstone_simulation::scenario;
use siltstone_simulation::trace::Trace;

fn run(seed: u64, scenario: Scenario) {
    let outcome = scenario::run(&Plan::draw(seed, scenario), Trace::none());
    if let Some(violation) = outcome.violation {
        panic!("{violation}\nsiltstone-sim run --seed {seed} --scenario {scenario}");
    }
    assert!(outcome.counters.operations > 0, "seed {seed} did nothing");
}

fn sweep(scenario: Scenario, kept: &[u64]) {
    (1..=12).chain(kept.iter().copied()).for_each(|seed| run(seed, scenario));
}

#[test]
fn a_node_that_crashes_anywhere_loses_nothing_it_acknowledged() {
    sweep(Scenario::CrashRecovery, &[43, 70]);
}

#[test]
fn after_a_failed_sync_nothing_is_acknowledged_and_nothing_is_lost() {
    sweep(Scenario::FailedFsync, &[1450, 2829, 102_422]);
}

#[test]
fn damage_at_rest_is_reported_and_a_repair_lifts_the_quarantine() {
    sweep(Scenario::DiskRot, &[70, 111, 192, 452, 100_284, 201_071, 2_157_099_126]);
}

#[test]
fn a_full_volume_refuses_what_needs_more_and_the_node_goes_on_when_space_is_back() {
    sweep(Scenario::FullDisk, &[56, 100_175]);
}

#[test]
fn a_crash_between_the_halves_of_a_buckets_creation_or_deletion_is_mended() {
    sweep(Scenario::BucketProtocol, &[]);
}

#[test]
fn a_disk_that_lies_is_found_out_and_costs_nothing_of_which_there_is_another_copy() {
    // Copies of what was read (14, 29, 48), batches in another segment's place (30, 38, 46), packs with a bad sector.
    sweep(Scenario::LyingDisk, &[14, 29, 30, 38, 46, 48, 67, 85, 112]);
}

#[test]
fn requests_that_are_late_or_nobodys_any_more_happen_whole_or_not_at_all() {
    sweep(Scenario::SlowNetwork, &[]);
}

#[test]
fn a_seed_gives_the_same_trace_each_time() {
    for seed in 1..=4 {
        let trace = || {
            let plan = Plan::draw(seed, Scenario::of_seed(seed));
            scenario::run(&plan, Trace::hashed()).trace.finish().unwrap()
        };
        let (events, hash) = trace();
        assert!(events > 50, "seed {seed} has {events} events");
        assert_eq!(trace(), (events, hash));
    }
}

#[test]
fn different_seeds_give_different_traces() {
    let hash = |seed| {
        let plan = Plan::draw(seed, Scenario::CrashRecovery);
        scenario::run(&plan, Trace::hashed()).trace.finish().unwrap().1
    };
    assert_ne!(hash(1), hash(2));
}
