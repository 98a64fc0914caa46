//! What every store does alike. Each function is run on both, and on one with a cache in front.

use super::cached::CachedStore;
use super::fjall::FjallStore;
use super::mem::MemStore;
use super::{LogState, Rows, Space, Store, StoreError, check_fit, meta};
use crate::changes::{Batch, Changes};
use crate::digest::Digest;
use crate::testing::{LOG, digests};
use bytes::Bytes;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use siltstone_log::id::{Hash, Head, Position, Seq, StreamId};
use siltstone_log::witness::{QuarantinedRange, Touched};
use std::collections::BTreeMap;
use std::ops::Bound;

type Model = BTreeMap<Vec<u8>, Bytes>;

fn on_both(test: impl Fn(&dyn Store)) {
    test(&MemStore::new());
    // So small that rows leave it while the test runs.
    test(&CachedStore::new(MemStore::new(), 1024));
    let folder = tempfile::tempdir().unwrap();
    test(&fjall(folder.path()));
}

fn fjall(folder: &std::path::Path) -> FjallStore {
    let heads = BTreeMap::new();
    let log = LogState { log_id: LOG, next_position: Position(u64::MAX), heads: &heads, quarantine: &[] };
    let opened = FjallStore::open(&folder.join("projections"), &log).unwrap();
    assert_eq!(opened.discarded, None);
    opened.store
}

/// A batch that writes rows, with what it replaces taken from the model, which it updates.
fn batch(space: Space, model: &mut Model, writes: &[(Vec<u8>, Option<u8>)]) -> Batch {
    let mut batch = Batch::new(space, LOG);
    for (key, value) in writes {
        let key = [&[0x10], key.as_slice()].concat();
        let after = value.map(|value| Bytes::copy_from_slice(&[0, value]));
        let mut changes = Changes::new();
        changes.set(key.clone(), model.get(&key).cloned(), after.clone());
        batch.merge(changes);
        match after {
            Some(after) => model.insert(key, after),
            None => model.remove(&key),
        };
    }
    batch
}

fn rows(rows: &dyn Rows, space: Space) -> Model {
    let (from, to) = crate::digest::counted_rows();
    rows.range(space, from, to)
        .map(|row| row.map(|(key, row)| (key.to_vec(), row)))
        .collect::<Result<_, _>>()
        .unwrap()
}

#[test]
fn any_sequence_of_commits_and_ingestions_reads_as_a_map_does() {
    let step = (
        any::<bool>(),
        prop::collection::vec((prop::collection::vec(0..3u8, 0..3), any::<Option<u8>>()), 0..12),
    );
    let strategy = prop::collection::vec(step, 0..8);
    let config = ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() };
    TestRunner::new(config)
        .run(&strategy, |steps| {
            on_both(|store| {
                let mut model = Model::new();
                for (ingest, writes) in &steps {
                    let batch = batch(Space::State, &mut model, writes);
                    if *ingest { store.ingest(batch) } else { store.commit(batch) }.unwrap();
                    assert_eq!(rows(store, Space::State), model);
                    for key in [vec![0x10], vec![0x10, 1], vec![0x10, 2, 0]] {
                        assert_eq!(store.get(Space::State, &key).unwrap(), model.get(&key).cloned());
                    }
                }
                digests(store);
                let meta = meta(store, Space::State).unwrap();
                assert_eq!((meta.rows, meta.commits), (model.len() as u64, steps.len() as u64));
                assert!(rows(store, Space::System).is_empty());
            });
            Ok(())
        })
        .unwrap();
}

#[test]
fn a_range_obeys_its_bounds() {
    on_both(|store| {
        let mut model = Model::new();
        let keys: Vec<_> = [1, 3, 5].map(|key| (vec![key], Some(key))).into();
        store.commit(batch(Space::State, &mut model, &keys)).unwrap();
        let found = |from: Bound<u8>, to: Bound<u8>| -> Vec<u8> {
            let key = |bound: Bound<u8>| bound.map(|key| vec![0x10, key]);
            store.range(Space::State, key(from), key(to)).map(|row| row.unwrap().0[1]).collect()
        };
        assert_eq!(found(Bound::Included(1), Bound::Included(5)), [1, 3, 5]);
        assert_eq!(found(Bound::Excluded(1), Bound::Excluded(5)), [3]);
        assert_eq!(found(Bound::Included(2), Bound::Unbounded), [3, 5]);
        assert_eq!(found(Bound::Included(3), Bound::Included(3)), [3]);
        for (from, to) in [
            (Bound::Included(5), Bound::Included(1)),
            (Bound::Excluded(3), Bound::Excluded(3)),
            (Bound::Included(3), Bound::Excluded(3)),
        ] {
            assert!(found(from, to).is_empty(), "{from:?} {to:?}");
        }
    });
}

#[test]
fn a_snapshot_does_not_see_what_is_committed_after_it() {
    on_both(|store| {
        let mut model = Model::new();
        store.commit(batch(Space::State, &mut model, &[(vec![1], Some(1)), (vec![2], Some(2))])).unwrap();
        let (snapshot, then) = (store.snapshot(), model.clone());
        store.commit(batch(Space::State, &mut model, &[(vec![1], None), (vec![3], Some(3))])).unwrap();
        store.ingest(batch(Space::State, &mut model, &[(vec![2], Some(9)), (vec![4], Some(4))])).unwrap();
        assert_eq!(rows(&*snapshot, Space::State), then);
        assert_eq!(snapshot.get(Space::State, &[0x10, 1]).unwrap(), then.get(&vec![0x10, 1]).cloned());
        assert_eq!(snapshot.get(Space::State, &[0x10, 3]).unwrap(), None);
        assert_eq!(rows(store, Space::State), model);
        assert_eq!(digests(&*snapshot)[1], meta(&*snapshot, Space::State).unwrap().digest);
        assert_ne!(digests(&*snapshot), digests(store));
    });
}

#[test]
fn cursors_digest_and_position_come_with_the_rows_and_stay_apart_from_other_spaces() {
    on_both(|store| {
        let mut model = Model::new();
        let mut changed = batch(Space::System, &mut model, &[(vec![1], Some(1))]);
        let (stream, cursor) = (StreamId([9; 16]), Head { seq: Seq(4), hash: Hash([5; 32]) });
        changed.advance(stream, cursor);
        changed.set_applied(Position(77));
        store.commit(changed).unwrap();
        let cursors =
            |space| -> Vec<_> { crate::follower::cursors(store, space).map(Result::unwrap).collect() };
        assert_eq!((cursors(Space::System), cursors(Space::State)), (vec![(stream, cursor)], vec![]));
        let (system, state) = (meta(store, Space::System).unwrap(), meta(store, Space::State).unwrap());
        assert_eq!((system.applied, system.rows, system.log_id), (Position(77), 1, LOG));
        assert_eq!(state, crate::SpaceMeta::default());
        assert_ne!(system.digest, Digest::default());
        // Taking the row away again leads back to the digest of nothing.
        store.commit(batch(Space::System, &mut model, &[(vec![1], None)])).unwrap();
        let system = meta(store, Space::System).unwrap();
        assert_eq!((system.digest, system.rows, system.applied), (Digest::default(), 0, Position(77)));
        store.sync().unwrap();
    });
}

#[test]
fn rows_fit_a_log_that_has_what_they_have_or_knows_that_it_lost_it() {
    let stream = StreamId([9; 16]);
    let cursor = Head { seq: Seq(4), hash: Hash([5; 32]) };
    let range = |first, touched| QuarantinedRange {
        first: Position(first),
        last: Position(90),
        touched,
        reason: String::new(),
    };
    let (all, others) = (Touched::AllExcept([].into()), Touched::AllExcept([stream].into()));
    let at = |seq, hash| Some(Head { seq: Seq(seq), hash: Hash([hash; 32]) });
    let cases = [
        ("the same head", at(4, 5), vec![], true),
        ("a later head", at(5, 6), vec![], true),
        ("another head at the same number", at(4, 6), vec![], false),
        ("another head, and something lost", at(4, 6), vec![range(70, all.clone())], false),
        ("an earlier head", at(3, 6), vec![], false),
        ("no record", None, vec![], false),
        ("an earlier head, the rest lost", at(3, 6), vec![range(70, all.clone())], true),
        ("no record, all lost", None, vec![range(1, all.clone())], true),
        ("an earlier head, and others' records lost", at(3, 6), vec![range(70, others)], false),
        ("an earlier head, and what was never applied lost", at(3, 6), vec![range(78, all)], false),
    ];
    on_both(|store| {
        let mut changed = batch(Space::State, &mut Model::new(), &[(vec![1], Some(1))]);
        changed.advance(stream, cursor);
        changed.set_applied(Position(77));
        store.commit(changed).unwrap();
        for (case, head, quarantine, fits) in &cases {
            let heads = head.iter().map(|head| (stream, *head)).collect();
            let log = LogState { log_id: LOG, next_position: Position(91), heads: &heads, quarantine };
            let checked = check_fit(store, Space::State, &log);
            assert_eq!(checked.is_ok(), *fits, "{case}");
            assert!(*fits || matches!(checked, Err(StoreError::Damaged(_))), "{case}");
            let short = LogState { next_position: Position(77), ..log };
            let ahead = Err(StoreError::Ahead(Position(77)));
            assert_eq!(check_fit(store, Space::State, &short), ahead, "{case}");
        }
    });
}
