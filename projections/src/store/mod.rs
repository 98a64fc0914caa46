//! Where rows lie: the traits, and two stores behind them that one conformance suite holds to the same behaviour.
//!
//! Next hop: [`mem`] for tests and the simulator, [`fjall`] for a server, with [`cached`] in front of it.

pub mod cached;
#[cfg(test)]
mod conformance;
mod fit;
pub mod fjall;
pub mod mem;

pub use fit::{LogState, check_fit};

use crate::changes::{Batch, SpaceMeta};
use crate::key::{StateKey, SystemKey};
use crate::rows::{Row, RowError};
use bytes::Bytes;
use siltstone_log::id::{Position, StreamId};
use std::fmt;
use std::ops::Bound;

/// A group of rows that is consistent in itself: its rows, cursors and digest change in one step, and its folds read
/// no row of another space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Space {
    /// Names, tenants, accounts, users, keys and policies: fed by the `system` stream.
    System,
    /// Buckets, objects and uploads: fed by the streams of buckets.
    State,
}

impl Space {
    /// Every space there is.
    pub const ALL: [Self; 2] = [Self::System, Self::State];

    /// The space that a stream feeds; none for evidence and telemetry, which are no state.
    pub fn of(stream: StreamId) -> Option<Self> {
        match stream {
            StreamId::SYSTEM => Some(Self::System),
            StreamId::ACCESS | StreamId::TELEMETRY => None,
            _ => Some(Self::State),
        }
    }

    /// The space's name: its keyspace, and its label in metrics and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::State => "state",
        }
    }

    /// The byte that stands for the space in digests.
    pub fn tag(self) -> u8 {
        match self {
            Self::System => 1,
            Self::State => 2,
        }
    }

    /// This space's part of a pair that holds one of each.
    pub fn pick<T>(self, pair: &[T; 2]) -> &T {
        let [system, state] = pair;
        match self {
            Self::System => system,
            Self::State => state,
        }
    }

    /// This space's part of a pair that holds one of each.
    pub fn pick_mut<T>(self, pair: &mut [T; 2]) -> &mut T {
        let [system, state] = pair;
        match self {
            Self::System => system,
            Self::State => state,
        }
    }
}

impl fmt::Display for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A row could not be read or written. Never a reason to stop the server or to touch the log: rows are rebuilt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The system refused: no space, a failed write, a store that stopped itself after one.
    #[error("the projections cannot be read or written: {0}")]
    Io(String),
    /// What is stored is not what was written. The projections have to be rebuilt.
    #[error("the projections are damaged: {0}")]
    Damaged(String),
    /// They hold records up to this position, and the log ends before it. Only durable records are applied, so it is the
    /// log that has lost something.
    #[error("the projections are at position {0}, and the log ends before it")]
    Ahead(Position),
    /// They are of another schema, which this program cannot read, and hold records from this position on that the log
    /// has lost: they may be the only copy of what was acknowledged. To build them anew would forget it.
    #[error(
        "the projections are of {schema}, which this program does not read, and may alone remember what the log has lost \
         at position {lost}; the program that wrote them can go on with them. To give that up: \
         `siltstone log repair DIR --accept-loss`"
    )]
    OnlyCopy {
        /// Their schema.
        schema: String,
        /// The first position that the log has lost.
        lost: Position,
    },
    /// A reader who may not wait for the disk asked for what is not in memory.
    #[error("the row is not in memory")]
    NotInMemory,
}

impl From<RowError> for StoreError {
    fn from(error: RowError) -> Self {
        Self::Damaged(error.to_string())
    }
}

/// Rows in ascending order of their keys, with their stored bytes.
pub type RowIter<'a> = Box<dyn Iterator<Item = Result<(Bytes, Bytes), StoreError>> + 'a>;

/// A key range of a space: from, to.
pub type KeyRange = (Bound<Vec<u8>>, Bound<Vec<u8>>);

/// Anything that rows can be read from: a store, a snapshot of one, or pending rows over either.
pub trait Rows {
    /// The stored bytes of a row.
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StoreError>;

    /// The rows between two keys, ascending.
    fn range(&self, space: Space, from: Bound<Vec<u8>>, to: Bound<Vec<u8>>) -> RowIter<'_>;
}

/// Rows that outlive the process, or pretend to.
///
/// One committer at a time for each space (the follower): a change names the row it replaces, and the digest is
/// computed from that.
pub trait Store: Rows + Send + Sync {
    /// Applies a batch in one step, with cursors, digest and counters. Visible to every read that begins after it
    /// returns; durable only after [`Store::sync`], since the log is the truth.
    fn commit(&self, batch: Batch) -> Result<(), StoreError>;

    /// The same as `commit`, by the store's way for very many rows.
    fn ingest(&self, batch: Batch) -> Result<(), StoreError>;

    /// Does what keeps reading cheap, where it is worth it, and says whether it did anything. May take minutes.
    fn tidy(&self) -> Result<bool, StoreError> {
        Ok(false)
    }

    /// A view that later commits do not change.
    fn snapshot(&self) -> Box<dyn Rows + Send + Sync>;

    /// Makes everything committed durable.
    fn sync(&self) -> Result<(), StoreError>;

    /// A row that is in memory, without waiting for the disk. `None` says only that this cannot tell: [`Rows::get`] does.
    fn recall(&self, _space: Space, _key: &[u8]) -> Option<Bytes> {
        None
    }
}

/// Reads and decodes a row.
pub(crate) fn load<R: Row>(rows: &dyn Rows, space: Space, key: &[u8]) -> Result<Option<R>, StoreError> {
    Ok(rows.get(space, key)?.map(|stored| R::from_stored(&stored)).transpose()?)
}

/// Reads and decodes a row of the `State` space.
pub(crate) fn load_state<R: Row>(rows: &dyn Rows, key: &StateKey<'_>) -> Result<Option<R>, StoreError> {
    load(rows, Space::State, &key.encode())
}

/// Reads and decodes a row of the `System` space.
pub(crate) fn load_system<R: Row>(rows: &dyn Rows, key: &SystemKey<'_>) -> Result<Option<R>, StoreError> {
    load(rows, Space::System, &key.encode())
}

/// What a space says of itself: schema, log, digest, counters and position. The default where nothing was ever
/// committed.
pub fn meta(rows: &dyn Rows, space: Space) -> Result<SpaceMeta, StoreError> {
    Ok(load(rows, space, &[crate::key::META])?.unwrap_or_default())
}

/// The key range of everything that begins with a prefix.
pub fn prefix_range(prefix: Vec<u8>) -> KeyRange {
    let end = prefix_end(&prefix);
    (Bound::Included(prefix), end)
}

/// The first key that is greater than everything beginning with a prefix.
pub(crate) fn prefix_end(prefix: &[u8]) -> Bound<Vec<u8>> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            return Bound::Excluded(end);
        }
    }
    Bound::Unbounded
}
