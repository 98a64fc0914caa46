//! Where each blob lies: an index that can be thrown away, because the packs themselves say it too.

use super::place::BlobPlace;
use crate::id::BlobId;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The index's store failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("blob index: {0}")]
pub struct BlobIndexError(pub String);

/// Maps blobs to places.
///
/// ORDER: what survives a crash is a prefix of the calls of one thread. A pack is marked as indexed after the blobs
/// in it were put; recovery does not look into a marked pack, so a mark that outlived a put would lose the blob.
///
/// An index belongs to one log id; opened for another it begins empty.
pub trait BlobIndex: Send + Sync {
    /// Where a blob lies, if it is here.
    fn get(&self, blob: BlobId) -> Result<Option<BlobPlace>, BlobIndexError>;
    /// The blobs that follow `after` in the order of their ids, or the first ones: `limit` at most.
    fn list(&self, after: Option<BlobId>, limit: usize) -> Result<Vec<BlobId>, BlobIndexError>;
    /// Remembers a blob. Putting it again replaces its place. [`BlobPlace::encode`] is the form to store.
    fn put(&self, blob: BlobId, place: &BlobPlace) -> Result<(), BlobIndexError>;
    /// Forgets a blob; one that is not there is no error.
    fn remove(&self, blob: BlobId) -> Result<(), BlobIndexError>;
    /// Notes that every blob of a sealed pack was put.
    fn mark_indexed(&self, pack: u32) -> Result<(), BlobIndexError>;
    /// Whether [`BlobIndex::mark_indexed`] was called for a pack.
    fn is_indexed(&self, pack: u32) -> Result<bool, BlobIndexError>;
    /// The highest pack that was ever marked or had a blob put into it, though it was removed since; 0 without any.
    /// Numbers up to it are not given to new packs: what the index still says of them, after their files were lost, would
    /// be said of the new ones.
    fn highest_pack(&self) -> Result<u32, BlobIndexError>;
}

/// An index in memory, for tests and simulation.
#[derive(Debug, Default)]
pub struct MemoryBlobIndex {
    state: Mutex<MemoryState>,
}

#[derive(Debug, Default)]
struct MemoryState {
    blobs: BTreeMap<BlobId, BlobPlace>,
    packs: BTreeSet<u32>,
    highest_pack: u32,
}

impl MemoryBlobIndex {
    fn state(&self) -> MutexGuard<'_, MemoryState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All blobs in it.
    pub fn blobs(&self) -> Vec<(BlobId, BlobPlace)> {
        self.state().blobs.iter().map(|(blob, place)| (*blob, place.clone())).collect()
    }
}

impl BlobIndex for MemoryBlobIndex {
    fn get(&self, blob: BlobId) -> Result<Option<BlobPlace>, BlobIndexError> {
        Ok(self.state().blobs.get(&blob).cloned())
    }

    fn list(&self, after: Option<BlobId>, limit: usize) -> Result<Vec<BlobId>, BlobIndexError> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        Ok(self.state().blobs.range((from, Bound::Unbounded)).map(|(blob, _)| *blob).take(limit).collect())
    }

    fn put(&self, blob: BlobId, place: &BlobPlace) -> Result<(), BlobIndexError> {
        let mut state = self.state();
        state.highest_pack = state.highest_pack.max(place.highest_pack());
        state.blobs.insert(blob, place.clone());
        Ok(())
    }

    fn remove(&self, blob: BlobId) -> Result<(), BlobIndexError> {
        self.state().blobs.remove(&blob);
        Ok(())
    }

    fn mark_indexed(&self, pack: u32) -> Result<(), BlobIndexError> {
        let mut state = self.state();
        state.highest_pack = state.highest_pack.max(pack);
        state.packs.insert(pack);
        Ok(())
    }

    fn highest_pack(&self) -> Result<u32, BlobIndexError> {
        Ok(self.state().highest_pack)
    }

    fn is_indexed(&self, pack: u32) -> Result<bool, BlobIndexError> {
        Ok(self.state().packs.contains(&pack))
    }
}
