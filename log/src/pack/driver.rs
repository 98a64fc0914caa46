//! The real threads around [`PackWriter`]: `pack-writer` decides, `pack-sync` syncs, `pack-files` does the rest, so
//! that a stream that needs room never waits for another one's sync.

use super::api::{PackEffect, PackInput, PackRefusal};
use super::index::{BlobIndex, BlobIndexError};
use super::place::{BlobPlace, ExtentPlace};
use super::stager::{BlobHasher, BlobStager};
use super::write_gate::WriteGate;
use super::writer::PackWriter;
use crate::host::{Disk, DiskError, DiskOp, Ticket};
use crate::id::{BlobId, LogId, Salt};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, mpsc};
use std::thread::{Builder, JoinHandle};

/// Requests for room that may wait in front of the writer; more are refused as [`PackError::Busy`].
const MAX_WAITING: usize = 4096;

/// Why a request about a blob failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PackError {
    /// The pack writer refused.
    #[error(transparent)]
    Refused(#[from] PackRefusal),
    /// The blob is durable but could not be noted in the index: it would not be found again.
    #[error(transparent)]
    Index(#[from] BlobIndexError),
    /// A write of content failed; the store stops being durable.
    #[error(transparent)]
    Write(#[from] DiskError),
    /// Too many requests wait already.
    #[error("too many requests for room in packs")]
    Busy,
    /// The writer has ended.
    #[error("the pack writer has ended")]
    Closed,
}

type RoomReply = Box<dyn FnOnce(Result<ExtentPlace, PackError>) + Send>;
type DurableReply = Box<dyn FnOnce(Result<(), PackError>) + Send>;

/// What a [`PackClient`] sends.
enum Call {
    Reserve(BlobId, u32, RoomReply),
    Finish(BlobId, BlobPlace, DurableReply),
    Plain(PackInput),
}

/// The way to the pack writer. Replies are called on its thread and must not block; one that is dropped without
/// being called says that the blob was abandoned or the writer died.
#[derive(Clone)]
pub struct PackClient {
    calls: Sender<Call>,
    gate: Arc<WriteGate>,
    waiting: Arc<AtomicUsize>,
    giving_back: Arc<AtomicU64>,
    log_id: LogId,
    extent_bytes: u32,
}

impl PackClient {
    /// The two pure halves that stage one blob.
    pub fn stager(&self, blob: BlobId, salt: Salt, declared: Option<u64>) -> (BlobStager, BlobHasher) {
        (BlobStager::new(self.extent_bytes, declared), BlobHasher::new(self.log_id, blob, salt))
    }

    /// The log whose packs these are, as [`super::BlobReader`] needs it.
    pub fn log_id(&self) -> LogId {
        self.log_id
    }

    /// Asks for room for up to `bytes` more content bytes of a blob; what is given may be less.
    pub fn reserve(
        &self,
        blob: BlobId,
        bytes: u32,
        reply: impl FnOnce(Result<ExtentPlace, PackError>) + Send + 'static,
    ) {
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= MAX_WAITING {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return reply(Err(PackError::Busy));
        }
        if let Err(mpsc::SendError(Call::Reserve(_, _, reply))) =
            self.calls.send(Call::Reserve(blob, bytes, Box::new(reply)))
        {
            reply(Err(PackError::Closed));
        }
    }

    /// Says that every write of a blob has returned, and asks to be told when it is durable and in the index.
    pub fn finish(
        &self,
        blob: BlobId,
        place: BlobPlace,
        reply: impl FnOnce(Result<(), PackError>) + Send + 'static,
    ) {
        if let Err(mpsc::SendError(Call::Finish(_, _, reply))) =
            self.calls.send(Call::Finish(blob, place, Box::new(reply)))
        {
            reply(Err(PackError::Closed));
        }
    }

    /// Gives an unfinished blob's space back.
    pub fn abandon(&self, blob: BlobId) {
        self.tell(PackInput::Abandon { blob });
    }

    /// Gives a finished blob's space back. Its record must be gone durably, or never have been submitted; readers
    /// that are still in it will find zeros.
    pub fn free(&self, blob: BlobId, place: BlobPlace) {
        self.tell(PackInput::Free { blob, place });
    }

    /// Bytes of freed blobs whose space is not back yet.
    pub fn giving_back(&self) -> u64 {
        self.giving_back.load(Ordering::Relaxed)
    }

    /// Writes content: the only way to do so, blocking. Not called once the store is stopping.
    ///
    /// ORDER: a failure is reported before anybody else hears of it. After a failed write nobody knows what the disk
    /// holds, so the whole store stops acknowledging, whether or not the one who uploads is still there.
    pub fn write<T>(&self, write: impl FnOnce() -> Result<T, DiskError>) -> Result<T, PackError> {
        let _inside = self.gate.enter().ok_or(PackError::Closed)?;
        write().map_err(|error| {
            self.tell(PackInput::WriteFailed(error.clone()));
            error.into()
        })
    }

    fn tell(&self, input: PackInput) {
        // A writer that has ended has nothing to give back.
        let _ = self.calls.send(Call::Plain(input));
    }
}

/// The running pack writer.
pub struct PackThread {
    calls: Sender<Call>,
    gate: Arc<WriteGate>,
    threads: Vec<JoinHandle<()>>,
}

impl PackThread {
    /// Starts the threads. `failed` is called once, on a thread of the writer, when a write or sync failed.
    pub fn spawn<D: Disk + Clone + Send + 'static>(
        writer: PackWriter,
        disk: &D,
        index: Arc<dyn BlobIndex>,
        failed: impl FnOnce(DiskError) + Send + 'static,
    ) -> io::Result<(Self, PackClient)> {
        let (calls, inbox) = channel();
        let (sync, sync_thread) = worker("pack-sync", disk.clone(), calls.clone())?;
        let (files, files_thread) = worker("pack-files", disk.clone(), calls.clone())?;
        let waiting = Arc::new(AtomicUsize::new(0));
        let giving_back = Arc::new(AtomicU64::new(0));
        let gate = Arc::new(WriteGate::default());
        let client = PackClient {
            calls: calls.clone(),
            gate: gate.clone(),
            waiting: waiting.clone(),
            giving_back: giving_back.clone(),
            log_id: writer.log_id(),
            extent_bytes: writer.config().extent_bytes,
        };
        let replies = BTreeMap::new();
        let failed: FailedReply = Box::new(failed);
        let failed = Some(failed);
        let driver =
            Driver { writer, index, replies, waiting, giving_back, sync, files, failed, stopped: false };
        let decide = Builder::new().name("pack-writer".into()).spawn(move || driver.run(&inbox))?;
        Ok((Self { calls, gate, threads: vec![decide, sync_thread, files_thread] }, client))
    }

    /// Seals what is open and ends. Blobs that are not finished are given up.
    pub fn stop(self) {
        // ORDER: their writes end before their space is given back.
        self.gate.close();
        let _ = self.calls.send(Call::Plain(PackInput::Stop));
        for thread in self.threads {
            // A panic was printed where it happened; there is nothing left to end.
            let _ = thread.join();
        }
    }
}

type Work = (Ticket, DiskOp);

/// A thread that executes operations in turn and sends their completions to the writer.
fn worker(
    name: &str,
    mut disk: impl Disk + Send + 'static,
    done: Sender<Call>,
) -> io::Result<(Sender<Work>, JoinHandle<()>)> {
    let (work, inbox) = channel::<Work>();
    let thread = Builder::new().name(name.into()).spawn(move || {
        for (ticket, op) in inbox {
            disk.submit(ticket, op);
            while let Some(completion) = disk.poll() {
                // A writer that has ended waits for nothing.
                let _ = done.send(Call::Plain(PackInput::Disk(completion)));
            }
        }
    })?;
    Ok((work, thread))
}

type FailedReply = Box<dyn FnOnce(DiskError) + Send>;

enum Reply {
    Room(RoomReply),
    Durable(DurableReply),
}

impl Reply {
    fn refuse(self, error: PackError) {
        match self {
            Self::Room(reply) => reply(Err(error)),
            Self::Durable(reply) => reply(Err(error)),
        }
    }
}

struct Driver {
    writer: PackWriter,
    index: Arc<dyn BlobIndex>,
    replies: BTreeMap<BlobId, VecDeque<Reply>>,
    waiting: Arc<AtomicUsize>,
    giving_back: Arc<AtomicU64>,
    sync: Sender<Work>,
    files: Sender<Work>,
    failed: Option<FailedReply>,
    stopped: bool,
}

impl Driver {
    fn run(mut self, inbox: &Receiver<Call>) {
        let mut effects = Vec::new();
        while !self.stopped
            && let Ok(call) = inbox.recv()
        {
            let input = self.note(call);
            self.writer.handle(input, &mut effects);
            self.giving_back.store(self.writer.giving_back(), Ordering::Relaxed);
            for effect in effects.drain(..) {
                self.carry_out(effect);
            }
        }
    }

    fn note(&mut self, call: Call) -> PackInput {
        match call {
            Call::Reserve(blob, bytes, reply) => {
                self.waiting.fetch_sub(1, Ordering::Relaxed);
                self.replies.entry(blob).or_default().push_back(Reply::Room(reply));
                PackInput::Reserve { blob, bytes }
            }
            Call::Finish(blob, place, reply) => {
                self.replies.entry(blob).or_default().push_back(Reply::Durable(reply));
                PackInput::Finish { blob, place }
            }
            Call::Plain(input) => {
                if let PackInput::Abandon { blob } | PackInput::Free { blob, .. } = &input {
                    self.replies.remove(blob);
                }
                input
            }
        }
    }

    fn answer(&mut self, blob: BlobId) -> Option<Reply> {
        let waiting = self.replies.get_mut(&blob)?;
        let reply = waiting.pop_front();
        if waiting.is_empty() {
            self.replies.remove(&blob);
        }
        reply
    }

    fn carry_out(&mut self, effect: PackEffect) {
        match effect {
            PackEffect::Disk(ticket, op) => {
                let worker = if matches!(op, DiskOp::Sync { .. }) { &self.sync } else { &self.files };
                // A worker that is gone has panicked; the operation then never completes, and nothing is durable.
                let _ = worker.send((ticket, op));
            }
            PackEffect::Reserved { blob, extent } => match self.answer(blob) {
                Some(Reply::Room(reply)) => reply(Ok(extent)),
                Some(Reply::Durable(_)) | None => {}
            },
            PackEffect::Durable { blob, place } => {
                // ORDER: the index has the blob before its owner can name it in a record.
                let put = self.index.put(blob, &place);
                match self.answer(blob) {
                    Some(Reply::Durable(reply)) => reply(put.map_err(PackError::from)),
                    Some(Reply::Room(_)) | None => {}
                }
            }
            PackEffect::Refused { blob, reason } => {
                if let Some(reply) = self.answer(blob) {
                    reply.refuse(reason.into());
                }
            }
            PackEffect::Freed { blob } => {
                // A blob that stays in the index although it is gone is found and freed again by the next sweep.
                let _ = self.index.remove(blob);
            }
            PackEffect::Sealed { pack } => {
                // A pack without its mark is only looked into again at the next start.
                let _ = self.index.mark_indexed(pack);
            }
            PackEffect::Failed(error) => self.fail(error),
            PackEffect::Stopped => self.stopped = true,
        }
    }

    fn fail(&mut self, error: DiskError) {
        for reply in std::mem::take(&mut self.replies).into_values().flatten() {
            reply.refuse(PackRefusal::Failed.into());
        }
        if let Some(failed) = self.failed.take() {
            failed(error);
        }
    }
}
