//! What a start makes of the packs it finds: a script.
//!
//! A pack that the index has marked is not looked into. A sealed pack says in its footer what it holds. A pack
//! without a footer was open when the program ended: its pages are searched for extents; blobs that are complete
//! stay, all other space is given back, and the pack is synced and sealed, never to be written again. Since the page
//! cache may show what a failed sync lost, that search reads from the disk and checks every block.
//!
//! A pack's number is never used twice, since the index may still say that a freed blob lies there. So the pack with
//! the highest number stays, even when nothing is in it, and the index remembers that number too: a file that was lost
//! does not give it away.
//!
//! A page that the disk cannot read is damage like any other, and costs what lies there. Where it is not known what that
//! is, nothing of the pack is given back and the pack is not sealed: the disk may be able to read it at the next start,
//! which looks again.
//!
//! Nothing is ever given back in a sealed pack here: a blob that is incomplete there has been damaged, or freed by half,
//! which only those can tell who know what records name. Its packs are not marked, so that each start finds it again until
//! it is gone.

use super::format::{
    ExtentHeader, ExtentInfo, FormatError, TRAILER, assemble, check_pack_header, decode_footer,
    encode_footer, encode_pack_header, footer_offset,
};
use super::index::{BlobIndex, BlobIndexError};
use super::place::BlobPlace;
use super::reader::{BlobDamage, Damage};
use super::{BLOCK, PAGE, pack_file, pack_number};
use crate::codec::crc32c;
use crate::host::{DiskError, DiskOp, FilePath, Folder, unless_lost};
use crate::id::{BlobId, Hash, LogId};
use crate::script::Io;
use bytes::{Bytes, BytesMut};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Bytes the search reads at once: whole blocks.
const WINDOW: u64 = 1024 * 1024;

/// Why the packs cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PackRecoveryError {
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The index failed.
    #[error(transparent)]
    Index(#[from] BlobIndexError),
    /// A pack is not this log's, or needs a newer program.
    #[error("pack {pack:08x}: {reason}")]
    Refused {
        /// The pack.
        pack: u32,
        /// Why.
        reason: FormatError,
    },
}

/// What was found and done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoveredPacks {
    /// The log whose packs these are.
    pub log_id: LogId,
    /// The number of the next pack: higher than any found, and than any that the index remembers.
    pub next_pack: u32,
    /// The packs that are there.
    pub there: BTreeSet<u32>,
    /// Blobs put into the index.
    pub blobs: u64,
    /// Packs that were open, in order. They are sealed now, or removed if they held no complete blob.
    pub closed: Vec<u32>,
    /// Bytes between complete blobs that were given back.
    pub given_back: u64,
    /// Blobs that are there, but not as they were written. A crash leaves such blobs too, of which no record speaks.
    pub damaged: Vec<BlobDamage>,
    /// Blobs that lack extents although part of them lies in sealed packs, in the order of their ids, with what is left
    /// of them there. These are places to free, not to read: the length is that of what is left, and there is no hash.
    pub incomplete: Vec<(BlobId, BlobPlace)>,
    /// Packs that were left as they were, because the disk cannot read all of them, in order.
    pub unreadable: Vec<u32>,
}

impl RecoveredPacks {
    /// For a log that has no packs yet.
    pub fn none(log_id: LogId) -> Self {
        Self {
            log_id,
            next_pack: 1,
            there: BTreeSet::new(),
            blobs: 0,
            closed: Vec::new(),
            given_back: 0,
            damaged: Vec::new(),
            incomplete: Vec::new(),
            unreadable: Vec::new(),
        }
    }
}

/// Brings packs and index into a state from which the pack writer can go on.
pub async fn recover_packs(
    io: Io,
    log_id: LogId,
    index: Arc<dyn BlobIndex>,
) -> Result<RecoveredPacks, PackRecoveryError> {
    let report = RecoveredPacks::none(log_id);
    let found = BTreeMap::new();
    let (open, sealed, empty, places) = (BTreeMap::new(), Vec::new(), Vec::new(), Vec::new());
    let mut recovery = Recovery { io, index, report, open, sealed, empty, found, places };
    let remembered = recovery.index.highest_pack()?;
    recovery.report.next_pack = recovery.report.next_pack.max(remembered.saturating_add(1));
    for (name, len) in recovery.io.list(Folder::Packs).await? {
        let Some(number) = pack_number(&name) else { continue };
        recovery.report.next_pack = recovery.report.next_pack.max(number.saturating_add(1));
        recovery.report.there.insert(number);
        if !recovery.index.is_indexed(number)? {
            recovery.look_into(number, len).await?;
        }
    }
    recovery.join_spanning()?;
    recovery.close_open_packs().await?;
    recovery.fill_index()?;
    Ok(recovery.report)
}

/// A pack without a footer.
struct Open {
    header_sound: bool,
    kept: BTreeMap<u64, ExtentInfo>,
    /// Pages that the disk cannot read.
    unreadable: Vec<u64>,
}

impl Open {
    /// Whether something lies there of which nothing is known: behind the pack's header and outside of what is kept.
    fn is_unknown(&self) -> bool {
        let within = |page: u64| {
            let before = self.kept.range(..=page).next_back();
            page < PAGE || before.is_some_and(|(_, info)| page < info.place.end())
        };
        !self.unreadable.iter().all(|page| within(*page))
    }
}

struct Recovery {
    io: Io,
    index: Arc<dyn BlobIndex>,
    report: RecoveredPacks,
    open: BTreeMap<u32, Open>,
    /// Sealed packs that were not marked.
    sealed: Vec<u32>,
    /// Packs that hold nothing.
    empty: Vec<u32>,
    /// Extents of blobs that are not complete in one pack.
    found: BTreeMap<BlobId, Vec<ExtentInfo>>,
    /// Blobs to put once the open packs are closed.
    places: Vec<(BlobId, BlobPlace)>,
}

impl Recovery {
    async fn look_into(&mut self, number: u32, len: u64) -> Result<(), PackRecoveryError> {
        let file = pack_file(number);
        let extents = match self.footer(number, &file, len).await? {
            Some(listed) if listed.is_empty() => {
                self.empty.push(number);
                Vec::new()
            }
            Some(listed) => {
                // ORDER: before the mark; a program that was killed may have left the footer in the page cache only.
                self.io.run(DiskOp::Sync { file: file.clone() }).await?;
                self.sealed.push(number);
                self.still_there(&file, listed).await?
            }
            None => self.search(number, &file, len).await?,
        };
        let mut blobs: BTreeMap<BlobId, Vec<ExtentInfo>> = BTreeMap::new();
        for info in extents {
            blobs.entry(info.blob).or_default().push(info);
        }
        for (blob, mut extents) in blobs {
            extents.sort_by_key(|info| info.index);
            match assemble(&extents) {
                None => self.found.entry(blob).or_default().append(&mut extents),
                Some(place) if self.open.contains_key(&number) => self.keep(blob, place, &extents),
                Some(place) => self.put(blob, &place)?,
            }
        }
        Ok(())
    }

    fn put(&mut self, blob: BlobId, place: &BlobPlace) -> Result<(), BlobIndexError> {
        self.report.blobs += 1;
        self.index.put(blob, place)
    }

    fn keep(&mut self, blob: BlobId, place: BlobPlace, extents: &[ExtentInfo]) {
        self.keep_extents(extents);
        self.places.push((blob, place));
    }

    fn keep_extents(&mut self, extents: &[ExtentInfo]) {
        for info in extents {
            if let Some(open) = self.open.get_mut(&info.place.pack) {
                open.kept.insert(info.place.offset, *info);
            }
        }
    }

    /// What the footer lists; `None` where there is none that can be read.
    async fn footer(
        &self,
        number: u32,
        file: &FilePath,
        len: u64,
    ) -> Result<Option<Vec<ExtentInfo>>, PackRecoveryError> {
        let trailer = unless_lost(self.io.read(file, len.saturating_sub(TRAILER), TRAILER, true).await)?;
        let offset = trailer.and_then(|trailer| footer_offset(&trailer, len));
        let Some(offset) = offset else { return Ok(None) };
        let bytes = unless_lost(self.io.read(file, offset, len - offset, true).await)?;
        let Some(bytes) = bytes else { return Ok(None) };
        match decode_footer(&bytes, self.report.log_id, number) {
            Ok(listed) => Ok(Some(listed)),
            // Half a footer: the program ended while it was written, or it is damaged. The headers say the same.
            Err(FormatError::Damaged | FormatError::Empty) => Ok(None),
            Err(reason @ (FormatError::Misplaced | FormatError::TooNew(_))) => {
                Err(PackRecoveryError::Refused { pack: number, reason })
            }
        }
    }

    /// Leaves out the extents that were freed after the pack was sealed: on the disk, and not in the page cache alone.
    /// One whose header is damaged stays: the footer still knows where it lies.
    async fn still_there(
        &mut self,
        file: &FilePath,
        listed: Vec<ExtentInfo>,
    ) -> Result<Vec<ExtentInfo>, DiskError> {
        let mut there = Vec::with_capacity(listed.len());
        for info in listed {
            let page = unless_lost(self.io.read(file, info.place.offset, PAGE, true).await)?;
            let header = page.map(|page| {
                ExtentHeader::decode(&page, self.report.log_id, info.place.pack, info.place.offset)
            });
            let damage = match header.unwrap_or(Err(FormatError::Damaged)) {
                Ok(header) if header.info == info => None,
                Ok(_) => Some(Damage::OtherExtent),
                Err(FormatError::Empty) => continue,
                Err(error) => Some(Damage::Header(error)),
            };
            self.note_damage(&info, info.place.offset, damage);
            there.push(info);
        }
        Ok(there)
    }

    fn note_damage(&mut self, info: &ExtentInfo, offset: u64, damage: Option<Damage>) {
        let noted = |damage| BlobDamage { blob: info.blob, pack: info.place.pack, offset, damage };
        self.report.damaged.extend(damage.map(noted));
    }

    /// Searches a pack that was open for extents.
    async fn search(
        &mut self,
        number: u32,
        file: &FilePath,
        len: u64,
    ) -> Result<Vec<ExtentInfo>, PackRecoveryError> {
        let log_id = self.report.log_id;
        let mut window = Window {
            io: self.io.clone(),
            file: file.clone(),
            file_bytes: len,
            start: 0,
            bytes: Bytes::new(),
            unreadable: Vec::new(),
        };
        let header_sound = match check_pack_header(&window.read(0, PAGE).await?, log_id, number) {
            Ok(()) => true,
            Err(FormatError::Empty | FormatError::Damaged) => false,
            Err(reason @ (FormatError::Misplaced | FormatError::TooNew(_))) => {
                return Err(PackRecoveryError::Refused { pack: number, reason });
            }
        };
        let mut extents = Vec::new();
        let mut offset = PAGE;
        while offset.saturating_add(PAGE) <= len {
            let page = window.read(offset, PAGE).await?;
            let header = ExtentHeader::decode(&page, log_id, number, offset).ok();
            let Some(header) = header.filter(|header| header.info.place.end() <= pages_end(len)) else {
                offset += PAGE;
                continue;
            };
            let bad = first_bad_block(&mut window, &header).await?;
            self.note_damage(&header.info, bad.unwrap_or_default(), bad.map(|_| Damage::Block));
            // What lies inside an extent is content: it is never taken for a header, whatever it looks like.
            offset = header.info.place.end();
            extents.push(header.info);
        }
        let unreadable = window.unreadable;
        self.open.insert(number, Open { header_sound, kept: BTreeMap::new(), unreadable });
        Ok(extents)
    }

    /// Decides on blobs whose extents lie in several packs.
    fn join_spanning(&mut self) -> Result<(), PackRecoveryError> {
        for (blob, mut extents) in std::mem::take(&mut self.found) {
            extents.sort_by_key(|info| info.index);
            if let Some(place) = assemble(&extents) {
                self.keep(blob, place, &extents);
                continue;
            }
            // The rest of it may lie in packs that are marked, which were not looked into: then the index has it.
            if let Some(place) = self.index.get(blob)? {
                extents.retain(|info| place.extents.contains(&info.place));
                self.keep_extents(&extents);
                continue;
            }
            extents.retain(|info| !self.open.contains_key(&info.place.pack));
            self.report.incomplete.extend(remains(&extents).map(|place| (blob, place)));
        }
        Ok(())
    }

    async fn close_open_packs(&mut self) -> Result<(), DiskError> {
        let open = std::mem::take(&mut self.open);
        if !open.is_empty() {
            // ORDER: what was found in a pack is kept only if its name is durable, and a pack with a lower number
            // is removed only after that.
            self.io.run(DiskOp::SyncFolder { folder: Folder::Packs }).await?;
        }
        let highest = self.report.next_pack.saturating_sub(1);
        let mut ends = Vec::new();
        for (number, open) in &open {
            if open.is_unknown() {
                self.io.run(DiskOp::Sync { file: pack_file(*number) }).await?;
                self.report.unreadable.push(*number);
                continue;
            }
            self.report.closed.push(*number);
            let used = if open.kept.is_empty() { &mut self.empty } else { &mut self.sealed };
            used.push(*number);
            if !open.kept.is_empty() || *number == highest {
                ends.push((*number, open, self.clear(*number, open).await?));
            }
        }
        // ORDER: all blobs are durable before the first footer that vouches for a part of one can be.
        for (number, open, end) in ends {
            let file = pack_file(number);
            let data = vec![encode_footer(self.report.log_id, number, end, open.kept.values())];
            self.io.run(DiskOp::Write { file: file.clone(), offset: end, data }).await?;
            self.io.run(DiskOp::Sync { file }).await?;
        }
        for number in std::mem::take(&mut self.empty) {
            if number != highest {
                self.report.there.remove(&number);
                self.io.run(DiskOp::Remove { file: pack_file(number) }).await?;
            }
        }
        Ok(())
    }

    /// Gives back everything in a pack but its complete blobs, and syncs it. Returns where it ends now.
    async fn clear(&mut self, number: u32, open: &Open) -> Result<u64, DiskError> {
        let file = pack_file(number);
        let mut end = PAGE;
        for info in open.kept.values() {
            let gap = info.place.offset.saturating_sub(end);
            if gap > 0 {
                let op = DiskOp::Punch { file: file.clone(), offset: end, len: gap };
                // A file system that cannot punch keeps the space; the content is safe either way.
                if self.io.run(op).await.is_ok() {
                    self.report.given_back += gap;
                }
            }
            end = info.place.end();
        }
        if !open.header_sound {
            let data = vec![encode_pack_header(self.report.log_id, number)];
            self.io.run(DiskOp::Write { file: file.clone(), offset: 0, data }).await?;
        }
        // The space of the tail is free again before the footer may need some.
        self.io.run(DiskOp::Truncate { file: file.clone(), len: end }).await?;
        self.io.run(DiskOp::Sync { file }).await?;
        Ok(end)
    }

    fn fill_index(&mut self) -> Result<(), BlobIndexError> {
        for (blob, place) in std::mem::take(&mut self.places) {
            self.put(blob, &place)?;
        }
        // ORDER: marks after all blobs, those that span packs included.
        let mut sealed: BTreeSet<u32> = self.sealed.iter().copied().collect();
        for extent in self.report.incomplete.iter().flat_map(|(_, place)| &place.extents) {
            sealed.remove(&extent.pack);
        }
        sealed.into_iter().try_for_each(|number| self.index.mark_indexed(number))
    }
}

/// What is left of a blob that lacks extents; none where nothing is.
fn remains(extents: &[ExtentInfo]) -> Option<BlobPlace> {
    let salt = extents.first()?.salt;
    let len = extents.iter().map(|info| u64::from(info.place.data_len)).sum();
    let extents = extents.iter().map(|info| info.place).collect();
    Some(BlobPlace { len, salt, hash: Hash::default(), extents })
}

/// A file's length in whole pages, since the padding of the last extent may never have been written.
fn pages_end(len: u64) -> u64 {
    super::pages(len)
}

/// Offset of the first block of an extent whose checksum is wrong.
async fn first_bad_block(window: &mut Window, header: &ExtentHeader) -> Result<Option<u64>, DiskError> {
    let mut offset = header.info.place.data_offset();
    let mut left = u64::from(header.info.place.data_len);
    let mut bad = None;
    for crc in &header.blocks {
        let len = left.min(BLOCK.into());
        let block = window.read(offset, len).await?;
        if bad.is_none() && (block.len() as u64 != len || crc32c(&block) != *crc) {
            bad = Some(offset);
        }
        offset += len;
        left -= len;
    }
    Ok(bad)
}

/// Reads a file forwards in large pieces, from the disk and not from the page cache. What the disk cannot read is zeros,
/// and is noted.
struct Window {
    io: Io,
    file: FilePath,
    file_bytes: u64,
    start: u64,
    bytes: Bytes,
    unreadable: Vec<u64>,
}

impl Window {
    async fn read(&mut self, offset: u64, len: u64) -> Result<Bytes, DiskError> {
        let end = self.start + self.bytes.len() as u64;
        if offset < self.start || offset.saturating_add(len) > end {
            let read = unless_lost(self.io.read(&self.file, offset, WINDOW.max(len), true).await)?;
            self.bytes = match read {
                Some(bytes) => bytes,
                None => self.read_pages(offset, WINDOW.max(len)).await?,
            };
            self.start = offset;
        }
        let from = usize::try_from(offset - self.start).unwrap_or(usize::MAX).min(self.bytes.len());
        let until = from.saturating_add(usize::try_from(len).unwrap_or(usize::MAX)).min(self.bytes.len());
        Ok(self.bytes.slice(from..until))
    }

    async fn read_pages(&mut self, offset: u64, len: u64) -> Result<Bytes, DiskError> {
        let mut out = BytesMut::new();
        let (mut at, end) = (offset, offset.saturating_add(len).min(self.file_bytes));
        while at < end {
            let page = PAGE.min(end - at);
            match unless_lost(self.io.read(&self.file, at, page, true).await)? {
                Some(bytes) => out.extend_from_slice(&bytes),
                None => self.unreadable.push(at),
            }
            at += page;
            out.resize(usize::try_from(at - offset).unwrap_or(usize::MAX), 0);
        }
        Ok(out.freeze())
    }
}
