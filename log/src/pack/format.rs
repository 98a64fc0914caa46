//! The bytes of a pack. All integers little-endian; everything begins at a multiple of 4,096.
//!
//! **Pack header**, one page: magic `SILTPACK`, format_version u16, min_reader_version u16, zeros u32, log_id 16,
//! number u32, zeros, crc32c u32 of all before in the last 4 bytes.
//!
//! **Extent**: header page, then the data in 64 KiB blocks, zero-padded to a page. Header: magic u32, crc32c u32
//! (bytes 8..4096), log_id_lo u64, pack u32, index u32, offset u64, blob 16, salt 16, flags u32 (bit 0: the blob's
//! last extent), data_len u32, blob_offset u64, total_len u64 and content hash 32 (zeros but in the last extent),
//! crc32c u32 of each block, zeros. An extent that was given back reads as zeros.
//!
//! **Footer** of a sealed pack, from a page's start to the end of the file: magic u32, format_version u16, zeros u16,
//! log_id 16, pack u32, count u32, count × {offset u64, data_len u32, index u32, flags u32, blob 16, salt 16,
//! blob_offset u64, total_len u64, content hash 32}, crc32c u32 of all before, zeros; in the last 16 bytes footer
//! offset u64, crc32c u32 of that, magic u32. It names the extents the pack held when it was sealed; one that was
//! freed since has zeros where its header was.
//!
//! The log id in the headers is never shown to clients, so content cannot be made to look like an extent.

use super::place::{BlobPlace, ExtentPlace};
use super::{BLOCK, MAX_EXTENT, PAGE, pages};
use crate::codec::{Fields, crc32c, is_zero};
use crate::id::{BlobId, Hash, LogId, Salt};
use bytes::Bytes;

/// The format written, and the oldest that can be read.
pub const FORMAT_VERSION: u16 = 1;

const PAGE_LEN: usize = 4096;
const PACK_MAGIC: [u8; 8] = *b"SILTPACK";
const EXTENT_MAGIC: [u8; 4] = *b"SEXT";
const FOOTER_MAGIC: [u8; 4] = *b"SPKF";
const LAST: u32 = 1;
const FOOTER_HEAD: usize = 4 + 4 + LogId::LEN + 4 + 4;
const ENTRY: usize = 8 + 4 + 4 + 4 + BlobId::LEN + Salt::LEN + 8 + 8 + Hash::LEN;
/// Bytes of the trailer, which is the end of a sealed pack.
pub const TRAILER: u64 = 16;

/// Why bytes were not taken for what they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// Nothing but zeros: never written, or given back.
    #[error("it is empty")]
    Empty,
    /// Not ours, or damaged.
    #[error("its magic number or checksum is wrong")]
    Damaged,
    /// Whole, but of another log, pack or place.
    #[error("it belongs to another place")]
    Misplaced,
    /// Written by a newer program.
    #[error("it needs a program that reads format {0}")]
    TooNew(u16),
}

fn damaged_or_empty(bytes: &[u8]) -> FormatError {
    if is_zero(bytes) { FormatError::Empty } else { FormatError::Damaged }
}

fn log_id_low(log_id: LogId) -> [u8; 8] {
    log_id.0.first_chunk().copied().unwrap_or_default()
}

/// The first page of a pack.
pub fn encode_pack_header(log_id: LogId, number: u32) -> Bytes {
    let mut out = Vec::with_capacity(PAGE_LEN);
    out.extend_from_slice(&PACK_MAGIC);
    out.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    out.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&log_id.0);
    out.extend_from_slice(&number.to_le_bytes());
    out.resize(PAGE_LEN - 4, 0);
    out.extend_from_slice(&crc32c(&out).to_le_bytes());
    out.into()
}

/// Checks a pack's first page.
pub fn check_pack_header(page: &[u8], log_id: LogId, number: u32) -> Result<(), FormatError> {
    let parsed = || {
        let (before, crc) = page.split_last_chunk()?;
        let mut fields = Fields(before);
        let sound = page.len() == PAGE_LEN
            && u32::from_le_bytes(*crc) == crc32c(before)
            && fields.array()? == PACK_MAGIC;
        let (_, min_reader, _) = (fields.u16()?, fields.u16()?, fields.u32()?);
        sound.then_some((min_reader, LogId(fields.array()?), fields.u32()?))
    };
    match parsed() {
        None => Err(damaged_or_empty(page)),
        Some((min_reader, ..)) if min_reader > FORMAT_VERSION => Err(FormatError::TooNew(min_reader)),
        Some((_, found_log, found)) if found_log == log_id && found == number => Ok(()),
        Some(_) => Err(FormatError::Misplaced),
    }
}

/// What only a blob's last extent says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobEnd {
    /// The blob's length in content bytes.
    pub total_len: u64,
    /// `blake3(salt ‖ content)`.
    pub hash: Hash,
}

/// What an extent says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExtentInfo {
    /// The blob it belongs to.
    pub blob: BlobId,
    /// The blob's salt.
    pub salt: Salt,
    /// Its number within the blob, from 0.
    pub index: u32,
    /// Content bytes of the blob before it.
    pub blob_offset: u64,
    /// Where it lies.
    pub place: ExtentPlace,
    /// Set in the blob's last extent.
    pub end: Option<BlobEnd>,
}

impl ExtentInfo {
    fn flags(&self) -> u32 {
        if self.end.is_some() { LAST } else { 0 }
    }

    fn end_bytes(&self) -> (u64, Hash) {
        self.end.map_or((0, Hash::default()), |end| (end.total_len, end.hash))
    }

    fn parse_end(flags: u32, total_len: u64, hash: Hash) -> Option<BlobEnd> {
        (flags & LAST != 0).then_some(BlobEnd { total_len, hash })
    }

    /// Whether its numbers can be true together; a checksum does not promise that.
    fn plausible(&self, flags: u32) -> bool {
        let ends = self.blob_offset.checked_add(u64::from(self.place.data_len));
        flags & !LAST == 0
            && self.place.data_len <= MAX_EXTENT
            && self.place.offset >= PAGE
            && self.place.offset.is_multiple_of(PAGE)
            && self.place.offset.checked_add(self.place.footprint()).is_some()
            && ends.is_some()
            && self.end.is_none_or(|end| Some(end.total_len) == ends)
    }
}

/// The header page of an extent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtentHeader {
    /// What it says.
    pub info: ExtentInfo,
    /// The checksum of each block of its data.
    pub blocks: Vec<u32>,
}

impl ExtentHeader {
    /// The page.
    pub fn encode(&self, log_id: LogId) -> Bytes {
        let info = &self.info;
        let (total_len, hash) = info.end_bytes();
        let mut out = Vec::with_capacity(PAGE_LEN);
        out.extend_from_slice(&log_id_low(log_id));
        out.extend_from_slice(&info.place.pack.to_le_bytes());
        out.extend_from_slice(&info.index.to_le_bytes());
        out.extend_from_slice(&info.place.offset.to_le_bytes());
        out.extend_from_slice(&info.blob.0);
        out.extend_from_slice(&info.salt.0);
        out.extend_from_slice(&info.flags().to_le_bytes());
        out.extend_from_slice(&info.place.data_len.to_le_bytes());
        out.extend_from_slice(&info.blob_offset.to_le_bytes());
        out.extend_from_slice(&total_len.to_le_bytes());
        out.extend_from_slice(&hash.0);
        out.extend(self.blocks.iter().flat_map(|crc| crc.to_le_bytes()));
        out.resize(PAGE_LEN - 8, 0);
        let mut page = Vec::with_capacity(PAGE_LEN);
        page.extend_from_slice(&EXTENT_MAGIC);
        page.extend_from_slice(&crc32c(&out).to_le_bytes());
        page.extend_from_slice(&out);
        page.into()
    }

    /// Reads the page that lies at an offset of a pack.
    pub fn decode(page: &[u8], log_id: LogId, pack: u32, offset: u64) -> Result<Self, FormatError> {
        // The magic is looked at first: a scan asks about every page of the content.
        if page.len() != PAGE_LEN || !page.starts_with(&EXTENT_MAGIC) {
            return Err(damaged_or_empty(page));
        }
        let mut fields = Fields(page);
        let sound = |fields: &mut Fields<'_>| {
            let (_, crc) = (fields.u32()?, fields.u32()?);
            (crc == crc32c(fields.0)).then_some(())
        };
        sound(&mut fields).ok_or(FormatError::Damaged)?;
        let found_log = fields.array::<8>();
        let (header, flags) = Self::parse(&mut fields).ok_or(FormatError::Damaged)?;
        let place = header.info.place;
        if found_log != Some(log_id_low(log_id)) || place.pack != pack || place.offset != offset {
            return Err(FormatError::Misplaced);
        }
        header.info.plausible(flags).then_some(header).ok_or(FormatError::Damaged)
    }

    fn parse(fields: &mut Fields<'_>) -> Option<(Self, u32)> {
        let (pack, index, offset) = (fields.u32()?, fields.u32()?, fields.u64()?);
        let (blob, salt) = (BlobId(fields.array()?), Salt(fields.array()?));
        let (flags, data_len, blob_offset) = (fields.u32()?, fields.u32()?, fields.u64()?);
        let end = ExtentInfo::parse_end(flags, fields.u64()?, Hash(fields.array()?));
        let count = data_len.min(MAX_EXTENT).div_ceil(BLOCK);
        let blocks = (0..count).map(|_| fields.u32()).collect::<Option<_>>()?;
        let place = ExtentPlace { pack, offset, data_len };
        Some((Self { info: ExtentInfo { blob, salt, index, blob_offset, place, end }, blocks }, flags))
    }
}

/// Bytes of the footer of a pack with so many extents.
pub fn footer_len(extents: usize) -> u64 {
    let bytes = extents.saturating_mul(ENTRY).saturating_add(FOOTER_HEAD + 4);
    pages((bytes as u64).saturating_add(TRAILER))
}

/// The footer of a pack, to be written at `offset`, its end being the file's.
pub fn encode_footer<'a>(
    log_id: LogId,
    pack: u32,
    offset: u64,
    extents: impl ExactSizeIterator<Item = &'a ExtentInfo>,
) -> Bytes {
    let count = extents.len();
    let len = usize::try_from(footer_len(count)).unwrap_or(usize::MAX);
    let mut out = Vec::with_capacity(len);
    out.extend_from_slice(&FOOTER_MAGIC);
    out.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    out.extend_from_slice(&[0; 2]);
    out.extend_from_slice(&log_id.0);
    out.extend_from_slice(&pack.to_le_bytes());
    out.extend_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
    for info in extents {
        let (total_len, hash) = info.end_bytes();
        out.extend_from_slice(&info.place.offset.to_le_bytes());
        out.extend_from_slice(&info.place.data_len.to_le_bytes());
        out.extend_from_slice(&info.index.to_le_bytes());
        out.extend_from_slice(&info.flags().to_le_bytes());
        out.extend_from_slice(&info.blob.0);
        out.extend_from_slice(&info.salt.0);
        out.extend_from_slice(&info.blob_offset.to_le_bytes());
        out.extend_from_slice(&total_len.to_le_bytes());
        out.extend_from_slice(&hash.0);
    }
    out.extend_from_slice(&crc32c(&out).to_le_bytes());
    out.resize(len.saturating_sub(16), 0);
    out.extend_from_slice(&offset.to_le_bytes());
    out.extend_from_slice(&crc32c(&offset.to_le_bytes()).to_le_bytes());
    out.extend_from_slice(&FOOTER_MAGIC);
    out.into()
}

/// Where the footer of a file of this length begins, by the file's last [`TRAILER`] bytes. `None`: it is not sealed.
pub fn footer_offset(trailer: &[u8], file_len: u64) -> Option<u64> {
    let mut fields = Fields(trailer);
    let (offset, crc) = (fields.u64()?, fields.u32()?);
    let sound = fields.0 == FOOTER_MAGIC && crc == crc32c(&offset.to_le_bytes());
    let fits = offset >= PAGE && offset.is_multiple_of(PAGE) && offset < file_len;
    (sound && fits).then_some(offset)
}

/// Reads a footer: the bytes from [`footer_offset`] to the end of the file.
pub fn decode_footer(bytes: &[u8], log_id: LogId, pack: u32) -> Result<Vec<ExtentInfo>, FormatError> {
    let parsed = || {
        let mut fields = Fields(bytes);
        let magic: [u8; 4] = fields.array()?;
        let (version, _) = (fields.u16()?, fields.u16()?);
        let (found_log, found) = (LogId(fields.array()?), fields.u32()?);
        let count = usize::try_from(fields.u32()?).ok()?;
        let entries = fields.take(count.checked_mul(ENTRY)?)?;
        let covered = bytes.get(..FOOTER_HEAD + entries.len())?;
        let sound = magic == FOOTER_MAGIC && fields.u32()? == crc32c(covered);
        sound.then_some((version, found_log, found, entries))
    };
    match parsed() {
        None => Err(damaged_or_empty(bytes)),
        Some((version, ..)) if version > FORMAT_VERSION => Err(FormatError::TooNew(version)),
        Some((_, found_log, found, entries)) if found_log == log_id && found == pack => entries
            .chunks_exact(ENTRY)
            .map(|entry| parse_entry(&mut Fields(entry), pack))
            .collect::<Option<_>>()
            .ok_or(FormatError::Damaged),
        Some(_) => Err(FormatError::Misplaced),
    }
}

fn parse_entry(fields: &mut Fields<'_>, pack: u32) -> Option<ExtentInfo> {
    let (offset, data_len, index, flags) = (fields.u64()?, fields.u32()?, fields.u32()?, fields.u32()?);
    let (blob, salt) = (BlobId(fields.array()?), Salt(fields.array()?));
    let blob_offset = fields.u64()?;
    let end = ExtentInfo::parse_end(flags, fields.u64()?, Hash(fields.array()?));
    let place = ExtentPlace { pack, offset, data_len };
    let info = ExtentInfo { blob, salt, index, blob_offset, place, end };
    info.plausible(flags).then_some(info)
}

/// The extents of a blob, in order of content, as its place says they are.
pub fn extents_of(blob: BlobId, place: &BlobPlace) -> impl Iterator<Item = ExtentInfo> {
    let last = place.extents.len().saturating_sub(1);
    let mut blob_offset = 0;
    place.extents.iter().enumerate().map(move |(index, extent)| {
        let info = ExtentInfo {
            blob,
            salt: place.salt,
            index: u32::try_from(index).unwrap_or(u32::MAX),
            blob_offset,
            place: *extent,
            end: (index == last).then_some(BlobEnd { total_len: place.len, hash: place.hash }),
        };
        blob_offset += u64::from(extent.data_len);
        info
    })
}

/// A blob's place, if these are all its extents, in order.
pub fn assemble(extents: &[ExtentInfo]) -> Option<BlobPlace> {
    let first = extents.first()?;
    let end = extents.last()?.end?;
    let place = BlobPlace {
        len: end.total_len,
        salt: first.salt,
        hash: end.hash,
        extents: extents.iter().map(|info| info.place).collect(),
    };
    extents_of(first.blob, &place).eq(extents.iter().copied()).then_some(place)
}
