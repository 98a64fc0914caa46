//! A power cut that leaves exactly the unsynced changes that its caller names: enumerated, not drawn.

use super::{InFlight, InodeNumber, Names, SimDisk, apply_name};
use siltstone_log::host::{DiskOp, Folder};
use std::collections::BTreeSet;

/// A change that no sync has made durable: a contiguous piece of a write, a punched range, a length, or a name. They
/// are ordered by when they were carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pending {
    operation: u64,
    of: Holder,
    index: usize,
    part: Part,
}

/// What of a write is meant: a sync that is under way when the power goes may have come to a part of its newest write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Whole,
    First,
    Second,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Holder {
    Names(Folder),
    Bytes(InodeNumber),
}

pub(super) fn is_change(op: &DiskOp) -> bool {
    match op {
        DiskOp::Create { .. }
        | DiskOp::Write { .. }
        | DiskOp::Rename { .. }
        | DiskOp::Remove { .. }
        | DiskOp::Punch { .. }
        | DiskOp::Truncate { .. } => true,
        DiskOp::StartWriteback { .. }
        | DiskOp::Sync { .. }
        | DiskOp::SyncFolder { .. }
        | DiskOp::Read { .. }
        | DiskOp::List { .. }
        | DiskOp::FreeSpace { .. } => false,
    }
}

pub(super) fn is_sync(op: &DiskOp) -> bool {
    matches!(op, DiskOp::Sync { .. } | DiskOp::SyncFolder { .. })
}

impl SimDisk {
    /// How many operations were carried out that change what is there, or what of it is durable.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// A copy on which the changes under way are carried out. Syncs under way are not: what they would make durable
    /// stays pending.
    #[must_use]
    pub fn with_changes_under_way<'a>(&self, under_way: impl Iterator<Item = &'a InFlight>) -> Self {
        let mut disk = self.clone();
        under_way.filter(|one| is_change(&one.op)).for_each(|one| disk.carry_out_unseen(one));
        disk
    }

    /// The unsynced changes, oldest first. The newest write of all is in two parts, cut at a sector's border.
    pub fn pending(&self) -> Vec<Pending> {
        let names = self.folders.iter().flat_map(|(folder, names)| {
            let operations = names.pending.iter().map(|(operation, _)| *operation);
            operations.enumerate().map(|(index, operation)| (operation, Holder::Names(*folder), index, None))
        });
        let bytes = self.inodes.iter().flat_map(|(number, inode)| {
            let pending = inode.pending().enumerate();
            pending.map(|(index, (operation, tear))| (operation, Holder::Bytes(*number), index, tear))
        });
        let mut all: Vec<_> = names.chain(bytes).collect();
        all.sort_unstable();
        let torn = all.iter().rposition(|(.., tear)| tear.is_some());
        let parts = |at: usize| match torn {
            Some(torn) if torn == at => &[Part::First, Part::Second][..],
            _ => &[Part::Whole],
        };
        let all = all.into_iter().enumerate().flat_map(|(at, (operation, of, index, _))| {
            parts(at).iter().map(move |part| Pending { operation, of, index, part: *part })
        });
        all.collect()
    }

    /// Power is cut: what is durable is left, and of the unsynced changes these, in their order.
    pub fn cut_power_but(&mut self, survivors: &[Pending]) {
        let survivors: BTreeSet<(Holder, usize, Part)> =
            survivors.iter().map(|one| (one.of, one.index, one.part)).collect();
        for (number, inode) in &mut self.inodes {
            inode.lose_power_but(|index| {
                let has = |part| survivors.contains(&(Holder::Bytes(*number), index, part));
                let whole = has(Part::Whole);
                (whole || has(Part::First), whole || has(Part::Second))
            });
        }
        for (folder, names) in &mut self.folders {
            names.lose_power_but(|index| survivors.contains(&(Holder::Names(*folder), index, Part::Whole)));
        }
        self.forget_unreachable();
    }
}

impl Names {
    fn lose_power_but(&mut self, survives: impl Fn(usize) -> bool) {
        for (index, change) in self.take_through(u64::MAX).iter().enumerate() {
            if survives(index) {
                apply_name(&mut self.durable, change);
            }
        }
        self.cache = self.durable.clone();
    }
}
