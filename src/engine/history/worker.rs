//! The thread that ends the history window: looks at clock, rows and disk, submits what [`super::plan`] says, and waits
//! until it is visible.

use super::{Begin, Count, Demand, Head, HistoryConfig, Plan, Reason, Step, WindowEnd, head, plan};
use crate::engine::command::Command;
use crate::engine::outcome::{EngineError, Unavailable};
use crate::engine::poller::free_space;
use crate::engine::shard::{CommandResult, ReplyTo};
use crate::engine::{Engine, Shared};
use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
use siltstone_log::event::{Actor, Door};
use siltstone_log::hlc::Hlc;
use siltstone_log::host::real::RealDisk;
use siltstone_log::host::{Folder, Now};
use siltstone_log::id::{Position, StreamId};
use siltstone_log::witness::{QuarantinedRange, is_refused};
use siltstone_projections::buckets;
use siltstone_projections::objects::Removal;
use siltstone_projections::rows::{BucketRow, Usage};
use siltstone_projections::store::{Rows, StoreError};
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError, Weak};
use std::time::Duration;

const PERIOD: Duration = Duration::from_secs(1);
/// Between two looks of which the first left something to do.
const SOON: Duration = Duration::from_millis(10);
/// Between two lines that say that the window is shortened.
const LOG_NANOS: u64 = 60_000_000_000;
/// Counting costs at most one part in this many of a processor, however many buckets there are.
const COUNT_SHARE: u64 = 50;

/// How long looking for space passes over what gave none: what kept its bytes may be gone without becoming history.
const BEGIN_AGAIN_NANOS: u64 = 600_000_000_000;
/// How late a record is seen at most after one that was decided later.
const SETTLE_MILLIS: u64 = 60_000;

/// Before here nothing is added to the queue any more.
fn settled(now: Now) -> Removal {
    let removed = Hlc::from_millis(now.wall_millis.saturating_sub(SETTLE_MILLIS));
    Removal { removed, ..Removal::default() }
}

/// What all buckets hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HistoryUsage {
    /// Bytes of versions that S3 shows.
    pub live_bytes: u64,
    /// Bytes that are kept for the history window alone: of versions that were deleted or replaced, less what they share.
    pub history_bytes: u64,
    /// Bytes of parts of uploads under way.
    pub upload_bytes: u64,
    /// When the oldest version that is kept was deleted or replaced; those of streams that take no records apart.
    pub oldest: Option<Hlc>,
}

impl HistoryUsage {
    fn add(&mut self, usage: &Usage) {
        self.live_bytes = self.live_bytes.saturating_add(usage.version_bytes);
        self.history_bytes = self.history_bytes.saturating_add(usage.history_bytes);
        self.upload_bytes = self.upload_bytes.saturating_add(usage.upload_bytes);
    }
}

/// What the worker last counted, for whoever asks.
#[derive(Debug, Default)]
pub(in crate::engine) struct HistoryState(Mutex<Option<HistoryUsage>>);

impl HistoryState {
    pub(in crate::engine) fn read(&self) -> Option<HistoryUsage> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, usage: HistoryUsage) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(usage);
    }
}

/// A command under way.
struct Asked {
    step: Step,
    answer: Option<Receiver<CommandResult>>,
}

/// What the worker knows from one look to the next.
pub(in crate::engine) struct HistoryWorker {
    config: HistoryConfig,
    /// Free bytes below which history gives way, so that the next pack and segment can still be allocated.
    wanted_free: u64,
    disk: RealDisk,
    /// Begun at the first look.
    started: Option<(WindowEnd, u64)>,
    usage: HistoryUsage,
    /// Bytes of history in streams that take records.
    expirable: u64,
    counted: Option<Position>,
    count_at: u64,
    refusing: Refusing,
    begin: Begin,
    /// When to look for space from the queue's head again.
    begin_again_at: u64,
    logged: Option<u64>,
}

/// Streams that take no records, for good: what would mend them needs a stop.
struct Refusing {
    quarantine: Vec<QuarantinedRange>,
    seen: BTreeSet<StreamId>,
}

impl Refusing {
    fn contains(&self, stream: StreamId) -> bool {
        self.seen.contains(&stream) || is_refused(&self.quarantine, stream)
    }
}

impl HistoryWorker {
    pub(in crate::engine) fn new(
        config: HistoryConfig,
        disk: RealDisk,
        wanted_free: u64,
        quarantine: Vec<QuarantinedRange>,
    ) -> Self {
        Self {
            config,
            wanted_free,
            disk,
            started: None,
            usage: HistoryUsage::default(),
            expirable: 0,
            counted: None,
            count_at: 0,
            refusing: Refusing { quarantine, seen: BTreeSet::new() },
            begin: Begin::default(),
            begin_again_at: 0,
            logged: None,
        }
    }

    /// Runs until the other side of `stop` is dropped, or the engine is.
    pub(in crate::engine) fn run(mut self, engine: &Weak<Shared>, stop: &Receiver<()>) {
        let mut wait = PERIOD;
        while stop.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
            let Some(shared) = engine.upgrade() else { return };
            let engine = Engine { shared };
            let (asked, more) = self.look(&engine).unwrap_or_else(|error| {
                tracing::warn!(%error, "cannot look for history that is to end");
                (Vec::new(), false)
            });
            let short = self.settle(&engine, asked);
            // Space comes back a moment after the record: it is looked at again before more history goes for it.
            wait = if more && !short { SOON } else { PERIOD };
        }
    }

    /// Asks for what is to be forgotten now.
    fn look(&mut self, engine: &Engine) -> Result<(Vec<Asked>, bool), StoreError> {
        let view = engine.view();
        let now = engine.clock().now();
        if !self.find_head(&view, now)? {
            return Ok((Vec::new(), true));
        }
        self.count(engine, &view)?;
        // What is forgotten here makes room for content, and none for rows.
        let free = free_space(&self.disk).map(|free| free.content);
        let window = self.config.window_millis;
        let (end, limit) = self.started.get_or_insert_with(|| {
            let newest = engine.recovered().max_hlc;
            let total = self.disk.volume_bytes(Folder::Packs).unwrap_or(u64::MAX);
            let limit = self.config.limit(total, free.unwrap_or(u64::MAX), self.usage.history_bytes);
            (WindowEnd::starting(window, now, newest, self.usage.oldest), limit)
        });
        end.advance(window, now);
        // What is on its way back to the disk is not asked for twice.
        let returning = engine.shared.blobs.returning();
        let demand = Demand {
            end: end.millis,
            excess: self.expirable.saturating_sub(*limit),
            shortage: free.map_or(0, |free| self.wanted_free.saturating_sub(free.saturating_add(returning))),
        };
        if demand.shortage == 0 || now.monotonic_nanos >= self.begin_again_at {
            self.begin.space = self.begin.queue;
            self.begin_again_at = now.monotonic_nanos.saturating_add(BEGIN_AGAIN_NANOS);
        }
        let refuses = |stream| self.refusing.contains(stream);
        let Plan { steps, more, space } = plan(&view, self.begin, &demand, &refuses)?;
        self.begin.space = space.min(settled(now));
        let ask = |step: Step| {
            let (reply, answer) = bounded(1);
            let command = Command::new(Actor::server(Door::Worker), step.action.clone(), engine.entropy());
            let sent = engine.send(command, ReplyTo::Thread(reply)).is_ok();
            Asked { step, answer: sent.then_some(answer) }
        };
        Ok((steps.into_iter().map(ask).collect(), more))
    }

    /// Finds the longest removed version that can go. Tells whether the look may go on.
    fn find_head(&mut self, rows: &dyn Rows, now: Now) -> Result<bool, StoreError> {
        match head(rows, self.begin.queue, &|stream| self.refusing.contains(stream))? {
            Head::Found(at) => {
                self.usage.oldest = Some(at.removed);
                self.begin.queue = at.min(settled(now)).max(self.begin.queue);
            }
            Head::None => self.usage.oldest = None,
            Head::Further(at) => {
                self.begin.queue = at;
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Counts what all buckets hold, if that changed and is not too dear.
    fn count(&mut self, engine: &Engine, rows: &dyn Rows) -> Result<(), StoreError> {
        let applied = engine.status().applied;
        let began = engine.clock().monotonic_nanos();
        if self.counted == Some(applied) || began < self.count_at {
            return Ok(());
        }
        let mut sum = HistoryUsage { oldest: self.usage.oldest, ..HistoryUsage::default() };
        self.expirable = 0;
        for bucket in buckets::iter(rows) {
            let (stream, BucketRow { usage, .. }) = bucket?;
            sum.add(&usage);
            if !self.refusing.contains(stream) {
                self.expirable = self.expirable.saturating_add(usage.history_bytes);
            }
        }
        self.usage = sum;
        self.counted = Some(applied);
        let took = engine.clock().monotonic_nanos().saturating_sub(began);
        self.count_at = began.saturating_add(took.saturating_mul(COUNT_SHARE));
        engine.shared.history.set(self.usage);
        Ok(())
    }

    /// Waits for the answers and takes note of them. Tells whether history went for want of space.
    fn settle(&mut self, engine: &Engine, asked: Vec<Asked>) -> bool {
        let mut shortened = [Count::default(); 2];
        for Asked { step, answer } in asked {
            let Some(answer) = answer else { continue };
            match answer.recv() {
                Ok(Ok(_)) => {}
                Ok(Err(EngineError::Unavailable(Unavailable::Quarantined) | EngineError::Rejected(_))) => {
                    self.refusing.seen.insert(step.action.stream);
                    continue;
                }
                // A stop, a full queue, a failed disk: whatever goes on after it finds the same rows.
                Ok(Err(EngineError::Unavailable(_) | EngineError::Fault(_))) | Err(_) => continue,
            }
            for (reason, count) in step.counts {
                engine.shared.observer.expired(reason, count.versions, count.bytes);
                self.expirable = self.expirable.saturating_sub(count.bytes);
                match reason {
                    Reason::Window => {}
                    Reason::Bytes => shortened[0].add(count),
                    Reason::Space => shortened[1].add(count),
                }
            }
        }
        let [bytes, space] = shortened;
        self.tell(engine, Reason::Bytes, bytes);
        self.tell(engine, Reason::Space, space);
        space.versions > 0
    }

    fn tell(&mut self, engine: &Engine, reason: Reason, count: Count) {
        if count.versions == 0 {
            return;
        }
        engine.shared.observer.window_shortened(reason);
        let now = engine.clock().monotonic_nanos();
        if self.logged.is_none_or(|logged| now.saturating_sub(logged) >= LOG_NANOS) {
            self.logged = Some(now);
            let Count { versions, bytes } = count;
            tracing::warn!(reason = reason.name(), versions, bytes, "restore window shortened");
        }
    }
}
