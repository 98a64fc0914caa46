//! Reads a blob or a range of it, every block checked before a byte of it is given out.
//!
//! A plan without I/O: execute what [`BlobReader::next_read`] asks for, hand the bytes to [`BlobReader::accept`],
//! until there is nothing more to read.

use super::format::{ExtentHeader, ExtentInfo, FormatError, extents_of};
use super::place::BlobPlace;
use super::{BLOCK, PAGE, pack_file};
use crate::codec::crc32c;
use crate::host::DiskOp;
use crate::id::{BlobId, LogId};
use bytes::Bytes;
use std::ops::Range;

/// The most content bytes in one read: whole blocks.
const MAX_READ: u64 = 256 * 1024;

/// What is wrong with bytes of a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The file ends before it.
    #[error("the file is too short")]
    Short,
    /// The extent's header cannot be used.
    #[error("in the extent's header: {0}")]
    Header(FormatError),
    /// The header is whole, but another extent's.
    #[error("another extent lies there")]
    OtherExtent,
    /// A block's checksum is wrong.
    #[error("the block's checksum is wrong")]
    Block,
}

/// A blob cannot be read as it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("blob {blob} is damaged in pack {pack:08x} at byte {offset}: {damage}")]
pub struct BlobDamage {
    /// The blob.
    pub blob: BlobId,
    /// The pack.
    pub pack: u32,
    /// Byte offset in the pack.
    pub offset: u64,
    /// What is wrong there.
    pub damage: Damage,
}

struct Asked {
    /// First content byte of the read, within the extent.
    from: u64,
    /// Content bytes of the read; 0 where only the header was asked for.
    len: u64,
    with_header: bool,
}

/// Reads a range of one blob.
pub struct BlobReader {
    log_id: LogId,
    extents: std::vec::IntoIter<ExtentInfo>,
    extent: Option<ExtentInfo>,
    /// The block checksums of the extent at hand, once its header was read.
    blocks: Option<Vec<u32>>,
    range: Range<u64>,
    asked: Option<Asked>,
}

impl BlobReader {
    /// Plans to read `range` of a blob's content, cut to what the blob has.
    pub fn new(log_id: LogId, blob: BlobId, place: &BlobPlace, range: Range<u64>) -> Self {
        let extents: Vec<_> = extents_of(blob, place).collect();
        let range = range.start..range.end.min(place.len);
        let mut extents = extents.into_iter();
        let extent = extents.next();
        Self { log_id, extents, extent, blocks: None, range, asked: None }
    }

    /// The next read to execute; `None` when all of the range was given out (or a read before this was damaged).
    pub fn next_read(&mut self) -> Option<DiskOp> {
        let at = self.range.start;
        if at >= self.range.end {
            return None;
        }
        while self.extent.is_some_and(|extent| at >= end_of(&extent)) {
            self.extent = self.extents.next();
            self.blocks = None;
        }
        let extent = self.extent?;
        let block = u64::from(BLOCK);
        let from = (at - extent.blob_offset) / block * block;
        let wanted = self.range.end - extent.blob_offset;
        // Up to the end of the last block that is needed, since its checksum covers all of it.
        let until = wanted.div_ceil(block).saturating_mul(block).min(extent.place.data_len.into());
        let len = (until - from).min(MAX_READ);
        let asked = match &self.blocks {
            Some(_) => Asked { from, len, with_header: false },
            // The header lies right in front of the first block: one read takes both.
            None if from == 0 => Asked { from, len, with_header: true },
            None => Asked { from, len: 0, with_header: true },
        };
        let (offset, len) = if asked.with_header {
            (extent.place.offset, PAGE + asked.len)
        } else {
            (extent.place.data_offset() + asked.from, asked.len)
        };
        self.asked = Some(asked);
        Some(DiskOp::Read { file: pack_file(extent.place.pack), offset, len, from_disk: false })
    }

    /// Takes what the read gave, and gives out the part of the range that is in it: nothing where it was a header
    /// alone. After an error the reader gives out nothing more.
    pub fn accept(&mut self, mut bytes: Bytes) -> Result<Option<Bytes>, BlobDamage> {
        let (Some(extent), Some(asked)) = (self.extent, self.asked.take()) else { return Ok(None) };
        let checked = self.check(&extent, &asked, &mut bytes);
        if checked.is_err() {
            self.range.start = self.range.end;
        }
        checked?;
        if bytes.is_empty() {
            return Ok(None);
        }
        let first = self.range.start - extent.blob_offset - asked.from;
        let wanted = self.range.end - extent.blob_offset - asked.from;
        let last = wanted.min(bytes.len() as u64);
        self.range.start += last - first;
        Ok(Some(bytes.slice(to_usize(first)..to_usize(last))))
    }

    /// Checks a read and leaves its content bytes.
    fn check(&mut self, extent: &ExtentInfo, asked: &Asked, bytes: &mut Bytes) -> Result<(), BlobDamage> {
        let damage =
            |offset, damage| BlobDamage { blob: extent.blob, pack: extent.place.pack, offset, damage };
        let header_at = extent.place.offset;
        if asked.with_header {
            let Some((page, content)) = bytes.split_at_checked(to_usize(PAGE)) else {
                return Err(damage(header_at, Damage::Short));
            };
            let header = ExtentHeader::decode(page, self.log_id, extent.place.pack, header_at)
                .map_err(|error| damage(header_at, Damage::Header(error)))?;
            if header.info != *extent {
                return Err(damage(header_at, Damage::OtherExtent));
            }
            *bytes = bytes.slice_ref(content);
            self.blocks = Some(header.blocks);
        }
        let data_at = extent.place.data_offset() + asked.from;
        if (bytes.len() as u64) < asked.len {
            return Err(damage(data_at + bytes.len() as u64, Damage::Short));
        }
        bytes.truncate(to_usize(asked.len));
        let crcs = self.blocks.iter().flatten().skip(to_usize(asked.from / u64::from(BLOCK)));
        for ((block, crc), number) in bytes.chunks(BLOCK as usize).zip(crcs).zip(0u64..) {
            if crc32c(block) != *crc {
                return Err(damage(data_at + number * u64::from(BLOCK), Damage::Block));
            }
        }
        Ok(())
    }
}

fn end_of(extent: &ExtentInfo) -> u64 {
    extent.blob_offset.saturating_add(extent.place.data_len.into())
}

fn to_usize(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
