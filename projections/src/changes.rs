//! What a fold asks for ([`Changes`], one record), and what a store commits ([`Batch`], many records).

use crate::digest::Digest;
use crate::key::{self, StateKey, SystemKey};
use crate::lacking::LackingRow;
use crate::rows::{Row, RowError};
use crate::store::{Space, StoreError};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use siltstone_log::id::{BlobId, Head, LogId, Position, StreamId};
use std::collections::BTreeMap;

/// A key of either space, encoded.
pub trait EncodedKey {
    /// The space it belongs to.
    const SPACE: Space;
    /// The stored form.
    fn encoded(&self) -> Vec<u8>;
}

impl EncodedKey for StateKey<'_> {
    const SPACE: Space = Space::State;
    fn encoded(&self) -> Vec<u8> {
        self.encode()
    }
}

impl EncodedKey for SystemKey<'_> {
    const SPACE: Space = Space::System;
    fn encoded(&self) -> Vec<u8> {
        self.encode()
    }
}

/// A row before and after a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The stored bytes it had; none where it was not there.
    pub before: Option<Bytes>,
    /// The stored bytes it has now; none where it is gone.
    pub after: Option<Bytes>,
}

/// What a layer of changed rows says of a key.
pub(crate) enum Layered<'a> {
    /// Nothing: ask the layer below.
    Untouched,
    /// It has no row any more.
    Removed,
    /// It has this row.
    Row(&'a Bytes),
}

impl<'a> Layered<'a> {
    pub(crate) fn of(after: Option<&'a Bytes>) -> Self {
        after.map_or(Self::Removed, Self::Row)
    }
}

/// Most records change five rows. Beyond this many, finding one by looking at each would show.
const FEW: usize = 16;

/// The rows of one space that one record changes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    few: Vec<(Vec<u8>, Change)>,
    rest: BTreeMap<Vec<u8>, Change>,
    freed: Vec<BlobId>,
}

impl Changes {
    /// No change.
    pub fn new() -> Self {
        Self::default()
    }

    /// Stores a row in place of `before`, which is what the fold read under this key.
    pub(crate) fn put<R: Row>(
        &mut self,
        key: Vec<u8>,
        before: Option<Bytes>,
        row: &R,
    ) -> Result<(), RowError> {
        let after = Some(row.to_stored()?);
        self.set(key, before, after);
        Ok(())
    }

    /// Removes the row that the fold read as `before`.
    pub(crate) fn remove(&mut self, key: Vec<u8>, before: Bytes) {
        self.set(key, Some(before), None);
    }

    pub(crate) fn set(&mut self, key: Vec<u8>, before: Option<Bytes>, after: Option<Bytes>) {
        let known = self.few.iter_mut().find(|(known, _)| *known == key).map(|(_, change)| change);
        if let Some(change) = known.or_else(|| self.rest.get_mut(&key)) {
            // A key that one record touches twice keeps what it had before the record.
            change.after = after;
        } else if self.few.len() < FEW {
            self.few.push((key, Change { before, after }));
        } else {
            self.rest.insert(key, Change { before, after });
        }
    }

    /// What the record makes of a row, if it changes it.
    pub(crate) fn look_up(&self, key: &[u8]) -> Layered<'_> {
        let known = self.few.iter().find(|(known, _)| known == key).map(|(_, change)| change);
        let change = known.or_else(|| self.rest.get(key));
        change.map_or(Layered::Untouched, |change| Layered::of(change.after.as_ref()))
    }

    /// Notes that nothing refers to a blob after the record.
    pub(crate) fn free(&mut self, blob: BlobId) {
        self.freed.push(blob);
    }

    /// The blobs that the record left without a reference: their space is given back once it is durable.
    pub fn freed(&self) -> &[BlobId] {
        &self.freed
    }

    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.few.is_empty()
    }

    /// The changed rows, each key once, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &Change)> {
        let few = self.few.iter().map(|(key, change)| (key.as_slice(), change));
        few.chain(self.rest.iter().map(|(key, change)| (key.as_slice(), change)))
    }

    /// The changed rows, owned.
    pub fn into_rows(self) -> impl Iterator<Item = (Vec<u8>, Change)> {
        self.few.into_iter().chain(self.rest)
    }
}

/// The last record of a stream that a space has applied, and the chain's head after it.
pub type Cursor = Head;

/// What a space says of itself (key `01`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpaceMeta {
    /// The rows' layout ([`crate::rows::SCHEMA`]); empty where nothing was ever committed.
    pub schema: String,
    /// The log it was computed from.
    pub log_id: LogId,
    /// The digest of its rows.
    pub digest: Digest,
    /// How many rows the digest covers.
    pub rows: u64,
    /// How many batches were committed.
    pub commits: u64,
    /// Every record up to here is applied, or is none of this space's. Local to the node.
    pub applied: Position,
}

impl Default for SpaceMeta {
    fn default() -> Self {
        Self {
            schema: String::new(),
            log_id: LogId::default(),
            digest: Digest::default(),
            rows: 0,
            commits: 0,
            applied: Position(0),
        }
    }
}

impl Row for SpaceMeta {
    const NAME: &'static str = "space";
}

/// A cursor as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CursorRow(pub Cursor);

impl Row for CursorRow {
    const NAME: &'static str = "cursor";
}

/// The key of a stream's cursor.
pub fn cursor_key(stream: StreamId) -> Vec<u8> {
    stream_key(key::CURSOR, stream)
}

/// The key of this kind that a stream has.
pub(crate) fn stream_key(kind: u8, stream: StreamId) -> Vec<u8> {
    [&[kind], stream.as_bytes().as_slice()].concat()
}

/// The stream of a key of this kind.
pub(crate) fn stream_of_key(kind: u8, key: &[u8]) -> Result<StreamId, RowError> {
    key.strip_prefix(&[kind])
        .and_then(|rest| rest.try_into().ok())
        .map(StreamId)
        .ok_or_else(|| RowError::key(key))
}

/// The key that shows that a commit reached the store.
pub(crate) fn trail_key(commit: u64) -> Vec<u8> {
    [&[key::TRAIL], commit.to_be_bytes().as_slice()].concat()
}

/// How many commits leave a trace. A store that lost commits in the middle, as a damaged journal can make it, has a
/// gap among the last ones; the journal never holds more than these.
pub(crate) const TRAIL_LENGTH: u64 = 1 << 18;

/// A row that a batch changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PendingRow {
    /// What the committed row contributes to the digest; none where there is none.
    pub(crate) before: Option<Digest>,
    /// The row's stored bytes from now on.
    pub(crate) after: Option<Bytes>,
}

/// A key and what is stored under it from now on; none removes it.
pub(crate) type Write = (Vec<u8>, Option<Bytes>);

/// The changes of many records to one space, to be committed in one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    space: Space,
    log_id: LogId,
    rows: BTreeMap<Vec<u8>, PendingRow>,
    cursors: BTreeMap<StreamId, Cursor>,
    lacking: BTreeMap<StreamId, LackingRow>,
    applied: Position,
    bytes: usize,
}

impl Batch {
    /// An empty batch for a space of a log's projections.
    pub fn new(space: Space, log_id: LogId) -> Self {
        Self {
            space,
            log_id,
            rows: BTreeMap::new(),
            cursors: BTreeMap::new(),
            lacking: BTreeMap::new(),
            applied: Position(0),
            bytes: 0,
        }
    }

    /// The space it changes.
    pub fn space(&self) -> Space {
        self.space
    }

    /// Rows it changes.
    pub fn row_count(&self) -> usize {
        self.rows.len()
    }

    /// Bytes of keys and rows it holds, about.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether it changes no row, moves no cursor, and says of no stream that its rows lack something.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.cursors.is_empty() && self.lacking.is_empty()
    }

    /// Every record up to here is applied once the batch is committed.
    pub fn applied(&self) -> Position {
        self.applied
    }

    /// The cursor it moves a stream to, if it does.
    pub fn cursor(&self, stream: StreamId) -> Option<Cursor> {
        self.cursors.get(&stream).copied()
    }

    /// Adds what one record changes.
    pub fn merge(&mut self, changes: Changes) {
        use std::collections::btree_map::Entry;
        for (key, change) in changes.into_rows() {
            let size = change.after.as_ref().map_or(0, Bytes::len);
            match self.rows.entry(key) {
                Entry::Occupied(mut pending) => {
                    let pending = pending.get_mut();
                    let old = pending.after.as_ref().map_or(0, Bytes::len);
                    self.bytes = self.bytes.saturating_sub(old).saturating_add(size);
                    pending.after = change.after;
                }
                Entry::Vacant(vacant) => {
                    // The hash now, not the bytes kept: they may hold a whole block of the store in memory.
                    let before = change.before.map(|stored| {
                        let mut digest = Digest::default();
                        digest.add_row(self.space, vacant.key(), &stored);
                        digest
                    });
                    self.bytes = self.bytes.saturating_add(size + vacant.key().len() + 128);
                    vacant.insert(PendingRow { before, after: change.after });
                }
            }
        }
    }

    /// Moves a stream's cursor.
    pub fn advance(&mut self, stream: StreamId, cursor: Cursor) {
        self.cursors.insert(stream, cursor);
    }

    /// Says all that a stream's rows were built without.
    pub(crate) fn lack(&mut self, stream: StreamId, lacking: LackingRow) {
        self.lacking.insert(stream, lacking);
    }

    /// Says up to where everything is applied.
    pub fn set_applied(&mut self, position: Position) {
        self.applied = self.applied.max(position);
    }

    /// Mutant M7: the batch's position in a batch of its own.
    pub(crate) fn take_position(&mut self) -> Self {
        let (cursors, applied) = (std::mem::take(&mut self.cursors), self.applied);
        Self { cursors, applied, ..Self::new(self.space, self.log_id) }
    }

    pub(crate) fn rows(&self) -> &BTreeMap<Vec<u8>, PendingRow> {
        &self.rows
    }

    /// Everything to be written, sorted by key, given what the space says of itself so far. The rows, the cursors and
    /// the digest go into the store in one step: apart, a crash between them would leave a digest that no rebuild
    /// gives (mutant M7).
    pub(crate) fn into_writes(self, old: &SpaceMeta) -> Result<Vec<Write>, StoreError> {
        let mut meta = SpaceMeta {
            schema: crate::rows::SCHEMA.to_owned(),
            log_id: self.log_id,
            digest: old.digest,
            rows: old.rows,
            commits: old.commits.saturating_add(1),
            applied: old.applied.max(self.applied),
        };
        let mut writes = Vec::with_capacity(self.rows.len() + self.cursors.len() + self.lacking.len() + 3);
        for (stream, cursor) in &self.cursors {
            writes.push((cursor_key(*stream), Some(CursorRow(*cursor).to_stored()?)));
        }
        let meta_at = writes.len();
        if let Some(old) = meta.commits.checked_sub(TRAIL_LENGTH) {
            writes.push((trail_key(old), None));
        }
        writes.push((trail_key(meta.commits), Some(Bytes::new())));
        for (stream, lacking) in &self.lacking {
            writes.push((stream_key(key::LACKING, *stream), Some(lacking.to_stored()?)));
        }
        for (key, pending) in self.rows {
            if let Some(before) = &pending.before {
                meta.digest.subtract(before);
                meta.rows = meta.rows.saturating_sub(1);
            }
            match &pending.after {
                Some(after) => {
                    meta.digest.add_row(self.space, &key, after);
                    meta.rows = meta.rows.saturating_add(1);
                }
                // Made and removed within the batch: there is nothing to take away.
                None if pending.before.is_none() => continue,
                None => {}
            }
            writes.push((key, pending.after));
        }
        writes.insert(meta_at, (vec![key::META], Some(meta.to_stored()?)));
        Ok(writes)
    }
}
