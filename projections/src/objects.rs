//! Objects: what each key holds now, and every version it held inside the history window.
//!
//! Each put, completed upload and delete makes one version row of its own; what it takes the place of is marked as
//! superseded. `current` repeats the newest version's object, so that a read by key costs one look-up.

use crate::buckets::StateFold;
use crate::fold::{FoldError, Slot};
use crate::key::StateKey;
use crate::list::{self, Listing};
use crate::rows::{At, ObjectRow, ObjectSummary, Row, RowError, VersionKeyRow, VersionRow};
use crate::store::{Rows, Space, StoreError, load_state, prefix_end, prefix_range};
use bytes::Bytes;
use siltstone_log::event::{ContentExpired, Erased, ObjectDeleted, ObjectPut};
use siltstone_log::id::{Seq, StreamId, VersionId};
use siltstone_log::name::ObjectKey;
use std::borrow::Cow;
use std::ops::Bound;

pub use crate::list::{After, ListEntry, ListPage, ListQuery};

/// What a key holds now.
pub fn current(rows: &dyn Rows, stream: StreamId, key: &ObjectKey) -> Result<Option<ObjectRow>, StoreError> {
    load_state(rows, &StateKey::Current(stream, text(key)))
}

/// The version that a record of the stream made.
pub fn version(
    rows: &dyn Rows,
    stream: StreamId,
    key: &ObjectKey,
    seq: Seq,
) -> Result<Option<VersionRow>, StoreError> {
    load_state(rows, &StateKey::Version(stream, text(key), seq))
}

/// The key, and the place on this node, of the version that a record made: where content that another version
/// refers to as `Inline { stream, seq }` lies.
pub fn by_seq(rows: &dyn Rows, stream: StreamId, seq: Seq) -> Result<Option<VersionKeyRow>, StoreError> {
    load_state(rows, &StateKey::VersionBySeq(stream, seq))
}

/// The versions and tombstones of a key, newest first. Those that were deleted one by one are among them, marked.
pub fn history(
    rows: &dyn Rows,
    stream: StreamId,
    key: &ObjectKey,
) -> impl Iterator<Item = Result<VersionRow, StoreError>> {
    let (from, to) = prefix_range(StateKey::versions_of(stream, key.as_str()));
    rows.range(Space::State, from, to).map(|row| Ok(VersionRow::from_stored(&row?.1)?))
}

/// The version with this id, if it is there and was not deleted.
pub fn by_version_id(
    rows: &dyn Rows,
    stream: StreamId,
    key: &ObjectKey,
    id: VersionId,
) -> Result<Option<VersionRow>, StoreError> {
    let wanted = |row: &Result<VersionRow, _>| match row {
        Ok(row) => row.removed.is_none() && row.version() == Some(id),
        Err(_) => true,
    };
    history(rows, stream, key).find(wanted).transpose()
}

/// Lists the objects of a bucket. Costs what it returns: a common prefix is passed over by seeking.
pub fn list(rows: &dyn Rows, stream: StreamId, query: &ListQuery) -> Result<ListPage, StoreError> {
    let bucket = CurrentObjects { stream };
    let from = match &query.after {
        Some(After::Key(key)) => {
            Some(Bound::Excluded(StateKey::Current(stream, Cow::Borrowed(key.as_str())).encode()))
        }
        Some(After::Prefix(prefix)) => Some(list::bound_after(&bucket.under(prefix))),
        None => None,
    };
    let found = list::walk(rows, &bucket, &query.prefix, query.delimiter.as_deref(), from, query.limit)?;
    let next = found.more.then(|| found.entries.last().map(ListEntry::marker)).flatten();
    Ok(ListPage { entries: found.entries, next })
}

struct CurrentObjects {
    stream: StreamId,
}

impl Listing for CurrentObjects {
    type Entry = ListEntry;

    fn under(&self, prefix: &str) -> Vec<u8> {
        StateKey::current_under(self.stream, prefix)
    }

    fn name<'k>(&self, key: &'k StateKey<'_>) -> Option<&'k str> {
        match key {
            StateKey::Current(_, name) => Some(name),
            _ => None,
        }
    }

    fn entry(&self, key: &StateKey<'_>, stored: &[u8]) -> Result<ListEntry, RowError> {
        let name = self.name(key).ok_or_else(|| RowError::key(&key.encode()))?;
        Ok(ListEntry::Object { key: name.to_owned(), object: ObjectSummary::from_stored(stored)? })
    }

    fn common(&self, prefix: &str) -> ListEntry {
        ListEntry::Prefix(prefix.to_owned())
    }
}

fn text(key: &ObjectKey) -> Cow<'_, str> {
    Cow::Borrowed(key.as_str())
}

pub(crate) fn put(fold: &mut StateFold<'_>, event: &ObjectPut) -> Result<(), FoldError> {
    let origin = fold.origin();
    let object = ObjectRow {
        seq: origin.seq,
        hlc: origin.hlc,
        version: event.version,
        size: event.size,
        etag: event.etag.clone(),
        checksums: event.checksums.clone(),
        content: event.content.clone(),
        headers: event.headers.clone(),
        metadata: event.metadata.clone(),
        parts: Vec::new(),
        upload: None,
        place: origin.place,
    };
    store(fold, &event.key, object)
}

/// Makes an object what a key holds.
pub(crate) fn store(fold: &mut StateFold<'_>, key: &ObjectKey, object: ObjectRow) -> Result<(), FoldError> {
    let current = fold.read::<ObjectRow>(&StateKey::Current(fold.origin().stream, text(key)))?;
    if let Some(old) = &current.row {
        supersede(fold, key, old.seq)?;
    }
    let version = VersionRow {
        at: fold.origin().at(),
        object: Some(object),
        marker: None,
        superseded: None,
        removed: None,
        content_gone: false,
    };
    add_version(fold, key, &version)?;
    fold.replace(current, version.object.as_ref())
}

fn add_version(fold: &mut StateFold<'_>, key: &ObjectKey, version: &VersionRow) -> Result<(), FoldError> {
    let origin = fold.origin();
    let slot = Slot::fresh(&StateKey::Version(origin.stream, text(key), origin.seq));
    fold.replace(slot, Some(version))?;
    let slot = Slot::fresh(&StateKey::VersionBySeq(origin.stream, origin.seq));
    fold.replace(slot, Some(&VersionKeyRow { key: key.clone(), place: origin.place }))
}

fn supersede(fold: &mut StateFold<'_>, key: &ObjectKey, seq: Seq) -> Result<(), FoldError> {
    let by = fold.origin().at();
    mark(fold, key, seq, |version| version.superseded = Some(by))
}

fn mark(
    fold: &mut StateFold<'_>,
    key: &ObjectKey,
    seq: Seq,
    change: impl FnOnce(&mut VersionRow),
) -> Result<(), FoldError> {
    let slot = fold.read::<VersionRow>(&StateKey::Version(fold.origin().stream, text(key), seq))?;
    let Some(mut version) = slot.row.clone() else { return Ok(()) };
    change(&mut version);
    fold.replace(slot, Some(&version))
}

pub(crate) fn deleted(fold: &mut StateFold<'_>, event: &ObjectDeleted) -> Result<(), FoldError> {
    if let Some(id) = event.version {
        return version_deleted(fold, &event.key, id);
    }
    let current = fold.read::<ObjectRow>(&StateKey::Current(fold.origin().stream, text(&event.key)))?;
    if let Some(old) = &current.row {
        supersede(fold, &event.key, old.seq)?;
    }
    let tombstone = VersionRow {
        at: fold.origin().at(),
        object: None,
        marker: event.marker,
        superseded: None,
        removed: None,
        content_gone: false,
    };
    // A delete of nothing leaves its tombstone too: its rows then do not depend on what was erased before it.
    add_version(fold, &event.key, &tombstone)?;
    fold.replace(current, None)
}

/// Deletes one version of a versioned bucket; where it was the newest, the one before it is current again.
fn version_deleted(fold: &mut StateFold<'_>, key: &ObjectKey, id: VersionId) -> Result<(), FoldError> {
    let stream = fold.origin().stream;
    let Some(found) = by_version_id(fold.rows(), stream, key, id)? else { return Ok(()) };
    let removed = Some(fold.origin().at());
    let next = newest_except(fold, key, found.at.seq)?;
    mark(fold, key, found.at.seq, |version| version.removed = removed)?;
    if next.as_ref().is_none_or(|next| next.at.seq < found.at.seq) {
        make_current(fold, key, next)?;
    }
    Ok(())
}

/// The newest version or tombstone of a key that was not deleted by itself, leaving one out.
fn newest_except(fold: &StateFold<'_>, key: &ObjectKey, seq: Seq) -> Result<Option<VersionRow>, FoldError> {
    let others = |row: &Result<VersionRow, _>| match row {
        Ok(row) => row.removed.is_none() && row.at.seq != seq,
        Err(_) => true,
    };
    Ok(history(fold.rows(), fold.origin().stream, key).find(others).transpose()?)
}

/// Makes a version what its key holds, or nothing where it is a tombstone or none.
fn make_current(
    fold: &mut StateFold<'_>,
    key: &ObjectKey,
    version: Option<VersionRow>,
) -> Result<(), FoldError> {
    let stream = fold.origin().stream;
    let slot = fold.read::<ObjectRow>(&StateKey::Current(stream, text(key)))?;
    let Some(VersionRow { at, object: Some(object), .. }) = version else { return fold.replace(slot, None) };
    fold.replace(slot, Some(&object))?;
    mark(fold, key, at.seq, |version| version.superseded = None)
}

pub(crate) fn content_expired(fold: &mut StateFold<'_>, event: &ContentExpired) -> Result<(), FoldError> {
    for (key, seq) in &event.versions {
        // Whatever its state: whether it was superseded may depend on a record whose body is destroyed by now.
        mark(fold, key, *seq, |version| version.content_gone = version.object.is_some())?;
    }
    Ok(())
}

/// Leaves the rows as if the record had never been written (see [`crate::fold`]).
pub(crate) fn erased(fold: &mut StateFold<'_>, event: &Erased) -> Result<(), FoldError> {
    let stream = fold.origin().stream;
    let by_seq = fold.read::<VersionKeyRow>(&StateKey::VersionBySeq(stream, event.seq))?;
    let Some(VersionKeyRow { key, .. }) = by_seq.row.clone() else { return Ok(()) };
    fold.replace(by_seq, None)?;
    let slot = fold.read::<VersionRow>(&StateKey::Version(stream, text(&key), event.seq))?;
    let Some(gone) = slot.row.clone() else { return Ok(()) };
    fold.replace(slot, None)?;

    let newer = newer_than(fold, &key, event.seq)?;
    let older = older_than(fold, &key, event.seq)?;
    if newer.is_none() {
        // It was the newest: the one before it takes its place.
        return make_current(fold, &key, older);
    }
    match older {
        Some(older) if older.superseded == Some(gone.at) => {
            mark(fold, &key, older.at.seq, |version| version.superseded = newer)
        }
        Some(_) | None => Ok(()),
    }
}

/// The version or tombstone that followed a record's, among those not deleted by themselves.
fn newer_than(fold: &StateFold<'_>, key: &ObjectKey, seq: Seq) -> Result<Option<At>, FoldError> {
    let mut newer = None;
    for row in history(fold.rows(), fold.origin().stream, key) {
        let row = row?;
        if row.at.seq <= seq {
            break;
        }
        if row.removed.is_none() {
            newer = Some(row.at);
        }
    }
    Ok(newer)
}

/// The version or tombstone that a record's followed, among those not deleted by themselves.
fn older_than(fold: &StateFold<'_>, key: &ObjectKey, seq: Seq) -> Result<Option<VersionRow>, FoldError> {
    let stream = fold.origin().stream;
    let from = Bound::Excluded(StateKey::Version(stream, text(key), seq).encode());
    let to = prefix_end(&StateKey::versions_of(stream, key.as_str()));
    for row in fold.rows().range(Space::State, from, to) {
        let (_, stored): (Bytes, Bytes) = row?;
        let row = VersionRow::from_stored(&stored)?;
        if row.removed.is_none() {
            return Ok(Some(row));
        }
    }
    Ok(None)
}
