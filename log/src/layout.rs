//! The data directory: its folders, its format version, its lock.
//!
//! `FORMAT` is text: the version in the first line, then `log ID` and `node ID`. It may be deleted: the ids stand in
//! every segment's header too. `LOCK` is locked with `flock` as long as a program works on the directory, and names it.

#![expect(
    clippy::disallowed_methods,
    reason = "the lock must be a real file lock, and the folders must exist before there is a `Disk`"
)]

use crate::host::{Entropy, Folder, draw};
use crate::id::{LogId, NodeId};
use crate::segment::{HEADER_BYTES, SegmentHeader, SegmentName};
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The version of the data directory that this program makes, and the newest it reads.
pub const DIRECTORY_VERSION: u16 = 1;

/// What `FORMAT` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Format {
    /// The version of the directory's format.
    pub version: u16,
    /// The log's id.
    pub log_id: LogId,
    /// The node's id.
    pub node_id: NodeId,
}

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// The system refused something.
    #[error("{path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Another program works on it.
    #[error("{path} is in use by {holder}")]
    Locked {
        /// The directory.
        path: PathBuf,
        /// Program and process id, as the holder wrote them.
        holder: String,
    },
    /// Made by a newer program.
    #[error("{path} has format {found}; this program reads up to {known}")]
    UnknownFormat {
        /// The directory.
        path: PathBuf,
        /// Its version.
        found: u16,
        /// What this program reads.
        known: u16,
    },
    /// `FORMAT` is damaged, or missing beside a log whose first segment cannot be read.
    #[error("{path}: {what}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// An open data directory; the lock is held as long as the value lives.
#[derive(Debug)]
pub struct DataDir {
    root: PathBuf,
    format: Format,
    _lock: File,
}

impl DataDir {
    /// Opens a data directory for writing: makes what is missing, checks the format, takes the lock.
    pub fn open(root: &Path, program: &str, entropy: &dyn Entropy) -> Result<Self, LayoutError> {
        make_folder(root, 0o750)?;
        // ORDER: the lock comes before anything is looked at, so that two first starts cannot make two formats.
        let lock = take_lock(root, program)?;
        for folder in [Folder::Log, Folder::Packs, Folder::Snapshots] {
            make_folder(&root.join(folder.name()), 0o750)?;
        }
        make_folder(&root.join(Folder::Keys.name()), 0o700)?;
        let format = if let Some(format) = read_format(root)? {
            format
        } else {
            let drawn = || Format {
                version: DIRECTORY_VERSION,
                log_id: LogId(draw(entropy)),
                node_id: NodeId(draw(entropy)),
            };
            let format = format_of_log(root)?.unwrap_or_else(drawn);
            write_format(root, format)?;
            format
        };
        Ok(Self { root: root.to_owned(), format, _lock: lock })
    }

    /// Reads the format of a directory, without the lock, for commands that only read.
    pub fn inspect(root: &Path) -> Result<Format, LayoutError> {
        let path = root.join("FORMAT");
        let missing =
            LayoutError::Malformed { path, what: "no data directory: there is neither FORMAT nor a log" };
        match read_format(root)? {
            Some(format) => Ok(format),
            None => format_of_log(root)?.ok_or(missing),
        }
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Its format and ids.
    pub fn format(&self) -> Format {
        self.format
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> LayoutError {
    let path = path.to_owned();
    move |source| LayoutError::Io { path, source }
}

fn make_folder(path: &Path, mode: u32) -> Result<(), LayoutError> {
    DirBuilder::new().recursive(true).mode(mode).create(path).map_err(at(path))
}

fn take_lock(root: &Path, program: &str) -> Result<File, LayoutError> {
    let path = root.join("LOCK");
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o640);
    let mut lock = options.open(&path).map_err(at(&path))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // Whoever holds the lock wrote a short line; what else stands there is not worth an error.
            let _ = (&lock).take(256).read_to_string(&mut holder);
            let holder =
                if holder.is_empty() { "another process".to_owned() } else { holder.trim().to_owned() };
            return Err(LayoutError::Locked { path: root.to_owned(), holder });
        }
        Err(TryLockError::Error(source)) => return Err(LayoutError::Io { path, source }),
    }
    lock.set_len(0).map_err(at(&path))?;
    writeln!(lock, "{program} (process {})", std::process::id()).map_err(at(&path))?;
    Ok(lock)
}

fn read_format(root: &Path) -> Result<Option<Format>, LayoutError> {
    let path = root.join("FORMAT");
    let mut text = String::new();
    match File::open(&path).and_then(|file| file.take(4096).read_to_string(&mut text)) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(at(&path)(error)),
    }
    parse_format(&text, root).map(Some)
}

fn parse_format(text: &str, root: &Path) -> Result<Format, LayoutError> {
    let malformed = |what| LayoutError::Malformed { path: root.join("FORMAT"), what };
    let mut lines = text.lines();
    let version = lines.next().and_then(|line| line.trim().parse().ok());
    let version = version.ok_or_else(|| malformed("the first line is no format version"))?;
    if version != DIRECTORY_VERSION {
        // The other lines belong to that format and are not looked at.
        return Err(LayoutError::UnknownFormat {
            path: root.to_owned(),
            found: version,
            known: DIRECTORY_VERSION,
        });
    }
    let mut id = |name: &str| lines.next().and_then(|line| line.trim().strip_prefix(name).map(str::to_owned));
    let log = id("log ").and_then(|text| LogId::parse(&text).ok());
    let node = id("node ").and_then(|text| NodeId::parse(&text).ok());
    match (log, node) {
        (Some(log_id), Some(node_id)) => Ok(Format { version, log_id, node_id }),
        _ => Err(malformed("the log's or the node's id is missing")),
    }
}

/// The ids in the first segment that has a readable header; `None` where there is no segment.
fn format_of_log(root: &Path) -> Result<Option<Format>, LayoutError> {
    let folder = root.join(Folder::Log.name());
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(at(&folder)(error)),
    };
    let mut found = false;
    for entry in entries {
        let path = entry.map_err(at(&folder))?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        if name.and_then(SegmentName::parse).is_none() {
            continue;
        }
        found = true;
        let mut header = Vec::new();
        File::open(&path)
            .and_then(|file| file.take(HEADER_BYTES).read_to_end(&mut header))
            .map_err(at(&path))?;
        if let Ok(SegmentHeader { log_id, node_id, .. }) = SegmentHeader::decode(&header) {
            return Ok(Some(Format { version: DIRECTORY_VERSION, log_id, node_id }));
        }
    }
    let path = root.join("FORMAT");
    if found {
        Err(LayoutError::Malformed { path, what: "missing, and no segment's header can be read" })
    } else {
        Ok(None)
    }
}

fn write_format(root: &Path, format: Format) -> Result<(), LayoutError> {
    let (path, temporary) = (root.join("FORMAT"), root.join("FORMAT.new"));
    let text = format!("{}\nlog {}\nnode {}\n", format.version, format.log_id, format.node_id);
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o640)
        .open(&temporary)
        .map_err(at(&temporary))?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(at(&temporary))?;
    fs::rename(&temporary, &path).map_err(at(&path))?;
    File::open(root).and_then(|folder| folder.sync_all()).map_err(at(root))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hlc::Hlc;
    use crate::host::real::RealEntropy;
    use crate::id::{BatchDigest, BatchSeq, Epoch, Position};

    fn open(root: &Path) -> Result<DataDir, LayoutError> {
        DataDir::open(root, "test", &RealEntropy)
    }

    #[test]
    fn a_directory_keeps_its_ids_and_is_locked_while_open() {
        let root = tempfile::tempdir().unwrap();
        let first = open(root.path()).unwrap();
        let Err(LayoutError::Locked { holder, .. }) = open(root.path()) else { panic!("opened twice") };
        assert!(holder.contains(&std::process::id().to_string()) && holder.contains("test"), "{holder}");
        let format = first.format();
        assert_eq!(DataDir::inspect(root.path()).unwrap(), format);
        drop(first);
        assert_eq!(open(root.path()).unwrap().format(), format);
    }

    #[test]
    fn an_unknown_or_damaged_format_is_refused() {
        let root = tempfile::tempdir().unwrap();
        drop(open(root.path()).unwrap());
        fs::write(root.path().join("FORMAT"), "999\nsomething new\n").unwrap();
        let error = open(root.path()).unwrap_err();
        assert!(matches!(error, LayoutError::UnknownFormat { found: 999, known: DIRECTORY_VERSION, .. }));
        for text in ["", "one\n", "1\n", "1\nlog 00\nnode 00\n"] {
            fs::write(root.path().join("FORMAT"), text).unwrap();
            assert!(matches!(open(root.path()), Err(LayoutError::Malformed { .. })), "{text:?}");
        }
    }

    #[test]
    fn a_missing_format_is_found_again_in_the_log() {
        let root = tempfile::tempdir().unwrap();
        let format = open(root.path()).unwrap().format();
        let header = SegmentHeader {
            format_version: crate::segment::FORMAT_VERSION,
            min_reader_version: crate::segment::READER_VERSION,
            generation: 0,
            epoch: Epoch(1),
            node_id: format.node_id,
            log_id: format.log_id,
            segment_no: 1,
            first: Position(1),
            first_batch: BatchSeq(1),
            created: Hlc::from_millis(1),
            prev_digest: BatchDigest::default(),
        };
        fs::write(root.path().join("log/0000000000000001-0000.seg"), header.encode()).unwrap();
        fs::remove_file(root.path().join("FORMAT")).unwrap();
        assert_eq!(open(root.path()).unwrap().format(), format);
    }
}
