//! Objects: what each key holds now, and every version it held inside the history window.
//!
//! Each put, completed upload and delete marker makes a version. The null version takes the place of the null version
//! before it, which is all that ever happens in a bucket without versioning. A version that was deleted or replaced
//! moves to the past, out of the way of listings, and stays there until it leaves the history window. `current` repeats
//! the newest version's object, so that a read by key costs one look-up.
//!
//! As of an instant a key held the newest version, of those it has and those of its past, that was made before and not
//! removed until after.

use crate::buckets::{Holder, StateFold};
use crate::fold::{FoldError, Slot};
use crate::key::StateKey;
use crate::list::{self, Listing};
use crate::rows::{
    ExpiryRow, MarkerRow, NullRow, ObjectRow, ObjectSummary, PastRow, Row, RowError, VersionIdRow,
    VersionKeyRow, VersionRow,
};
use crate::store::{Rows, Space, StoreError, load_state, prefix_end, prefix_range};
use siltstone_log::event::{
    Content, ContentExpired, Deletion, Erased, ObjectDeleted, ObjectPut, ObjectTagged,
};
use siltstone_log::hlc::Hlc;
use siltstone_log::id::{Seq, StreamId, VersionId, VersionRef};
use siltstone_log::mutants::{Mutant, active};
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

/// The versions of a key, newest first: the first one is what S3 calls the latest.
pub fn versions(
    rows: &dyn Rows,
    stream: StreamId,
    key: &ObjectKey,
) -> impl Iterator<Item = Result<VersionRow, StoreError>> {
    let (from, to) = prefix_range(StateKey::versions_of(stream, key.as_str()));
    rows.range(Space::State, from, to).map(|row| Ok(VersionRow::from_stored(&row?.1)?))
}

/// The versions of a key that were deleted or replaced inside the history window, the youngest first.
pub fn past(
    rows: &dyn Rows,
    stream: StreamId,
    key: &ObjectKey,
) -> impl Iterator<Item = Result<PastRow, StoreError>> {
    let (from, to) = prefix_range(StateKey::past_of(stream, key.as_str()));
    rows.range(Space::State, from, to).map(|row| Ok(PastRow::from_stored(&row?.1)?))
}

/// A version that was deleted or replaced inside the history window, by the record that made it.
pub fn past_version(
    rows: &dyn Rows,
    stream: StreamId,
    key: &ObjectKey,
    seq: Seq,
) -> Result<Option<PastRow>, StoreError> {
    load_state(rows, &StateKey::Past(stream, text(key), seq))
}

/// A version of a key by its id.
pub fn find_version(
    rows: &dyn Rows,
    stream: StreamId,
    key: &ObjectKey,
    wanted: VersionRef,
) -> Result<Option<VersionRow>, StoreError> {
    match wanted {
        VersionRef::Id(id) => {
            // Ids are unique in a bucket; under another key there is none of this one, nor one of the past.
            maker(rows, stream, id)?.map_or(Ok(None), |seq| version(rows, stream, key, seq))
        }
        VersionRef::Null => {
            if let Some(object) = current(rows, stream, key)?.filter(|object| object.version.is_none()) {
                return Ok(Some(VersionRow::Object(object)));
            }
            older_null(rows, stream, key)
        }
    }
}

/// The null version where it is not what the key holds.
fn older_null(rows: &dyn Rows, stream: StreamId, key: &ObjectKey) -> Result<Option<VersionRow>, StoreError> {
    let found = load_state::<NullRow>(rows, &StateKey::Null(stream, text(key)))?;
    found.map_or(Ok(None), |NullRow { seq }| version(rows, stream, key, seq))
}

/// The record that made the version of an id, also where the version was deleted inside the history window.
pub(crate) fn maker(rows: &dyn Rows, stream: StreamId, id: VersionId) -> Result<Option<Seq>, StoreError> {
    let found = load_state::<VersionIdRow>(rows, &StateKey::VersionById(stream, id))?;
    Ok(found.map(|found| found.seq))
}

/// A place in the queue of what was deleted or replaced, the longest removed first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Removal {
    /// When it was deleted or replaced.
    pub removed: Hlc,
    /// Its bucket's stream.
    pub stream: StreamId,
    /// The record that made it.
    pub seq: Seq,
}

/// A version that left S3's view and waits for the end of the history window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expiring {
    /// Its place in the queue.
    pub at: Removal,
    /// Its key.
    pub key: ObjectKey,
    /// Whether it has bytes in packs.
    pub in_packs: bool,
}

/// What was deleted or replaced in all buckets, the longest removed first, from a place in that queue on.
pub fn expiring(rows: &dyn Rows, from: Removal) -> impl Iterator<Item = Result<Expiring, StoreError>> {
    let first = StateKey::Expiry(from.removed, from.stream, from.seq).encode();
    let to = prefix_end(&StateKey::expiries());
    rows.range(Space::State, Bound::Included(first), to).map(|row| {
        let (key, stored) = row?;
        match StateKey::decode(&key)? {
            StateKey::Expiry(removed, stream, seq) => {
                let ExpiryRow { key, in_packs } = ExpiryRow::from_stored(&stored)?;
                Ok(Expiring { at: Removal { removed, stream, seq }, key, in_packs })
            }
            _ => Err(RowError::key(&key).into()),
        }
    })
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
    let mut entries = found.entries;
    if next.is_some() && active(Mutant::SkipAtPageEnd) {
        entries.pop();
    }
    Ok(ListPage { entries, next })
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
        tags: event.tags.clone(),
        upload: None,
        place: origin.place,
    };
    store(fold, &event.key, object)
}

/// Makes an object what a key holds.
pub(crate) fn store(fold: &mut StateFold<'_>, key: &ObjectKey, object: ObjectRow) -> Result<(), FoldError> {
    let current = fold.read::<ObjectRow>(&StateKey::Current(fold.origin().stream, text(key)))?;
    if object.version.is_none() {
        replace_null(fold, key, current.row.as_ref())?;
    } else {
        cover_null(fold, key, current.row.as_ref())?;
    }
    fold.refer(&object.content, object.seq)?;
    let version = VersionRow::Object(object);
    add_version(fold, key, &version)?;
    fold.replace(current, version.object())
}

/// Moves a key's null version to the past, whether it is current or not.
fn replace_null(
    fold: &mut StateFold<'_>,
    key: &ObjectKey,
    current: Option<&ObjectRow>,
) -> Result<(), FoldError> {
    if let Some(object) = current.filter(|object| object.version.is_none()) {
        return move_to_past(fold, key, VersionRow::Object(object.clone()));
    }
    // A put of a new key in a bucket that has no older versions, the commonest of all, needs no look at them.
    if !fold.may_have_versions()? {
        return Ok(());
    }
    match older_null(fold.rows(), fold.origin().stream, key)? {
        Some(null) => {
            forget_null(fold, key, null.at().seq)?;
            move_to_past(fold, key, null)
        }
        None => Ok(()),
    }
}

/// Remembers the null version that something is about to be put over, where it is what the key holds.
fn cover_null(
    fold: &mut StateFold<'_>,
    key: &ObjectKey,
    current: Option<&ObjectRow>,
) -> Result<(), FoldError> {
    match current.filter(|object| object.version.is_none()) {
        Some(ObjectRow { seq, .. }) => set_null(fold, key, *seq),
        None => Ok(()),
    }
}

/// Says which record made the null version that is not what the key holds.
fn set_null(fold: &mut StateFold<'_>, key: &ObjectKey, seq: Seq) -> Result<(), FoldError> {
    let slot = fold.read::<NullRow>(&StateKey::Null(fold.origin().stream, text(key)))?;
    fold.replace(slot, Some(&NullRow { seq }))
}

fn add_version(fold: &mut StateFold<'_>, key: &ObjectKey, version: &VersionRow) -> Result<(), FoldError> {
    let origin = fold.origin();
    let slot = Slot::fresh(&StateKey::Version(origin.stream, text(key), origin.seq));
    fold.replace(slot, Some(version))?;
    if let VersionRef::Id(id) = version.version() {
        let slot = Slot::fresh(&StateKey::VersionById(origin.stream, id));
        fold.replace(slot, Some(&VersionIdRow { seq: origin.seq }))?;
    }
    let slot = Slot::fresh(&StateKey::VersionBySeq(origin.stream, origin.seq));
    fold.replace(slot, Some(&VersionKeyRow { key: key.clone(), place: origin.place }))
}

/// Takes a version out of S3's view.
fn take(fold: &mut StateFold<'_>, key: &ObjectKey, version: &VersionRow) -> Result<(), FoldError> {
    let stream = fold.origin().stream;
    let slot = fold.read::<VersionRow>(&StateKey::Version(stream, text(key), version.at().seq))?;
    fold.replace(slot, None)?;
    Ok(())
}

/// Forgets that a record made the null version that is not what the key holds.
fn forget_null(fold: &mut StateFold<'_>, key: &ObjectKey, seq: Seq) -> Result<(), FoldError> {
    let slot = fold.read::<NullRow>(&StateKey::Null(fold.origin().stream, text(key)))?;
    if slot.row.as_ref().is_some_and(|null| null.seq == seq) {
        fold.replace(slot, None)?;
    }
    Ok(())
}

/// Forgets the id of a version of which nothing is left.
fn forget_id(fold: &mut StateFold<'_>, version: &VersionRow) -> Result<(), FoldError> {
    let VersionRef::Id(id) = version.version() else { return Ok(()) };
    let slot = fold.read::<VersionIdRow>(&StateKey::VersionById(fold.origin().stream, id))?;
    fold.replace(slot, None)
}

fn move_to_past(fold: &mut StateFold<'_>, key: &ObjectKey, version: VersionRow) -> Result<(), FoldError> {
    let (stream, removed) = (fold.origin().stream, fold.origin().at());
    take(fold, key, &version)?;
    let (seq, content) = (version.at().seq, version.object().map(|object| &object.content));
    let in_packs = matches!(content, Some(Content::Slices(_)));
    if let Some(content) = content {
        fold.retire(content);
    }
    let slot = Slot::fresh(&StateKey::Expiry(removed.hlc, stream, seq));
    fold.replace(slot, Some(&ExpiryRow { key: key.clone(), in_packs }))?;
    let slot = Slot::fresh(&StateKey::Past(stream, text(key), seq));
    fold.replace(slot, Some(&PastRow { version, removed }))
}

pub(crate) fn deleted(fold: &mut StateFold<'_>, event: &ObjectDeleted) -> Result<(), FoldError> {
    let stream = fold.origin().stream;
    let version = match event.deletion {
        Deletion::Marker(version) => return marked(fold, &event.key, version),
        Deletion::Current => VersionRef::Null,
        Deletion::Version(version) => version,
    };
    let Some(found) = find_version(fold.rows(), stream, &event.key, version)? else { return Ok(()) };
    uncover(fold, &event.key, found.at().seq)?;
    if version == VersionRef::Null {
        forget_null(fold, &event.key, found.at().seq)?;
    }
    move_to_past(fold, &event.key, found)
}

/// Puts a delete marker over what a key holds.
fn marked(fold: &mut StateFold<'_>, key: &ObjectKey, version: VersionRef) -> Result<(), FoldError> {
    let origin = fold.origin();
    let current = fold.read::<ObjectRow>(&StateKey::Current(origin.stream, text(key)))?;
    if version == VersionRef::Null {
        replace_null(fold, key, current.row.as_ref())?;
        set_null(fold, key, origin.seq)?;
    } else {
        cover_null(fold, key, current.row.as_ref())?;
    }
    let marker = MarkerRow { seq: origin.seq, hlc: origin.hlc, version: version.id() };
    add_version(fold, key, &VersionRow::Marker(marker))?;
    fold.replace(current, None)
}

/// Where a version that goes is the newest, makes the one before it what the key holds.
fn uncover(fold: &mut StateFold<'_>, key: &ObjectKey, going: Seq) -> Result<(), FoldError> {
    let stream = fold.origin().stream;
    let mut newest = versions(fold.rows(), stream, key);
    if newest.next().transpose()?.is_none_or(|newest| newest.at().seq != going) {
        return Ok(());
    }
    let next = newest.next().transpose()?.and_then(VersionRow::into_object);
    if let Some(ObjectRow { seq, version: None, .. }) = &next {
        forget_null(fold, key, *seq)?;
    }
    let slot = fold.read::<ObjectRow>(&StateKey::Current(stream, text(key)))?;
    fold.replace(slot, next.as_ref())
}

pub(crate) fn tagged(fold: &mut StateFold<'_>, event: &ObjectTagged) -> Result<(), FoldError> {
    let stream = fold.origin().stream;
    let slot = fold.read::<VersionRow>(&StateKey::Version(stream, text(&event.key), event.seq))?;
    let Some(VersionRow::Object(mut object)) = slot.row.clone() else { return Ok(()) };
    object.tags.clone_from(&event.tags);
    let current = fold.read::<ObjectRow>(&StateKey::Current(stream, text(&event.key)))?;
    if current.row.as_ref().is_some_and(|row| row.seq == event.seq) {
        fold.replace(current, Some(&object))?;
    }
    fold.replace(slot, Some(&VersionRow::Object(object)))
}

pub(crate) fn content_expired(fold: &mut StateFold<'_>, event: &ContentExpired) -> Result<(), FoldError> {
    for (key, seq) in &event.versions {
        if forget_past(fold, key, *seq)? {
            let slot = fold.read::<VersionKeyRow>(&StateKey::VersionBySeq(fold.origin().stream, *seq))?;
            fold.replace(slot, None)?;
        }
    }
    Ok(())
}

/// Removes a version of the past with its hold on its bytes. Tells whether it was there.
fn forget_past(fold: &mut StateFold<'_>, key: &ObjectKey, seq: Seq) -> Result<bool, FoldError> {
    let stream = fold.origin().stream;
    let slot = fold.read::<PastRow>(&StateKey::Past(stream, text(key), seq))?;
    let Some(PastRow { version, removed }) = slot.row.clone() else { return Ok(false) };
    fold.replace(slot, None)?;
    let slot = fold.read::<ExpiryRow>(&StateKey::Expiry(removed.hlc, stream, seq))?;
    fold.replace(slot, None)?;
    forget_id(fold, &version)?;
    if let Some(object) = version.object() {
        fold.release(&object.content, seq, Holder::Past)?;
    }
    Ok(true)
}

/// Leaves no trace of the version that a record made (see [`crate::fold`]).
pub(crate) fn erased(fold: &mut StateFold<'_>, event: &Erased) -> Result<(), FoldError> {
    let stream = fold.origin().stream;
    let by_seq = fold.read::<VersionKeyRow>(&StateKey::VersionBySeq(stream, event.seq))?;
    let Some(VersionKeyRow { key, .. }) = by_seq.row.clone() else { return Ok(()) };
    fold.replace(by_seq, None)?;
    if forget_past(fold, &key, event.seq)? {
        return Ok(());
    }
    let Some(version) = version(fold.rows(), stream, &key, event.seq)? else { return Ok(()) };
    uncover(fold, &key, event.seq)?;
    forget_null(fold, &key, event.seq)?;
    take(fold, &key, &version)?;
    forget_id(fold, &version)?;
    match version.object() {
        Some(object) => fold.release(&object.content, event.seq, Holder::Live),
        None => Ok(()),
    }
}
