//! The running node: the state machines that the real threads drive, side by side.

use super::client::Phase;
use crate::oracle::OpId;
use crossbeam_channel::Sender;
use siltstone::engine::admission::Admission;
use siltstone::engine::bucket_protocol::{HalfResult, SecondHalf, Unfinished};
use siltstone::engine::history::WindowEnd;
use siltstone::engine::inventory::Inventory;
use siltstone::engine::stream_task::{StreamTask, TaskEffect, TaskInput};
use siltstone::engine::sweep::Sweeper;
use siltstone_log::hlc::HlcClock;
use siltstone_log::id::{BlobId, Epoch, Position, Seq, StreamId};
use siltstone_log::pack::{BlobPlace, PackWriter};
use siltstone_log::recovery::Recovered;
use siltstone_log::writer::{CommittedBatch, Writer};
use siltstone_projections::changes::CursorRow;
use siltstone_projections::rows::Row;
use siltstone_projections::store::{Rows, meta};
use siltstone_projections::{Follower, Space};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Who waits for a command.
#[derive(Debug)]
pub enum Waiter {
    /// A client's operation.
    Client {
        /// The client.
        client: usize,
        /// Its operation.
        op: OpId,
        /// Which half of it.
        phase: Phase,
    },
    /// The server itself: the record of its start.
    Start,
    /// The server itself: the second half of something that a crash interrupted.
    Finish(SecondHalf),
    /// The server itself: a second half that was refused, once more.
    Repeat(Sender<HalfResult>),
    /// The history worker.
    Expire,
}

/// How a part of the node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartState {
    /// It works.
    Running,
    /// A write or sync of its has failed: it may acknowledge nothing any more.
    Failed,
    /// It was told to stop, and did.
    Stopped,
}

/// How far the node has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Life {
    /// Its start is not recorded yet.
    Starting,
    /// Its start is recorded, or was refused.
    Started,
    /// Clients are let in.
    Serving,
    /// It was told to stop.
    Stopping,
}

/// What is running.
pub struct Node {
    /// Group commit.
    pub writer: Writer,
    /// Packs.
    pub packs: PackWriter,
    /// The tasks of streams that were used since the start.
    pub tasks: BTreeMap<StreamId, StreamTask>,
    /// The projections' follower.
    pub follower: Follower,
    /// The node's hybrid clock.
    pub hlc: HlcClock,
    /// Who waits for which command.
    pub waiters: BTreeMap<u64, Waiter>,
    /// Committed, and not applied yet.
    pub committed: VecDeque<CommittedBatch>,
    /// Applied, and the tasks not told of it yet.
    pub applied: VecDeque<Vec<(StreamId, Seq, Position)>>,
    /// What recovery found.
    pub recovered: Recovered,
    /// How the log's writer is.
    pub writer_state: PartState,
    /// How the pack writer is.
    pub packs_state: PartState,
    /// How far the node has come.
    pub life: Life,
    /// When the log's writer is told that time passed.
    pub tick_at: Option<u64>,
    /// Whether the log is between two segments.
    pub rolling: bool,
    /// What is let in.
    pub admission: Arc<Admission>,
    /// Second halves that were refused, to be repeated.
    pub unfinished: Unfinished,
    /// Where the history window ends, from the first look on.
    pub window_end: Option<WindowEnd>,
    /// Readers of each blob: it is given back after the last of them.
    pub readers: BTreeMap<BlobId, usize>,
    /// Blobs to be given back after their last reader.
    pub unwanted: BTreeMap<BlobId, BlobPlace>,
    /// Looks for what nothing names; none once it has ended.
    pub sweeper: Option<Sweeper>,
    /// Looks whether all content is there; begun anew for each look.
    pub inventory: Inventory,
    heads: BTreeMap<StreamId, Seq>,
    /// The last record of each stream whose task was dropped.
    idle: BTreeMap<StreamId, Seq>,
    next_token: u64,
}

impl Node {
    /// Continues what recovery found.
    pub fn new(
        recovered: Recovered,
        writer: Writer,
        packs: PackWriter,
        follower: Follower,
        admission: Arc<Admission>,
        (sweeper, inventory): (Sweeper, Inventory),
    ) -> Self {
        let heads: BTreeMap<StreamId, Seq> =
            recovered.heads.iter().map(|(stream, head)| (*stream, head.seq)).collect();
        Self {
            writer,
            packs,
            tasks: BTreeMap::new(),
            follower,
            hlc: HlcClock::starting_after(recovered.max_hlc),
            waiters: BTreeMap::new(),
            committed: VecDeque::new(),
            applied: VecDeque::new(),
            recovered,
            writer_state: PartState::Running,
            packs_state: PartState::Running,
            life: Life::Starting,
            tick_at: None,
            rolling: false,
            admission,
            unfinished: Unfinished::default(),
            window_end: None,
            readers: BTreeMap::new(),
            unwanted: BTreeMap::new(),
            sweeper: Some(sweeper),
            inventory,
            idle: heads.clone(),
            heads,
            next_token: 1,
        }
    }

    /// Whether the log or the packs failed: the process ends, and nothing is acknowledged meanwhile.
    pub fn has_failed(&self) -> bool {
        self.writer_state == PartState::Failed || self.packs_state == PartState::Failed
    }

    /// The newest durable record of a stream.
    pub fn durable(&self, stream: StreamId) -> Seq {
        self.heads.get(&stream).copied().unwrap_or_default()
    }

    /// Notes that a record is durable.
    pub fn note_durable(&mut self, stream: StreamId, seq: Seq) {
        self.heads.insert(stream, seq);
    }

    /// A token for a command.
    pub fn token(&mut self) -> u64 {
        self.next_token += 1;
        self.next_token
    }

    /// Tells a stream's task something. A task that has nothing left to do is dropped, as a shard does.
    pub fn feed(&mut self, stream: StreamId, rows: &dyn Rows, input: TaskInput, out: &mut Vec<TaskEffect>) {
        let last = self.idle.get(&stream).copied().unwrap_or_default();
        let task = self.tasks.entry(stream).or_insert_with(|| StreamTask::new(stream, last, Epoch(0)));
        task.handle(rows, input, out);
        if task.is_idle() {
            self.idle.insert(stream, task.last());
            self.tasks.remove(&stream);
        }
    }

    /// Whether nothing waits to be committed, applied or answered.
    pub fn is_quiet(&self) -> bool {
        self.waiters.is_empty() && self.committed.is_empty() && self.applied.is_empty()
    }

    /// Whether the log is on its way into another segment.
    pub fn is_rolling(&self) -> bool {
        self.rolling
    }
}

/// The last position that both spaces have applied.
pub fn applied(rows: &dyn Rows) -> Option<Position> {
    Space::ALL.iter().filter_map(|space| Some(meta(rows, *space).ok()?.applied)).max()
}

/// The newest record of a stream that readers of these rows see.
pub fn visible(rows: &dyn Rows, stream: StreamId) -> Seq {
    let cursor = Space::of(stream).and_then(|space| {
        let stored = rows.get(space, &siltstone_projections::changes::cursor_key(stream)).ok()??;
        CursorRow::from_stored(&stored).ok()
    });
    cursor.map_or(Seq(0), |cursor| cursor.0.seq)
}
