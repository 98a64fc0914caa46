//! What earlier looks of a run have computed and found sound. The next look does not compute it again where what it was
//! computed from is the same: the records that the log begins with, the pages that content lies in. The last look of a
//! run begins anew and computes everything.

use crate::invariants::Violation;
use crate::oracle::LogView;
use crate::world::disk::SimDisk;
use siltstone_log::host::FilePath;
use siltstone_log::id::{BlobId, LogId};
use siltstone_log::pack::{BlobPlace, pack_file};
use siltstone_log::record::{Place, Record};
use siltstone_log::segment::SegmentName;
use siltstone_projections::Pace;
use siltstone_projections::rebuild::Rebuild;
use siltstone_projections::store::mem::MemStore;
use std::collections::BTreeMap;
use std::fmt;

/// Bytes of a record beside body and content, at most: its header and its padding.
const RECORD_FRAME: u64 = 160 + 8;

/// What was found sound.
#[derive(Debug, Default)]
pub struct Audited {
    /// The log's records, whose bodies and chain were checked.
    records: Vec<Record>,
    /// Positions given up when they were.
    unreadable: usize,
    /// What these records come to, replayed from the first on.
    replayed: MemStore,
    /// The disk that content was read back from.
    disk: Option<SimDisk>,
    inline: BTreeMap<Place, u64>,
    blobs: BTreeMap<BlobId, (BlobPlace, u64)>,
}

/// Whether a record is another look's. Recovery may have copied it into another file.
fn is_same_record(one: &Record, other: &Record) -> bool {
    let of = |record: &Record| (record.place.position, record.stream, record.seq, record.hlc, record.epoch);
    let hashes = |record: &Record| (record.kind, record.body_hash, record.content_hash, record.head);
    of(one) == of(other)
        && hashes(one) == hashes(other)
        && (one.ignorable, one.content_len) == (other.ignorable, other.content_len)
        && one.body == other.body
}

impl Audited {
    /// How many of the log's first records are those of the last look.
    pub fn begin(&mut self, log: &LogView) -> usize {
        let pairs = self.records.iter().zip(&log.records);
        let same = pairs.take_while(|(one, other)| is_same_record(one, other)).count();
        if same < self.records.len() || self.unreadable != log.unreadable.len() {
            *self =
                Self { disk: self.disk.take(), blobs: std::mem::take(&mut self.blobs), ..Self::default() };
            return 0;
        }
        same
    }

    /// The records' bodies and chain are sound.
    pub fn checked(&mut self, log: &LogView) {
        self.records.extend_from_slice(log.records.get(self.records.len()..).unwrap_or_default());
        self.unreadable = log.unreadable.len();
    }

    /// The rows that a replay from the first record on comes to.
    pub fn replay(&mut self, log: &LogView, log_id: LogId) -> Result<&MemStore, Violation> {
        let failed = |error: &dyn fmt::Display| Violation::new("the log can be replayed", error.to_string());
        let pace = Pace::Bulk { rows: 7, bytes: 1 << 16 };
        let rebuild = Rebuild::new(&self.replayed, log_id, log.unreadable.clone(), pace);
        let mut rebuild = rebuild.map_err(|error| failed(&error))?;
        let from = log.records.partition_point(|record| record.place.position < rebuild.resume_from());
        for records in log.records.get(from..).unwrap_or_default().chunks(13) {
            rebuild.push(records.to_vec()).map_err(|error| failed(&error))?;
        }
        rebuild.finish().map_err(|error| failed(&error))?;
        Ok(&self.replayed)
    }

    fn is_same(&self, disk: &SimDisk, file: &FilePath, offset: u64, len: u64) -> bool {
        self.disk.as_ref().is_some_and(|before| disk.has_same_bytes(before, file, offset, len))
    }

    /// Whether a record's content was read back, and lies in the same pages still.
    pub fn has_inline(&self, disk: &SimDisk, record: &Record) -> bool {
        let place = record.place;
        let segment = SegmentName { first: place.segment, generation: place.generation };
        let body = record.body.as_ref().map_or(0, |body| body.len() as u64);
        let len = RECORD_FRAME + body + record.content_len;
        self.inline.get(&place) == Some(&record.content_len)
            && self.is_same(disk, &segment.file(), place.offset.into(), len)
    }

    /// A record's content was read back.
    pub fn read_inline(&mut self, record: &Record) {
        self.inline.insert(record.place, record.content_len);
    }

    /// Whether so much of a blob was read back, and lies in the same pages still.
    pub fn has_blob(&self, disk: &SimDisk, blob: BlobId, place: &BlobPlace, len: u64) -> bool {
        let known = self.blobs.get(&blob).is_some_and(|(known, read)| known == place && *read == len);
        known
            && place.extents.iter().all(|extent| {
                self.is_same(disk, &pack_file(extent.pack), extent.offset, extent.end() - extent.offset)
            })
    }

    /// So much of a blob was read back.
    pub fn read_blob(&mut self, blob: BlobId, place: BlobPlace, len: u64) {
        self.blobs.insert(blob, (place, len));
    }

    /// All content that is noted was read from this disk, or from the same pages.
    pub fn read_from(&mut self, disk: &SimDisk) {
        self.disk = Some(disk.clone());
    }
}
