//! Gives blobs' space back: not while somebody reads them.
//!
//! A version may leave the history window, or give way to new content, while a client reads it. Its blobs are then given
//! back when the last reader ends, which the doors bound: a client that is too slow is cut.

use crate::engine::outcome::Fault;
use siltstone_log::id::BlobId;
use siltstone_log::pack::{BlobIndex, BlobIndexError, BlobPlace, PackClient};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Knows where blobs lie, and who reads them.
pub(crate) struct BlobKeeper {
    packs: PackClient,
    index: Arc<dyn BlobIndex>,
    held: Mutex<State>,
}

#[derive(Default)]
struct State {
    readers: BTreeMap<BlobId, usize>,
    /// To be given back after their last reader.
    unwanted: BTreeMap<BlobId, BlobPlace>,
}

impl BlobKeeper {
    pub(crate) fn new(packs: PackClient, index: Arc<dyn BlobIndex>) -> Arc<Self> {
        Arc::new(Self { packs, index, held: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where a blob lies.
    pub(crate) fn place(&self, blob: BlobId) -> Result<BlobPlace, Fault> {
        let place = self.find(blob).map_err(|error| Fault::Content(error.to_string()))?;
        place.ok_or_else(|| Fault::Content(format!("blob {blob} is missing")))
    }

    /// Where a blob lies, if it is there.
    pub(crate) fn find(&self, blob: BlobId) -> Result<Option<BlobPlace>, BlobIndexError> {
        self.index.get(blob)
    }

    /// Where all blobs lie.
    pub(crate) fn index(&self) -> &dyn BlobIndex {
        &*self.index
    }

    /// Keeps blobs until the hold is dropped. One that was given back before is not there to be kept: its reader is told
    /// when it looks for its place, or finds no blocks.
    pub(crate) fn hold(self: &Arc<Self>, blobs: Vec<BlobId>) -> BlobHold {
        let mut state = self.state();
        for blob in &blobs {
            *state.readers.entry(*blob).or_insert(0) += 1;
        }
        drop(state);
        BlobHold { keeper: self.clone(), blobs }
    }

    /// Gives back a blob that nothing refers to any more, durably.
    pub(crate) fn free(&self, blob: BlobId) {
        match self.find(blob) {
            Ok(Some(place)) => self.free_at(blob, place),
            Ok(None) => {}
            // The space stays taken until the next start sweeps; no promise depends on it.
            Err(error) => tracing::warn!(%blob, %error, "cannot free a blob"),
        }
    }

    /// As [`Self::free`], where the place is known.
    pub(crate) fn free_at(&self, blob: BlobId, place: BlobPlace) {
        let mut state = self.state();
        if state.readers.contains_key(&blob) {
            state.unwanted.insert(blob, place);
        } else {
            self.packs.free(blob, place);
        }
    }

    /// Bytes that nothing refers to any more and that are not free yet.
    pub(crate) fn returning(&self) -> u64 {
        let unwanted =
            self.state().unwanted.values().fold(0, |sum: u64, place| sum.saturating_add(place.len));
        unwanted.saturating_add(self.giving_back())
    }

    /// Those of them that nobody reads.
    pub(crate) fn giving_back(&self) -> u64 {
        self.packs.giving_back()
    }

    fn let_go(&self, blob: BlobId) {
        let mut state = self.state();
        let Some(readers) = state.readers.get_mut(&blob) else { return };
        *readers -= 1;
        if *readers == 0 {
            state.readers.remove(&blob);
            if let Some(place) = state.unwanted.remove(&blob) {
                self.packs.free(blob, place);
            }
        }
    }
}

/// Blobs that stay while somebody reads them.
pub(crate) struct BlobHold {
    keeper: Arc<BlobKeeper>,
    blobs: Vec<BlobId>,
}

impl Drop for BlobHold {
    fn drop(&mut self) {
        for blob in &self.blobs {
            self.keeper.let_go(*blob);
        }
    }
}
