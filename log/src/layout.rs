//! The data directory: its folders, its format version, its lock.

#![expect(
    clippy::disallowed_methods,
    reason = "folders, FORMAT and LOCK are made before there is a disk to submit operations to"
)]

use crate::host::{Entropy, FilePath, Folder, draw};
use crate::id::{LogId, NodeId};
use crate::segment::{HEADER_BYTES, HeaderError, READER_VERSION, SegmentHeader, SegmentName};
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The version of the directory's format that this program makes and reads.
pub const FORMAT: u16 = 1;
/// `FORMAT` and `LOCK` are a few lines; a longer file is none of ours.
pub(crate) const FORMAT_MAX_BYTES: u64 = 4096;

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
    #[error("{path} needs a program that reads format {found}; this one reads up to {known}")]
    UnknownFormat {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u16,
        /// What this program reads.
        known: u16,
    },
    /// `FORMAT` is damaged, or missing beside a log that cannot say what it held.
    #[error("{path}: {what}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> LayoutError {
    |source| LayoutError::Io { path: path.to_owned(), source }
}

/// An open data directory; the lock is held as long as the value lives.
#[derive(Debug)]
pub struct DataDir {
    root: PathBuf,
    format: Format,
    /// Held until the value is dropped, or the process ends however it may.
    _lock: File,
}

impl DataDir {
    /// Opens a data directory for writing: makes what is missing, takes the lock, checks the format.
    pub fn open(root: &Path, program: &str, entropy: &dyn Entropy) -> Result<Self, LayoutError> {
        make_folder(root, 0o750)?;
        let lock = lock(root, program)?;
        let folders =
            [(Folder::Log, 0o750), (Folder::Packs, 0o750), (Folder::Snapshots, 0o750), (Folder::Keys, 0o700)];
        let format = match read_format(root) {
            Ok(format) => format,
            Err(LayoutError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
                // A directory with a log has had a FORMAT: ids of its own would give the log a new name.
                let made = || Format {
                    version: FORMAT,
                    log_id: LogId(draw(entropy)),
                    node_id: NodeId(draw(entropy)),
                };
                let format = format_of_segments(root)?.unwrap_or_else(made);
                write_format(root, &format)?;
                format
            }
            Err(error) => return Err(error),
        };
        for (folder, mode) in folders {
            make_folder(&root.join(folder.name()), mode)?;
        }
        sync_folder(root)?;
        Ok(Self { root: root.to_owned(), format, _lock: lock })
    }

    /// Reads the format of a directory, without the lock, for commands that only read.
    pub fn inspect(root: &Path) -> Result<Format, LayoutError> {
        match read_format(root) {
            Err(LayoutError::Io { path, source }) if source.kind() == ErrorKind::NotFound => {
                format_of_segments(root)?.ok_or(LayoutError::Io { path, source })
            }
            format => format,
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

fn make_folder(path: &Path, mode: u32) -> Result<(), LayoutError> {
    match DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        result => return result.map_err(at(path)),
    }
    let metadata = path.metadata().map_err(at(path))?;
    if !metadata.is_dir() {
        return Err(LayoutError::Malformed { path: path.to_owned(), what: "is no folder" });
    }
    // Keys that others could read would be no secret, whoever made the folder.
    if mode == 0o700 && metadata.permissions().mode() & 0o077 != 0 {
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).map_err(at(path))?;
    }
    Ok(())
}

fn sync_folder(path: &Path) -> Result<(), LayoutError> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(at(path))
}

/// What the headers of a log's segments say where `FORMAT` is lost; none where there is no segment.
fn format_of_segments(root: &Path) -> Result<Option<Format>, LayoutError> {
    let folder = root.join(Folder::Log.name());
    let entries = match std::fs::read_dir(&folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        entries => entries.map_err(at(&folder))?,
    };
    let malformed = |what| LayoutError::Malformed { path: root.join("FORMAT"), what };
    let (mut known, mut any) = (None, false);
    for entry in entries {
        let path = entry.map_err(at(&folder))?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        if name.and_then(SegmentName::parse).is_none() {
            continue;
        }
        any = true;
        let Some(header) = read_header(&path)? else { continue };
        let format = Format { version: FORMAT, log_id: header.log_id, node_id: header.node_id };
        if known.is_some_and(|known| known != format) {
            return Err(malformed("missing, and the segments belong to different logs"));
        }
        known = Some(format);
    }
    if any && known.is_none() {
        return Err(malformed(
            "missing, and no segment has a header to make it from; restore it from a copy",
        ));
    }
    Ok(known)
}

/// The header of a segment; none where it is damaged, which costs only this copy of the ids.
fn read_header(path: &Path) -> Result<Option<SegmentHeader>, LayoutError> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(HEADER_BYTES).read_to_end(&mut bytes));
    read.map_err(at(path))?;
    match SegmentHeader::decode(&bytes) {
        Ok(header) => Ok(Some(header)),
        Err(HeaderError::Damaged) => Ok(None),
        Err(HeaderError::NeedsVersion { needed }) => {
            Err(LayoutError::UnknownFormat { path: path.to_owned(), found: needed, known: READER_VERSION })
        }
    }
}

fn lock(root: &Path, program: &str) -> Result<File, LayoutError> {
    let path = root.join("LOCK");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o640)
        .open(&path)
        .map_err(at(&path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let holder = read_text(&mut file).unwrap_or_default();
            let holder = if holder.trim().is_empty() { "another program" } else { holder.trim() };
            return Err(LayoutError::Locked { path: root.to_owned(), holder: holder.to_owned() });
        }
        Err(TryLockError::Error(source)) => return Err(LayoutError::Io { path, source }),
    }
    let holder = format!("{program} (process {})\n", std::process::id());
    file.set_len(0).and_then(|()| file.write_all(holder.as_bytes())).map_err(at(&path))?;
    Ok(file)
}

fn read_text(file: &mut File) -> io::Result<String> {
    let mut text = String::new();
    file.take(FORMAT_MAX_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

fn read_format(root: &Path) -> Result<Format, LayoutError> {
    let path = root.join("FORMAT");
    let text = match File::open(&path).and_then(|mut file| read_text(&mut file)) {
        Err(error) if error.kind() == ErrorKind::InvalidData => String::new(),
        text => text.map_err(at(&path))?,
    };
    match parse_format(&text) {
        Parsed::Format(format) => Ok(format),
        Parsed::Newer(found) => Err(LayoutError::UnknownFormat { path, found, known: FORMAT }),
        Parsed::Malformed => Err(LayoutError::Malformed { path, what: "not in this form" }),
    }
}

fn write_format(root: &Path, format: &Format) -> Result<(), LayoutError> {
    let (path, temporary) = (root.join("FORMAT"), root.join("FORMAT.tmp"));
    // ORDER: the bytes are durable before the name.
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o640)
        .open(&temporary)
        .map_err(at(&temporary))?;
    let written = file.write_all(print_format(format).as_bytes()).and_then(|()| file.sync_all());
    written.map_err(at(&temporary))?;
    std::fs::rename(&temporary, &path).map_err(at(&path))?;
    sync_folder(root)
}

fn print_format(format: &Format) -> String {
    format!("siltstone {}\nlog {}\nnode {}\n", format.version, format.log_id, format.node_id)
}

/// The file as readers of the log see it.
pub(crate) fn format_file() -> FilePath {
    FilePath::new(Folder::Root, "FORMAT")
}

/// Its content, if it is of this version.
pub(crate) fn parse_format_bytes(bytes: &[u8]) -> Option<Format> {
    match parse_format(std::str::from_utf8(bytes).ok()?) {
        Parsed::Format(format) => Some(format),
        Parsed::Newer(_) | Parsed::Malformed => None,
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Parsed {
    Format(Format),
    Newer(u16),
    Malformed,
}

fn parse_format(text: &str) -> Parsed {
    let mut lines = text.lines();
    let version = lines.next().and_then(|line| line.strip_prefix("siltstone ")).and_then(|v| v.parse().ok());
    match version {
        // A newer format may have other lines.
        Some(version) if version > FORMAT => return Parsed::Newer(version),
        Some(FORMAT) => {}
        Some(_) | None => return Parsed::Malformed,
    }
    let log_id = lines.next().and_then(|line| line.strip_prefix("log ")).map(LogId::parse);
    let node_id = lines.next().and_then(|line| line.strip_prefix("node ")).map(NodeId::parse);
    match (log_id, node_id, lines.next()) {
        (Some(Ok(log_id)), Some(Ok(node_id)), None) => {
            Parsed::Format(Format { version: FORMAT, log_id, node_id })
        }
        _ => Parsed::Malformed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::real::RealEntropy;
    use proptest::prelude::*;

    fn open(root: &Path) -> Result<DataDir, LayoutError> {
        DataDir::open(root, "test", &RealEntropy)
    }

    #[test]
    fn a_directory_keeps_its_ids_and_its_keys_to_itself() {
        let parent = tempfile::tempdir().unwrap();
        let root = parent.path().join("data");
        let first = open(&root).unwrap().format();
        assert_eq!(open(&root).unwrap().format(), first);
        assert_eq!(DataDir::inspect(&root).unwrap(), first);
        for folder in ["log", "packs", "snapshots", "keys"] {
            assert!(root.join(folder).is_dir(), "{folder}");
        }
        let keys = root.join("keys");
        std::fs::set_permissions(&keys, PermissionsExt::from_mode(0o755)).unwrap();
        drop(open(&root).unwrap());
        assert_eq!(keys.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_second_program_is_told_who_holds_the_directory() {
        let root = tempfile::tempdir().unwrap();
        let held = open(root.path()).unwrap();
        match open(root.path()) {
            Err(LayoutError::Locked { holder, .. }) => {
                assert_eq!(holder, format!("test (process {})", std::process::id()));
            }
            other => panic!("{other:?}"),
        }
        assert!(DataDir::inspect(root.path()).is_ok(), "readers need no lock");
        drop(held);
        open(root.path()).unwrap();
    }

    #[test]
    fn a_newer_format_is_refused_with_its_version_and_a_lost_one_is_not_made_up() {
        let root = tempfile::tempdir().unwrap();
        drop(open(root.path()).unwrap());
        let format = root.path().join("FORMAT");
        std::fs::write(&format, "siltstone 7\nlog elsewhere\n").unwrap();
        assert!(matches!(open(root.path()), Err(LayoutError::UnknownFormat { found: 7, known: 1, .. })));
        std::fs::write(&format, [0xff, 0xfe]).unwrap();
        assert!(matches!(open(root.path()), Err(LayoutError::Malformed { .. })));
        std::fs::remove_file(&format).unwrap();
        std::fs::write(root.path().join("log/0000000000000001-0000.seg"), "").unwrap();
        assert!(matches!(open(root.path()), Err(LayoutError::Malformed { .. })));
    }

    fn put_segment(root: &Path, first: u64, log_id: LogId, min_reader_version: u16) {
        let name = SegmentName { first: crate::id::Position(first), generation: 0 };
        let header = SegmentHeader {
            format_version: 1,
            min_reader_version,
            generation: 0,
            epoch: crate::id::Epoch(0),
            node_id: NodeId([5; 16]),
            log_id,
            segment_no: first,
            first: name.first,
            first_batch: crate::id::BatchSeq(first),
            created: crate::hlc::Hlc(1),
            prev_digest: crate::id::BatchDigest::default(),
        };
        std::fs::write(root.join("log").join(&*name.file().name), header.encode()).unwrap();
    }

    #[test]
    fn a_lost_format_is_made_again_from_the_segments_that_know_it() {
        let root = tempfile::tempdir().unwrap();
        drop(open(root.path()).unwrap());
        let (format, log_id) = (root.path().join("FORMAT"), LogId([4; 16]));
        std::fs::remove_file(&format).unwrap();
        std::fs::write(root.path().join("log/0000000000000001-0000.seg"), "rotten").unwrap();
        put_segment(root.path(), 7, log_id, 1);
        let expected = Format { version: FORMAT, log_id, node_id: NodeId([5; 16]) };
        assert_eq!(DataDir::inspect(root.path()).unwrap(), expected);
        assert!(!format.exists(), "readers write nothing");
        assert_eq!(open(root.path()).unwrap().format(), expected);
        assert_eq!(DataDir::inspect(root.path()).unwrap(), expected);
        // One that does not agree with itself, or with this program, is not guessed at.
        std::fs::remove_file(&format).unwrap();
        put_segment(root.path(), 9, LogId([6; 16]), 1);
        assert!(matches!(open(root.path()), Err(LayoutError::Malformed { .. })));
        put_segment(root.path(), 9, log_id, 8);
        assert!(matches!(open(root.path()), Err(LayoutError::UnknownFormat { found: 8, .. })));
        assert!(!format.exists());
    }

    proptest! {
        #[test]
        fn a_format_is_read_back(log_id: [u8; 16], node_id: [u8; 16]) {
            let format = Format { version: FORMAT, log_id: LogId(log_id), node_id: NodeId(node_id) };
            prop_assert_eq!(parse_format(&print_format(&format)), Parsed::Format(format));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "(siltstone [0-9]{1,6}\n)?.{0,20}\n?.{0,20}") {
            match parse_format(&text) {
                Parsed::Format(format) => prop_assert_eq!(parse_format(&print_format(&format)), Parsed::Format(format)),
                Parsed::Newer(version) => prop_assert!(version > FORMAT),
                Parsed::Malformed => {}
            }
        }
    }
}
