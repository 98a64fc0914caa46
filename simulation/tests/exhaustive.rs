//! The exhaustive mode in its small form, and that its run is worth going through.

use siltstone_simulation::exhaustive::{Report, Request, run, walk};
use siltstone_simulation::oracle::Answer;
use siltstone_simulation::sometimes::State;
use std::collections::BTreeMap;
use std::ops::{ControlFlow, RangeInclusive};

fn tried(operations: u64, points: RangeInclusive<u64>, jobs: usize) -> Report {
    let request = Request { operations, points, survivors: None, jobs };
    let report = run(&request, &|| {}, &|_, _| {});
    if let Some(failure) = &report.failure {
        panic!("operations {operations}: {failure:?}");
    }
    report
}

#[test]
fn every_crash_of_the_first_operations_keeps_every_promise() {
    let report = tried(20, 1..=u64::MAX, 2);
    let (totals, counters) = (report.totals, report.counters);
    assert!(totals.points > 150 && totals.states > 2000, "{totals:?}");
    assert_eq!(counters.crashes, totals.states);
    for state in [State::UnknownHappened, State::UnknownDidNot, State::ProjectionsBehind, State::Swept] {
        assert!(counters.times(state) > 0, "no {}", state.text());
    }
}

#[test]
fn the_report_is_the_same_however_many_threads() {
    let (one, three) = (tried(8, 20..=70, 1), tried(8, 20..=70, 3));
    assert_eq!(one.totals, three.totals);
    assert_eq!(one.counters, three.counters);
}

#[test]
fn the_canonical_run_does_all_that_clients_do_and_ends_segments_and_packs() {
    let (mut done, mut counters) = (BTreeMap::<&str, u64>::new(), None);
    let mut visit = |world: &siltstone_simulation::world::World| {
        done.clear();
        for (_, entry) in world.history.entries() {
            let acknowledged =
                !matches!(entry.answer, Answer::Unknown | Answer::Rejected(_) | Answer::Refused(_));
            *done.entry(entry.intent.name()).or_default() += u64::from(acknowledged);
        }
        counters = Some(world.counters.clone());
        ControlFlow::Continue(())
    };
    walk(200, &mut visit).unwrap();
    let counters = counters.unwrap();
    assert_eq!(counters.operations, 200);
    assert_eq!(done.len(), 16, "{done:?}");
    assert!(done.values().all(|times| *times > 0), "{done:?}");
    for (state, least) in [
        (State::SegmentRoll, 3),
        (State::PackRoll, 2),
        (State::MarkerMade, 1),
        (State::VersionDeleted, 1),
        (State::BytesShared, 1),
        (State::VersionsExpired, 1),
    ] {
        assert!(counters.times(state) >= least, "{}: {}", state.text(), counters.times(state));
    }
}
