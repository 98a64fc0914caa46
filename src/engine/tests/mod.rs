//! A whole engine without threads: stream tasks, a writer that does what it is told, the real follower, rows in
//! memory.

mod decide_bucket;
mod decide_identity;
mod decide_multipart;
pub(in crate::engine) mod decide_object;
mod decide_version;
mod live;
mod stream_task;

use super::command::{Action, Command};
use super::outcome::{EngineError, Outcome, Receipt};
use super::stream_task::{Refusal, StreamTask, TaskEffect, TaskInput};
use siltstone_log::event::{Actor, Body, Door};
use siltstone_log::hlc::HlcClock;
use siltstone_log::host::real::RealEntropy;
use siltstone_log::id::{AccountId, BlobId, Epoch, Hash, LogId, Position, Seq, StreamId};
use siltstone_log::name::{BucketName, ObjectKey};
use siltstone_log::record::{Place, Record, RecordDraft};
use siltstone_log::writer::{Submission, WriteRefusal};
use siltstone_projections::store::Store;
use siltstone_projections::store::mem::MemStore;
use siltstone_projections::{Follower, FollowerEffect, FollowerInput, Pace};
use std::collections::{BTreeMap, VecDeque};

pub(super) const BUCKET: StreamId = StreamId([7; 16]);
pub(super) const OWNER: AccountId = AccountId([1; 16]);
pub(super) const OTHER: AccountId = AccountId([2; 16]);

pub(super) fn name(name: &str) -> BucketName {
    BucketName::parse(name).unwrap()
}

pub(super) fn key(key: &str) -> ObjectKey {
    ObjectKey::parse(key).unwrap()
}

pub(super) struct World {
    pub(super) store: MemStore,
    follower: Follower,
    pub(super) tasks: BTreeMap<StreamId, StreamTask>,
    /// What the writer has not taken yet.
    pub(super) queue: VecDeque<Submission>,
    expected: BTreeMap<StreamId, Seq>,
    next_position: u64,
    hlc: HlcClock,
    next_token: u64,
    pub(super) answers: Vec<(u64, Result<Receipt, EngineError>)>,
    pub(super) freed: Vec<BlobId>,
    pub(super) durable: Vec<Record>,
}

impl World {
    pub(super) fn new() -> Self {
        let store = MemStore::new();
        let follower = Follower::new(&store, LogId::default(), Vec::new(), Pace::Live).unwrap();
        Self {
            store,
            follower,
            tasks: BTreeMap::new(),
            queue: VecDeque::new(),
            expected: BTreeMap::new(),
            next_position: 1,
            hlc: HlcClock::default(),
            next_token: 0,
            answers: Vec::new(),
            freed: Vec::new(),
            durable: Vec::new(),
        }
    }

    /// A world with one bucket of [`OWNER`].
    pub(super) fn with_bucket() -> Self {
        use super::command::{BeginBucket, CreateBucket};
        let mut world = Self::new();
        let create = CreateBucket {
            name: name("bucket"),
            owner: OWNER,
            location: String::new(),
            stream: BUCKET,
            tags: vec![],
        };
        world.run(create.clone()).unwrap();
        world.run(BeginBucket(create)).unwrap();
        world
    }

    /// Lets a task decide a command; the writer does nothing yet.
    pub(super) fn submit(&mut self, action: impl Into<Action>) -> u64 {
        self.submit_command(Command::new(Actor::server(Door::S3), action, &RealEntropy))
    }

    pub(super) fn submit_command(&mut self, command: Command) -> u64 {
        let token = self.next_token;
        self.next_token += 1;
        let command = Box::new(command);
        let now = self.hlc.tick(1000);
        self.feed(command.stream(), TaskInput::Command { token, command, now });
        token
    }

    fn feed(&mut self, stream: StreamId, input: TaskInput) {
        let task = self.tasks.entry(stream).or_insert_with(|| StreamTask::new(stream, Seq(0), Epoch(0)));
        let mut effects = Vec::new();
        task.handle(&self.store, input, &mut effects);
        for effect in effects {
            match effect {
                TaskEffect::Submit(submission) => self.queue.push_back(submission),
                TaskEffect::Answer { token, result } => self.answers.push((token, result)),
                TaskEffect::Free(blobs) => self.freed.extend(blobs),
            }
        }
    }

    fn record(&mut self, draft: RecordDraft) -> Record {
        let position = Position(self.next_position);
        self.next_position += 1;
        Record {
            place: Place { position, segment: Position(1), generation: 0, offset: 0 },
            stream: draft.stream,
            seq: draft.seq,
            hlc: draft.hlc,
            epoch: draft.epoch,
            kind: draft.kind,
            ignorable: draft.ignorable,
            body_hash: draft.body.hash,
            content_hash: Hash::default(),
            body: Some(draft.body.bytes),
            content_len: 0,
            head: Hash::default(),
        }
    }

    /// The writer takes the next submission: commits it, or refuses it as out of order as the real one would.
    pub(super) fn commit_next(&mut self) -> bool {
        let Some(submission) = self.queue.pop_front() else { return false };
        let first = &submission.drafts[0];
        let (stream, found) = (first.stream, first.seq);
        let expected = self.expected.get(&stream).copied().unwrap_or_default().next();
        if found != expected {
            let reason = WriteRefusal::OutOfOrder { stream, expected, found };
            self.feed(
                stream,
                TaskInput::Refused { token: submission.token, reason: Refusal::Writer(reason) },
            );
            return true;
        }
        let drafts = submission.drafts;
        let records: Vec<Record> = drafts.into_iter().map(|draft| self.record(draft)).collect();
        self.expected.insert(stream, records.last().unwrap().seq);
        let visible: Vec<_> = records.iter().map(|r| (r.stream, r.seq, r.place.position)).collect();
        self.durable.extend(records.iter().cloned());
        let mut effects = Vec::new();
        self.follower.handle(&self.store, FollowerInput::Records(records), &mut effects);
        for effect in effects {
            match effect {
                FollowerEffect::Commit(batch) => self.store.commit(batch).unwrap(),
                FollowerEffect::Applied(_) => {}
                FollowerEffect::Stuck(stuck) => panic!("{stuck}"),
            }
        }
        for (stream, seq, position) in visible {
            self.feed(stream, TaskInput::Visible { seq, position });
        }
        true
    }

    pub(super) fn commit_all(&mut self) {
        while self.commit_next() {}
    }

    /// The writer refuses the next submission.
    pub(super) fn refuse_next(&mut self, reason: WriteRefusal) -> Option<u64> {
        let submission = self.queue.pop_front()?;
        let (token, stream) = (submission.token, submission.drafts[0].stream);
        self.feed(stream, TaskInput::Refused { token, reason: Refusal::Writer(reason) });
        Some(token)
    }

    pub(super) fn answer(&self, token: u64) -> Option<&Result<Receipt, EngineError>> {
        self.answers.iter().find(|(answered, _)| *answered == token).map(|(_, result)| result)
    }

    /// Decides a command, commits it, and gives its answer.
    pub(super) fn run(&mut self, action: impl Into<Action>) -> Result<Outcome, EngineError> {
        let token = self.submit(action);
        self.commit_all();
        self.answer(token).expect("every command is answered").clone().map(|receipt| receipt.outcome)
    }

    /// What is in the log, by name.
    pub(super) fn events(&self) -> Vec<Body> {
        self.durable.iter().map(|record| record.decode().unwrap().unwrap()).collect()
    }

    pub(super) fn last_event(&self) -> &'static str {
        self.events().last().unwrap().event.name()
    }
}
