//! Logs of every event, byte for byte: this version must still write the newest so, and read them all. A change of
//! any event's schema begins a new one ([`CURRENT`]); the older ones stay as they are, for ever.
//! `SILTSTONE_WRITE_GOLDEN=1 cargo test -p siltstone-log --test golden` writes the newest anew, which is right only
//! while nobody has data of its schemas.
#![expect(clippy::disallowed_methods, reason = "a test reads and writes its own fixture")]

use siltstone_log::event::{
    AccessDenied, AccessKeyCreated, AccessKeyDeleted, AccessKeyStatusChanged, AccessSuppressed,
    AccountCreated, Actor, Body, BucketCreated, BucketNameReleased, BucketNameReserved, BucketSealed,
    BucketTagged, BucketVersioningSet, Checksum, ChecksumAlgorithm, ChecksumKind, Content, ContentExpired,
    ContentHeaders, ContentSlice, ContentSource, CopiedFrom, Deletion, Door, Erased, Event, LogRepaired,
    MultipartAborted, MultipartCompleted, MultipartCreated, NodeStarted, ObjectDeleted, ObjectPut,
    ObjectTagged, PartSize, PartUploaded, PolicyAttached, PolicyDetached, SealedSecret, Status,
    TailDiscarded, TenantCreated, UserCreated, UserDeleted, UserStatusChanged, Versioning,
};
use siltstone_log::hlc::Hlc;
use siltstone_log::host::mem::MemDisk;
use siltstone_log::host::{Completion, FilePath, Folder, Now};
use siltstone_log::id::{
    AccountId, BlobId, Epoch, Hash, LogId, NodeId, Position, Salt, Seq, StreamId, UploadId, VersionId,
    VersionRef,
};
use siltstone_log::name::{BucketName, ObjectKey};
use siltstone_log::reader::{LogReader, ReadItem, content, verify};
use siltstone_log::record::{DraftContent, Record, RecordDraft, Salted};
use siltstone_log::recovery::{RecoveryConfig, recover};
use siltstone_log::script::Script;
use siltstone_log::writer::{Submission, Writer, WriterConfig, WriterEffect, WriterInput};
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;
use std::path::PathBuf;

const BUCKET: StreamId = StreamId([0x51; 16]);

/// The newest golden log.
const CURRENT: u32 = 3;

fn folder(generation: u32) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/golden-{generation}"))
}

fn actor() -> Actor {
    Actor {
        account: Some(AccountId([1; 16])),
        user: "ann".into(),
        access_key: "AKIDEXAMPLE".into(),
        address: "192.0.2.7".into(),
        agent: "golden/1".into(),
        door: Door::S3,
        request_id: "0123456789ABCDEF".into(),
    }
}

fn system_events() -> Vec<Event> {
    let name = || BucketName::parse("golden").unwrap();
    let (account, user) = (AccountId([1; 16]), || "ann".to_owned());
    let secret = SealedSecret { key_version: 1, nonce: [5; 12], ciphertext: vec![6; 40] };
    vec![
        Event::NodeStarted(NodeStarted { node: NodeId([2; 16]), version: "0.1.0".into(), clean: true }),
        Event::TailDiscarded(TailDiscarded { first: Position(7), bytes: 4096 }),
        Event::LogRepaired(LogRepaired { first: Position(3), last: Position(4), reason: "rot".into() }),
        Event::TenantCreated(TenantCreated { tenant: "default".into() }),
        Event::AccountCreated(AccountCreated {
            tenant: "default".into(),
            account,
            canonical_id: "c0ffee".into(),
            display_name: "Ann".into(),
            email: "ann@example.org".into(),
        }),
        Event::UserCreated(UserCreated { account, user: user() }),
        Event::AccessKeyCreated(AccessKeyCreated { user: user(), access_key: "AKIDEXAMPLE".into(), secret }),
        Event::PolicyAttached(PolicyAttached { user: user(), policy: "readwrite".into() }),
        Event::BucketNameReserved(BucketNameReserved {
            name: name(),
            stream: BUCKET,
            owner: account,
            location: "us-east-1".into(),
            tags: tags(),
        }),
        Event::AccessKeyStatusChanged(AccessKeyStatusChanged {
            access_key: "AKIDEXAMPLE".into(),
            status: Status::Suspended,
        }),
        Event::UserStatusChanged(UserStatusChanged { user: user(), status: Status::Active }),
        Event::PolicyDetached(PolicyDetached { user: user(), policy: "readwrite".into() }),
        Event::AccessKeyDeleted(AccessKeyDeleted { access_key: "AKIDEXAMPLE".into() }),
        Event::UserDeleted(UserDeleted { user: user() }),
        Event::BucketNameReleased(BucketNameReleased { name: name(), stream: BUCKET }),
    ]
}

fn key() -> ObjectKey {
    ObjectKey::parse("folder/ключ").unwrap()
}

fn checksums() -> Vec<Checksum> {
    let (algorithm, kind) = (ChecksumAlgorithm::Crc32c, ChecksumKind::FullObject);
    vec![Checksum { algorithm, kind, value: vec![1, 2, 3, 4] }]
}

fn headers() -> ContentHeaders {
    ContentHeaders { content_type: Some("text/plain".into()), ..ContentHeaders::default() }
}

fn metadata() -> Vec<(String, String)> {
    vec![("owner".to_owned(), "ann".to_owned())]
}

fn blob(n: u8) -> ContentSlice {
    ContentSlice { source: ContentSource::Blob { blob: BlobId([n; 16]) }, offset: 0, len: 5 << 20 }
}

fn put(content: Content, size: u64) -> Event {
    Event::ObjectPut(ObjectPut {
        key: key(),
        version: None,
        size,
        etag: "0123456789abcdef0123456789abcdef".into(),
        content,
        checksums: checksums(),
        headers: headers(),
        metadata: metadata(),
        tags: tags(),
        copied_from: Some(copied_from()),
    })
}

fn tags() -> Vec<(String, String)> {
    vec![("team".to_owned(), "geology".to_owned())]
}

fn copied_from() -> CopiedFrom {
    let bucket = BucketName::parse("source").unwrap();
    CopiedFrom { bucket, key: key(), version: VersionRef::Id(VersionId([6; 16])) }
}

fn deleted(deletion: Deletion) -> Event {
    Event::ObjectDeleted(ObjectDeleted { key: key(), deletion })
}

fn upload_events() -> Vec<Event> {
    let upload = UploadId([9; 16]);
    vec![
        Event::MultipartCreated(MultipartCreated {
            upload,
            key: key(),
            headers: headers(),
            metadata: metadata(),
            checksum: Some((ChecksumAlgorithm::Sha256, ChecksumKind::Composite)),
            tags: tags(),
        }),
        Event::PartUploaded(PartUploaded {
            upload,
            number: 1,
            size: 5 << 20,
            etag: "00112233445566778899aabbccddeeff".into(),
            content: Content::Slices(vec![blob(4)]),
            checksums: checksums(),
            copied_from: Some(copied_from()),
        }),
        Event::MultipartCompleted(MultipartCompleted {
            upload,
            key: key(),
            version: Some(VersionId([7; 16])),
            size: 5 << 20,
            etag: "00112233445566778899aabbccddeeff-1".into(),
            content: Content::Slices(vec![blob(4)]),
            parts: vec![PartSize { number: 1, size: 5 << 20, checksums: checksums() }],
            checksums: checksums(),
            headers: headers(),
            metadata: metadata(),
            tags: tags(),
        }),
        Event::MultipartAborted(MultipartAborted { upload, key: key() }),
    ]
}

fn bucket_events() -> Vec<Event> {
    let name = || BucketName::parse("golden").unwrap();
    let inline =
        ContentSlice { source: ContentSource::Inline { stream: BUCKET, seq: Seq(2) }, offset: 1, len: 2 };
    let created = BucketCreated { name: name(), owner: AccountId([1; 16]), location: "us-east-1".into() };
    let mut events = vec![
        Event::BucketCreated(created),
        put(Content::Inline, 3000),
        put(Content::Empty, 0),
        put(Content::Slices(vec![blob(3), inline]), 5 << 20),
    ];
    events.extend(upload_events());
    events.extend([
        Event::BucketVersioningSet(BucketVersioningSet { versioning: Versioning::Enabled }),
        Event::BucketTagged(BucketTagged { tags: tags() }),
        Event::ObjectTagged(ObjectTagged { key: key(), seq: Seq(2), tags: tags() }),
        deleted(Deletion::Current),
        deleted(Deletion::Version(VersionRef::Null)),
        deleted(Deletion::Marker(VersionRef::Id(VersionId([8; 16])))),
        Event::ContentExpired(ContentExpired { versions: vec![(key(), Seq(2))] }),
        Event::Erased(Erased { seq: Seq(2), reason: "asked for".into() }),
        Event::BucketSealed(BucketSealed { name: name() }),
    ]);
    events
}

fn access_events() -> Vec<Event> {
    vec![
        Event::AccessDenied(AccessDenied {
            operation: "GetObject".into(),
            bucket: "golden".into(),
            key: "secret".into(),
            code: "AccessDenied".into(),
        }),
        Event::AccessSuppressed(AccessSuppressed { address: "192.0.2.9".into(), count: 12 }),
    ]
}

fn drafts() -> Vec<RecordDraft> {
    let system = system_events().into_iter().map(|event| (StreamId::SYSTEM, event));
    let bucket = bucket_events().into_iter().map(|event| (BUCKET, event));
    let access = access_events().into_iter().map(|event| (StreamId::ACCESS, event));
    let mut seqs: BTreeMap<StreamId, u64> = BTreeMap::new();
    let mut drafts = Vec::new();
    for (n, (stream, event)) in (0u64..).zip(system.chain(bucket).chain(access)) {
        let seq = seqs.entry(stream).or_default();
        *seq += 1;
        let salt = |tag| Salt([tag + u8::try_from(n).unwrap(); 16]);
        let kind = event.kind();
        let content = match &event {
            Event::ObjectPut(put) if put.content == Content::Inline => {
                DraftContent::Inline(Salted::new(salt(100), &[0x5a; 3000]))
            }
            Event::PartUploaded(_) => DraftContent::Blob(Hash([0x77; 32])),
            _ => DraftContent::None,
        };
        let body = Body { actor: actor(), event }.encode().unwrap();
        drafts.push(RecordDraft {
            stream,
            seq: Seq(*seq),
            hlc: Hlc::from_millis(1_700_000_000_000 + n),
            epoch: Epoch(1),
            kind,
            ignorable: stream == StreamId::ACCESS,
            body: Salted::new(salt(0), &body),
            content,
        });
    }
    drafts
}

fn ids() -> RecoveryConfig {
    RecoveryConfig { log_id: LogId([0x10; 16]), node_id: NodeId([0x20; 16]), projection_witness: None }
}

/// Writes the log as this version does: three drafts to a batch, several segments, sealed.
fn write_log() -> MemDisk {
    let disk = MemDisk::new();
    let recovered = Script::new(|io| recover(io, ids())).run(&mut disk.clone()).unwrap();
    let config = WriterConfig {
        segment_bytes: WriterConfig::MIN_SEGMENT_BYTES,
        epoch: Epoch(1),
        ..WriterConfig::default()
    };
    let mut writer = Writer::new(&recovered, config);
    let drafts = drafts();
    let submissions = drafts.chunks(3).map(|chunk| {
        WriterInput::Submit(Submission { token: chunk[0].seq.0, priority: false, drafts: chunk.to_vec() })
    });
    for input in [WriterInput::Tick].into_iter().chain(submissions).chain([WriterInput::Stop]) {
        let mut effects = VecDeque::new();
        let mut out = Vec::new();
        let now = Now { wall_millis: 1_700_000_000_000, monotonic_nanos: 1 };
        writer.handle(now, input, &mut out);
        effects.extend(out.drain(..));
        while let Some(effect) = effects.pop_front() {
            match effect {
                WriterEffect::Disk(ticket, op) => {
                    let result = disk.execute(&op);
                    writer.handle(now, WriterInput::Disk(Completion { ticket, result }), &mut out);
                    effects.extend(out.drain(..));
                }
                WriterEffect::Committed(_) | WriterEffect::Stopped => {}
                WriterEffect::Refused { reason, .. } => panic!("{reason}"),
                WriterEffect::Failed(error) => panic!("{error}"),
            }
        }
    }
    disk
}

fn heads(disk: &MemDisk) -> String {
    let report = Script::new(|io| async move { verify(&io).await }).run(&mut disk.clone()).unwrap();
    assert!(report.is_intact(), "{:?}", report.findings);
    let mut text = String::new();
    for (stream, found) in &report.streams {
        writeln!(text, "{stream} {} {}", found.head.seq, found.head.hash).unwrap();
    }
    text
}

fn read(disk: &MemDisk) -> Vec<Record> {
    let read = |io| async move {
        let mut reader = LogReader::open(&io, Position(1)).await.unwrap();
        let mut all = Vec::new();
        while let Some(item) = reader.next(&io).await.unwrap() {
            match item {
                ReadItem::Records(records) => all.extend(records),
                ReadItem::Unreadable(range) => panic!("{range:?}"),
            }
        }
        all
    };
    Script::new(read).run(&mut disk.clone())
}

fn fixture(generation: u32) -> BTreeMap<FilePath, Vec<u8>> {
    let entries = std::fs::read_dir(folder(generation).join("log")).unwrap();
    let files = entries.map(|entry| {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        (FilePath::new(Folder::Log, name), std::fs::read(entry.path()).unwrap())
    });
    files.collect()
}

/// What counts of a disk: a spare segment is made anew at each start.
fn files(disk: &MemDisk) -> BTreeMap<FilePath, Vec<u8>> {
    disk.files().into_iter().filter(|(file, _)| &*file.name != "next.tmp").collect()
}

#[test]
fn this_version_writes_the_golden_log() {
    let disk = write_log();
    if std::env::var("SILTSTONE_WRITE_GOLDEN").is_ok() {
        std::fs::create_dir_all(folder(CURRENT).join("log")).unwrap();
        for (file, bytes) in files(&disk) {
            std::fs::write(folder(CURRENT).join("log").join(&*file.name), bytes).unwrap();
        }
        std::fs::write(folder(CURRENT).join("heads.txt"), heads(&disk)).unwrap();
    }
    let (written, golden) = (files(&disk), fixture(CURRENT));
    assert_eq!(written.keys().collect::<Vec<_>>(), golden.keys().collect::<Vec<_>>());
    for (file, bytes) in &written {
        let differs = bytes.iter().zip(&golden[file]).position(|(a, b)| a != b);
        assert_eq!((differs, bytes.len()), (None, golden[file].len()), "{file}");
    }
}

/// A golden log's disk and records: intact, with the heads it was written with.
fn golden(generation: u32) -> (MemDisk, Vec<Record>) {
    let disk = MemDisk::with_files(fixture(generation));
    let expected = std::fs::read_to_string(folder(generation).join("heads.txt")).unwrap();
    assert_eq!(heads(&disk), expected);
    let recovered = Script::new(|io| recover(io, ids())).run(&mut disk.clone()).unwrap();
    assert!(recovered.clean && recovered.notes.is_empty() && recovered.segments.len() >= 3);
    let records = read(&disk);
    (disk, records)
}

#[test]
fn the_newest_golden_log_has_every_event_as_it_was_written() {
    let (disk, records) = golden(CURRENT);
    let mut kinds: Vec<_> = records.iter().map(|record| record.kind.event_type).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let catalogue: Vec<_> = Event::CATALOGUE.iter().map(|(number, ..)| *number).collect();
    assert_eq!(kinds, catalogue, "an event is missing from the golden log");
    for (record, draft) in records.iter().zip(drafts()) {
        let body = record.decode().unwrap().unwrap();
        assert_eq!(body.encode().unwrap(), draft.body.bytes[Salt::LEN..]);
        if record.content_len > 0 {
            let (place, len) = (record.place, record.content_len);
            let bytes =
                Script::new(|io| async move { content(&io, place, len).await }).run(&mut disk.clone());
            assert_eq!(bytes.unwrap(), vec![0x5a; 3000]);
        }
    }
}

#[test]
fn every_older_golden_log_is_read_through_the_up_casters() {
    for generation in 1..CURRENT {
        let (_, records) = golden(generation);
        let old = records.iter().filter(|record| {
            let schema = Event::CATALOGUE.iter().find(|(number, ..)| *number == record.kind.event_type);
            record.kind.schema < schema.unwrap().1
        });
        assert!(old.count() > 0, "golden-{generation} has no event of an older schema");
        for record in &records {
            let body = record.decode().unwrap().unwrap();
            assert_eq!((body.actor, body.event.kind().event_type), (actor(), record.kind.event_type));
        }
    }
}
