//! What the log is made of.

use super::{LogReader, ReadError, ReadItem};
use crate::event::EventKind;
use crate::frame::RECORD_HEADER_BYTES;
use crate::id::{Position, StreamId};
use crate::record::Record;
use crate::script::Io;
use std::collections::BTreeMap;

/// Records, and the bytes they take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Records.
    pub records: u64,
    /// Bytes of headers and bodies.
    pub body_bytes: u64,
    /// Bytes of inline content.
    pub content_bytes: u64,
}

impl Tally {
    fn add(&mut self, record: &Record) {
        let body = record.body.as_ref().map_or(0, bytes::Bytes::len) + RECORD_HEADER_BYTES;
        self.records += 1;
        self.body_bytes += body as u64;
        self.content_bytes += record.content_len;
    }
}

/// What the log is made of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogStats {
    /// All of it.
    pub total: Tally,
    /// By type and schema.
    pub kinds: BTreeMap<EventKind, Tally>,
    /// By stream.
    pub streams: BTreeMap<StreamId, Tally>,
    /// Positions that cannot be read.
    pub unreadable: u64,
}

/// Counts every record.
pub async fn stats(io: &Io) -> Result<LogStats, ReadError> {
    let mut stats = LogStats::default();
    let mut reader = LogReader::open(io, Position(1)).await?;
    while let Some(item) = reader.next(io).await? {
        match item {
            ReadItem::Records(records) => {
                for record in &records {
                    stats.total.add(record);
                    stats.kinds.entry(record.kind).or_default().add(record);
                    stats.streams.entry(record.stream).or_default().add(record);
                }
            }
            ReadItem::Unreadable(range) => stats.unreadable += range.last.0 - range.first.0 + 1,
        }
    }
    Ok(stats)
}
