//! What outlives a process beside the disk: projections and the index of blobs. Both are disposable, so a crash may
//! take their last commits, or all of them; each is a prefix of what was committed.

use super::random::Random;
use siltstone_log::id::{BlobId, StreamId};
use siltstone_log::pack::{BlobIndex, BlobIndexError, BlobPlace, MemoryBlobIndex};
use siltstone_projections::store::mem::MemStore;
use siltstone_projections::{Batch, Space, Store, StoreError};
use std::sync::{Arc, Mutex, PoisonError};

/// The projections' store, with the batches it was made of.
#[derive(Debug, Default)]
pub struct SimStore {
    store: MemStore,
    commits: [Vec<Batch>; 2],
    /// The streams whose rows lack records, each with the first commit that is built on that.
    holes: Vec<(StreamId, usize)>,
}

impl SimStore {
    /// The rows.
    pub fn rows(&self) -> &MemStore {
        &self.store
    }

    /// Commits a batch.
    pub fn commit(&mut self, batch: Batch) -> Result<(), StoreError> {
        batch.space().pick_mut(&mut self.commits).push(batch.clone());
        self.store.commit(batch)
    }

    /// Notes streams whose rows lack records from the next commit on.
    pub fn note_holes(&mut self, streams: &[StreamId]) {
        for stream in streams {
            if let Some(space) = Space::of(*stream) {
                let next = space.pick(&self.commits).len() + 1;
                self.holes.push((*stream, next));
            }
        }
    }

    /// Whether a stream's rows lack records that nobody has given up.
    pub fn has_hole(&self, stream: StreamId) -> bool {
        self.holes.iter().any(|(known, _)| *known == stream)
    }

    /// Whether any stream's rows do.
    pub fn has_holes(&self) -> bool {
        !self.holes.is_empty()
    }

    /// Throws everything away.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// What a power cut leaves: of each space some of its commits, and none after one that is lost. Says whether any is.
    pub fn after_power_cut(&self, random: &mut Random) -> Result<(Self, bool), StoreError> {
        let mut lost = false;
        let mut left = Self::default();
        for space in Space::ALL {
            let commits = space.pick(&self.commits);
            let kept = if random.coin() { commits.len() } else { random.index(commits.len() + 1) };
            lost |= kept < commits.len();
            for batch in commits.iter().take(kept) {
                left.commit(batch.clone())?;
            }
            let holes =
                self.holes.iter().filter(|(stream, from)| Space::of(*stream) == Some(space) && *from <= kept);
            left.holes.extend(holes);
        }
        Ok((left, lost))
    }

    /// How many batches it was made of.
    pub fn committed(&self) -> usize {
        self.commits.iter().map(Vec::len).sum()
    }
}

#[derive(Debug, Clone)]
enum Call {
    Put(BlobId, BlobPlace),
    Remove(BlobId),
    Mark(u32),
}

/// The index of blobs, with the calls it was made of.
#[derive(Debug, Default)]
pub struct SimIndex {
    index: MemoryBlobIndex,
    calls: Mutex<Vec<Call>>,
}

impl SimIndex {
    fn note(&self, call: Call) -> Result<(), BlobIndexError> {
        match &call {
            Call::Put(blob, place) => self.index.put(*blob, place)?,
            Call::Remove(blob) => self.index.remove(*blob)?,
            Call::Mark(pack) => self.index.mark_indexed(*pack)?,
        }
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).push(call);
        Ok(())
    }

    /// What a power cut leaves: a prefix of the calls.
    pub fn after_power_cut(&self, random: &mut Random) -> Result<Arc<Self>, BlobIndexError> {
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = if random.coin() { calls.len() } else { random.index(calls.len() + 1) };
        let left = Self::default();
        calls.iter().take(kept).try_for_each(|call| left.note(call.clone()))?;
        Ok(Arc::new(left))
    }

    /// How many calls it was made of.
    pub fn called(&self) -> usize {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

impl BlobIndex for SimIndex {
    fn get(&self, blob: BlobId) -> Result<Option<BlobPlace>, BlobIndexError> {
        self.index.get(blob)
    }

    fn list(&self, after: Option<BlobId>, limit: usize) -> Result<Vec<BlobId>, BlobIndexError> {
        self.index.list(after, limit)
    }

    fn put(&self, blob: BlobId, place: &BlobPlace) -> Result<(), BlobIndexError> {
        self.note(Call::Put(blob, place.clone()))
    }

    fn remove(&self, blob: BlobId) -> Result<(), BlobIndexError> {
        self.note(Call::Remove(blob))
    }

    fn mark_indexed(&self, pack: u32) -> Result<(), BlobIndexError> {
        self.note(Call::Mark(pack))
    }

    fn is_indexed(&self, pack: u32) -> Result<bool, BlobIndexError> {
        self.index.is_indexed(pack)
    }

    fn highest_pack(&self) -> Result<u32, BlobIndexError> {
        self.index.highest_pack()
    }
}
