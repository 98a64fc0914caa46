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

pub use blobs::FjallBlobIndex;

use crate::changes::{Batch, SpaceMeta, TRAIL_LENGTH, trail_key};
use crate::follower::cursors;
use crate::overlay::is_empty_range;
use crate::rows::SCHEMA;
use crate::store::{KeyRange, RowIter, Rows, Space, Store, StoreError, meta};
use bytes::Bytes;
use fjall::config::PartitioningPolicy;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable, Slice, Snapshot};
use siltstone_log::id::{Head, LogId, Position, StreamId};
use std::collections::BTreeMap;
use std::fs;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const CACHE_BYTES: u64 = 128 << 20;
const MEMTABLE_BYTES: u64 = 32 << 20;
const WRITE_BUFFER_BYTES: u64 = 96 << 20;
const JOURNAL_BYTES: u64 = 128 << 20;

/// A file in the folder which says that what lies there must not be used again.
const CONDEMNED: &str = "CONDEMNED";

/// What the projections are derived from, as recovery found it.
#[derive(Debug, Clone, Copy)]
pub struct LogState<'a> {
    /// The log.
    pub log_id: LogId,
    /// The position its next record gets.
    pub next_position: Position,
    /// The last record of each stream.
    pub heads: &'a BTreeMap<StreamId, Head>,
}

/// Projections that could not be used and were put aside. They are rebuilt from the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discarded {
    /// Where they are now. Only the last ones put aside are kept.
    pub moved_to: PathBuf,
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
    health: Arc<Health>,
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
        fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error)) => {
            StoreError::Io(error.to_string())
        }
        fjall::Error::Poisoned | fjall::Error::Locked | fjall::Error::KeyspaceDeleted => {
            StoreError::Io(error.to_string())
        }
        other => StoreError::Damaged(other.to_string()),
    }
}

/// Marks the projections in a folder as not to be used again: the next [`FjallStore::open`] begins with empty ones.
pub fn condemn(folder: &Path) -> std::io::Result<()> {
    fs::write(folder.join(CONDEMNED), b"")
}

impl FjallStore {
    /// Opens the projections in a folder. Where they are damaged, of another schema or log, or ahead of the log, the
    /// folder is renamed to `<folder>.bad-<n>` and an empty store begins: the log is the truth.
    pub fn open(folder: &Path, log: &LogState<'_>) -> Result<Opened, StoreError> {
        let reason = match Self::open_checked(folder, log) {
            Ok(store) => return Ok(Opened { store, discarded: None }),
            Err(OpenError::InUse) => return Err(StoreError::Io("another process has them open".to_owned())),
            Err(OpenError::Unusable(reason)) => reason,
        };
        let moved_to = put_aside(folder).map_err(|error| StoreError::Io(error.to_string()))?;
        match Self::open_checked(folder, log) {
            Ok(store) => Ok(Opened { store, discarded: Some(Discarded { moved_to, reason }) }),
            Err(OpenError::InUse) => Err(StoreError::Io("another process has them open".to_owned())),
            Err(OpenError::Unusable(reason)) => Err(StoreError::Io(reason)),
        }
    }

    fn open_checked(folder: &Path, log: &LogState<'_>) -> Result<Self, OpenError> {
        if folder.join(CONDEMNED).exists() {
            return Err(OpenError::Unusable("they were marked as damaged".to_owned()));
        }
        // fjall expects some of its own bytes to be whole and panics where they are not. Nothing of it outlives that.
        let opened = catch_unwind(AssertUnwindSafe(|| Self::open_database(folder, log.log_id)));
        let store =
            opened.unwrap_or_else(|_| Err(OpenError::Unusable("fjall gave up on them".to_owned())))?;
        match Space::ALL.into_iter().try_for_each(|space| check(&store, space, log)) {
            Ok(()) => Ok(store),
            Err(reason) => Err(OpenError::Unusable(reason)),
        }
    }

    fn open_database(folder: &Path, log_id: LogId) -> Result<Self, OpenError> {
        #[expect(
            deprecated,
            reason = "fjall calls it unsettled; without it all memtables together have no bound"
        )]
        let builder = Database::builder(folder)
            .cache_size(CACHE_BYTES)
            .manual_journal_persist(true)
            .max_journaling_size(JOURNAL_BYTES)
            .max_write_buffer_size(Some(WRITE_BUFFER_BYTES));
        let database = builder.open()?;
        let spaces = [
            database.keyspace(Space::System.name(), options)?,
            database.keyspace(Space::State.name(), options)?,
        ];
        let blobs = database.keyspace(blobs::KEYSPACE, options)?;
        let health = Arc::new(Health { folder: folder.to_owned(), condemned: AtomicBool::new(false) });
        let blobs = blobs::open(&database, blobs, health.clone(), log_id).map_err(OpenError::Unusable)?;
        Ok(Self { database, spaces, blobs, health })
    }

    /// Bytes on disk, about.
    pub fn disk_bytes(&self) -> u64 {
        self.database.disk_space().unwrap_or_default()
    }
}

enum OpenError {
    InUse,
    Unusable(String),
}

impl From<fjall::Error> for OpenError {
    fn from(error: fjall::Error) -> Self {
        match error {
            fjall::Error::Locked => Self::InUse,
            other => Self::Unusable(other.to_string()),
        }
    }
}

/// Renames the folder out of the way, and removes what was put aside before.
fn put_aside(folder: &Path) -> std::io::Result<PathBuf> {
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
    for older in (1..number).rev() {
        // Each copy may be as large as the live one, and only the last may still tell someone something.
        fs::remove_dir_all(name(older))?;
    }
    Ok(name(number))
}

/// Whether a space is one of this log at a point this log has reached, and whole as far as can be told cheaply.
fn check(store: &FjallStore, space: Space, log: &LogState<'_>) -> Result<(), String> {
    let text = |error: StoreError| error.to_string();
    let found = meta(store, space).map_err(text)?;
    if found == SpaceMeta::default() {
        let rows = store.range(space, Bound::Unbounded, Bound::Unbounded).next();
        return if rows.is_none() { Ok(()) } else { Err(format!("{space}: rows without their record")) };
    }
    if found.schema != SCHEMA {
        return Err(format!("{space}: schema {}, not {SCHEMA}", found.schema));
    }
    if found.log_id != log.log_id {
        return Err(format!("{space}: of log {}, not {}", found.log_id, log.log_id));
    }
    if found.applied >= log.next_position {
        return Err(format!(
            "{space}: at position {}, the log ends before {}",
            found.applied, log.next_position
        ));
    }
    for cursor in cursors(store, space) {
        let (stream, cursor) = cursor.map_err(text)?;
        let head = log.heads.get(&stream).copied().unwrap_or_default();
        if cursor.seq > head.seq || (cursor.seq == head.seq && cursor.hash != head.hash) {
            return Err(format!("{space}: stream {stream} at record {} is not the log's", cursor.seq));
        }
    }
    check_trail(store, space, &found)
}

fn check_trail(store: &FjallStore, space: Space, found: &SpaceMeta) -> Result<(), String> {
    let (from, to) = trail_range(found.commits);
    let marks = store.range(space, from, to).map(|mark| {
        let (key, _) = mark.map_err(|error| error.to_string())?;
        Ok(key)
    });
    check_marks(marks, found.commits).map_err(|reason| format!("{space}: {reason}"))
}

/// Where the marks of the last commits lie.
fn trail_range(commits: u64) -> KeyRange {
    let first = commits.saturating_sub(TRAIL_LENGTH) + 1;
    (Bound::Included(trail_key(first)), Bound::Included(trail_key(u64::MAX)))
}

/// A damaged journal can make fjall drop commits silently, and go on with later ones from the next journal. Their
/// marks are then missing among the last.
fn check_marks(marks: impl Iterator<Item = Result<Bytes, String>>, commits: u64) -> Result<(), String> {
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
    Err(format!("commit {expected} of {commits} is missing"))
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
        let space = batch.space();
        let writes = batch.into_writes(&meta(self, space)?)?;
        let keyspace = space.pick(&self.spaces);
        let mut atomic = self.database.batch();
        for (key, after) in writes {
            match after {
                Some(after) => atomic.insert(keyspace, key, Slice::from(after)),
                None => atomic.remove(keyspace, key),
            }
        }
        atomic.commit().map_err(|error| self.health.failed(error))
    }

    fn ingest(&self, batch: Batch) -> Result<(), StoreError> {
        let space = batch.space();
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
        ingestion.finish().map_err(|error| self.health.failed(error))
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
