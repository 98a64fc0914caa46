//! The engine's threads: each owns the tasks of the streams that fall to it.
//!
//! Thin: receives, calls [`StreamTask::handle`], carries out what it wants.

use super::command::Command;
use super::content::BlobKeeper;
use super::outcome::{EngineError, Fault, Receipt, Unavailable};
use super::stream_task::{Refusal, StreamTask, TaskEffect, TaskInput};
use crossbeam_channel::{Receiver, Sender, never, select_biased};
use siltstone_log::driver::LogClient;
use siltstone_log::hlc::HlcClock;
use siltstone_log::host::Clock;
use siltstone_log::id::{Epoch, Position, Seq, StreamId};
use siltstone_log::writer::WriteRefusal;
use siltstone_projections::store::Store;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::oneshot;

/// Commands decided before the notices are looked at again.
const MAX_DRAINED: usize = 256;

/// The result of a command, as its submitter hears it.
pub(super) type CommandResult = Result<Receipt, EngineError>;

/// Who waits for a command.
pub(super) enum ReplyTo {
    /// An async caller.
    Task(oneshot::Sender<CommandResult>),
    /// A thread.
    Thread(Sender<CommandResult>),
    /// Nobody.
    Nobody,
}

impl ReplyTo {
    fn send(self, result: CommandResult) {
        // A caller that went away does not hear its answer; what was decided stays decided.
        match self {
            Self::Task(reply) => drop(reply.send(result)),
            Self::Thread(reply) => drop(reply.send(result)),
            Self::Nobody => {}
        }
    }
}

/// A command on its way to its stream's task.
pub(super) struct Call {
    pub(super) command: Box<Command>,
    pub(super) reply: ReplyTo,
}

/// What the log and the follower tell a shard.
#[derive(Debug, Clone)]
pub(super) enum Notice {
    /// These records of the shard's streams are durable and applied, in order.
    Visible(Vec<(StreamId, Seq, Position)>),
    /// A submission is not in the log.
    Refused(u64, WriteRefusal),
    /// Nothing more will be visible.
    Failed(Fault),
    /// Answer what is under way, then end.
    Stop,
}

/// Which shard a stream falls to. Stream ids are random, so any of their bytes will do.
pub(super) fn shard_of(stream: StreamId, shards: usize) -> usize {
    let (head, _) = stream.0.split_first_chunk::<8>().unwrap_or((&[0; 8], &[]));
    usize::try_from(u64::from_le_bytes(*head) % (shards.max(1) as u64)).unwrap_or(0)
}

/// What all shards share.
#[derive(Clone)]
pub(super) struct ShardContext {
    pub(super) store: Arc<dyn Store>,
    pub(super) log: LogClient,
    pub(super) blobs: Arc<BlobKeeper>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) hlc: Arc<Mutex<HlcClock>>,
    pub(super) epoch: Epoch,
    /// The most commands of a shard under way.
    pub(super) in_flight: usize,
}

/// One shard.
pub(super) struct Shard {
    context: ShardContext,
    /// The last record of each stream that has no task at the moment.
    heads: BTreeMap<StreamId, Seq>,
    tasks: BTreeMap<StreamId, StreamTask>,
    replies: BTreeMap<u64, ReplyTo>,
    next_token: u64,
    token_step: u64,
    failed: Option<Fault>,
    asked_to_stop: bool,
    /// Nothing is decided any more.
    stopping: bool,
    effects: Vec<TaskEffect>,
}

impl Shard {
    /// Shard `index` of `count`. `heads` are the last records of its streams.
    pub(super) fn new(
        context: ShardContext,
        heads: BTreeMap<StreamId, Seq>,
        index: usize,
        count: usize,
    ) -> Self {
        Self {
            // A token's remainder by the number of shards names the shard.
            next_token: index as u64,
            token_step: count as u64,
            context,
            heads,
            tasks: BTreeMap::new(),
            replies: BTreeMap::new(),
            failed: None,
            asked_to_stop: false,
            stopping: false,
            effects: Vec::new(),
        }
    }

    /// Runs until told to stop and everything under way is answered.
    pub(super) fn run(mut self, mut calls: Receiver<Call>, notices: &Receiver<Notice>) {
        while !self.stopping || !self.replies.is_empty() {
            select_biased! {
                recv(notices) -> notice => match notice {
                    Ok(notice) => self.notice(notice),
                    // Nobody is left who could make anything visible.
                    Err(_) => return,
                },
                recv(calls) -> call => if let Ok(call) = call {
                    self.call(call);
                } else {
                    self.asked_to_stop = true;
                    calls = never();
                },
            }
            // Everything that waits is decided before the thread sleeps again, so that the writer finds it together.
            for notice in notices.try_iter() {
                self.notice(notice);
            }
            // What was handed in before the word to stop is still decided.
            let most = if self.asked_to_stop { calls.len() } else { MAX_DRAINED };
            for call in calls.try_iter().take(most) {
                self.call(call);
            }
            self.stopping = self.asked_to_stop;
        }
        for call in calls.try_iter() {
            call.reply.send(Err(Unavailable::ShuttingDown.into()));
        }
    }

    fn call(&mut self, call: Call) {
        let Call { command, reply } = call;
        if let Some(fault) = &self.failed {
            return reply.send(Err(fault.clone().into()));
        }
        if self.stopping {
            return reply.send(Err(Unavailable::ShuttingDown.into()));
        }
        if self.replies.len() >= self.context.in_flight {
            return reply.send(Err(Unavailable::SlowDown.into()));
        }
        let token = self.next_token;
        self.next_token += self.token_step;
        self.replies.insert(token, reply);
        let now = {
            let mut hlc = self.context.hlc.lock().unwrap_or_else(PoisonError::into_inner);
            hlc.tick(self.context.clock.wall_millis())
        };
        let stream = command.stream();
        self.feed(stream, TaskInput::Command { token, command, now });
    }

    fn notice(&mut self, notice: Notice) {
        match notice {
            Notice::Visible(records) => {
                for (stream, seq, position) in records {
                    self.feed(stream, TaskInput::Visible { seq, position });
                }
            }
            Notice::Refused(token, reason) => self.refused(token, Refusal::Writer(reason)),
            Notice::Failed(fault) => {
                self.failed = Some(fault.clone());
                let streams: Vec<StreamId> = self.tasks.keys().copied().collect();
                for stream in streams {
                    self.feed(stream, TaskInput::Failed(fault.clone()));
                }
            }
            Notice::Stop => self.asked_to_stop = true,
        }
    }

    fn refused(&mut self, token: u64, reason: Refusal) {
        // Refusals are rare, so nothing is kept to find the stream by: the tasks are asked.
        let owner = self.tasks.iter().find(|(_, task)| task.has(token)).map(|(stream, _)| *stream);
        if let Some(stream) = owner {
            self.feed(stream, TaskInput::Refused { token, reason });
        }
    }

    fn feed(&mut self, stream: StreamId, input: TaskInput) {
        let mut effects = std::mem::take(&mut self.effects);
        let task = self.tasks.entry(stream).or_insert_with(|| {
            let last = self.heads.get(&stream).copied().unwrap_or_default();
            StreamTask::new(stream, last, self.context.epoch)
        });
        task.handle(&*self.context.store, input, &mut effects);
        if task.is_idle() {
            self.heads.insert(stream, task.last());
            self.tasks.remove(&stream);
        }
        let mut busy = Vec::new();
        for effect in effects.drain(..) {
            match effect {
                TaskEffect::Submit(submission) => {
                    if let Err(submission) = self.context.log.try_submit(submission) {
                        busy.push(submission.token);
                    }
                }
                TaskEffect::Answer { token, result } => {
                    if let Some(reply) = self.replies.remove(&token) {
                        reply.send(result);
                    }
                }
                TaskEffect::Free(blobs) => blobs.iter().for_each(|blob| self.context.blobs.free(*blob)),
            }
        }
        self.effects = effects;
        for token in busy {
            self.refused(token, Refusal::Busy);
        }
    }
}
