//! Recovery: what a data directory holds after a stop of any kind, and the few changes that make it safe to go on.
//!
//! [`plan`] reads and decides, and changes nothing; its value can be printed. [`apply`] does what it says. A torn tail
//! (an append that a crash interrupted, of which nobody was told) is told from rot (damage to something that may have
//! been acknowledged): the former is dropped, the latter goes into quarantine and is never cut off.

mod apply;
mod plan;
mod streams;
#[cfg(test)]
mod tests;

pub use apply::apply;
pub use plan::{RecoveryPlan, RecoveryStep, plan};
pub(crate) use streams::Streams;

use crate::hlc::Hlc;
use crate::host::DiskError;
use crate::id::{BatchDigest, BatchSeq, Head, LogId, NodeId, Position, StreamId};
use crate::script::Io;
use crate::segment::{SegmentInfo, SegmentName};
use crate::witness::QuarantinedRange;
use std::collections::BTreeMap;

/// What recovery is told from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecoveryConfig {
    /// The log's id: given to an empty directory, and expected of any other.
    pub log_id: LogId,
    /// The node's id, likewise.
    pub node_id: NodeId,
    /// A position that something else knows to have been durable: what a projection has applied. It tells a rotten last
    /// batch from a torn one.
    pub projection_witness: Option<Position>,
}

/// What recovery found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// The log's id.
    pub log_id: LogId,
    /// The node's id.
    pub node_id: NodeId,
    /// The last record of each stream.
    pub heads: BTreeMap<StreamId, Head>,
    /// The segments, in order of position, without the one that the writer will create.
    pub segments: Vec<SegmentInfo>,
    /// The position the next record gets.
    pub next_position: Position,
    /// The number the next batch gets.
    pub next_batch: BatchSeq,
    /// The number the next segment gets.
    pub next_segment: u64,
    /// The last batch's digest.
    pub last_digest: BatchDigest,
    /// The newest instant in the log.
    pub max_hlc: Hlc,
    /// The newest checkpoint's counter.
    pub checkpoint_counter: u64,
    /// Whether the last stop was a clean one.
    pub clean: bool,
    /// An interrupted append that was dropped.
    pub tail_discarded: Option<DiscardedTail>,
    /// What cannot be read.
    pub quarantine: Vec<QuarantinedRange>,
    /// What was found damaged without loss of a record: headers, footers, witnesses.
    pub notes: Vec<String>,
}

/// An interrupted append that nobody had been told about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiscardedTail {
    /// The position its first record would have had.
    pub first: Position,
    /// Bytes up to the last one that was not zero.
    pub bytes: u64,
}

/// Why recovery cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecoveryError {
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A segment in a format this program cannot read.
    #[error("{segment} needs a program that reads log format {needed}; this one reads up to {known}")]
    NeedsVersion {
        /// The segment.
        segment: SegmentName,
        /// What it needs.
        needed: u16,
        /// What this program reads.
        known: u16,
    },
    /// A segment of another log or node.
    #[error("{segment} belongs to log {found}, not to {expected}")]
    ForeignLog {
        /// The segment.
        segment: SegmentName,
        /// Its log.
        found: LogId,
        /// Ours.
        expected: LogId,
    },
    /// Something has seen records of a log that is not there.
    #[error("the log is empty, but position {witness} is known to have been durable")]
    LogMissing {
        /// The position.
        witness: Position,
    },
    /// Two segments claim the same positions.
    #[error("{segment} begins at a position that belongs to the segment before it")]
    Overlap {
        /// The later one.
        segment: SegmentName,
    },
    /// A copy of a segment does not hold what was read of the segment. The copy counts for nothing, and the segment is as
    /// it was.
    #[error(
        "{to} does not hold what was read of {from}: the disk reads or writes other bytes; nothing was removed"
    )]
    CopyDiffers {
        /// The segment.
        from: SegmentName,
        /// Its copy.
        to: SegmentName,
    },
    /// A segment has been copied as often as its name can count.
    #[error("{segment} has no further generation")]
    GenerationsExhausted {
        /// The segment.
        segment: SegmentName,
    },
}

/// Plans and applies a recovery.
pub async fn recover(io: Io, config: RecoveryConfig) -> Result<Recovered, RecoveryError> {
    let plan = plan(&io, &config).await?;
    apply(&io, &plan).await?;
    Ok(plan.recovered)
}
