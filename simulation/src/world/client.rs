//! The clients: each does one operation after the other, through the same state machines that a door would use.

use super::disk::SimDisk;
use super::node::{Waiter, visible};
use super::request::{action_of, actor, read_object};
use super::{Happening, Owner, World};
use crate::invariants::Violation;
use crate::oracle::{Answer, Intent, OpId, Seen, etag_of};
use crate::sometimes::State;
use crate::workload::{KnownUpload, Work};
use bytes::Bytes;
use serde_json::json;
use siltstone::engine::StagedContent;
use siltstone::engine::bucket_protocol::SecondHalf;
use siltstone::engine::content::{BlobGuard, Fate, StagedBlob};
use siltstone::engine::outcome::{EngineError, Outcome, Receipt, Rejection, Unavailable};
use siltstone_log::event::{Content, ContentSource};
use siltstone_log::host::{DiskOp, DiskResult};
use siltstone_log::id::{BlobId, Salt, Seq, StreamId};
use siltstone_log::pack::stager::{Hashed, StagerStep};
use siltstone_log::pack::{BlobHasher, BlobPlace, BlobStager, ExtentPlace, PackInput, PackRefusal};
use siltstone_log::record::Salted;
use siltstone_log::script::{Script, Step};
use siltstone_log::witness::is_refused;
use siltstone_projections::objects::{ListEntry, ListQuery};
use siltstone_projections::rows::ObjectRow;
use siltstone_projections::{buckets, objects};
use std::collections::BTreeMap;
use std::sync::PoisonError;

type Checked = Result<(), Violation>;

/// Which half of an operation a command is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The only one, or the first.
    First,
    /// The second half of creating or deleting a bucket.
    Second,
}

struct Staging {
    op: OpId,
    work: Work,
    blob: BlobId,
    stager: BlobStager,
    hasher: BlobHasher,
    writes: usize,
    place: Option<BlobPlace>,
    finishing: bool,
    /// Set when no more room was given: what is under way is waited for, then the blob is abandoned.
    refused: Option<PackRefusal>,
}

struct Reading {
    op: OpId,
    row: ObjectRow,
    high: Seq,
    script: Script<Result<Vec<u8>, String>>,
}

enum Doing {
    Nothing,
    Staging(Box<Staging>),
    Waiting { second: Option<SecondHalf> },
    Reading(Box<Reading>),
}

/// One client.
pub(crate) struct Client {
    doing: Doing,
}

impl Client {
    /// Whether it has nothing under way.
    pub(crate) fn is_idle(&self) -> bool {
        matches!(self.doing, Doing::Nothing)
    }
}

impl World {
    pub(crate) fn add_clients(&mut self) {
        for client in 0..usize::try_from(self.plan.clients).unwrap_or(1) {
            self.clients.push(Client { doing: Doing::Nothing });
            let delay = self.schedule.between(1, 1000) * 1000;
            self.after(delay, Happening::Client(client));
        }
    }

    fn take(&mut self, client: usize) -> Doing {
        self.clients
            .get_mut(client)
            .map_or(Doing::Nothing, |client| std::mem::replace(&mut client.doing, Doing::Nothing))
    }

    fn put(&mut self, client: usize, doing: Doing) {
        if let Some(client) = self.clients.get_mut(client) {
            client.doing = doing;
        }
    }

    pub(crate) fn client_turn(&mut self, client: usize) -> Checked {
        let idle = self.clients.get(client).is_some_and(Client::is_idle);
        if !idle || self.operations_left == 0 || self.unavailable().is_some() {
            return Ok(());
        }
        self.operations_left -= 1;
        self.maybe_jump();
        let op = OpId(self.next_op);
        self.next_op += 1;
        let work = self.draw_work(op);
        self.counters.operations += 1;
        self.history.invoke(op, work.intent.clone());
        let fields = json!({"op": op.0, "client": client, "what": work.intent.name(), "intent": format!("{:?}", work.intent)});
        self.event("invoke", &fields);
        match &work.intent {
            Intent::Get { stream, key } => {
                let (stream, key) = (*stream, key.clone());
                self.begin_get(client, op, stream, &key)
            }
            Intent::List { stream } => {
                let stream = *stream;
                self.list(client, op, stream)
            }
            Intent::Put { size, .. } if *size > self.plan.inline_max => self.stage(client, op, work),
            Intent::Part { size, .. } if *size > 0 => self.stage(client, op, work),
            _ => {
                let content = self.small_content(&work.body);
                self.submit_work(client, op, work.intent, content)
            }
        }
    }

    fn maybe_jump(&mut self) {
        if self.faults.once_in(self.plan.clock_jump_one_in) {
            let size = i64::try_from(self.faults.between(1, 3_600_000)).unwrap_or(1);
            let millis = if self.faults.coin() { size } else { -size };
            self.clock.jump(millis);
            self.counters.sometimes(State::ClockBack, millis < 0);
            self.event("clock-jump", &json!({"millis": millis}));
        }
    }

    fn small_content(&mut self, body: &[u8]) -> StagedContent {
        if body.is_empty() {
            return StagedContent::Empty;
        }
        let salt = Salt(self.work.bytes());
        StagedContent::Inline(Salted::new(salt, body))
    }

    fn submit_work(&mut self, client: usize, op: OpId, intent: Intent, content: StagedContent) -> Checked {
        let action = action_of(intent, content);
        self.put(client, Doing::Waiting { second: SecondHalf::of(&action) });
        self.command(Waiter::Client { client, op, phase: Phase::First }, actor(op), action)
    }

    pub(crate) fn client_answered(
        &mut self,
        client: usize,
        op: OpId,
        phase: Phase,
        result: Result<Receipt, EngineError>,
    ) -> Checked {
        let doing = self.take(client);
        if let (Doing::Waiting { second: Some(half) }, Phase::First, Ok(receipt)) = (doing, phase, &result) {
            self.put(client, Doing::Waiting { second: None });
            let action = half.after(&receipt.outcome);
            return self.second_half(client, op, action);
        }
        let stream = self.history.get(op).map_or(StreamId::SYSTEM, |entry| entry.intent.stream());
        let answer = match result {
            Ok(Receipt { stream, seq, position, outcome, .. }) => {
                self.learn(op, &outcome);
                Answer::Done { stream, seq, position, outcome }
            }
            // The first half has happened; that the second one did not is for the next start to mend.
            Err(_) if phase == Phase::Second => Answer::Unknown,
            Err(EngineError::Rejected(rejection)) => {
                let precondition = matches!(rejection, Rejection::PreconditionFailed(_));
                self.counters.sometimes(State::PreconditionFailed, precondition);
                Answer::Rejected(rejection)
            }
            Err(EngineError::Unavailable(reason)) => {
                self.counters.sometimes(State::NoSpace, reason == Unavailable::NoSpace);
                Answer::Refused(reason)
            }
            Err(EngineError::Fault(_)) => Answer::Unknown,
        };
        let high = self.durable(stream);
        self.finish(client, op, high, answer);
        Ok(())
    }

    /// What a client knows once an operation of its succeeded.
    fn learn(&mut self, op: OpId, outcome: &Outcome) {
        let Some(entry) = self.history.get(op) else { return };
        match &entry.intent {
            Intent::BeginUpload { stream, key, upload } => {
                let known = KnownUpload {
                    stream: *stream,
                    key: key.clone(),
                    upload: *upload,
                    parts: BTreeMap::new(),
                };
                self.uploads.push(known);
                // Only the youngest are worked on, so that some are completed.
                if self.uploads.len() > 4 {
                    self.uploads.remove(0);
                }
            }
            Intent::Part { upload, number, etag, .. } => {
                if let Some(known) = self.uploads.iter_mut().find(|known| known.upload == *upload) {
                    known.parts.insert(*number, etag.clone());
                }
            }
            Intent::Complete { .. } => {
                self.counters
                    .sometimes(State::UploadCompleted, matches!(outcome, Outcome::MultipartCompleted(_)));
            }
            _ => {}
        }
    }

    fn finish(&mut self, client: usize, op: OpId, high: Seq, answer: Answer) {
        match &answer {
            Answer::Unknown => self.counters.unknown += 1,
            Answer::Rejected(_) | Answer::Refused(_) => self.counters.refused += 1,
            Answer::Done { .. } | Answer::Object(_) | Answer::Listed(_) | Answer::Damaged => {
                self.counters.acknowledged += 1;
            }
        }
        self.event("told", &json!({"op": op.0, "answer": format!("{answer:?}")}));
        let answer = self.excuse(op, answer);
        self.history.answer(op, high, answer);
        self.put(client, Doing::Nothing);
        let delay = self.schedule.between(1, 2000) * 1000;
        self.after(delay, Happening::Client(client));
    }

    /// Of a stream in quarantine it is known that records may be missing: what is told of its state claims nothing.
    fn excuse(&self, op: OpId, answer: Answer) -> Answer {
        let stream = self.history.get(op).map(|entry| entry.intent.stream());
        let quarantine = self.node.as_ref().map(|node| &node.recovered.quarantine);
        match (quarantine, stream) {
            (Some(quarantine), Some(stream)) if is_refused(quarantine, stream) => match answer {
                Answer::Unknown | Answer::Refused(_) => answer,
                _ => Answer::Damaged,
            },
            _ => answer,
        }
    }

    fn stage(&mut self, client: usize, op: OpId, work: Work) -> Checked {
        let blob = BlobId(self.work.bytes());
        self.blob_ops.insert(blob, op);
        let salt = Salt(self.work.bytes());
        let extent_bytes = self.node.as_ref().map_or(0, |node| node.packs.config().extent_bytes);
        let declared = self.work.coin().then_some(work.body.len() as u64);
        let mut stager = BlobStager::new(extent_bytes, declared);
        stager.push(Bytes::from(work.body.clone()));
        stager.end();
        let hasher = BlobHasher::new(self.log_id, blob, salt);
        let staging = Staging {
            op,
            work,
            blob,
            stager,
            hasher,
            writes: 0,
            place: None,
            finishing: false,
            refused: None,
        };
        self.put(client, Doing::Staging(Box::new(staging)));
        self.stage_step(client)
    }

    fn stage_step(&mut self, client: usize) -> Checked {
        let Doing::Staging(mut staging) = self.take(client) else { return Ok(()) };
        let mut ops: Vec<DiskOp> = Vec::new();
        let mut ask = None;
        loop {
            match staging.stager.step() {
                StagerStep::Feed | StagerStep::Done => break,
                StagerStep::Reserve { bytes } => {
                    ask = Some(bytes);
                    break;
                }
                StagerStep::Piece(piece) => {
                    ops.extend(piece.ops());
                    match staging.hasher.update(&piece) {
                        Hashed::More => {}
                        Hashed::Extent(header) => ops.push(header),
                        Hashed::Blob(header, place) => {
                            ops.push(header);
                            staging.place = Some(place);
                        }
                    }
                }
            }
        }
        staging.writes += ops.len();
        let blob = staging.blob;
        self.put(client, Doing::Staging(staging));
        for op in ops {
            self.submit(Owner::Client(client), op);
        }
        match ask {
            Some(bytes) => self.packs_input(PackInput::Reserve { blob, bytes }),
            None => Ok(()),
        }
    }

    fn staging_of(&mut self, blob: BlobId) -> Option<usize> {
        self.clients
            .iter()
            .position(|client| matches!(&client.doing, Doing::Staging(staging) if staging.blob == blob))
    }

    pub(crate) fn client_reserved(&mut self, blob: BlobId, extent: ExtentPlace) -> Checked {
        let Some(client) = self.staging_of(blob) else { return Ok(()) };
        if let Some(Client { doing: Doing::Staging(staging) }) = self.clients.get_mut(client) {
            staging.stager.extent(extent);
        }
        self.stage_step(client)
    }

    pub(crate) fn client_disk(&mut self, client: usize, result: DiskResult) -> Checked {
        match self.take(client) {
            Doing::Staging(mut staging) => {
                staging.writes -= 1;
                self.put(client, Doing::Staging(staging));
                match result {
                    Err(error) => self.packs_input(PackInput::WriteFailed(error)),
                    Ok(_) => self.staged_so_far(client),
                }
            }
            Doing::Reading(reading) => self.read_step(client, reading, Some(result)),
            doing => {
                self.put(client, doing);
                Ok(())
            }
        }
    }

    /// Where no write is under way: goes on with a blob that is written, or gives up one that will not be.
    ///
    /// ORDER: a blob is abandoned only when no write of it is under way. One that landed later would hit space that
    /// is given to another by then.
    fn staged_so_far(&mut self, client: usize) -> Checked {
        let Some(Client { doing: Doing::Staging(staging) }) = self.clients.get_mut(client) else {
            return Ok(());
        };
        if staging.writes > 0 || staging.finishing {
            return Ok(());
        }
        let (op, blob) = (staging.op, staging.blob);
        let given_up = match staging.refused {
            Some(PackRefusal::NoSpace) => Some(Unavailable::NoSpace),
            Some(PackRefusal::Busy) => Some(Unavailable::SlowDown),
            Some(PackRefusal::Failed | PackRefusal::Stopping | PackRefusal::NotReserved) => {
                Some(Unavailable::ShuttingDown)
            }
            None if staging.work.gives_up => Some(Unavailable::SlowDown),
            None => None,
        };
        if let Some(reason) = given_up {
            self.counters.reach(State::BlobGivenBack);
            self.put(client, Doing::Waiting { second: None });
            self.packs_input(PackInput::Abandon { blob })?;
            self.finish(client, op, Seq(0), Answer::Refused(reason));
            return Ok(());
        }
        let Some(place) = staging.place.clone() else { return Ok(()) };
        staging.finishing = true;
        self.packs_input(PackInput::Finish { blob, place })
    }

    pub(crate) fn client_durable(&mut self, blob: BlobId) -> Checked {
        let Some(client) = self.staging_of(blob) else { return Ok(()) };
        let Doing::Staging(staging) = self.take(client) else { return Ok(()) };
        let Staging { op, work, place: Some(place), .. } = *staging else { return Ok(()) };
        let given_back = self.given_back.clone();
        let (len, hash) = (place.len, place.hash);
        let guard = BlobGuard::new(move |fate| {
            if fate == Fate::Dropped {
                given_back.lock().unwrap_or_else(PoisonError::into_inner).push((blob, place));
            }
        });
        let content = StagedContent::Blob(StagedBlob { id: blob, len, hash, guard });
        self.submit_work(client, op, work.intent, content)
    }

    pub(crate) fn client_blob_refused(&mut self, blob: BlobId, reason: PackRefusal) -> Checked {
        let Some(client) = self.staging_of(blob) else { return Ok(()) };
        let fields = json!({"blob": blob.to_string(), "reason": format!("{reason:?}")});
        self.event("blob-refused", &fields);
        self.counters.sometimes(State::NoSpace, reason == PackRefusal::NoSpace);
        if let Some(Client { doing: Doing::Staging(staging) }) = self.clients.get_mut(client) {
            staging.refused = Some(reason);
            staging.finishing = false;
        }
        self.staged_so_far(client)
    }

    fn begin_get(
        &mut self,
        client: usize,
        op: OpId,
        stream: StreamId,
        key: &siltstone_log::name::ObjectKey,
    ) -> Checked {
        let rows = self.store.rows();
        let failed =
            |error: siltstone_projections::StoreError| Violation::new("projections", error.to_string());
        let high = visible(rows, stream);
        let open = buckets::get(rows, stream).map_err(failed)?.is_some_and(|bucket| bucket.is_open());
        let row = objects::current(rows, stream, key).map_err(failed)?.filter(|_| open);
        let Some(row) = row else {
            self.read_done(client, op, stream, high, Answer::Object(None));
            return Ok(());
        };
        let (log_id, index, wanted) = (self.log_id, self.index.clone(), row.clone());
        let script = Script::new(move |io| read_object(io, log_id, index, wanted));
        self.read_step(client, Box::new(Reading { op, row, high, script }), None)
    }

    fn read_step(&mut self, client: usize, mut reading: Box<Reading>, result: Option<DiskResult>) -> Checked {
        let step = reading.script.resume(result);
        match step {
            Step::Submit(op) => {
                self.put(client, Doing::Reading(reading));
                self.submit(Owner::Client(client), op);
                Ok(())
            }
            Step::Done(bytes) => self.read_content(client, &reading, bytes),
        }
    }

    fn read_content(&mut self, client: usize, reading: &Reading, bytes: Result<Vec<u8>, String>) -> Checked {
        let Reading { op, row, high, .. } = reading;
        let stream = self.history.get(*op).map_or(StreamId::SYSTEM, |entry| entry.intent.stream());
        let checker = "a read gives the bytes that were written";
        match bytes {
            Err(message) if self.rotten => {
                self.counters.reach(State::DamagedContent);
                self.event("damaged", &json!({"op": op.0, "why": message}));
                self.finish(client, *op, *high, Answer::Damaged);
                Ok(())
            }
            Err(message) => Err(Violation::new(checker, format!("{op:?} {row:?}: {message}"))),
            Ok(bytes) => {
                let expected = self.expected(row, &bytes);
                if !expected {
                    return Err(Violation::new(
                        checker,
                        format!("{op:?} read {} other bytes for {row:?}", bytes.len()),
                    ));
                }
                let seen = Seen { seq: row.seq, etag: row.etag.clone(), size: row.size };
                self.read_done(client, *op, stream, *high, Answer::Object(Some(seen)));
                Ok(())
            }
        }
    }

    /// Whether these are the bytes of an object: by its ETag, or by the parts it was completed from.
    fn expected(&self, row: &ObjectRow, bytes: &[u8]) -> bool {
        if row.parts.is_empty() {
            return bytes.len() as u64 == row.size && etag_of(bytes) == row.etag;
        }
        let Content::Slices(slices) = &row.content else { return bytes.is_empty() };
        let mut rest = bytes;
        for slice in slices {
            let ContentSource::Blob { blob } = slice.source else { return false };
            let Some(op) = self.blob_ops.get(&blob) else { return false };
            let Some(after) = rest.strip_prefix(op.body(slice.len).as_slice()) else { return false };
            rest = after;
        }
        rest.is_empty()
    }

    fn read_done(&mut self, client: usize, op: OpId, stream: StreamId, high: Seq, answer: Answer) {
        self.finish(client, op, high, answer);
        self.history.shown(stream, high);
    }

    fn list(&mut self, client: usize, op: OpId, stream: StreamId) -> Checked {
        let failed =
            |error: siltstone_projections::StoreError| Violation::new("projections", error.to_string());
        let high = visible(self.store.rows(), stream);
        let limit = self.work.index(5) + 1;
        let mut seen = BTreeMap::new();
        let mut after = None;
        loop {
            let query = ListQuery { after, limit, ..ListQuery::default() };
            let page = objects::list(self.store.rows(), stream, &query).map_err(failed)?;
            for entry in page.entries {
                if let ListEntry::Object { key, object } = entry {
                    let entry = Seen { seq: object.seq, etag: object.etag, size: object.size };
                    seen.insert(key, entry);
                }
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        self.read_done(client, op, stream, high, Answer::Listed(seen));
        Ok(())
    }

    /// A copy of the disk to look at.
    pub fn observer(&self) -> SimDisk {
        self.disk.observer()
    }
}
