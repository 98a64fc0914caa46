//! The real disk, clock and dice. The only file of the core that may use them.

#![expect(
    clippy::disallowed_methods,
    reason = "this is the one place where the traits of `host` meet the operating system"
)]

use super::buffers::Buffers;
use super::{Clock, Completion, Disk, DiskError, DiskErrorKind, DiskOp, DiskReply, DiskResult, Entropy};
use super::{FilePath, Folder, Ticket};
use bytes::Bytes;
use rustix::fs::{Advice, FallocateFlags, fadvise, fallocate};
use rustix::io::ReadWriteFlags;
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::num::NonZeroU64;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The most files kept open at once, well below the usual limit of 1,024 descriptors, which connections share.
const MAX_OPEN: usize = 384;
/// The most buffers one `pwritev` takes (Linux `IOV_MAX`).
const MAX_SLICES: usize = 1024;

struct Shared {
    root: PathBuf,
    writable: bool,
    open: Mutex<Table>,
    buffers: Buffers,
}

/// The files and folders that are kept open.
#[derive(Default)]
struct Table {
    files: BTreeMap<FilePath, Open>,
    /// ORDER: a folder that was synced once stays open. Its next sync makes a name durable which a record rests on, and
    /// must not fail for want of a descriptor.
    folders: BTreeMap<Folder, Arc<File>>,
    /// Counts uses, to tell what is in use from what was.
    uses: u64,
}

impl Table {
    fn get(&mut self, file: &FilePath) -> Option<Arc<File>> {
        self.uses += 1;
        let kept = self.files.get_mut(file)?;
        kept.used = self.uses;
        Some(kept.file.clone())
    }

    /// Keeps a handle for the next operation on its file.
    fn keep(&mut self, file: &FilePath, handle: Arc<File>) {
        if self.files.len() >= MAX_OPEN {
            self.close_cold();
        }
        self.uses += 1;
        self.files
            .insert(file.clone(), Open { file: handle, unsynced: false, written: false, used: self.uses });
    }

    /// Closes the half of the files that was used longest ago, save those that have to stay open. Says whether there
    /// was one.
    fn close_cold(&mut self) -> bool {
        let mut uses: Vec<u64> =
            self.files.values().filter(|kept| kept.is_cold()).map(|kept| kept.used).collect();
        uses.sort_unstable();
        let Some(middle) = uses.get(uses.len() / 2).copied() else { return false };
        self.files.retain(|_, kept| !kept.is_cold() || kept.used > middle);
        true
    }
}

/// A file that is kept open.
struct Open {
    file: Arc<File>,
    /// Written since its last successful sync. Such a file stays open: a writeback error is reported to descriptors
    /// that were open when it happened, and one that is opened afterwards could sync without ever seeing it.
    unsynced: bool,
    /// One of the log's own files that is being written: to open it again could fail for want of a descriptor, and the
    /// log would end.
    written: bool,
    /// When it was used last, as the table counts uses.
    used: u64,
}

impl Open {
    fn is_cold(&self) -> bool {
        !self.unsynced && !self.written
    }
}

/// The data directory on a real file system. Clones share open files; completions belong to the clone that
/// submitted. Operations run on the caller's thread and block it.
pub struct RealDisk {
    shared: Arc<Shared>,
    done: VecDeque<Completion>,
}

impl Clone for RealDisk {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone(), done: VecDeque::new() }
    }
}

impl RealDisk {
    /// Opens a data directory for reading and writing. The directory and its folders must exist.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self::with_access(root.into(), true)
    }

    /// Opens a data directory for reading only, as `log verify` does beside a running server.
    pub fn read_only(root: impl Into<PathBuf>) -> Self {
        Self::with_access(root.into(), false)
    }

    fn with_access(root: PathBuf, writable: bool) -> Self {
        let shared = Shared { root, writable, open: Mutex::default(), buffers: Buffers::default() };
        Self { shared: Arc::new(shared), done: VecDeque::new() }
    }

    /// The data directory.
    pub fn root(&self) -> &Path {
        &self.shared.root
    }

    fn folder_path(&self, folder: Folder) -> PathBuf {
        self.shared.root.join(folder.name())
    }

    fn path(&self, file: &FilePath) -> PathBuf {
        self.folder_path(file.folder).join(&*file.name)
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.shared.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens something; where descriptors have run out, once more after files that nobody uses were closed.
    fn with_handles<T>(table: &mut Table, open: impl Fn() -> io::Result<T>) -> io::Result<T> {
        match open() {
            Err(error) if is_out_of_handles(&error) && table.close_cold() => open(),
            result => result,
        }
    }

    fn open(&self, file: &FilePath) -> io::Result<Arc<File>> {
        // The lock covers the table only; no read or write happens under it.
        let mut table = self.table();
        if let Some(handle) = table.get(file) {
            return Ok(handle);
        }
        let path = self.path(file);
        let open = || OpenOptions::new().read(true).write(self.shared.writable).open(&path);
        let handle = Arc::new(Self::with_handles(&mut table, open)?);
        table.keep(file, handle.clone());
        Ok(handle)
    }

    fn sync_folder(&self, folder: Folder) -> io::Result<DiskReply> {
        let handle = {
            let mut table = self.table();
            if let Some(handle) = table.folders.get(&folder) {
                handle.clone()
            } else {
                let path = self.folder_path(folder);
                let handle = Arc::new(Self::with_handles(&mut table, || File::open(&path))?);
                table.folders.insert(folder, handle.clone());
                handle
            }
        };
        handle.sync_all()?;
        Ok(DiskReply::Done)
    }

    /// Opens a file to be written. ORDER: marked before the first byte is written, so that it cannot be closed between
    /// the write and its mark.
    fn open_to_write(&self, file: &FilePath) -> io::Result<Arc<File>> {
        let handle = self.open(file)?;
        self.mark(file, true);
        Ok(handle)
    }

    fn mark(&self, file: &FilePath, unsynced: bool) {
        if let Some(kept) = self.table().files.get_mut(file) {
            kept.unsynced = unsynced;
            kept.written |= unsynced && file.folder == Folder::Log;
        }
    }

    fn sync(&self, file: &FilePath) -> io::Result<DiskReply> {
        let handle = self.open(file)?;
        // ORDER: a write that comes during the sync marks the file again, and the mark must stay.
        self.mark(file, false);
        handle.sync_data().inspect_err(|_| self.mark(file, true))?;
        Ok(DiskReply::Done)
    }

    fn forget(&self, file: &FilePath) {
        self.table().files.remove(file);
    }

    /// Performs one operation and waits for it.
    pub fn execute(&self, op: &DiskOp) -> DiskResult {
        let (operation, target, result) = match op {
            DiskOp::Create { file, len, leave_free } => {
                ("create", file.to_string(), self.create(file, *len, *leave_free))
            }
            DiskOp::Write { file, offset, data } => {
                ("write", file.to_string(), self.write(file, *offset, data))
            }
            DiskOp::StartWriteback { file, offset, len } => {
                ("fadvise", file.to_string(), self.start_writeback(file, *offset, *len))
            }
            DiskOp::Sync { file } => ("fdatasync", file.to_string(), self.sync(file)),
            DiskOp::SyncFolder { folder } => {
                ("fsync of folder", folder.name().to_owned(), self.sync_folder(*folder))
            }
            DiskOp::Read { file, offset, len, from_disk } => {
                ("read", file.to_string(), self.read(file, *offset, *len, *from_disk))
            }
            DiskOp::List { folder } => ("list", folder.name().to_owned(), self.list(*folder)),
            DiskOp::Rename { file, to } => ("rename", file.to_string(), self.rename(file, to)),
            DiskOp::Remove { file } => {
                self.forget(file);
                ("remove", file.to_string(), fs::remove_file(self.path(file)).map(|()| DiskReply::Done))
            }
            DiskOp::Punch { file, offset, len } => {
                ("punch hole", file.to_string(), self.punch(file, *offset, *len))
            }
            DiskOp::Truncate { file, len } => ("truncate", file.to_string(), self.truncate(file, *len)),
            DiskOp::FreeSpace { folder } => {
                let free = self.free_bytes(*folder).map(DiskReply::Free);
                ("statvfs", folder.name().to_owned(), free)
            }
        };
        result.map_err(|error| DiskError {
            kind: kind_of(&error),
            operation,
            target,
            message: error.to_string(),
        })
    }

    fn create(&self, file: &FilePath, len: u64, leave_free: u64) -> io::Result<DiskReply> {
        if leave_free > 0 && self.free_bytes(file.folder)? < leave_free.saturating_add(len) {
            return Err(ErrorKind::StorageFull.into());
        }
        let path = self.path(file);
        let mode = if file.folder == Folder::Keys { 0o600 } else { 0o640 };
        let open = || OpenOptions::new().read(true).write(true).create_new(true).mode(mode).open(&path);
        let handle = Self::with_handles(&mut self.table(), open)?;
        if len > 0
            && let Err(error) = fallocate(&handle, FallocateFlags::empty(), 0, len)
        {
            // Half an allocation is of no use and would be found by the next start as an empty segment.
            drop(handle);
            fs::remove_file(&path)?;
            return Err(error.into());
        }
        self.table().keep(file, Arc::new(handle));
        Ok(DiskReply::Done)
    }

    /// Sealing is what cuts a file to its length: after it nothing is written there.
    fn truncate(&self, file: &FilePath, len: u64) -> io::Result<DiskReply> {
        self.open(file)?.set_len(len)?;
        if let Some(kept) = self.table().files.get_mut(file) {
            kept.written = false;
        }
        Ok(DiskReply::Done)
    }

    fn write(&self, file: &FilePath, mut offset: u64, data: &[Bytes]) -> io::Result<DiskReply> {
        let handle = self.open_to_write(file)?;
        for group in data.chunks(MAX_SLICES) {
            let mut slices: Vec<IoSlice<'_>> = group.iter().map(|bytes| IoSlice::new(bytes)).collect();
            let mut rest = slices.as_mut_slice();
            // A leading empty slice would make a full write look like no progress.
            IoSlice::advance_slices(&mut rest, 0);
            while !rest.is_empty() {
                match rustix::io::pwritev(&*handle, rest, offset) {
                    Ok(0) => return Err(ErrorKind::WriteZero.into()),
                    Ok(written) => {
                        offset += written as u64;
                        IoSlice::advance_slices(&mut rest, written);
                    }
                    Err(rustix::io::Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        // A sync that ran beside this write has taken the mark away.
        self.mark(file, true);
        Ok(DiskReply::Done)
    }

    fn start_writeback(&self, file: &FilePath, offset: u64, len: u64) -> io::Result<DiskReply> {
        // On Linux DONTNEED starts asynchronous writeback of the range's dirty pages (mm/fadvise.c) and drops only
        // clean ones: the safe way to what sync_file_range does.
        fadvise(&*self.open(file)?, offset, NonZeroU64::new(len), Advice::DontNeed)?;
        Ok(DiskReply::Done)
    }

    fn read(&self, file: &FilePath, offset: u64, len: u64, from_disk: bool) -> io::Result<DiskReply> {
        let handle = self.open(file)?;
        if from_disk {
            fadvise(&*handle, offset, NonZeroU64::new(len), Advice::DontNeed)?;
        }
        // The file's end bounds the allocation, whatever length a damaged header asked for.
        let available = handle.metadata()?.len().saturating_sub(offset).min(len);
        let available = usize::try_from(available).map_err(io::Error::other)?;
        let bytes = self.shared.buffers.read(available, |buffer| {
            let mut filled = 0;
            while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
                match handle.read_at(rest, offset + filled as u64) {
                    Ok(0) => break,
                    Ok(read) => filled += read,
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(filled)
        });
        bytes.map(DiskReply::Data)
    }

    /// Reads what the page cache holds of an open file, without ever waiting for the disk: for threads that must not
    /// block. None where any of it would have to be waited for, or the file system does not offer this.
    pub fn read_cached(&self, file: &FilePath, offset: u64, len: u64) -> Option<Bytes> {
        let handle = self.table().get(file)?;
        let available = handle.metadata().ok()?.len().saturating_sub(offset).min(len);
        let available = usize::try_from(available).ok()?;
        let bytes = self.shared.buffers.read(available, |buffer| {
            let mut slices = [IoSliceMut::new(buffer)];
            rustix::io::preadv2(&*handle, &mut slices, offset, ReadWriteFlags::NOWAIT)
        });
        bytes.ok().filter(|bytes| bytes.len() == available)
    }

    fn list(&self, folder: Folder) -> io::Result<DiskReply> {
        let mut files = Vec::new();
        for entry in fs::read_dir(self.folder_path(folder))? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            // A name that is not UTF-8 is none of ours.
            if let (true, Ok(name)) = (metadata.is_file(), entry.file_name().into_string()) {
                files.push((Arc::from(name), metadata.len()));
            }
        }
        files.sort();
        Ok(DiskReply::Files(files))
    }

    fn rename(&self, file: &FilePath, to: &str) -> io::Result<DiskReply> {
        self.forget(file);
        self.forget(&FilePath::new(file.folder, to));
        fs::rename(self.path(file), self.folder_path(file.folder).join(to))?;
        Ok(DiskReply::Done)
    }

    fn punch(&self, file: &FilePath, offset: u64, len: u64) -> io::Result<DiskReply> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        fallocate(&*self.open(file)?, flags, offset, len)?;
        Ok(DiskReply::Done)
    }

    /// Bytes of the volume that a folder lies on, used or not.
    pub fn volume_bytes(&self, folder: Folder) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(self.folder_path(folder))?;
        Ok(stat.f_blocks.saturating_mul(stat.f_frsize))
    }

    fn free_bytes(&self, folder: Folder) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(self.folder_path(folder))?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

impl Disk for RealDisk {
    fn submit(&mut self, ticket: Ticket, op: DiskOp) {
        let result = self.execute(&op);
        self.done.push_back(Completion { ticket, result });
    }

    fn poll(&mut self) -> Option<Completion> {
        self.done.pop_front()
    }
}

fn is_out_of_handles(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(rustix::io::Errno::from_raw_os_error);
    matches!(code, Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE))
}

fn kind_of(error: &io::Error) -> DiskErrorKind {
    match error.kind() {
        ErrorKind::NotFound => DiskErrorKind::NotFound,
        ErrorKind::AlreadyExists => DiskErrorKind::Exists,
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => DiskErrorKind::NoSpace,
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => DiskErrorKind::Denied,
        _ if is_out_of_handles(error) => DiskErrorKind::NoHandles,
        _ => DiskErrorKind::Io,
    }
}

/// The system's clocks.
pub struct RealClock {
    started: Instant,
}

impl Default for RealClock {
    fn default() -> Self {
        Self { started: Instant::now() }
    }
}

impl Clock for RealClock {
    fn wall_millis(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    fn monotonic_nanos(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// The system's random generator.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealEntropy;

/// Random bytes that are asked of the system at once: a request draws four times, and each call costs as much as the
/// bytes for hundreds of them.
const POOL_BYTES: usize = 1024;

/// Bytes of the system that nobody was given yet; each is given once, and then forgotten.
struct Pool {
    bytes: [u8; POOL_BYTES],
    left: usize,
}

thread_local! {
    static POOL: RefCell<Pool> = const { RefCell::new(Pool { bytes: [0; POOL_BYTES], left: 0 }) };
}

#[expect(clippy::expect_used, reason = "a system without randomness can neither salt nor sign: stop")]
fn fill_from_system(buffer: &mut [u8]) {
    getrandom::fill(buffer).expect("the operating system gives random bytes");
}

impl Pool {
    /// Fills the buffer, if the pool can hold as much.
    fn fill(&mut self, buffer: &mut [u8]) -> Option<()> {
        if buffer.len() > POOL_BYTES {
            return None;
        }
        if self.left < buffer.len() {
            fill_from_system(&mut self.bytes);
            self.left = POOL_BYTES;
        }
        let from = self.left.checked_sub(buffer.len())?;
        let given = self.bytes.get_mut(from..self.left)?;
        buffer.copy_from_slice(given);
        given.fill(0);
        self.left = from;
        Some(())
    }
}

impl Entropy for RealEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        if POOL.with_borrow_mut(|pool| pool.fill(buffer)).is_none() {
            fill_from_system(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk() -> (tempfile::TempDir, RealDisk) {
        let root = tempfile::tempdir().unwrap();
        for folder in [Folder::Log, Folder::Packs] {
            fs::create_dir_all(root.path().join(folder.name())).unwrap();
        }
        let disk = RealDisk::new(root.path());
        (root, disk)
    }

    #[test]
    fn no_random_byte_is_given_twice() {
        use crate::host::draw;
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..POOL_BYTES {
            assert!(seen.insert(draw::<16>(&RealEntropy)), "drawn before");
        }
        let mut large = [0; 3 * POOL_BYTES];
        RealEntropy.fill(&mut large);
        assert!(large.chunks(16).all(|drawn| seen.insert(drawn.try_into().unwrap())));
        POOL.with_borrow(|pool| assert!(pool.bytes.iter().skip(pool.left).all(|byte| *byte == 0)));
    }

    #[test]
    fn what_is_written_is_read_back_and_a_punched_range_reads_as_zeros() {
        let (_root, disk) = disk();
        let file = FilePath::new(Folder::Log, "a");
        let run = |op| disk.execute(&op);
        run(DiskOp::Create { file: file.clone(), len: 16384, leave_free: 0 }).unwrap();
        let data = vec![Bytes::new(), Bytes::from_static(b"abc"), Bytes::new(), Bytes::from_static(b"def")];
        run(DiskOp::Write { file: file.clone(), offset: 4094, data }).unwrap();
        run(DiskOp::Sync { file: file.clone() }).unwrap();
        run(DiskOp::SyncFolder { folder: Folder::Log }).unwrap();
        let read = |from_disk| run(DiskOp::Read { file: file.clone(), offset: 4093, len: 8, from_disk });
        assert_eq!(read(true), Ok(DiskReply::Data(Bytes::from_static(b"\0abcdef\0"))));
        run(DiskOp::Punch { file: file.clone(), offset: 4096, len: 4096 }).unwrap();
        assert_eq!(read(false), Ok(DiskReply::Data(Bytes::from_static(b"\0ab\0\0\0\0\0"))));
        let listed = run(DiskOp::List { folder: Folder::Log });
        assert_eq!(listed, Ok(DiskReply::Files(vec![(Arc::from("a"), 16384)])));
    }

    #[test]
    fn thousands_of_files_do_not_stay_open() {
        let (_root, disk) = disk();
        for number in 0..MAX_OPEN * 3 {
            let file = FilePath::new(Folder::Packs, format!("{number}"));
            disk.execute(&DiskOp::Create { file: file.clone(), len: 0, leave_free: 0 }).unwrap();
            let data = vec![Bytes::from_static(b"x")];
            disk.execute(&DiskOp::Write { file: file.clone(), offset: 0, data }).unwrap();
            if number >= 10 {
                disk.execute(&DiskOp::Sync { file }).unwrap();
            }
        }
        let open = disk.shared.open.lock().unwrap();
        assert!(open.files.len() <= MAX_OPEN);
        assert_eq!(
            open.files.values().filter(|kept| kept.unsynced).count(),
            10,
            "what is not synced stays open"
        );
        drop(open);
        let first = FilePath::new(Folder::Packs, "0");
        let read = disk.execute(&DiskOp::Read { file: first, offset: 0, len: 1, from_disk: false });
        assert_eq!(read, Ok(DiskReply::Data(Bytes::from_static(b"x"))));
    }

    #[test]
    fn cold_files_are_closed_first_and_what_the_log_writes_stays_open() {
        let (_root, disk) = disk();
        let log = FilePath::new(Folder::Log, "segment");
        let run = |op| disk.execute(&op).unwrap();
        run(DiskOp::Create { file: log.clone(), len: 0, leave_free: 0 });
        run(DiskOp::Write { file: log.clone(), offset: 0, data: vec![Bytes::from_static(b"x")] });
        run(DiskOp::Sync { file: log.clone() });
        run(DiskOp::SyncFolder { folder: Folder::Log });
        for number in 0..8 {
            run(DiskOp::Create {
                file: FilePath::new(Folder::Packs, format!("{number}")),
                len: 0,
                leave_free: 0,
            });
        }
        run(DiskOp::Read { file: FilePath::new(Folder::Packs, "0"), offset: 0, len: 1, from_disk: false });
        let is_open = |name: &str| disk.table().files.keys().any(|file| &*file.name == name);
        assert!(disk.table().close_cold());
        assert_eq!((is_open("0"), is_open("1"), is_open("segment")), (true, false, true));
        while disk.table().close_cold() {}
        assert_eq!((is_open("0"), is_open("segment"), disk.table().folders.len()), (false, true, 1));
        // A sealed segment is a file like any other.
        run(DiskOp::Truncate { file: log.clone(), len: 1 });
        run(DiskOp::Sync { file: log });
        assert!(disk.table().close_cold() && !is_open("segment"));
    }

    #[test]
    fn a_lack_of_descriptors_is_told_from_a_failing_disk() {
        for (code, kind) in [
            (rustix::io::Errno::MFILE, DiskErrorKind::NoHandles),
            (rustix::io::Errno::NFILE, DiskErrorKind::NoHandles),
            (rustix::io::Errno::NOSPC, DiskErrorKind::NoSpace),
            (rustix::io::Errno::ACCESS, DiskErrorKind::Denied),
            (rustix::io::Errno::IO, DiskErrorKind::Io),
        ] {
            assert_eq!(kind_of(&code.into()), kind);
        }
        let mut table = Table::default();
        let tries = std::cell::Cell::new(0);
        let refused = || {
            tries.set(tries.get() + 1);
            Err::<(), _>(io::Error::from(rustix::io::Errno::MFILE))
        };
        RealDisk::with_handles(&mut table, refused).unwrap_err();
        assert_eq!(tries.get(), 1, "nothing could be closed");
    }

    #[test]
    fn errors_say_what_failed_on_which_file() {
        let (_root, disk) = disk();
        let file = FilePath::new(Folder::Packs, "x");
        let error = disk.execute(&DiskOp::Sync { file: file.clone() }).unwrap_err();
        assert_eq!((error.kind, error.operation), (DiskErrorKind::NotFound, "fdatasync"));
        disk.execute(&DiskOp::Create { file: file.clone(), len: 0, leave_free: 0 }).unwrap();
        let error = disk.execute(&DiskOp::Create { file, len: 0, leave_free: 0 }).unwrap_err();
        assert_eq!((error.kind, error.target.as_str()), (DiskErrorKind::Exists, "packs/x"));
    }
}
