//! What clients do next, drawn from the seed.

use crate::fault::Plan;
use crate::oracle::{Condition, CopySource, DeleteKey, Intent, OpId, Tags, etag_of};
use crate::sometimes::State;
use crate::world::World;
use crate::world::random::Random;
use siltstone::engine::Permit;
use siltstone::engine::content::SharedContent;
use siltstone_log::event::Versioning;
use siltstone_log::id::{StreamId, UploadId, VersionId, VersionRef};
use siltstone_log::name::{BucketName, ObjectKey};
use siltstone_projections::rows::{ObjectRow, VersionRow};
use siltstone_projections::{buckets, names, objects};
use std::collections::BTreeMap;

/// An upload that some client began, with the parts it knows of.
#[derive(Debug, Clone)]
pub struct KnownUpload {
    /// The bucket's stream.
    pub stream: StreamId,
    /// The key.
    pub key: ObjectKey,
    /// The upload.
    pub upload: UploadId,
    /// The ETags of its parts.
    pub parts: BTreeMap<u16, String>,
}

/// What a client is going to do, with the bytes that go with it.
#[derive(Debug, Clone)]
pub struct Work {
    /// What.
    pub intent: Intent,
    /// The body of a put or part.
    pub body: Vec<u8>,
    /// The bytes that a copy shares.
    pub shared: Option<SharedContent>,
    /// What was admitted for it.
    pub permit: Option<Permit>,
    /// Whether the client goes away before its body is stored.
    pub gives_up: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Put,
    Copy,
    Delete,
    DeleteMany,
    Tag,
    Multipart,
    Get,
    List,
    ListVersions,
    SetVersioning,
    CreateBucket,
    DeleteBucket,
}

fn draw_kind(plan: &Plan, random: &mut Random) -> Kind {
    let mix = &plan.mix;
    let weights = [
        (Kind::Put, mix.put),
        (Kind::Copy, mix.copy),
        (Kind::Delete, mix.delete),
        (Kind::DeleteMany, mix.delete_many),
        (Kind::Tag, mix.tag),
        (Kind::Multipart, mix.multipart),
        (Kind::Get, mix.get),
        (Kind::List, mix.list),
        (Kind::ListVersions, mix.list_versions),
        (Kind::SetVersioning, mix.versioning),
        (Kind::CreateBucket, mix.create_bucket),
        (Kind::DeleteBucket, mix.delete_bucket),
    ];
    let mut drawn = random.below(weights.iter().map(|(_, weight)| weight).sum());
    for (kind, weight) in weights {
        if drawn < weight {
            return kind;
        }
        drawn -= weight;
    }
    Kind::Put
}

fn bucket_name(number: u64) -> BucketName {
    BucketName::parse(&format!("bucket-{number}")).expect("a valid name")
}

fn key(number: u64) -> ObjectKey {
    // Keys share prefixes, and one is a prefix of another.
    let folder = ["", "a/", "a/b/", "a"][usize::try_from(number % 4).unwrap_or(0)];
    ObjectKey::parse(format!("{folder}key-{}", number / 4)).expect("a valid key")
}

impl World {
    /// Draws what the next operation does.
    pub(crate) fn draw_work(&mut self, op: OpId) -> Work {
        let kind = draw_kind(&self.plan, &mut self.work);
        let name = bucket_name(self.work.below(self.plan.buckets));
        let resolved = names::resolve(self.store.rows(), &name).ok().flatten();
        let Some((row, _)) = resolved else {
            // What else could be done with a bucket that is not there.
            return Self::plain(self.create_bucket(name));
        };
        let stream = row.stream;
        let key = key(self.work.below(self.plan.keys));
        match kind {
            Kind::Put => self.draw_put(op, stream, key),
            Kind::Copy => self.draw_copy(op, stream, key),
            Kind::Delete => self.draw_delete(stream, key),
            Kind::DeleteMany => {
                let count = self.work.between(1, 5);
                let deletes = (0..count).map(|_| {
                    let key = self::key(self.work.below(self.plan.keys));
                    self.draw_delete_key(stream, key)
                });
                let deletes = deletes.collect();
                Self::plain(Intent::DeleteMany { stream, deletes })
            }
            Kind::Tag => {
                let version = self.draw_version(stream, &key, 3);
                let tags = self.draw_tags();
                Self::plain(Intent::Tag { stream, key, version, tags })
            }
            Kind::Multipart => self.draw_multipart(op, stream, key),
            Kind::Get => {
                let version = self.draw_version(stream, &key, 3);
                Self::plain(Intent::Get { stream, key, version })
            }
            Kind::List => {
                // A client goes on with the next page where another key was the last of the one before; that may be long gone.
                let behind = self.plan.delay_millis > 0 && self.work.coin();
                Self::plain(Intent::List { stream, after: behind.then_some(key) })
            }
            Kind::ListVersions => Self::plain(Intent::ListVersions { stream }),
            Kind::SetVersioning => {
                let most = if self.work.once_in(10) { 3 } else { 2 };
                let all = [Versioning::Enabled, Versioning::Suspended, Versioning::Unversioned];
                let versioning = all.get(self.work.index(most)).copied().unwrap_or_default();
                Self::plain(Intent::SetVersioning { stream, versioning })
            }
            Kind::CreateBucket => Self::plain(self.create_bucket(name)),
            Kind::DeleteBucket => self.draw_bucket_deletion(name, stream),
        }
    }

    fn draw_put(&mut self, op: OpId, stream: StreamId, key: ObjectKey) -> Work {
        let size = self.draw_size();
        let body = op.body(size);
        let condition = self.draw_condition(stream, &key);
        let (etag, tags, version) = (etag_of(&body), self.draw_tags(), VersionId(self.work.bytes()));
        let intent = Intent::Put { stream, key, size, etag, condition, tags, version };
        Work { intent, body, shared: None, permit: None, gives_up: self.work.once_in(20) }
    }

    fn draw_delete(&mut self, stream: StreamId, key: ObjectKey) -> Work {
        // Now and then what somebody reads at the moment.
        let read = self.being_read().filter(|_| self.work.once_in(2));
        if let Some((stream, key, version)) = read {
            let delete = DeleteKey { key, version: Some(version), marker: VersionId(self.work.bytes()) };
            return Self::plain(Intent::Delete { stream, delete, condition: Condition::None });
        }
        let delete = self.draw_delete_key(stream, key);
        let condition = if delete.version.is_none() && self.work.once_in(8) {
            match self.draw_condition(stream, &delete.key) {
                Condition::Etag(etag) => Condition::Etag(etag),
                Condition::None | Condition::Absent => Condition::None,
            }
        } else {
            Condition::None
        };
        Self::plain(Intent::Delete { stream, delete, condition })
    }

    fn draw_delete_key(&mut self, stream: StreamId, key: ObjectKey) -> DeleteKey {
        let version = self.draw_version(stream, &key, 2);
        DeleteKey { key, version, marker: VersionId(self.work.bytes()) }
    }

    /// One version of a key in so many draws, mostly one that is there; none for what the key holds.
    fn draw_version(&mut self, stream: StreamId, key: &ObjectKey, one_in: u64) -> Option<VersionRef> {
        if !self.work.once_in(one_in) {
            return None;
        }
        if self.work.once_in(8) {
            let unknown = VersionRef::Id(VersionId(self.work.bytes()));
            return self.work.pick(&[VersionRef::Null, unknown]).copied();
        }
        let rows = self.store.rows();
        let found: Vec<VersionRef> =
            objects::versions(rows, stream, key).flatten().map(|version| version.version()).collect();
        self.work.pick(&found).copied()
    }

    fn draw_tags(&mut self) -> Tags {
        let count = self.work.below(6).saturating_sub(3);
        (0..count).map(|number| (format!("tag-{number}"), self.work.below(3).to_string())).collect()
    }

    /// A version whose bytes lie in packs: of what the key holds, of what it held, or of what was removed.
    fn draw_source(&mut self, stream: StreamId) -> Option<(ObjectKey, ObjectRow, bool)> {
        let first = self.work.below(self.plan.keys);
        let rows = self.store.rows();
        for number in 0..self.plan.keys {
            let key = key((first + number) % self.plan.keys);
            let shown = objects::versions(rows, stream, &key).flatten().map(|version| (version, false));
            let past = objects::past(rows, stream, &key).flatten().map(|past| (past.version, true));
            let found: Vec<(ObjectRow, bool)> = shown
                .chain(past)
                .filter_map(|(version, past)| Some((VersionRow::into_object(version)?, past)))
                .filter(|(row, _)| SharedContent::of(&key, row, 0..row.size).is_some())
                .collect();
            if let Some((row, past)) = self.work.pick(&found).cloned() {
                return Some((key, row, past));
            }
        }
        None
    }

    /// A copy inside the bucket that shares its source's bytes: all of them or a range, in an object or a part. Where
    /// nothing lies in packs it is a put, as it would be for the engine, to which a copy of inline bytes is one.
    fn draw_copy(&mut self, op: OpId, stream: StreamId, key: ObjectKey) -> Work {
        let Some((source_key, row, past)) = self.draw_source(stream) else {
            return self.draw_put(op, stream, key);
        };
        let range = if self.work.coin() {
            0..row.size
        } else {
            let start = self.work.below(row.size);
            start..self.work.between(start + 1, row.size)
        };
        let shared = SharedContent::of(&source_key, &row, range.clone());
        let bytes = self.bytes_of(&row.content);
        let within = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
        let copied = bytes.as_ref().and_then(|bytes| bytes.get(within(range.start)..within(range.end)));
        let (Some(shared), Some(copied)) = (shared, copied) else { return self.draw_put(op, stream, key) };
        self.counters.reach(State::BytesShared);
        self.counters.sometimes(State::CopyOfPast, past);
        let etag = etag_of(copied);
        let onto_itself = self.work.once_in(4);
        let source = CopySource { key: source_key, seq: row.seq, range };
        let known = self.uploads.iter().find(|known| known.stream == stream).cloned();
        let intent = if let Some(KnownUpload { key, upload, .. }) = known.filter(|_| self.work.once_in(3)) {
            let number = u16::try_from(self.work.between(1, 3)).unwrap_or(1);
            Intent::CopyPart { stream, key, upload, number, source, etag }
        } else {
            let key = if onto_itself { source.key.clone() } else { key };
            let (tags, version) = (self.draw_tags(), VersionId(self.work.bytes()));
            Intent::Copy { stream, key, source, etag, tags, version }
        };
        Work { intent, body: Vec::new(), shared: Some(shared), permit: None, gives_up: false }
    }

    fn plain(intent: Intent) -> Work {
        Work { intent, body: Vec::new(), shared: None, permit: None, gives_up: false }
    }

    fn create_bucket(&mut self, name: BucketName) -> Intent {
        let stream = StreamId(self.work.bytes());
        let [first, second, ..] = stream.0;
        let tags = (first % 2 == 1).then(|| ("made-with".to_owned(), second.to_string()));
        Intent::CreateBucket { name, stream, tags: tags.into_iter().collect() }
    }

    /// A bucket that holds something is seldom deleted as it is: mostly a key of it goes first.
    fn draw_bucket_deletion(&mut self, name: BucketName, stream: StreamId) -> Work {
        let empty = buckets::is_empty(self.store.rows(), stream).unwrap_or(false);
        if empty || self.work.once_in(4) {
            return Self::plain(Intent::DeleteBucket { name, stream });
        }
        let rows = self.store.rows();
        let mut deletes = Vec::new();
        for key in (0..self.plan.keys).map(key) {
            for version in objects::versions(rows, stream, &key).flatten() {
                let (key, version) = (key.clone(), Some(version.version()));
                deletes.push(DeleteKey { key, version, marker: VersionId::default() });
            }
        }
        Self::plain(Intent::DeleteMany { stream, deletes })
    }

    fn draw_size(&mut self) -> u64 {
        let (inline, most) = (self.plan.inline_max, self.plan.body_max);
        match self.work.below(10) {
            0 => 0,
            1..=5 => self.work.between(1, inline),
            6 => *self.work.pick(&[1, inline, inline + 1]).unwrap_or(&1),
            _ => self.work.between(inline, most),
        }
    }

    fn draw_condition(&mut self, stream: StreamId, key: &ObjectKey) -> Condition {
        match self.work.below(6) {
            0 => Condition::Absent,
            1 => {
                let current = objects::current(self.store.rows(), stream, key).ok().flatten();
                let right = current.map(|object| object.etag).filter(|_| !self.work.once_in(4));
                Condition::Etag(right.unwrap_or_else(|| etag_of(b"of no object")))
            }
            _ => Condition::None,
        }
    }

    fn draw_multipart(&mut self, op: OpId, stream: StreamId, key: ObjectKey) -> Work {
        let index = self.work.index(self.uploads.len());
        let begin = self.uploads.is_empty() || self.work.once_in(5);
        let Some(known) = self.uploads.get(index).filter(|_| !begin).cloned() else {
            let upload = UploadId(self.work.bytes());
            return Self::plain(Intent::BeginUpload { stream, key, upload });
        };
        let KnownUpload { stream, key, upload, parts } = known;
        match self.work.below(8) {
            0 => Self::plain(Intent::Abort { stream, key, upload }),
            1..=2 if !parts.is_empty() => {
                // One part, mostly: all but the last must have five mebibytes.
                let most = if self.work.once_in(6) { 3 } else { 1 };
                let mut parts: Vec<(u16, String)> = parts.into_iter().take(most).collect();
                if self.work.once_in(8) {
                    parts.last_mut().into_iter().for_each(|(_, etag)| *etag = etag_of(b"of no part"));
                }
                let version = VersionId(self.work.bytes());
                Self::plain(Intent::Complete { stream, key, upload, parts, version })
            }
            _ => {
                let number = u16::try_from(self.work.between(1, 3)).unwrap_or(1);
                let large = number < 3 && self.work.once_in(60);
                let size = if large { (5 << 20) + self.work.below(1000) } else { self.draw_size() };
                let body = op.body(size);
                let intent = Intent::Part { stream, key, upload, number, size, etag: etag_of(&body) };
                Work { intent, body, shared: None, permit: None, gives_up: self.work.once_in(20) }
            }
        }
    }
}
