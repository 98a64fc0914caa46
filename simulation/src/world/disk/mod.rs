//! A disk with the promises of a real one and no more.
//!
//! Bytes and names are durable only after `Sync` and `SyncFolder` returned. A power cut leaves each 512-byte sector
//! of each unsynced write old, new or torn, whatever their order; unsynced names, renames and removals survive or
//! not. A sync may fail once, and then the lost bytes count as written. Bits may rot, sectors become unreadable,
//! space run out. Every choice comes from the disk's own dice.

mod cut;
mod inode;
mod lies;
mod sparse;

use crate::world::random::Random;
use bytes::Bytes;
use inode::{Fate, Inode};
pub use lies::Written;
use siltstone_log::host::{Completion, Disk, DiskError, DiskErrorKind, DiskOp, DiskReply, DiskResult};
use siltstone_log::host::{FilePath, Folder, Ticket};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Bytes of a sector: the unit that a crash leaves whole, and that rot takes.
pub const SECTOR: u64 = sparse::SECTOR;

/// What the disk may do beyond working.
#[derive(Debug, Clone)]
pub struct DiskOptions {
    /// Bytes of the volume.
    pub capacity: u64,
    /// One sync in so many takes up to two seconds; 0 for never.
    pub slow_sync_one_in: u64,
    /// One read in so many takes up to a tenth of a second; 0 for never.
    pub slow_read_one_in: u64,
    /// One sync in so many fails and drops what it should have written; 0 for never.
    pub failed_sync_one_in: u64,
    /// One write in so many fails, with some of its bytes written; 0 for never.
    pub failed_write_one_in: u64,
    /// One read in so many fails, and would succeed if it were asked again; 0 for never.
    pub failed_read_one_in: u64,
    /// One read in so many gives what was there before the last write, once; 0 for never.
    pub stale_read_one_in: u64,
    /// Whether what writes replace is remembered, so that they can be taken back and reads be stale.
    pub remembers: bool,
}

impl Default for DiskOptions {
    fn default() -> Self {
        Self {
            capacity: 1 << 40,
            slow_sync_one_in: 0,
            slow_read_one_in: 0,
            failed_sync_one_in: 0,
            failed_write_one_in: 0,
            failed_read_one_in: 0,
            stale_read_one_in: 0,
            remembers: false,
        }
    }
}

/// How the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crash {
    /// The process dies; the system and its cache live on (`kill -9`).
    Kill,
    /// The machine loses power: only what is durable, and some of the rest, is left.
    PowerCut,
}

type InodeNumber = u64;

#[derive(Debug, Clone)]
enum NameChange {
    Link { name: Arc<str>, inode: InodeNumber },
    Rename { from: Arc<str>, to: Arc<str>, inode: InodeNumber },
    Unlink { name: Arc<str> },
}

#[derive(Debug, Clone, Default)]
struct Names {
    cache: BTreeMap<Arc<str>, InodeNumber>,
    durable: BTreeMap<Arc<str>, InodeNumber>,
    /// Each with the number of the operation that made it.
    pending: Vec<(u64, NameChange)>,
    settled: u64,
}

impl Names {
    fn change(&mut self, operation: u64, change: NameChange) {
        apply_name(&mut self.cache, &change);
        self.pending.push((operation, change));
    }

    fn take_through(&mut self, mark: u64) -> Vec<NameChange> {
        let count = sparse::size(mark.saturating_sub(self.settled)).min(self.pending.len());
        self.settled += count as u64;
        self.pending.drain(..count).map(|(_, change)| change).collect()
    }
}

fn apply_name(names: &mut BTreeMap<Arc<str>, InodeNumber>, change: &NameChange) {
    match change {
        NameChange::Link { name, inode } => drop(names.insert(name.clone(), *inode)),
        NameChange::Rename { from, to, inode } => {
            if names.get(from) == Some(inode) {
                names.remove(from);
            }
            names.insert(to.clone(), *inode);
        }
        NameChange::Unlink { name } => drop(names.remove(name)),
    }
}

/// An operation handed in and not carried out yet.
#[derive(Debug, Clone)]
pub struct InFlight {
    /// The operation.
    pub op: DiskOp,
    /// When it will be done, in nanoseconds from now.
    pub takes_nanos: u64,
    /// What a sync will cover: the changes carried out before it was handed in, and no later ones.
    covers: u64,
    inode: Option<InodeNumber>,
    fails: bool,
    stale: bool,
}

/// The simulated disk. Cloning is cheap and gives an independent copy.
#[derive(Debug, Clone)]
pub struct SimDisk {
    random: Random,
    /// What it may do from now on.
    pub options: DiskOptions,
    folders: BTreeMap<Folder, Names>,
    inodes: BTreeMap<InodeNumber, Inode>,
    next_inode: InodeNumber,
    /// Space that something else on the volume takes.
    taken: u64,
    failed_syncs: u64,
    /// Reads that failed once, and that were stale.
    lying_reads: (u64, u64),
    /// Where reads are never stale: of this file, from this byte on.
    spared: Option<(FilePath, u64)>,
    /// Operations carried out that change what is there, or what of it is durable.
    changes: u64,
}

impl SimDisk {
    /// An empty data directory.
    pub fn new(seed: u64, options: DiskOptions) -> Self {
        Self {
            random: Random::new(seed, "disk"),
            options,
            folders: BTreeMap::new(),
            inodes: BTreeMap::new(),
            next_inode: 1,
            taken: 0,
            failed_syncs: 0,
            lying_reads: (0, 0),
            spared: None,
            changes: 0,
        }
    }

    /// A copy on which nothing fails any more, to look at what is there without disturbing it.
    #[must_use]
    pub fn observer(&self) -> Self {
        let options = DiskOptions { capacity: self.options.capacity, ..DiskOptions::default() };
        Self { options, ..self.clone() }
    }

    /// Throws other dice from now on: the same disk in another world.
    pub fn reseed(&mut self, seed: u64) {
        self.random = Random::new(seed, "disk");
    }

    /// How many syncs have failed so far.
    pub fn failed_syncs(&self) -> u64 {
        self.failed_syncs
    }

    /// Lets something else on the volume take so many bytes.
    pub fn take_space(&mut self, bytes: u64) {
        self.taken = bytes;
    }

    /// Bytes free.
    pub fn free(&self) -> u64 {
        let used: u64 = self.linked().map(|(_, _, inode)| inode.space()).sum();
        self.options.capacity.saturating_sub(used + self.taken)
    }

    fn linked(&self) -> impl Iterator<Item = (Folder, &Arc<str>, &Inode)> {
        let names =
            self.folders.iter().flat_map(|(folder, names)| names.cache.iter().map(|entry| (*folder, entry)));
        names.filter_map(|(folder, (name, number))| Some((folder, name, self.inodes.get(number)?)))
    }

    /// The files of a folder and their lengths, as a process sees them.
    pub fn files(&self, folder: Folder) -> Vec<(Arc<str>, u64)> {
        let all = self.linked().filter(|(of, _, _)| *of == folder);
        all.map(|(_, name, inode)| (name.clone(), inode.len())).collect()
    }

    fn number(&self, file: &FilePath) -> Option<InodeNumber> {
        self.folders.get(&file.folder)?.cache.get(&file.name).copied()
    }

    /// Hands an operation in. It is carried out by [`SimDisk::complete`], or not at all.
    pub fn begin(&mut self, op: DiskOp) -> InFlight {
        let inode = match &op {
            DiskOp::Sync { file } | DiskOp::Write { file, .. } => self.number(file),
            _ => None,
        };
        let covers = match &op {
            DiskOp::Sync { .. } => inode.and_then(|number| self.inodes.get(&number)).map_or(0, Inode::mark),
            DiskOp::SyncFolder { folder } => {
                self.folders.get(folder).map_or(0, |names| names.settled + names.pending.len() as u64)
            }
            _ => 0,
        };
        let (takes_nanos, fails) = self.draw_outcome(&op);
        let reads = matches!(op, DiskOp::Read { .. });
        let stale = reads && self.random.once_in(self.options.stale_read_one_in);
        InFlight { op, takes_nanos, covers, inode, fails, stale }
    }

    fn draw_outcome(&mut self, op: &DiskOp) -> (u64, bool) {
        let (low, high, fails_one_in) = match op {
            DiskOp::Sync { .. } | DiskOp::SyncFolder { .. } => {
                let slow = self.random.once_in(self.options.slow_sync_one_in);
                let high = if slow { 2_000_000 } else { 3_000 };
                (100, high, self.options.failed_sync_one_in)
            }
            DiskOp::Write { .. } => (10, 200, self.options.failed_write_one_in),
            DiskOp::Read { .. } => {
                let slow = self.random.once_in(self.options.slow_read_one_in);
                (30, if slow { 100_000 } else { 400 }, self.options.failed_read_one_in)
            }
            _ => (5, 100, 0),
        };
        (self.random.between(low, high) * 1000, self.random.once_in(fails_one_in))
    }

    /// Carries an operation out.
    pub fn complete(&mut self, in_flight: &InFlight) -> DiskResult {
        let InFlight { op, covers, inode, fails, .. } = in_flight;
        let operation = self.changes + u64::from(cut::is_change(op) || cut::is_sync(op));
        self.changes = operation;
        match op {
            DiskOp::Create { file, len, leave_free } => self.create(op, file, *len, *leave_free),
            DiskOp::Write { file, offset, data } => self.write(op, file, *offset, data, *fails),
            DiskOp::StartWriteback { file, .. } => self.existing(op, file).map(|_| DiskReply::Done),
            DiskOp::Sync { file } => {
                // The file may have been renamed or removed meanwhile: a sync is of the open file, not of its name.
                let number = inode.ok_or_else(|| error(op, DiskErrorKind::NotFound, file))?;
                let found =
                    self.inodes.get_mut(&number).ok_or_else(|| error(op, DiskErrorKind::NotFound, file))?;
                if *fails {
                    found.fail_sync(*covers, &mut self.random);
                    self.failed_syncs += 1;
                    return Err(error(op, DiskErrorKind::Io, file));
                }
                found.sync(*covers, self.options.remembers);
                Ok(DiskReply::Done)
            }
            DiskOp::SyncFolder { folder } => self.sync_folder(op, *folder, *covers, *fails),
            DiskOp::Read { file, offset, len, from_disk } => {
                if let Some(lie) = self.lying_read(in_flight) {
                    return lie;
                }
                let failed = error(op, DiskErrorKind::Io, file);
                let bytes = self.existing(op, file)?.read(*offset, *len, *from_disk);
                bytes.map(|bytes| DiskReply::Data(bytes.into())).map_err(|_| failed)
            }
            DiskOp::List { folder } => Ok(DiskReply::Files(self.files(*folder))),
            DiskOp::Rename { file, to } => {
                let inode = self.number(file).ok_or_else(|| error(op, DiskErrorKind::NotFound, file))?;
                let change = NameChange::Rename { from: file.name.clone(), to: to.clone(), inode };
                self.folders.entry(file.folder).or_default().change(operation, change);
                Ok(DiskReply::Done)
            }
            DiskOp::Remove { file } => {
                self.existing(op, file)?;
                let change = NameChange::Unlink { name: file.name.clone() };
                self.folders.entry(file.folder).or_default().change(operation, change);
                Ok(DiskReply::Done)
            }
            DiskOp::Punch { file, offset, len } => {
                self.existing(op, file)?.punch(operation, *offset, *len);
                Ok(DiskReply::Done)
            }
            DiskOp::Truncate { file, len } => {
                self.existing(op, file)?.truncate(operation, *len);
                Ok(DiskReply::Done)
            }
            DiskOp::FreeSpace { .. } => Ok(DiskReply::Free(self.free())),
        }
    }

    fn existing(&mut self, op: &DiskOp, file: &FilePath) -> Result<&mut Inode, DiskError> {
        let number = self.number(file);
        let inode = number.and_then(|number| self.inodes.get_mut(&number));
        inode.ok_or_else(|| error(op, DiskErrorKind::NotFound, file))
    }

    fn create(&mut self, op: &DiskOp, file: &FilePath, len: u64, leave_free: u64) -> DiskResult {
        if self.number(file).is_some() {
            return Err(error(op, DiskErrorKind::Exists, file));
        }
        if len.saturating_add(leave_free) > self.free() {
            return Err(error(op, DiskErrorKind::NoSpace, file));
        }
        let inode = self.next_inode;
        self.next_inode += 1;
        self.inodes.insert(inode, Inode::allocated(self.changes, len));
        let change = NameChange::Link { name: file.name.clone(), inode };
        self.folders.entry(file.folder).or_default().change(self.changes, change);
        Ok(DiskReply::Done)
    }

    fn write(
        &mut self,
        op: &DiskOp,
        file: &FilePath,
        offset: u64,
        data: &[Bytes],
        fails: bool,
    ) -> DiskResult {
        let free = self.free();
        let kept = if fails { self.random.index(data.len() + 1) } else { data.len() };
        let operation = self.changes;
        let inode = self.existing(op, file)?;
        let len = data.iter().map(|bytes| bytes.len() as u64).sum();
        if inode.growth(offset, len) > free {
            return Err(error(op, DiskErrorKind::NoSpace, file));
        }
        inode.write(operation, offset, data.get(..kept).unwrap_or(data));
        if fails { Err(error(op, DiskErrorKind::Io, file)) } else { Ok(DiskReply::Done) }
    }

    fn sync_folder(&mut self, op: &DiskOp, folder: Folder, covers: u64, fails: bool) -> DiskResult {
        let names = self.folders.entry(folder).or_default();
        if fails {
            self.failed_syncs += 1;
            return Err(error(op, DiskErrorKind::Io, &FilePath::new(folder, "")));
        }
        for change in names.take_through(covers) {
            apply_name(&mut names.durable, &change);
        }
        self.forget_unreachable();
        Ok(DiskReply::Done)
    }

    fn forget_unreachable(&mut self) {
        let reachable: std::collections::BTreeSet<InodeNumber> = self
            .folders
            .values()
            .flat_map(|names| {
                let pending = names.pending.iter().filter_map(|(_, change)| match change {
                    NameChange::Link { inode, .. } | NameChange::Rename { inode, .. } => Some(*inode),
                    NameChange::Unlink { .. } => None,
                });
                names.cache.values().chain(names.durable.values()).copied().chain(pending)
            })
            .collect();
        self.inodes.retain(|number, _| reachable.contains(number));
    }

    /// The process or the machine goes down with these operations under way: each was carried out, or not, or, if it
    /// is a write, in part.
    pub fn crash(&mut self, crash: Crash, in_flight: &[InFlight]) {
        for pending in in_flight {
            match (&pending.op, crash) {
                // What power left of it is drawn sector by sector below.
                (DiskOp::Write { .. }, Crash::PowerCut) => self.carry_out_unseen(pending),
                (DiskOp::Write { file, offset, data }, Crash::Kill) => {
                    let data = self.first_pages(data);
                    let op = DiskOp::Write { file: file.clone(), offset: *offset, data };
                    self.carry_out_unseen(&InFlight { op, ..pending.clone() });
                }
                _ if self.random.coin() => self.carry_out_unseen(pending),
                _ => {}
            }
        }
        if crash == Crash::PowerCut {
            self.lose_power();
        }
    }

    /// Nobody is there any more to be told of the result.
    fn carry_out_unseen(&mut self, in_flight: &InFlight) {
        let _ = self.complete(in_flight);
    }

    /// As many whole pages of a write as the system had come to when its caller died.
    fn first_pages(&mut self, data: &[Bytes]) -> Vec<Bytes> {
        let len: u64 = data.iter().map(|bytes| bytes.len() as u64).sum();
        let mut left = self.random.between(0, len.div_ceil(sparse::PAGE)) * sparse::PAGE;
        let mut kept = Vec::new();
        for bytes in data {
            let part = left.min(bytes.len() as u64);
            kept.push(bytes.slice(..sparse::size(part)));
            left -= part;
        }
        kept
    }

    fn lose_power(&mut self) {
        let fate = Fate::draw(&mut self.random);
        for inode in self.inodes.values_mut() {
            inode.lose_power(fate, &mut self.random);
        }
        let name_fate = Fate::draw(&mut self.random);
        for names in self.folders.values_mut() {
            let changes = names.take_through(u64::MAX);
            let kept = match name_fate {
                Fate::Lost => 0,
                Fate::Kept | Fate::Scattered => changes.len(),
                Fate::Prefix => self.random.index(changes.len() + 1),
            };
            for change in changes.iter().take(kept) {
                if name_fate != Fate::Scattered || self.random.coin() {
                    apply_name(&mut names.durable, change);
                }
            }
            names.cache = names.durable.clone();
        }
        self.forget_unreachable();
    }

    /// The bytes that the disk holds of a file, whatever the cache shows.
    pub fn durable_bytes(&self, file: &FilePath, offset: u64, len: u64) -> Vec<u8> {
        let inode = self.number(file).and_then(|number| self.inodes.get(&number));
        inode.map(|inode| inode.durable().read(offset, len)).unwrap_or_default()
    }

    /// Whether reads of a file's range give the same bytes as on an older copy, as far as is seen without reading.
    pub fn has_same_bytes(&self, before: &Self, file: &FilePath, offset: u64, len: u64) -> bool {
        let (Some(number), Some(older)) = (self.number(file), before.number(file)) else { return false };
        match (self.inodes.get(&number), before.inodes.get(&older)) {
            (Some(inode), Some(older)) => inode.has_same_bytes(older, offset, len),
            _ => false,
        }
    }

    /// Flips one bit of a file at rest.
    pub fn flip_bit(&mut self, file: &FilePath, offset: u64, bit: u8) {
        if let Some(inode) = self.number(file).and_then(|number| self.inodes.get_mut(&number)) {
            inode.flip_bit(offset, bit);
        }
    }

    /// Puts random bytes in the place of one sector of a file at rest.
    pub fn scramble_sector(&mut self, file: &FilePath, sector: u64) {
        if let Some(inode) = self.number(file).and_then(|number| self.inodes.get_mut(&number)) {
            inode.scramble_sector(sector, &mut self.random);
        }
    }

    /// Makes one sector of a file unreadable until it is written again.
    pub fn lose_sector(&mut self, file: &FilePath, sector: u64) {
        if let Some(inode) = self.number(file).and_then(|number| self.inodes.get_mut(&number)) {
            inode.lose_sector(sector);
        }
    }
}

/// Carries each operation out at once: for scripts that look at a disk, and for tests.
#[derive(Debug, Clone)]
pub struct InstantDisk {
    /// The disk.
    pub disk: SimDisk,
    done: VecDeque<Completion>,
}

impl InstantDisk {
    /// Wraps a disk.
    pub fn new(disk: SimDisk) -> Self {
        Self { disk, done: VecDeque::new() }
    }

    /// Performs one operation.
    pub fn execute(&mut self, op: DiskOp) -> DiskResult {
        let in_flight = self.disk.begin(op);
        self.disk.complete(&in_flight)
    }
}

impl Disk for InstantDisk {
    fn submit(&mut self, ticket: Ticket, op: DiskOp) {
        let result = self.execute(op);
        self.done.push_back(Completion { ticket, result });
    }

    fn poll(&mut self) -> Option<Completion> {
        self.done.pop_front()
    }
}

fn error(op: &DiskOp, kind: DiskErrorKind, target: &FilePath) -> DiskError {
    DiskError {
        kind,
        operation: operation_name(op),
        target: target.to_string(),
        message: format!("simulated {kind:?}"),
    }
}

/// The operation's name in messages and traces.
pub fn operation_name(op: &DiskOp) -> &'static str {
    match op {
        DiskOp::Create { .. } => "create",
        DiskOp::Write { .. } => "write",
        DiskOp::StartWriteback { .. } => "start-writeback",
        DiskOp::Sync { .. } => "sync",
        DiskOp::SyncFolder { .. } => "sync-folder",
        DiskOp::Read { .. } => "read",
        DiskOp::List { .. } => "list",
        DiskOp::Rename { .. } => "rename",
        DiskOp::Remove { .. } => "remove",
        DiskOp::Punch { .. } => "punch",
        DiskOp::Truncate { .. } => "truncate",
        DiskOp::FreeSpace { .. } => "free-space",
    }
}

#[cfg(test)]
mod tests;
