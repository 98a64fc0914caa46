//! Segments: the files of the log.

mod footer;
mod header;
mod name;
mod tally;

pub use footer::{AcceptedLoss, BatchEntry, Footer, FooterError, StreamEntry};
pub(crate) use footer::{MAX_FOOTER_BYTES, TRAILER_BYTES};
pub use header::{FORMAT_VERSION, HEADER_BYTES, HeaderError, READER_VERSION, SegmentHeader};
pub use name::SegmentName;
pub(crate) use tally::Tally;

use crate::host::FilePath;
use crate::host::Folder;
use crate::id::Position;

/// A segment as recovery and readers know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Its file.
    pub name: SegmentName,
    /// The last position that belongs to it; the one before the first where it holds none.
    pub last: Position,
    /// Whether it has its footer.
    pub sealed: bool,
    /// Bytes of the file.
    pub bytes: u64,
}

/// The file that will be the next segment: allocated ahead, without a name of its own until it has a header.
pub fn spare_file() -> FilePath {
    FilePath::new(Folder::Log, "next.tmp")
}
