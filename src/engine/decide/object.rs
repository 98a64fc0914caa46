//! Objects of a bucket without versioning.

use super::{DecideError, Decided, Decision, bucket};
use crate::engine::command::{
    Conditions, DeleteObject, DeleteObjects, EtagMatch, MAX_DELETE_KEYS, MAX_PUT_SIZE, PutObject,
};
use crate::engine::outcome::{FailedCondition, Outcome, Rejection};
use siltstone_log::event::{Event, ObjectDeleted, ObjectPut};
use siltstone_log::id::StreamId;
use siltstone_log::name::ObjectKey;
use siltstone_projections::objects;
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

/// Whether a write's conditions hold, given the ETag of what the key holds. A write that names what it replaces is
/// told where there is nothing (S3: NoSuchKey).
pub(super) fn check_write(conditions: &Conditions, etag: Option<&str>) -> Result<(), Rejection> {
    if conditions.if_match.is_some() && etag.is_none() {
        return Err(Rejection::NoSuchKey);
    }
    check(conditions, etag)
}

fn check(conditions: &Conditions, etag: Option<&str>) -> Result<(), Rejection> {
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
        check_write(conditions, current_etag(rows, stream, key)?.as_deref())?;
    }
    Ok(())
}

pub(super) fn put(rows: &dyn Rows, action: PutObject) -> Decided {
    bucket::open(rows, action.stream)?;
    let PutObject { stream, key, content, etag, checksums, headers, metadata, conditions } = action;
    let size = content.len();
    if size > MAX_PUT_SIZE {
        return Err(Rejection::EntityTooLarge { size, maximum: MAX_PUT_SIZE }.into());
    }
    check_current(rows, stream, &key, &conditions)?;
    let (content, bytes, guard) = content.into_parts();
    let event =
        Event::ObjectPut(ObjectPut { key, version: None, size, etag, content, checksums, headers, metadata });
    Ok(Decision::storing(event, bytes, guard))
}

fn deletion(key: ObjectKey) -> Event {
    Event::ObjectDeleted(ObjectDeleted { key, version: None, marker: None })
}

pub(super) fn delete(rows: &dyn Rows, action: DeleteObject) -> Decided {
    bucket::open(rows, action.stream)?;
    let etag = current_etag(rows, action.stream, &action.key)?;
    check(&action.conditions, etag.as_deref())?;
    let existed = etag.is_some();
    let event = existed.then(|| deletion(action.key));
    Ok(Decision::events(event, Outcome::Deleted { existed }))
}

pub(super) fn delete_each(rows: &dyn Rows, action: DeleteObjects) -> Decided {
    bucket::open(rows, action.stream)?;
    if action.keys.len() > MAX_DELETE_KEYS {
        return Err(Rejection::TooLarge.into());
    }
    let mut events = Vec::with_capacity(action.keys.len());
    let mut results = Vec::with_capacity(action.keys.len());
    // A key that is named twice is gone the second time: the view does not show this command's own events.
    let mut gone = BTreeSet::new();
    for (key, conditions) in action.keys {
        let etag = if gone.contains(&key) { None } else { current_etag(rows, action.stream, &key)? };
        let result = check(&conditions, etag.as_deref());
        if result.is_ok() && etag.is_some() {
            gone.insert(key.clone());
            events.push(deletion(key));
        }
        results.push(result);
    }
    Ok(Decision::events(events, Outcome::DeletedEach(results)))
}
