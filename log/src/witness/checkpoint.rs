//! `log/CHECKPOINT`: two slots written in turn, so that a torn write leaves the other one.

use crate::codec::{Fields, crc32c};
use crate::hlc::Hlc;
use crate::host::{FilePath, Folder};
use crate::id::{BatchDigest, BatchSeq, LogId, Position};
use bytes::{BufMut, Bytes, BytesMut};

/// Bytes of one slot: a whole page, so that a torn write of one leaves the other.
pub const SLOT_BYTES: u64 = 4096;
/// Bytes of the file.
pub const CHECKPOINT_BYTES: u64 = 2 * SLOT_BYTES;

const MAGIC: &[u8; 8] = b"SILTCKPT";
const ENCODED: usize = 8 + 16 + 8 + 8 + 16 + 8 + 8;

/// A statement that everything up to a position is durable: what recovery needs to tell a rotten last batch from a
/// torn one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log it speaks of.
    pub log_id: LogId,
    /// The last durable position.
    pub durable: Position,
    /// The last durable batch.
    pub batch: BatchSeq,
    /// Its digest.
    pub digest: BatchDigest,
    /// The newest instant in the log.
    pub hlc: Hlc,
    /// Rises with every checkpoint; its lowest bit is the slot.
    pub counter: u64,
}

/// The file.
pub fn checkpoint_file() -> FilePath {
    FilePath::new(Folder::Log, "CHECKPOINT")
}

impl Checkpoint {
    /// Where its slot is in the file.
    pub fn offset(&self) -> u64 {
        (self.counter & 1) * SLOT_BYTES
    }

    /// The slot's bytes.
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(ENCODED + 4);
        out.put_slice(MAGIC);
        out.put_slice(&self.log_id.0);
        out.put_u64_le(self.durable.0);
        out.put_u64_le(self.batch.0);
        out.put_slice(&self.digest.0);
        out.put_u64_le(self.hlc.0);
        out.put_u64_le(self.counter);
        let crc = crc32c(&out);
        out.put_u32_le(crc);
        out.freeze()
    }

    fn decode_slot(slot: &[u8]) -> Option<Self> {
        let covered = slot.get(..ENCODED)?;
        let mut fields = Fields(slot);
        let magic = fields.array::<8>()?;
        let found = Self {
            log_id: LogId(fields.array()?),
            durable: Position(fields.u64()?),
            batch: BatchSeq(fields.u64()?),
            digest: BatchDigest(fields.array()?),
            hlc: Hlc(fields.u64()?),
            counter: fields.u64()?,
        };
        (magic == *MAGIC && fields.u32()? == crc32c(covered)).then_some(found)
    }

    /// The newest valid slot of a file.
    pub fn newest(file: &[u8]) -> Option<Self> {
        let slot_bytes = usize::try_from(SLOT_BYTES).ok()?;
        file.chunks(slot_bytes).take(2).filter_map(Self::decode_slot).max_by_key(|found| found.counter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn checkpoint(counter: u64) -> Checkpoint {
        Checkpoint {
            log_id: LogId([1; 16]),
            durable: Position(counter * 10),
            batch: BatchSeq(3),
            digest: BatchDigest([4; 16]),
            hlc: Hlc(5),
            counter,
        }
    }

    fn file(slots: &[Checkpoint]) -> Vec<u8> {
        let mut file = vec![0; usize::try_from(CHECKPOINT_BYTES).unwrap()];
        for slot in slots {
            let at = usize::try_from(slot.offset()).unwrap();
            let bytes = slot.encode();
            file[at..at + bytes.len()].copy_from_slice(&bytes);
        }
        file
    }

    #[test]
    fn the_newest_of_two_slots_counts_and_a_damaged_one_leaves_the_other() {
        let (old, new) = (checkpoint(6), checkpoint(7));
        let mut both = file(&[old, new]);
        assert_eq!(Checkpoint::newest(&both), Some(new));
        both[4096 + 30] ^= 1;
        assert_eq!(Checkpoint::newest(&both), Some(old));
        assert_eq!(Checkpoint::newest(&file(&[])), None);
        assert_eq!(Checkpoint::newest(&[]), None);
    }

    proptest! {
        #[test]
        fn every_flip_inside_a_slot_is_noticed(at in 0usize..ENCODED + 4, bit in 0u8..8) {
            let mut bytes = file(&[checkpoint(2)]);
            bytes[at] ^= 1 << bit;
            prop_assert_eq!(Checkpoint::newest(&bytes), None);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..9000)) {
            prop_assert_eq!(Checkpoint::newest(&bytes), None);
        }
    }
}
