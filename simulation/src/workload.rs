//! What clients do next, drawn from the seed.

use crate::fault::Plan;
use crate::oracle::{Condition, Intent, OpId, etag_of};
use crate::world::World;
use crate::world::random::Random;
use siltstone_log::id::{StreamId, UploadId};
use siltstone_log::name::{BucketName, ObjectKey};
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
    /// Whether the client goes away before its body is stored.
    pub gives_up: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Put,
    Delete,
    DeleteMany,
    Multipart,
    Get,
    List,
    CreateBucket,
    DeleteBucket,
}

fn draw_kind(plan: &Plan, random: &mut Random) -> Kind {
    let mix = &plan.mix;
    let weights = [
        (Kind::Put, mix.put),
        (Kind::Delete, mix.delete),
        (Kind::DeleteMany, mix.delete_many),
        (Kind::Multipart, mix.multipart),
        (Kind::Get, mix.get),
        (Kind::List, mix.list),
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
            Kind::Put => {
                let size = self.draw_size();
                let body = op.body(size);
                let condition = self.draw_condition(stream, &key);
                let intent = Intent::Put { stream, key, size, etag: etag_of(&body), condition };
                Work { intent, body, gives_up: self.work.once_in(20) }
            }
            Kind::Delete => {
                let condition = if self.work.once_in(8) {
                    match self.draw_condition(stream, &key) {
                        Condition::Etag(etag) => Condition::Etag(etag),
                        Condition::None | Condition::Absent => Condition::None,
                    }
                } else {
                    Condition::None
                };
                Self::plain(Intent::Delete { stream, key, condition })
            }
            Kind::DeleteMany => {
                let count = self.work.between(1, 5);
                let keys = (0..count).map(|_| self::key(self.work.below(self.plan.keys))).collect();
                Self::plain(Intent::DeleteMany { stream, keys })
            }
            Kind::Multipart => self.draw_multipart(op, stream, key),
            Kind::Get => Self::plain(Intent::Get { stream, key }),
            Kind::List => Self::plain(Intent::List { stream }),
            Kind::CreateBucket => Self::plain(self.create_bucket(name)),
            Kind::DeleteBucket => self.draw_bucket_deletion(name, stream),
        }
    }

    fn plain(intent: Intent) -> Work {
        Work { intent, body: Vec::new(), gives_up: false }
    }

    fn create_bucket(&mut self, name: BucketName) -> Intent {
        Intent::CreateBucket { name, stream: StreamId(self.work.bytes()) }
    }

    /// A bucket that holds something is seldom deleted as it is: mostly a key of it goes first.
    fn draw_bucket_deletion(&mut self, name: BucketName, stream: StreamId) -> Work {
        let empty = buckets::is_empty(self.store.rows(), stream).unwrap_or(false);
        if empty || self.work.once_in(4) {
            return Self::plain(Intent::DeleteBucket { name, stream });
        }
        let keys: Vec<ObjectKey> = (0..self.plan.keys).map(key).collect();
        let held = keys
            .iter()
            .filter(|key| objects::current(self.store.rows(), stream, key).ok().flatten().is_some());
        let keys: Vec<ObjectKey> = held.cloned().collect();
        Self::plain(Intent::DeleteMany { stream, keys })
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
                Self::plain(Intent::Complete { stream, key, upload, parts })
            }
            _ => {
                let number = u16::try_from(self.work.between(1, 3)).unwrap_or(1);
                let large = number < 3 && self.work.once_in(60);
                let size = if large { (5 << 20) + self.work.below(1000) } else { self.draw_size() };
                let body = op.body(size);
                let intent = Intent::Part { stream, key, upload, number, size, etag: etag_of(&body) };
                Work { intent, body, gives_up: self.work.once_in(20) }
            }
        }
    }
}
