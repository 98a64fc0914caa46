//! Puts and deletions of small objects, straight into the log: for logs that a benchmark reads, and stores that it fills.

use super::BenchError;
use crossbeam_channel::{Sender, bounded};
use siltstone_log::driver::{LogSink, LogThread};
use siltstone_log::event::{
    Actor, Body, BucketCreated, Content, ContentHeaders, Deletion, Door, Event, ObjectDeleted, ObjectPut,
};
use siltstone_log::hlc::Hlc;
use siltstone_log::host::real::{RealClock, RealDisk};
use siltstone_log::host::{Clock, DiskError};
use siltstone_log::id::{AccountId, Epoch, Salt, Seq, StreamId};
use siltstone_log::name::{BucketName, ObjectKey};
use siltstone_log::record::{DraftContent, RecordDraft, Salted};
use siltstone_log::recovery::Recovered;
use siltstone_log::writer::{CommittedBatch, Submission, WriteRefusal, WriterConfig};
use std::sync::Arc;

/// Records of one submission.
const TOGETHER: u64 = 500;
/// Submissions under way at once.
const UNDER_WAY: usize = 8;
/// Bytes of content in a record.
const CONTENT: [u8; 128] = [7; 128];
/// Changes between two words about progress.
const TELL_EVERY: u64 = 10_000;
const ACCOUNT: AccountId = AccountId([3; 16]);

/// What is done to a key.
pub(super) enum Change {
    /// An object is put.
    Put(String),
    /// It is deleted.
    Delete(String),
}

/// Changes to be appended to a bucket's stream.
#[derive(Clone, Copy)]
pub(super) struct Changes {
    /// The bucket's stream.
    pub(super) stream: StreamId,
    /// The first one's number; the stream has as many already, behind its beginning.
    pub(super) first: u64,
    /// How many.
    pub(super) count: u64,
}

struct Answers(Sender<Result<u64, BenchError>>);

impl LogSink for Answers {
    fn committed(&mut self, batch: CommittedBatch) {
        // The receiver outlives the thread unless the benchmark has failed already.
        for (index, _) in batch.tokens.iter().enumerate() {
            drop(self.0.send(Ok(if index == 0 { batch.timing.bytes } else { 0 })));
        }
    }

    fn refused(&mut self, _token: u64, reason: WriteRefusal) {
        drop(self.0.send(Err(reason.into())));
    }

    fn failed(&mut self, error: DiskError) {
        drop(self.0.send(Err(error.into())));
    }
}

/// Writes a bucket's log, its beginning included; returns its bytes.
pub(super) fn write_bucket(
    recovered: &Recovered,
    disk: &RealDisk,
    changes: Changes,
    change: &dyn Fn(u64) -> Change,
) -> Result<u64, BenchError> {
    let name = BucketName::parse("siltstone-bench").expect("a good name");
    let begin = Event::BucketCreated(BucketCreated { name, owner: ACCOUNT, location: String::new() });
    let begin = Some(draft(changes.stream, 1, begin, DraftContent::None, RealClock::default().wall_millis()));
    submit_all(recovered, disk, begin, changes, change, &mut |_, _| ())
}

/// Writes changes behind what a bucket's stream has; returns the bytes of log.
pub(super) fn write(
    recovered: &Recovered,
    disk: &RealDisk,
    changes: Changes,
    change: &dyn Fn(u64) -> Change,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<u64, BenchError> {
    submit_all(recovered, disk, None, changes, change, progress)
}

fn submit_all(
    recovered: &Recovered,
    disk: &RealDisk,
    begin: Option<RecordDraft>,
    changes: Changes,
    change: &dyn Fn(u64) -> Change,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<u64, BenchError> {
    let clock = Arc::new(RealClock::default());
    let (answers, answered) = bounded(UNDER_WAY * 2);
    let (thread, client) =
        LogThread::start(recovered, disk.clone(), clock.clone(), WriterConfig::default(), Answers(answers))?;
    let Changes { stream, first, count } = changes;
    let (mut at, end, mut begin) = (first, first + count, begin);
    let (mut under_way, mut bytes) = (0usize, 0u64);
    while at < end || begin.is_some() {
        let last = (at + TOGETHER).min(end);
        let mut drafts: Vec<RecordDraft> = begin.take().into_iter().collect();
        for number in at..last {
            let (event, content) = match change(number) {
                Change::Put(key) => {
                    let content = Salted::new(Salt([2; Salt::LEN]), &CONTENT);
                    (put(&key, number), DraftContent::Inline(content))
                }
                Change::Delete(key) => (deletion(&key), DraftContent::None),
            };
            // The stream's first record is the bucket's beginning.
            drafts.push(draft(stream, number + 2, event, content, clock.wall_millis()));
        }
        at = last;
        let submission = Submission { token: at, priority: false, drafts };
        client.try_submit(submission).map_err(|_| BenchError::Ended("log"))?;
        under_way += 1;
        if under_way == UNDER_WAY {
            bytes += answered.recv().map_err(|_| BenchError::Ended("log"))??;
            under_way -= 1;
        }
        if (at - first).is_multiple_of(TELL_EVERY) {
            progress(at - first, count);
        }
    }
    for _ in 0..under_way {
        bytes += answered.recv().map_err(|_| BenchError::Ended("log"))??;
    }
    drop(thread.stop());
    Ok(bytes)
}

fn put(key: &str, number: u64) -> Event {
    Event::ObjectPut(ObjectPut {
        key: ObjectKey::parse(key).expect("a good key"),
        version: None,
        size: CONTENT.len() as u64,
        etag: format!("{number:032x}"),
        content: Content::Inline,
        checksums: Vec::new(),
        headers: ContentHeaders { content_type: Some("text/plain".to_owned()), ..ContentHeaders::default() },
        metadata: Vec::new(),
        tags: Vec::new(),
        copied_from: None,
    })
}

fn deletion(key: &str) -> Event {
    let key = ObjectKey::parse(key).expect("a good key");
    Event::ObjectDeleted(ObjectDeleted { key, deletion: Deletion::Current })
}

fn draft(stream: StreamId, seq: u64, event: Event, content: DraftContent, now: u64) -> RecordDraft {
    let kind = event.kind();
    let actor = Actor {
        account: Some(ACCOUNT),
        user: "bench".to_owned(),
        access_key: "AKIABENCHBENCHBENCH0".to_owned(),
        address: "127.0.0.1".to_owned(),
        agent: "siltstone bench".to_owned(),
        ..Actor::server(Door::S3)
    };
    let body = Body { actor, event }.encode().expect("an event can be encoded");
    RecordDraft {
        stream,
        seq: Seq(seq),
        hlc: Hlc::from_millis(now),
        epoch: Epoch(0),
        kind,
        ignorable: false,
        body: Salted::new(Salt([1; Salt::LEN]), &body),
        content,
    }
}
