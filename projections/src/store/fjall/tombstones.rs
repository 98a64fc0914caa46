//! Getting rid of what removed rows leave behind.
//!
//! A row that is removed stays as a tombstone until a compaction brings it to the last level, and a listing walks over each
//! one that lies between the rows it wants. fjall compacts by sizes alone: in a store that does not grow, millions of them
//! could lie in front of a page for ever. So the space is compacted as a whole when many have gathered. That rewrites all
//! of it, and is worth it only where they are many beside the rows, or where removing has ended for now.

use super::{FjallStore, Space, free_bytes};
use crate::key::FIRST_COUNTED;
use crate::store::StoreError;
use fjall::AbstractTree;
use std::sync::atomic::{AtomicU64, Ordering};

/// Fewer are never worth it: to walk over one takes about 0.1 µs.
const LEAST: u64 = 10_000;
/// While rows are being removed: one tombstone among so many rows.
const BUSY_SHARE: u64 = 10;
/// When none was removed since the last look.
const QUIET_SHARE: u64 = 500;

/// What is known of a space's tombstones.
#[derive(Debug, Default)]
pub(super) struct Tombstones {
    /// Rows removed since the last compaction of this process.
    removed: AtomicU64,
    /// `removed` at the last look.
    seen: AtomicU64,
    /// Tombstones that the last compaction had to leave: a snapshot may have needed them.
    left: AtomicU64,
}

impl Tombstones {
    /// Notes a row that is removed. The store's own bookkeeping does not count: no listing meets it.
    pub(super) fn note(&self, key: &[u8]) {
        if key.first().is_some_and(|kind| *kind >= FIRST_COUNTED) {
            self.removed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Whether so many tombstones are worth a compaction of a space with so many rows.
fn is_due(tombstones: u64, rows: u64, quiet: bool) -> bool {
    let share = if quiet { QUIET_SHARE } else { BUSY_SHARE };
    tombstones >= LEAST.max(rows / share)
}

impl FjallStore {
    /// Compacts the space of listings where that is worth it, and says whether it did. Takes long: for a thread that nobody
    /// waits for, which calls it every few seconds.
    pub(super) fn tidy_state(&self) -> Result<bool, StoreError> {
        let keyspace = Space::State.pick(&self.spaces);
        let removed = self.tombstones.removed.load(Ordering::Relaxed);
        let quiet = self.tombstones.seen.swap(removed, Ordering::Relaxed) == removed;
        // Those of earlier processes are known from the files, those of this one that are not in files yet from counting.
        let in_files = keyspace.tree.tombstone_count();
        let found = in_files.saturating_sub(self.tombstones.left.load(Ordering::Relaxed)).max(removed);
        // The rows lie there twice meanwhile, and as much again stays for everybody else.
        let has_room =
            || free_bytes(&self.health.folder).is_some_and(|free| free / 2 >= keyspace.disk_space());
        if !is_due(found, keyspace.approximate_len() as u64, quiet) || !has_room() {
            return Ok(false);
        }
        self.compact_state()?;
        Ok(true)
    }

    fn compact_state(&self) -> Result<(), StoreError> {
        let keyspace = Space::State.pick(&self.spaces);
        let removed = self.tombstones.removed.load(Ordering::Relaxed);
        keyspace.rotate_memtable_and_wait().map_err(|error| self.health.failed(error))?;
        keyspace.major_compact().map_err(|error| self.health.failed(error))?;
        self.tombstones.removed.fetch_sub(removed, Ordering::Relaxed);
        self.tombstones.seen.fetch_sub(removed, Ordering::Relaxed);
        self.tombstones.left.store(keyspace.tree.tombstone_count(), Ordering::Relaxed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{folder, history, open, recover, reference};
    use super::*;
    use crate::store::Store;
    use crate::testing::{bucket_stream, delete, digests};

    #[test]
    fn compaction_waits_for_as_many_as_are_worth_it() {
        for (tombstones, rows, while_busy, when_quiet) in [
            (0, 0, false, false),
            (LEAST - 1, 1, false, false),
            (LEAST, 1, true, true),
            (100_000, 10_000_000, false, true),
            (1_000_000, 10_000_000, true, true),
            (19_999, 10_000_000, false, false),
        ] {
            assert_eq!(is_due(tombstones, rows, false), while_busy, "{tombstones} beside {rows}");
            assert_eq!(is_due(tombstones, rows, true), when_quiet, "{tombstones} beside {rows}");
        }
    }

    #[test]
    fn what_removed_rows_leave_goes_and_the_rows_stay() {
        let (parent, mut log) = (tempfile::tempdir().unwrap(), history(300));
        drop(recover(&folder(&parent), &log));
        for number in 0..270 {
            log.append(bucket_stream(0), delete(&format!("key-{number:05}")));
        }
        let (store, _) = recover(&folder(&parent), &log);
        assert!(!store.tidy().unwrap(), "not for so few");
        let keyspace = Space::State.pick(&store.spaces);
        keyspace.rotate_memtable_and_wait().unwrap();
        assert!(keyspace.tree.tombstone_count() >= 270);
        assert!(store.tombstones.removed.load(Ordering::Relaxed) >= 270);
        store.compact_state().unwrap();
        assert_eq!(keyspace.tree.tombstone_count(), 0);
        assert_eq!(store.tombstones.removed.load(Ordering::Relaxed), 0);
        assert_eq!(digests(&store), digests(&reference(&log)));
        drop(store);
        let again = open(&folder(&parent), &log);
        assert_eq!((again.discarded, digests(&again.store)), (None, digests(&reference(&log))));
    }
}
