//! Packs as a whole: staging, writing, crashing, recovering, reading.

mod crash_disk;
mod damage;
mod driver;
mod format;
mod staging;
mod world;

use super::format::extents_of;
use super::reader::{BlobDamage, BlobReader};
use super::recovery::{PackRecoveryError, RecoveredPacks, recover_packs};
use super::stager::{BlobHasher, BlobStager, Hashed, StagerStep};
use super::{BlobIndex, BlobPlace, ExtentPlace, MemoryBlobIndex, pack_file};
use crate::host::mem::MemDisk;
use crate::host::{DiskOp, DiskReply};
use crate::id::{BlobId, LogId, Salt};
use crate::script::Script;
use bytes::Bytes;
use std::ops::Range;
use std::sync::Arc;

const LOG: LogId = LogId([7; 16]);

/// A sequence of numbers from a seed (SplitMix64).
#[derive(Clone)]
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.roll() % limit as u64).unwrap()
    }

    fn coin(&mut self) -> bool {
        self.roll() & 1 == 1
    }

    fn bytes(&mut self, len: usize) -> Bytes {
        let mut out = Vec::with_capacity(len + 8);
        while out.len() < len {
            out.extend_from_slice(&self.roll().to_le_bytes());
        }
        out.truncate(len);
        out.into()
    }
}

fn index(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap()
}

fn blob_id(number: u64) -> BlobId {
    let mut id = [0xb1; 16];
    id[..8].copy_from_slice(&number.to_le_bytes());
    BlobId(id)
}

/// Stages a blob of chunks into extents laid one after the other from `start` in pack 1.
fn stage(blob: BlobId, chunks: &[Bytes], declared: Option<u64>, start: u64) -> (Vec<DiskOp>, BlobPlace) {
    stage_by(BlobStager::new(super::MAX_EXTENT, declared), blob, chunks, start)
}

fn stage_by(mut stager: BlobStager, blob: BlobId, chunks: &[Bytes], start: u64) -> (Vec<DiskOp>, BlobPlace) {
    let mut hasher = BlobHasher::new(LOG, blob, Salt([9; 16]));
    let mut chunks = chunks.iter();
    let (mut ops, mut next) = (Vec::new(), start);
    loop {
        match stager.step() {
            StagerStep::Feed => match chunks.next() {
                Some(chunk) => stager.push(chunk.clone()),
                None => stager.end(),
            },
            StagerStep::Reserve { bytes } => {
                let extent = ExtentPlace { pack: 1, offset: next, data_len: bytes };
                next = extent.end();
                stager.extent(extent);
            }
            StagerStep::Piece(piece) => {
                ops.extend(piece.ops());
                match hasher.update(&piece) {
                    Hashed::More => {}
                    Hashed::Extent(header) => ops.push(header),
                    Hashed::Blob(header, place) => {
                        ops.push(header);
                        assert_eq!(stager.step(), StagerStep::Done);
                        return (ops, place);
                    }
                }
            }
            StagerStep::Done => unreachable!("the last piece comes first"),
        }
    }
}

/// Cuts content into chunks of random sizes.
fn chunked(content: &Bytes, dice: &mut Dice, largest: usize) -> Vec<Bytes> {
    let mut rest = content.clone();
    let mut chunks = Vec::new();
    while !rest.is_empty() {
        let len = (1 + dice.below(largest)).min(rest.len());
        chunks.push(rest.split_to(len));
    }
    chunks
}

fn read_blob(
    disk: &MemDisk,
    blob: BlobId,
    place: &BlobPlace,
    range: Range<u64>,
) -> Result<Vec<u8>, BlobDamage> {
    let mut reader = BlobReader::new(LOG, blob, place, range);
    let mut out = Vec::new();
    while let Some(op) = reader.next_read() {
        let bytes = match disk.execute(&op) {
            Ok(DiskReply::Data(bytes)) => bytes,
            // A file that is not there is one that is too short.
            _ => Bytes::new(),
        };
        out.extend(reader.accept(bytes)?.into_iter().flatten());
    }
    Ok(out)
}

fn recover(disk: &MemDisk, index: &Arc<MemoryBlobIndex>) -> Result<RecoveredPacks, PackRecoveryError> {
    let index: Arc<dyn BlobIndex> = index.clone();
    Script::new(|io| recover_packs(io, LOG, index)).run(&mut disk.clone())
}

/// A disk with pack 1, unsealed, holding what the operations write.
fn pack_with(ops: &[DiskOp], len: u64) -> MemDisk {
    let disk = MemDisk::new();
    let header = super::format::encode_pack_header(LOG, 1);
    disk.execute(&DiskOp::Create { file: pack_file(1), len, leave_free: 0 }).unwrap();
    disk.execute(&DiskOp::Write { file: pack_file(1), offset: 0, data: vec![header] }).unwrap();
    for op in ops {
        disk.execute(op).unwrap();
    }
    disk
}
