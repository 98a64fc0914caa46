use super::*;
use crate::changes::Changes;
use crate::store::mem::MemStore;
use crate::testing::LOG;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

const KEY: &[u8] = &[0x10, 7];

/// A batch that puts `after` in the place of `before`.
fn batch(before: Option<u8>, after: Option<u8>) -> Batch {
    let row = |value: u8| Bytes::copy_from_slice(&[0, value]);
    let mut changes = Changes::new();
    changes.set(KEY.to_vec(), before.map(row), after.map(row));
    let mut batch = Batch::new(Space::State, LOG);
    batch.merge(changes);
    batch
}

fn value(row: Option<Bytes>) -> Option<u8> {
    row.map(|row| row[1])
}

fn get(store: &impl Rows) -> Option<u8> {
    value(store.get(Space::State, KEY).unwrap())
}

fn recall(store: &impl Store) -> Option<u8> {
    value(store.recall(Space::State, KEY))
}

#[test]
fn a_row_is_recalled_once_it_was_read_and_until_it_changes() {
    let store = CachedStore::new(MemStore::new(), 1 << 20);
    store.commit(batch(None, Some(1))).unwrap();
    assert_eq!((recall(&store), get(&store), recall(&store)), (None, Some(1), Some(1)));
    assert_eq!(store.recall(Space::System, KEY), None, "the other space has none under this key");
    store.commit(batch(Some(1), Some(2))).unwrap();
    assert_eq!((recall(&store), get(&store), recall(&store)), (None, Some(2), Some(2)));
    store.ingest(batch(Some(2), Some(3))).unwrap();
    assert_eq!((recall(&store), get(&store)), (None, Some(3)));
    store.commit(batch(Some(3), None)).unwrap();
    assert_eq!((recall(&store), get(&store), recall(&store)), (None, None, None));
}

#[test]
fn what_is_remembered_is_bounded_in_bytes() {
    let store = CachedStore::new(MemStore::new(), 16 << 10);
    let mut batch = Batch::new(Space::State, LOG);
    let keys: Vec<Vec<u8>> = (0..2000_u16).map(|n| [&[0x10], n.to_be_bytes().as_slice()].concat()).collect();
    for key in &keys {
        let mut changes = Changes::new();
        changes.set(key.clone(), None, Some(Bytes::from_static(&[0; 200])));
        batch.merge(changes);
    }
    store.commit(batch).unwrap();
    for key in &keys {
        store.get(Space::State, key).unwrap();
    }
    let kept = keys.iter().filter(|key| store.recall(Space::State, key).is_some()).count();
    assert!((1..=(16 << 10) / (200 + ENTRY_BYTES)).contains(&kept), "{kept} rows");
}

/// A store that stops where a test wants it to: inside a commit after it took effect, or in a read before it returns.
struct Stopping {
    store: MemStore,
    reached: Sender<()>,
    go_on: Mutex<Receiver<()>>,
    stop_reads: bool,
}

impl Stopping {
    fn stop(&self) {
        self.reached.send(()).unwrap();
        self.go_on.lock().unwrap().recv().unwrap();
    }
}

impl Rows for Stopping {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let row = self.store.get(space, key);
        if self.stop_reads {
            self.stop();
        }
        row
    }

    fn range(&self, space: Space, from: Bound<Vec<u8>>, to: Bound<Vec<u8>>) -> RowIter<'_> {
        self.store.range(space, from, to)
    }
}

impl Store for Stopping {
    fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        let committed = self.store.commit(batch);
        if !self.stop_reads {
            self.stop();
        }
        committed
    }

    fn ingest(&self, batch: Batch) -> Result<(), StoreError> {
        self.store.ingest(batch)
    }

    fn snapshot(&self) -> Box<dyn Rows + Send + Sync> {
        self.store.snapshot()
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.store.sync()
    }
}

fn stopping(stop_reads: bool) -> (CachedStore<Stopping>, Receiver<()>, Sender<()>) {
    let (reached, at_stop) = channel();
    let (go, go_on) = channel();
    let store = Stopping { store: MemStore::new(), reached, go_on: Mutex::new(go_on), stop_reads };
    (CachedStore::new(store, 1 << 20), at_stop, go)
}

#[test]
fn after_one_reader_saw_the_new_row_none_recalls_the_old_one() {
    let (store, at_stop, go) = stopping(false);
    go.send(()).unwrap();
    store.commit(batch(None, Some(1))).unwrap();
    at_stop.recv().unwrap();
    assert_eq!((get(&store), recall(&store)), (Some(1), Some(1)));
    thread::scope(|scope| {
        scope.spawn(|| store.commit(batch(Some(1), Some(2))).unwrap());
        at_stop.recv().unwrap();
        // The commit took effect and has not returned.
        assert_eq!((get(&store), recall(&store), get(&store)), (Some(2), None, Some(2)));
        go.send(()).unwrap();
    });
    assert_eq!((recall(&store), get(&store), recall(&store)), (None, Some(2), Some(2)));
}

#[test]
fn a_row_that_was_read_before_a_commit_is_not_remembered_after_it() {
    let (store, at_stop, go) = stopping(true);
    store.commit(batch(None, Some(1))).unwrap();
    thread::scope(|scope| {
        let reader = scope.spawn(|| get(&store));
        at_stop.recv().unwrap();
        // The reader has the old row in its hands.
        store.commit(batch(Some(1), Some(2))).unwrap();
        go.send(()).unwrap();
        assert_eq!(reader.join().unwrap(), Some(1));
    });
    assert_eq!(recall(&store), None);
}
