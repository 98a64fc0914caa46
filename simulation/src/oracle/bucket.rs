//! One bucket of the reference: keys with their versions, uploads, and what was removed and can still be read.

use super::content::{Blobs, Piece, brought, cut, is_made_of, live, past, total};
use super::history::{Condition, CopySource, DeleteKey, Intent, OpId, Tags};
use super::model::{Contradiction, contradiction};
use siltstone::engine::command::MIN_PART_SIZE;
use siltstone::engine::outcome::{FailedCondition, Rejection};
use siltstone_log::event::{
    ContentExpired, Deletion, Event, MultipartCompleted, ObjectDeleted, ObjectPut, ObjectTagged,
    PartUploaded, Versioning,
};
use siltstone_log::hlc::Hlc;
use siltstone_log::id::{BlobId, Seq, UploadId, VersionId, VersionRef};
use siltstone_log::name::BucketName;
use std::collections::{BTreeMap, BTreeSet};

/// An object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Bytes.
    pub size: u64,
    /// Its ETag.
    pub etag: String,
    /// Its bytes.
    pub pieces: Vec<Piece>,
    /// Its tags.
    pub tags: Tags,
}

/// A version of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// The record that made it.
    pub seq: Seq,
    /// Its id.
    pub id: VersionRef,
    /// The object; none for a delete marker.
    pub object: Option<Object>,
}

/// A version that was deleted or replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Past {
    /// Its key.
    pub key: String,
    /// What it was.
    pub version: Version,
    /// When it was removed.
    pub removed: Hlc,
}

/// A part of an upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its ETag.
    pub etag: String,
    /// Its bytes.
    pub pieces: Vec<Piece>,
}

/// An upload under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// The key it will store.
    pub key: String,
    /// Its parts.
    pub parts: BTreeMap<u16, Part>,
}

/// One bucket incarnation, as of one record of its stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bucket {
    /// Its name, once it was created.
    pub name: Option<BucketName>,
    /// Whether it was deleted.
    pub sealed: bool,
    /// The tags that its next record is to give it: what it was asked for with.
    pub untagged: Tags,
    /// Whether it keeps versions.
    pub versioning: Versioning,
    /// The versions of each key, the newest last.
    pub keys: BTreeMap<String, Vec<Version>>,
    /// What was removed and is inside the history window, by the record that made it.
    pub past: BTreeMap<Seq, Past>,
    /// Its uploads under way.
    pub uploads: BTreeMap<UploadId, Upload>,
    /// The newest record.
    pub seq: Seq,
}

/// Which record is being applied.
#[derive(Debug, Clone, Copy)]
pub struct Origin {
    /// Its number.
    pub seq: Seq,
    /// When it was decided.
    pub hlc: Hlc,
}

impl Bucket {
    /// Whether it takes operations.
    pub fn is_open(&self) -> bool {
        self.name.is_some() && !self.sealed
    }

    /// What a key holds.
    pub fn current(&self, key: &str) -> Option<(&Version, &Object)> {
        let version = self.keys.get(key)?.last()?;
        Some((version, version.object.as_ref()?))
    }

    /// Every key that holds an object.
    pub fn objects(&self) -> impl Iterator<Item = (&String, &Version, &Object)> {
        self.keys.iter().filter_map(|(key, versions)| {
            let version = versions.last()?;
            Some((key, version, version.object.as_ref()?))
        })
    }

    /// A version of a key.
    pub fn find(&self, key: &str, id: VersionRef) -> Option<&Version> {
        self.keys.get(key)?.iter().find(|version| version.id == id)
    }

    /// What a delete or read without or with a version means.
    pub fn named(&self, key: &str, version: Option<VersionRef>) -> Option<&Version> {
        match version {
            Some(id) => self.find(key, id),
            None => self.current(key).map(|(version, _)| version),
        }
    }

    /// The bytes that a copy is made of; none where the version has given them back.
    pub fn source(&self, source: &CopySource) -> Option<Vec<Piece>> {
        let shown = self
            .keys
            .get(source.key.as_str())
            .and_then(|versions| versions.iter().find(|version| version.seq == source.seq));
        let removed = || self.past.get(&source.seq).filter(|past| past.key == source.key.as_str());
        let version = shown.or_else(|| removed().map(|past| &past.version))?;
        Some(cut(&version.object.as_ref()?.pieces, &source.range))
    }

    /// The id of a version that is made now.
    pub fn fresh_id(&self, drawn: VersionId) -> VersionRef {
        if self.versioning == Versioning::Enabled { VersionRef::Id(drawn) } else { VersionRef::Null }
    }

    /// A version as clients are told of it: not at all where the bucket never kept versions.
    pub fn told(&self, id: VersionRef) -> Option<VersionRef> {
        (self.versioning != Versioning::Unversioned).then_some(id)
    }

    /// What a deletion writes in this state; nothing where there is nothing to delete.
    pub fn deletion(&self, delete: &DeleteKey) -> Option<Deletion> {
        let DeleteKey { key, version, marker } = delete;
        match (version, self.versioning) {
            (Some(id), _) => self.find(key.as_str(), *id).map(|_| Deletion::Version(*id)),
            (None, Versioning::Unversioned) => self.current(key.as_str()).map(|_| Deletion::Current),
            (None, Versioning::Enabled) => Some(Deletion::Marker(VersionRef::Id(*marker))),
            (None, Versioning::Suspended) => Some(Deletion::Marker(VersionRef::Null)),
        }
    }

    /// What deletions in one command write: what is named twice is gone the second time.
    pub fn deletions(&self, deletes: &[DeleteKey]) -> Vec<(String, Deletion)> {
        let mut out: Vec<(String, Deletion)> = Vec::new();
        for delete in deletes {
            let Some(deletion) = self.deletion(delete) else { continue };
            let found = (delete.key.to_string(), deletion);
            if matches!(deletion, Deletion::Marker(_)) || !out.contains(&found) {
                out.push(found);
            }
        }
        out
    }

    /// Bytes that are kept for what was removed alone: of each blob as many as reach to the last that something has.
    pub fn history_bytes(&self) -> u64 {
        let shown = self.keys.values().flatten().filter_map(|version| version.object.as_ref());
        let parts = self.uploads.values().flat_map(|upload| upload.parts.values());
        let live = shown.map(|object| &object.pieces).chain(parts.map(|part| &part.pieces)).flatten();
        let live: BTreeSet<BlobId> = live.filter_map(|piece| piece.blob).collect();
        let past = self.past.values().filter_map(|past| past.version.object.as_ref());
        let (mut inline, mut ends) = (0, BTreeMap::new());
        for piece in past.flat_map(|object| &object.pieces) {
            match piece.blob {
                None => inline += piece.len,
                Some(blob) if live.contains(&blob) => {}
                Some(blob) => {
                    let end = ends.entry(blob).or_insert(0);
                    *end = (piece.offset + piece.len).max(*end);
                }
            }
        }
        inline + ends.values().sum::<u64>()
    }

    /// What an operation would be rejected for in this state; none if it would go through.
    pub fn rejection(&self, intent: &Intent) -> Option<Rejection> {
        if !self.is_open() {
            return Some(Rejection::NoSuchBucket);
        }
        match intent {
            Intent::DeleteBucket { .. } => (!self.keys.is_empty()).then_some(Rejection::BucketNotEmpty),
            Intent::SetVersioning { versioning: Versioning::Unversioned, .. } => {
                (self.versioning != Versioning::Unversioned).then_some(Rejection::VersioningNotUndone)
            }
            Intent::Put { key, condition, .. } => {
                let found = self.current(key.as_str()).map(|(_, object)| object);
                failed_condition(found, condition)
            }
            Intent::Delete { delete, condition, .. } => {
                let found = self.named(delete.key.as_str(), delete.version);
                failed_condition(found.and_then(|version| version.object.as_ref()), condition)
            }
            Intent::Tag { key, version, .. } => match (self.named(key.as_str(), *version), version) {
                (None, None) => Some(Rejection::NoSuchKey),
                (None, Some(_)) => Some(Rejection::NoSuchVersion),
                (Some(found), _) => found.object.is_none().then_some(Rejection::IsDeleteMarker),
            },
            Intent::Part { key, upload, .. } | Intent::Abort { key, upload, .. } => {
                self.no_such_upload(key.as_str(), *upload)
            }
            Intent::Copy { source, .. } => self.source_changed(source),
            Intent::CopyPart { key, upload, source, .. } => {
                self.no_such_upload(key.as_str(), *upload).or_else(|| self.source_changed(source))
            }
            Intent::Complete { key, upload, parts, .. } => {
                self.completion_rejection(key.as_str(), *upload, parts)
            }
            Intent::CreateBucket { .. }
            | Intent::SetVersioning { .. }
            | Intent::DeleteMany { .. }
            | Intent::BeginUpload { .. }
            | Intent::Get { .. }
            | Intent::List { .. }
            | Intent::ListVersions { .. } => None,
        }
    }

    fn no_such_upload(&self, key: &str, upload: UploadId) -> Option<Rejection> {
        let found = self.uploads.get(&upload).is_some_and(|found| found.key == key);
        (!found).then_some(Rejection::NoSuchUpload)
    }

    fn source_changed(&self, source: &CopySource) -> Option<Rejection> {
        self.source(source).is_none().then_some(Rejection::SourceChanged)
    }

    fn completion_rejection(
        &self,
        key: &str,
        upload: UploadId,
        parts: &[(u16, String)],
    ) -> Option<Rejection> {
        let Some(found) = self.uploads.get(&upload).filter(|found| found.key == key) else {
            return Some(Rejection::NoSuchUpload);
        };
        let differs =
            |(number, etag): &&(u16, String)| found.parts.get(number).is_none_or(|part| part.etag != *etag);
        if let Some((number, _)) = parts.iter().find(differs) {
            return Some(Rejection::InvalidPart { number: *number });
        }
        let (_, but_last) = parts.split_last()?;
        but_last.iter().find_map(|(number, etag)| {
            let (size, minimum) = (total(&found.parts.get(number)?.pieces), MIN_PART_SIZE);
            let (number, etag) = (*number, etag.clone());
            (size < minimum).then_some(Rejection::EntityTooSmall { number, etag, size, minimum })
        })
    }

    /// Takes a record of the open bucket, with the operation that it names.
    pub fn apply(
        &mut self,
        blobs: &mut Blobs,
        at: Origin,
        event: &Event,
        op: OpId,
        intent: &Intent,
    ) -> Result<(), Contradiction> {
        match (event, intent) {
            (Event::BucketVersioningSet(set), Intent::SetVersioning { versioning, .. })
                if set.versioning == *versioning && *versioning != self.versioning =>
            {
                self.versioning = *versioning;
                Ok(())
            }
            (Event::ObjectPut(put), _) => self.put(blobs, at, put, op, intent),
            (Event::ObjectDeleted(deleted), Intent::Delete { .. } | Intent::DeleteMany { .. }) => {
                self.delete(blobs, at, deleted);
                Ok(())
            }
            (Event::ObjectTagged(tagged), Intent::Tag { .. }) => self.tag(tagged, intent),
            (Event::MultipartCreated(created), Intent::BeginUpload { key, upload, .. })
                if created.upload == *upload && created.key == *key =>
            {
                let begun = Upload { key: key.to_string(), parts: BTreeMap::new() };
                match self.uploads.insert(*upload, begun) {
                    None => Ok(()),
                    Some(_) => contradiction("an upload began twice"),
                }
            }
            (Event::PartUploaded(part), _) => self.part(blobs, part, op, intent),
            (Event::MultipartCompleted(completed), Intent::Complete { .. }) => {
                self.complete(blobs, at, completed, intent)
            }
            (Event::MultipartAborted(aborted), Intent::Abort { upload, .. }) if aborted.upload == *upload => {
                self.end_upload(blobs, *upload).map(drop)
            }
            (event, intent) => contradiction(format!("{op:?} ({}) wrote {event:?}", intent.name())),
        }
    }

    fn put(
        &mut self,
        blobs: &mut Blobs,
        at: Origin,
        put: &ObjectPut,
        op: OpId,
        intent: &Intent,
    ) -> Result<(), Contradiction> {
        let (wanted, pieces, id) = match intent {
            Intent::Put { key, size, etag, tags, version, .. } => {
                ((key, size, etag, tags), brought(op, *size, &put.content)?, *version)
            }
            Intent::Copy { key, source, etag, tags, version, .. } => {
                let Some(pieces) = self.source(source) else {
                    return contradiction(format!("{op:?} shares bytes that were given back"));
                };
                if !is_made_of(&put.content, &pieces) {
                    return contradiction(format!("{op:?} has other bytes than its source: {put:?}"));
                }
                ((key, &(source.range.end - source.range.start), etag, tags), pieces, *version)
            }
            _ => return contradiction(format!("{op:?} ({}) stored an object", intent.name())),
        };
        let id = self.fresh_id(id);
        if (&put.key, &put.size, &put.etag, &put.tags) != wanted || VersionRef::from(put.version) != id {
            return contradiction(format!("{op:?} wanted {intent:?} ({id}), but wrote {put:?}"));
        }
        let object = Object { size: put.size, etag: put.etag.clone(), pieces, tags: put.tags.clone() };
        self.store(blobs, at, put.key.as_str(), Version { seq: at.seq, id, object: Some(object) });
        Ok(())
    }

    fn store(&mut self, blobs: &mut Blobs, at: Origin, key: &str, version: Version) {
        if let Some(object) = &version.object {
            blobs.hold(&object.pieces, live);
        }
        if version.id == VersionRef::Null {
            self.remove(blobs, at, key, VersionRef::Null);
        }
        self.keys.entry(key.to_owned()).or_default().push(version);
    }

    /// Moves a version to the past, if it is there.
    fn remove(&mut self, blobs: &mut Blobs, at: Origin, key: &str, id: VersionRef) {
        let Some(versions) = self.keys.get_mut(key) else { return };
        let Some(index) = versions.iter().position(|version| version.id == id) else { return };
        let version = versions.remove(index);
        if versions.is_empty() {
            self.keys.remove(key);
        }
        if let Some(object) = &version.object {
            blobs.hold(&object.pieces, past);
            blobs.let_go(&object.pieces, live);
        }
        self.past.insert(version.seq, Past { key: key.to_owned(), version, removed: at.hlc });
    }

    fn delete(&mut self, blobs: &mut Blobs, at: Origin, deleted: &ObjectDeleted) {
        let key = deleted.key.as_str();
        match deleted.deletion {
            Deletion::Marker(id) => self.store(blobs, at, key, Version { seq: at.seq, id, object: None }),
            // One command may name the null version twice, as what the key holds and by its id.
            Deletion::Current => self.remove(blobs, at, key, VersionRef::Null),
            Deletion::Version(id) => self.remove(blobs, at, key, id),
        }
    }

    fn tag(&mut self, tagged: &ObjectTagged, intent: &Intent) -> Result<(), Contradiction> {
        let Intent::Tag { key, version, tags, .. } = intent else { return contradiction("no tagging") };
        let named = self.named(key.as_str(), *version).map(|version| version.seq);
        if tagged.key != *key || tagged.tags != *tags || named != Some(tagged.seq) {
            return contradiction(format!("{intent:?} wrote {tagged:?}"));
        }
        let versions = self.keys.get_mut(key.as_str()).into_iter().flatten();
        for object in versions.filter(|version| version.seq == tagged.seq).filter_map(|v| v.object.as_mut()) {
            object.tags.clone_from(tags);
        }
        Ok(())
    }

    fn part(
        &mut self,
        blobs: &mut Blobs,
        part: &PartUploaded,
        op: OpId,
        intent: &Intent,
    ) -> Result<(), Contradiction> {
        let (wanted, pieces) = match intent {
            Intent::Part { upload, number, size, etag, .. } => {
                ((upload, number, *size, etag), brought(op, *size, &part.content)?)
            }
            Intent::CopyPart { upload, number, source, etag, .. } => {
                let Some(pieces) = self.source(source) else {
                    return contradiction(format!("{op:?} shares bytes that were given back"));
                };
                if !is_made_of(&part.content, &pieces) {
                    return contradiction(format!("{op:?} has other bytes than its source: {part:?}"));
                }
                ((upload, number, source.range.end - source.range.start, etag), pieces)
            }
            _ => return contradiction(format!("{op:?} ({}) stored a part", intent.name())),
        };
        if (&part.upload, &part.number, part.size, &part.etag) != wanted {
            return contradiction(format!("{op:?} wanted {intent:?}, but wrote {part:?}"));
        }
        blobs.hold(&pieces, live);
        let Some(upload) = self.uploads.get_mut(&part.upload) else {
            return contradiction("a part of no upload");
        };
        let replaced = upload.parts.insert(part.number, Part { etag: part.etag.clone(), pieces });
        if let Some(replaced) = replaced {
            blobs.let_go(&replaced.pieces, live);
        }
        Ok(())
    }

    fn complete(
        &mut self,
        blobs: &mut Blobs,
        at: Origin,
        completed: &MultipartCompleted,
        intent: &Intent,
    ) -> Result<(), Contradiction> {
        let Intent::Complete { key, upload, parts, version, .. } = intent else {
            return contradiction("no completion");
        };
        let named = self.uploads.get(upload).map(|upload| &upload.parts);
        let found = parts.iter().filter_map(|(number, _)| named?.get(number));
        let pieces: Vec<Piece> = found.flat_map(|part| part.pieces.clone()).collect();
        let (size, id) = (total(&pieces), self.fresh_id(*version));
        let fits = completed.upload == *upload
            && completed.key == *key
            && completed.size == size
            && VersionRef::from(completed.version) == id
            && is_made_of(&completed.content, &pieces);
        if !fits {
            return contradiction("a completed upload is not the sum of its parts");
        }
        let object = Object { size, etag: completed.etag.clone(), pieces, tags: completed.tags.clone() };
        // Held anew before the parts let go: a blob that both have is never without a holder.
        self.store(blobs, at, key.as_str(), Version { seq: at.seq, id, object: Some(object) });
        self.end_upload(blobs, *upload)
    }

    fn end_upload(&mut self, blobs: &mut Blobs, upload: UploadId) -> Result<(), Contradiction> {
        let Some(ended) = self.uploads.remove(&upload) else { return contradiction("no such upload") };
        ended.parts.values().for_each(|part| blobs.let_go(&part.pieces, live));
        Ok(())
    }

    /// Seals the bucket: its uploads end, what was removed stays until it leaves the window.
    pub fn seal(&mut self, blobs: &mut Blobs) -> Result<(), Contradiction> {
        if !self.keys.is_empty() {
            return contradiction("a bucket was sealed that holds versions");
        }
        self.sealed = true;
        for upload in std::mem::take(&mut self.uploads).into_values() {
            upload.parts.values().for_each(|part| blobs.let_go(&part.pieces, live));
        }
        Ok(())
    }

    /// Versions leave the history window, which is so many milliseconds long where that can be told.
    pub fn expire(
        &mut self,
        blobs: &mut Blobs,
        at: Origin,
        expired: &ContentExpired,
        window: Option<u64>,
    ) -> Result<(), Contradiction> {
        for (key, seq) in &expired.versions {
            let Some(gone) = self.past.remove(seq).filter(|past| past.key == key.as_str()) else {
                return contradiction(format!("record {seq} of key {key} expired, but it was not past"));
            };
            if window.is_some_and(|window| gone.removed.millis() + window > at.hlc.millis()) {
                return contradiction(format!(
                    "record {seq} of key {key} was removed at {} and left its window of {window:?} ms at {}",
                    gone.removed, at.hlc
                ));
            }
            if let Some(object) = gone.version.object {
                blobs.let_go(&object.pieces, past);
            }
        }
        Ok(())
    }
}

fn failed_condition(found: Option<&Object>, condition: &Condition) -> Option<Rejection> {
    match condition {
        Condition::None => None,
        Condition::Absent => found.map(|_| Rejection::PreconditionFailed(FailedCondition::IfNoneMatch)),
        Condition::Etag(etag) => match found {
            None => Some(Rejection::NoSuchKey),
            Some(object) if object.etag != *etag => {
                Some(Rejection::PreconditionFailed(FailedCondition::IfMatch))
            }
            Some(_) => None,
        },
    }
}
