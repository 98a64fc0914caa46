//! The real thing in a temporary folder: threads, disk and projections.

mod copies;
mod damage;
mod inventory;
mod readers;
mod sweep;

use super::{key, name};
use crate::engine::bucket_protocol::SecondHalf;
use crate::engine::command::{
    AbortMultipart, Action, Command, CompleteMultipart, Conditions, CreateBucket, CreateMultipart,
    DeleteBucket, DeleteObject, EtagMatch, NamedPart, PutObject, UploadPart,
};
use crate::engine::content::{ContentSink, Staging};
use crate::engine::outcome::{EngineError, Fault, Outcome, Receipt, Rejection, Unavailable};
use crate::engine::shard::ReplyTo;
use crate::engine::tests::decide_object::deletion;
use crate::engine::{Deleted, Engine, EngineConfig, Need, OpenError, Placement, ROOT_ACCOUNT, StagedContent};
use bytes::Bytes;
use siltstone_log::event::{AccessDenied, Actor, ContentHeaders, Door, Event};
use siltstone_log::host::draw;
use siltstone_log::host::real::RealDisk;
use siltstone_log::id::{StreamId, UploadId, VersionId};
use siltstone_log::layout::LayoutError;
use siltstone_log::reader::{ReadItem, Replay};
use siltstone_projections::store::{Space, meta};
use siltstone_projections::{Digest, buckets, identity, names, objects};
use std::path::Path;
use std::sync::Arc;
use tokio::runtime::Runtime;

fn config(folder: &Path) -> EngineConfig {
    let mut config = EngineConfig::new(folder.join("data"));
    config.writer.segment_bytes = 1 << 20;
    config.packs.pack_bytes = 32 << 20;
    config.limits.free_floor = 0;
    config
}

struct Live {
    folder: tempfile::TempDir,
    runtime: Runtime,
    running: Option<Engine>,
}

impl Live {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let runtime = Runtime::new().unwrap();
        let engine = Engine::open(config(folder.path())).unwrap();
        Self { folder, runtime, running: Some(engine) }
    }

    fn with_bucket() -> (Self, StreamId) {
        let live = Self::new();
        live.submit(live.create("bucket")).unwrap();
        let stream = live.stream("bucket").unwrap();
        (live, stream)
    }

    fn reopen(&mut self) {
        if let Some(engine) = self.running.take() {
            engine.shutdown();
        }
        self.running = Some(Engine::open(config(self.folder.path())).unwrap());
    }

    fn engine(&self) -> &Engine {
        self.running.as_ref().unwrap()
    }

    fn submit(&self, action: impl Into<Action>) -> Result<Receipt, EngineError> {
        self.runtime.block_on(submit(self.engine(), action))
    }

    fn create(&self, bucket: &str) -> CreateBucket {
        let stream = StreamId(draw(self.engine().entropy()));
        CreateBucket {
            name: name(bucket),
            owner: ROOT_ACCOUNT,
            location: String::new(),
            stream,
            tags: vec![],
        }
    }

    fn stream(&self, bucket: &str) -> Option<StreamId> {
        self.engine().view().bucket(&name(bucket)).unwrap().map(|(row, _)| row.stream)
    }

    fn stage(&self, placement: Placement, declared: Option<u64>, bytes: &[u8]) -> StagedContent {
        self.runtime.block_on(async {
            let permit = self.engine().admit(Need::Manage).unwrap();
            let mut sink = self.engine().content_sink(placement, declared, permit);
            for chunk in bytes.chunks(100_000) {
                sink.write(Bytes::copy_from_slice(chunk)).await.unwrap();
            }
            sink.finish().await.unwrap()
        })
    }

    fn put(&self, stream: StreamId, object: &str, bytes: &[u8]) -> Result<Receipt, EngineError> {
        let content = self.stage(Placement::InlineIfSmall, Some(bytes.len() as u64), bytes);
        self.submit(PutObject { content, ..put(stream, object) })
    }

    fn get(&self, stream: StreamId, object: &str, range: std::ops::Range<u64>) -> Option<Vec<u8>> {
        let row = objects::current(&self.engine().view(), stream, &key(object)).unwrap()?;
        self.runtime.block_on(async {
            let permit = self.engine().try_admit_read(row.size).unwrap();
            let mut reader = self.engine().read_content(&row, range, permit);
            let mut bytes = Vec::new();
            while let Some(chunk) = reader.next().await.unwrap() {
                bytes.extend_from_slice(&chunk);
            }
            Some(bytes)
        })
    }

    fn digests(&self) -> [Digest; 2] {
        Space::ALL.map(|space| meta(&self.engine().view(), space).unwrap().digest)
    }

    /// Every event in the log, which must not be open.
    fn log(&self) -> Vec<Event> {
        let disk = RealDisk::read_only(self.folder.path().join("data"));
        let mut events = Vec::new();
        for item in Replay::open(disk, siltstone_log::id::Position(0)).unwrap() {
            let ReadItem::Records(records) = item.unwrap() else { panic!("an intact log") };
            events.extend(records.into_iter().map(|record| record.decode().unwrap().unwrap().event));
        }
        events
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if let Some(engine) = self.running.take() {
            engine.shutdown();
        }
    }
}

async fn submit(engine: &Engine, action: impl Into<Action>) -> Result<Receipt, EngineError> {
    engine.submit(Command::new(Actor::server(Door::S3), action, engine.entropy())).await
}

fn put(stream: StreamId, object: &str) -> PutObject {
    PutObject {
        stream,
        key: key(object),
        content: StagedContent::Empty,
        etag: "e".to_owned(),
        checksums: Vec::new(),
        headers: ContentHeaders::default(),
        metadata: Vec::new(),
        tags: Vec::new(),
        version: VersionId::default(),
        copied_from: None,
        conditions: Conditions::default(),
    }
}

fn delete(stream: StreamId, object: &str) -> DeleteObject {
    DeleteObject { stream, deletion: deletion(object, Conditions::default()) }
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| u8::try_from((i * 31 + i / 251) % 256).unwrap()).collect()
}

const SIZES: [usize; 7] = [0, 1, 4096, 65_536, 65_537, 300_000, 5_000_000];

#[test]
fn objects_of_every_size_are_read_back_also_after_a_restart() {
    let (mut live, stream) = Live::with_bucket();
    for size in SIZES {
        let receipt = live.put(stream, &size.to_string(), &pattern(size)).unwrap();
        assert!(receipt.position.get() > 0 && receipt.hlc.millis() > 0);
    }
    for _ in 0..2 {
        for size in SIZES {
            let bytes = live.get(stream, &size.to_string(), 0..u64::MAX);
            assert!(bytes == Some(pattern(size)), "{size} bytes");
        }
        let (from, to) = (65_530, 1_100_000);
        let range = live.get(stream, "5000000", from..to).unwrap();
        assert!(range == pattern(5_000_000)[65_530..1_100_000]);
        assert_eq!(live.get(stream, "4096", 4095..9999).unwrap(), pattern(4096)[4095..]);
        assert_eq!(live.get(stream, "4096", 5000..9999).unwrap(), b"");
        live.reopen();
    }
}

#[test]
fn a_body_larger_than_announced_or_not_announced_at_all_is_stored_whole() {
    let (live, stream) = Live::with_bucket();
    for (object, declared) in [("none", None), ("less", Some(10))] {
        let bytes = pattern(700_001);
        let content = live.stage(Placement::InlineIfSmall, declared, &bytes);
        assert!(matches!(content, StagedContent::Blob(_)));
        live.submit(PutObject { content, ..put(stream, object) }).unwrap();
        assert!(live.get(stream, object, 0..u64::MAX) == Some(bytes));
    }
}

#[test]
fn the_state_is_the_same_after_a_restart_and_after_the_projections_were_deleted() {
    let (mut live, stream) = Live::with_bucket();
    for object in ["a", "b", "c"] {
        live.put(stream, object, object.as_bytes()).unwrap();
    }
    live.put(stream, "b", &pattern(200_000)).unwrap();
    live.submit(delete(stream, "a")).unwrap();
    let deleted_again = live.submit(delete(stream, "a")).unwrap();
    assert_eq!(deleted_again.outcome, Outcome::Deleted(Deleted::default()));
    let before = live.digests();
    live.reopen();
    assert_eq!(live.digests(), before);
    live.running.take().unwrap().shutdown();
    #[expect(clippy::disallowed_methods, reason = "the test plays the administrator")]
    std::fs::remove_dir_all(live.folder.path().join("data/projections")).unwrap();
    live.reopen();
    assert_eq!(live.digests(), before);
    assert_eq!(live.get(stream, "a", 0..u64::MAX), None);
    assert!(live.get(stream, "b", 0..u64::MAX) == Some(pattern(200_000)));
    let started = live.engine().recovered().clean;
    assert!(started, "a shutdown is a clean stop");
    assert!(identity::account(&live.engine().view(), ROOT_ACCOUNT).unwrap().is_some());
}

#[test]
fn of_many_racing_conditional_puts_one_wins() {
    let (live, stream) = Live::with_bucket();
    let outcomes = live.runtime.block_on(async {
        let racers: Vec<_> = (0..64)
            .map(|_| {
                let engine = live.engine().clone();
                let conditions = Conditions { if_match: None, if_none_match: Some(EtagMatch::Any) };
                let put = PutObject { conditions, ..put(stream, "k") };
                tokio::spawn(async move { submit(&engine, put).await })
            })
            .collect();
        let mut outcomes = Vec::new();
        for racer in racers {
            outcomes.push(racer.await.unwrap());
        }
        outcomes
    });
    let lost = |outcome: &&Result<Receipt, EngineError>| {
        matches!(outcome, Err(EngineError::Rejected(Rejection::PreconditionFailed(_))))
    };
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    assert_eq!(outcomes.iter().filter(lost).count(), 63);
}

#[test]
fn many_puts_at_once_are_all_there_afterwards() {
    let (mut live, stream) = Live::with_bucket();
    live.runtime.block_on(async {
        let writers: Vec<_> = (0..500)
            .map(|i| {
                let engine = live.engine().clone();
                let put = put(stream, &format!("{i:04}"));
                tokio::spawn(async move { submit(&engine, put).await.map(drop) })
            })
            .collect();
        for writer in writers {
            assert_eq!(writer.await.unwrap(), Ok(()));
        }
    });
    let usage = buckets::get(&live.engine().view(), stream).unwrap().unwrap().usage;
    assert_eq!(usage.objects, 500);
    live.reopen();
    assert_eq!(buckets::get(&live.engine().view(), stream).unwrap().unwrap().usage, usage);
}

#[test]
fn a_bucket_is_made_filled_emptied_deleted_and_made_again() {
    let (live, stream) = Live::with_bucket();
    let again = live.submit(live.create("bucket"));
    assert_eq!(again.map(drop), Err(Rejection::BucketAlreadyOwnedByYou.into()));
    live.put(stream, "a", b"a").unwrap();
    let doomed = || DeleteBucket { name: name("bucket"), stream };
    assert_eq!(live.submit(doomed()).map(drop), Err(Rejection::BucketNotEmpty.into()));
    live.submit(delete(stream, "a")).unwrap();
    live.submit(doomed()).unwrap();
    assert_eq!(live.stream("bucket"), None);
    assert_eq!(live.put(stream, "a", b"a").map(drop), Err(Rejection::NoSuchBucket.into()));
    live.submit(live.create("bucket")).unwrap();
    assert!(live.stream("bucket").is_some_and(|new| new != stream));
}

impl Live {
    /// Runs the first half of creating or deleting a bucket, as a refusal of the second leaves it.
    fn first_half(&self, action: impl Into<Action>) -> SecondHalf {
        let action = action.into();
        let half = SecondHalf::of(&action).unwrap();
        let command = Command::new(Actor::server(Door::S3), action, self.engine().entropy());
        let (reply, answer) = crossbeam_channel::bounded(1);
        self.engine().send(command, ReplyTo::Thread(reply)).unwrap();
        half.resolved(&answer.recv().unwrap().unwrap().outcome)
    }
}

#[test]
fn a_second_half_that_is_refused_is_repeated_until_it_is_done() {
    let (live, stream) = Live::with_bucket();
    let released = live.first_half(DeleteBucket { name: name("bucket"), stream });
    let begun = live.first_half(live.create("half-made"));
    let unfinished = &live.engine().shared.unfinished;
    for half in [&released, &begun, &begun] {
        unfinished.note(Actor::server(Door::S3), half.clone());
    }
    assert_eq!(unfinished.len(), 2, "a half that is noted twice is repeated once");
    let mut refusals = [
        Err(Unavailable::NoSpace),
        Ok(Unavailable::NoSpace),
        Err(Unavailable::SlowDown),
        Ok(Unavailable::Quarantined),
    ]
    .into_iter();
    for _ in 0..2 {
        // Refused on the way, or by the log.
        unfinished.repeat(live.engine().entropy(), |command, reply| {
            assert!(command.action.is_priority(), "it may use the log's reserve");
            let refusal: Unavailable = refusals.next().unwrap()?;
            reply.send(Err(refusal.into())).unwrap();
            Ok(())
        });
        assert_eq!(unfinished.len(), 2);
    }
    assert_eq!(live.stream("half-made"), None);
    while !unfinished.is_empty() {
        live.engine().repeat_unfinished();
        std::thread::yield_now();
    }
    assert!(live.stream("half-made").is_some());
    assert_eq!(names::get(&live.engine().view(), &name("bucket")).unwrap(), None);
}

#[test]
fn what_a_crash_left_half_made_is_finished_by_the_next_start() {
    let (mut live, stream) = Live::with_bucket();
    // First halves only, as a crash between the halves leaves them.
    live.first_half(DeleteBucket { name: name("bucket"), stream });
    let tags = vec![("team".to_owned(), "geology".to_owned())];
    live.first_half(CreateBucket { tags: tags.clone(), ..live.create("half-made") });
    assert_eq!((live.stream("bucket"), live.stream("half-made")), (None, None));
    live.reopen();
    let (_, made) = live.engine().view().bucket(&name("half-made")).unwrap().unwrap();
    assert_eq!(made.tags, tags, "with the tags that it was asked for with");
    assert_eq!(names::get(&live.engine().view(), &name("bucket")).unwrap(), None);
}

fn md5_hex(bytes: &[u8]) -> String {
    use md5::Digest;
    siltstone_log::id::Salt(md5::Md5::digest(bytes).into()).to_string()
}

#[test]
fn an_upload_in_parts_becomes_one_object_and_what_is_left_over_is_given_back() {
    let (mut live, stream) = Live::with_bucket();
    let upload = UploadId([8; 16]);
    let big = key("big");
    let create = CreateMultipart {
        stream,
        upload,
        key: big.clone(),
        headers: ContentHeaders::default(),
        metadata: Vec::new(),
        checksum: None,
        tags: Vec::new(),
    };
    live.submit(create.clone()).unwrap();
    let parts = [pattern(5 << 20), pattern((5 << 20) + 1), b"the last".to_vec()];
    let mut blobs = Vec::new();
    for (number, bytes) in (1..).zip(&parts) {
        let content = live.stage(Placement::Packs, Some(bytes.len() as u64), bytes);
        let StagedContent::Blob(blob) = &content else { panic!("parts are always blobs") };
        blobs.push(blob.id);
        let (key, etag) = (big.clone(), md5_hex(bytes));
        let (checksums, copied_from) = (Vec::new(), None);
        let part = UploadPart { stream, key, upload, number, content, etag, checksums, copied_from };
        live.submit(part).unwrap();
    }
    let named = |numbers: &[u16]| CompleteMultipart {
        stream,
        key: big.clone(),
        upload,
        parts: numbers
            .iter()
            .map(|number| NamedPart {
                number: *number,
                etag: md5_hex(&parts[usize::from(*number) - 1]),
                checksums: Vec::new(),
            })
            .collect(),
        size: None,
        checksum: None,
        checksum_kind: None,
        version: VersionId::default(),
        conditions: Conditions::default(),
    };
    live.submit(named(&[1, 3])).unwrap();
    let expected = [parts[0].as_slice(), &parts[2]].concat();
    assert!(live.get(stream, "big", 0..u64::MAX).as_ref() == Some(&expected));
    let over_the_seam = live.get(stream, "big", (5 << 20) - 3..(5 << 20) + 3).unwrap();
    assert!(over_the_seam == expected[(5 << 20) - 3..(5 << 20) + 3]);

    let second = UploadId([9; 16]);
    live.submit(CreateMultipart { upload: second, ..create }).unwrap();
    let content = live.stage(Placement::Packs, None, b"small");
    let StagedContent::Blob(blob) = &content else { panic!("parts are always blobs") };
    blobs.push(blob.id);
    let (key, etag) = (big.clone(), md5_hex(b"small"));
    let (checksums, copied_from) = (Vec::new(), None);
    let part = UploadPart { stream, key, upload: second, number: 1, content, etag, checksums, copied_from };
    live.submit(part).unwrap();
    live.submit(AbortMultipart { stream, key: big.clone(), upload: second }).unwrap();
    live.reopen();
    let there: Vec<bool> = blobs.iter().map(|blob| live.engine().shared.blobs.place(*blob).is_ok()).collect();
    assert_eq!(there, [true, false, true, false], "kept: the parts of the object");
    assert!(live.get(stream, "big", 0..u64::MAX) == Some(expected));
}

#[test]
fn a_body_that_is_given_up_or_rejected_leaves_nothing_in_the_packs() {
    let (mut live, stream) = Live::with_bucket();
    live.runtime.block_on(async {
        let permit = live.engine().admit(Need::Manage).unwrap();
        let mut sink = live.engine().content_sink(Placement::InlineIfSmall, Some(3_000_000), permit);
        sink.write(Bytes::from(pattern(2_000_000))).await.unwrap();
    });
    let content = live.stage(Placement::InlineIfSmall, None, &pattern(2_000_000));
    let StagedContent::Blob(blob) = &content else { panic!("large content goes to packs") };
    let blob = blob.id;
    let conditions = Conditions { if_match: Some(EtagMatch::Any), if_none_match: None };
    let refused = live.submit(PutObject { content, conditions, ..put(stream, "k") });
    assert_eq!(refused.map(drop), Err(Rejection::NoSuchKey.into()));
    live.reopen();
    assert!(live.engine().shared.blobs.place(blob).is_err());
}

#[test]
fn a_failed_write_ends_the_store_also_when_its_client_has_gone() {
    let live = Live::new();
    // Packs are there, but this upload's writes find no folder.
    let staging = Staging {
        disk: RealDisk::new(live.folder.path().join("nowhere")),
        ..(*live.engine().shared.staging).clone()
    };
    let fault = live.runtime.block_on(async {
        let permit = live.engine().admit(Need::Manage).unwrap();
        let mut sink = ContentSink::new(Arc::new(staging), Placement::Packs, Some(3_000_000), permit);
        sink.write(Bytes::from(pattern(300_000))).await.unwrap();
        drop(sink);
        live.engine().failed().await
    });
    assert!(matches!(fault, Fault::Disk(_)), "{fault}");
}

#[test]
fn refused_requests_are_evidence_in_the_log_and_bounded() {
    let live = Live::new();
    let denied = |code: &str| AccessDenied {
        operation: "GetObject".to_owned(),
        bucket: "b".to_owned(),
        key: "k".to_owned(),
        code: code.to_owned(),
    };
    for _ in 0..1000 {
        live.engine().note_denied(Actor::server(Door::S3), denied("AccessDenied"));
    }
    live.engine().shutdown();
    let recorded = live.log().iter().filter(|event| matches!(event, Event::AccessDenied(_))).count();
    assert_eq!(recorded, 20);
}

#[test]
fn a_data_directory_has_one_engine_and_a_stopped_engine_takes_nothing() {
    let (live, stream) = Live::with_bucket();
    let second = Engine::open(config(live.folder.path()));
    assert!(matches!(second.map(drop), Err(OpenError::Layout(LayoutError::Locked { .. }))));
    live.engine().shutdown();
    let refused = Err(EngineError::Unavailable(Unavailable::ShuttingDown));
    assert_eq!(live.submit(put(stream, "k")).map(drop), refused);
    assert_eq!(live.engine().admit(Need::Manage).map(drop), Err(Unavailable::ShuttingDown));
    assert!(live.log().iter().any(|event| matches!(event, Event::NodeStarted(_))));
}

#[test]
fn an_engine_that_is_dropped_leaves_a_directory_that_can_be_opened_at_once() {
    let (mut live, stream) = Live::with_bucket();
    live.put(stream, "k", b"v").unwrap();
    drop(live.running.take());
    live.running = Some(Engine::open(config(live.folder.path())).unwrap());
    assert_eq!(live.get(stream, "k", 0..9).as_deref(), Some(b"v".as_slice()));
}

#[test]
fn a_nearly_full_disk_refuses_bodies_and_goes_on_with_deletes() {
    let (mut live, stream) = Live::with_bucket();
    live.put(stream, "k", b"v").unwrap();
    live.running.take().unwrap().shutdown();
    let mut full = config(live.folder.path());
    full.limits.free_floor = u64::MAX;
    live.running = Some(Engine::open(full).unwrap());
    assert_eq!(live.engine().admit(Need::Store { bytes: 1 }).map(drop), Err(Unavailable::NoSpace));
    assert!(!live.engine().status().has_space);
    let permit = live.engine().admit(Need::Manage).unwrap();
    let deleted = live.submit(delete(stream, "k")).unwrap().outcome;
    assert_eq!(deleted, Outcome::Deleted(Deleted { existed: true, ..Deleted::default() }));
    drop(permit);
    assert_eq!(live.engine().status().in_flight_requests, 0);
}
