//! The data directory: its folders, its format version, its lock.

use crate::host::Entropy;
use crate::id::{LogId, NodeId};
use std::io;
use std::path::{Path, PathBuf};

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
    /// `FORMAT` is missing beside a log, or damaged.
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
}

impl DataDir {
    /// Opens a data directory for writing: makes what is missing, checks the format, takes the lock.
    pub fn open(root: &Path, program: &str, entropy: &dyn Entropy) -> Result<Self, LayoutError> {
        let _ = (root, program, entropy);
        unimplemented!()
    }

    /// Reads the format of a directory, without the lock, for commands that only read.
    pub fn inspect(root: &Path) -> Result<Format, LayoutError> {
        let _ = root;
        unimplemented!()
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
