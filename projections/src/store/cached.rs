//! A store that keeps the rows that were read last in memory, so that a reader who may not wait for the disk can have
//! them at once.
//!
//! **Never an old row for a new one.** Every key belongs to one of a fixed number of slots, each with a counter. A commit
//! makes the counters of its keys odd before it begins and even again when it is done. A remembered row is given out only
//! while its slot's counter is even and still the one that was read before the row was. With one step after the commit
//! instead of two around it, one reader could have the new row from the store and the next one the old row from here.

use super::{RowIter, Rows, Space, Store, StoreError};
use crate::changes::Batch;
use crate::key::FIRST_COUNTED;
use bytes::Bytes;
use quick_cache::sync::Cache;
use quick_cache::{Equivalent, Weighter};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counters. Two keys that share one cost each other a look at the store when either changes.
const SLOTS: usize = 4096;
/// What an entry takes beside its key and its row, about.
const ENTRY_BYTES: usize = 128;
/// What a row usually takes with its key, for sizing the cache's tables.
const USUAL_ROW_BYTES: u64 = 512;

/// A store with the rows that were read last in memory.
pub struct CachedStore<S> {
    store: S,
    slots: Box<[AtomicU64]>,
    rows: Cache<(Space, Box<[u8]>), Remembered, ByBytes>,
}

/// A row, and its slot's counter before it was read.
#[derive(Clone)]
struct Remembered {
    count: u64,
    row: Bytes,
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<(Space, Box<[u8]>), Remembered> for ByBytes {
    fn weight(&self, (_, key): &(Space, Box<[u8]>), remembered: &Remembered) -> u64 {
        (key.len() + remembered.row.len() + ENTRY_BYTES) as u64
    }
}

/// A key as it is looked up. Hashes as the stored one does.
#[derive(Hash)]
struct Wanted<'a>(Space, &'a [u8]);

impl Equivalent<(Space, Box<[u8]>)> for Wanted<'_> {
    fn equivalent(&self, (space, key): &(Space, Box<[u8]>)) -> bool {
        self.0 == *space && self.1 == &**key
    }
}

fn slot_of(space: Space, key: &[u8]) -> usize {
    let mut hasher = DefaultHasher::new();
    Wanted(space, key).hash(&mut hasher);
    // The lowest bits of a hash are as good as any.
    usize::try_from(hasher.finish() % SLOTS as u64).unwrap_or_default()
}

impl<S: Store> CachedStore<S> {
    /// Over a store that nothing else commits to, with `bytes` of memory at most.
    pub fn new(store: S, bytes: u64) -> Self {
        let items = usize::try_from(bytes / USUAL_ROW_BYTES).unwrap_or(usize::MAX);
        let slots = (0..SLOTS).map(|_| AtomicU64::new(0)).collect();
        Self { store, slots, rows: Cache::with_weighter(items, bytes, ByBytes) }
    }

    fn count(&self, slot: usize) -> u64 {
        // A missing slot cannot be; odd means "look at the store".
        self.slots.get(slot).map_or(1, |count| count.load(Ordering::Acquire))
    }

    fn look_up(&self, space: Space, key: &[u8], count: u64) -> Option<Bytes> {
        let found = self.rows.get(&Wanted(space, key))?;
        (count.is_multiple_of(2) && found.count == count).then_some(found.row)
    }

    /// Changes the store while nothing that is remembered of these slots is given out.
    fn changing(
        &self,
        mut slots: Vec<usize>,
        change: impl FnOnce(&S) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        slots.sort_unstable();
        slots.dedup();
        let step = || {
            for count in slots.iter().filter_map(|slot| self.slots.get(*slot)) {
                count.fetch_add(1, Ordering::AcqRel);
            }
        };
        step();
        let changed = change(&self.store);
        // After a failure too: nobody knows what the store holds then, so it is to be asked.
        step();
        changed
    }
}

impl<S: Store> Rows for CachedStore<S> {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        // ORDER: counted before the store is read. The other way round an old row would pass for a new one.
        let count = self.count(slot_of(space, key));
        if let Some(row) = self.look_up(space, key, count) {
            return Ok(Some(row));
        }
        let row = self.store.get(space, key)?;
        // Cursors and a space's own record change with every commit, which does not name them among its rows.
        let may_stay = count.is_multiple_of(2) && key.first().is_some_and(|kind| *kind >= FIRST_COUNTED);
        if let (Some(row), true) = (&row, may_stay) {
            // Copied: as the store gave it, it may hold a whole block in memory.
            let remembered = Remembered { count, row: Bytes::copy_from_slice(row) };
            self.rows.insert((space, key.into()), remembered);
        }
        Ok(row)
    }

    fn range(&self, space: Space, from: Bound<Vec<u8>>, to: Bound<Vec<u8>>) -> RowIter<'_> {
        self.store.range(space, from, to)
    }
}

impl<S: Store> Store for CachedStore<S> {
    fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        let space = batch.space();
        let slots = batch.rows().keys().map(|key| slot_of(space, key)).collect();
        self.changing(slots, |store| store.commit(batch))
    }

    fn ingest(&self, batch: Batch) -> Result<(), StoreError> {
        // As many rows as there are slots, or more.
        self.changing((0..SLOTS).collect(), |store| store.ingest(batch))
    }

    fn tidy(&self) -> Result<bool, StoreError> {
        self.store.tidy()
    }

    fn snapshot(&self) -> Box<dyn Rows + Send + Sync> {
        self.store.snapshot()
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.store.sync()
    }

    fn recall(&self, space: Space, key: &[u8]) -> Option<Bytes> {
        self.look_up(space, key, self.count(slot_of(space, key)))
    }
}

#[cfg(test)]
mod tests;
