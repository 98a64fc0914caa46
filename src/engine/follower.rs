//! The thread that makes committed records visible: it runs the projections' follower, commits what comes out, and
//! tells the shards, which then answer.
//!
//! Before: the log's thread, through [`LogOutlet`]. After: [`super::shard`].

use super::observer::Observer;
use super::outcome::Fault;
use super::shard::{Notice, shard_of};
use super::status::Progress;
use crossbeam_channel::{Receiver, Sender};
use siltstone_log::driver::LogSink;
use siltstone_log::host::DiskError;
use siltstone_log::id::{Position, Seq, StreamId};
use siltstone_log::record::Record;
use siltstone_log::writer::{CommittedBatch, WriteRefusal};
use siltstone_projections::store::Store;
use siltstone_projections::{Follower, FollowerEffect, FollowerInput};
use std::sync::Arc;

/// The way to the shards.
#[derive(Clone)]
pub(super) struct ShardNotices(pub(super) Vec<Sender<Notice>>);

impl ShardNotices {
    fn refused(&self, token: u64, reason: WriteRefusal) {
        // Shards deal out tokens so that this finds them.
        let shard = usize::try_from(token % (self.0.len().max(1) as u64)).unwrap_or(0);
        if let Some(notices) = self.0.get(shard) {
            drop(notices.send(Notice::Refused(token, reason)));
        }
    }

    pub(super) fn all(&self, notice: &Notice) {
        for notices in &self.0 {
            drop(notices.send(notice.clone()));
        }
    }
}

/// What the log's thread is given: hands everything on and never waits.
pub(super) struct LogOutlet {
    pub(super) batches: Sender<FollowerCall>,
    pub(super) notices: ShardNotices,
    pub(super) progress: Arc<Progress>,
    pub(super) observer: Arc<dyn Observer>,
}

impl LogSink for LogOutlet {
    fn committed(&mut self, batch: CommittedBatch) {
        self.progress.durable(batch.durable);
        self.observer.committed(&batch.timing, batch.records.len());
        drop(self.batches.send(FollowerCall::Committed(batch.records)));
    }

    fn refused(&mut self, token: u64, reason: WriteRefusal) {
        self.notices.refused(token, reason);
    }

    fn failed(&mut self, error: DiskError) {
        let fault = Fault::Disk(error);
        self.notices.all(&Notice::Failed(fault.clone()));
        self.progress.failed(fault);
    }
}

/// What the follower's thread is told.
pub(super) enum FollowerCall {
    /// Records are durable.
    Committed(Vec<Record>),
    /// Note the position, make it durable, and end.
    Stop,
}

/// What a turn brings.
#[derive(Default)]
struct Committed {
    records: Vec<(StreamId, Seq, Position)>,
    /// Whether doors may remember what one of them changes.
    remembered: bool,
}

/// The follower's thread.
pub(super) struct FollowerThread {
    pub(super) store: Arc<dyn Store>,
    pub(super) follower: Follower,
    pub(super) notices: ShardNotices,
    pub(super) progress: Arc<Progress>,
}

impl FollowerThread {
    pub(super) fn run(mut self, calls: &Receiver<FollowerCall>) {
        let mut stopping = false;
        while !stopping {
            let mut records = Vec::new();
            let first = calls.recv().unwrap_or(FollowerCall::Stop);
            for call in std::iter::once(first).chain(calls.try_iter()) {
                match call {
                    FollowerCall::Committed(more) if records.is_empty() => records = more,
                    FollowerCall::Committed(more) => records.extend(more),
                    FollowerCall::Stop => stopping = true,
                }
            }
            let committed: Vec<_> =
                records.iter().map(|record| (record.stream, record.seq, record.place.position)).collect();
            let remembered = records.iter().any(|record| record.stream == StreamId::SYSTEM);
            if !records.is_empty() {
                self.feed(FollowerInput::Records(records), &Committed { records: committed, remembered });
            }
        }
        self.feed(FollowerInput::Flush, &Committed::default());
        if let Err(error) = self.store.sync() {
            // The next start applies from the log what did not get there.
            tracing::warn!(%error, "cannot sync the projections");
        }
    }

    fn feed(&mut self, input: FollowerInput, committed: &Committed) {
        let mut effects = Vec::new();
        self.follower.handle(&*self.store, input, &mut effects);
        let mut failure = None;
        for effect in effects {
            match effect {
                FollowerEffect::Commit(batch) if failure.is_none() => {
                    failure = self.store.commit(batch).err();
                }
                FollowerEffect::Applied(position) if failure.is_none() => self.applied(position, committed),
                // ORDER: what was not committed is not visible, nor is anything after it.
                FollowerEffect::Commit(_) | FollowerEffect::Applied(_) => {}
                FollowerEffect::Stuck(stuck) => self.stuck(stuck.to_string()),
            }
        }
        if let Some(error) = failure {
            self.follower.handle(&*self.store, FollowerInput::CommitFailed(error.clone()), &mut Vec::new());
            self.stuck(error.to_string());
        }
    }

    fn applied(&self, position: Position, committed: &Committed) {
        if committed.remembered {
            // ORDER: after the rows are there and before anybody hears of it, so that whoever was told that a key is
            // suspended never sees it work again.
            self.progress.changes.note();
        }
        let shards = self.notices.0.len();
        let mut visible = vec![Vec::new(); shards];
        for record in committed.records.iter().filter(|(_, _, at)| *at <= position) {
            if let Some(list) = visible.get_mut(shard_of(record.0, shards)) {
                list.push(*record);
            }
        }
        for (notices, visible) in self.notices.0.iter().zip(visible) {
            if !visible.is_empty() {
                drop(notices.send(Notice::Visible(visible)));
            }
        }
        self.progress.applied(position);
    }

    fn stuck(&self, reason: String) {
        tracing::error!(%reason, "the projections stopped; reads show the state before that");
        let fault = Fault::Projection(reason);
        self.notices.all(&Notice::Failed(fault.clone()));
        self.progress.stuck(fault);
    }
}
