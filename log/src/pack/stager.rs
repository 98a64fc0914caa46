//! Cuts a body into pieces with their place in packs, and hashes them. Pure: no I/O, no waiting.
//!
//! Cutting and hashing are two objects, so that a piece can be hashed on one thread while it is written on another:
//!
//! ```text
//! push(bytes) ─► step() ─► Feed                 more bytes, or end()
//!                       ─► Reserve { bytes }    ask the pack writer, then extent(place)
//!                       ─► Piece(piece)         execute piece.ops(); hasher.update(&piece) gives the header to write
//!                       ─► Done
//! ```

use super::format::{BlobEnd, ExtentHeader, ExtentInfo};
use super::place::{BlobPlace, ExtentPlace};
use super::{BLOCK, pack_file};
use crate::host::{DiskOp, FilePath};
use crate::id::{BlobId, Hash, LogId, Salt};
use bytes::{Bytes, BytesMut};
use crc_fast::{CrcAlgorithm, Digest};
use std::collections::VecDeque;

/// Bytes of content written at once: whole blocks.
pub const PIECE: u32 = 4 * BLOCK;
/// Writing out begins after this much, so that the sync at the end has little left to do.
const WRITEBACK: u32 = 1024 * 1024;
/// Smaller chunks are copied together: a client that sends single bytes must not cost a buffer for each.
const WORTH_KEEPING: usize = 16 * 1024;

/// What a [`BlobStager`] wants next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StagerStep {
    /// More bytes, or the word that there are none.
    Feed,
    /// Room for this many content bytes, then [`BlobStager::extent`] with what was given (which may be less).
    Reserve {
        /// Content bytes.
        bytes: u32,
    },
    /// Write this, and show it to the [`BlobHasher`].
    Piece(Piece),
    /// Nothing: all bytes are cut.
    Done,
}

/// Whether something ends with a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PieceEnd {
    /// No: the extent goes on.
    More,
    /// The extent does, the blob goes on.
    Extent,
    /// The blob does.
    Blob,
}

/// Bytes and where they go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    file: FilePath,
    extent: ExtentPlace,
    at: u32,
    len: u32,
    data: Vec<Bytes>,
    end: PieceEnd,
}

impl Piece {
    /// The content bytes, in order.
    pub fn data(&self) -> &[Bytes] {
        &self.data
    }

    /// What ends with it.
    pub fn end(&self) -> PieceEnd {
        self.end
    }

    /// The operations that write it: nothing for the empty piece of an empty blob.
    pub fn ops(&self) -> Vec<DiskOp> {
        let mut ops = Vec::with_capacity(2);
        if self.len > 0 {
            let offset = self.extent.data_offset() + u64::from(self.at);
            ops.push(DiskOp::Write { file: self.file.clone(), offset, data: self.data.clone() });
        }
        let stop = self.at + self.len;
        if self.len > 0 && stop.is_multiple_of(WRITEBACK) {
            let start = stop - WRITEBACK;
            let offset = self.extent.data_offset() + u64::from(start);
            ops.push(DiskOp::StartWriteback { file: self.file.clone(), offset, len: WRITEBACK.into() });
        }
        ops
    }
}

struct OpenExtent {
    file: FilePath,
    place: ExtentPlace,
    filled: u32,
}

/// Cuts the bytes of one blob. Holds less than one piece and the chunk that was pushed last.
pub struct BlobStager {
    extent_bytes: u32,
    declared: Option<u64>,
    cut: u64,
    buffer: ChunkBuffer,
    extent: Option<OpenExtent>,
    ended: bool,
    done: bool,
}

impl BlobStager {
    /// Begins a blob. `declared` is the length the client announced: with it the space is reserved to the byte;
    /// it is not enforced here. `extent_bytes` is [`super::PackConfig::extent_bytes`].
    pub fn new(extent_bytes: u32, declared: Option<u64>) -> Self {
        let buffer = ChunkBuffer::default();
        Self { extent_bytes, declared, cut: 0, buffer, extent: None, ended: false, done: false }
    }

    /// Takes content bytes. Call [`BlobStager::step`] until it wants to be fed before pushing more, so that the
    /// buffer stays small.
    pub fn push(&mut self, bytes: Bytes) {
        self.buffer.push(bytes);
    }

    /// Says that there are no more bytes.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// Content bytes pushed so far.
    pub fn len(&self) -> u64 {
        self.cut + self.buffer.len as u64
    }

    /// Whether nothing was pushed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes the room that [`StagerStep::Reserve`] asked for.
    pub fn extent(&mut self, place: ExtentPlace) {
        self.extent = Some(OpenExtent { file: pack_file(place.pack), place, filled: 0 });
    }

    /// What to do next.
    pub fn step(&mut self) -> StagerStep {
        if self.done {
            return StagerStep::Done;
        }
        // A full piece waits for one more byte: only then is it known not to be the blob's last.
        if !self.ended && self.buffer.len <= PIECE as usize {
            return StagerStep::Feed;
        }
        let Some(extent) = &mut self.extent else {
            return StagerStep::Reserve { bytes: self.wanted() };
        };
        let room = extent.place.data_len.saturating_sub(extent.filled).min(PIECE);
        let len = u32::try_from(self.buffer.len).unwrap_or(u32::MAX).min(room);
        let at = extent.filled;
        extent.filled += len;
        let end = if self.ended && self.buffer.len == len as usize {
            PieceEnd::Blob
        } else if extent.filled == extent.place.data_len {
            PieceEnd::Extent
        } else {
            PieceEnd::More
        };
        let (file, place) = (extent.file.clone(), ExtentPlace { data_len: extent.filled, ..extent.place });
        self.cut += u64::from(len);
        if end != PieceEnd::More {
            self.extent = None;
        }
        self.done = end == PieceEnd::Blob;
        StagerStep::Piece(Piece { file, extent: place, at, len, data: self.buffer.take(len as usize), end })
    }

    fn wanted(&self) -> u32 {
        let buffered = self.buffer.len as u64;
        let left = match self.declared {
            _ if self.ended => buffered,
            Some(declared) => declared.saturating_sub(self.cut).max(buffered),
            None => u64::MAX,
        };
        u32::try_from(left).unwrap_or(u32::MAX).min(self.extent_bytes)
    }
}

/// Chunks as they came, small ones copied together.
#[derive(Default)]
struct ChunkBuffer {
    chunks: VecDeque<Bytes>,
    small: BytesMut,
    len: usize,
}

impl ChunkBuffer {
    fn push(&mut self, bytes: Bytes) {
        self.len += bytes.len();
        if bytes.len() < WORTH_KEEPING {
            self.small.extend_from_slice(&bytes);
        } else {
            self.gather();
            self.chunks.push_back(bytes);
        }
    }

    fn gather(&mut self) {
        if !self.small.is_empty() {
            self.chunks.push_back(self.small.split().freeze());
        }
    }

    fn take(&mut self, len: usize) -> Vec<Bytes> {
        self.gather();
        let mut taken = Vec::with_capacity(self.chunks.len());
        let mut missing = len;
        while missing > 0
            && let Some(mut chunk) = self.chunks.pop_front()
        {
            if chunk.len() > missing {
                let rest = chunk.split_off(missing);
                self.chunks.push_front(rest);
            }
            missing -= chunk.len();
            taken.push(chunk);
        }
        self.len -= len - missing;
        taken
    }
}

/// What a piece completed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hashed {
    /// Nothing yet.
    More,
    /// An extent, whose header is to be written with this operation.
    Extent(DiskOp),
    /// The blob: its last header, and where it lies. When every operation has been executed, the blob is finished
    /// ([`super::PackInput::Finish`]).
    Blob(DiskOp, BlobPlace),
}

/// Hashes the pieces of one blob in order and makes the extents' headers.
pub struct BlobHasher {
    log_id: LogId,
    blob: BlobId,
    salt: Salt,
    hasher: blake3::Hasher,
    hashed: u64,
    blocks: Vec<u32>,
    extents: Vec<ExtentPlace>,
}

impl BlobHasher {
    /// Begins a blob. The salt is drawn for this blob alone.
    pub fn new(log_id: LogId, blob: BlobId, salt: Salt) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&salt.0);
        Self { log_id, blob, salt, hasher, hashed: 0, blocks: Vec::new(), extents: Vec::new() }
    }

    /// Takes the next piece.
    pub fn update(&mut self, piece: &Piece) -> Hashed {
        for chunk in &piece.data {
            self.hasher.update(chunk);
        }
        block_checksums(&piece.data, &mut self.blocks);
        match piece.end {
            PieceEnd::More => Hashed::More,
            PieceEnd::Extent => Hashed::Extent(self.header(piece, None)),
            PieceEnd::Blob => {
                let hash = Hash(*self.hasher.finalize().as_bytes());
                let len = self.hashed + u64::from(piece.extent.data_len);
                let op = self.header(piece, Some(BlobEnd { total_len: len, hash }));
                let extents = std::mem::take(&mut self.extents);
                Hashed::Blob(op, BlobPlace { len, salt: self.salt, hash, extents })
            }
        }
    }

    fn header(&mut self, piece: &Piece, end: Option<BlobEnd>) -> DiskOp {
        let info = ExtentInfo {
            blob: self.blob,
            salt: self.salt,
            index: u32::try_from(self.extents.len()).unwrap_or(u32::MAX),
            blob_offset: self.hashed,
            place: piece.extent,
            end,
        };
        self.hashed += u64::from(piece.extent.data_len);
        self.extents.push(piece.extent);
        let header = ExtentHeader { info, blocks: std::mem::take(&mut self.blocks) };
        let data = vec![header.encode(self.log_id)];
        DiskOp::Write { file: piece.file.clone(), offset: piece.extent.offset, data }
    }
}

/// Appends the checksum of each block of bytes that begin at a block's start.
fn block_checksums(data: &[Bytes], out: &mut Vec<u32>) {
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    let mut filled = 0;
    let mut close = |digest: &mut Digest| {
        let crc = digest.finalize_reset() & u64::from(u32::MAX);
        out.push(u32::try_from(crc).unwrap_or_default());
    };
    for chunk in data {
        let mut rest: &[u8] = chunk;
        while !rest.is_empty() {
            let (part, after) = rest.split_at_checked(BLOCK as usize - filled).unwrap_or((rest, &[]));
            digest.update(part);
            filled += part.len();
            rest = after;
            if filled == BLOCK as usize {
                close(&mut digest);
                filled = 0;
            }
        }
    }
    if filled > 0 {
        close(&mut digest);
    }
}
