//! Batches: what one `fdatasync` makes durable. A frame of 64 bytes, the table of the streams it touches, its records.
//!
//! A batch begins at a multiple of 4 KiB, so that a torn append never touches a page of an older one.

mod decode;
mod encode;

pub(crate) use decode::{BatchContents, RecordSlot, Verify, decode_batch};
pub(crate) use encode::{BatchContext, EncodedBatch, Part, digest_of, encode_batch, encode_parts};

use crate::codec::{Fields, crc32c, patch};
use crate::id::{BatchDigest, BatchSeq, Hash, LogId, Position, Seq, StreamId};
use bytes::{BufMut, BytesMut};

/// Batches begin at multiples of this, and are padded to one with zeros.
pub const BATCH_ALIGN: u64 = 4096;
/// Bytes of a batch's frame.
pub const FRAME_BYTES: usize = 64;
/// The most bytes of a batch, without its padding.
pub const MAX_BATCH_BYTES: u32 = 32 * 1024 * 1024;
/// The most records of a batch.
pub const MAX_BATCH_RECORDS: usize = 4096;

const MAGIC: u32 = u32::from_le_bytes(*b"SBAT");
const TABLE_ENTRY: usize = 16 + 8 + 32;
const TABLE_END: usize = 8;

/// The part of a log's id that stands in every batch: enough to tell our batches from any other bytes.
pub fn short_log_id(log_id: LogId) -> u64 {
    log_id.0.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// A batch's frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchFrame {
    /// See [`short_log_id`].
    pub log_id: u64,
    /// The batch's number.
    pub seq: BatchSeq,
    /// The position of its first record, or of the next one where it has none.
    pub first: Position,
    /// The last position that was durable when it was built.
    pub durable: Position,
    /// Records. None in an idle marker, which only says what is durable.
    pub count: u16,
    /// Streams in the table.
    pub streams: u16,
    /// Bytes of frame, table and records, without padding.
    pub bytes: u32,
    /// The digest of the batch before.
    pub prev_digest: BatchDigest,
}

/// A frame could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no valid batch frame")]
pub struct BatchFrameError;

impl BatchFrame {
    /// The frame's bytes.
    pub fn encode(&self) -> [u8; FRAME_BYTES] {
        let mut out = [0; FRAME_BYTES];
        let parts: [&[u8]; 10] = [
            &MAGIC.to_le_bytes(),
            &[0; 4],
            &self.log_id.to_le_bytes(),
            &self.seq.0.to_le_bytes(),
            &self.first.0.to_le_bytes(),
            &self.durable.0.to_le_bytes(),
            &self.count.to_le_bytes(),
            &self.streams.to_le_bytes(),
            &self.bytes.to_le_bytes(),
            &self.prev_digest.0,
        ];
        let mut at = 0;
        for part in parts {
            patch(&mut out, at, part);
            at += part.len();
        }
        let crc = crc32c(out.get(8..).unwrap_or_default());
        patch(&mut out, 4, &crc.to_le_bytes());
        out
    }

    /// Reads a frame back.
    pub fn decode(bytes: &[u8]) -> Result<Self, BatchFrameError> {
        bytes.first_chunk().and_then(Self::parse).ok_or(BatchFrameError)
    }

    fn parse(bytes: &[u8; FRAME_BYTES]) -> Option<Self> {
        let mut fields = Fields(bytes);
        if fields.u32()? != MAGIC || fields.u32()? != crc32c(fields.0) {
            return None;
        }
        let frame = Self {
            log_id: fields.u64()?,
            seq: BatchSeq(fields.u64()?),
            first: Position(fields.u64()?),
            durable: Position(fields.u64()?),
            count: fields.u16()?,
            streams: fields.u16()?,
            bytes: fields.u32()?,
            prev_digest: BatchDigest(fields.array()?),
        };
        let least = FRAME_BYTES + table_bytes(usize::from(frame.streams));
        let possible = usize::from(frame.count) <= MAX_BATCH_RECORDS
            && frame.streams <= frame.count
            && (frame.count == 0) == (frame.streams == 0)
            && frame.bytes <= MAX_BATCH_BYTES
            && frame.bytes as usize >= least
            && frame.durable < frame.first
            && frame.first.0.checked_add(u64::from(frame.count)).is_some();
        possible.then_some(frame)
    }

    /// The last position in it; the one before the first where it has none.
    pub fn last(&self) -> Position {
        Position(self.first.0.saturating_add(u64::from(self.count)).saturating_sub(1))
    }

    /// Bytes on disk, padding included.
    pub fn disk_bytes(&self) -> u64 {
        crate::codec::align_up(u64::from(self.bytes), BATCH_ALIGN)
    }
}

/// A stream in a batch's table: its head before its first record here, so that a reader can begin anywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableEntry {
    /// The stream.
    pub stream: StreamId,
    /// Its first record in the batch.
    pub first: Seq,
    /// The hash of its head before that.
    pub prev_head: Hash,
}

/// Bytes of a table with so many streams.
pub(crate) const fn table_bytes(streams: usize) -> usize {
    streams * TABLE_ENTRY + TABLE_END
}

fn encode_table(entries: &[TableEntry], out: &mut BytesMut) {
    let start = out.len();
    for entry in entries {
        out.put_slice(&entry.stream.0);
        out.put_u64_le(entry.first.0);
        out.put_slice(&entry.prev_head.0);
    }
    let crc = crc32c(out.get(start..).unwrap_or_default());
    out.put_u32_le(crc);
    out.put_u32_le(0);
}

/// Reads a table back; `None` where it is damaged.
fn decode_table(bytes: &[u8], streams: usize) -> Option<Vec<TableEntry>> {
    let (entries, mut end) =
        bytes.split_at_checked(streams * TABLE_ENTRY).map(|(e, rest)| (e, Fields(rest)))?;
    if end.u32()? != crc32c(entries) || end.u32()? != 0 {
        return None;
    }
    let mut fields = Fields(entries);
    let mut table = Vec::with_capacity(streams);
    for _ in 0..streams {
        table.push(TableEntry {
            stream: StreamId(fields.array()?),
            first: Seq(fields.u64()?),
            prev_head: Hash(fields.array()?),
        });
    }
    Some(table)
}

#[cfg(test)]
mod tests;
