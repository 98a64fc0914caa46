//! `APPLIED`, a small file beside fjall's own: the last position whose rows were committed here.
//!
//! Only durable records are applied, so the file is evidence for the log's recovery, which runs before the store is
//! opened: a log that ends below it has lost a tail that was acknowledged. fjall itself cannot be asked: to open it
//! changes its files, and its journal keeps the last commits in the process, where `kill -9` takes them.

use super::io_failed;
use crate::store::StoreError;
use bytes::{BufMut, BytesMut};
use siltstone_log::id::{LogId, Position};
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

const FILE: &str = "APPLIED";
const MAGIC: &[u8; 8] = b"SILTAPPL";
const HASHED: usize = 8 + 16 + 8;
const ENCODED: usize = HASHED + 8;
/// `errno` of a sector that cannot be read. A file that is lost to one is no evidence, as a damaged one is none.
const EIO: i32 = 5;

fn encode(log_id: LogId, position: u64) -> BytesMut {
    let mut out = BytesMut::with_capacity(ENCODED);
    out.put_slice(MAGIC);
    out.put_slice(&log_id.0);
    out.put_u64_le(position);
    let hash = blake3::hash(&out);
    out.extend(hash.as_bytes().iter().take(ENCODED - HASHED));
    out
}

/// What follows the content is not looked at: positions are written over what is there, so that bytes which something
/// else appended would otherwise silence the witness for good.
fn decode(bytes: &[u8], log_id: LogId) -> Option<Position> {
    let content = bytes.first_chunk::<ENCODED>()?;
    let position = content.get(HASHED - 8..)?.first_chunk().copied().map(u64::from_le_bytes)?;
    (encode(log_id, position) == content.as_slice())
        .then_some(Position(position))
        .filter(|position| position.get() > 0)
}

/// The last position of a log that the projections in a folder are known to have applied. Reads one small file and
/// changes nothing; none where it is missing, damaged or of another log. A system that refuses to read it fails: what
/// it knows must not be taken for nothing, because recovery would then drop what it speaks of.
pub fn applied_witness(folder: &Path, log_id: LogId) -> Result<Option<Position>, StoreError> {
    let mut bytes = Vec::with_capacity(ENCODED);
    let read = File::open(folder.join(FILE))
        .and_then(|file| file.take(ENCODED as u64).read_to_end(&mut bytes).map(drop));
    match read {
        Ok(()) => Ok(decode(&bytes, log_id)),
        Err(error) if error.raw_os_error() == Some(EIO) => Ok(None),
        Err(error) => match io_failed(&error) {
            StoreError::Damaged(_) => Ok(None),
            refused => Err(refused),
        },
    }
}

/// The file, kept open and written over after each commit, into the system's cache.
pub(super) struct AppliedFile {
    file: File,
    log_id: LogId,
    highest: AtomicU64,
}

impl AppliedFile {
    pub fn open(folder: &Path, log_id: LogId) -> Result<Self, StoreError> {
        let highest = applied_witness(folder, log_id)?.unwrap_or_default().get();
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(folder.join(FILE));
        let file = file.map_err(|error| io_failed(&error))?;
        Ok(Self { file, log_id, highest: AtomicU64::new(highest) })
    }

    /// Notes how far a commit has come. One that cannot be noted is a lack of evidence, no failure of the commit.
    pub fn raise(&self, position: Position) {
        if self.highest.fetch_max(position.get(), Ordering::Relaxed) < position.get() {
            let _ = self.file.write_all_at(&encode(self.log_id, position.get()), 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: LogId = LogId([7; 16]);

    #[test]
    fn the_position_only_rises_and_outlives_the_process() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(applied_witness(folder.path(), LOG), Ok(None));
        for (raised, known) in [(5, 5), (4, 5), (9, 9)] {
            let file = AppliedFile::open(folder.path(), LOG).unwrap();
            file.raise(Position(raised));
            assert_eq!(applied_witness(folder.path(), LOG), Ok(Some(Position(known))));
        }
        assert_eq!(applied_witness(folder.path(), LogId([8; 16])), Ok(None), "of another log");
    }

    #[test]
    fn bytes_behind_the_position_do_not_silence_it_and_a_refusal_is_not_taken_for_silence() {
        let folder = tempfile::tempdir().unwrap();
        AppliedFile::open(folder.path(), LOG).unwrap().raise(Position(5));
        let path = folder.path().join(FILE);
        let mut longer = std::fs::read(&path).unwrap();
        longer.extend(b"\n");
        std::fs::write(&path, longer).unwrap();
        assert_eq!(applied_witness(folder.path(), LOG), Ok(Some(Position(5))));
        AppliedFile::open(folder.path(), LOG).unwrap().raise(Position(6));
        assert_eq!(applied_witness(folder.path(), LOG), Ok(Some(Position(6))));
        std::fs::remove_file(&path).unwrap();
        // A name that the system cannot follow.
        std::os::unix::fs::symlink(FILE, &path).unwrap();
        assert!(matches!(applied_witness(folder.path(), LOG), Err(StoreError::Io(_))));
    }

    proptest::proptest! {
        #[test]
        fn a_flipped_bit_is_no_evidence(position: u64, at in 0..ENCODED, bit in 0u8..8) {
            let mut bytes = encode(LOG, position).to_vec();
            bytes[at] ^= 1 << bit;
            proptest::prop_assert_eq!(decode(&bytes, LOG), None);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..60)) {
            proptest::prop_assert_eq!(decode(&bytes, LOG), None);
        }
    }
}
