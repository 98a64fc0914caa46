//! The sweep of what nothing names, as the engine's thread drives it, and the promise that it keeps.

use super::client::Checked;
use super::disk::InstantDisk;
use super::node::Life;
use super::{Happening, World};
use crate::invariants::Violation;
use crate::oracle::Model;
use crate::sometimes::State;
use crate::world::note;
use siltstone::engine::sweep::{Surroundings, Turn};
use siltstone_log::host::Folder;
use siltstone_log::id::BlobId;
use siltstone_log::pack::recovery::recover_packs;
use siltstone_log::pack::{BlobIndex, MemoryBlobIndex, pack_file};
use siltstone_log::script::Script;
use siltstone_projections::buckets::blobs_in_use;
use std::collections::BTreeSet;
use std::sync::Arc;

impl World {
    /// The sweep goes on in a while.
    pub(crate) fn sweep_later(&mut self) {
        // Sometimes a page comes between the steps of one operation, sometimes long after.
        let unit = if self.schedule.coin() { 20_000 } else { 1_000_000 };
        let delay = self.schedule.between(1, 20) * unit;
        self.after(delay, Happening::Sweep);
    }

    pub(crate) fn sweep(&mut self) -> Checked {
        let unreadable = self.has_unreadable_records();
        let Some(node) = self.node.as_mut().filter(|node| node.life != Life::Stopping && !node.has_failed())
        else {
            return Ok(());
        };
        let around = Surroundings { unreadable, giving_back: node.packs.giving_back() };
        let Some(sweeper) = &mut node.sweeper else { return Ok(()) };
        let turn = sweeper.turn(self.store.rows(), &*self.index, around);
        match turn.map_err(|error| Violation::new("the sweep can read", error.to_string()))? {
            Turn::Wait => self.sweep_later(),
            Turn::Free(found) => {
                for (blob, place) in found {
                    self.counters.reach(State::Swept);
                    note!(self, "swept", {"blob": blob.to_string(), "bytes": place.len});
                    self.swept.insert(blob);
                    self.free_at(blob, place)?;
                }
                self.sweep_later();
            }
            end @ (Turn::Done | Turn::Refused) => {
                node.sweeper = None;
                self.counters.sometimes(State::SweepRefused, end == Turn::Refused);
            }
        }
        Ok(())
    }

    /// Whether the sweep of this start has ended.
    pub fn has_swept(&self) -> bool {
        self.node.as_ref().is_some_and(|node| node.sweeper.is_none())
    }

    /// What the search after a start says is missing: nothing where nothing was damaged, and all that lies in a pack which is
    /// no file any more.
    pub fn missing_content_is_reported(&mut self) -> Checked {
        let failed = |error: String| Violation::new("the inventory can read", error);
        let Some(node) = &self.node else { return Ok(()) };
        let (mut inventory, mut missing) = (node.inventory.clone(), BTreeSet::new());
        while let Some(page) =
            inventory.turn(self.store.rows(), &*self.index).map_err(|error| failed(error.to_string()))?
        {
            missing.extend(page.into_iter().map(|missing| missing.blob));
        }
        self.counters.sometimes(State::MissingContent, !missing.is_empty());
        let files = self.disk.files(Folder::Packs);
        let is_file = |pack: u32| files.iter().any(|(name, _)| **name == *pack_file(pack).name);
        for blob in blobs_in_use(self.store.rows(), BlobId::default()) {
            let blob = blob.map_err(|error| failed(error.to_string()))?;
            let place = self.index.get(blob).map_err(|error| failed(error.to_string()))?;
            let gone = place.is_none_or(|place| place.extents.iter().any(|extent| !is_file(extent.pack)));
            if gone && !missing.contains(&blob) {
                let message = format!("blob {blob} is in no pack that is there");
                return Err(Violation::new("missing content is reported", message));
            }
        }
        match missing.first().filter(|_| !self.rotten) {
            None => Ok(()),
            Some(blob) => {
                Err(Violation::new("no content is missing without damage", format!("blob {blob} is")))
            }
        }
    }

    /// I9, the other way round: once all is swept, packs and index hold nothing that no version, past or not, and no
    /// upload under way has bytes in. The packs are asked themselves, as a start does that has lost its index.
    pub fn nothing_unnamed_is_stored(&self, model: &Model) -> Checked {
        if self.rotten || self.lost_records {
            return Ok(());
        }
        let found = Arc::new(MemoryBlobIndex::default());
        let (log_id, index) = (self.log_id(), found.clone() as Arc<dyn BlobIndex>);
        let packs = Script::new(move |io| recover_packs(io, log_id, index));
        let packs = packs.run(&mut InstantDisk::new(self.observer()));
        let packs = packs.map_err(|error| Violation::new("the packs can be read", error.to_string()))?;
        let listed = self.index.list(None, usize::MAX);
        let listed = listed.map_err(|error| Violation::new("index", error.to_string()))?;
        let mut stored: BTreeSet<BlobId> = found.blobs().into_iter().map(|(blob, _)| blob).collect();
        stored.extend(packs.incomplete.iter().map(|(blob, _)| *blob));
        stored.extend(listed);
        match stored.iter().find(|blob| !model.blobs.0.contains_key(blob)) {
            None => Ok(()),
            Some(blob) => {
                let message = format!("blob {blob} of {:?}", self.blob_ops.get(blob));
                Err(Violation::new("I9 nothing unnamed is stored", message))
            }
        }
    }
}
