//! One file's bytes: what reads show, what the disk holds for certain, and what lies between.

use super::sparse::{PAGE, SECTOR, SECTOR_BYTES, Sparse, size};
use crate::world::random::Random;
use bytes::Bytes;
use std::collections::BTreeSet;
use std::ops::Range;

/// A change that no sync has made durable yet.
#[derive(Debug, Clone)]
enum Change {
    Write { offset: u64, data: Bytes },
    Zero { offset: u64, len: u64 },
    Length(u64),
}

/// How a power cut treats the unsynced changes. Drawn once a crash, so that the rare mixtures and the plain cases
/// (all lost, all kept, the first few kept) both come up often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// None reached the disk.
    Lost,
    /// All reached the disk.
    Kept,
    /// Those up to some point did, the one there in part.
    Prefix,
    /// Each sector of each of them for itself.
    Scattered,
}

impl Fate {
    pub(super) fn draw(random: &mut Random) -> Self {
        *random
            .pick(&[Self::Lost, Self::Kept, Self::Prefix, Self::Scattered, Self::Scattered])
            .unwrap_or(&Self::Lost)
    }
}

#[derive(Debug, Clone, Default)]
pub(super) struct Inode {
    cache: Sparse,
    durable: Sparse,
    /// Each with the number of the operation that made it, [`super::SimDisk::changes`].
    pending: Vec<(u64, Change)>,
    /// Changes that syncs have taken off the front of `pending`, so that a number names a change for good.
    settled: u64,
    /// Pages that take no space: punched, or never allocated.
    holes: BTreeSet<u64>,
    /// Sectors that cannot be read until they are written again.
    unreadable: BTreeSet<u64>,
    /// Writes that can be taken back: nothing has changed their bytes since.
    written: Vec<Written>,
}

/// A write that the disk has done, with what was there before.
#[derive(Debug, Clone)]
pub(super) struct Written {
    /// The operation that it was a part of.
    pub(super) operation: u64,
    pub(super) offset: u64,
    pub(super) data: Bytes,
    before: Vec<u8>,
}

impl Written {
    fn end(&self) -> u64 {
        self.offset + self.data.len() as u64
    }
}

/// A sector could not be read.
#[derive(Debug)]
pub(super) struct Unreadable;

impl Inode {
    /// A new file whose bytes are allocated and read as zeros, its length not durable yet.
    pub(super) fn allocated(operation: u64, len: u64) -> Self {
        let mut inode = Self::default();
        inode.change(operation, Change::Length(len));
        inode
    }

    pub(super) fn len(&self) -> u64 {
        self.cache.len()
    }

    pub(super) fn space(&self) -> u64 {
        (self.len().div_ceil(PAGE) - self.holes.len() as u64) * PAGE
    }

    /// Space that a write to the range takes beyond what the file has.
    pub(super) fn growth(&self, offset: u64, len: u64) -> u64 {
        let end = offset + len;
        let beyond = end.div_ceil(PAGE).saturating_sub(self.len().div_ceil(PAGE));
        let filled = self.holes.range(offset / PAGE..end.div_ceil(PAGE)).count() as u64;
        (beyond + filled) * PAGE
    }

    fn change(&mut self, operation: u64, change: Change) {
        apply(&mut self.cache, &change);
        self.pending.push((operation, change));
    }

    pub(super) fn write(&mut self, operation: u64, offset: u64, data: &[Bytes]) {
        let mut at = offset;
        for bytes in data.iter().filter(|bytes| !bytes.is_empty()) {
            let end = at + bytes.len() as u64;
            if end > self.cache.len() {
                self.change(operation, Change::Length(end));
            }
            self.change(operation, Change::Write { offset: at, data: bytes.clone() });
            at = end;
        }
        let written: Vec<u64> = self.holes.range(offset / PAGE..at.div_ceil(PAGE)).copied().collect();
        self.holes.retain(|page| !written.contains(page));
    }

    pub(super) fn punch(&mut self, operation: u64, offset: u64, len: u64) {
        let end = offset.saturating_add(len).min(self.len());
        if end > offset {
            self.change(operation, Change::Zero { offset, len: end - offset });
            self.holes.extend(offset.div_ceil(PAGE)..end / PAGE);
        }
    }

    pub(super) fn truncate(&mut self, operation: u64, len: u64) {
        self.change(operation, Change::Length(len));
        self.holes.split_off(&len.div_ceil(PAGE));
    }

    /// Names the changes made so far: what a sync that begins now will cover.
    pub(super) fn mark(&self) -> u64 {
        self.settled + self.pending.len() as u64
    }

    fn take_through(&mut self, mark: u64) -> Vec<(u64, Change)> {
        let count = size(mark.saturating_sub(self.settled)).min(self.pending.len());
        self.settled += count as u64;
        self.pending.drain(..count).collect()
    }

    /// The changes up to a mark, which may or may not reach the disk: what they replace cannot be brought back any more.
    fn take_for_good(&mut self, mark: u64) -> Vec<Change> {
        let changes: Vec<Change> = self.take_through(mark).into_iter().map(|(_, change)| change).collect();
        for change in &changes {
            self.forget_replaced(change);
        }
        changes
    }

    fn forget_replaced(&mut self, change: &Change) {
        let (from, to) = match change {
            Change::Write { offset, data } => (*offset, offset + data.len() as u64),
            Change::Zero { offset, len } => (*offset, offset.saturating_add(*len)),
            Change::Length(len) => (*len, u64::MAX),
        };
        self.written.retain(|written| written.end() <= from || to <= written.offset);
    }

    /// Writes that the disk has done and that can be taken back, in their order.
    pub(super) fn written(&self) -> &[Written] {
        &self.written
    }

    /// The disk has never done a write that it said it did: what was there before is there. The cache forgets it, too.
    pub(super) fn take_back(&mut self, operation: u64, offset: u64) -> Option<Bytes> {
        let index = self.written.iter().position(|one| one.operation == operation && one.offset == offset)?;
        let Written { offset, data, before, .. } = self.written.remove(index);
        self.durable.write(offset, &before);
        self.drop_clean_pages(offset / PAGE..(offset + data.len() as u64).div_ceil(PAGE));
        Some(data)
    }

    /// A write meant for another place lands here, inside what the file has.
    pub(super) fn receive(&mut self, offset: u64, data: &[u8]) {
        let data = &data[..data.len().min(size(self.durable.len().saturating_sub(offset)))];
        let end = offset + data.len() as u64;
        self.written.retain(|written| written.end() <= offset || end <= written.offset);
        self.durable.write(offset, data);
        self.drop_clean_pages(offset / PAGE..end.div_ceil(PAGE));
    }

    /// What a read would have given before one of the writes that lie in its range; none where there is no such write.
    pub(super) fn read_stale(&self, offset: u64, len: u64, random: &mut Random) -> Option<Vec<u8>> {
        let end = offset.saturating_add(len).min(self.len());
        let within: Vec<&Written> =
            self.written.iter().filter(|written| written.offset < end && offset < written.end()).collect();
        let Written { offset: at, before, .. } = random.pick(&within)?;
        let mut bytes = self.cache.read(offset, len);
        let (from, to) = (offset.max(*at), end.min(at + before.len() as u64));
        bytes[size(from - offset)..size(to - offset)]
            .copy_from_slice(&before[size(from - at)..size(to - at)]);
        Some(bytes)
    }

    /// Makes the changes up to a mark durable; keeps what they replace, where it is to be remembered.
    pub(super) fn sync(&mut self, mark: u64, remember: bool) {
        for (operation, change) in self.take_through(mark) {
            self.forget_replaced(&change);
            if let (true, Change::Write { offset, data }) = (remember, &change) {
                let mut before = self.durable.read(*offset, data.len() as u64);
                before.resize(data.len(), 0);
                self.written.push(Written { operation, offset: *offset, data: data.clone(), before });
            }
            if let Change::Write { offset, data } = &change {
                let sectors = offset / SECTOR..(offset + data.len() as u64).div_ceil(SECTOR);
                let rewritten: Vec<u64> = self.unreadable.range(sectors).copied().collect();
                self.unreadable.retain(|sector| !rewritten.contains(sector));
            }
            apply(&mut self.durable, &change);
        }
    }

    /// A sync that fails: some of the sectors reached the disk, the others never will, and the cache counts all of
    /// them as written (Rebello et al., ATC'20). A later sync says that all is well.
    pub(super) fn fail_sync(&mut self, mark: u64, random: &mut Random) {
        let fate = Fate::draw(random);
        let changes = self.take_for_good(mark);
        settle(&mut self.durable, &changes, fate, random);
        // The length is metadata, which the journal still commits.
        self.durable.set_len(self.durable.len().max(self.cache.len()));
    }

    /// Reads from the cache, or from what the disk holds where the cache has nothing unwritten.
    pub(super) fn read(&mut self, offset: u64, len: u64, from_disk: bool) -> Result<Vec<u8>, Unreadable> {
        let end = offset.saturating_add(len).min(self.len());
        if from_disk {
            self.drop_clean_pages(offset / PAGE..end.div_ceil(PAGE));
        }
        let sectors = offset / SECTOR..end.div_ceil(SECTOR).max(offset / SECTOR);
        if self.unreadable.range(sectors).next().is_some() {
            return Err(Unreadable);
        }
        Ok(self.cache.read(offset, len))
    }

    /// Whether reads of a range that both have give the same, by the pages it lies in.
    pub(super) fn has_same_bytes(&self, other: &Self, offset: u64, len: u64) -> bool {
        self.unreadable == other.unreadable
            && offset + len <= self.len().min(other.len())
            && self.cache.shares(&other.cache, offset, len)
    }

    fn drop_clean_pages(&mut self, pages: Range<u64>) {
        let dirty: BTreeSet<u64> = self.pending.iter().flat_map(|(_, change)| touched(change)).collect();
        for page in pages.filter(|page| !dirty.contains(page)) {
            self.cache.copy_page(&self.durable, page);
        }
    }

    /// Power is cut: what was not synced is left as its fate has it, and the cache is empty afterwards.
    pub(super) fn lose_power(&mut self, fate: Fate, random: &mut Random) {
        let changes = self.take_for_good(u64::MAX);
        settle(&mut self.durable, &changes, fate, random);
        self.forget_cache();
    }

    /// The operations that made the unsynced changes, in the changes' order, and where each can be torn in two.
    pub(super) fn pending(&self) -> impl Iterator<Item = (u64, Option<u64>)> {
        self.pending.iter().map(|(operation, change)| (*operation, tears_at(change)))
    }

    /// Power is cut, and of the unsynced changes exactly those survive that are asked for by their index and their part:
    /// the first, the second, or both.
    pub(super) fn lose_power_but(&mut self, survives: impl Fn(usize) -> (bool, bool)) {
        for (index, change) in self.take_for_good(u64::MAX).iter().enumerate() {
            match (survives(index), tears_at(change), change) {
                ((true, true), ..) => apply(&mut self.durable, change),
                ((first, second), Some(at), Change::Write { offset, data }) if first || second => {
                    let at = size(at - offset);
                    if first {
                        self.durable.write(*offset, &data[..at]);
                    } else {
                        self.durable.write(offset + at as u64, &data[at..]);
                    }
                }
                _ => {}
            }
        }
        self.forget_cache();
    }

    fn forget_cache(&mut self) {
        self.cache = self.durable.clone();
        self.holes.split_off(&self.len().div_ceil(PAGE));
    }

    /// Flips a bit at rest, and drops the page from the cache so that the next reader sees it.
    pub(super) fn flip_bit(&mut self, offset: u64, bit: u8) {
        let flipped: Vec<u8> =
            self.durable.read(offset, 1).iter().map(|byte| byte ^ (1 << (bit % 8))).collect();
        self.durable.write(offset, &flipped);
        self.drop_clean_pages(offset / PAGE..offset / PAGE + 1);
    }

    /// Puts random bytes in the place of a sector at rest.
    pub(super) fn scramble_sector(&mut self, sector: u64, random: &mut Random) {
        scramble(&mut self.durable, sector, random);
        let page = sector * SECTOR / PAGE;
        self.drop_clean_pages(page..page + 1);
    }

    /// Makes a sector unreadable until it is written again.
    pub(super) fn lose_sector(&mut self, sector: u64) {
        self.unreadable.insert(sector);
    }

    /// Bytes as the disk holds them, whatever the cache shows.
    pub(super) fn durable(&self) -> &Sparse {
        &self.durable
    }
}

fn apply(file: &mut Sparse, change: &Change) {
    match change {
        Change::Write { offset, data } => file.write(*offset, data),
        Change::Zero { offset, len } => file.zero(*offset, *len),
        Change::Length(len) => file.set_len(*len),
    }
}

/// The border of sectors in the middle of a write that has several.
fn tears_at(change: &Change) -> Option<u64> {
    let Change::Write { offset, data } = change else { return None };
    let at = (offset + data.len() as u64 / 2) / SECTOR * SECTOR;
    (at > *offset).then_some(at)
}

fn touched(change: &Change) -> Range<u64> {
    match change {
        Change::Write { offset, data } => offset / PAGE..(offset + data.len() as u64).div_ceil(PAGE),
        Change::Zero { offset, len } => offset / PAGE..(offset + len).div_ceil(PAGE),
        Change::Length(_) => 0..0,
    }
}

fn scramble(file: &mut Sparse, sector: u64, random: &mut Random) {
    let mut garbage = [0; SECTOR_BYTES];
    random.fill(&mut garbage);
    file.write(sector * SECTOR, &garbage);
}

/// Leaves of the changes what their fate says.
fn settle(file: &mut Sparse, changes: &[Change], fate: Fate, random: &mut Random) {
    let kept = match fate {
        Fate::Lost => 0,
        Fate::Kept => changes.len(),
        Fate::Prefix => random.index(changes.len() + 1),
        Fate::Scattered => return changes.iter().for_each(|change| scatter(file, change, random)),
    };
    changes.iter().take(kept).for_each(|change| apply(file, change));
    if let (Fate::Prefix, Some(torn)) = (fate, changes.get(kept)) {
        scatter(file, torn, random);
    }
}

/// Each sector of a change independently keeps its old bytes, gets the new ones, or is torn and holds garbage.
fn scatter(file: &mut Sparse, change: &Change, random: &mut Random) {
    let Change::Write { offset, data } = change else {
        if random.coin() {
            apply(file, change);
        }
        return;
    };
    let end = offset + data.len() as u64;
    for sector in offset / SECTOR..end.div_ceil(SECTOR) {
        let from = (*offset).max(sector * SECTOR);
        let to = end.min((sector + 1) * SECTOR);
        match random.below(16) {
            0..=6 => {}
            7 => scramble(file, sector, random),
            _ => file.write(from, &data[size(from - offset)..size(to - offset)]),
        }
    }
}
