use super::*;
use crate::engine::tests::decide_object::{delete, put};
use crate::engine::tests::{BUCKET, World};
use proptest::prelude::*;

const DAY: u64 = 24 * 3_600_000;

fn now(wall: u64, monotonic_millis: u64) -> Now {
    Now { wall_millis: wall, monotonic_nanos: monotonic_millis * 1_000_000 }
}

const CONTENT: &str = "etag";
const SIZE: u64 = CONTENT.len() as u64;

/// A bucket that had so many objects, which were deleted in the order of their keys.
fn deleted(count: u64) -> World {
    let mut world = World::with_bucket();
    for number in 0..count {
        let key = format!("{number:04}");
        world.run(put(&key, CONTENT)).unwrap();
        world.run(delete(&key)).unwrap();
    }
    world
}

fn keys(plan: &Plan) -> Vec<String> {
    let versions = plan.steps.iter().flat_map(|step| &step.action.versions);
    versions.map(|(key, _)| key.as_str().to_owned()).collect()
}

fn planned(world: &World, demand: Demand) -> Plan {
    plan(&world.store, &demand, &BTreeSet::new()).unwrap()
}

#[test]
fn nothing_goes_while_nothing_asks_for_it_and_everything_once_the_window_has_passed_it() {
    let world = deleted(3);
    let quiet = Demand { inline_max: 1 << 20, ..Demand::default() };
    assert_eq!(planned(&world, quiet), Plan::default());
    let all = planned(&world, Demand { end: u64::MAX, ..quiet });
    assert_eq!(keys(&all), ["0000", "0001", "0002"]);
    let refused = BTreeSet::from([BUCKET]);
    assert_eq!(plan(&world.store, &Demand { end: u64::MAX, ..quiet }, &refused).unwrap(), Plan::default());
}

#[test]
fn small_versions_do_not_go_for_space_that_they_would_not_give_back() {
    let world = deleted(3);
    let nearly_full = Demand { shortage: 1, inline_max: 1 << 20, ..Demand::default() };
    assert_eq!(planned(&world, nearly_full), Plan::default());
}

#[test]
fn a_record_forgets_a_thousand_versions_at_most() {
    let world = deleted(1_001);
    let all = planned(&world, Demand { end: u64::MAX, ..Demand::default() });
    let batches: Vec<usize> = all.steps.iter().map(|step| step.action.versions.len()).collect();
    assert_eq!(batches, [1_000, 1]);
}

#[test]
fn the_limit_does_not_shrink_because_history_is_held() {
    let auto = HistoryConfig::default();
    assert_eq!(auto.limit(1_000, 300, 0), 150, "half of what is free");
    assert_eq!(auto.limit(1_000, 200, 100), 150);
    assert_eq!(auto.limit(1_000, 900, 0), 200, "a fifth of the volume");
    assert_eq!(HistoryConfig { max_bytes: Some(7), ..auto }.limit(1_000, 900, 0), 7);
}

#[test]
fn a_start_with_a_wrong_clock_ends_nothing_that_the_log_does_not_say_is_old() {
    let (window, wall) = (7 * DAY, 1_000 * DAY);
    let newest = Hlc::from_millis(wall);
    let right = WindowEnd::starting(window, now(wall, 0), newest, None);
    assert_eq!(right.millis, wall - window);
    let years_ahead = WindowEnd::starting(window, now(wall + 900 * DAY, 0), newest, None);
    assert_eq!(years_ahead, right);
    // The clock was wrong at the start before as well, so the newest record says so too.
    let oldest = Hlc::from_millis(wall - DAY);
    let newest = Hlc::from_millis(wall + 900 * DAY);
    let again = WindowEnd::starting(window, now(wall + 900 * DAY, 0), newest, Some(oldest));
    assert_eq!(again.millis, wall - DAY);
    assert_eq!(WindowEnd::starting(window, now(wall, 0), Hlc::default(), None), right, "an empty log");
}

#[test]
fn a_window_end_that_lies_behind_catches_up_and_follows_a_clock_that_goes_back() {
    let (window, wall) = (7 * DAY, 1_000 * DAY);
    let mut end = WindowEnd::starting(window, now(wall + 3 * DAY, 0), Hlc::from_millis(wall), None);
    end.advance(window, now(wall + 4 * DAY, DAY));
    assert_eq!(end.millis, wall + 2 * DAY - window);
    end.advance(window, now(wall + 6 * DAY, 3 * DAY));
    assert_eq!(end.millis, wall + 6 * DAY - window);
    end.advance(window, now(wall, 3 * DAY));
    assert_eq!(end.millis, wall - window);
}

proptest! {
    #[test]
    fn oldest_first_as_much_as_is_asked_for_and_no_more(excess in 0u64..40, shortage in 0u64..40) {
        let world = deleted(5);
        let demand =
            Demand { end: 0, excess: excess * SIZE / 8, shortage: shortage * SIZE / 8, inline_max: SIZE - 1 };
        let plan = planned(&world, demand);
        let wanted = demand.excess.max(demand.shortage).div_ceil(SIZE).min(5);
        let expected: Vec<String> = (0..wanted).map(|number| format!("{number:04}")).collect();
        prop_assert_eq!(keys(&plan), expected);
    }

    #[test]
    fn the_window_never_ends_faster_than_twice_the_time_that_passes(
        jumps in prop::collection::vec((0u64..1 << 42, 0u64..10 * DAY), 1..20),
    ) {
        let window = 7 * DAY;
        let start = now(1_000 * DAY, 0);
        let mut end = WindowEnd::starting(window, start, Hlc::from_millis(start.wall_millis), None);
        let (first, mut passed) = (end.millis, 0);
        for (wall, step) in jumps {
            passed += step;
            end.advance(window, now(wall, passed));
            prop_assert!(end.millis <= first + 2 * passed);
            prop_assert!(end.millis <= wall.saturating_sub(window));
        }
    }
}
