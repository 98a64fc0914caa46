//! Group commit: everything that waits goes into one batch, which is written, synced, then published.
//!
//! One batch is under way at a time: a later batch in the file therefore proves that every earlier one was durable,
//! which is what recovery tells rot from a torn tail by. No timer is on the write path; a batch is as large as the
//! time its predecessor's sync took made it.
//!
//! Next hop: [`crate::recovery`], which reads what this leaves behind.

mod api;
mod queue;
mod steps;
#[cfg(test)]
mod tests;

pub use api::{
    BatchTiming, CommittedBatch, Submission, WriteRefusal, WriterConfig, WriterEffect, WriterInput,
};

use crate::batch::BATCH_ALIGN;
use crate::hlc::Hlc;
use crate::host::{Completion, DiskError, DiskErrorKind, DiskOp, DiskResult, Now, Ticket};
use crate::id::{BatchDigest, BatchSeq, Head, LogId, NodeId, Position, StreamId};
use crate::recovery::Recovered;
use crate::segment::{Footer, HEADER_BYTES, SegmentName, Tally, spare_file};
use crate::witness::QuarantinedRange;
use queue::{Queue, Taken, submission_bytes};
use std::collections::BTreeMap;
use steps::{Appending, CheckpointStep, Opening, Sealing};

/// The segment that is appended to.
struct Active {
    name: SegmentName,
    segment_no: u64,
    tally: Tally,
    /// What it may grow to.
    limit: u64,
    /// Whether it has batches that no marker proves durable yet.
    unmarked: bool,
}

/// What the writer's one pipeline is doing.
enum Step {
    Ready,
    Append(Box<Appending>),
    Sync(Box<Appending>),
    Seal(Sealing),
    Open(Box<Opening>),
    Checkpoint(CheckpointStep),
    Failed,
    Stopped,
}

/// The file that becomes the next segment, and how many bytes it has.
enum Spare {
    None,
    Creating(Creating),
    Ready(u64),
    /// Too small for what waits, or not needed any more.
    Removing(Ticket),
}

/// An allocation under way.
#[derive(Clone, Copy)]
struct Creating {
    ticket: Ticket,
    len: u64,
    /// Whether it is a small one, for what makes room.
    reserve: bool,
}

/// The writer's state machine.
pub struct Writer {
    config: WriterConfig,
    log_id: LogId,
    node_id: NodeId,
    heads: BTreeMap<StreamId, Head>,
    quarantine: Vec<QuarantinedRange>,
    queue: Queue,
    /// Taken from the queue, waiting for a segment that it fits into.
    taken: Option<Taken>,
    next_position: Position,
    next_batch: BatchSeq,
    next_segment: u64,
    last_digest: BatchDigest,
    max_hlc: Hlc,
    durable: Position,
    active: Option<Active>,
    step: Step,
    under_way: Option<Ticket>,
    spare: Spare,
    /// Set while there is no space for a spare, to when it is tried again: what is left of the active segment, and then
    /// small segments, are the reserve for what makes room.
    no_space_until: Option<u64>,
    /// Set when there was not even space for a small segment, until the next try for a whole one.
    reserve_refused: bool,
    /// What ordinary submissions are told meanwhile.
    shortage: WriteRefusal,
    checkpoint_counter: u64,
    checkpointed: Position,
    /// When the last checkpoint was begun, or the writer's first input came.
    checkpoint_at: Option<u64>,
    /// When the last batch was published.
    last_commit: u64,
    next_ticket: u64,
    stopping: bool,
}

impl Writer {
    /// Continues a recovered log.
    pub fn new(recovered: &Recovered, config: WriterConfig) -> Self {
        let durable = Position(recovered.next_position.0.saturating_sub(1));
        Self {
            config,
            log_id: recovered.log_id,
            node_id: recovered.node_id,
            heads: recovered.heads.clone(),
            quarantine: recovered.quarantine.clone(),
            queue: Queue::default(),
            taken: None,
            next_position: recovered.next_position,
            next_batch: recovered.next_batch,
            next_segment: recovered.next_segment,
            last_digest: recovered.last_digest,
            max_hlc: recovered.max_hlc,
            durable,
            active: None,
            step: Step::Ready,
            under_way: None,
            spare: Spare::None,
            no_space_until: None,
            reserve_refused: false,
            shortage: WriteRefusal::NoSpace,
            checkpoint_counter: recovered.checkpoint_counter,
            checkpointed: durable,
            checkpoint_at: None,
            last_commit: 0,
            next_ticket: 0,
            stopping: false,
        }
    }

    /// Takes one input and says what is to be done.
    pub fn handle(&mut self, now: Now, input: WriterInput, out: &mut Vec<WriterEffect>) {
        self.checkpoint_at.get_or_insert(now.monotonic_nanos);
        match input {
            WriterInput::Submit(submission) => self.enqueue(now, submission, out),
            WriterInput::Disk(completion) => self.completed(now, completion, out),
            WriterInput::Tick => {}
            WriterInput::Stop => self.stopping = true,
        }
        self.advance(now, out);
    }

    /// When [`WriterInput::Tick`] is due, by the monotonic clock.
    pub fn wake_at(&self) -> Option<u64> {
        if !matches!(self.step, Step::Ready) {
            return None;
        }
        // An instant that has passed and at which nothing would be done has the driver ask again at once, for ever. No
        // marker is written while something waits for its segment, and no spare is made that nobody wants.
        let idle = self.marker_due() && self.taken.is_none() && self.queue.is_empty();
        let marker = idle.then(|| self.last_commit.saturating_add(self.config.idle_nanos));
        let retry = self.no_space_until.filter(|_| matches!(self.spare, Spare::None) && self.wants_spare());
        marker.into_iter().chain(retry).min()
    }

    /// Bytes of submissions that are not on their way to the disk yet.
    pub fn queued_bytes(&self) -> usize {
        let taken = self.taken.as_ref().map_or(0, Taken::bytes);
        usize::try_from(self.queue.bytes().saturating_add(taken)).unwrap_or(usize::MAX)
    }

    /// The last position whose sync returned.
    pub fn durable(&self) -> Position {
        self.durable
    }

    /// Whether only the reserve is left, so that ordinary submissions are refused.
    pub fn is_low_on_space(&self) -> bool {
        self.no_space_until.is_some()
    }

    /// Queues a submission without starting a batch: a driver that has several at hand enqueues them all and then
    /// sends one [`WriterInput::Tick`], so that they share a sync.
    pub fn enqueue(&mut self, now: Now, submission: Submission, out: &mut Vec<WriterEffect>) {
        let token = submission.token;
        match self.admit(&submission) {
            Ok(bytes) => self.queue.push(submission, bytes, now.monotonic_nanos),
            Err(reason) => out.push(WriterEffect::Refused { token, reason }),
        }
    }

    fn admit(&self, submission: &Submission) -> Result<u64, WriteRefusal> {
        if self.stopping || matches!(self.step, Step::Failed | Step::Stopped) {
            return Err(WriteRefusal::Failed);
        }
        let bytes = submission_bytes(submission).ok_or(WriteRefusal::TooLarge)?;
        if self.is_low_on_space() && !submission.priority {
            return Err(self.shortage);
        }
        if !self.quarantine.is_empty() {
            let refused = |stream| crate::witness::is_refused(&self.quarantine, stream);
            if let Some(draft) = submission.drafts.iter().find(|draft| refused(draft.stream)) {
                return Err(WriteRefusal::Quarantined(draft.stream));
            }
        }
        Ok(bytes)
    }

    fn completed(&mut self, now: Now, completion: Completion, out: &mut Vec<WriterEffect>) {
        let Completion { ticket, result } = completion;
        if matches!(self.step, Step::Failed | Step::Stopped) {
            return;
        }
        if let Spare::Creating(creating) = self.spare
            && creating.ticket == ticket
        {
            self.spare_created(now, creating, result, out);
        } else if matches!(self.spare, Spare::Removing(removing) if removing == ticket) {
            self.spare = Spare::None;
            if let Err(error) = result {
                self.fail(error, out);
            }
        } else if self.under_way == Some(ticket) {
            self.under_way = None;
            self.step_done(now, result, out);
        }
    }

    fn spare_created(
        &mut self,
        now: Now,
        creating: Creating,
        result: DiskResult,
        out: &mut Vec<WriterEffect>,
    ) {
        match result {
            Ok(_) => {
                self.spare = Spare::Ready(creating.len);
                if !creating.reserve {
                    self.no_space_until = None;
                }
            }
            Err(DiskError { kind: kind @ (DiskErrorKind::NoSpace | DiskErrorKind::NoHandles), .. }) => {
                self.spare = Spare::None;
                self.shortage =
                    if kind == DiskErrorKind::NoSpace { WriteRefusal::NoSpace } else { WriteRefusal::Busy };
                let reason = self.shortage;
                // A small one is tried once, then whole ones are again: it must not be asked for without end.
                self.reserve_refused = creating.reserve;
                if !creating.reserve {
                    self.no_space_until =
                        Some(now.monotonic_nanos.saturating_add(self.config.space_retry_nanos));
                }
                self.queue.drain(false, |token| {
                    out.push(WriterEffect::Refused { token, reason });
                });
            }
            Err(error) => self.fail(error, out),
        }
    }

    /// After this nothing is acknowledged any more. What waits gets no answer of its own: the failure is its answer.
    fn fail(&mut self, error: DiskError, out: &mut Vec<WriterEffect>) {
        self.step = Step::Failed;
        self.queue.drain(true, |_| {});
        self.taken = None;
        out.push(WriterEffect::Failed(error));
    }

    /// Starts what is to be done next, where nothing is under way.
    fn advance(&mut self, now: Now, out: &mut Vec<WriterEffect>) {
        if matches!(self.step, Step::Ready) && !self.append_next(now, out) {
            let idle = now.monotonic_nanos >= self.last_commit.saturating_add(self.config.idle_nanos);
            if self.stopping {
                self.stop(now, out);
            } else if self.active.is_none() {
                self.open_next(now, out);
            } else if self.marker_due() && idle {
                self.mark(now, out);
            }
        }
        self.reserve_spare(now, out);
    }

    /// Whether the last batch is only proven durable by a marker that is not there yet.
    fn marker_due(&self) -> bool {
        self.active.as_ref().is_some_and(|active| active.unmarked)
    }

    /// Takes and appends what waits. Says whether there is something that waits.
    fn append_next(&mut self, now: Now, out: &mut Vec<WriterEffect>) -> bool {
        loop {
            if self.taken.is_none() && !self.queue.is_empty() {
                let refuse = |token, reason| out.push(WriterEffect::Refused { token, reason });
                let taken = self.queue.take(&self.config, &self.heads, refuse);
                self.taken = Some(taken).filter(|taken| !taken.is_empty());
            }
            let Some(taken) = self.taken.take() else {
                if self.queue.is_empty() {
                    return false;
                }
                continue;
            };
            let disk_bytes = taken.bytes().next_multiple_of(BATCH_ALIGN);
            let fits =
                |active: &Active| active.tally.fits(disk_bytes, taken.streams.keys().copied(), active.limit);
            if self.active.as_ref().is_some_and(fits) {
                self.append(now, taken, out);
                return true;
            }
            let (priority, reason) = (taken.is_priority(), self.shortage);
            let reserve = priority && !self.reserve_refused;
            if matches!(self.spare, Spare::None) && self.is_low_on_space() && !reserve {
                // Without a successor the segment stays open, for what is small enough to fit.
                let refuse = |token| out.push(WriterEffect::Refused { token, reason });
                if priority {
                    taken.tokens().for_each(refuse);
                } else {
                    self.queue.put_back(taken, refuse);
                }
                continue;
            }
            self.taken = Some(taken);
            self.open_next(now, out);
            return true;
        }
    }

    /// Goes on to the next segment, as soon as there is a file for it: only then is the active one sealed.
    fn open_next(&mut self, now: Now, out: &mut Vec<WriterEffect>) {
        match (&self.spare, &self.active) {
            // A batch that outgrew its file's allocation could find the volume full in mid-write, which is a failure.
            (Spare::Ready(len), _) if *len < self.needed_bytes(self.is_low_on_space()) => {
                self.remove_spare(out);
            }
            (Spare::Ready(_), None) => self.open(now, out),
            (Spare::Ready(_), Some(_)) => self.seal(now, out),
            (Spare::None | Spare::Creating(_) | Spare::Removing(_), _) => {}
        }
    }

    /// Bytes that the next segment needs: more than usual where a single submission is larger than a segment.
    fn needed_bytes(&self, reserve: bool) -> u64 {
        let waiting = self.taken.as_ref().map_or(0, |taken| {
            let footer = Footer::encoded_len(1, taken.streams.len(), 0);
            HEADER_BYTES.saturating_add(taken.bytes().next_multiple_of(BATCH_ALIGN)).saturating_add(footer)
        });
        let usual = self.config.segment_bytes;
        waiting.max(if reserve { self.config.reserve_bytes.min(usual) } else { usual })
    }

    fn remove_spare(&mut self, out: &mut Vec<WriterEffect>) {
        let ticket = self.ticket();
        self.spare = Spare::Removing(ticket);
        out.push(WriterEffect::Disk(ticket, DiskOp::Remove { file: spare_file() }));
    }

    /// Allocates the next segment before it is needed, beside the appends.
    fn reserve_spare(&mut self, now: Now, out: &mut Vec<WriterEffect>) {
        // ORDER: while a segment is being opened, the spare's name is still its own.
        let running = !matches!(self.step, Step::Failed | Step::Stopped | Step::Open(_));
        let whole = self.no_space_until.is_none_or(|at| now.monotonic_nanos >= at);
        // A small segment is made only for something that is written into it at once: an empty one cannot be sealed.
        let reserve =
            !whole && self.taken.as_ref().is_some_and(|taken| taken.is_priority() && !self.reserve_refused);
        if self.wants_spare() && running && (whole || reserve) && matches!(self.spare, Spare::None) {
            let ticket = self.ticket();
            let len = self.needed_bytes(reserve);
            self.spare = Spare::Creating(Creating { ticket, len, reserve });
            let leave_free = if reserve { 0 } else { self.config.leave_free };
            let op = DiskOp::Create { file: spare_file(), len, leave_free };
            out.push(WriterEffect::Disk(ticket, op));
        }
    }

    /// Once there was no space for one, it is wanted until there is: only that shows that the volume has space again.
    fn wants_spare(&self) -> bool {
        let soon = self.active.as_ref().is_none_or(|active| active.tally.offset >= active.limit / 2);
        self.taken.is_some() || (!self.stopping && (soon || self.is_low_on_space()))
    }

    fn stop(&mut self, now: Now, out: &mut Vec<WriterEffect>) {
        match &self.active {
            Some(active) if !active.tally.is_empty() => self.seal(now, out),
            // An empty segment is not sealed: its name would be the next one's as well.
            Some(_) | None => match self.spare {
                Spare::None => {
                    self.step = Step::Stopped;
                    out.push(WriterEffect::Stopped);
                }
                Spare::Ready(_) => self.remove_spare(out),
                Spare::Creating(_) | Spare::Removing(_) => {}
            },
        }
    }

    fn ticket(&mut self) -> Ticket {
        self.next_ticket += 1;
        Ticket(self.next_ticket)
    }

    /// Hands the pipeline's next operation to the disk.
    fn run(&mut self, op: DiskOp, step: Step, out: &mut Vec<WriterEffect>) {
        let ticket = self.ticket();
        self.under_way = Some(ticket);
        self.step = step;
        out.push(WriterEffect::Disk(ticket, op));
    }
}
