use super::*;
use crate::store::mem::MemStore;
use crate::testing::*;
use crate::{Follower, FollowerInput, Pace};
use proptest::prelude::*;
use siltstone_log::id::Hash;

fn only(streams: &[StreamId]) -> Touched {
    Touched::Only(streams.iter().copied().collect())
}

fn at(first: u64, last: u64) -> AcceptedLoss {
    (Position(first), Position(last))
}

#[test]
fn streams_with_a_gap_or_an_end_before_their_head_lack_records_and_others_do_not() {
    let [gap, cut, whole, later] = [1, 2, 3, 4].map(|n| StreamId([n; 16]));
    let mut lacking = Lacking::new(std::iter::empty());
    let mut record = |stream, seq, at| lacking.record(stream, Seq(seq), Position(at));
    for (stream, at) in [(gap, 1), (cut, 2), (whole, 3), (StreamId::ACCESS, 4)] {
        record(stream, 1, at);
    }
    lacking.lost(Position(5), Position(6));
    let mut record = |stream, seq, at| lacking.record(stream, Seq(seq), Position(at));
    record(gap, 3, 7);
    record(whole, 2, 8);
    record(StreamId::ACCESS, 3, 9);
    lacking.lost(Position(10), Position(10));
    let heads = [(gap, 3), (cut, 2), (whole, 2), (later, 1), (StreamId::ACCESS, 4)];
    let heads = heads.map(|(stream, seq)| (stream, Head { seq: Seq(seq), hash: Hash::default() }));
    let found = lacking.finish(&heads.into());
    let found: Vec<_> = found.into_iter().map(|range| (range.first, range.last, range.touched)).collect();
    let expected = [
        (Position(5), Position(6), only(&[gap, cut, later])),
        (Position(10), Position(10), only(&[cut, later])),
    ];
    assert_eq!(found, expected);
}

/// Three records of one bucket, of which the middle one is passed over; given in turn, so that each is a commit.
fn built_past(pace: Pace) -> (MemStore, TestLog, StreamId, Vec<usize>) {
    let (mut log, stream) = (TestLog::default(), bucket_stream(0));
    for key in ["a", "b", "c"] {
        log.append(stream, put(key, 1));
    }
    let store = MemStore::new();
    let mut follower = Follower::new(&store, LOG, vec![], pace).unwrap();
    let passed = FollowerInput::PassOver(at(2, 2), [stream, StreamId::SYSTEM, StreamId::ACCESS].into());
    let records = |index: usize| FollowerInput::Records(vec![log.records[index].clone()]);
    let mut lacking = Vec::new();
    for input in [records(0), passed, records(2), FollowerInput::Flush] {
        drive(&mut follower, &store, input).unwrap();
        lacking.push(not_in(&store, &[]).unwrap().len());
    }
    (store, log, stream, lacking)
}

#[test]
fn what_rows_lack_is_committed_with_the_first_of_them_from_behind_the_gap_and_is_in_no_digest() {
    let (store, log, stream, lacking) = built_past(Pace::Live);
    assert_eq!(lacking, [0, 0, 1, 1]);
    let [range] = not_in(&store, &[]).unwrap().try_into().unwrap();
    assert_eq!((range.first, range.last), at(2, 2));
    assert_eq!(range.touched, only(&[stream, StreamId::SYSTEM]), "no row rests on evidence");
    let (bulk, ..) = built_past(Pace::REBUILD);
    assert_eq!(not_in(&bulk, &[]).unwrap(), std::slice::from_ref(&range));

    let silent = MemStore::new();
    let mut follower = Follower::new(&silent, LOG, vec![at(2, 2)], Pace::Live).unwrap();
    let records = [0, 2].map(|index: usize| log.records[index].clone()).to_vec();
    drive(&mut follower, &silent, FollowerInput::Records(records)).unwrap();
    assert_eq!((digests(&store), not_in(&silent, &[]).unwrap()), (digests(&silent), vec![]));

    let known = |first, last, touched| QuarantinedRange { touched, ..lacked(at(first, last), [].into()) };
    for (case, is_known) in [
        (known(2, 2, only(&[stream, StreamId::SYSTEM])), true),
        (known(1, 2, Touched::AllExcept([].into())), true),
        (known(3, 9, Touched::AllExcept([].into())), false),
        (known(2, 2, only(&[])), false),
    ] {
        let found = not_in(&store, std::slice::from_ref(&case)).unwrap();
        assert_eq!(found.is_empty(), is_known, "{case:?}");
    }
}

#[test]
fn what_rows_lack_is_never_forgotten_by_what_is_found_lacking_later() {
    let (store, mut log, stream, _) = built_past(Pace::Live);
    for key in ["d", "e"] {
        log.append(stream, put(key, 1));
    }
    let mut follower = Follower::new(&store, LOG, vec![], Pace::Live).unwrap();
    drive(&mut follower, &store, FollowerInput::PassOver(at(4, 4), [stream].into())).unwrap();
    drive(&mut follower, &store, FollowerInput::Records(vec![log.records[4].clone()])).unwrap();
    let found = not_in(&store, &[]).unwrap();
    let found: Vec<_> = found.into_iter().map(|range| (range.first, range.last)).collect();
    assert_eq!(found, [at(2, 2), at(4, 4)]);
}

#[test]
fn a_space_with_nothing_behind_the_gap_says_what_it_lacks_before_it_says_how_far_it_is() {
    let (mut log, stream) = (TestLog::default(), bucket_stream(0));
    log.append(stream, put("a", 1));
    let store = MemStore::new();
    let mut follower = Follower::new(&store, LOG, vec![], Pace::Live).unwrap();
    // The stream `system` has lost all it had.
    drive(&mut follower, &store, FollowerInput::PassOver(at(1, 1), [StreamId::SYSTEM].into())).unwrap();
    let mut record = log.records[0].clone();
    record.place.position = Position(2);
    drive(&mut follower, &store, FollowerInput::Records(vec![record])).unwrap();
    let found = not_in(&store, &[]).unwrap();
    assert_eq!(found, [lacked(at(1, 1), [StreamId::SYSTEM].into())]);
}

proptest! {
    #[test]
    fn of_many_ranges_none_is_forgotten_and_few_are_kept(
        ranges in prop::collection::vec((1u64..500, 0u64..3), 1..60),
    ) {
        let mut row = LackingRow::default();
        for (first, more) in &ranges {
            row.add(at(*first, first + more));
        }
        prop_assert!(row.0.len() <= MOST_RANGES);
        for (first, more) in ranges {
            let (first, last) = at(first, first + more);
            prop_assert!(row.0.iter().any(|known| known.0 <= first && last <= known.1), "{first} in {row:?}");
        }
        prop_assert_eq!(LackingRow::from_stored(&row.to_stored().unwrap()).unwrap(), row);
    }
}
