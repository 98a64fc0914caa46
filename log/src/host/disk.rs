//! The disk as submissions and completions.
//!
//! A state machine emits a [`DiskOp`] under a [`Ticket`] and is told its [`DiskResult`] later; it never waits. The
//! real driver executes the operation on its own thread, the simulator whenever its event queue says so.

use bytes::Bytes;
use std::fmt;
use std::sync::Arc;

/// A folder of the data directory. Fixed, so that no name from outside can become a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Folder {
    /// The data directory itself: `FORMAT`, `LOCK`.
    Root,
    /// `log/`: segments and their witnesses.
    Log,
    /// `packs/`: large content.
    Packs,
    /// `projections/`: files of their store, which go around this interface; only its free space is asked for here.
    Projections,
    /// `snapshots/`: verified copies of projections.
    Snapshots,
    /// `keys/`: mode 0700, files 0600.
    Keys,
}

impl Folder {
    /// The folder's name below the data directory; empty for the directory itself.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Root => "",
            Self::Log => "log",
            Self::Packs => "packs",
            Self::Projections => "projections",
            Self::Snapshots => "snapshots",
            Self::Keys => "keys",
        }
    }
}

/// A file of the data directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FilePath {
    /// The folder it lies in.
    pub folder: Folder,
    /// Its name there: made by us, never from outside.
    pub name: Arc<str>,
}

impl FilePath {
    /// Names a file.
    pub fn new(folder: Folder, name: impl Into<Arc<str>>) -> Self {
        Self { folder, name: name.into() }
    }
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.folder {
            Folder::Root => f.write_str(&self.name),
            _ => write!(f, "{}/{}", self.folder.name(), self.name),
        }
    }
}

/// One operation on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DiskOp {
    /// Makes a new file whose first `len` bytes are allocated and read as zeros. Fails with `Exists` if it is there, and
    /// with `NoSpace` if the volume would be left with less than `leave_free` bytes.
    /// Neither the file nor its name is durable before `Sync` and `SyncFolder`.
    Create {
        /// The new file.
        file: FilePath,
        /// Bytes to allocate.
        len: u64,
        /// Bytes that the allocation leaves to others.
        leave_free: u64,
    },
    /// Writes the buffers one after the other, all or an error (which may leave any part of them written).
    Write {
        /// An existing file.
        file: FilePath,
        /// Where the first buffer goes, in bytes.
        offset: u64,
        /// What to write.
        data: Vec<Bytes>,
    },
    /// Asks the system to begin writing a range out, without waiting. A hint: it promises nothing.
    StartWriteback {
        /// An existing file.
        file: FilePath,
        /// First byte.
        offset: u64,
        /// Bytes.
        len: u64,
    },
    /// Makes the file's bytes and length durable (`fdatasync`). Never retried after a failure (ATC'20, "Can
    /// Applications Recover from fsync Failures?").
    Sync {
        /// An existing file.
        file: FilePath,
    },
    /// Makes the names in a folder durable.
    SyncFolder {
        /// The folder.
        folder: Folder,
    },
    /// Reads up to `len` bytes; fewer only at the end of the file.
    Read {
        /// An existing file.
        file: FilePath,
        /// First byte.
        offset: u64,
        /// Bytes wanted.
        len: u64,
        /// Drop the system's cached pages of the range first, so that what is read is what the disk holds: after a
        /// failed fsync the page cache shows bytes that no power cut would leave.
        from_disk: bool,
    },
    /// Lists a folder's files with their lengths, in byte order of their names.
    List {
        /// The folder.
        folder: Folder,
    },
    /// Gives a file another name in its folder, replacing what bears it.
    Rename {
        /// The file.
        file: FilePath,
        /// The new name, in the same folder.
        to: Arc<str>,
    },
    /// Removes a file.
    Remove {
        /// The file.
        file: FilePath,
    },
    /// Gives a range's space back; it reads as zeros afterwards. The file keeps its length.
    Punch {
        /// An existing file.
        file: FilePath,
        /// First byte.
        offset: u64,
        /// Bytes.
        len: u64,
    },
    /// Sets the file's length.
    Truncate {
        /// An existing file.
        file: FilePath,
        /// The new length in bytes.
        len: u64,
    },
    /// Asks how many bytes are free for us on the volume of a folder.
    FreeSpace {
        /// The folder.
        folder: Folder,
    },
}

/// What a successful operation answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DiskReply {
    /// Done; nothing to report.
    Done,
    /// The bytes read.
    Data(Bytes),
    /// A folder's files and their lengths.
    Files(Vec<(Arc<str>, u64)>),
    /// Free bytes.
    Free(u64),
}

/// What went wrong, as far as anyone decides by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskErrorKind {
    /// No such file.
    NotFound,
    /// The file is there already.
    Exists,
    /// No space or quota left.
    NoSpace,
    /// The process or the system has no descriptor left. It passes.
    NoHandles,
    /// The system does not allow it: permissions, a volume that is read-only.
    Denied,
    /// The device or its file system failed, or anything else.
    Io,
}

/// A failed operation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{operation} {target}: {message}")]
pub struct DiskError {
    /// What went wrong.
    pub kind: DiskErrorKind,
    /// The operation, for example `fdatasync`.
    pub operation: &'static str,
    /// The file or folder.
    pub target: String,
    /// The system's own words.
    pub message: String,
}

impl DiskError {
    /// Whether bytes are lost, on a device that cannot read them: damage, as rot is. Any other refusal says nothing of
    /// what is on the disk.
    pub fn is_loss(&self) -> bool {
        self.kind == DiskErrorKind::Io
    }
}

/// What was read; none where the device has lost it.
pub(crate) fn unless_lost<T>(read: Result<T, DiskError>) -> Result<Option<T>, DiskError> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(error) if error.is_loss() => Ok(None),
        Err(error) => Err(error),
    }
}

/// The outcome of an operation.
pub type DiskResult = Result<DiskReply, DiskError>;

/// Connects a submission with its completion. Chosen by the submitter, unique among its operations under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// A finished operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completion {
    /// The submission it answers.
    pub ticket: Ticket,
    /// Its outcome.
    pub result: DiskResult,
}

/// A disk that takes operations and reports when they are done.
pub trait Disk {
    /// Hands an operation in.
    fn submit(&mut self, ticket: Ticket, op: DiskOp);
    /// Takes a finished operation, if there is one.
    fn poll(&mut self) -> Option<Completion>;
}
