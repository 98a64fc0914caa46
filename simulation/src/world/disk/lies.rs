//! What a disk does that lies: writes that it acknowledged and never did, or did in another place; reads that give what
//! was there before, or fail once.
//!
//! A write is taken back, or moved, after it was done and while nobody looks. For every reader that is the same as a
//! disk that lied when it was written, with the page cache hiding it until then; and who does it knows by then whether
//! a later write is there that tells of it.

use super::{DiskErrorKind, DiskReply, DiskResult, InFlight, Inode, SimDisk, error};
use siltstone_log::host::{DiskOp, FilePath, Folder};
use siltstone_log::witness::quarantine_file;

/// A write that the disk has done, and that can be taken back: one buffer of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The file, by the name that it has now.
    pub file: FilePath,
    /// The operation that it was a part of: equal for all buffers of one.
    pub operation: u64,
    /// First byte in the file.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
}

impl SimDisk {
    /// The writes of a folder that can be taken back. None where the disk does not remember them.
    pub fn written(&self, folder: Folder) -> Vec<Written> {
        let files = self.linked().filter(|(of, _, _)| *of == folder);
        let written = files.flat_map(|(_, name, inode)| {
            inode.written().iter().map(|one| Written {
                file: FilePath::new(folder, name.clone()),
                operation: one.operation,
                offset: one.offset,
                len: one.data.len() as u64,
            })
        });
        written.collect()
    }

    fn inode_of(&mut self, file: &FilePath) -> Option<&mut Inode> {
        self.number(file).and_then(|number| self.inodes.get_mut(&number))
    }

    /// A write that was acknowledged has never been done.
    pub fn lose_write(&mut self, lost: &Written) {
        let inode = self.inode_of(&lost.file);
        inode.and_then(|inode| inode.take_back(lost.operation, lost.offset));
    }

    /// A write that was acknowledged has been done in another place.
    pub fn misdirect_write(&mut self, written: &Written, to: &FilePath, offset: u64) {
        let inode = self.inode_of(&written.file);
        let data = inode.and_then(|inode| inode.take_back(written.operation, written.offset));
        if let (Some(data), Some(target)) = (data, self.inode_of(to)) {
            target.receive(offset, &data);
        }
    }

    /// From now on no read is stale in this file from this byte on, nor in a pack: a start that took a pack that was
    /// open for empty would give its space away. None spares nothing.
    pub fn spare(&mut self, spared: Option<(FilePath, u64)>) {
        self.spared = spared;
    }

    /// How many reads have failed once, and how many were stale.
    pub fn lying_reads(&self) -> (u64, u64) {
        self.lying_reads
    }

    /// The answer to a read that fails once or is stale; none where it is neither.
    ///
    /// `log/QUARANTINE` is never read wrong here: what its loss comes to is for [`crate::fault::Scenario::DiskRot`].
    pub(super) fn lying_read(&mut self, in_flight: &InFlight) -> Option<DiskResult> {
        let DiskOp::Read { file, offset, len, .. } = &in_flight.op else { return None };
        if !(in_flight.fails || in_flight.stale) || *file == quarantine_file() {
            return None;
        }
        let inode = self.inodes.get(&self.number(file)?)?;
        if in_flight.fails {
            self.lying_reads.0 += 1;
            return Some(Err(error(&in_flight.op, DiskErrorKind::Io, file)));
        }
        let end = offset.saturating_add(*len);
        let spared = self
            .spared
            .as_ref()
            .is_some_and(|(spared, from)| file.folder == Folder::Packs || (spared == file && end > *from));
        let bytes = inode.read_stale(*offset, *len, &mut self.random).filter(|_| !spared)?;
        self.lying_reads.1 += 1;
        Some(Ok(DiskReply::Data(bytes.into())))
    }
}
