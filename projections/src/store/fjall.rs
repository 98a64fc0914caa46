//! A store in fjall: one keyspace for each space, and one for the index of blobs, which no digest covers.
//!
//! Partitioned index and filter blocks at every level keep a random read at one small block each and memory flat;
//! with fjall's defaults a store of ten million objects reads whole index blocks of megabytes.
//!
//! This file touches the real file system, as fjall itself does: simulations use [`super::mem`].

#![expect(
    clippy::disallowed_methods,
    reason = "fjall owns real files; so does the one place that puts its folder aside"
)]

mod blobs;
mod tombstones;
mod witness;

pub use blobs::FjallBlobIndex;
pub use witness::applied_witness;

use crate::changes::{Batch, SpaceMeta, TRAIL_LENGTH, trail_key};
use crate::lacking;
use crate::overlay::is_empty_range;
use crate::store::{KeyRange, LogState, RowIter, Rows, Space, Store, StoreError, check_fit, meta};
use bytes::Bytes;
use fjall::config::PartitioningPolicy;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable, Slice, Snapshot};
use siltstone_log::host::real::RealDisk;
use siltstone_log::host::{DiskOp, DiskReply, Folder};
use siltstone_log::id::LogId;
use siltstone_log::witness::QuarantinedRange;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::ops::Bound;
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tombstones::Tombstones;
use witness::AppliedFile;

const CACHE_BYTES: u64 = 128 << 20;
const MEMTABLE_BYTES: u64 = 32 << 20;
const WRITE_BUFFER_BYTES: u64 = 96 << 20;
const JOURNAL_BYTES: u64 = 128 << 20;

/// A file in the folder which says that what lies there must not be used again.
const CONDEMNED: &str = "CONDEMNED";

/// Projections that could not be used and were put aside. They are rebuilt from the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discarded {
    /// Where they are now: the last ones put aside are kept, where the volume has room for two copies.
    pub moved_to: Option<PathBuf>,
    /// What was wrong with them.
    pub reason: String,
}

/// A store that is open, and what had to be put aside for it.
pub struct Opened {
    /// The store, empty where something was put aside.
    pub store: FjallStore,
    /// What was put aside.
    pub discarded: Option<Discarded>,
}

/// The real store.
pub struct FjallStore {
    database: Database,
    spaces: [Keyspace; 2],
    blobs: FjallBlobIndex,
    applied: AppliedFile,
    health: Arc<Health>,
    tombstones: Tombstones,
}

/// Remembers damage beyond this process: a checksum that failed once is not served again after a restart.
struct Health {
    folder: PathBuf,
    condemned: AtomicBool,
}

impl Health {
    fn failed(&self, error: fjall::Error) -> StoreError {
        let error = failed(error);
        if matches!(error, StoreError::Damaged(_)) && !self.condemned.swap(true, Ordering::Relaxed) {
            // Best effort: without the mark the damage is met again and marked then.
            let _ = condemn(&self.folder);
        }
        error
    }
}

fn failed(error: fjall::Error) -> StoreError {
    match error {
        fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error)) => io_failed(&error),
        fjall::Error::Poisoned | fjall::Error::Locked | fjall::Error::KeyspaceDeleted => {
            StoreError::Io(error.to_string())
        }
        other => StoreError::Damaged(other.to_string()),
    }
}

/// Tells files that are not as they were written from a system that refuses: no space, no permission, no descriptors,
/// a sector that cannot be read. The latter may pass, and to begin anew would only cost the space of a second copy.
fn io_failed(error: &io::Error) -> StoreError {
    match error.kind() {
        ErrorKind::NotFound
        | ErrorKind::AlreadyExists
        | ErrorKind::UnexpectedEof
        | ErrorKind::InvalidData
        | ErrorKind::InvalidInput
        | ErrorKind::IsADirectory
        | ErrorKind::NotADirectory => StoreError::Damaged(error.to_string()),
        _ => StoreError::Io(error.to_string()),
    }
}

/// Marks the projections in a folder as not to be used again, durably: the next [`FjallStore::open`] begins with empty
/// ones, whatever happens until then.
pub fn condemn(folder: &Path) -> io::Result<()> {
    File::create(folder.join(CONDEMNED))?.sync_all()?;
    File::open(folder)?.sync_all()
}

impl FjallStore {
    /// Opens the projections in a folder. Where they are damaged, or of another schema or log, the folder is renamed to
    /// `<folder>.bad-<n>` and an empty store begins: the log is the truth. Where the system refuses, or where they are
    /// ahead of the log, nothing is changed.
    pub fn open(folder: &Path, log: &LogState<'_>) -> Result<Opened, StoreError> {
        let reason = match Self::open_checked(folder, log) {
            Ok(store) => return Ok(Opened { store, discarded: None }),
            Err(StoreError::Damaged(reason)) => reason,
            Err(error) => return Err(error),
        };
        // What the log has lost may be remembered nowhere else: then every copy stays until a repair has decided.
        let moved_to = put_aside(folder, log.quarantine.is_empty())
            .map_err(|error| StoreError::Io(error.to_string()))?;
        // What an empty folder lacks is no damage, and moving it too would not help.
        let store = Self::open_checked(folder, log).map_err(|error| StoreError::Io(error.to_string()))?;
        Ok(Opened { store, discarded: Some(Discarded { moved_to, reason }) })
    }

    /// What the projections in a folder remember to lack beyond what is known ([`lacking::not_in`]). Those that cannot be
    /// used, or belong to another log, remember nothing: the next start builds them anew.
    pub fn lacking(
        folder: &Path,
        log_id: LogId,
        known: &[QuarantinedRange],
    ) -> Result<Vec<QuarantinedRange>, StoreError> {
        if !folder.is_dir() || folder.join(CONDEMNED).exists() {
            return Ok(Vec::new());
        }
        let found = caught(|| {
            let store = Self::open_database(folder, log_id)?;
            for space in Space::ALL {
                let found = meta(&store, space)?;
                if found != SpaceMeta::default() && found.log_id != log_id {
                    return Ok(Vec::new());
                }
            }
            lacking::not_in(&store, known)
        });
        match found {
            Err(StoreError::Damaged(_)) => Ok(Vec::new()),
            found => found,
        }
    }

    fn open_checked(folder: &Path, log: &LogState<'_>) -> Result<Self, StoreError> {
        if folder.join(CONDEMNED).exists() {
            return Err(StoreError::Damaged("they were marked as damaged".to_owned()));
        }
        let store = caught(|| Self::open_database(folder, log.log_id))?;
        Space::ALL.into_iter().try_for_each(|space| check(&store, space, log))?;
        Ok(store)
    }

    fn open_database(folder: &Path, log_id: LogId) -> Result<Self, StoreError> {
        #[expect(
            deprecated,
            reason = "fjall calls it unsettled; without it all memtables together have no bound"
        )]
        let builder = Database::builder(folder)
            .cache_size(CACHE_BYTES)
            .manual_journal_persist(true)
            .max_journaling_size(JOURNAL_BYTES)
            .max_write_buffer_size(Some(WRITE_BUFFER_BYTES));
        let database = builder.open().map_err(failed)?;
        let spaces = [
            database.keyspace(Space::System.name(), options).map_err(failed)?,
            database.keyspace(Space::State.name(), options).map_err(failed)?,
        ];
        let blobs = database.keyspace(blobs::KEYSPACE, options).map_err(failed)?;
        let health = Arc::new(Health { folder: folder.to_owned(), condemned: AtomicBool::new(false) });
        let blobs = blobs::open(&database, blobs, health.clone(), log_id)?;
        let applied = AppliedFile::open(folder, log_id)?;
        Ok(Self { database, spaces, blobs, applied, health, tombstones: Tombstones::default() })
    }

    /// Bytes on disk, about.
    pub fn disk_bytes(&self) -> u64 {
        self.database.disk_space().unwrap_or_default()
    }
}

/// fjall expects some of its own bytes to be whole and panics where they are not. Nothing of it outlives that.
fn caught<T>(read: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    let read = catch_unwind(AssertUnwindSafe(read));
    read.unwrap_or_else(|_| Err(StoreError::Damaged("fjall gave up on them".to_owned())))
}

/// Renames the folder out of the way, and removes what was put aside before. Where the volume has no room for a second
/// copy, the new one goes too: nobody learns so much from it that it may fill the disk. Both only where copies may be
/// removed. Says where it is, if it is.
fn put_aside(folder: &Path, may_remove: bool) -> io::Result<Option<PathBuf>> {
    let name = |number: u32| {
        let mut name = folder.as_os_str().to_owned();
        name.push(format!(".bad-{number}"));
        PathBuf::from(name)
    };
    let mut number = 1;
    while name(number).exists() {
        number += 1;
    }
    fs::rename(folder, name(number))?;
    if !may_remove {
        return Ok(Some(name(number)));
    }
    for older in (1..number).rev() {
        // Each copy may be as large as the live one, and only the last may still tell someone something.
        fs::remove_dir_all(name(older))?;
    }
    if free_bytes(folder).is_some_and(|free| free / 2 < folder_bytes(&name(number))) {
        fs::remove_dir_all(name(number))?;
        return Ok(None);
    }
    Ok(Some(name(number)))
}

/// Free bytes on the volume that a folder is on.
fn free_bytes(folder: &Path) -> Option<u64> {
    let disk = RealDisk::read_only(folder.parent()?);
    match disk.execute(&DiskOp::FreeSpace { folder: Folder::Root }) {
        Ok(DiskReply::Free(bytes)) => Some(bytes),
        Ok(DiskReply::Done | DiskReply::Data(_) | DiskReply::Files(_)) | Err(_) => None,
    }
}

/// Bytes that a folder's files take on the disk; what cannot be looked at counts nothing.
fn folder_bytes(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let sizes = entries.flatten().filter_map(|entry| {
        let metadata = entry.metadata().ok()?;
        // Blocks of 512 bytes: fjall's journals are sparse.
        Some(if metadata.is_dir() {
            folder_bytes(&entry.path())
        } else {
            metadata.blocks().saturating_mul(512)
        })
    });
    sizes.fold(0, u64::saturating_add)
}

/// Whether a space is one of this log at a point this log has reached, and whole as far as can be told cheaply.
fn check(store: &FjallStore, space: Space, log: &LogState<'_>) -> Result<(), StoreError> {
    check_fit(store, space, log)?;
    check_trail(store, space, &meta(store, space)?)
}

fn check_trail(store: &FjallStore, space: Space, found: &SpaceMeta) -> Result<(), StoreError> {
    let (from, to) = trail_range(found.commits);
    let marks = store.range(space, from, to).map(|mark| mark.map(|(key, _)| key));
    check_marks(marks, space.name(), found.commits)
}

/// Where the marks of the last commits lie.
fn trail_range(commits: u64) -> KeyRange {
    let first = commits.saturating_sub(TRAIL_LENGTH) + 1;
    (Bound::Included(trail_key(first)), Bound::Included(trail_key(u64::MAX)))
}

/// A damaged journal can make fjall drop commits silently, and go on with later ones from the next journal. Their
/// marks are then missing among the last.
fn check_marks(
    marks: impl Iterator<Item = Result<Bytes, StoreError>>,
    of: &str,
    commits: u64,
) -> Result<(), StoreError> {
    let mut expected = commits.saturating_sub(TRAIL_LENGTH) + 1;
    for mark in marks {
        if mark? != trail_key(expected) {
            break;
        }
        expected += 1;
    }
    if expected == commits.saturating_add(1) {
        return Ok(());
    }
    Err(StoreError::Damaged(format!("{of}: commit {expected} of {commits} is missing")))
}

fn options() -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default()
        .index_block_partitioning_policy(PartitioningPolicy::all(true))
        .filter_block_partitioning_policy(PartitioningPolicy::all(true))
        .max_memtable_size(MEMTABLE_BYTES)
        .manual_journal_persist(true)
}

impl Rows for FjallStore {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        Ok(space.pick(&self.spaces).get(key).map_err(|error| self.health.failed(error))?.map(Bytes::from))
    }

    fn range(&self, space: Space, from: Bound<Vec<u8>>, to: Bound<Vec<u8>>) -> RowIter<'_> {
        if is_empty_range(&from, &to) {
            return Box::new(std::iter::empty());
        }
        rows_of(space.pick(&self.spaces).range((from, to)), self.health.clone())
    }
}

fn rows_of(found: fjall::Iter, health: Arc<Health>) -> RowIter<'static> {
    Box::new(found.map(move |row| {
        let (key, stored) = row.into_inner().map_err(|error| health.failed(error))?;
        Ok((Bytes::from(key), Bytes::from(stored)))
    }))
}

impl Store for FjallStore {
    fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        let (space, applied) = (batch.space(), batch.applied());
        let writes = batch.into_writes(&meta(self, space)?)?;
        let keyspace = space.pick(&self.spaces);
        let mut atomic = self.database.batch();
        for (key, after) in writes {
            if let Some(after) = after {
                atomic.insert(keyspace, key, Slice::from(after));
            } else {
                self.tombstones.note(&key);
                atomic.remove(keyspace, key);
            }
        }
        atomic.commit().map_err(|error| self.health.failed(error))?;
        self.applied.raise(applied);
        Ok(())
    }

    fn ingest(&self, batch: Batch) -> Result<(), StoreError> {
        let (space, applied) = (batch.space(), batch.applied());
        let writes = batch.into_writes(&meta(self, space)?)?;
        let mut ingestion =
            space.pick(&self.spaces).start_ingestion().map_err(|error| self.health.failed(error))?;
        for (key, after) in writes {
            match after {
                Some(after) => ingestion.write(key, Slice::from(after)),
                None => ingestion.write_tombstone(key),
            }
            .map_err(|error| self.health.failed(error))?;
        }
        ingestion.finish().map_err(|error| self.health.failed(error))?;
        self.applied.raise(applied);
        Ok(())
    }

    fn tidy(&self) -> Result<bool, StoreError> {
        self.tidy_state()
    }

    fn snapshot(&self) -> Box<dyn Rows + Send + Sync> {
        Box::new(FjallSnapshot {
            snapshot: self.database.snapshot(),
            spaces: self.spaces.clone(),
            health: self.health.clone(),
        })
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.database.persist(PersistMode::SyncAll).map_err(|error| self.health.failed(error))
    }
}

struct FjallSnapshot {
    snapshot: Snapshot,
    spaces: [Keyspace; 2],
    health: Arc<Health>,
}

impl Rows for FjallSnapshot {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        Ok(self
            .snapshot
            .get(space.pick(&self.spaces), key)
            .map_err(|error| self.health.failed(error))?
            .map(Bytes::from))
    }

    fn range(&self, space: Space, from: Bound<Vec<u8>>, to: Bound<Vec<u8>>) -> RowIter<'_> {
        if is_empty_range(&from, &to) {
            return Box::new(std::iter::empty());
        }
        rows_of(self.snapshot.range(space.pick(&self.spaces), (from, to)), self.health.clone())
    }
}

#[cfg(test)]
mod tests;
