//! The reference: what a log means, folded a second time by the plainest means there are.

use super::history::{Condition, History, Intent, OpId};
use siltstone::engine::command::MIN_PART_SIZE;
use siltstone::engine::outcome::{FailedCondition, Rejection};
use siltstone_log::event::{Content, ContentSource, Event};
use siltstone_log::id::{BlobId, Seq, StreamId, UploadId};
use siltstone_log::name::BucketName;
use std::collections::BTreeMap;

/// Some of an object's bytes: the body of the operation that brought them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The operation.
    pub op: OpId,
    /// Bytes.
    pub len: u64,
    /// The blob they lie in; none for inline content.
    pub blob: Option<BlobId>,
}

/// What a key holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// The record that stored it.
    pub seq: Seq,
    /// Bytes.
    pub size: u64,
    /// Its ETag.
    pub etag: String,
    /// Its bytes.
    pub pieces: Vec<Piece>,
}

/// A part of an upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its ETag.
    pub etag: String,
    /// Its bytes; none for an empty part.
    pub piece: Piece,
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
    /// Its keys.
    pub objects: BTreeMap<String, Object>,
    /// Its uploads under way.
    pub uploads: BTreeMap<UploadId, Upload>,
    /// Their bytes.
    pub version_bytes: u64,
    /// The newest record.
    pub seq: Seq,
}

/// All that a log says.
#[derive(Debug, Clone, Default)]
pub struct Model {
    /// The names taken, with their streams.
    pub names: BTreeMap<BucketName, StreamId>,
    /// Every bucket there ever was.
    pub buckets: BTreeMap<StreamId, Bucket>,
    /// Every blob that a version or an upload under way refers to, with what it holds.
    pub blobs: BTreeMap<BlobId, Piece>,
}

impl Bucket {
    /// Whether it takes operations.
    pub fn is_open(&self) -> bool {
        self.name.is_some() && !self.sealed
    }

    /// What an operation would be rejected for in this state; none if it would go through.
    pub fn rejection(&self, intent: &Intent) -> Option<Rejection> {
        if !self.is_open() {
            return Some(Rejection::NoSuchBucket);
        }
        match intent {
            Intent::DeleteBucket { .. } => (!self.objects.is_empty()).then_some(Rejection::BucketNotEmpty),
            Intent::Put { key, condition, .. } => self.failed_condition(key.as_str(), condition),
            // A delete that names what it removes finds a condition unmet where there is nothing.
            Intent::Delete { key, condition, .. } => match self.failed_condition(key.as_str(), condition) {
                Some(Rejection::NoSuchKey) => Some(Rejection::PreconditionFailed(FailedCondition::IfMatch)),
                other => other,
            },
            Intent::Part { key, upload, .. } | Intent::Abort { key, upload, .. } => {
                let found = self.uploads.get(upload).is_some_and(|found| found.key == key.as_str());
                (!found).then_some(Rejection::NoSuchUpload)
            }
            Intent::Complete { key, upload, parts, .. } => {
                self.completion_rejection(key.as_str(), *upload, parts)
            }
            Intent::CreateBucket { .. }
            | Intent::DeleteMany { .. }
            | Intent::BeginUpload { .. }
            | Intent::Get { .. }
            | Intent::List { .. } => None,
        }
    }

    fn failed_condition(&self, key: &str, condition: &Condition) -> Option<Rejection> {
        let found = self.objects.get(key);
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
        let part = |number| found.parts.get(number).map(|part: &Part| (part.etag.clone(), part.piece.len));
        but_last.iter().filter_map(|(number, _)| Some((*number, part(number)?))).find_map(
            |(number, (etag, size))| {
                let minimum = MIN_PART_SIZE;
                (size < minimum).then_some(Rejection::EntityTooSmall { number, etag, size, minimum })
            },
        )
    }
}

/// A record says what no operation could have meant, or contradicts what came before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contradiction(pub String);

fn contradiction<T>(message: impl Into<String>) -> Result<T, Contradiction> {
    Err(Contradiction(message.into()))
}

impl Model {
    /// A bucket, as far as it is known.
    pub fn bucket(&self, stream: StreamId) -> Option<&Bucket> {
        self.buckets.get(&stream)
    }

    /// Takes the next record of a stream. `op` is the operation that it names, with what that was meant to do.
    pub fn apply(
        &mut self,
        stream: StreamId,
        seq: Seq,
        event: &Event,
        op: Option<(OpId, &Intent)>,
    ) -> Result<(), Contradiction> {
        if let Some((_, intent)) = op {
            self.check_decision(stream, event, intent)?;
        }
        let done = match event {
            Event::BucketNameReserved(reserved) => {
                let stream = *self.names.entry(reserved.name.clone()).or_insert(reserved.stream);
                if stream != reserved.stream {
                    return contradiction(format!("the name {} is taken", reserved.name));
                }
                Ok(())
            }
            Event::BucketNameReleased(released) => {
                let sealed = self.bucket(released.stream).is_none_or(|bucket| !bucket.is_open());
                if self.names.remove(&released.name) != Some(released.stream) || !sealed {
                    return contradiction(format!("the name {} was not to be released", released.name));
                }
                Ok(())
            }
            Event::NodeStarted(_)
            | Event::TailDiscarded(_)
            | Event::LogRepaired(_)
            | Event::TenantCreated(_)
            | Event::AccountCreated(_)
            | Event::UserCreated(_)
            | Event::AccessDenied(_)
            | Event::AccessSuppressed(_) => Ok(()),
            event => self.apply_to_bucket(stream, seq, event, op),
        };
        self.buckets.entry(stream).or_default().seq = seq;
        done
    }

    fn check_decision(&self, stream: StreamId, event: &Event, intent: &Intent) -> Result<(), Contradiction> {
        let second_half = matches!(event, Event::BucketCreated(_) | Event::BucketNameReleased(_));
        // A second record of one DeleteMany is decided with the first.
        if second_half || stream == StreamId::SYSTEM || matches!(intent, Intent::DeleteMany { .. }) {
            return Ok(());
        }
        let state = self.bucket(stream).cloned().unwrap_or_default();
        match state.rejection(intent) {
            Some(rejection) => {
                contradiction(format!("{} should have been rejected: {rejection}", intent.name()))
            }
            None => Ok(()),
        }
    }

    fn apply_to_bucket(
        &mut self,
        stream: StreamId,
        seq: Seq,
        event: &Event,
        op: Option<(OpId, &Intent)>,
    ) -> Result<(), Contradiction> {
        let Self { names, buckets, blobs } = self;
        let bucket = buckets.entry(stream).or_default();
        if let Event::BucketCreated(created) = event {
            if bucket.name.is_some() || names.get(&created.name) != Some(&stream) {
                return contradiction(format!("bucket {} was created without its name", created.name));
            }
            bucket.name = Some(created.name.clone());
            return Ok(());
        }
        if !bucket.is_open() {
            return contradiction(format!("{} in a bucket that is not open", event.name()));
        }
        if let Event::BucketSealed(_) = event {
            if !bucket.objects.is_empty() {
                return contradiction("a bucket was sealed that holds objects");
            }
            bucket.sealed = true;
            for upload in std::mem::take(&mut bucket.uploads).into_values() {
                forget(blobs, &upload);
            }
            return Ok(());
        }
        let Some((op, intent)) = op else {
            return contradiction(format!("{} that nobody asked for", event.name()));
        };
        bucket.apply_event(blobs, seq, event, op, intent)
    }
}

impl Bucket {
    fn apply_event(
        &mut self,
        blobs: &mut BTreeMap<BlobId, Piece>,
        seq: Seq,
        event: &Event,
        op: OpId,
        intent: &Intent,
    ) -> Result<(), Contradiction> {
        match (event, intent) {
            (Event::ObjectPut(put), Intent::Put { key, size, etag, .. })
                if put.key == *key && put.size == *size && put.etag == *etag =>
            {
                let pieces: Vec<Piece> = piece_of(op, *size, &put.content)?.into_iter().collect();
                remember(blobs, &pieces);
                self.store(key.as_str(), Object { seq, size: *size, etag: etag.clone(), pieces });
                Ok(())
            }
            (Event::ObjectDeleted(deleted), Intent::Delete { key, .. }) if deleted.key == *key => {
                self.delete(key.as_str())
            }
            (Event::ObjectDeleted(deleted), Intent::DeleteMany { keys, .. })
                if keys.contains(&deleted.key) =>
            {
                self.delete(deleted.key.as_str())
            }
            (Event::MultipartCreated(created), Intent::BeginUpload { key, upload, .. })
                if created.key == *key && created.upload == *upload =>
            {
                let begun = Upload { key: key.to_string(), parts: BTreeMap::new() };
                match self.uploads.insert(*upload, begun) {
                    None => Ok(()),
                    Some(_) => contradiction("an upload began twice"),
                }
            }
            (Event::PartUploaded(part), Intent::Part { upload, number, size, etag, .. })
                if part.upload == *upload
                    && part.number == *number
                    && part.size == *size
                    && part.etag == *etag =>
            {
                let none = Piece { op, len: 0, blob: None };
                let piece = piece_of(op, *size, &part.content)?.unwrap_or(none);
                remember(blobs, std::slice::from_ref(&piece));
                let Some(upload) = self.uploads.get_mut(upload) else {
                    return contradiction("a part of no upload");
                };
                let replaced = upload.parts.insert(*number, Part { etag: etag.clone(), piece });
                replaced.and_then(|part| part.piece.blob).map(|blob| blobs.remove(&blob));
                Ok(())
            }
            (Event::MultipartCompleted(completed), Intent::Complete { key, upload, parts, .. })
                if completed.upload == *upload && completed.key == *key =>
            {
                let found = self.end_upload(blobs, *upload, parts)?;
                let pieces: Vec<Piece> =
                    found.into_iter().map(|part| part.piece).filter(|piece| piece.len > 0).collect();
                let size = pieces.iter().map(|piece| piece.len).sum();
                if completed.size != size || blobs_of(&completed.content) != blobs_of_pieces(&pieces) {
                    return contradiction("a completed upload is not the sum of its parts");
                }
                let etag = completed.etag.clone();
                self.store(key.as_str(), Object { seq, size, etag, pieces });
                Ok(())
            }
            (Event::MultipartAborted(aborted), Intent::Abort { upload, .. }) if aborted.upload == *upload => {
                self.end_upload(blobs, *upload, &[]).map(drop)
            }
            (event, intent) => contradiction(format!("{op:?} ({}) wrote {event:?}", intent.name())),
        }
    }

    fn store(&mut self, key: &str, object: Object) {
        self.version_bytes += object.size;
        self.objects.insert(key.to_owned(), object);
    }

    fn delete(&mut self, key: &str) -> Result<(), Contradiction> {
        match self.objects.remove(key) {
            Some(_) => Ok(()),
            None => contradiction(format!("key {key} was deleted but is not there")),
        }
    }

    /// Ends an upload: the named parts stay, the others' bytes are free.
    fn end_upload(
        &mut self,
        blobs: &mut BTreeMap<BlobId, Piece>,
        upload: UploadId,
        named: &[(u16, String)],
    ) -> Result<Vec<Part>, Contradiction> {
        let Some(mut upload) = self.uploads.remove(&upload) else { return contradiction("no such upload") };
        let kept: Vec<Part> = named.iter().filter_map(|(number, _)| upload.parts.remove(number)).collect();
        forget(blobs, &upload);
        Ok(kept)
    }
}

/// The bytes of an upload's parts are free.
fn forget(blobs: &mut BTreeMap<BlobId, Piece>, upload: &Upload) {
    for blob in upload.parts.values().filter_map(|part| part.piece.blob) {
        blobs.remove(&blob);
    }
}

fn remember(blobs: &mut BTreeMap<BlobId, Piece>, pieces: &[Piece]) {
    blobs.extend(pieces.iter().filter_map(|piece| Some((piece.blob?, piece.clone()))));
}

fn blobs_of(content: &Content) -> Vec<(BlobId, u64)> {
    let Content::Slices(slices) = content else { return Vec::new() };
    let blob = |source: &ContentSource| match source {
        ContentSource::Blob { blob } => Some(*blob),
        ContentSource::Inline { .. } => None,
    };
    slices.iter().filter_map(|slice| Some((blob(&slice.source)?, slice.len))).collect()
}

fn blobs_of_pieces(pieces: &[Piece]) -> Vec<(BlobId, u64)> {
    pieces.iter().filter_map(|piece| Some((piece.blob?, piece.len))).collect()
}

fn piece_of(op: OpId, size: u64, content: &Content) -> Result<Option<Piece>, Contradiction> {
    match content {
        Content::Empty if size == 0 => Ok(None),
        Content::Inline => Ok(Some(Piece { op, len: size, blob: None })),
        Content::Slices(_) => match blobs_of(content).as_slice() {
            [(blob, len)] if *len == size => Ok(Some(Piece { op, len: size, blob: Some(*blob) })),
            _ => contradiction(format!("{op:?} has {size} bytes but lies in {content:?}")),
        },
        Content::Empty => contradiction(format!("{op:?} has {size} bytes but no content")),
    }
}

/// The operation that a record names, with what it was meant to do.
pub fn intent_of<'a>(history: &'a History, request_id: &str) -> Option<(OpId, &'a Intent)> {
    let op = OpId::parse(request_id)?;
    Some((op, &history.get(op)?.intent))
}
