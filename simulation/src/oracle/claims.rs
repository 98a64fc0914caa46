//! Answers that claim something of a state: a read, a listing, a rejection, a success that had nothing to change.

use super::bucket::{Bucket, Object, Version};
use super::check::{LogView, violation};
use super::history::{Answer, Entry, History, Intent, OpId, Seen, SeenVersion};
use super::model::Model;
use crate::invariants::Violation;
use siltstone::engine::outcome::Outcome;
use siltstone_log::id::{Seq, StreamId};
use std::collections::{BTreeMap, BTreeSet};

/// Answers that must have been true of a durable state between what was known when the operation began and what was
/// durable when it was answered.
#[derive(Debug, Default)]
pub(super) struct Claims {
    upcoming: BTreeMap<StreamId, BTreeSet<(Seq, OpId)>>,
    active: BTreeMap<StreamId, BTreeSet<OpId>>,
}

impl Claims {
    pub(super) fn of(history: &History) -> Self {
        let mut claims = Self::default();
        for (op, entry) in history.entries() {
            if makes_claim(entry) {
                claims.upcoming.entry(entry.intent.stream()).or_default().insert((entry.low, op));
            }
        }
        claims
    }

    pub(super) fn settle_start(&mut self, history: &History) {
        let empty = Model::default();
        let streams: Vec<StreamId> = self.upcoming.keys().copied().collect();
        for stream in streams {
            self.settle(history, &empty, stream, Seq(0));
        }
    }

    /// A stream has come to a record: which claims are true of its state?
    pub(super) fn settle(&mut self, history: &History, model: &Model, stream: StreamId, seq: Seq) {
        let Some(upcoming) = self.upcoming.get_mut(&stream) else { return };
        let active = self.active.entry(stream).or_default();
        while let Some((low, op)) = upcoming.first().copied().filter(|(low, _)| *low <= seq) {
            upcoming.remove(&(low, op));
            active.insert(op);
        }
        active.retain(|op| {
            let Some(entry) = history.get(*op) else { return false };
            seq > entry.high || !holds(model, entry)
        });
    }

    pub(super) fn settle_end(&self, history: &History, log: &LogView) -> Result<(), Violation> {
        let open = self.active.values().flatten().chain(self.upcoming.values().flatten().map(|(_, op)| op));
        for op in open {
            let Some(entry) = history.get(*op) else { continue };
            // With records missing, the state a claim rested on may be among them.
            if !log.has_gaps() {
                return violation(
                    "answers rest on durable state",
                    format!(
                        "{op:?} was answered what is true of no durable state it could have seen: {entry:?}"
                    ),
                );
            }
        }
        Ok(())
    }
}

fn makes_claim(entry: &Entry) -> bool {
    match (&entry.intent, &entry.answer) {
        (
            _,
            Answer::Rejected(_)
            | Answer::Object(_)
            | Answer::Marker
            | Answer::Listed(_)
            | Answer::ListedVersions(_),
        )
        | (
            Intent::Complete { .. } | Intent::Tag { .. } | Intent::SetVersioning { .. },
            Answer::Done { .. },
        ) => true,
        (_, Answer::Done { outcome: Outcome::Deleted(deleted), .. }) => !deleted.existed,
        (_, Answer::Done { outcome: Outcome::DeletedEach(results), .. }) => {
            results.iter().all(|result| result.as_ref().is_ok_and(|deleted| !deleted.existed))
        }
        _ => false,
    }
}

fn holds(model: &Model, entry: &Entry) -> bool {
    let stream = entry.intent.stream();
    let none = Bucket::default();
    let bucket = model.bucket(stream).unwrap_or(&none);
    match (&entry.intent, &entry.answer) {
        (Intent::CreateBucket { name, .. }, Answer::Rejected(_)) => model.names.contains_key(name),
        (intent, Answer::Rejected(rejection)) => bucket.rejection(intent).as_ref() == Some(rejection),
        (Intent::Delete { delete, .. }, Answer::Done { .. }) => {
            bucket.is_open() && bucket.deletion(delete).is_none()
        }
        (Intent::DeleteMany { deletes, .. }, Answer::Done { .. }) => {
            bucket.is_open() && bucket.deletions(deletes).is_empty()
        }
        (Intent::Tag { key, version, tags, .. }, Answer::Done { .. }) => {
            let object = bucket.named(key.as_str(), *version).and_then(|version| version.object.as_ref());
            bucket.is_open() && object.is_some_and(|object| object.tags == *tags)
        }
        (Intent::SetVersioning { versioning, .. }, Answer::Done { .. }) => {
            bucket.is_open() && bucket.versioning == *versioning
        }
        (
            Intent::Complete { key, .. },
            Answer::Done { outcome: Outcome::MultipartCompleted(completed), .. },
        ) => bucket.current(key.as_str()).is_some_and(|(version, object)| {
            object.etag == completed.etag
                && object.size == completed.size
                && bucket.told(version.id) == completed.version
        }),
        (Intent::Get { key, version, .. }, answer) => {
            let found = bucket.named(key.as_str(), *version).filter(|_| bucket.is_open());
            match (found.map(|version| (version, &version.object)), answer) {
                (Some((version, Some(object))), Answer::Object(Some(seen))) => is_seen(version, object, seen),
                (Some((_, None)), Answer::Marker) | (None, Answer::Object(None)) => true,
                _ => false,
            }
        }
        (Intent::List { after, .. }, Answer::Listed(seen)) => {
            let mut seen = seen.iter();
            let behind = |key: &str| after.as_ref().is_none_or(|after| key > after.as_str());
            let same = bucket.objects().filter(|(key, ..)| behind(key)).all(|(key, version, object)| {
                seen.next().is_some_and(|(name, seen)| name == key && is_seen(version, object, seen))
            });
            same && seen.next().is_none()
        }
        (Intent::ListVersions { .. }, Answer::ListedVersions(seen)) => lists_versions(bucket, seen),
        _ => true,
    }
}

fn is_seen(version: &Version, object: &Object, seen: &Seen) -> bool {
    version.seq == seen.seq
        && version.id == seen.version
        && object.etag == seen.etag
        && object.size == seen.size
        && seen.tags.as_ref().is_none_or(|tags| *tags == object.tags)
}

/// Keys in their order, each one's versions from the newest on.
fn lists_versions(bucket: &Bucket, seen: &[SeenVersion]) -> bool {
    let mut seen = seen.iter();
    let same = bucket.keys.iter().all(|(key, versions)| {
        versions.iter().rev().zip(0..).all(|(version, index)| {
            let Some(seen) = seen.next() else { return false };
            let same_object = match (&version.object, &seen.object) {
                (Some(object), Some(seen)) => is_seen(version, object, seen),
                (None, None) => true,
                (Some(_), None) | (None, Some(_)) => false,
            };
            let found = (&seen.key, seen.version, seen.seq, seen.latest);
            found == (key, version.id, version.seq, index == 0) && same_object
        })
    });
    same && seen.next().is_none()
}
