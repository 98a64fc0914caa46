//! A disk that delays completions, and loses at a crash whatever was not synced.

use super::Dice;
use crate::host::mem::MemDisk;
use crate::host::{DiskError, DiskErrorKind, DiskOp, DiskResult, FilePath, Folder};
use std::collections::{BTreeMap, BTreeSet};

type Files = BTreeMap<FilePath, Vec<u8>>;

/// What was true when a sync was submitted: that is all it promises to cover.
enum Covered {
    Nothing,
    File(FilePath, Option<Vec<u8>>),
    Names(BTreeSet<FilePath>),
}

struct Pending<T> {
    tag: T,
    op: DiskOp,
    covered: Covered,
}

/// Operations are tagged by whoever submits them.
pub struct CrashDisk<T> {
    pub now: MemDisk,
    durable: Files,
    names: BTreeSet<FilePath>,
    pending: Vec<Pending<T>>,
    /// Fail the operation that this says yes to.
    pub fault: fn(&DiskOp) -> bool,
}

impl<T> CrashDisk<T> {
    pub fn new() -> Self {
        Self {
            now: MemDisk::new(),
            durable: Files::new(),
            names: BTreeSet::new(),
            pending: Vec::new(),
            fault: |_| false,
        }
    }

    pub fn submit(&mut self, tag: T, op: DiskOp) {
        let covered = match &op {
            DiskOp::Sync { file } => Covered::File(file.clone(), self.now.files().remove(file)),
            DiskOp::SyncFolder { folder: Folder::Packs } => {
                Covered::Names(self.now.files().into_keys().collect())
            }
            _ => Covered::Nothing,
        };
        self.pending.push(Pending { tag, op, covered });
    }

    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Completes one of the operations under way.
    pub fn complete(&mut self, which: usize) -> (T, DiskResult) {
        let Pending { tag, op, covered } = self.pending.remove(which);
        if (self.fault)(&op) {
            let kind = match op {
                DiskOp::Create { .. } => DiskErrorKind::NoSpace,
                _ => DiskErrorKind::Io,
            };
            let error = DiskError { kind, operation: "test", target: String::new(), message: String::new() };
            return (tag, Err(error));
        }
        let result = self.now.execute(&op);
        match covered {
            Covered::File(file, Some(bytes)) => {
                // A sync that began earlier and is still under way takes nothing of this back.
                for earlier in self.pending.iter_mut().take(which) {
                    if matches!(&earlier.covered, Covered::File(same, _) if *same == file) {
                        earlier.covered = Covered::Nothing;
                    }
                }
                self.durable.insert(file, bytes);
            }
            Covered::Names(names) => self.names = names,
            Covered::File(_, None) | Covered::Nothing => {}
        }
        (tag, result)
    }

    /// Performs an operation at once.
    pub fn execute(&mut self, tag: T, op: DiskOp) -> DiskResult {
        self.submit(tag, op);
        self.complete(self.pending.len() - 1).1
    }

    /// What a power cut would leave for certain.
    pub fn durable(&self) -> MemDisk {
        let certain = self.durable.iter().filter(|(file, _)| self.names.contains(file));
        MemDisk::with_files(certain.map(|(file, bytes)| (file.clone(), bytes.clone())).collect())
    }

    /// Ends the process: what was executed stays, synced or not.
    pub fn kill(&mut self, dice: &mut Dice) {
        for pending in std::mem::take(&mut self.pending) {
            if dice.coin() {
                // One that cannot be done any more was not done.
                let _ = self.now.execute(&pending.op);
            }
        }
    }

    /// Cuts the power: of what was not synced each sector survives or not, writes under way included.
    pub fn crash(&mut self, dice: &mut Dice) {
        self.kill(dice);
        let mut current = self.now.files();
        let mut left = Files::new();
        let files: BTreeSet<_> = current.keys().chain(&self.names).cloned().collect();
        for file in files {
            let certain = self.names.contains(&file) && current.contains_key(&file);
            if certain || dice.coin() {
                let old = self.durable.get(&file).cloned().unwrap_or_default();
                let new = current.remove(&file).unwrap_or_else(|| old.clone());
                left.insert(file, torn(&old, &new, dice));
            }
        }
        self.names = left.keys().cloned().collect();
        self.durable = left.clone();
        self.now = MemDisk::with_files(left);
    }
}

fn torn(old: &[u8], new: &[u8], dice: &mut Dice) -> Vec<u8> {
    let len = if dice.coin() { old.len() } else { new.len() };
    let mut out = Vec::with_capacity(len);
    // Whole files survive or not as often as single sectors do: both are what disks do.
    let style = dice.below(3);
    while out.len() < len {
        let pick = match style {
            0 => old,
            1 => new,
            _ if dice.coin() => old,
            _ => new,
        };
        let end = (out.len() + 512).min(len);
        let have = pick.get(out.len()..end.min(pick.len())).unwrap_or_default();
        out.extend_from_slice(have);
        out.resize(end, 0);
    }
    out
}
