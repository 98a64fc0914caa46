//! A disk in memory, for tests: every operation is done at once, every write is durable at once, nothing ever fails.

use super::{
    Completion, Disk, DiskError, DiskErrorKind, DiskOp, DiskReply, DiskResult, FilePath, Folder, Ticket,
};
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

/// The disk. Clones share its files; completions belong to the clone that submitted.
#[derive(Debug, Default)]
pub struct MemDisk {
    files: Arc<Mutex<BTreeMap<FilePath, Vec<u8>>>>,
    done: VecDeque<Completion>,
}

impl Clone for MemDisk {
    fn clone(&self) -> Self {
        Self { files: self.files.clone(), done: VecDeque::new() }
    }
}

impl MemDisk {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// A disk with its own copy of these files.
    pub fn with_files(files: BTreeMap<FilePath, Vec<u8>>) -> Self {
        Self { files: Arc::new(Mutex::new(files)), done: VecDeque::new() }
    }

    /// A copy of all files.
    pub fn files(&self) -> BTreeMap<FilePath, Vec<u8>> {
        self.locked(|files| files.clone())
    }

    /// Replaces a file's bytes, as rot would.
    pub fn put(&self, file: FilePath, bytes: Vec<u8>) {
        self.locked(|files| files.insert(file, bytes));
    }

    fn locked<T>(&self, work: impl FnOnce(&mut BTreeMap<FilePath, Vec<u8>>) -> T) -> T {
        work(&mut self.files.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Performs one operation.
    pub fn execute(&self, op: &DiskOp) -> DiskResult {
        self.locked(|files| execute(files, op))
    }
}

impl Disk for MemDisk {
    fn submit(&mut self, ticket: Ticket, op: DiskOp) {
        let result = self.execute(&op);
        self.done.push_back(Completion { ticket, result });
    }

    fn poll(&mut self) -> Option<Completion> {
        self.done.pop_front()
    }
}

fn index(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

fn error(kind: DiskErrorKind, operation: &'static str, file: &FilePath) -> DiskError {
    DiskError { kind, operation, target: file.to_string(), message: format!("{kind:?}") }
}

fn execute(files: &mut BTreeMap<FilePath, Vec<u8>>, op: &DiskOp) -> DiskResult {
    let missing = |operation, file: &FilePath| error(DiskErrorKind::NotFound, operation, file);
    match op {
        DiskOp::Create { file, len, leave_free: _ } => {
            if files.contains_key(file) {
                return Err(error(DiskErrorKind::Exists, "create", file));
            }
            files.insert(file.clone(), vec![0; index(*len)]);
        }
        DiskOp::Write { file, offset, data } => {
            let bytes = files.get_mut(file).ok_or_else(|| missing("write", file))?;
            let mut at = index(*offset);
            for part in data {
                let end = at.saturating_add(part.len());
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                if let Some(target) = bytes.get_mut(at..end) {
                    target.copy_from_slice(part);
                }
                at = end;
            }
        }
        DiskOp::StartWriteback { file, .. } | DiskOp::Sync { file } => {
            files.get(file).ok_or_else(|| missing("fdatasync", file))?;
        }
        DiskOp::Read { file, offset, len, from_disk: _ } => {
            let bytes = files.get(file).ok_or_else(|| missing("read", file))?;
            let from = index(*offset).min(bytes.len());
            let to = index(offset.saturating_add(*len)).min(bytes.len());
            return Ok(DiskReply::Data(Bytes::copy_from_slice(bytes.get(from..to).unwrap_or_default())));
        }
        DiskOp::List { folder } => return Ok(DiskReply::Files(list(files, *folder))),
        DiskOp::Rename { file, to } => {
            let bytes = files.remove(file).ok_or_else(|| missing("rename", file))?;
            files.insert(FilePath::new(file.folder, to.clone()), bytes);
        }
        DiskOp::Remove { file } => {
            files.remove(file).ok_or_else(|| missing("remove", file))?;
        }
        DiskOp::Punch { file, offset, len } => {
            let bytes = files.get_mut(file).ok_or_else(|| missing("punch hole", file))?;
            let to = index(offset.saturating_add(*len)).min(bytes.len());
            bytes.get_mut(index(*offset).min(to)..to).unwrap_or_default().fill(0);
        }
        DiskOp::Truncate { file, len } => {
            files.get_mut(file).ok_or_else(|| missing("truncate", file))?.resize(index(*len), 0);
        }
        DiskOp::FreeSpace { .. } => return Ok(DiskReply::Free(1 << 40)),
        DiskOp::SyncFolder { .. } => {}
    }
    Ok(DiskReply::Done)
}

fn list(files: &BTreeMap<FilePath, Vec<u8>>, folder: Folder) -> Vec<(Arc<str>, u64)> {
    let here = files.iter().filter(|(file, _)| file.folder == folder);
    here.map(|(file, bytes)| (file.name.clone(), bytes.len() as u64)).collect()
}
