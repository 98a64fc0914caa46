//! The clients: each does one operation after the other, through the same state machines that a door would use.

use super::disk::SimDisk;
use super::reading::Reading;
use super::request::{action_of, actor};
use super::{Happening, Owner, World};
use crate::invariants::Violation;
use crate::oracle::{Answer, Intent, OpId};
use crate::sometimes::State;
use crate::workload::{KnownUpload, Work};
use crate::world::note;
use bytes::Bytes;
use siltstone::engine::StagedContent;
use siltstone::engine::bucket_protocol::SecondHalf;
use siltstone::engine::content::{BlobGuard, Fate, StagedBlob};
use siltstone::engine::outcome::{EngineError, Outcome, Receipt, Rejection, Unavailable};
use siltstone_log::host::{DiskOp, DiskResult};
use siltstone_log::id::{BlobId, Salt, Seq, StreamId};
use siltstone_log::pack::stager::{Hashed, StagerStep};
use siltstone_log::pack::{BlobHasher, BlobPlace, BlobStager, ExtentPlace, PackInput, PackRefusal};
use siltstone_log::record::Salted;
use siltstone_log::witness::is_refused;
use std::collections::BTreeMap;
use std::sync::PoisonError;

pub(crate) type Checked = Result<(), Violation>;

/// Which half of an operation a command is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The only one, or the first.
    First,
    /// The second half of creating or deleting a bucket.
    Second,
}

pub(crate) struct Staging {
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

pub(crate) enum Doing {
    Nothing,
    /// Its request is under way to the node.
    Sending(Box<Work>),
    /// Its answer is under way to it.
    Hearing(Box<(Seq, Answer)>),
    Staging(Box<Staging>),
    Waiting {
        second: Option<SecondHalf>,
    },
    Reading(Box<Reading>),
}

/// One client.
pub(crate) struct Client {
    pub(super) doing: Doing,
    /// What it asked for last.
    pub(super) asked: OpId,
    /// Until then nothing it sends arrives.
    pub(super) cut_off_until: u64,
    /// Until then nothing that is sent to it arrives.
    pub(super) deaf_until: u64,
    /// Whether it has given up: its request goes on, and nobody hears of it.
    pub(super) gave_up: bool,
}

impl Client {
    /// What it reads.
    pub(crate) fn reading(&self) -> Option<&Reading> {
        match &self.doing {
            Doing::Reading(reading) => Some(reading),
            Doing::Nothing
            | Doing::Sending(_)
            | Doing::Hearing(_)
            | Doing::Staging(_)
            | Doing::Waiting { .. } => None,
        }
    }

    /// Whether it has nothing under way.
    pub(crate) fn is_idle(&self) -> bool {
        matches!(self.doing, Doing::Nothing)
    }
}

impl World {
    pub(crate) fn add_clients(&mut self) {
        for _ in 0..self.plan.clients {
            self.add_client(0);
        }
    }

    pub(super) fn take(&mut self, client: usize) -> Doing {
        self.clients
            .get_mut(client)
            .map_or(Doing::Nothing, |client| std::mem::replace(&mut client.doing, Doing::Nothing))
    }

    pub(crate) fn put(&mut self, client: usize, doing: Doing) {
        if let Some(client) = self.clients.get_mut(client) {
            client.doing = doing;
        }
    }

    pub(crate) fn client_turn(&mut self, client: usize) -> Checked {
        let idle = self.clients.get(client).is_some_and(|client| client.is_idle() && !client.gave_up);
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
        note!(self, "invoke", {"op": op.0, "client": client, "what": work.intent.name(), "intent": format!("{:?}", work.intent)});
        if self.is_cut_off(client) || self.loses_message() {
            self.told(client, op, Seq(0), Answer::Unknown);
            return Ok(());
        }
        self.send(client, op, work)
    }

    /// The node takes a client's request.
    pub(super) fn take_request(&mut self, client: usize, op: OpId, mut work: Work) -> Checked {
        if self.unavailable().is_some() {
            self.finish(client, op, Seq(0), Answer::Unknown);
            return Ok(());
        }
        match self.admit(&work.intent) {
            Ok(permit) => work.permit = permit,
            Err(reason) => {
                self.counters.sometimes(State::NotAdmitted, reason == Unavailable::NoSpace);
                self.finish(client, op, Seq(0), Answer::Refused(reason));
                return Ok(());
            }
        }
        match &work.intent {
            Intent::Get { stream, key, version } => {
                let (stream, key, version) = (*stream, key.clone(), *version);
                self.begin_get(client, op, stream, &key, version)
            }
            Intent::ListVersions { stream } => {
                let stream = *stream;
                self.list_versions(client, op, stream)
            }
            Intent::List { stream, after } => {
                let (stream, after) = (*stream, after.clone());
                self.list(client, op, stream, after)
            }
            Intent::Put { size, .. } if *size > self.plan.inline_max => self.stage(client, op, work),
            Intent::Part { size, .. } if *size > 0 => self.stage(client, op, work),
            Intent::Copy { source, .. } | Intent::CopyPart { source, .. } => {
                let content = match &work.shared {
                    Some(shared) => StagedContent::Shared(shared.clone()),
                    None => return Err(Violation::new("simulation", format!("no bytes for {source:?}"))),
                };
                self.submit_work(client, op, work, content)
            }
            _ => {
                let content = self.small_content(&work.body);
                self.submit_work(client, op, work, content)
            }
        }
    }

    fn maybe_jump(&mut self) {
        if self.faults.once_in(self.plan.clock_jump_one_in) {
            let size = i64::try_from(self.faults.between(1, 3_600_000)).unwrap_or(1);
            let millis = if self.faults.coin() { size } else { -size };
            self.clock.jump(millis);
            self.counters.sometimes(State::ClockBack, millis < 0);
            note!(self, "clock-jump", {"millis": millis});
        }
    }

    fn small_content(&mut self, body: &[u8]) -> StagedContent {
        if body.is_empty() {
            return StagedContent::Empty;
        }
        let salt = Salt(self.work.bytes());
        StagedContent::Inline(Salted::new(salt, body))
    }

    fn submit_work(&mut self, client: usize, op: OpId, work: Work, content: StagedContent) -> Checked {
        let Work { intent, permit, .. } = work;
        let Some(action) = action_of(intent, content) else {
            return Err(Violation::new("simulation", format!("{op:?} is no command")));
        };
        self.put(client, Doing::Waiting { second: SecondHalf::of(&action) });
        self.client_command((client, op, Phase::First), action, permit)
    }

    pub(crate) fn client_answered(
        &mut self,
        client: usize,
        op: OpId,
        phase: Phase,
        result: Result<Receipt, EngineError>,
    ) -> Checked {
        let half = match self.take(client) {
            Doing::Waiting { second } => second,
            Doing::Nothing
            | Doing::Sending(_)
            | Doing::Hearing(_)
            | Doing::Staging(_)
            | Doing::Reading(_) => None,
        };
        match (half, phase, &result) {
            (Some(half), Phase::First, Ok(receipt)) => {
                let half = half.resolved(&receipt.outcome);
                self.put(client, Doing::Waiting { second: Some(half.clone()) });
                return self.client_command((client, op, Phase::Second), half, None);
            }
            (Some(half), Phase::Second, Err(EngineError::Unavailable(_))) => {
                self.note_unfinished(actor(op), half);
            }
            _ => {}
        }
        let stream = self.history.get(op).map_or(StreamId::SYSTEM, |entry| entry.intent.stream());
        if self.loses_message() {
            self.finish(client, op, Seq(0), Answer::Unknown);
            return Ok(());
        }
        let answer = match result {
            Ok(Receipt { stream, seq, position, outcome, .. }) => {
                self.learn(op, &outcome);
                Answer::Done { stream, seq, position, outcome }
            }
            // The first half has happened; the second one is repeated, here or by the next start.
            Err(_) if phase == Phase::Second => Answer::Unknown,
            Err(EngineError::Rejected(rejection)) => {
                let precondition = matches!(rejection, Rejection::PreconditionFailed(_));
                self.counters.sometimes(State::PreconditionFailed, precondition);
                self.counters.sometimes(State::SourceChanged, rejection == Rejection::SourceChanged);
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
            Intent::Part { upload, number, etag, .. } | Intent::CopyPart { upload, number, etag, .. } => {
                if let Some(known) = self.uploads.iter_mut().find(|known| known.upload == *upload) {
                    known.parts.insert(*number, etag.clone());
                }
            }
            Intent::Complete { .. } => {
                self.counters
                    .sometimes(State::UploadCompleted, matches!(outcome, Outcome::MultipartCompleted(_)));
            }
            Intent::SetVersioning { .. } => self.counters.reach(State::VersioningChanged),
            Intent::Delete { delete, .. } => {
                if let Outcome::Deleted(deleted) = outcome {
                    self.counters.sometimes(State::MarkerMade, deleted.marker && delete.version.is_none());
                    self.counters
                        .sometimes(State::VersionDeleted, delete.version.is_some() && deleted.existed);
                }
            }
            _ => {}
        }
    }

    /// The node has answered: the answer goes out to the client.
    pub(crate) fn finish(&mut self, client: usize, op: OpId, high: Seq, answer: Answer) {
        if self.is_deaf(client) {
            self.told(client, op, Seq(0), Answer::Unknown);
        } else if self.plan.delay_millis > 0 && answer != Answer::Unknown {
            self.put(client, Doing::Hearing(Box::new((high, answer))));
            let delay = self.delay();
            self.after(delay, Happening::Told(client));
        } else {
            self.told(client, op, high, answer);
        }
    }

    /// A client is told what came of an operation, or that nobody knows.
    pub(super) fn told(&mut self, client: usize, op: OpId, high: Seq, answer: Answer) {
        self.put(client, Doing::Nothing);
        if self.clients.get(client).is_some_and(|client| client.gave_up) {
            self.counters.sometimes(State::LateAnswer, answer != Answer::Unknown);
            note!(self, "told-nobody", {"op": op.0, "answer": format!("{answer:?}")});
            return;
        }
        match &answer {
            Answer::Unknown => self.counters.unknown += 1,
            Answer::Rejected(_) | Answer::Refused(_) => self.counters.refused += 1,
            Answer::Done { .. }
            | Answer::Object(_)
            | Answer::Marker
            | Answer::Listed(_)
            | Answer::ListedVersions(_)
            | Answer::Damaged => {
                self.counters.acknowledged += 1;
            }
        }
        note!(self, "told", {"op": op.0, "answer": format!("{answer:?}")});
        let answer = self.excuse(op, answer);
        self.history.answer(op, high, answer);
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
        if let Some(Client { doing: Doing::Staging(staging), .. }) = self.clients.get_mut(client) {
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
        let Some(Client { doing: Doing::Staging(staging), .. }) = self.clients.get_mut(client) else {
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
        self.submit_work(client, op, work, content)
    }

    pub(crate) fn client_blob_refused(&mut self, blob: BlobId, reason: PackRefusal) -> Checked {
        let Some(client) = self.staging_of(blob) else { return Ok(()) };
        note!(self, "blob-refused", {"blob": blob.to_string(), "reason": format!("{reason:?}")});
        self.counters.sometimes(State::NoSpace, reason == PackRefusal::NoSpace);
        if let Some(Client { doing: Doing::Staging(staging), .. }) = self.clients.get_mut(client) {
            staging.refused = Some(reason);
            staging.finishing = false;
        }
        self.staged_so_far(client)
    }

    /// A copy of the disk to look at.
    pub fn observer(&self) -> SimDisk {
        self.disk.observer()
    }
}
