use super::*;
use crate::objects;
use crate::rows::SCHEMA;
use crate::store::Store;
use crate::store::mem::MemStore;
use crate::testing::*;
use proptest::prelude::*;
use siltstone_log::event::EventKind;

fn follower(store: &dyn Store) -> Follower {
    Follower::new(store, LOG, vec![], Pace::Live).unwrap()
}

fn records(log: &TestLog, from: Position) -> Vec<Record> {
    log.records.iter().filter(|record| record.place.position >= from).cloned().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn redelivery_from_any_older_position_changes_nothing(steps in steps(40), from in 0u64..50) {
        let log = log_of(&steps);
        let store = MemStore::new();
        log.follow(&store, 3).unwrap();
        let before = (digests(&store), Space::ALL.map(|space| dump(&store, space)));
        let mut again = follower(&store);
        drive(&mut again, &store, FollowerInput::Records(records(&log, Position(from)))).unwrap();
        prop_assert_eq!((digests(&store), Space::ALL.map(|space| dump(&store, space))), before);
        prop_assert_eq!(again.status(), &Status::Following);
    }

    #[test]
    fn a_crash_between_any_two_commits_leaves_each_space_whole_and_is_made_good(
        steps in steps(40), input in 1usize..8, crash in 0usize..20,
    ) {
        let log = log_of(&steps);
        let (store, whole) = (MemStore::new(), MemStore::new());
        log.follow(&whole, 5).unwrap();
        let (mut first, mut commits) = (follower(&store), 0);
        'running: for chunk in log.records.chunks(input) {
            let mut effects = Vec::new();
            first.handle(&store, FollowerInput::Records(chunk.to_vec()), &mut effects);
            for effect in effects {
                if let FollowerEffect::Commit(batch) = effect {
                    if commits == crash {
                        break 'running;
                    }
                    commits += 1;
                    store.commit(batch).unwrap();
                }
            }
        }
        digests(&store);
        let mut second = follower(&store);
        let rest = records(&log, second.resume_from());
        drive(&mut second, &store, FollowerInput::Records(rest)).unwrap();
        prop_assert_eq!(digests(&store), digests(&whole));
        prop_assert_eq!(second.applied(), Position(log.records.len() as u64));
    }

    #[test]
    fn a_space_that_is_bounded_ends_where_the_other_store_has_got(steps in steps(40), cut in 0usize..40) {
        let log = log_of(&steps);
        let (behind, bounded) = (MemStore::new(), MemStore::new());
        let part = TestLog { records: log.records[..cut.min(log.records.len())].to_vec(), ..TestLog::default() };
        part.follow(&behind, 4).unwrap();
        let mut rebuild = crate::rebuild::Rebuild::new(&bounded, LOG, vec![], Pace::REBUILD).unwrap();
        rebuild.no_further_than(&behind).unwrap();
        rebuild.push(log.records.clone()).unwrap();
        rebuild.finish().unwrap();
        prop_assert_eq!(digests(&bounded), digests(&behind));
    }
}

fn three_puts() -> (TestLog, StreamId) {
    let (mut log, stream) = (TestLog::default(), bucket_stream(0));
    for key in ["a", "b", "c"] {
        log.append(stream, put(key, 1));
    }
    (log, stream)
}

#[test]
fn what_came_before_a_record_that_cannot_be_applied_is_seen_and_nothing_after_it() {
    let (mut log, stream) = three_puts();
    log.records[1].kind = EventKind { event_type: 0xeeee, schema: 1 };
    let store = MemStore::new();
    let mut follower = follower(&store);
    let mut effects = Vec::new();
    follower.handle(&store, FollowerInput::Records(log.records.clone()), &mut effects);
    let [FollowerEffect::Commit(batch), FollowerEffect::Applied(Position(1)), FollowerEffect::Stuck(stuck)] =
        effects.as_slice()
    else {
        panic!("{effects:?}")
    };
    store.commit(batch.clone()).unwrap();
    assert_eq!((stuck.position, stuck.seq, stuck.event.as_str()), (Position(2), Seq(2), "type 0xeeee"));
    assert_eq!(stuck.error, FoldError::Decode(DecodeError::UnknownType(0xeeee)));
    assert_eq!(follower.status(), &Status::Stuck(stuck.clone()));
    let there = |name| objects::current(&store, stream, &key(name)).unwrap().is_some();
    assert_eq!(["a", "b", "c"].map(there), [true, false, false]);
    let mut more = Vec::new();
    follower.handle(&store, FollowerInput::Records(log.records), &mut more);
    follower.handle(&store, FollowerInput::Flush, &mut more);
    assert_eq!(more, []);
}

#[test]
fn an_ignorable_record_of_an_unknown_type_is_passed_over_and_counted() {
    let (mut log, stream) = three_puts();
    log.records[1].kind = EventKind { event_type: 0xeeee, schema: 1 };
    log.records[1].ignorable = true;
    let store = MemStore::new();
    log.follow(&store, 9).unwrap();
    let there = |name| objects::current(&store, stream, &key(name)).unwrap().is_some();
    assert_eq!(["a", "b", "c"].map(there), [true, false, true]);
    let cursor: Vec<_> = cursors(&store, Space::State).map(Result::unwrap).collect();
    assert_eq!(cursor, [(stream, log.heads[&stream])]);
}

#[test]
fn a_missing_record_stops_the_follower_unless_it_was_given_up() {
    let (mut log, stream) = three_puts();
    log.records.remove(1);
    let stuck = log.follow(&MemStore::new(), 1).unwrap_err();
    assert_eq!(stuck.error, FoldError::Gap { stream, expected: Seq(2), found: Seq(3) });
    assert_eq!(stuck.event, "ObjectPut");

    for (loss, accepted) in [((2, 2), true), ((1, 2), false), ((2, 3), false), ((4, 9), false)] {
        let store = MemStore::new();
        let losses = vec![(Position(loss.0), Position(loss.1))];
        let mut follower = Follower::new(&store, LOG, losses, Pace::Live).unwrap();
        let result = drive(&mut follower, &store, FollowerInput::Records(log.records.clone()));
        assert_eq!(result.is_ok(), accepted, "{loss:?}");
    }
}

#[test]
fn rows_of_another_history_are_noticed_at_the_first_record_of_the_stream() {
    let (mut log, stream) = three_puts();
    let mut other = TestLog::default();
    for key in ["x", "y", "z"] {
        other.append(stream, put(key, 1));
    }
    let store = MemStore::new();
    other.follow(&store, 9).unwrap();
    log.append(stream, put("d", 1));
    let stuck = log.follow(&store, 9).unwrap_err();
    assert_eq!(stuck.error, FoldError::Forked { stream, seq: Seq(4) });
    assert_eq!(stuck.position, Position(4));
}

#[test]
fn a_failed_commit_stops_the_follower_for_good() {
    let (log, _) = three_puts();
    let store = MemStore::new();
    let mut follower = follower(&store);
    let mut effects = Vec::new();
    follower.handle(&store, FollowerInput::Records(log.records), &mut effects);
    effects.clear();
    let error = StoreError::Io("no space".into());
    follower.handle(&store, FollowerInput::CommitFailed(error.clone()), &mut effects);
    let [FollowerEffect::Stuck(stuck)] = effects.as_slice() else { panic!("{effects:?}") };
    assert_eq!((stuck.event.as_str(), &stuck.error), ("commit", &FoldError::Store(error)));
    assert_eq!(meta(&store, Space::State).unwrap().schema, "", "nothing was committed");
}

#[test]
fn a_quiet_space_learns_the_position_in_time_and_at_a_stop() {
    let (mut log, stream) = three_puts();
    while log.records.len() < usize::try_from(QUIET_LAG).unwrap() + 3_000 {
        log.append(
            StreamId::ACCESS,
            Event::BucketSealed(siltstone_log::event::BucketSealed {
                name: siltstone_log::name::BucketName::parse("abc").unwrap(),
            }),
        );
    }
    let store = MemStore::new();
    let mut follower = follower(&store);
    for chunk in log.records.chunks(1_000) {
        drive(&mut follower, &store, FollowerInput::Records(chunk.to_vec())).unwrap();
    }
    let applied = |space| meta(&store, space).unwrap().applied.get();
    assert!(Space::ALL.into_iter().all(|space| applied(space) >= QUIET_LAG), "both were told");
    drive(&mut follower, &store, FollowerInput::Flush).unwrap();
    assert_eq!(Space::ALL.map(applied), [log.records.len() as u64; 2]);
    assert_eq!(meta(&store, Space::System).unwrap().schema, SCHEMA);
    assert_eq!(Follower::new(&store, LOG, vec![], Pace::Live).unwrap().resume_from(), follower.resume_from());
    assert_eq!(cursors(&store, Space::State).count(), 1, "{stream} alone");
}
