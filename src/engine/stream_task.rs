//! The owner of one stream: decides its commands in turn, numbers their records, and holds every answer until what
//! it rests on is durable and applied.
//!
//! A state machine: no thread, channel, clock or dice. Before: [`super::shard`], which feeds it. After: the log's
//! writer, and the follower that reports what readers can see.

use super::admission::Permit;
use super::command::{Command, SaltSeed};
use super::content::BlobGuard;
use super::decide::{DecideError, Decision, decide};
use super::outcome::{EngineError, Fault, Outcome, Receipt, Rejection, Unavailable};
use siltstone_log::event::{Actor, Body, Event};
use siltstone_log::hlc::Hlc;
use siltstone_log::id::{BlobId, Epoch, Position, Seq, StreamId};
use siltstone_log::record::{DraftContent, RecordDraft, Salted};
use siltstone_log::writer::{Submission, WriteRefusal};
use siltstone_projections::changes::Changes;
use siltstone_projections::fold::{self, Origin};
use siltstone_projections::overlay::{Overlay, PendingRows};
use siltstone_projections::store::{Rows, Space};
use std::collections::VecDeque;

/// What the task is told.
#[derive(Debug)]
pub enum TaskInput {
    /// Decide this.
    Command {
        /// Names the command in answers, and its submission in refusals. Unique on the node.
        token: u64,
        /// The command.
        command: Box<Command>,
        /// The instant of its records: later than any given before.
        now: Hlc,
    },
    /// A record of this stream is durable and applied. Told of each, in order.
    Visible {
        /// The record.
        seq: Seq,
        /// Its position in the log.
        position: Position,
    },
    /// A submission is not in the log and never will be.
    Refused {
        /// Which one.
        token: u64,
        /// Why.
        reason: Refusal,
    },
    /// The log or the projections failed: nothing more will be visible.
    Failed(Fault),
}

/// Why a submission did not get into the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The log's queue is full.
    Busy,
    /// The writer refused it.
    Writer(WriteRefusal),
}

/// What the task wants done.
#[derive(Debug)]
pub enum TaskEffect {
    /// Hand this to the log.
    Submit(Submission),
    /// Tell the one who waits for the command.
    Answer {
        /// Which command.
        token: u64,
        /// Its result.
        result: Result<Receipt, EngineError>,
    },
    /// Nothing refers to these blobs any more, durably.
    Free(Vec<BlobId>),
}

/// A command that is decided, and what is told when the records up to `through` are visible.
struct Waiting {
    token: u64,
    /// The last record it rests on: its own, or, where it made none, the newest it was decided upon.
    through: Seq,
    result: Result<Receipt, Rejection>,
    guard: BlobGuard,
    freed: Vec<BlobId>,
    /// Given back with this: the submission holds the bytes until then.
    permit: Option<Permit>,
}

/// The state machine.
pub struct StreamTask {
    stream: StreamId,
    epoch: Epoch,
    /// The last number given out.
    last: Seq,
    /// The last record that readers see.
    visible: Seq,
    position: Position,
    pending: PendingRows,
    waiting: VecDeque<Waiting>,
    /// Set while records before a refused one are still on their way: until they are visible nothing is decided,
    /// because the pending rows show what never happened.
    draining: Option<Unavailable>,
}

impl StreamTask {
    /// Continues a stream all of whose records up to `last` are visible.
    pub fn new(stream: StreamId, last: Seq, epoch: Epoch) -> Self {
        Self {
            stream,
            epoch,
            last,
            visible: last,
            position: Position(0),
            pending: PendingRows::new(),
            waiting: VecDeque::new(),
            draining: None,
        }
    }

    /// The last record given out: what a later task of this stream continues after, once this one is idle.
    pub fn last(&self) -> Seq {
        self.last
    }

    /// Whether nothing is under way, so that the task can be dropped.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.visible == self.last
    }

    /// Whether the command's submission is under way here.
    pub fn has(&self, token: u64) -> bool {
        self.waiting.iter().any(|waiting| waiting.token == token)
    }

    /// Takes one input and says what is to be done. `rows` shows at least what was reported visible.
    pub fn handle(&mut self, rows: &dyn Rows, input: TaskInput, out: &mut Vec<TaskEffect>) {
        match input {
            TaskInput::Command { token, command, now } => self.command(rows, token, *command, now, out),
            TaskInput::Visible { seq, position } => self.visible(seq, position, out),
            TaskInput::Refused { token, reason } => self.refused(token, reason, out),
            TaskInput::Failed(fault) => self.failed(&fault, out),
        }
    }

    fn command(
        &mut self,
        rows: &dyn Rows,
        token: u64,
        command: Command,
        now: Hlc,
        out: &mut Vec<TaskEffect>,
    ) {
        if let Some(reason) = self.draining {
            return out.push(TaskEffect::Answer { token, result: Err(reason.into()) });
        }
        let Command { actor, action, salts, permit } = command;
        let (priority, ignorable) = (action.is_priority(), action.is_evidence());
        match decide(&Overlay::new(rows, &self.pending), action) {
            Ok(Decision { events, outcome, guard }) if !events.is_empty() => {
                let first = self.last.next();
                let mut drafting = Drafting { actor, salts, now, ignorable };
                match self.draft(rows, &mut drafting, events) {
                    Ok((drafts, freed)) => {
                        out.push(TaskEffect::Submit(Submission { token, priority, drafts }));
                        let result = Ok(self.receipt(now, outcome));
                        let through = self.last;
                        self.waiting.push_back(Waiting { token, through, result, guard, freed, permit });
                    }
                    Err(fault) => {
                        self.roll_back(first, Unavailable::SlowDown, out);
                        out.push(TaskEffect::Answer { token, result: Err(fault.into()) });
                    }
                }
            }
            // ORDER: an answer that needed no record may rest on rows that are not durable yet. Given now, it would
            // tell of a state that a crash can still undo, so it waits for them.
            Ok(decision) => self.answer_when_visible(token, Ok(self.receipt(Hlc(0), decision.outcome)), out),
            Err(DecideError::Rejected(rejection)) => self.answer_when_visible(token, Err(rejection), out),
            Err(DecideError::Fault(fault)) => {
                out.push(TaskEffect::Answer { token, result: Err(fault.into()) });
            }
        }
    }

    fn receipt(&self, hlc: Hlc, outcome: Outcome) -> Receipt {
        Receipt { stream: self.stream, seq: self.last, position: self.position, hlc, outcome }
    }

    fn answer_when_visible(
        &mut self,
        token: u64,
        result: Result<Receipt, Rejection>,
        out: &mut Vec<TaskEffect>,
    ) {
        if self.visible == self.last {
            out.push(TaskEffect::Answer { token, result: result.map_err(EngineError::from) });
        } else {
            let (through, guard, freed) = (self.last, BlobGuard::none(), Vec::new());
            self.waiting.push_back(Waiting { token, through, result, guard, freed, permit: None });
        }
    }

    /// Numbers and encodes a command's events, and shows each to those decided after it. Gives the blobs, too, that
    /// nothing refers to once the records are durable.
    fn draft(
        &mut self,
        rows: &dyn Rows,
        drafting: &mut Drafting,
        events: Vec<(Event, DraftContent)>,
    ) -> Result<(Vec<RecordDraft>, Vec<BlobId>), Fault> {
        let (mut drafts, mut freed) = (Vec::with_capacity(events.len()), Vec::new());
        for ((event, content), index) in events.into_iter().zip(0u32..) {
            let seq = self.last.next();
            // The actor is moved in and out again: a body owns it, and a command has up to a thousand bodies.
            let body = Body { actor: std::mem::replace(&mut drafting.actor, nobody()), event };
            let encoded = body.encode().map_err(|error| Fault::Projection(error.to_string()))?;
            let draft = RecordDraft {
                stream: self.stream,
                seq,
                hlc: drafting.now,
                epoch: self.epoch,
                kind: body.event.kind(),
                ignorable: drafting.ignorable,
                body: Salted::new(drafting.salts.salt(index), &encoded),
                content,
            };
            self.last = seq;
            self.show(rows, &Origin::from(&draft), &body, &mut freed)?;
            drafting.actor = body.actor;
            drafts.push(draft);
        }
        Ok((drafts, freed))
    }

    fn show(
        &mut self,
        rows: &dyn Rows,
        origin: &Origin,
        body: &Body,
        freed: &mut Vec<BlobId>,
    ) -> Result<(), Fault> {
        let Some(space) = Space::of(self.stream) else { return Ok(()) };
        let mut changes = Changes::new();
        fold::apply(space, &Overlay::new(rows, &self.pending), origin, body, &mut changes)
            .map_err(|error| Fault::Projection(error.to_string()))?;
        freed.extend_from_slice(changes.freed());
        self.pending.add(space, self.stream, origin.seq, changes);
        Ok(())
    }

    fn visible(&mut self, seq: Seq, position: Position, out: &mut Vec<TaskEffect>) {
        self.visible = self.visible.max(seq);
        self.position = position;
        self.pending.drop_through(self.stream, seq);
        while let Some(waiting) = self.waiting.pop_front_if(|waiting| waiting.through <= seq) {
            let Waiting { token, result, guard, freed, permit, .. } = waiting;
            guard.commit();
            drop(permit);
            if !freed.is_empty() {
                out.push(TaskEffect::Free(freed));
            }
            let result = result.map(|receipt| Receipt { position, ..receipt });
            out.push(TaskEffect::Answer { token, result: result.map_err(EngineError::from) });
        }
        self.finish_draining();
    }

    fn refused(&mut self, token: u64, reason: Refusal, out: &mut Vec<TaskEffect>) {
        // What was decided upon a refused submission is refused by the writer as well, and was answered already.
        let Some(at) = self.waiting.iter().position(|waiting| waiting.token == token) else { return };
        let Some(refused) = self.waiting.remove(at) else { return };
        let (error, rest): (EngineError, Unavailable) = match reason {
            Refusal::Busy | Refusal::Writer(WriteRefusal::Busy) => {
                (Unavailable::SlowDown.into(), Unavailable::SlowDown)
            }
            Refusal::Writer(WriteRefusal::NoSpace) => (Unavailable::NoSpace.into(), Unavailable::NoSpace),
            Refusal::Writer(WriteRefusal::Quarantined(_)) => {
                (Unavailable::Quarantined.into(), Unavailable::Quarantined)
            }
            Refusal::Writer(WriteRefusal::TooLarge) => (Rejection::TooLarge.into(), Unavailable::SlowDown),
            Refusal::Writer(WriteRefusal::OutOfOrder { .. } | WriteRefusal::Failed) => {
                (Fault::LogStopped.into(), Unavailable::SlowDown)
            }
        };
        let before = at.checked_sub(1).and_then(|before| self.waiting.get(before));
        let first = before.map_or(self.visible, |waiting| waiting.through).next();
        out.push(TaskEffect::Answer { token, result: Err(error) });
        drop(refused);
        self.roll_back(first, rest, out);
    }

    /// Takes back every number from `first` on. Nobody was told of any of it.
    fn roll_back(&mut self, first: Seq, reason: Unavailable, out: &mut Vec<TaskEffect>) {
        self.last = Seq(first.get().saturating_sub(1));
        while let Some(undone) = self.waiting.pop_back_if(|waiting| waiting.through >= first) {
            out.push(TaskEffect::Answer { token: undone.token, result: Err(reason.into()) });
        }
        self.draining = Some(reason);
        self.finish_draining();
    }

    fn finish_draining(&mut self) {
        if self.draining.is_some() && self.visible == self.last {
            self.pending = PendingRows::new();
            self.draining = None;
        }
    }

    fn failed(&mut self, fault: &Fault, out: &mut Vec<TaskEffect>) {
        for waiting in self.waiting.drain(..) {
            // The record may be durable all the same: an orphan is legal, a dangling reference is not.
            waiting.guard.commit();
            out.push(TaskEffect::Answer { token: waiting.token, result: Err(fault.clone().into()) });
        }
    }
}

/// What all records of a command share.
struct Drafting {
    actor: Actor,
    salts: SaltSeed,
    now: Hlc,
    ignorable: bool,
}

fn nobody() -> Actor {
    Actor::server(siltstone_log::event::Door::Worker)
}
