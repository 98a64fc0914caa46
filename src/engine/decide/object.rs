//! Objects and their versions.

use super::{DecideError, Decided, Decision, bucket};
use crate::engine::command::{
    Conditions, DeleteObject, DeleteObjects, EtagMatch, ExpireVersions, KeyDeletion, MAX_DELETE_KEYS,
    MAX_PUT_SIZE, PutObject, TagObject,
};
use crate::engine::content::{SharedContent, StagedContent, merged};
use crate::engine::outcome::{Deleted, FailedCondition, Outcome, Rejection};
use siltstone_log::event::{
    Content, ContentExpired, ContentSlice, Deletion, Event, ObjectDeleted, ObjectPut, ObjectTagged,
    Versioning,
};
use siltstone_log::id::{StreamId, VersionId, VersionRef};
use siltstone_log::name::ObjectKey;
use siltstone_projections::objects;
use siltstone_projections::rows::{BucketRow, VersionRow};
use siltstone_projections::store::Rows;
use std::collections::BTreeSet;

/// The ETag of what the key holds now.
pub(super) fn current_etag(
    rows: &dyn Rows,
    stream: StreamId,
    key: &ObjectKey,
) -> Result<Option<String>, DecideError> {
    Ok(objects::current(rows, stream, key)?.map(|object| object.etag))
}

/// Whether the conditions of a write or a deletion hold, given the ETag of what it replaces or deletes. One that names
/// it is told where there is nothing (S3: NoSuchKey; for deletions measured, ministackorg/ministack, issue 1475).
pub(super) fn check(conditions: &Conditions, etag: Option<&str>) -> Result<(), Rejection> {
    if conditions.if_match.is_some() && etag.is_none() {
        return Err(Rejection::NoSuchKey);
    }
    let holds = |wanted: &EtagMatch| etag.is_some_and(|etag| wanted.matches(etag));
    if conditions.if_match.as_ref().is_some_and(|wanted| !holds(wanted)) {
        return Err(Rejection::PreconditionFailed(FailedCondition::IfMatch));
    }
    if conditions.if_none_match.as_ref().is_some_and(holds) {
        return Err(Rejection::PreconditionFailed(FailedCondition::IfNoneMatch));
    }
    Ok(())
}

/// Checks a write's conditions. Without any, the key is not even looked up.
pub(super) fn check_current(
    rows: &dyn Rows,
    stream: StreamId,
    key: &ObjectKey,
    conditions: &Conditions,
) -> Result<(), DecideError> {
    if *conditions != Conditions::default() {
        check(conditions, current_etag(rows, stream, key)?.as_deref())?;
    }
    Ok(())
}

/// The version id that a write in this bucket gets: none makes the null version.
pub(super) fn version_to_make(bucket: &BucketRow, fresh: VersionId) -> Option<VersionId> {
    (bucket.versioning == Versioning::Enabled).then_some(fresh)
}

/// A version as clients are told of it: not at all where the bucket never kept versions.
pub(super) fn told(bucket: &BucketRow, version: Option<VersionId>) -> Option<VersionRef> {
    (bucket.versioning != Versioning::Unversioned).then(|| version.into())
}

pub(super) fn put(rows: &dyn Rows, action: PutObject) -> Decided {
    let bucket = bucket::open(rows, action.stream)?;
    let PutObject { stream, key, content, etag, checksums, headers, metadata, .. } = action;
    let PutObject { tags, copied_from, conditions, .. } = action;
    let size = content.len();
    if size > MAX_PUT_SIZE {
        return Err(Rejection::EntityTooLarge { size, maximum: MAX_PUT_SIZE }.into());
    }
    check_current(rows, stream, &key, &conditions)?;
    check_shared(rows, stream, &content)?;
    let (content, bytes, guard) = content.into_parts();
    let version = version_to_make(&bucket, action.version);
    let event = Event::ObjectPut(ObjectPut {
        key,
        version,
        size,
        etag,
        content,
        checksums,
        headers,
        metadata,
        tags,
        copied_from,
    });
    Ok(Decision::storing(event, bytes, guard, Outcome::Stored { version: told(&bucket, version) }))
}

/// Refuses bytes that belong to a version which may have given them back since the door looked.
pub(super) fn check_shared(
    rows: &dyn Rows,
    stream: StreamId,
    content: &StagedContent,
) -> Result<(), DecideError> {
    let StagedContent::Shared(SharedContent { key, seq, slices }) = content else { return Ok(()) };
    let present = objects::version(rows, stream, key, *seq)?;
    let found = match present {
        Some(version) => version.into_object(),
        None => objects::past_version(rows, stream, key, *seq)?.and_then(|past| past.version.into_object()),
    };
    let held = match found.map(|object| object.content) {
        Some(Content::Slices(held)) => merged(&held),
        Some(Content::Empty | Content::Inline) | None => Vec::new(),
    };
    // What is shared comes in the order of what is held, each of it from another slice: one pass, since an object can
    // have as many slices as an upload has parts.
    let mut held = held.iter();
    let within = |slice: &ContentSlice| {
        held.any(|of| {
            let end = |slice: &ContentSlice| slice.offset.saturating_add(slice.len);
            of.source == slice.source && of.offset <= slice.offset && end(slice) <= end(of)
        })
    };
    if slices.iter().all(within) { Ok(()) } else { Err(Rejection::SourceChanged.into()) }
}

/// What a deletion finds, and the event it comes to.
struct Found {
    etag: Option<String>,
    event: Option<Event>,
    deleted: Deleted,
}

fn find(
    rows: &dyn Rows,
    bucket: &BucketRow,
    stream: StreamId,
    wanted: &KeyDeletion,
) -> Result<Found, DecideError> {
    let KeyDeletion { key, version, marker, .. } = wanted;
    let event = |deletion| Some(Event::ObjectDeleted(ObjectDeleted { key: key.clone(), deletion }));
    if let Some(version) = version {
        let found = objects::find_version(rows, stream, key, *version)?;
        let deleted = Deleted {
            existed: found.is_some(),
            version: Some(*version),
            marker: matches!(found, Some(VersionRow::Marker(_))),
        };
        let event = found.as_ref().and_then(|_| event(Deletion::Version(*version)));
        let etag = found.and_then(VersionRow::into_object).map(|object| object.etag);
        return Ok(Found { etag, event, deleted });
    }
    let etag = current_etag(rows, stream, key)?;
    let existed = etag.is_some();
    let marker = match bucket.versioning {
        Versioning::Unversioned => {
            let event = if existed { event(Deletion::Current) } else { None };
            return Ok(Found { etag, event, deleted: Deleted { existed, ..Deleted::default() } });
        }
        Versioning::Enabled => VersionRef::Id(*marker),
        Versioning::Suspended => VersionRef::Null,
    };
    let deleted = Deleted { existed: true, version: Some(marker), marker: true };
    Ok(Found { etag, event: event(Deletion::Marker(marker)), deleted })
}

pub(super) fn delete(rows: &dyn Rows, action: DeleteObject) -> Decided {
    let bucket = bucket::open(rows, action.stream)?;
    let DeleteObject { stream, deletion } = action;
    let Found { etag, event, deleted } = find(rows, &bucket, stream, &deletion)?;
    check(&deletion.conditions, etag.as_deref())?;
    Ok(Decision::events(event, Outcome::Deleted(deleted)))
}

pub(super) fn delete_each(rows: &dyn Rows, action: DeleteObjects) -> Decided {
    let bucket = bucket::open(rows, action.stream)?;
    if action.deletions.len() > MAX_DELETE_KEYS {
        return Err(Rejection::TooLarge.into());
    }
    let mut events = Vec::with_capacity(action.deletions.len());
    let mut results = Vec::with_capacity(action.deletions.len());
    // What is named twice is gone the second time: the view does not show this command's own events.
    let mut gone = BTreeSet::new();
    for deletion in action.deletions {
        let named = (deletion.key.clone(), deletion.version);
        let mut found = find(rows, &bucket, action.stream, &deletion)?;
        if gone.contains(&named) {
            found.etag = None;
            let removes = deletion.version.is_some() || bucket.versioning == Versioning::Unversioned;
            if removes {
                (found.event, found.deleted.existed) = (None, false);
            }
        }
        let result = check(&deletion.conditions, found.etag.as_deref());
        if let (Ok(()), Some(event)) = (&result, found.event) {
            gone.insert(named);
            events.push(event);
        }
        results.push(result.map(|()| found.deleted));
    }
    Ok(Decision::events(events, Outcome::DeletedEach(results)))
}

pub(super) fn tag(rows: &dyn Rows, action: TagObject) -> Decided {
    let bucket = bucket::open(rows, action.stream)?;
    let TagObject { stream, key, version, tags } = action;
    let object = match version {
        None => objects::current(rows, stream, &key)?.ok_or(Rejection::NoSuchKey)?,
        Some(version) => {
            let found = objects::find_version(rows, stream, &key, version)?;
            let object = found.ok_or(Rejection::NoSuchVersion)?.into_object();
            object.ok_or(Rejection::IsDeleteMarker)?
        }
    };
    let outcome = Outcome::Tagged { version: told(&bucket, object.version) };
    if object.tags == tags {
        return Ok(Decision::nothing(outcome));
    }
    let event = ObjectTagged { key, seq: object.seq, tags };
    Ok(Decision::events([Event::ObjectTagged(event)], outcome))
}

pub(super) fn expire(rows: &dyn Rows, action: ExpireVersions) -> Decided {
    let mut versions = Vec::with_capacity(action.versions.len());
    for (key, seq) in action.versions {
        if objects::past_version(rows, action.stream, &key, seq)?.is_some() {
            versions.push((key, seq));
        }
    }
    if versions.is_empty() {
        return Ok(Decision::nothing(Outcome::Done));
    }
    Ok(Decision::event(Event::ContentExpired(ContentExpired { versions })))
}
