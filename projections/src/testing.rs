//! Records for tests: made as a writer would make them, without a log.

use crate::follower::{Follower, FollowerEffect, FollowerInput, Pace, Stuck};
use crate::store::{RowIter, Rows, Space, Store, StoreError, meta};
use crate::{Digest, SCHEMA};
use bytes::Bytes;
use proptest::prelude::*;
use siltstone_log::chain::Leaf;
use siltstone_log::event::*;
use siltstone_log::hlc::Hlc;
use siltstone_log::id::*;
use siltstone_log::name::{BucketName, ObjectKey};
use siltstone_log::record::{Place, Record, Salted};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicUsize, Ordering};

pub(crate) const LOG: LogId = LogId(*b"a log for tests!");

/// A log in memory.
#[derive(Debug, Clone, Default)]
pub(crate) struct TestLog {
    pub(crate) records: Vec<Record>,
    pub(crate) heads: BTreeMap<StreamId, Head>,
}

impl TestLog {
    /// Appends an event and returns its number in its stream.
    pub(crate) fn append(&mut self, stream: StreamId, event: Event) -> Seq {
        let kind = event.kind();
        let body = Body { actor: Actor::server(Door::S3), event };
        let salted = Salted::new(Salt([7; 16]), &body.encode().unwrap());
        let before = self.heads.get(&stream).copied().unwrap_or_default();
        let seq = before.seq.next();
        let position = Position(self.records.len() as u64 + 1);
        let leaf = Leaf {
            stream,
            seq,
            hlc: Hlc::from_millis(1_000 + position.get()),
            epoch: Epoch(1),
            kind,
            body_hash: salted.hash,
            content_hash: Hash::default(),
        };
        let head = leaf.extend(before.hash).hash;
        self.records.push(Record {
            place: Place {
                position,
                segment: Position(1),
                generation: 0,
                offset: u32::try_from(position.get()).unwrap() * 4096,
            },
            stream,
            seq,
            hlc: leaf.hlc,
            epoch: leaf.epoch,
            kind,
            ignorable: false,
            body_hash: salted.hash,
            content_hash: Hash::default(),
            body: Some(salted.bytes),
            content_len: 0,
            head,
        });
        self.heads.insert(stream, Head { seq, hash: head });
        seq
    }

    /// The log as compaction leaves it once the bodies that `Erased` names are destroyed.
    pub(crate) fn with_erased_bodies_destroyed(&self) -> Self {
        let mut log = self.clone();
        let erased: Vec<(StreamId, Seq)> = self
            .records
            .iter()
            .filter_map(|record| match record.decode()?.unwrap().event {
                Event::Erased(event) => Some((record.stream, event.seq)),
                _ => None,
            })
            .collect();
        for record in &mut log.records {
            if erased.contains(&(record.stream, record.seq)) {
                record.body = None;
            }
        }
        log
    }

    /// Follows the log into a store, in inputs of so many records.
    pub(crate) fn follow(&self, store: &dyn Store, input: usize) -> Result<(), Stuck> {
        let mut follower = Follower::new(store, LOG, vec![], Pace::Live).unwrap();
        for records in self.records.chunks(input.max(1)) {
            drive(&mut follower, store, FollowerInput::Records(records.to_vec()))?;
        }
        drive(&mut follower, store, FollowerInput::Flush)
    }
}

/// Carries out what a follower asks for.
pub(crate) fn drive(follower: &mut Follower, store: &dyn Store, input: FollowerInput) -> Result<(), Stuck> {
    let mut effects = Vec::new();
    follower.handle(store, input, &mut effects);
    for effect in effects {
        match effect {
            FollowerEffect::Commit(batch) => store.commit(batch).unwrap(),
            FollowerEffect::Applied(_) => {}
            FollowerEffect::Stuck(stuck) => return Err(stuck),
        }
    }
    Ok(())
}

/// The kept digests of both spaces, after checking them against the rows that are there.
pub(crate) fn digests(rows: &dyn Rows) -> [Digest; 2] {
    Space::ALL.map(|space| {
        let meta = meta(rows, space).unwrap();
        assert_eq!(meta.digest, Digest::recompute(rows, space).unwrap(), "{space}: kept and recomputed");
        assert!(meta.schema == SCHEMA || meta.rows == 0);
        meta.digest
    })
}

/// Every counted row of a store with its logical bytes: what a failed comparison shows.
pub(crate) fn dump(rows: &dyn Rows, space: Space) -> Vec<(Vec<u8>, Bytes)> {
    let (from, to) = crate::digest::counted_rows();
    rows.range(space, from, to)
        .map(|row| {
            row.map(|(key, stored)| (key.to_vec(), Bytes::copy_from_slice(crate::rows::logical(&stored))))
        })
        .collect::<Result<_, _>>()
        .unwrap()
}

pub(crate) fn bucket_stream(number: u8) -> StreamId {
    StreamId([number | 0x80; 16])
}

pub(crate) fn key(text: &str) -> ObjectKey {
    ObjectKey::parse(text).unwrap()
}

pub(crate) fn bucket_created(name: &str) -> Event {
    Event::BucketCreated(BucketCreated {
        name: BucketName::parse(name).unwrap(),
        owner: AccountId([1; 16]),
        location: String::new(),
    })
}

pub(crate) fn put(object_key: &str, size: u64) -> Event {
    Event::ObjectPut(ObjectPut {
        key: key(object_key),
        version: None,
        size,
        etag: format!("{size:032x}"),
        content: Content::Inline,
        checksums: vec![],
        headers: ContentHeaders::default(),
        metadata: vec![],
        tags: vec![],
        copied_from: None,
    })
}

/// The id that a versioned write at this number of its stream gets.
pub(crate) fn version_id(seq: Seq) -> VersionId {
    VersionId(u128::from(seq.get()).to_be_bytes())
}

/// A put with its version, whose bytes lie in a blob named after the size: equal sizes share one.
pub(crate) fn put_version(object_key: &str, size: u64, version: Option<VersionId>) -> Event {
    let blob = BlobId(u128::from(size).to_be_bytes());
    let slice = ContentSlice { source: ContentSource::Blob { blob }, offset: 0, len: size };
    match put(object_key, size) {
        Event::ObjectPut(put) => {
            Event::ObjectPut(ObjectPut { version, content: Content::Slices(vec![slice]), ..put })
        }
        other => other,
    }
}

pub(crate) fn delete(object_key: &str) -> Event {
    deletion(object_key, Deletion::Current)
}

pub(crate) fn deletion(object_key: &str, deletion: Deletion) -> Event {
    Event::ObjectDeleted(ObjectDeleted { key: key(object_key), deletion })
}

pub(crate) fn upload(id: u8, object_key: &str) -> Event {
    Event::MultipartCreated(MultipartCreated {
        upload: UploadId([id; 16]),
        key: key(object_key),
        headers: ContentHeaders::default(),
        metadata: vec![],
        checksum: None,
        tags: vec![],
    })
}

pub(crate) fn part(id: u8, number: u16, size: u64) -> Event {
    Event::PartUploaded(PartUploaded {
        upload: UploadId([id; 16]),
        number,
        size,
        etag: format!("{size:032x}"),
        content: Content::Slices(vec![ContentSlice {
            source: ContentSource::Blob { blob: BlobId([id; 16]) },
            offset: 0,
            len: size,
        }]),
        checksums: vec![],
        copied_from: None,
    })
}

pub(crate) fn complete(id: u8, object_key: &str, size: u64) -> Event {
    Event::MultipartCompleted(MultipartCompleted {
        upload: UploadId([id; 16]),
        key: key(object_key),
        version: None,
        size,
        etag: format!("{size:032x}-1"),
        content: Content::Empty,
        parts: vec![PartSize { number: 1, size, checksums: vec![] }],
        checksums: vec![],
        headers: ContentHeaders::default(),
        metadata: vec![],
        tags: vec![],
    })
}

pub(crate) fn abort(id: u8, object_key: &str) -> Event {
    Event::MultipartAborted(MultipartAborted { upload: UploadId([id; 16]), key: key(object_key) })
}

/// One step of a random history: small alphabets, so that the steps meet.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Bucket(u8),
    Versioning { bucket: u8, enabled: bool },
    Put { bucket: u8, key: u8, size: u8 },
    PutVersion { bucket: u8, key: u8, size: u8, null: bool },
    Delete { bucket: u8, key: u8 },
    Mark { bucket: u8, key: u8, null: bool },
    DeleteVersion { bucket: u8, key: u8, back: u8 },
    Tag { bucket: u8, key: u8, back: u8 },
    Upload { bucket: u8, upload: u8, key: u8 },
    Part { bucket: u8, upload: u8, number: u8, size: u8 },
    Complete { bucket: u8, upload: u8, key: u8, size: u8 },
    Abort { bucket: u8, upload: u8, key: u8 },
    Expire { bucket: u8, key: u8, back: u8 },
    Erase { bucket: u8, back: u8 },
    Seal(u8),
    System(SystemStep),
    Evidence,
}

#[derive(Debug, Clone)]
pub(crate) enum SystemStep {
    Reserve { name: u8, stream: u8, owner: u8 },
    Release { name: u8, stream: u8 },
    Tenant(u8),
    Account { account: u8, canonical: u8 },
    User { user: u8, account: u8 },
    DeleteUser(u8),
    SuspendUser(u8),
    Key { key: u8, user: u8 },
    DeleteKey(u8),
    SuspendKey(u8),
    Attach { user: u8, policy: u8 },
    Detach { user: u8, policy: u8 },
    Started,
}

pub(crate) fn steps(most: usize) -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(), 0..most)
}

fn step() -> impl Strategy<Value = Step> {
    let (b, k, u) = (0..2u8, 0..4u8, 0..3u8);
    prop_oneof![
        1 => b.clone().prop_map(Step::Bucket),
        1 => (b.clone(), any::<bool>()).prop_map(|(bucket, enabled)| Step::Versioning { bucket, enabled }),
        6 => (b.clone(), k.clone(), any::<u8>()).prop_map(|(bucket, key, size)| Step::Put { bucket, key, size }),
        5 => (b.clone(), k.clone(), 0..4u8, any::<bool>())
            .prop_map(|(bucket, key, size, null)| Step::PutVersion { bucket, key, size, null }),
        4 => (b.clone(), k.clone()).prop_map(|(bucket, key)| Step::Delete { bucket, key }),
        2 => (b.clone(), k.clone(), any::<bool>())
            .prop_map(|(bucket, key, null)| Step::Mark { bucket, key, null }),
        3 => (b.clone(), k.clone(), 0..8u8)
            .prop_map(|(bucket, key, back)| Step::DeleteVersion { bucket, key, back }),
        2 => (b.clone(), k.clone(), 0..8u8).prop_map(|(bucket, key, back)| Step::Tag { bucket, key, back }),
        3 => (b.clone(), u.clone(), k.clone()).prop_map(|(bucket, upload, key)| Step::Upload { bucket, upload, key }),
        5 => (b.clone(), u.clone(), 1..4u8, any::<u8>())
            .prop_map(|(bucket, upload, number, size)| Step::Part { bucket, upload, number, size }),
        2 => (b.clone(), u.clone(), k.clone(), any::<u8>())
            .prop_map(|(bucket, upload, key, size)| Step::Complete { bucket, upload, key, size }),
        1 => (b.clone(), u, k.clone()).prop_map(|(bucket, upload, key)| Step::Abort { bucket, upload, key }),
        2 => (b.clone(), k, 0..8u8).prop_map(|(bucket, key, back)| Step::Expire { bucket, key, back }),
        2 => (b.clone(), 0..8u8).prop_map(|(bucket, back)| Step::Erase { bucket, back }),
        1 => b.prop_map(Step::Seal),
        8 => system_step().prop_map(Step::System),
        1 => Just(Step::Evidence),
    ]
}

fn system_step() -> impl Strategy<Value = SystemStep> {
    let n = || 0..3u8;
    prop_oneof![
        (n(), n(), n()).prop_map(|(name, stream, owner)| SystemStep::Reserve { name, stream, owner }),
        (n(), n()).prop_map(|(name, stream)| SystemStep::Release { name, stream }),
        n().prop_map(SystemStep::Tenant),
        (n(), n()).prop_map(|(account, canonical)| SystemStep::Account { account, canonical }),
        (n(), n()).prop_map(|(user, account)| SystemStep::User { user, account }),
        n().prop_map(SystemStep::DeleteUser),
        n().prop_map(SystemStep::SuspendUser),
        (n(), n()).prop_map(|(key, user)| SystemStep::Key { key, user }),
        n().prop_map(SystemStep::DeleteKey),
        n().prop_map(SystemStep::SuspendKey),
        (n(), n()).prop_map(|(user, policy)| SystemStep::Attach { user, policy }),
        (n(), n()).prop_map(|(user, policy)| SystemStep::Detach { user, policy }),
        Just(SystemStep::Started),
    ]
}

/// Writes a history.
pub(crate) fn log_of(steps: &[Step]) -> TestLog {
    let mut log = TestLog::default();
    for step in steps {
        let (stream, event) = event_of(&log, step);
        log.append(stream, event);
    }
    log
}

pub(crate) fn event_of(log: &TestLog, step: &Step) -> (StreamId, Event) {
    const KEYS: [&str; 4] = ["a", "a\0", "a/b", "ключ"];
    let name = |key: u8| KEYS[usize::from(key)];
    let back = |bucket: u8, back: u8| {
        let head = log.heads.get(&bucket_stream(bucket)).copied().unwrap_or_default();
        Seq(head.seq.get().saturating_sub(back.into()))
    };
    let (bucket, event) = match *step {
        Step::Bucket(bucket) => (bucket, bucket_created("a-bucket")),
        Step::Put { bucket, key, size } => (bucket, put(name(key), size.into())),
        Step::Versioning { bucket, enabled } => {
            let versioning = if enabled { Versioning::Enabled } else { Versioning::Suspended };
            (bucket, Event::BucketVersioningSet(BucketVersioningSet { versioning }))
        }
        Step::PutVersion { bucket, key, size, null } => {
            let id = version_id(back(bucket, 0).next());
            (bucket, put_version(name(key), size.into(), (!null).then_some(id)))
        }
        Step::Delete { bucket, key } => (bucket, delete(name(key))),
        Step::Mark { bucket, key, null } => {
            let id = VersionRef::Id(version_id(back(bucket, 0).next()));
            (bucket, deletion(name(key), Deletion::Marker(if null { VersionRef::Null } else { id })))
        }
        Step::DeleteVersion { bucket, key, back: b } => {
            let id = VersionRef::Id(version_id(back(bucket, b)));
            (bucket, deletion(name(key), Deletion::Version(id)))
        }
        Step::Tag { bucket, key: k, back: b } => {
            let tags = vec![("tag".to_owned(), b.to_string())];
            (bucket, Event::ObjectTagged(ObjectTagged { key: key(name(k)), seq: back(bucket, b), tags }))
        }
        Step::Upload { bucket, upload: id, key } => (bucket, upload(id, name(key))),
        Step::Part { bucket, upload, number, size } => (bucket, part(upload, number.into(), size.into())),
        Step::Complete { bucket, upload, key, size } => (bucket, complete(upload, name(key), size.into())),
        Step::Abort { bucket, upload, key } => (bucket, abort(upload, name(key))),
        Step::Expire { bucket, key: k, back: b } => {
            let versions = vec![(key(name(k)), back(bucket, b)), (key(name(k)), back(bucket, b + 1))];
            (bucket, Event::ContentExpired(ContentExpired { versions }))
        }
        Step::Erase { bucket, back: b } => {
            (bucket, Event::Erased(Erased { seq: back(bucket, b), reason: String::new() }))
        }
        Step::Seal(bucket) => {
            (bucket, Event::BucketSealed(BucketSealed { name: BucketName::parse("a-bucket").unwrap() }))
        }
        Step::System(ref step) => return (StreamId::SYSTEM, system_event_of(step)),
        Step::Evidence => {
            let event = AccessSuppressed { address: String::new(), count: 1 };
            return (StreamId::ACCESS, Event::AccessSuppressed(event));
        }
    };
    (bucket_stream(bucket), event)
}

fn system_event_of(step: &SystemStep) -> Event {
    let text = |n: u8| format!("user{}", "\0".repeat(n.into()));
    let bucket = |n: u8| BucketName::parse(&format!("bucket-{n}")).unwrap();
    let account = |n: u8| AccountId([n; 16]);
    match *step {
        SystemStep::Reserve { name, stream, owner } => Event::BucketNameReserved(BucketNameReserved {
            name: bucket(name),
            stream: bucket_stream(stream),
            owner: account(owner),
            location: String::new(),
            tags: (owner % 2 == 1).then(|| (text(name), text(stream))).into_iter().collect(),
        }),
        SystemStep::Release { name, stream } => Event::BucketNameReleased(BucketNameReleased {
            name: bucket(name),
            stream: bucket_stream(stream),
        }),
        SystemStep::Tenant(n) => Event::TenantCreated(TenantCreated { tenant: text(n) }),
        SystemStep::Account { account: n, canonical } => Event::AccountCreated(AccountCreated {
            tenant: text(0),
            account: account(n),
            canonical_id: format!("canonical-{canonical}"),
            display_name: text(n),
            email: String::new(),
        }),
        SystemStep::User { user, account: n } => {
            Event::UserCreated(UserCreated { account: account(n), user: text(user) })
        }
        SystemStep::DeleteUser(n) => Event::UserDeleted(UserDeleted { user: text(n) }),
        SystemStep::SuspendUser(n) => {
            Event::UserStatusChanged(UserStatusChanged { user: text(n), status: Status::Suspended })
        }
        SystemStep::Key { key, user } => Event::AccessKeyCreated(AccessKeyCreated {
            user: text(user),
            access_key: format!("AK{key}"),
            secret: SealedSecret { key_version: 1, nonce: [key; 12], ciphertext: vec![key; 20] },
        }),
        SystemStep::DeleteKey(n) => {
            Event::AccessKeyDeleted(AccessKeyDeleted { access_key: format!("AK{n}") })
        }
        SystemStep::SuspendKey(n) => Event::AccessKeyStatusChanged(AccessKeyStatusChanged {
            access_key: format!("AK{n}"),
            status: Status::Suspended,
        }),
        SystemStep::Attach { user, policy } => {
            Event::PolicyAttached(PolicyAttached { user: text(user), policy: format!("policy-{policy}") })
        }
        SystemStep::Detach { user, policy } => {
            Event::PolicyDetached(PolicyDetached { user: text(user), policy: format!("policy-{policy}") })
        }
        SystemStep::Started => {
            Event::NodeStarted(NodeStarted { node: NodeId::default(), version: "1".into(), clean: true })
        }
    }
}

/// Counts what is read through it.
pub(crate) struct Counting<'a> {
    rows: &'a dyn Rows,
    passed: AtomicUsize,
    seeks: AtomicUsize,
}

impl<'a> Counting<'a> {
    pub(crate) fn new(rows: &'a dyn Rows) -> Self {
        Self { rows, passed: AtomicUsize::new(0), seeks: AtomicUsize::new(0) }
    }

    /// Rows that ranges yielded.
    pub(crate) fn rows_passed(&self) -> usize {
        self.passed.load(Ordering::Relaxed)
    }

    /// Ranges that were begun.
    pub(crate) fn seeks(&self) -> usize {
        self.seeks.load(Ordering::Relaxed)
    }
}

impl Rows for Counting<'_> {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.rows.get(space, key)
    }

    fn range(&self, space: Space, from: Bound<Vec<u8>>, to: Bound<Vec<u8>>) -> RowIter<'_> {
        self.seeks.fetch_add(1, Ordering::Relaxed);
        let counted = |row: &_| {
            let _: &Result<_, StoreError> = row;
            self.passed.fetch_add(1, Ordering::Relaxed);
        };
        Box::new(self.rows.range(space, from, to).inspect(counted))
    }
}
