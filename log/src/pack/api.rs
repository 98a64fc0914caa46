//! What goes into the pack writer and what comes out.
//!
//! Next hop: [`super::writer`].

use super::MAX_EXTENT;
use super::place::{BlobPlace, ExtentPlace};
use crate::host::{Completion, DiskError, DiskOp, Ticket};
use crate::id::BlobId;

/// Sizes of packs. Tiny ones are for simulation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackConfig {
    /// Bytes allocated for each pack: a multiple of a page, room for at least one extent.
    pub pack_bytes: u64,
    /// The most content bytes in one extent: at most [`MAX_EXTENT`].
    pub extent_bytes: u32,
    /// What the allocation of a pack leaves free on the volume, for the projections and for what makes room.
    pub leave_free: u64,
}

impl Default for PackConfig {
    fn default() -> Self {
        Self { pack_bytes: 256 * 1024 * 1024, extent_bytes: MAX_EXTENT, leave_free: 0 }
    }
}

/// What the pack writer is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PackInput {
    /// A blob needs room for up to this many more content bytes.
    Reserve {
        /// The blob.
        blob: BlobId,
        /// Content bytes; the answer may hold fewer.
        bytes: u32,
    },
    /// Every write of a blob has returned, headers included.
    Finish {
        /// The blob.
        blob: BlobId,
        /// Where it lies: extents that were reserved for it, none longer than reserved.
        place: BlobPlace,
    },
    /// A blob will not be finished: its space is given back.
    Abandon {
        /// The blob.
        blob: BlobId,
    },
    /// A blob is not needed any more (the record that says so is durable, or none ever named it).
    Free {
        /// The blob.
        blob: BlobId,
        /// Where it lies.
        place: BlobPlace,
    },
    /// A write of content, done elsewhere, failed.
    WriteFailed(DiskError),
    /// An operation of ours is done.
    Disk(Completion),
    /// No more requests: seal what is open and end.
    Stop,
}

/// Why a blob was refused. Nothing of it is durable; its owner abandons it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PackRefusal {
    /// There is no space for another pack.
    #[error("no space left for content")]
    NoSpace,
    /// The system has no descriptor left for another pack. It passes.
    #[error("content storage cannot open its next file for now")]
    Busy,
    /// A write or sync failed before: nothing is durable any more.
    #[error("content storage has failed")]
    Failed,
    /// The writer is stopping.
    #[error("content storage is stopping")]
    Stopping,
    /// The place does not agree with what was reserved.
    #[error("the blob lies outside what was reserved for it")]
    NotReserved,
}

/// What the pack writer wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PackEffect {
    /// Execute this. Operations under way may complete in any order.
    Disk(Ticket, DiskOp),
    /// Room for a blob.
    Reserved {
        /// The blob.
        blob: BlobId,
        /// Where; `data_len` is the most it may hold.
        extent: ExtentPlace,
    },
    /// A blob is durable: put it into the index, then tell its owner.
    Durable {
        /// The blob.
        blob: BlobId,
        /// Where it lies.
        place: BlobPlace,
    },
    /// A blob's last request is refused.
    Refused {
        /// The blob.
        blob: BlobId,
        /// Why.
        reason: PackRefusal,
    },
    /// A freed blob's space is given back: remove it from the index.
    Freed {
        /// The blob.
        blob: BlobId,
    },
    /// A pack is complete and durable; all its blobs were reported before: mark it as indexed. One that holds nothing
    /// is not reported.
    Sealed {
        /// The pack.
        pack: u32,
    },
    /// A write or sync failed. Nothing is reported durable after this.
    Failed(DiskError),
    /// Ended: no operation is under way.
    Stopped,
}
