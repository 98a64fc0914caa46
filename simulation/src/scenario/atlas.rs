//! The fault atlas: where damage may fall, and what must come of it (TigerBeetle's `testing/storage.zig` has one for a
//! cluster).
//!
//! | what | copies | damage must end in |
//! |---|---|---|
//! | the newest batch, while no witness tells of it | the last good one | it is kept off: a single node cannot tell a damaged last batch from a torn one |
//! | every other batch, content in packs | one | a quarantine or an error for it alone, never silence |
//! | `log/CHECKPOINT`, segments' headers and footers, projections, the index of blobs | the log or the packs say the same | a recovery that loses nothing |

use crate::world::World;
use crate::world::boot::read_log;
use crate::world::disk::InstantDisk;
use siltstone_log::host::{FilePath, Folder};
use siltstone_log::id::Position;
use siltstone_log::reader::ReadItem;
use siltstone_log::script::Script;
use siltstone_log::segment::SegmentName;

/// A file of which there is one copy, up to some byte.
pub(super) struct Target {
    pub(super) file: FilePath,
    pub(super) end: u64,
}

/// The last record that can be read.
pub(super) struct LastRecord {
    pub(super) segment: SegmentName,
    pub(super) position: Position,
    pub(super) offset: u64,
    /// Where its batch begins.
    pub(super) batch: u64,
}

impl World {
    pub(super) fn last_record(&self) -> Option<LastRecord> {
        let mut disk = InstantDisk::new(self.observer());
        let items = Script::new(|io| read_log(io, Position(0))).run(&mut disk).ok()?;
        let (first, place) = items.iter().rev().find_map(|item| match item {
            ReadItem::Records(records) => Some((records.first()?.place, records.last()?.place)),
            ReadItem::Unreadable(_) => None,
        })?;
        let segment = SegmentName { first: place.segment, generation: place.generation };
        // A batch begins at a page border before its first record, and can be longer than a page.
        let batch = u64::from(first.offset) / 4096 * 4096;
        Some(LastRecord { segment, position: place.position, offset: place.offset.into(), batch })
    }

    /// What there is one copy of, but for the newest batch.
    pub(super) fn targets(&self) -> Vec<Target> {
        let Some(last) = self.last_record() else { return Vec::new() };
        let last_file = last.segment.file();
        let segments = self.disk.files(Folder::Log).into_iter().filter(|(name, _)| name.ends_with(".seg"));
        let log = segments.filter_map(|(name, len)| {
            let file = FilePath::new(Folder::Log, name);
            match file.cmp(&last_file) {
                std::cmp::Ordering::Less => Some(Target { file, end: len }),
                std::cmp::Ordering::Equal => Some(Target { file, end: last.batch }),
                std::cmp::Ordering::Greater => None,
            }
        });
        let packs = self.disk.files(Folder::Packs).into_iter();
        let packs = packs.map(|(name, len)| Target { file: FilePath::new(Folder::Packs, name), end: len });
        log.chain(packs).filter(|target| target.end > 0).collect()
    }
}
