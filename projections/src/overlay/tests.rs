use super::*;
use crate::changes::Batch;
use crate::store::Store;
use crate::store::mem::MemStore;
use proptest::prelude::*;
use siltstone_log::id::LogId;

const STREAM: StreamId = StreamId([1; 16]);
const OTHER: StreamId = StreamId([2; 16]);

type Model = BTreeMap<Vec<u8>, Bytes>;

fn write(key: u8, value: Option<u8>) -> Changes {
    let mut changes = Changes::new();
    changes.set(vec![0x10, key], None, value.map(|value| Bytes::copy_from_slice(&[0, value])));
    changes
}

fn base(rows: &BTreeMap<u8, u8>) -> MemStore {
    let store = MemStore::new();
    let mut batch = Batch::new(Space::State, LogId::default());
    for (key, value) in rows {
        batch.merge(write(*key, Some(*value)));
    }
    store.commit(batch).unwrap();
    store
}

fn bound(kind: u8, key: u8) -> Bound<Vec<u8>> {
    match kind % 3 {
        0 => Bound::Included(vec![0x10, key]),
        1 => Bound::Excluded(vec![0x10, key]),
        _ => Bound::Included(vec![0x10]),
    }
}

fn within(key: &Vec<u8>, from: &Bound<Vec<u8>>, to: &Bound<Vec<u8>>) -> bool {
    let above = match from {
        Bound::Included(from) => key >= from,
        Bound::Excluded(from) => key > from,
        Bound::Unbounded => true,
    };
    let below = match to {
        Bound::Included(to) => key <= to,
        Bound::Excluded(to) => key < to,
        Bound::Unbounded => true,
    };
    above && below
}

proptest! {
    #[test]
    fn pending_rows_over_a_base_read_as_if_they_were_applied(
        base_rows in prop::collection::btree_map(0..12u8, any::<u8>(), 0..12),
        writes in prop::collection::vec((any::<bool>(), 0..12u8, prop::option::of(any::<u8>())), 0..24),
        applied in 0usize..24, from in (any::<u8>(), 0..13u8), to in (any::<u8>(), 0..13u8),
    ) {
        // Each stream has keys of its own, as in a space.
        let store = base(&base_rows);
        let mut pending = PendingRows::new();
        let mut model: Model = base_rows.iter().map(|(k, v)| (vec![0x10, *k], Bytes::copy_from_slice(&[0, *v]))).collect();
        for (at, (own, key, value)) in writes.iter().enumerate() {
            let (stream, key) = if *own { (STREAM, key & !1) } else { (OTHER, key | 1) };
            let change = write(key, *value);
            for (key, change) in change.iter() {
                match &change.after {
                    Some(after) => model.insert(key.to_vec(), after.clone()),
                    None => model.remove(key),
                };
            }
            pending.add(Space::State, stream, Seq(at as u64 + 1), change);
        }
        // The store applies a beginning of the records, and the pending rows of it are dropped.
        let applied = applied.min(writes.len());
        let mut batch = Batch::new(Space::State, LogId::default());
        for (own, key, value) in &writes[..applied] {
            let mut read = Changes::new();
            for (key, change) in write(if *own { key & !1 } else { key | 1 }, *value).into_rows() {
                read.set(key.clone(), store.get(Space::State, &key).unwrap(), change.after);
            }
            batch.merge(read);
        }
        store.commit(batch).unwrap();
        pending.drop_through(STREAM, Seq(applied as u64));
        pending.drop_through(OTHER, Seq(applied as u64));
        prop_assert_eq!(pending.records(), writes.len() - applied);

        let overlay = Overlay::new(&store, &pending);
        for key in 0..13u8 {
            let key = vec![0x10, key];
            prop_assert_eq!(overlay.get(Space::State, &key).unwrap(), model.get(&key).cloned());
        }
        let (from, to) = (bound(from.0, from.1), bound(to.0, to.1));
        let found: Vec<_> = overlay.range(Space::State, from.clone(), to.clone()).map(Result::unwrap).collect();
        let expected: Vec<_> = model.iter().filter(|(key, _)| within(key, &from, &to))
            .map(|(key, row)| (Bytes::from(key.clone()), row.clone())).collect();
        prop_assert_eq!(found, expected);
        prop_assert!(overlay.get(Space::System, &[0x10, 1]).unwrap().is_none());
    }
}

#[test]
fn a_row_that_a_later_record_changed_again_stays_when_the_earlier_one_is_dropped() {
    let mut pending = PendingRows::new();
    pending.add(Space::State, STREAM, Seq(1), write(1, Some(1)));
    pending.add(Space::State, STREAM, Seq(2), write(1, Some(2)));
    pending.drop_through(STREAM, Seq(1));
    let store = MemStore::new();
    let read = |pending: &PendingRows| Overlay::new(&store, pending).get(Space::State, &[0x10, 1]).unwrap();
    assert_eq!(read(&pending), Some(Bytes::from_static(&[0, 2])));
    assert_eq!(pending.last_seq(STREAM), Some(Seq(2)));
    pending.drop_through(STREAM, Seq(2));
    assert_eq!(read(&pending), None);
    assert!(pending.is_empty() && pending.last_seq(STREAM).is_none());
}
