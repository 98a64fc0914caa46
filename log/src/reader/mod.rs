//! Reading the log. Never changes a file, so it may run beside a server: the end of the log is then wherever the last
//! complete batch ends.

use crate::host::DiskError;
use crate::host::real::RealDisk;
use crate::id::{LogId, Position};
use crate::record::{Place, Record};
use crate::script::Io;
use crate::segment::SegmentName;
use bytes::Bytes;

/// Why something could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The bytes of the record do not match their checksum.
    #[error("the record at position {0} is damaged")]
    Damaged(Position),
    /// No segment holds the position.
    #[error("no record has position {0}")]
    NotFound(Position),
    /// The record has no content (any more).
    #[error("the record at position {0} has no inline content")]
    NoContent(Position),
    /// A segment in a format this program cannot read.
    #[error("{segment} needs a program that reads log format {needed}; this one reads up to {known}")]
    NeedsVersion {
        /// The segment.
        segment: SegmentName,
        /// What it needs.
        needed: u16,
        /// What this program reads.
        known: u16,
    },
    /// A segment of another log.
    #[error("{segment} belongs to log {found}, not to {expected}")]
    ForeignLog {
        /// The segment.
        segment: SegmentName,
        /// Its log.
        found: LogId,
        /// The log of the segments before it.
        expected: LogId,
    },
}

/// What comes next in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadItem {
    /// Records that were written together, in order of position. Bodies are checked against their checksums.
    Records(Vec<Record>),
    /// Positions whose records cannot be read.
    Unreadable(Unreadable),
}

/// Positions whose records cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreadable {
    /// The first.
    pub first: Position,
    /// The last.
    pub last: Position,
    /// Whether an administrator gave them up (`log repair --accept-loss`).
    pub accepted: bool,
}

/// Reads records in order of position, holding one batch and one read-ahead chunk in memory.
pub struct LogReader {}

impl LogReader {
    /// Opens the log at a position (1 or 0: from the beginning).
    pub async fn open(io: &Io, from: Position) -> Result<Self, ReadError> {
        let _ = (io, from);
        unimplemented!()
    }

    /// The next records; `None` at the end of the log.
    pub async fn next(&mut self, io: &Io) -> Result<Option<ReadItem>, ReadError> {
        let _ = io;
        unimplemented!()
    }
}

/// [`LogReader`] over a real disk, as an iterator.
pub struct Replay {}

impl Replay {
    /// Opens the log at a position (1 or 0: from the beginning).
    pub fn open(disk: RealDisk, from: Position) -> Result<Self, ReadError> {
        let _ = (disk, from);
        unimplemented!()
    }
}

impl Iterator for Replay {
    type Item = Result<ReadItem, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        unimplemented!()
    }
}

/// Reads a record's inline content, without its salt, checked against its checksum. `content_len` is what the record
/// said ([`Record::content_len`]): with it, header, body and content take one read.
pub async fn content(io: &Io, place: Place, content_len: u64) -> Result<Bytes, ReadError> {
    let _ = (io, place, content_len);
    unimplemented!()
}

/// [`content`] from a real disk, on the caller's thread.
pub fn read_content(disk: &RealDisk, place: Place, content_len: u64) -> Result<Bytes, ReadError> {
    let _ = (disk, place, content_len);
    unimplemented!()
}

/// Reads one record, its body checked against its checksum.
pub async fn record(io: &Io, place: Place) -> Result<Record, ReadError> {
    let _ = (io, place);
    unimplemented!()
}
