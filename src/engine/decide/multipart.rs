//! Multipart uploads. Every call names bucket, key and upload, and all three must fit together.

use super::{DecideError, Decided, Decision, bucket, multipart_checksum, object};
use crate::engine::command::{
    AbortMultipart, CompleteMultipart, CreateMultipart, MAX_OBJECT_SIZE, MAX_PARTS, MAX_PUT_SIZE,
    MIN_PART_SIZE, NamedPart, UploadPart,
};
use crate::engine::content::{StagedContent, merged};
use crate::engine::outcome::{CompletedObject, Fault, InvalidRequest, Outcome, Rejection};
use md5::{Digest, Md5};
use siltstone_log::event::{
    Content, ContentSlice, Deletion, Event, MultipartAborted, MultipartCompleted, MultipartCreated,
    ObjectDeleted, PartSize, PartUploaded,
};
use siltstone_log::id::{Salt, StreamId, UploadId};
use siltstone_log::name::ObjectKey;
use siltstone_projections::rows::{BucketRow, PartRow, UploadRow};
use siltstone_projections::store::Rows;
use siltstone_projections::{multipart, objects};
use std::collections::BTreeMap;

pub(super) fn create(rows: &dyn Rows, action: CreateMultipart) -> Decided {
    bucket::open(rows, action.stream)?;
    let CreateMultipart { upload, key, headers, metadata, checksum, tags, .. } = action;
    if let Some((algorithm, kind)) = checksum
        && !multipart_checksum::is_supported(algorithm, kind)
    {
        return Err(Rejection::InvalidRequest(InvalidRequest::ChecksumKind).into());
    }
    let event = MultipartCreated { upload, key, headers, metadata, checksum, tags };
    Ok(Decision::events([Event::MultipartCreated(event)], Outcome::MultipartCreated { upload }))
}

/// The upload, if it is this key's.
fn existing(
    rows: &dyn Rows,
    stream: StreamId,
    key: &ObjectKey,
    upload: UploadId,
) -> Result<Option<UploadRow>, DecideError> {
    let found = multipart::upload(rows, stream, upload)?;
    Ok(found.filter(|(uploaded_to, _)| uploaded_to == key).map(|(_, row)| row))
}

pub(super) fn upload_part(rows: &dyn Rows, action: UploadPart) -> Decided {
    bucket::open(rows, action.stream)?;
    let UploadPart { stream, key, upload, number, content, etag, checksums, copied_from } = action;
    if !(1..=MAX_PARTS).contains(&number) {
        return Err(Rejection::InvalidPartNumber { number }.into());
    }
    let row = existing(rows, stream, &key, upload)?.ok_or(Rejection::NoSuchUpload)?;
    if let Some((algorithm, _)) = row.checksum
        && checksums.iter().all(|checksum| checksum.algorithm != algorithm)
    {
        return Err(Rejection::InvalidRequest(InvalidRequest::ChecksumAlgorithm).into());
    }
    let size = content.len();
    if size > MAX_PUT_SIZE {
        return Err(Rejection::EntityTooLarge { size, maximum: MAX_PUT_SIZE }.into());
    }
    if matches!(content, StagedContent::Inline(_)) {
        return Err(Fault::Content("a part was staged in memory".to_owned()).into());
    }
    object::check_shared(rows, stream, &content)?;
    let (content, bytes, guard) = content.into_parts();
    let event =
        Event::PartUploaded(PartUploaded { upload, number, size, etag, content, checksums, copied_from });
    Ok(Decision::storing(event, bytes, guard, Outcome::Done))
}

pub(super) fn abort(rows: &dyn Rows, action: AbortMultipart) -> Decided {
    bucket::open(rows, action.stream)?;
    let AbortMultipart { stream, key, upload } = action;
    existing(rows, stream, &key, upload)?.ok_or(Rejection::NoSuchUpload)?;
    Ok(Decision::event(Event::MultipartAborted(MultipartAborted { upload, key })))
}

pub(super) fn complete(rows: &dyn Rows, action: &CompleteMultipart) -> Decided {
    let bucket = bucket::open(rows, action.stream)?;
    check_order(&action.parts)?;
    let Some(upload) = existing(rows, action.stream, &action.key, action.upload)? else {
        return repeated(rows, &bucket, action);
    };
    let uploaded: BTreeMap<u16, PartRow> =
        multipart::all_parts(rows, action.stream, action.upload).collect::<Result<_, _>>()?;
    let parts = chosen(&action.parts, &uploaded)?;
    let size = total(&parts)?;
    if action.size.is_some_and(|expected| expected != size) {
        return Err(Rejection::InvalidRequest(InvalidRequest::ObjectSize).into());
    }
    let checksums = multipart_checksum::of_object(action, &upload, &parts)?;
    object::check_current(rows, action.stream, &action.key, &action.conditions)?;
    let etag = combined_etag(&action.parts)?;
    let part_sizes = parts.iter().map(|(number, part)| PartSize {
        number: *number,
        size: part.size,
        checksums: part.checksums.clone(),
    });
    let version = object::version_to_make(&bucket, action.version);
    let completed = MultipartCompleted {
        upload: action.upload,
        key: action.key.clone(),
        version,
        size,
        etag: etag.clone(),
        content: joined(&parts),
        parts: part_sizes.collect(),
        checksums: checksums.clone(),
        headers: upload.headers,
        metadata: upload.metadata,
        tags: upload.tags,
    };
    let version = object::told(&bucket, version);
    let outcome =
        Outcome::MultipartCompleted(CompletedObject { etag, size, checksums, parts: parts.len(), version });
    Ok(Decision::events([Event::MultipartCompleted(completed)], outcome))
}

/// The planted bug: the old object goes although the completion is refused.
pub(super) fn complete_or_delete(rows: &dyn Rows, action: &CompleteMultipart) -> Decided {
    let key = action.key.clone();
    let event = Event::ObjectDeleted(ObjectDeleted { key, deletion: Deletion::Current });
    let held = objects::current(rows, action.stream, &action.key)?.is_some();
    complete(rows, action).or_else(|error| if held { Ok(Decision::event(event)) } else { Err(error) })
}

/// A completion whose upload is gone. A client that did not hear the answer asks again: while the key still holds
/// the object that this very upload made of just these parts it hears the same answer.
fn repeated(rows: &dyn Rows, bucket: &BucketRow, action: &CompleteMultipart) -> Decided {
    let current = objects::current(rows, action.stream, &action.key)?.ok_or(Rejection::NoSuchUpload)?;
    let numbers = action.parts.iter().map(|part| part.number);
    let same_upload = current.upload == Some(action.upload);
    let same_parts = current.parts.iter().map(|part| part.number).eq(numbers);
    if !same_upload || !same_parts || combined_etag(&action.parts).ok().as_ref() != Some(&current.etag) {
        return Err(Rejection::NoSuchUpload.into());
    }
    Ok(Decision::nothing(Outcome::MultipartCompleted(CompletedObject {
        etag: current.etag,
        size: current.size,
        checksums: current.checksums,
        parts: current.parts.len(),
        version: object::told(bucket, current.version),
    })))
}

fn check_order(parts: &[NamedPart]) -> Result<(), Rejection> {
    if parts.is_empty() {
        return Err(Rejection::NoParts);
    }
    if let Some(part) = parts.iter().find(|part| !(1..=MAX_PARTS).contains(&part.number)) {
        return Err(Rejection::InvalidPartNumber { number: part.number });
    }
    if parts.is_sorted_by(|a, b| a.number < b.number) { Ok(()) } else { Err(Rejection::InvalidPartOrder) }
}

/// The uploaded parts that the completion names, in its order.
fn chosen<'a>(
    named: &[NamedPart],
    uploaded: &'a BTreeMap<u16, PartRow>,
) -> Result<Vec<(u16, &'a PartRow)>, Rejection> {
    let mut parts = Vec::with_capacity(named.len());
    for part in named {
        let invalid = Rejection::InvalidPart { number: part.number };
        let Some(row) = uploaded.get(&part.number).filter(|row| row.etag == part.etag) else {
            return Err(invalid);
        };
        let repeated = |(algorithm, value): &(_, bytes::Bytes)| {
            row.checksums.iter().any(|known| known.algorithm == *algorithm && known.value == *value)
        };
        if !part.checksums.iter().all(repeated) {
            return Err(invalid);
        }
        parts.push((part.number, row));
    }
    let (_, but_last) = parts.split_last().ok_or(Rejection::NoParts)?;
    match but_last.iter().find(|(_, row)| row.size < MIN_PART_SIZE) {
        None => Ok(parts),
        Some((number, row)) => Err(Rejection::EntityTooSmall {
            number: *number,
            etag: row.etag.clone(),
            size: row.size,
            minimum: MIN_PART_SIZE,
        }),
    }
}

fn total(parts: &[(u16, &PartRow)]) -> Result<u64, Rejection> {
    let size = parts.iter().fold(0, |sum: u64, (_, row)| sum.saturating_add(row.size));
    if size > MAX_OBJECT_SIZE {
        return Err(Rejection::EntityTooLarge { size, maximum: MAX_OBJECT_SIZE });
    }
    Ok(size)
}

fn joined(parts: &[(u16, &PartRow)]) -> Content {
    let mut slices: Vec<ContentSlice> = Vec::with_capacity(parts.len());
    for (_, row) in parts {
        if let Content::Slices(part) = &row.content {
            slices.extend_from_slice(part);
        }
    }
    if slices.is_empty() { Content::Empty } else { Content::Slices(merged(&slices)) }
}

/// MD5 over the parts' binary MD5s, and their number.
fn combined_etag(parts: &[NamedPart]) -> Result<String, Rejection> {
    let mut hash = Md5::new();
    for part in parts {
        let digest = decode_md5(&part.etag).ok_or(Rejection::InvalidPart { number: part.number })?;
        hash.update(digest);
    }
    Ok(format!("{}-{}", Salt(hash.finalize().into()), parts.len()))
}

/// An MD5 has the text form of every other 16 bytes here.
fn decode_md5(etag: &str) -> Option<[u8; 16]> {
    Salt::parse(etag).ok().map(|bytes| bytes.0)
}
