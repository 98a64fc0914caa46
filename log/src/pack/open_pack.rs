//! A pack that is not sealed: how far it is given out, and what it waits for.

use super::format::{ExtentInfo, footer_len};
use super::place::ExtentPlace;
use super::{PAGE, pages};
use crate::id::BlobId;
use std::collections::BTreeMap;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Its file is being made.
    Creating,
    /// Room can be given from it.
    Open,
    /// No more room is given; it is sealed when it is settled.
    Full,
    /// Its footer is being written, or its file removed.
    Sealing,
}

pub(super) struct OpenPack {
    number: u32,
    pub phase: Phase,
    /// The first byte that was not given out.
    end: u64,
    /// Extents ever given out, for which the footer has room.
    given: usize,
    /// Extents of blobs that are not durable yet.
    unsettled: usize,
    /// Extents of finished blobs, by offset.
    extents: BTreeMap<u64, ExtentInfo>,
    /// The blobs that the sync under way covers.
    pub syncing: Option<Vec<BlobId>>,
    /// Finished blobs that wait for the next sync.
    pub unsynced: Vec<BlobId>,
    /// Punches under way.
    pub punching: usize,
    /// The length it gets when it is sealed.
    pub file_len: u64,
}

impl OpenPack {
    pub fn new(number: u32) -> Self {
        Self {
            number,
            phase: Phase::Creating,
            end: PAGE,
            given: 0,
            unsettled: 0,
            extents: BTreeMap::new(),
            syncing: None,
            unsynced: Vec::new(),
            punching: 0,
            file_len: 0,
        }
    }

    pub fn number(&self) -> u32 {
        self.number
    }

    pub fn end(&self) -> u64 {
        self.end
    }

    pub fn is_empty(&self) -> bool {
        self.extents.is_empty()
    }

    /// What its footer says.
    pub fn extents(&self) -> impl ExactSizeIterator<Item = &ExtentInfo> {
        self.extents.values()
    }

    /// Whether nothing more will happen to it before it is sealed.
    pub fn settled(&self) -> bool {
        self.phase == Phase::Full
            && self.unsettled == 0
            && self.syncing.is_none()
            && self.unsynced.is_empty()
            && self.punching == 0
    }

    /// Gives room for so many content bytes, if they fit and leave room for the footer: writing that must never
    /// need space that is not there.
    pub fn allocate(&mut self, data_len: u32, limit: u64) -> Option<ExtentPlace> {
        let extent = ExtentPlace { pack: self.number, offset: self.end, data_len };
        let fits = extent.end().saturating_add(footer_len(self.given + 1)) <= limit;
        (self.phase == Phase::Open && fits).then(|| {
            self.end = extent.end();
            self.given += 1;
            self.unsettled += 1;
            extent
        })
    }

    /// Notes an extent of a finished blob.
    pub fn keep(&mut self, info: ExtentInfo) {
        self.extents.insert(info.place.offset, info);
    }

    /// Cuts a reserved extent to what its finished blob uses of it. What is left over at the pack's end can be given
    /// out again, since it was never written; anything else is returned as offset and length to punch.
    pub fn trim(&mut self, reserved: ExtentPlace, blob: BlobId) -> Option<(u64, u64)> {
        let kept = self.extents.get(&reserved.offset).filter(|info| info.blob == blob);
        let used = kept.map_or(0, |info| info.place.footprint());
        if kept.is_none() {
            self.settle();
        }
        let (from, to) = (reserved.offset + used, reserved.end());
        if from == to {
            return None;
        }
        if to == self.end && self.phase == Phase::Open {
            self.end = from;
            return None;
        }
        Some((from, pages(to - from)))
    }

    /// One of its extents belongs to no unfinished blob any more.
    pub fn settle(&mut self) {
        self.unsettled = self.unsettled.saturating_sub(1);
    }

    /// The extent will not be in the footer.
    pub fn drop_extent(&mut self, offset: u64) {
        self.extents.remove(&offset);
    }

    /// The blob waits for no sync any more.
    pub fn forget(&mut self, blob: BlobId) {
        self.unsynced.retain(|waiting| *waiting != blob);
    }
}
