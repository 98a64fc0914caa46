//! The index of blobs in a keyspace beside the projections. No digest covers it: where a blob lies differs from node
//! to node, and the packs say it too.
//!
//! Keys: `01` the index itself (log id, number of writes, highest pack); `02 [number u64]` the trail of the last writes, as in
//! [`crate::key::TRAIL`]; `10 [blob 16]` a blob's place in its encoded form; `11 [pack u32]` a pack that was indexed.

use super::{FjallStore, Health, check_marks, failed};
use crate::changes::{TRAIL_LENGTH, trail_key};
use crate::key::META;
use crate::rows::{Row, RowError};
use crate::store::StoreError;
use bytes::Bytes;
use fjall::{Database, Keyspace, Slice};
use serde::{Deserialize, Serialize};
use siltstone_log::id::{BlobId, LogId};
use siltstone_log::pack::{BlobIndex, BlobIndexError, BlobPlace};
use std::ops::Bound;
use std::sync::{Arc, Mutex, PoisonError};

pub(super) const KEYSPACE: &str = "blobs";
const BLOB: u8 = 0x10;
const PACK: u8 = 0x11;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct IndexRow {
    log_id: LogId,
    writes: u64,
    highest_pack: u32,
}

impl Row for IndexRow {
    const NAME: &'static str = "blob index";
}

/// The real index of blobs. Clones share it.
#[derive(Clone)]
pub struct FjallBlobIndex {
    database: Database,
    keyspace: Keyspace,
    health: Arc<Health>,
    state: Arc<Mutex<IndexRow>>,
}

fn blob_key(blob: BlobId) -> Vec<u8> {
    [&[BLOB], blob.as_bytes().as_slice()].concat()
}

fn pack_key(pack: u32) -> Vec<u8> {
    [&[PACK], pack.to_be_bytes().as_slice()].concat()
}

fn damaged(error: &RowError) -> String {
    error.to_string()
}

/// Whether the index is one of this log and whole. A new one is.
pub(super) fn open(
    database: &Database,
    keyspace: Keyspace,
    health: Arc<Health>,
    log_id: LogId,
) -> Result<FjallBlobIndex, StoreError> {
    let stored = keyspace.get([META]).map_err(failed)?;
    let state = match stored {
        None => IndexRow { log_id, ..IndexRow::default() },
        Some(stored) => IndexRow::from_stored(&stored)?,
    };
    if state.log_id != log_id {
        return Err(StoreError::Damaged(format!("blob index: of log {}, not {log_id}", state.log_id)));
    }
    let marks = keyspace.range(super::trail_range(state.writes));
    let marks = marks.map(|mark| Ok(Bytes::from(mark.key().map_err(failed)?)));
    check_marks(marks, "blob index", state.writes)?;
    Ok(FjallBlobIndex { database: database.clone(), keyspace, health, state: Arc::new(Mutex::new(state)) })
}

impl FjallBlobIndex {
    fn failed(&self, error: fjall::Error) -> BlobIndexError {
        BlobIndexError(self.health.failed(error).to_string())
    }

    /// Writes or removes a row together with its number, and remembers the pack that it speaks of.
    fn write(&self, key: Vec<u8>, value: Option<Vec<u8>>, pack: u32) -> Result<(), BlobIndexError> {
        // ORDER: numbers reach the journal in their order, or what a crash leaves would not be a beginning of the
        // calls; so the lock covers the write, which goes to the system's cache only.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (writes, highest_pack) = (state.writes.saturating_add(1), state.highest_pack.max(pack));
        let next = IndexRow { writes, highest_pack, ..state.clone() };
        let stored = next.to_stored().map_err(|error| BlobIndexError(damaged(&error)))?;
        let mut batch = self.database.batch();
        batch.insert(&self.keyspace, [META], Slice::from(stored));
        batch.insert(&self.keyspace, trail_key(next.writes), []);
        if let Some(old) = next.writes.checked_sub(TRAIL_LENGTH) {
            batch.remove(&self.keyspace, trail_key(old));
        }
        match value {
            Some(value) => batch.insert(&self.keyspace, key, value),
            None => batch.remove(&self.keyspace, key),
        }
        batch.commit().map_err(|error| self.failed(error))?;
        *state = next;
        Ok(())
    }
}

impl BlobIndex for FjallBlobIndex {
    fn get(&self, blob: BlobId) -> Result<Option<BlobPlace>, BlobIndexError> {
        let stored = self.keyspace.get(blob_key(blob)).map_err(|error| self.failed(error))?;
        let place = stored.map(|stored| BlobPlace::decode(&stored)).transpose();
        place.map_err(|error| BlobIndexError(error.to_string()))
    }

    fn list(&self, after: Option<BlobId>, limit: usize) -> Result<Vec<BlobId>, BlobIndexError> {
        let from = after.map_or(Bound::Included(vec![BLOB]), |after| Bound::Excluded(blob_key(after)));
        let rows = self.keyspace.range((from, Bound::Excluded(vec![PACK])));
        let blobs = rows.take(limit).map(|row| {
            let key = row.key().map_err(|error| self.failed(error))?;
            let id = key.get(1..).and_then(|id| id.try_into().ok()).map(BlobId);
            id.ok_or_else(|| BlobIndexError(damaged(&RowError::key(&key))))
        });
        blobs.collect()
    }

    fn put(&self, blob: BlobId, place: &BlobPlace) -> Result<(), BlobIndexError> {
        self.write(blob_key(blob), Some(place.encode()), place.highest_pack())
    }

    fn remove(&self, blob: BlobId) -> Result<(), BlobIndexError> {
        self.write(blob_key(blob), None, 0)
    }

    fn mark_indexed(&self, pack: u32) -> Result<(), BlobIndexError> {
        self.write(pack_key(pack), Some(Vec::new()), pack)
    }

    fn is_indexed(&self, pack: u32) -> Result<bool, BlobIndexError> {
        self.keyspace.contains_key(pack_key(pack)).map_err(|error| self.failed(error))
    }

    fn highest_pack(&self) -> Result<u32, BlobIndexError> {
        Ok(self.state.lock().unwrap_or_else(PoisonError::into_inner).highest_pack)
    }
}

impl FjallStore {
    /// The index of blobs beside the projections.
    pub fn blobs(&self) -> FjallBlobIndex {
        self.blobs.clone()
    }
}
