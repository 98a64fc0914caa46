//! What goes into the writer and what comes out of it.

use crate::host::{Completion, DiskError, DiskOp, Ticket};
use crate::id::{Epoch, Head, Position, Seq, StreamId};
use crate::record::{Record, RecordDraft};

/// Records that belong together: all of them are in one batch, or none is in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submission {
    /// Chosen by the submitter; the answer carries it.
    pub token: u64,
    /// Whether it may use the last reserved space (deletes and administration, which make room again).
    pub priority: bool,
    /// The records, in order; at least one.
    pub drafts: Vec<RecordDraft>,
}

/// What the writer is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriterInput {
    /// Records to write.
    Submit(Submission),
    /// A disk operation finished.
    Disk(Completion),
    /// Time passed: at start, and whenever [`super::Writer::wake_at`] is reached.
    Tick,
    /// Write what waits, seal the segment and end. What is submitted afterwards is refused.
    Stop,
}

/// What the writer wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriterEffect {
    /// Do this and report the completion under the ticket.
    Disk(Ticket, DiskOp),
    /// These records are durable.
    Committed(CommittedBatch),
    /// The submission is not in the log and never will be.
    Refused {
        /// Which one.
        token: u64,
        /// Why.
        reason: WriteRefusal,
    },
    /// The disk failed. Nothing is acknowledged any more: what was under way has an unknown outcome, which only a
    /// restart can tell.
    Failed(DiskError),
    /// Everything is written and sealed; nothing more will come.
    Stopped,
}

/// Why a submission was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WriteRefusal {
    /// No space for another segment, and the submission has no right to the reserve (or that is used up too).
    #[error("the log's volume is full")]
    NoSpace,
    /// The system has no descriptor left for another segment. It passes.
    #[error("the log cannot open its next file for now")]
    Busy,
    /// A damaged range may hold records of this stream.
    #[error("stream {0} is in quarantine")]
    Quarantined(StreamId),
    /// The record does not follow the stream's last one.
    #[error("stream {stream} expects record {expected}, not {found}")]
    OutOfOrder {
        /// The stream.
        stream: StreamId,
        /// The number that would have followed.
        expected: Seq,
        /// The draft's number.
        found: Seq,
    },
    /// Empty, or beyond the limits of a record or batch.
    #[error("the submission is empty or exceeds the limits of a record or batch")]
    TooLarge,
    /// The writer failed or is stopping.
    #[error("the log takes no more writes")]
    Failed,
}

/// Records that are durable together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommittedBatch {
    /// The submissions in it, in order.
    pub tokens: Vec<u64>,
    /// Their records, in order of position.
    pub records: Vec<Record>,
    /// The last durable position: that of the last record.
    pub durable: Position,
    /// The heads of the streams it touched, after it.
    pub heads: Vec<(StreamId, Head)>,
    /// How long its steps took.
    pub timing: BatchTiming,
}

/// How long the steps of one group commit took, for the histograms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BatchTiming {
    /// What the oldest submission waited before its batch was built.
    pub queued_nanos: u64,
    /// The write.
    pub write_nanos: u64,
    /// The sync.
    pub sync_nanos: u64,
    /// Bytes on disk, padding included.
    pub bytes: u64,
}

/// The writer's limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriterConfig {
    /// Bytes of a segment: 64 MiB, from 16 KiB (simulation) to 512 MiB.
    pub segment_bytes: u64,
    /// The most records taken into one batch, unless a single submission has more.
    pub batch_records: usize,
    /// The most bytes taken into one batch, unless a single submission has more.
    pub batch_bytes: usize,
    /// How long nothing is written before the marker that proves the last batch durable.
    pub idle_nanos: u64,
    /// The least time between two checkpoints under load.
    pub checkpoint_nanos: u64,
    /// How long after a failed allocation it is tried again.
    pub space_retry_nanos: u64,
    /// What the allocation of a segment leaves free on the volume, for the projections and for what makes room.
    pub leave_free: u64,
    /// Bytes of the segments that are made where there is no space for a whole one, for priority submissions only and
    /// down to the volume's last byte.
    pub reserve_bytes: u64,
    /// The reign under which segments are created.
    pub epoch: Epoch,
}

impl WriterConfig {
    /// The smallest segment.
    pub const MIN_SEGMENT_BYTES: u64 = 16 * 1024;
    /// The largest segment.
    pub const MAX_SEGMENT_BYTES: u64 = 512 * 1024 * 1024;
}

impl Default for WriterConfig {
    fn default() -> Self {
        Self {
            segment_bytes: 64 * 1024 * 1024,
            batch_records: 1024,
            batch_bytes: 4 * 1024 * 1024,
            idle_nanos: 200_000_000,
            checkpoint_nanos: 5_000_000_000,
            space_retry_nanos: 1_000_000_000,
            leave_free: 0,
            reserve_bytes: 1024 * 1024,
            epoch: Epoch(0),
        }
    }
}
