//! Carries out what the node's state machines want: what the real drivers do on their threads.

use super::client::Phase;
use super::node::{Life, Node, PartState, Waiter, visible};
use super::{Happening, Owner, World};
use crate::invariants::Violation;
use crate::oracle::{Intent, OpId};
use crate::sometimes::State;
use crate::world::note;
use siltstone::engine::bucket_protocol::{SecondHalf, unfinished};
use siltstone::engine::command::{Command, StartNode};
use siltstone::engine::outcome::{EngineError, Fault, Receipt};
use siltstone::engine::stream_task::{Refusal, TaskEffect, TaskInput};
use siltstone::engine::{Action, FreeSpace, Permit, Unavailable};
use siltstone_log::event::{Actor, Body, Door, NodeStarted, TailDiscarded, in_first_schema};
use siltstone_log::host::{Completion, DiskError, DiskOp, DiskResult, Ticket};
use siltstone_log::id::{Position, Salt, Seq, StreamId};
use siltstone_log::pack::{BlobIndex, PackEffect, PackInput};
use siltstone_log::record::Salted;
use siltstone_log::witness::is_refused;
use siltstone_log::writer::{CommittedBatch, Submission, WriteRefusal, WriterEffect, WriterInput};
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
            self.command(Waiter::Finish(half.clone()), Actor::server(Door::Recovery), half)?;
        }
        self.poll_later();
        Ok(())
    }

    /// Lets clients in.
    pub(crate) fn let_clients_in(&mut self) {
        if let Some(node) = &mut self.node {
            node.life = Life::Serving;
        }
        self.add_clients();
        self.look_at_history();
    }

    /// Hands a command to its stream's task.
    pub(crate) fn command(&mut self, waiter: Waiter, actor: Actor, action: impl Into<Action>) -> Checked {
        let command = Command::new(actor, action, &self.entropy);
        self.hand_in(waiter, command)
    }

    fn hand_in(&mut self, waiter: Waiter, command: Command) -> Checked {
        let now = self.tick();
        let stream = command.stream();
        let Some(node) = &mut self.node else { return Ok(()) };
        let token = node.token();
        node.waiters.insert(token, waiter);
        if node.has_failed() {
            return self.answered(token, Err(Fault::LogStopped.into()));
        }
        note!(self, "command", {"token": token, "action": command.action.name(), "stream": stream.to_string()});
        self.task(stream, TaskInput::Command { token, command: Box::new(command), now })
    }

    fn task(&mut self, stream: StreamId, input: TaskInput) -> Checked {
        let Some(node) = &mut self.node else { return Ok(()) };
        let mut effects = Vec::new();
        node.feed(stream, self.store.rows(), input, &mut effects);
        for effect in effects {
            match effect {
                // ORDER: told at once, before anything is submitted that was decided upon it.
                TaskEffect::Submit(submission) if self.faults.once_in(self.plan.refused_one_in) => {
                    self.refused(submission.token, WriteRefusal::NoSpace)?;
                }
                TaskEffect::Submit(submission) => {
                    let submission = self.of_some_program(submission);
                    self.writer_input(WriterInput::Submit(submission))?;
                }
                TaskEffect::Answer { token, result } => self.answered(token, result)?,
                TaskEffect::Free(blobs) => blobs.into_iter().try_for_each(|blob| self.free(blob))?,
            }
        }
        self.give_back()
    }

    /// Some records as the first release would have written them.
    fn of_some_program(&mut self, mut submission: Submission) -> Submission {
        for draft in &mut submission.drafts {
            if self.plan.first_schema_percent == 0 || !self.faults.percent(self.plan.first_schema_percent) {
                continue;
            }
            let Some((salt, bytes)) = draft.body.bytes.split_first_chunk::<{ Salt::LEN }>() else { continue };
            let body = Body::decode(draft.kind, bytes).ok();
            if let Some((kind, bytes)) = body.and_then(|body| in_first_schema(&body)) {
                self.counters.reach(State::FirstSchema);
                draft.body = Salted::new(Salt(*salt), &bytes);
                draft.kind = kind;
            }
        }
        submission
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
        note!(self, "committed", {"tokens": batch.tokens, "durable": batch.durable.get(), "records": batch.records.len()});
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
            if self.store.has_hole(record.stream) {
                let message = format!("stream {} took record {}", record.stream, record.seq);
                return Err(Violation::new("rows that lack records take no writes", message));
            }
            node.note_durable(record.stream, record.seq);
        }
        node.committed.push_back(batch);
        let delay = self.schedule.between(1, 300) * 1000;
        self.after(delay, Happening::Follow);
        Ok(())
    }

    fn refused(&mut self, token: u64, reason: WriteRefusal) -> Checked {
        note!(self, "refused", {"token": token, "reason": format!("{reason:?}")});
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
                    note!(self, "freed", {"blob": blob.to_string()});
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
        note!(self, "failed", {"why": error.to_string()});
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
        note!(self, "answer", {"token": token, "result": format!("{result:?}")});
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
            Waiter::Expire => {
                self.expired(&result);
                Ok(())
            }
            Waiter::Finish(half) => {
                note!(self, "finished", {"result": format!("{:?}", result.is_ok())});
                if result.is_err() {
                    self.note_unfinished(Actor::server(Door::Recovery), half);
                }
                Ok(())
            }
            Waiter::Repeat(reply) => {
                self.counters.sometimes(State::SecondHalfRepeated, result.is_ok());
                // Whoever asked has gone with the node that it asked.
                let _ = reply.send(result);
                Ok(())
            }
        }
    }

    /// Tells the node to stop. It has when [`World::has_stopped`] says so.
    pub fn stop(&mut self) -> Checked {
        note!(self, "stop", {});
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

    /// A client's command, with what was admitted for it.
    pub(crate) fn client_command(
        &mut self,
        (client, op, phase): (usize, OpId, Phase),
        action: impl Into<Action>,
        permit: Option<Permit>,
    ) -> Checked {
        let command = Command::new(super::request::actor(op), action, &self.entropy);
        let command = match permit {
            Some(permit) => command.holding(permit),
            None => command,
        };
        self.hand_in(Waiter::Client { client, op, phase }, command)
    }

    /// A second half was refused: it is repeated until it is done.
    pub(crate) fn note_unfinished(&mut self, actor: Actor, half: SecondHalf) {
        self.counters.reach(State::SecondHalfRefused);
        if let Some(node) = &self.node {
            node.unfinished.note(actor, half);
        }
    }

    fn poll_later(&mut self) {
        let delay = self.schedule.between(50, 150) * 1_000_000;
        self.after(delay, Happening::Poll);
    }

    /// Rows are kept in memory here.
    pub(super) fn free_space(&self) -> FreeSpace {
        FreeSpace { content: self.disk.free(), rows: u64::MAX }
    }

    /// What the engine's poller does: looks how much is free, and repeats what was refused by half.
    pub(crate) fn poll(&mut self) -> Checked {
        let free = self.free_space();
        let Some(node) = &self.node else { return Ok(()) };
        node.admission.set_free(free);
        let mut repeated = Vec::new();
        if node.life != Life::Stopping {
            node.unfinished.repeat(&self.entropy, |command, reply| {
                repeated.push((command, reply));
                Ok(())
            });
        }
        for (command, reply) in repeated {
            self.hand_in(Waiter::Repeat(reply), command)?;
        }
        self.poll_later();
        Ok(())
    }

    /// Asks whether a client's operation is let in.
    pub(crate) fn admit(&self, intent: &Intent) -> Result<Option<Permit>, Unavailable> {
        match (&self.node, super::request::need_of(intent)) {
            (Some(node), Some(need)) => node.admission.admit(need).map(Some),
            _ => Ok(None),
        }
    }
}

impl Node {
    fn owner(&self, token: u64) -> Option<StreamId> {
        self.tasks.iter().find(|(_, task)| task.has(token)).map(|(stream, _)| *stream)
    }
}
