//! Small secret files, written whole: a crash leaves the old file, the new one or none.

use bytes::Bytes;
use siltstone_log::host::real::RealDisk;
use siltstone_log::host::{DiskError, DiskErrorKind, DiskOp, DiskReply, FilePath, Folder};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use zeroize::Zeroizing;

/// The most bytes a file of `keys/` may have.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// The `keys/` folder or a file in it cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyStoreError {
    /// The folder.
    #[error("keys folder: {0}")]
    Folder(#[from] std::io::Error),
    /// An operation on a file.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A file is not what this program writes. It is never replaced: what it sealed would be lost.
    #[error("keys/{name} cannot be read: {reason}; put back the file from a backup")]
    Malformed {
        /// The file.
        name: &'static str,
        /// What is wrong.
        reason: String,
    },
}

/// Makes the folder if it is missing, readable by its owner only.
pub fn prepare_folder(disk: &RealDisk) -> Result<(), KeyStoreError> {
    let path = disk.root().join(Folder::Keys.name());
    match std::fs::DirBuilder::new().mode(0o700).create(&path) {
        Ok(()) => {
            disk.execute(&DiskOp::SyncFolder { folder: Folder::Root })?;
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let permissions = std::fs::metadata(&path)?.permissions();
            if permissions.mode() & 0o077 != 0 {
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700))?;
            }
        }
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// Reads a file; `None` if there is none.
pub fn read(disk: &RealDisk, name: &'static str) -> Result<Option<Zeroizing<Vec<u8>>>, KeyStoreError> {
    let file = FilePath::new(Folder::Keys, name);
    match disk.execute(&DiskOp::Read { file, offset: 0, len: MAX_FILE_BYTES, from_disk: false }) {
        Ok(DiskReply::Data(bytes)) => Ok(Some(Zeroizing::new(bytes.to_vec()))),
        Ok(DiskReply::Done | DiskReply::Files(_) | DiskReply::Free(_)) => Ok(None),
        Err(error) if error.kind == DiskErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Writes a new file and makes it durable before it returns.
pub fn create(disk: &RealDisk, name: &'static str, content: &[u8]) -> Result<(), KeyStoreError> {
    let draft = FilePath::new(Folder::Keys, format!("{name}.new"));
    match disk.execute(&DiskOp::Remove { file: draft.clone() }) {
        Ok(_) => {}
        Err(error) if error.kind == DiskErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    let data = vec![Bytes::copy_from_slice(content)];
    disk.execute(&DiskOp::Create { file: draft.clone(), len: 0, leave_free: 0 })?;
    disk.execute(&DiskOp::Write { file: draft.clone(), offset: 0, data })?;
    // ORDER: the bytes before the name, the name before its first use: a secret sealed under a key that a power cut
    // takes back could never be opened again.
    disk.execute(&DiskOp::Sync { file: draft.clone() })?;
    disk.execute(&DiskOp::Rename { file: draft, to: name.into() })?;
    disk.execute(&DiskOp::SyncFolder { folder: Folder::Keys })?;
    Ok(())
}
