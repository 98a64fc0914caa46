use super::*;
use crate::engine::command::{BeginBucket, Conditions, CreateBucket, DeleteObject, DeleteObjects, PutObject};
use crate::engine::content::{BlobGuard, SharedContent, StagedBlob, StagedContent};
use crate::engine::tests::decide_object::{delete, deletion, put};
use crate::engine::tests::{BUCKET, OWNER, World, key, name};
use proptest::prelude::*;
use siltstone_log::id::Hash;

const DAY: u64 = 24 * 3_600_000;

fn now(wall: u64, monotonic_millis: u64) -> Now {
    Now { wall_millis: wall, monotonic_nanos: monotonic_millis * 1_000_000 }
}

/// Bytes of a small object, and of one in packs.
const SMALL: u64 = 4;
const SIZE: u64 = 100;

/// A bucket that had so many objects, which were deleted in the order of their keys.
fn deleted(count: u64) -> World {
    let mut world = World::with_bucket();
    for number in 0..count {
        add(&mut world, BUCKET, &format!("{number:04}"), None);
    }
    world
}

/// Puts an object and deletes it. With a blob it has its bytes there, else in its record.
fn add(world: &mut World, stream: StreamId, object: &str, blob: Option<u8>) {
    store(world, stream, object, blob);
    world.run(DeleteObject { stream, ..delete(object) }).unwrap();
}

fn store(world: &mut World, stream: StreamId, object: &str, blob: Option<u8>) {
    let put = put(object, "etag");
    let content = blob.map_or(put.content, |id| {
        let (id, hash, guard) = (BlobId([id; 16]), Hash::default(), BlobGuard::none());
        StagedContent::Blob(StagedBlob { id, len: SIZE, hash, guard })
    });
    world.run(PutObject { stream, content, ..self::put(object, "etag") }).unwrap();
}

/// Copies an object onto itself, or onto another.
fn copy(world: &mut World, from: &str, to: &str) {
    let row = objects::current(&world.store, BUCKET, &key(from)).unwrap().unwrap();
    let content = SharedContent::of(&key(from), &row, 0..SIZE).unwrap();
    world.run(PutObject { content: StagedContent::Shared(content), ..put(to, "etag") }).unwrap();
}

fn keys(plan: &Plan) -> Vec<String> {
    let versions = plan.steps.iter().flat_map(|step| &step.action.versions);
    versions.map(|(key, _)| key.as_str().to_owned()).collect()
}

fn planned(world: &World, demand: Demand) -> Plan {
    planned_from(world, Begin::default(), demand)
}

fn planned_from(world: &World, begin: Begin, demand: Demand) -> Plan {
    plan(&world.store, begin, &demand, &|_| false).unwrap()
}

fn history(world: &World) -> u64 {
    buckets::get(&world.store, BUCKET).unwrap().unwrap().usage.history_bytes
}

#[test]
fn nothing_goes_while_nothing_asks_for_it_and_everything_once_the_window_has_passed_it() {
    let world = deleted(3);
    assert_eq!(planned(&world, Demand::default()), Plan::default());
    let all = Demand { end: u64::MAX, ..Demand::default() };
    assert_eq!(keys(&planned(&world, all)), ["0000", "0001", "0002"]);
    let refused = plan(&world.store, Begin::default(), &all, &|stream| stream == BUCKET).unwrap();
    assert_eq!(keys(&refused), [""; 0]);
}

#[test]
fn small_versions_do_not_go_for_space_and_do_not_keep_what_is_behind_them_from_going() {
    let mut world = deleted(5);
    let nearly_full = Demand { shortage: 1, ..Demand::default() };
    assert_eq!(keys(&planned(&world, nearly_full)), [""; 0]);
    add(&mut world, BUCKET, "first", Some(1));
    add(&mut world, BUCKET, "second", Some(2));
    assert_eq!(keys(&planned(&world, nearly_full)), ["first"]);
    assert_eq!(keys(&planned(&world, Demand { shortage: SIZE + 1, ..nearly_full })), ["first", "second"]);
}

#[test]
fn any_number_of_small_versions_is_passed_over_in_a_few_looks() {
    // More than one look takes, and passes.
    let mut world = World::with_bucket();
    let count = u32::try_from(MAX_SCANNED).unwrap() + 10;
    for number in (0..count).collect::<Vec<_>>().chunks(500) {
        let deletions = number.iter().map(|number| {
            store(&mut world, BUCKET, &number.to_string(), None);
            deletion(&number.to_string(), Conditions::default())
        });
        let deletions = deletions.collect();
        world.run(DeleteObjects { stream: BUCKET, deletions }).unwrap();
    }
    add(&mut world, BUCKET, "large", Some(1));
    let nearly_full = Demand { shortage: 1, ..Demand::default() };
    let first = planned(&world, nearly_full);
    assert_eq!((keys(&first), first.more), (vec![], true));
    let begin = Begin { space: first.space, ..Begin::default() };
    let second = planned_from(&world, begin, nearly_full);
    assert_eq!((keys(&second), second.more), (vec!["large".to_owned()], false));
}

#[test]
fn what_a_live_object_shares_is_no_history_and_does_not_end_that_of_others() {
    let mut world = World::with_bucket();
    store(&mut world, BUCKET, "k", Some(1));
    for _ in 0..5 {
        copy(&mut world, "k", "k");
    }
    add(&mut world, BUCKET, "other", Some(2));
    assert_eq!(history(&world), SIZE, "only what nothing else has");
    let nearly_full = Demand { shortage: 1, ..Demand::default() };
    assert_eq!(keys(&planned(&world, nearly_full)), ["other"], "the copies would give nothing back");
    world.run(delete("k")).unwrap();
    assert_eq!(history(&world), 2 * SIZE);
    let all = planned(&world, Demand { shortage: 2 * SIZE, ..nearly_full });
    let mut went = keys(&all);
    went.sort();
    assert_eq!(went, ["k", "k", "k", "k", "k", "k", "other"]);
    let bytes: u64 = all.steps.iter().flat_map(|step| step.counts.values()).map(|count| count.bytes).sum();
    assert_eq!(bytes, 2 * SIZE, "each blob is counted once");
}

#[test]
fn streams_that_take_no_records_are_passed_over_before_a_look_begins() {
    let other = StreamId([8; 16]);
    let mut world = World::with_bucket();
    let create = CreateBucket {
        name: name("other"),
        owner: OWNER,
        location: String::new(),
        stream: other,
        tags: Vec::new(),
    };
    world.run(create.clone()).unwrap();
    world.run(BeginBucket(create)).unwrap();
    for number in 0..4 {
        add(&mut world, other, &number.to_string(), None);
    }
    add(&mut world, BUCKET, "k", None);
    let refuses = |stream| stream == other;
    let Head::Found(at) = head(&world.store, Removal::default(), &refuses).unwrap() else { panic!("found") };
    assert_eq!(at.stream, BUCKET);
    let all = Demand { end: u64::MAX, ..Demand::default() };
    let begin = Begin { queue: at, ..Begin::default() };
    assert_eq!(keys(&plan(&world.store, begin, &all, &|_| false).unwrap()), ["k"], "it begins there");
    assert_eq!(head(&world.store, Removal::default(), &|_| true).unwrap(), Head::None);
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
    fn oldest_first_as_much_as_is_asked_for_and_no_more(excess in 0u64..40) {
        let world = deleted(5);
        let plan = planned(&world, Demand { excess: excess * SMALL / 8, ..Demand::default() });
        let wanted = (excess * SMALL / 8).div_ceil(SMALL).min(5);
        let expected: Vec<String> = (0..wanted).map(|number| format!("{number:04}")).collect();
        prop_assert_eq!(keys(&plan), expected);
    }

    #[test]
    fn what_a_plan_says_that_it_gives_back_is_what_leaves_the_history(
        steps in prop::collection::vec((0u8..4, 0u8..3, 0u8..3), 1..40), demand in 0u64..600, excess: bool,
    ) {
        let mut world = World::with_bucket();
        for (blob, (what, from, to)) in (1..).zip(steps) {
            let (from, to) = (from.to_string(), to.to_string());
            let there = objects::current(&world.store, BUCKET, &key(&from)).unwrap();
            match what {
                0 => store(&mut world, BUCKET, &from, Some(blob)),
                1 => store(&mut world, BUCKET, &from, None),
                2 => { world.run(delete(&from)).unwrap(); }
                _ if there.is_some_and(|row| matches!(row.content, Content::Slices(_))) => {
                    copy(&mut world, &from, &to);
                }
                _ => {}
            }
        }
        let (before, freed) = (history(&world), world.freed.len() as u64);
        let demand = if excess {
            Demand { excess: demand, ..Demand::default() }
        } else {
            Demand { shortage: demand, ..Demand::default() }
        };
        let plan = planned(&world, demand);
        let given: u64 = plan.steps.iter().flat_map(|step| step.counts.values()).map(|count| count.bytes).sum();
        for step in plan.steps {
            world.run(step.action).unwrap();
        }
        prop_assert_eq!(before - history(&world), given);
        let freed = (world.freed.len() as u64 - freed) * SIZE;
        if excess {
            prop_assert!(given >= demand.excess.min(before));
        } else {
            prop_assert!(given == freed && given < demand.shortage + SIZE);
            let rest = planned(&world, Demand { shortage: 1, ..Demand::default() });
            prop_assert!(given >= demand.shortage || keys(&rest).is_empty());
        }
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
