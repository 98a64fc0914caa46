//! The footer that seals a segment: where its batches are, and each stream's head after it.
//!
//! It begins at a multiple of 4 KiB, and ends the file with a 16-byte trailer that says where it begins. Its presence
//! at the end of the file proves that everything before it was synced, and, in a copy, that the copy is complete.

use crate::codec::{Fields, align_up, crc32c, patch};
use crate::hlc::Hlc;
use crate::id::{BatchDigest, BatchSeq, Hash, LogId, Position, Seq, StreamId};
use bytes::{BufMut, Bytes, BytesMut};

const MAGIC: &[u8; 8] = b"SILTFOOT";
const TRAILER_MAGIC: u32 = u32::from_le_bytes(*b"SEND");
const VERSION: u16 = 1;
const FIXED: usize = 8 + 2 + 2 + 16 + 8 + 8 + 8 + 8 + 16 + 8 + 32 + 8 + 4 + 4 + 4 + 4;
const ENTRY: usize = 16;
const STREAM: usize = 16 + 8 + 8 + 32;
const LOSS: usize = 16;
const CRC: usize = 4;

/// A batch in the sparse index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchEntry {
    /// Its first position.
    pub first: Position,
    /// Where its frame is in the file.
    pub offset: u64,
}

/// A stream that has records in the segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamEntry {
    /// The stream.
    pub stream: StreamId,
    /// Its first record here.
    pub first: Seq,
    /// Its last record here.
    pub last: Seq,
    /// Its head after that.
    pub head: Hash,
}

/// Positions that an administrator gave up, so that their absence is no damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AcceptedLoss {
    /// The first.
    pub first: Position,
    /// The last.
    pub last: Position,
}

/// A sealed segment's footer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Footer {
    /// The log it belongs to.
    pub log_id: LogId,
    /// The first position that belongs to the segment.
    pub first: Position,
    /// The last position that belongs to it.
    pub last: Position,
    /// Its last batch.
    pub last_batch: BatchSeq,
    /// That batch's digest.
    pub last_digest: BatchDigest,
    /// The newest instant in the log up to here.
    pub max_hlc: Hlc,
    /// BLAKE3 over the segment's header and the whole digest (32 bytes) of every batch, in order.
    pub segment_hash: Hash,
    /// The segment's number in the log.
    pub segment_no: u64,
    /// Every batch that holds records, in order.
    pub batches: Vec<BatchEntry>,
    /// Every stream that has records here, in order of its id.
    pub streams: Vec<StreamEntry>,
    /// What was given up, in order.
    pub losses: Vec<AcceptedLoss>,
}

/// A segment has no (valid) footer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FooterError {
    /// The file does not end in a footer: the segment was not sealed.
    #[error("the segment has no footer")]
    Missing,
    /// There is something like a footer, but damaged.
    #[error("the segment's footer is damaged")]
    Damaged,
}

/// Bytes of the trailer that ends the file.
pub(crate) const TRAILER_BYTES: usize = 16;
/// More than the footer of the largest segment can take.
pub(crate) const MAX_FOOTER_BYTES: u64 = 256 * 1024 * 1024;

impl Footer {
    /// Bytes of a footer, padding and trailer included.
    pub fn encoded_len(batches: usize, streams: usize, losses: usize) -> u64 {
        let entries = batches * ENTRY + streams * STREAM + losses * LOSS;
        align_up((FIXED + entries + CRC + TRAILER_BYTES) as u64, 4096)
    }

    /// The footer's bytes, for a place in the file that is a multiple of 4 KiB.
    pub fn encode(&self, offset: u64) -> Bytes {
        let len = Self::encoded_len(self.batches.len(), self.streams.len(), self.losses.len());
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let count = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
        let mut out = BytesMut::with_capacity(len);
        out.put_slice(MAGIC);
        out.put_u16_le(VERSION);
        out.put_u16_le(0);
        out.put_slice(&self.log_id.0);
        out.put_u64_le(self.first.0);
        out.put_u64_le(self.last.0);
        out.put_u64_le(self.last_batch.0);
        out.put_u64_le(self.max_hlc.0);
        out.put_slice(&self.last_digest.0);
        out.put_u64_le(self.segment_no);
        out.put_slice(&self.segment_hash.0);
        out.put_u64_le(offset);
        out.put_u32_le(count(len));
        out.put_u32_le(count(self.batches.len()));
        out.put_u32_le(count(self.streams.len()));
        out.put_u32_le(count(self.losses.len()));
        for batch in &self.batches {
            out.put_u64_le(batch.first.0);
            out.put_u64_le(batch.offset);
        }
        for stream in &self.streams {
            out.put_slice(&stream.stream.0);
            out.put_u64_le(stream.first.0);
            out.put_u64_le(stream.last.0);
            out.put_slice(&stream.head.0);
        }
        for loss in &self.losses {
            out.put_u64_le(loss.first.0);
            out.put_u64_le(loss.last.0);
        }
        let crc = crc32c(&out);
        out.put_u32_le(crc);
        out.resize(len, 0);
        let mut trailer = [0; TRAILER_BYTES];
        patch(&mut trailer, 0, &offset.to_le_bytes());
        let crc = crc32c(trailer.first_chunk::<8>().unwrap_or(&[0; 8]));
        patch(&mut trailer, 8, &crc.to_le_bytes());
        patch(&mut trailer, 12, &TRAILER_MAGIC.to_le_bytes());
        patch(&mut out, len - TRAILER_BYTES, &trailer);
        out.freeze()
    }

    /// Where the footer begins, by the last 16 bytes of a file.
    pub(crate) fn locate(trailer: &[u8]) -> Option<u64> {
        let covered = trailer.first_chunk::<8>()?;
        let mut fields = Fields(trailer);
        let (offset, crc, magic) = (fields.u64()?, fields.u32()?, fields.u32()?);
        (magic == TRAILER_MAGIC && crc == crc32c(covered) && offset.is_multiple_of(4096)).then_some(offset)
    }

    /// Whether bytes begin like a footer.
    pub(crate) fn begins(bytes: &[u8]) -> bool {
        bytes.first_chunk::<8>() == Some(MAGIC)
    }

    /// Reads a footer back from the bytes that begin at its offset.
    pub fn decode(bytes: &[u8], offset: u64) -> Result<Self, FooterError> {
        Self::parse(bytes, offset).ok_or(FooterError::Damaged)
    }

    fn parse(bytes: &[u8], offset: u64) -> Option<Self> {
        let mut fields = Fields(bytes);
        if fields.array::<8>()? != *MAGIC || fields.u16()? != VERSION {
            return None;
        }
        fields.u16()?;
        let mut footer = Self {
            log_id: LogId(fields.array()?),
            first: Position(fields.u64()?),
            last: Position(fields.u64()?),
            last_batch: BatchSeq(fields.u64()?),
            max_hlc: Hlc(fields.u64()?),
            last_digest: BatchDigest(fields.array()?),
            segment_no: fields.u64()?,
            segment_hash: Hash(fields.array()?),
            batches: Vec::new(),
            streams: Vec::new(),
            losses: Vec::new(),
        };
        let (own_offset, len) = (fields.u64()?, usize::try_from(fields.u32()?).ok()?);
        let count = |count: u32| usize::try_from(count).ok();
        let (batches, streams, losses) =
            (count(fields.u32()?)?, count(fields.u32()?)?, count(fields.u32()?)?);
        // The checksum comes before the counts are believed; the multiplications cannot overflow 64 bits.
        let entries = batches
            .checked_mul(ENTRY)?
            .checked_add(streams.checked_mul(STREAM)?)?
            .checked_add(losses.checked_mul(LOSS)?)?;
        let covered = bytes.get(..FIXED.checked_add(entries)?)?;
        let crc = Fields(bytes.get(covered.len()..)?).u32()?;
        if crc != crc32c(covered)
            || own_offset != offset
            || len as u64 != Self::encoded_len(batches, streams, losses)
        {
            return None;
        }
        for _ in 0..batches {
            footer.batches.push(BatchEntry { first: Position(fields.u64()?), offset: fields.u64()? });
        }
        for _ in 0..streams {
            footer.streams.push(StreamEntry {
                stream: StreamId(fields.array()?),
                first: Seq(fields.u64()?),
                last: Seq(fields.u64()?),
                head: Hash(fields.array()?),
            });
        }
        for _ in 0..losses {
            footer
                .losses
                .push(AcceptedLoss { first: Position(fields.u64()?), last: Position(fields.u64()?) });
        }
        Some(footer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn footer(batches: u64, streams: u64, losses: u64) -> Footer {
        let batch = |n| BatchEntry { first: Position(n), offset: n * 4096 };
        let stream = |n: u64| StreamEntry {
            stream: StreamId([u8::try_from(n).unwrap(); 16]),
            first: Seq(n),
            last: Seq(n + 1),
            head: Hash([9; 32]),
        };
        Footer {
            log_id: LogId([1; 16]),
            first: Position(2),
            last: Position(3),
            last_batch: BatchSeq(4),
            last_digest: BatchDigest([5; 16]),
            max_hlc: Hlc(6),
            segment_hash: Hash([7; 32]),
            segment_no: 8,
            batches: (0..batches).map(batch).collect(),
            streams: (0..streams).map(stream).collect(),
            losses: (0..losses).map(|n| AcceptedLoss { first: Position(n), last: Position(n) }).collect(),
        }
    }

    proptest! {
        #[test]
        fn a_footer_is_found_and_read_back(batches in 0u64..600, streams in 0u64..100, losses in 0u64..3) {
            let footer = footer(batches, streams, losses);
            let bytes = footer.encode(8192);
            prop_assert_eq!(bytes.len() % 4096, 0);
            prop_assert_eq!(Footer::locate(&bytes[bytes.len() - 16..]), Some(8192));
            prop_assert!(Footer::begins(&bytes));
            prop_assert_eq!(Footer::decode(&bytes, 8192), Ok(footer));
            prop_assert_eq!(Footer::decode(&bytes, 4096), Err(FooterError::Damaged));
        }

        #[test]
        fn a_flip_in_what_counts_is_noticed(at in 0usize..FIXED + 5 * ENTRY + 3 * STREAM + LOSS + 4, bit in 0u8..8) {
            let mut bytes = footer(5, 3, 1).encode(4096).to_vec();
            bytes[at] ^= 1 << bit;
            // Two reserved bytes are covered by the checksum like all others.
            prop_assert_eq!(Footer::decode(&bytes, 4096), Err(FooterError::Damaged));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let mut bytes = bytes;
            prop_assert_eq!(Footer::decode(&bytes, 0), Err(FooterError::Damaged));
            bytes.splice(0..0, MAGIC.iter().copied().chain([1, 0]));
            prop_assert_eq!(Footer::decode(&bytes, 0), Err(FooterError::Damaged));
            prop_assert_eq!(Footer::locate(&bytes), None);
        }
    }
}
