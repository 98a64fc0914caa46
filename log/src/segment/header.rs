//! The first 4 KiB of a segment.

use crate::codec::{Fields, crc32c, patch};
use crate::hlc::Hlc;
use crate::id::{BatchDigest, BatchSeq, Epoch, LogId, NodeId, Position};
use bytes::{BufMut, Bytes, BytesMut};

/// Bytes of a segment's header; its first batch follows.
pub const HEADER_BYTES: u64 = 4096;
const LEN: usize = 4096;
/// The format this program writes.
pub const FORMAT_VERSION: u16 = 1;
/// The newest format this program reads: a segment that needs more is refused, which blocks a downgrade.
pub const READER_VERSION: u16 = 1;

const MAGIC: &[u8; 8] = b"SILTSEG1";

/// What a segment says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The format it is written in.
    pub format_version: u16,
    /// The least reader version that understands it.
    pub min_reader_version: u16,
    /// Its generation, as its name says it.
    pub generation: u16,
    /// The reign in which it was made.
    pub epoch: Epoch,
    /// The node that made it.
    pub node_id: NodeId,
    /// The log it belongs to.
    pub log_id: LogId,
    /// Its number in the log, from 1.
    pub segment_no: u64,
    /// The first position in it, as its name says it.
    pub first: Position,
    /// Its first batch.
    pub first_batch: BatchSeq,
    /// When it was made.
    pub created: Hlc,
    /// The digest of the batch before its first.
    pub prev_digest: BatchDigest,
}

/// Why a header could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// No segment header, or damaged.
    #[error("the segment header is damaged")]
    Damaged,
    /// Written for a newer program.
    #[error(
        "the segment needs a program that reads log format {needed}; this one reads up to {READER_VERSION}"
    )]
    NeedsVersion {
        /// What it needs.
        needed: u16,
    },
}

impl SegmentHeader {
    /// The header's 4 KiB.
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(LEN);
        out.put_slice(MAGIC);
        out.put_u16_le(self.format_version);
        out.put_u16_le(self.min_reader_version);
        out.put_u16_le(self.generation);
        out.put_u16_le(0);
        out.put_u32_le(self.epoch.0);
        out.put_slice(&self.node_id.0);
        out.put_slice(&self.log_id.0);
        out.put_u64_le(self.segment_no);
        out.put_u64_le(self.first.0);
        out.put_u64_le(self.first_batch.0);
        out.put_u64_le(self.created.0);
        out.put_slice(&self.prev_digest.0);
        out.resize(LEN, 0);
        let crc = crc32c(out.get(..LEN - 4).unwrap_or_default());
        patch(&mut out, LEN - 4, &crc.to_le_bytes());
        out.freeze()
    }

    /// Reads a header back.
    pub fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        let bytes = bytes.first_chunk::<LEN>().ok_or(HeaderError::Damaged)?;
        let (covered, crc) = bytes.split_last_chunk::<4>().ok_or(HeaderError::Damaged)?;
        if u32::from_le_bytes(*crc) != crc32c(covered) {
            return Err(HeaderError::Damaged);
        }
        // The versions come first and at a fixed place in every format, so that a newer one can be named.
        let mut fields = Fields(covered);
        if fields.array::<8>() != Some(*MAGIC) {
            return Err(HeaderError::Damaged);
        }
        let (format_version, min_reader_version) =
            fields.u16().zip(fields.u16()).ok_or(HeaderError::Damaged)?;
        if min_reader_version > READER_VERSION {
            return Err(HeaderError::NeedsVersion { needed: min_reader_version });
        }
        Self::decode_fields(format_version, min_reader_version, fields).ok_or(HeaderError::Damaged)
    }

    fn decode_fields(format_version: u16, min_reader_version: u16, mut fields: Fields<'_>) -> Option<Self> {
        let generation = fields.u16()?;
        fields.u16()?;
        Some(Self {
            format_version,
            min_reader_version,
            generation,
            epoch: Epoch(fields.u32()?),
            node_id: NodeId(fields.array()?),
            log_id: LogId(fields.array()?),
            segment_no: fields.u64()?,
            first: Position(fields.u64()?),
            first_batch: BatchSeq(fields.u64()?),
            created: Hlc(fields.u64()?),
            prev_digest: BatchDigest(fields.array()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header(seed: u64) -> SegmentHeader {
        SegmentHeader {
            format_version: FORMAT_VERSION,
            min_reader_version: READER_VERSION,
            generation: 3,
            epoch: Epoch(4),
            node_id: NodeId([5; 16]),
            log_id: LogId([6; 16]),
            segment_no: seed,
            first: Position(seed / 2),
            first_batch: BatchSeq(seed / 3),
            created: Hlc(seed / 5),
            prev_digest: BatchDigest([7; 16]),
        }
    }

    proptest! {
        #[test]
        fn a_header_is_read_back_and_every_flip_is_noticed(seed: u64, at in 0usize..LEN, bit in 0u8..8) {
            let bytes = header(seed).encode();
            prop_assert_eq!(SegmentHeader::decode(&bytes), Ok(header(seed)));
            let mut flipped = bytes.to_vec();
            flipped[at] ^= 1 << bit;
            prop_assert_eq!(SegmentHeader::decode(&flipped), Err(HeaderError::Damaged));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..5000)) {
            prop_assert_eq!(SegmentHeader::decode(&bytes), Err(HeaderError::Damaged));
        }
    }

    #[test]
    fn a_newer_format_is_refused_with_the_version_it_needs() {
        let newer = SegmentHeader { format_version: 9, min_reader_version: 8, ..header(1) };
        assert_eq!(SegmentHeader::decode(&newer.encode()), Err(HeaderError::NeedsVersion { needed: 8 }));
        let readable = SegmentHeader { format_version: 9, ..header(1) };
        assert_eq!(SegmentHeader::decode(&readable.encode()), Ok(readable));
    }
}
