//! Reading the log. Never changes a file, so it may run beside a server: the end of the log is then wherever the last
//! complete batch ends.

mod place;
mod replay;
mod stats;
#[cfg(test)]
mod tests;
mod verify;

pub use place::{content, read_cached_content, read_content, record_at};
pub use replay::{LogReader, ReadAhead, Replay};
pub use stats::{LogStats, Tally, stats};
pub(crate) use verify::verify_with;
pub use verify::{Finding, StreamReport, VerifyReport, verify, verify_witnessed};

use crate::catalogue::{Catalogue, Segment};
use crate::host::DiskError;
use crate::id::{LogId, Position};
use crate::layout::{FORMAT_MAX_BYTES, format_file, parse_format_bytes};
use crate::record::Record;
use crate::script::Io;
use crate::segment::{HeaderError, READER_VERSION, SegmentName};

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

impl ReadItem {
    /// The last position it is about.
    pub fn last(&self) -> Option<Position> {
        match self {
            Self::Records(records) => records.last().map(|record| record.place.position),
            Self::Unreadable(range) => Some(range.last),
        }
    }
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

/// The log that all segments belong to; an error where one is unreadable for this program, or belongs to another. Where
/// no segment can say it, the witnesses can.
async fn identify(io: &Io, catalogue: &Catalogue) -> Result<LogId, ReadError> {
    let mut expected = None;
    for segment in &catalogue.segments {
        if let Err(HeaderError::NeedsVersion { needed }) = segment.header {
            return Err(ReadError::NeedsVersion { segment: segment.name, needed, known: READER_VERSION });
        }
        match (segment.log_id(), expected) {
            (Some(found), Some(expected)) if found != expected => {
                return Err(ReadError::ForeignLog { segment: segment.name, found, expected });
            }
            (Some(found), _) => expected = Some(found),
            (None, _) => {}
        }
    }
    let expected = expected.or(catalogue.checkpoint.map(|checkpoint| checkpoint.log_id));
    if let Some(log_id) = expected {
        return Ok(log_id);
    }
    let format = io.read(&format_file(), 0, FORMAT_MAX_BYTES, false).await;
    Ok(format
        .ok()
        .and_then(|bytes| parse_format_bytes(&bytes))
        .map(|format| format.log_id)
        .unwrap_or_default())
}

/// The first position behind a segment, by the one that follows it.
fn next_first(segments: &[Segment], at: usize) -> Option<Position> {
    segments.get(at + 1).map(|next| next.name.first)
}
