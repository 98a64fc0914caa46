//! Buckets. A creation and a deletion have two halves each, one in `system` and one in the bucket's own stream; a
//! crash between them leaves a state that every later command here understands.

use super::{Decided, Decision};
use crate::engine::command::{CreateBucket, DeleteBucket, SetVersioning, TagBucket};
use crate::engine::outcome::{Outcome, Rejection};
use siltstone_log::event::{
    BucketCreated, BucketNameReleased, BucketNameReserved, BucketSealed, BucketTagged, BucketVersioningSet,
    Event, Versioning,
};
use siltstone_log::id::StreamId;
use siltstone_projections::rows::BucketRow;
use siltstone_projections::store::Rows;
use siltstone_projections::{buckets, names};

/// A bucket that takes commands.
pub(super) fn open(rows: &dyn Rows, stream: StreamId) -> Result<BucketRow, super::DecideError> {
    let bucket = buckets::get(rows, stream)?.filter(BucketRow::is_open);
    Ok(bucket.ok_or(Rejection::NoSuchBucket)?)
}

/// First half of a creation, in `system`.
pub(super) fn create(rows: &dyn Rows, action: CreateBucket) -> Decided {
    let CreateBucket { name, owner, location, stream, tags } = action;
    let mut events = Vec::with_capacity(2);
    if let Some(taken) = names::get(rows, &name)? {
        let mine = taken.owner == owner;
        match buckets::get(rows, taken.stream)? {
            Some(bucket) if bucket.is_open() && mine => return Err(Rejection::BucketAlreadyOwnedByYou.into()),
            // A deletion stopped half-way: what it left to do is done here.
            Some(bucket) if !bucket.is_open() => {
                events.push(Event::BucketNameReleased(BucketNameReleased {
                    name: name.clone(),
                    stream: taken.stream,
                }));
            }
            // A creation stopped half-way, or is under way: this one goes on with its stream.
            None if mine => return Ok(Decision::nothing(Outcome::NameReserved { stream: taken.stream })),
            Some(_) | None => return Err(Rejection::BucketAlreadyExists.into()),
        }
    }
    events.push(Event::BucketNameReserved(BucketNameReserved { name, stream, owner, location, tags }));
    Ok(Decision::events(events, Outcome::NameReserved { stream }))
}

/// Second half of a creation, in the bucket's stream.
pub(super) fn begin(rows: &dyn Rows, action: CreateBucket) -> Decided {
    match buckets::get(rows, action.stream)? {
        None => {
            let CreateBucket { name, owner, location, tags, .. } = action;
            let created = Event::BucketCreated(BucketCreated { name, owner, location });
            let tagged = (!tags.is_empty()).then_some(Event::BucketTagged(BucketTagged { tags }));
            Ok(Decision::events(std::iter::once(created).chain(tagged), Outcome::Done))
        }
        // Another creation by the same owner was quicker.
        Some(bucket) if bucket.is_open() => Err(Rejection::BucketAlreadyOwnedByYou.into()),
        Some(_) => Err(Rejection::NoSuchBucket.into()),
    }
}

/// First half of a deletion, in the bucket's stream.
pub(super) fn delete(rows: &dyn Rows, action: DeleteBucket) -> Decided {
    open(rows, action.stream)?;
    if !buckets::is_empty(rows, action.stream)? {
        return Err(Rejection::BucketNotEmpty.into());
    }
    // Uploads under way end with the bucket.
    Ok(Decision::event(Event::BucketSealed(BucketSealed { name: action.name })))
}

pub(super) fn set_versioning(rows: &dyn Rows, action: &SetVersioning) -> Decided {
    let bucket = open(rows, action.stream)?;
    if action.versioning == Versioning::Unversioned && bucket.versioning != Versioning::Unversioned {
        return Err(Rejection::VersioningNotUndone.into());
    }
    if action.versioning == bucket.versioning {
        return Ok(Decision::nothing(Outcome::Done));
    }
    let event = BucketVersioningSet { versioning: action.versioning };
    Ok(Decision::event(Event::BucketVersioningSet(event)))
}

pub(super) fn tag(rows: &dyn Rows, action: TagBucket) -> Decided {
    let bucket = open(rows, action.stream)?;
    if action.tags == bucket.tags {
        return Ok(Decision::nothing(Outcome::Done));
    }
    Ok(Decision::event(Event::BucketTagged(BucketTagged { tags: action.tags })))
}

/// Second half of a deletion, in `system`. The name may have gone already, or to a newer incarnation.
pub(super) fn release(rows: &dyn Rows, action: DeleteBucket) -> Decided {
    let DeleteBucket { name, stream } = action;
    match names::get(rows, &name)?.filter(|row| row.stream == stream) {
        Some(_) => Ok(Decision::event(Event::BucketNameReleased(BucketNameReleased { name, stream }))),
        None => Ok(Decision::nothing(Outcome::Done)),
    }
}
