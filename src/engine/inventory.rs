//! Looks, after a start, whether all content is there: every blob that a version or part has bytes in must be in the
//! index, and every pack of an earlier start that it lies in must be a file. A pack that is gone as a whole takes content
//! along that perhaps nobody asks for in years; recovery does not see it, because it looks only into packs that it finds
//! and has not marked.
//!
//! What is in a file and damaged is for its readers to find, each of which checks every block.

use super::sweep::{PAGE, PAUSE, SweepError};
use super::{Engine, Shared};
use crossbeam_channel::{Receiver, RecvTimeoutError};
use siltstone_log::id::BlobId;
use siltstone_log::pack::recovery::RecoveredPacks;
use siltstone_log::pack::{BlobIndex, pack_file};
use siltstone_projections::Rows;
use siltstone_projections::buckets::blobs_in_use;
use std::collections::BTreeSet;
use std::sync::Weak;

/// A blob in use that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missing {
    /// The blob.
    pub blob: BlobId,
    /// The first of its packs that is gone; none where nothing says any more where it lay.
    pub pack: Option<u32>,
}

/// The walk: a state machine over the rows of blobs in use, a page at a time.
#[derive(Debug, Clone)]
pub struct Inventory {
    /// The packs that this start has found.
    there: BTreeSet<u32>,
    /// The first pack that this start may write.
    first_own_pack: u32,
    /// The next blob to be looked for; none once all were.
    next: Option<BlobId>,
    /// Blobs that one page has.
    page: usize,
}

impl Inventory {
    /// Begins with the packs that this start has found.
    pub fn new(packs: &RecoveredPacks) -> Self {
        let (there, first_own_pack) = (packs.there.clone(), packs.next_pack);
        Self { there, first_own_pack, next: Some(BlobId::default()), page: PAGE }
    }

    /// What is missing of the next page; none once every blob was looked for.
    pub fn turn(
        &mut self,
        rows: &dyn Rows,
        index: &dyn BlobIndex,
    ) -> Result<Option<Vec<Missing>>, SweepError> {
        let Some(first) = self.next.take() else { return Ok(None) };
        let mut missing = Vec::new();
        let mut seen = BTreeSet::new();
        for blob in blobs_in_use(rows, first) {
            let blob = blob?;
            if !seen.insert(blob) {
                continue;
            }
            if seen.len() > self.page {
                self.next = Some(blob);
                break;
            }
            missing.extend(self.look_for(blob, rows, index)?);
        }
        Ok(Some(missing))
    }

    fn look_for(
        &self,
        blob: BlobId,
        rows: &dyn Rows,
        index: &dyn BlobIndex,
    ) -> Result<Option<Missing>, SweepError> {
        let Some(place) = index.get(blob)? else {
            // ORDER: a blob leaves the index after its last row has gone, so one that has a row still is not freed.
            let in_use = blobs_in_use(rows, blob).next().transpose()? == Some(blob);
            return Ok(in_use.then_some(Missing { blob, pack: None }));
        };
        let gone = |pack: &u32| *pack < self.first_own_pack && !self.there.contains(pack);
        let pack = place.extents.iter().map(|extent| extent.pack).find(gone);
        Ok(pack.map(|pack| Missing { blob, pack: Some(pack) }))
    }
}

/// Runs a walk until it ends. Says whether to go on with other work: not where the other side of `stop` is dropped, or the
/// engine is.
pub(super) fn run(mut inventory: Inventory, engine: &Weak<Shared>, stop: &Receiver<()>) -> bool {
    let (mut blobs, mut packs) = (0_u64, BTreeSet::new());
    while stop.recv_timeout(PAUSE) == Err(RecvTimeoutError::Timeout) {
        let Some(shared) = engine.upgrade() else { return false };
        let engine = Engine { shared };
        match inventory.turn(&engine.view(), engine.shared.blobs.index()) {
            Ok(Some(missing)) => {
                for pack in missing.iter().filter_map(|missing| missing.pack) {
                    if packs.insert(pack) {
                        let file = pack_file(pack).to_string();
                        tracing::error!(%file, "a pack is gone; what lay in it cannot be read");
                    }
                }
                blobs += missing.len() as u64;
                engine.shared.observer.content_missing(blobs);
            }
            Ok(None) => {
                if blobs > 0 {
                    tracing::error!(
                        blobs,
                        packs = packs.len(),
                        "content is missing, and reads of it fail; put the files back from a copy of packs/, if there is one"
                    );
                }
                return true;
            }
            Err(error) => {
                tracing::warn!(%error, "cannot look whether all content is there");
                return true;
            }
        }
    }
    false
}
