//! Carries out what the node's state machines want: what the real drivers do on their threads.

use super::client::Phase;
use super::node::{Life, Node, PartState, Waiter, visible};
use super::{Happening, Owner, World};
use crate::invariants::Violation;
use crate::sometimes::State;
use serde_json::json;
use siltstone::engine::bucket_protocol::unfinished;
use siltstone::engine::command::{Command, StartNode};
use siltstone::engine::outcome::{EngineError, Fault, Receipt};
use siltstone::engine::stream_task::{Refusal, TaskEffect, TaskInput};
use siltstone::engine::{Action, Unavailable};
use siltstone_log::event::{Actor, Door, NodeStarted, TailDiscarded};
use siltstone_log::host::{Completion, DiskError, DiskOp, DiskResult, Ticket};
use siltstone_log::id::{BlobId, Position, Seq, StreamId};
use siltstone_log::pack::{BlobIndex, PackEffect, PackInput};
use siltstone_log::witness::is_refused;
use siltstone_log::writer::{CommittedBatch, WriteRefusal, WriterEffect, WriterInput};
use siltstone_projections::{FollowerEffect, FollowerInput};
use std::sync::PoisonError;

type Checked = Result<(), Violation>;

impl World {
    pub(crate) fn begin_serving(&mut self) -> Checked {
        self.writer_input(WriterInput::Tick)?;
        let Some(node) = &self.node else { return Ok(()) };
        let recovered = &node.recovered;
        let started =
            NodeStarted { node: self.node_id, version: "simulation".to_owned(), clean: recovered.clean };
        let discarded =
            recovered.tail_discarded.map(|tail| TailDiscarded { first: tail.first, bytes: tail.bytes });
        let start = StartNode { started, discarded, canonical_id: "root".to_owned() };
        self.command(Waiter::Start, Actor::server(Door::Recovery), start)?;
        let halves = unfinished(self.store.rows())
            .map_err(|error| Violation::new("projections", error.to_string()))?;
        for half in halves {
            self.command(Waiter::Finish, Actor::server(Door::Recovery), half)?;
        }
        Ok(())
    }

    /// Lets clients in.
    pub(crate) fn let_clients_in(&mut self) {
        if let Some(node) = &mut self.node {
            node.life = Life::Serving;
        }
        self.add_clients();
    }

    /// Hands a command to its stream's task.
    pub(crate) fn command(&mut self, waiter: Waiter, actor: Actor, action: impl Into<Action>) -> Checked {
        let now = self.tick();
        let command = Command::new(actor, action, &self.entropy);
        let stream = command.stream();
        let Some(node) = &mut self.node else { return Ok(()) };
        let token = node.token();
        node.waiters.insert(token, waiter);
        if node.has_failed() {
            return self.answered(token, Err(Fault::LogStopped.into()));
        }
        let fields = json!({"token": token, "action": command.action.name(), "stream": stream.to_string()});
        self.event("command", &fields);
        self.task(stream, TaskInput::Command { token, command: Box::new(command), now })
    }

    fn task(&mut self, stream: StreamId, input: TaskInput) -> Checked {
        let Some(node) = &mut self.node else { return Ok(()) };
        let mut effects = Vec::new();
        node.feed(stream, self.store.rows(), input, &mut effects);
        for effect in effects {
            match effect {
                TaskEffect::Submit(submission) => self.writer_input(WriterInput::Submit(submission))?,
                TaskEffect::Answer { token, result } => self.answered(token, result)?,
                TaskEffect::Free(blobs) => self.free(&blobs)?,
            }
        }
        self.give_back()
    }

    fn free(&mut self, blobs: &[BlobId]) -> Checked {
        for blob in blobs {
            let place = self.index.get(*blob).map_err(|error| Violation::new("index", error.to_string()))?;
            if let Some(place) = place {
                self.packs_input(PackInput::Free { blob: *blob, place })?;
            }
        }
        Ok(())
    }

    /// What staged blobs nobody came to name: their guards were dropped.
    pub(crate) fn give_back(&mut self) -> Checked {
        let given_back = std::mem::take(&mut *self.given_back.lock().unwrap_or_else(PoisonError::into_inner));
        for (blob, place) in given_back {
            self.counters.reach(State::BlobGivenBack);
            self.packs_input(PackInput::Free { blob, place })?;
        }
        Ok(())
    }

    pub(crate) fn writer_disk(&mut self, ticket: Ticket, result: DiskResult) -> Checked {
        self.writer_input(WriterInput::Disk(Completion { ticket, result }))
    }

    pub(crate) fn writer_tick(&mut self) -> Checked {
        if let Some(node) = &mut self.node {
            node.tick_at = None;
        }
        self.writer_input(WriterInput::Tick)
    }

    pub(crate) fn writer_input(&mut self, input: WriterInput) -> Checked {
        let now = self.now();
        let Some(node) = &mut self.node else { return Ok(()) };
        let mut effects = Vec::new();
        node.writer.handle(now, input, &mut effects);
        if let Some(at) = node.writer.wake_at().filter(|at| node.tick_at != Some(*at)) {
            node.tick_at = Some(at);
            self.at(at.max(now.monotonic_nanos), Happening::WriterTick);
        }
        for effect in effects {
            match effect {
                WriterEffect::Disk(ticket, op) => {
                    self.note_roll(&op);
                    self.submit(Owner::Writer(ticket), op);
                }
                WriterEffect::Committed(batch) => self.committed(batch)?,
                WriterEffect::Refused { token, reason } => self.refused(token, reason)?,
                WriterEffect::Failed(error) => {
                    if let Some(node) = &mut self.node {
                        node.writer_state = PartState::Failed;
                    }
                    self.failed(&error)?;
                }
                WriterEffect::Stopped => {
                    if let Some(node) = &mut self.node {
                        node.writer_state = PartState::Stopped;
                    }
                }
            }
        }
        Ok(())
    }

    fn note_roll(&mut self, op: &DiskOp) {
        let Some(node) = &mut self.node else { return };
        match op {
            DiskOp::Truncate { .. } => node.rolling = true,
            DiskOp::SyncFolder { .. } if node.rolling => {
                node.rolling = false;
                self.counters.reach(State::SegmentRoll);
            }
            _ => {}
        }
    }

    fn committed(&mut self, batch: CommittedBatch) -> Checked {
        let fields =
            json!({"tokens": batch.tokens, "durable": batch.durable.get(), "records": batch.records.len()});
        self.event("committed", &fields);
        self.counters.sometimes(State::GroupCommit, batch.tokens.len() > 1);
        let Some(node) = &mut self.node else { return Ok(()) };
        if node.writer_state == PartState::Failed {
            return Err(Violation::new(
                "nothing is acknowledged after a failure",
                format!("{:?}", batch.tokens),
            ));
        }
        for record in &batch.records {
            if is_refused(&node.recovered.quarantine, record.stream) {
                let message = format!("stream {} took record {}", record.stream, record.seq);
                return Err(Violation::new("a quarantined stream takes no writes", message));
            }
            node.note_durable(record.stream, record.seq);
        }
        node.committed.push_back(batch);
        let delay = self.schedule.between(1, 300) * 1000;
        self.after(delay, Happening::Follow);
        Ok(())
    }

    fn refused(&mut self, token: u64, reason: WriteRefusal) -> Checked {
        self.event("refused", &json!({"token": token, "reason": format!("{reason:?}")}));
        self.counters.sometimes(State::NoSpace, reason == WriteRefusal::NoSpace);
        self.counters.sometimes(State::RefusedByQuarantine, matches!(reason, WriteRefusal::Quarantined(_)));
        let owner = self.node.as_ref().and_then(|node| node.owner(token));
        match owner {
            Some(stream) => self.task(stream, TaskInput::Refused { token, reason: Refusal::Writer(reason) }),
            None => Ok(()),
        }
    }

    /// The projections take the next batch that was committed; then everyone who waits for it is told.
    pub(crate) fn follow(&mut self) -> Checked {
        let Some(node) = &mut self.node else { return Ok(()) };
        let Some(batch) = node.committed.pop_front() else { return Ok(()) };
        let told: Vec<(StreamId, Seq, Position)> =
            batch.records.iter().map(|record| (record.stream, record.seq, record.place.position)).collect();
        let mut effects = Vec::new();
        node.follower.handle(self.store.rows(), FollowerInput::Records(batch.records), &mut effects);
        let mut applied = Position(0);
        for effect in effects {
            match effect {
                FollowerEffect::Commit(batch) => {
                    self.store
                        .commit(batch)
                        .map_err(|error| Violation::new("projections", error.to_string()))?;
                }
                FollowerEffect::Applied(position) => applied = position,
                FollowerEffect::Stuck(stuck) => {
                    return Err(Violation::new("projections follow the log", stuck.to_string()));
                }
            }
        }
        let told: Vec<_> = told.into_iter().filter(|(_, _, position)| *position <= applied).collect();
        if let Some(node) = &mut self.node {
            node.applied.push_back(told);
        }
        let delay = self.schedule.between(0, 100) * 1000;
        self.after(delay, Happening::Tell);
        Ok(())
    }

    /// The tasks hear which of their records readers can see.
    pub(crate) fn tell(&mut self) -> Checked {
        let told = self.node.as_mut().and_then(|node| node.applied.pop_front()).unwrap_or_default();
        for (stream, seq, position) in told {
            self.task(stream, TaskInput::Visible { seq, position })?;
        }
        Ok(())
    }

    pub(crate) fn packs_disk(&mut self, ticket: Ticket, result: DiskResult) -> Checked {
        self.packs_input(PackInput::Disk(Completion { ticket, result }))
    }

    pub(crate) fn packs_input(&mut self, input: PackInput) -> Checked {
        let Some(node) = &mut self.node else { return Ok(()) };
        let mut effects = Vec::new();
        node.packs.handle(input, &mut effects);
        let failed = |error: siltstone_log::pack::BlobIndexError| Violation::new("index", error.to_string());
        for effect in effects {
            match effect {
                PackEffect::Disk(ticket, op) => self.submit(Owner::Packs(ticket), op),
                PackEffect::Reserved { blob, extent } => self.client_reserved(blob, extent)?,
                PackEffect::Durable { blob, place } => {
                    if self.node.as_ref().is_some_and(|node| node.packs_state == PartState::Failed) {
                        let message = format!("blob {blob} reported durable");
                        return Err(Violation::new("nothing is acknowledged after a failure", message));
                    }
                    self.index.put(blob, &place).map_err(failed)?;
                    self.client_durable(blob)?;
                }
                PackEffect::Refused { blob, reason } => self.client_blob_refused(blob, reason)?,
                PackEffect::Freed { blob } => {
                    self.event("freed", &json!({"blob": blob.to_string()}));
                    self.index.remove(blob).map_err(failed)?;
                }
                PackEffect::Sealed { pack } => {
                    self.counters.reach(State::PackRoll);
                    self.index.mark_indexed(pack).map_err(failed)?;
                }
                PackEffect::Failed(error) => {
                    if let Some(node) = &mut self.node {
                        node.packs_state = PartState::Failed;
                    }
                    self.failed(&error)?;
                }
                PackEffect::Stopped => {
                    if let Some(node) = &mut self.node {
                        node.packs_state = PartState::Stopped;
                    }
                }
            }
        }
        Ok(())
    }

    /// The log or the packs failed: from here on nothing may be acknowledged, and the process ends.
    fn failed(&mut self, error: &DiskError) -> Checked {
        self.event("failed", &json!({"why": error.to_string()}));
        self.counters.sometimes(State::FailedSync, matches!(error.operation, "sync" | "sync-folder"));
        let Some(node) = &mut self.node else { return Ok(()) };
        let streams: Vec<StreamId> = node.tasks.keys().copied().collect();
        for stream in streams {
            self.task(stream, TaskInput::Failed(Fault::Disk(error.clone())))?;
        }
        Ok(())
    }

    fn answered(&mut self, token: u64, result: Result<Receipt, EngineError>) -> Checked {
        let Some(node) = &mut self.node else { return Ok(()) };
        let Some(waiter) = node.waiters.remove(&token) else {
            return Err(Violation::new(
                "each command is answered once",
                format!("token {token}: {result:?}"),
            ));
        };
        let (failed, quarantine) = (node.has_failed(), node.recovered.quarantine.clone());
        self.event("answer", &json!({"token": token, "result": format!("{result:?}")}));
        if let Ok(receipt) = &result {
            if failed {
                return Err(Violation::new(
                    "nothing is acknowledged after a failure",
                    format!("{receipt:?}"),
                ));
            }
            let seen = visible(self.store.rows(), receipt.stream);
            let excused = self.lost_records || is_refused(&quarantine, receipt.stream);
            if receipt.stream != StreamId::ACCESS && seen < receipt.seq && !excused {
                let message = format!("{receipt:?} was given while readers see record {seen}");
                return Err(Violation::new("what is acknowledged is visible", message));
            }
        }
        match waiter {
            Waiter::Client { client, op, phase } => self.client_answered(client, op, phase, result),
            Waiter::Start => {
                if let Some(node) = &mut self.node {
                    node.life = Life::Started;
                }
                Ok(())
            }
            Waiter::Finish => {
                self.event("finished", &json!({"result": format!("{:?}", result.is_ok())}));
                Ok(())
            }
        }
    }

    /// Tells the node to stop. It has when [`World::has_stopped`] says so.
    pub fn stop(&mut self) -> Checked {
        self.event("stop", &json!({}));
        if let Some(node) = &mut self.node {
            node.life = Life::Stopping;
        }
        self.writer_input(WriterInput::Stop)?;
        self.packs_input(PackInput::Stop)
    }

    /// Whether a stop is complete.
    pub fn has_stopped(&self) -> bool {
        self.node.as_ref().is_some_and(|node| {
            node.writer_state == PartState::Stopped && node.packs_state == PartState::Stopped
        })
    }

    /// Answers a client that is not let in.
    pub(crate) fn unavailable(&self) -> Option<Unavailable> {
        let node = self.node.as_ref()?;
        (node.life != Life::Serving).then_some(Unavailable::ShuttingDown)
    }

    /// A client's next half.
    pub(crate) fn second_half(&mut self, client: usize, op: crate::oracle::OpId, action: Action) -> Checked {
        let actor = super::request::actor(op);
        self.command(Waiter::Client { client, op, phase: Phase::Second }, actor, action)
    }
}

impl Node {
    fn owner(&self, token: u64) -> Option<StreamId> {
        self.tasks.iter().find(|(_, task)| task.has(token)).map(|(stream, _)| *stream)
    }
}
