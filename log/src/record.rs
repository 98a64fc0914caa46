//! Records: what is submitted to the log, and what is read back from it.
//!
//! A record has a node-independent part (stream, sequence number, time, epoch, type, schema, and the hashes of body
//! and content), which the chain covers, and a node-local one (position, [`Place`], lengths on disk). Body and
//! content are salted apart, so that either can be destroyed later and the chain still verifies.
//!
//! Next hop: the writer, which frames drafts into batches.

use crate::event::{Body, DecodeError, EventKind};
use crate::hlc::Hlc;
use crate::id::{Epoch, Hash, Position, Salt, Seq, StreamId};
use bytes::{BufMut, Bytes, BytesMut};

/// Bytes with their salt in front, and their hash: `blake3(salt ‖ bytes)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Salted {
    /// The salt, then the bytes: as they stand on disk.
    pub bytes: Bytes,
    /// BLAKE3 of all of it.
    pub hash: Hash,
}

impl Salted {
    /// Salts and hashes bytes.
    pub fn new(salt: Salt, bytes: &[u8]) -> Self {
        let mut salted = BytesMut::with_capacity(Salt::LEN + bytes.len());
        salted.put_slice(&salt.0);
        salted.put_slice(bytes);
        Self::from_salted(salted.freeze())
    }

    /// Hashes bytes that have their salt in front already.
    pub fn from_salted(bytes: Bytes) -> Self {
        let hash = Hash(*blake3::hash(&bytes).as_bytes());
        Self { bytes, hash }
    }
}

/// The content part of a record to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DraftContent {
    /// The event has no bytes of its own.
    None,
    /// The bytes go into the record.
    Inline(Salted),
    /// The bytes lie in packs, durable already; the hash is `blake3(salt ‖ bytes)` with the blob's own salt.
    Blob(Hash),
}

/// A record as the stream task hands it to the writer, which adds position and chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordDraft {
    /// The stream it belongs to.
    pub stream: StreamId,
    /// Its number there: one more than the last.
    pub seq: Seq,
    /// When it was decided.
    pub hlc: Hlc,
    /// The reign it was decided under.
    pub epoch: Epoch,
    /// Type and schema of the event.
    pub kind: EventKind,
    /// Whether a program that does not know the type may pass over it.
    pub ignorable: bool,
    /// The salted, encoded [`Body`].
    pub body: Salted,
    /// The event's bytes.
    pub content: DraftContent,
}

/// Where a record lies on this node. Not part of any digest, and stale after a compaction: a reader that finds
/// another generation looks the position up instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The record's position.
    pub position: Position,
    /// The first position of its segment, which names the file together with the generation.
    pub segment: Position,
    /// The segment's generation.
    pub generation: u16,
    /// Byte offset of the record's header in the file. A segment is at most 512 MiB.
    pub offset: u32,
}

/// A record read back, or just committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Where it lies.
    pub place: Place,
    /// The stream it belongs to.
    pub stream: StreamId,
    /// Its number there.
    pub seq: Seq,
    /// When it was decided.
    pub hlc: Hlc,
    /// The reign it was decided under.
    pub epoch: Epoch,
    /// Type and schema of the event.
    pub kind: EventKind,
    /// Whether an unknown type may be passed over.
    pub ignorable: bool,
    /// The hash that the chain covers.
    pub body_hash: Hash,
    /// The hash that the chain covers; all zero where there is no content.
    pub content_hash: Hash,
    /// The salted body; none where it was erased.
    pub body: Option<Bytes>,
    /// The salted inline content's length on disk; 0 where there is none (any more).
    pub content_len: u64,
    /// The chain's head after this record.
    pub head: Hash,
}

impl Record {
    /// Decodes the body. `None` where it was erased.
    pub fn decode(&self) -> Option<Result<Body, DecodeError>> {
        let salted = self.body.as_ref()?;
        Some(Body::decode(self.kind, salted.get(Salt::LEN..).unwrap_or_default()))
    }
}
