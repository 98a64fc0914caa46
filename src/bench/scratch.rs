//! A run's own folder.

use std::io;
use std::path::{Path, PathBuf};

/// A new folder below the one that was named, removed when dropped. The named one is made if missing, and then removed
/// as well.
pub(super) struct Scratch {
    folder: PathBuf,
    made: Option<PathBuf>,
}

impl Scratch {
    pub(super) fn new(below: &Path) -> io::Result<Self> {
        let made = (!below.exists()).then(|| below.to_owned());
        let folder = below.join(format!("siltstone-bench-{}", std::process::id()));
        create(&folder)?;
        Ok(Self { folder, made })
    }

    /// A folder of this name in it, which is not made.
    pub(super) fn join(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed stays, in plain view of whoever named the folder.
        drop(remove(&self.folder));
        if let Some(made) = &self.made {
            drop(std::fs::remove_dir(made));
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the benchmark's own folder, which no state machine knows")]
pub(super) fn create(folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)
}

#[expect(clippy::disallowed_methods, reason = "the benchmark's own folder, which no state machine knows")]
pub(super) fn remove(folder: &Path) -> io::Result<()> {
    std::fs::remove_dir_all(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_was_missing_is_gone_afterwards_and_one_that_was_there_stays() {
        let root = tempfile::tempdir().unwrap();
        let named = root.path().join("named");
        let scratch = Scratch::new(&named).unwrap();
        assert!(scratch.join("").is_dir());
        drop(scratch);
        assert!(!named.exists());
        drop(Scratch::new(root.path()).unwrap());
        assert!(root.path().is_dir());
        assert_eq!(root.path().read_dir().unwrap().count(), 0);
    }
}
