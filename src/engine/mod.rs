//! The one write path: commands in, receipts out.
//!
//! A door authorises a request, builds a [`Command`] and calls [`Engine::submit`]. The command goes to the shard
//! that owns its stream, is decided there, becomes records, and is answered when those are durable and reads see
//! them. Reads go through [`Engine::view`] and show durable state only.
//!
//! **A command's way**: [`command`] → `shard` (a thread) → [`stream_task`] → [`decide`] → the log's writer →
//! `follower` (a thread) → `shard` → receipt. **Bytes**: [`content`]. **What is let in**: [`admission`].
//! **Two streams at once**: [`bucket_protocol`]. **Start and stop**: [`open`].

#![warn(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod access;
pub mod admission;
pub mod bucket_protocol;
pub(crate) mod catch_up;
pub mod command;
pub mod content;
pub(crate) mod damage;
pub mod decide;
mod follower;
pub mod history;
pub mod inventory;
pub mod observer;
pub mod open;
pub mod outcome;
mod poller;
pub mod recent;
mod shard;
pub mod status;
pub mod stream_task;
pub mod sweep;
#[cfg(test)]
mod tests;
mod tidy;
mod view;

pub use admission::{FreeSpace, Limits, Need, Permit, ReadPermit};
pub use command::{Action, Command};
pub use content::{ContentReader, ContentSink, Placement, SharedContent, StagedContent};
pub use history::{HistoryConfig, HistoryUsage, Reason as ExpiryReason};
pub use observer::Observer;
pub use open::{EngineConfig, OpenError, PROJECTIONS};
pub use outcome::{Deleted, EngineError, Fault, Outcome, Receipt, Rejection, Unavailable};
pub use recent::{ChangeCount, Recent};
pub use status::EngineStatus;
pub use view::View;

use access::AccessLimiter;
use admission::Admission;
use bucket_protocol::{SecondHalf, Unfinished};
use command::RecordDenied;
use content::{BlobKeeper, Sources, Staging};
use crossbeam_channel::{Sender, TrySendError};
use decide::DecideError;
use history::HistoryState;
use shard::{Call, CommandResult, ReplyTo, shard_of};
use siltstone_log::event::{AccessDenied, Actor};
use siltstone_log::host::{Clock, Entropy};
use siltstone_log::id::AccountId;
use siltstone_log::recovery::Recovered;
use siltstone_log::witness::is_refused;
use siltstone_projections::rows::ObjectRow;
use siltstone_projections::store::Store;
use status::Progress;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::oneshot;

/// The tenant that exists from the start.
pub const DEFAULT_TENANT: &str = "default";
/// Root's account, which exists from the start.
pub const ROOT_ACCOUNT: AccountId = AccountId(*b"siltstone/root..");
/// Root's user name, which nobody else can take. Its credentials are in `keys/`, not in the log.
pub const ROOT_USER: &str = "root";

/// A running engine. Clones are handles to the same one.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

struct Shared {
    calls: Vec<Sender<Call>>,
    store: Arc<dyn Store>,
    admission: Arc<Admission>,
    staging: Arc<Staging>,
    sources: Arc<Sources>,
    blobs: Arc<BlobKeeper>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    denied: Mutex<AccessLimiter>,
    unfinished: Unfinished,
    history: HistoryState,
    progress: Arc<Progress>,
    damage: Arc<damage::FoundDamage>,
    observer: Arc<dyn Observer>,
    recovered: Recovered,
    threads: Mutex<Option<open::Threads>>,
}

impl Engine {
    /// Decides a command and makes it durable. Must be called within a tokio runtime. A caller that goes away in the
    /// middle does not undo the command.
    pub async fn submit(&self, command: Command) -> Result<Receipt, EngineError> {
        let (began, action) = (self.shared.clock.monotonic_nanos(), command.action.name());
        let result = match SecondHalf::of(&command.action) {
            None => self.call(command).await,
            Some(half) => {
                // Both halves run to their end even if the client leaves between them.
                let engine = self.clone();
                let both = tokio::spawn(async move { engine.both_halves(command, half).await });
                both.await.unwrap_or(Err(Fault::Ended("bucket protocol").into()))
            }
        };
        let nanos = self.shared.clock.monotonic_nanos().saturating_sub(began);
        self.shared.observer.answered(action, &result, nanos);
        result
    }

    /// What a command's decision would be now, without carrying it out: nothing is written, and nobody is asked to wait.
    pub fn preview(&self, action: Action) -> Result<(), EngineError> {
        let stream = action.stream();
        match decide::decide(&self.view(), action) {
            Ok(_) if is_refused(&self.shared.recovered.quarantine, stream) => {
                Err(Unavailable::Quarantined.into())
            }
            Ok(_) => Ok(()),
            Err(DecideError::Rejected(rejection)) => Err(rejection.into()),
            Err(DecideError::Fault(fault)) => Err(fault.into()),
        }
    }

    async fn both_halves(&self, command: Command, half: SecondHalf) -> CommandResult {
        let (actor, permit) = (command.actor.clone(), command.permit.clone());
        let first = self.call(command).await?;
        let half = half.resolved(&first.outcome);
        let second = Command::new(actor.clone(), half.clone(), self.entropy());
        let result = self.call(Command { permit, ..second }).await;
        if matches!(result, Err(EngineError::Unavailable(_))) {
            self.shared.unfinished.note(actor, half);
        }
        result
    }

    /// Repeats second halves that were refused.
    fn repeat_unfinished(&self) {
        self.shared
            .unfinished
            .repeat(self.entropy(), |command, reply| self.send(command, ReplyTo::Thread(reply)));
    }

    async fn call(&self, command: Command) -> CommandResult {
        let (reply, answer) = oneshot::channel();
        self.send(command, ReplyTo::Task(reply))?;
        answer.await.unwrap_or(Err(Fault::Ended("engine shard").into()))
    }

    fn send(&self, command: Command, reply: ReplyTo) -> Result<(), EngineError> {
        let shard = shard_of(command.stream(), self.shared.calls.len());
        let Some(calls) = self.shared.calls.get(shard) else {
            return Err(Unavailable::ShuttingDown.into());
        };
        calls.try_send(Call { command: Box::new(command), reply }).map_err(|error| match error {
            TrySendError::Full(_) => Unavailable::SlowDown.into(),
            TrySendError::Disconnected(_) => Unavailable::ShuttingDown.into(),
        })
    }

    /// Reads: what is durable, and nothing else.
    pub fn view(&self) -> View {
        View::new(self.shared.store.clone(), self.shared.progress.changes.clone())
    }

    /// Lets a request in, or says why not: before its body is read.
    pub fn admit(&self, need: Need) -> Result<Permit, Unavailable> {
        self.shared.admission.admit(need)
    }

    /// Begins to take a body. `declared` is its length where the client announced one; `permit` is held as long as
    /// any of its bytes.
    pub fn content_sink(&self, placement: Placement, declared: Option<u64>, permit: Permit) -> ContentSink {
        ContentSink::new(self.shared.staging.clone(), placement, declared, permit)
    }

    /// Room for an answer of this many bytes, if there is some at once. For threads that may not wait.
    pub fn try_admit_read(&self, bytes: u64) -> Option<ReadPermit> {
        self.shared.admission.try_read(bytes)
    }

    /// Room for an answer of this many bytes; waits a while where there is none.
    pub async fn admit_read(&self, bytes: u64) -> Result<ReadPermit, Unavailable> {
        self.shared.admission.read(bytes).await
    }

    /// Begins to read a range of an object's bytes, which hold `permit`.
    pub fn read_content(&self, object: &ObjectRow, range: Range<u64>, permit: ReadPermit) -> ContentReader {
        ContentReader::new(self.shared.sources.clone(), object, range, permit)
    }

    /// Records that a request was refused because of who sent it. Nobody waits for the record; an address that is
    /// refused too often is summed up.
    pub fn note_denied(&self, actor: Actor, denied: AccessDenied) {
        let now = self.shared.clock.monotonic_nanos();
        let recorded = {
            let mut limiter = self.shared.denied.lock().unwrap_or_else(PoisonError::into_inner);
            limiter.note(&actor.address, now)
        };
        if recorded {
            // Evidence gives way to work: where the queue is full it is dropped.
            drop(self.send(Command::new(actor, RecordDenied(denied), self.entropy()), ReplyTo::Nobody));
        }
    }

    /// Where identifiers and salts come from.
    pub fn entropy(&self) -> &dyn Entropy {
        &*self.shared.entropy
    }

    /// What time it is.
    pub fn clock(&self) -> &dyn Clock {
        &*self.shared.clock
    }

    /// What recovery found at the start.
    pub fn recovered(&self) -> &Recovered {
        &self.shared.recovered
    }

    /// How far the node is, and whether it is well.
    pub fn status(&self) -> EngineStatus {
        let (durable, applied, projections_stuck) = self.shared.progress.read();
        let (in_flight_bytes, in_flight_requests) = self.shared.admission.in_flight();
        EngineStatus {
            durable,
            applied,
            in_flight_bytes,
            in_flight_requests,
            free: self.shared.admission.free(),
            has_space: self.shared.admission.has_space(),
            projections_stuck,
            history: self.shared.history.read(),
            unreadable_ranges: self.shared.damage.count(),
            failure: self.shared.progress.failure(),
        }
    }

    /// Waits until the disk fails. Nothing is acknowledged after that: the process is to end with exit code 74.
    pub async fn failed(&self) -> Fault {
        let mut failure = self.shared.progress.watch_failure();
        loop {
            if let Some(fault) = failure.borrow_and_update().clone() {
                return fault;
            }
            if failure.changed().await.is_err() {
                return Fault::Ended("engine");
            }
        }
    }

    /// Lets nothing more in; what is under way goes on. The first step of a shutdown.
    pub fn close(&self) {
        self.shared.admission.close();
    }

    /// Answers what is under way, seals the log and the packs, makes the projections durable and ends every thread.
    /// Blocks. Commands that come later are refused.
    pub fn shutdown(&self) {
        self.shared.stop();
    }
}

impl Shared {
    fn stop(&self) {
        self.admission.close();
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(threads) = threads {
            threads.stop();
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // ORDER: the lock on the data directory must not go before the threads that write there.
        self.stop();
    }
}
