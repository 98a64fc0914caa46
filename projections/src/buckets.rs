//! Buckets and what they hold, counted.
//!
//! Usage is a projection like any other: each row of a bucket says what it counts for ([`Counted`]), and a record
//! adds what the new rows count for and takes away what the old ones did. Applying a record to rows that have it
//! already would count nothing twice.

use crate::fold::{Fold, FoldError, Origin, Slot};
use crate::key::StateKey;
use crate::multipart;
use crate::rows::{
    BlobRefRow, BlobRow, BucketRow, BucketState, ExpiryRow, NullRow, ObjectRow, PartRow, PastRow, Row,
    RowError, UploadKeyRow, UploadRow, Usage, VersionIdRow, VersionKeyRow, VersionRow,
};
use crate::store::{Rows, Space, StoreError, load_state, prefix_end, prefix_range};
use siltstone_log::event::{
    BucketCreated, BucketTagged, BucketVersioningSet, Content, ContentSource, Versioning,
};
use siltstone_log::id::{BlobId, Seq, StreamId};
use siltstone_log::mutants::{Mutant, active};
use std::collections::BTreeMap;
use std::ops::Bound;

/// A bucket, open or sealed.
pub fn get(rows: &dyn Rows, stream: StreamId) -> Result<Option<BucketRow>, StoreError> {
    load_state(rows, &StateKey::Bucket(stream))
}

/// Every bucket, sealed ones too, in the order of their streams.
pub fn iter(rows: &dyn Rows) -> impl Iterator<Item = Result<(StreamId, BucketRow), StoreError>> {
    let (from, to) = prefix_range(StateKey::buckets());
    rows.range(Space::State, from, to).map(|row| {
        let (key, stored) = row?;
        match StateKey::decode(&key)? {
            StateKey::Bucket(stream) => Ok((stream, BucketRow::from_stored(&stored)?)),
            _ => Err(StoreError::Damaged("a key of another kind among the buckets".to_owned())),
        }
    })
}

/// Whether the bucket has no version, delete markers included. What was deleted or replaced and uploads under way do not
/// count.
pub fn is_empty(rows: &dyn Rows, stream: StreamId) -> Result<bool, StoreError> {
    let (from, to) = prefix_range(StateKey::versions_under(stream, ""));
    Ok(rows.range(Space::State, from, to).next().transpose()?.is_none())
}

/// Every blob that anything has bytes in, from `first` on, in the order of their ids: once for each bucket that has.
pub fn blobs_in_use(rows: &dyn Rows, first: BlobId) -> impl Iterator<Item = Result<BlobId, StoreError>> {
    let from = Bound::Included(StateKey::blobs_from(first));
    let stored = rows.range(Space::State, from, prefix_end(&StateKey::blobs()));
    let live = |stored: &[u8]| BlobRow::from_stored(stored).is_ok_and(|row| row.live > 0);
    let stored =
        stored.filter(move |row| !active(Mutant::SweepPast) || row.as_ref().is_ok_and(|(_, row)| live(row)));
    stored.map(|row| {
        let (key, _) = row?;
        match StateKey::decode(&key)? {
            StateKey::Blob(blob, _) => Ok(blob),
            _ => Err(RowError::key(&key).into()),
        }
    })
}

/// How many versions and parts of a bucket have bytes in a blob.
pub fn blob(rows: &dyn Rows, stream: StreamId, blob: BlobId) -> Result<Option<BlobRow>, StoreError> {
    load_state(rows, &StateKey::Blob(blob, stream))
}

/// The records of a bucket that made what has bytes in a blob.
pub fn holders(
    rows: &dyn Rows,
    stream: StreamId,
    blob: BlobId,
) -> impl Iterator<Item = Result<Seq, StoreError>> {
    let (from, to) = prefix_range(StateKey::refs_of(blob, stream));
    rows.range(Space::State, from, to).map(|row| {
        let (key, _) = row?;
        match StateKey::decode(&key)? {
            StateKey::BlobRef(.., seq) => Ok(seq),
            _ => Err(RowError::key(&key).into()),
        }
    })
}

/// The blobs that content lies in, each with the end of the last byte of it.
pub fn blobs_of(content: &Content) -> BTreeMap<BlobId, u64> {
    let slices = match content {
        Content::Slices(slices) => slices.as_slice(),
        Content::Empty | Content::Inline => &[],
    };
    let mut blobs = BTreeMap::new();
    for slice in slices {
        if let ContentSource::Blob { blob } = slice.source {
            let end = blobs.entry(blob).or_insert(0);
            *end = slice.offset.saturating_add(slice.len).max(*end);
        }
    }
    blobs
}

/// What a row counts for in its bucket's usage.
pub(crate) trait Counted: Row {
    fn usage(&self) -> Usage {
        Usage::default()
    }
}

impl Counted for ObjectRow {
    fn usage(&self) -> Usage {
        Usage { objects: 1, bytes: self.size, ..Usage::default() }
    }
}

impl Counted for VersionRow {
    fn usage(&self) -> Usage {
        match self {
            Self::Object(object) => Usage { versions: 1, version_bytes: object.size, ..Usage::default() },
            Self::Marker(_) => Usage { markers: 1, ..Usage::default() },
        }
    }
}

impl Counted for PastRow {
    fn usage(&self) -> Usage {
        // What lies in packs may be shared: it counts with its blob.
        let inline = |object: &&ObjectRow| object.content == Content::Inline;
        let history_bytes = self.version.object().filter(inline).map_or(0, |object| object.size);
        Usage { history_bytes, ..Usage::default() }
    }
}

impl Counted for UploadRow {
    fn usage(&self) -> Usage {
        Usage { uploads: 1, ..Usage::default() }
    }
}

impl Counted for PartRow {
    fn usage(&self) -> Usage {
        Usage { upload_bytes: self.size, ..Usage::default() }
    }
}

impl Counted for BlobRow {
    fn usage(&self) -> Usage {
        Usage { history_bytes: self.history_bytes(), ..Usage::default() }
    }
}

impl Counted for VersionKeyRow {}
impl Counted for VersionIdRow {}
impl Counted for NullRow {}
impl Counted for ExpiryRow {}
impl Counted for UploadKeyRow {}

impl Usage {
    fn combine(&mut self, other: &Self, combine: impl Fn(u64, u64) -> u64) {
        self.objects = combine(self.objects, other.objects);
        self.bytes = combine(self.bytes, other.bytes);
        self.versions = combine(self.versions, other.versions);
        self.version_bytes = combine(self.version_bytes, other.version_bytes);
        self.markers = combine(self.markers, other.markers);
        self.history_bytes = combine(self.history_bytes, other.history_bytes);
        self.uploads = combine(self.uploads, other.uploads);
        self.upload_bytes = combine(self.upload_bytes, other.upload_bytes);
    }
}

/// What a hold on bytes is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holder {
    /// A version that S3 shows, or a part.
    Live,
    /// A version that was deleted or replaced.
    Past,
}

/// What a record changes in the holds on a blob.
#[derive(Debug, Default)]
struct Holds {
    /// How many came, less those that went.
    live: i64,
    past: i64,
    /// The furthest end of those that came, and of those that went.
    came: Option<u64>,
    went: Option<u64>,
}

/// A record of a bucket's stream being folded, with what it changes in the bucket's usage and in the holds on blobs.
pub(crate) struct StateFold<'a> {
    fold: Fold<'a>,
    added: Usage,
    taken: Usage,
    holds: BTreeMap<BlobId, Holds>,
}

impl<'a> StateFold<'a> {
    pub(crate) fn new(fold: Fold<'a>) -> Self {
        Self { fold, added: Usage::default(), taken: Usage::default(), holds: BTreeMap::new() }
    }

    pub(crate) fn origin(&self) -> &'a Origin {
        self.fold.origin
    }

    pub(crate) fn rows(&self) -> &'a dyn Rows {
        self.fold.rows
    }

    pub(crate) fn read<R: Row>(&self, key: &StateKey<'_>) -> Result<Slot<R>, FoldError> {
        self.fold.read(key)
    }

    /// Stores a row, or removes it, and counts the difference.
    pub(crate) fn replace<R: Counted>(&mut self, slot: Slot<R>, new: Option<&R>) -> Result<(), FoldError> {
        if let Some(old) = &slot.row {
            self.taken.combine(&old.usage(), u64::saturating_add);
        }
        match new {
            None => self.fold.remove(slot),
            Some(new) => {
                self.added.combine(&new.usage(), u64::saturating_add);
                self.fold.put(slot, new)?;
            }
        }
        Ok(())
    }

    /// Removes every row below a prefix.
    pub(crate) fn remove_all<R: Counted>(&mut self, prefix: Vec<u8>) -> Result<(), FoldError> {
        let (from, to) = prefix_range(prefix);
        for row in self.rows().range(Space::State, from, to) {
            let (key, stored) = row?;
            let slot = Slot::<R>::found(&key, stored)?;
            self.replace(slot, None)?;
        }
        Ok(())
    }

    /// Notes that what this record stored has bytes in these blobs.
    pub(crate) fn refer(&mut self, content: &Content, seq: Seq) -> Result<(), FoldError> {
        for (blob, end) in blobs_of(content) {
            let slot = Slot::fresh(&StateKey::BlobRef(blob, self.origin().stream, end, seq));
            self.fold.put(slot, &BlobRefRow)?;
            let holds = self.holds.entry(blob).or_default();
            holds.live += 1;
            holds.came = holds.came.max(Some(end));
        }
        Ok(())
    }

    /// Notes that what holds these bytes is past.
    pub(crate) fn retire(&mut self, content: &Content) {
        for blob in blobs_of(content).into_keys() {
            let holds = self.holds.entry(blob).or_default();
            holds.live -= 1;
            holds.past += 1;
        }
    }

    /// Takes back what [`Self::refer`] noted.
    pub(crate) fn release(&mut self, content: &Content, seq: Seq, holder: Holder) -> Result<(), FoldError> {
        for (blob, end) in blobs_of(content) {
            let key = StateKey::BlobRef(blob, self.origin().stream, end, seq);
            let slot: Slot<BlobRefRow> = self.fold.read(&key)?;
            self.fold.remove(slot);
            let holds = self.holds.entry(blob).or_default();
            match holder {
                Holder::Live => holds.live -= 1,
                Holder::Past => holds.past -= 1,
            }
            holds.went = holds.went.max(Some(end));
        }
        Ok(())
    }

    /// Writes how often each blob is held now, and reports those that are not held any more. The rows depend on nothing
    /// but who holds the blob: erasure makes a replay pass over records that were there.
    fn count_holds(&mut self) -> Result<(), FoldError> {
        for (blob, holds) in std::mem::take(&mut self.holds) {
            let slot = self.read::<BlobRow>(&StateKey::Blob(blob, self.origin().stream))?;
            let old = slot.row.unwrap_or_default();
            let (live, past) = (changed(old.live, holds.live), changed(old.past, holds.past));
            if active(Mutant::FreeShared) && holds.went.is_some() {
                self.fold.free(blob);
            }
            if live == 0 && past == 0 {
                self.replace(slot, None)?;
                if !self.is_held_elsewhere(blob)? {
                    self.fold.free(blob);
                }
                continue;
            }
            // Only where the one that reached furthest went, it has to be looked for again.
            let kept = if holds.went < Some(old.bytes) { old.bytes } else { self.furthest_end(blob)? };
            let row = BlobRow { live, past, bytes: kept.max(holds.came.unwrap_or(0)) };
            if slot.row != Some(row) {
                self.replace(slot, Some(&row))?;
            }
        }
        Ok(())
    }

    /// The furthest end of those that held the blob before this record and hold it still.
    fn furthest_end(&self, blob: BlobId) -> Result<u64, FoldError> {
        let (from, to) = prefix_range(StateKey::refs_of(blob, self.origin().stream));
        for row in self.rows().range(Space::State, from, to) {
            let (key, _) = row?;
            if self.fold.removes(&key) {
                continue;
            }
            return match StateKey::decode(&key)? {
                StateKey::BlobRef(_, _, end, _) => Ok(end),
                _ => Err(RowError::key(&key).into()),
            };
        }
        Ok(0)
    }

    /// Whether another bucket has bytes in a blob.
    fn is_held_elsewhere(&self, blob: BlobId) -> Result<bool, FoldError> {
        let own = StateKey::Blob(blob, self.origin().stream).encode();
        let (from, to) = prefix_range(StateKey::blobs_from(blob));
        for row in self.rows().range(Space::State, from, to) {
            if row?.0 != own {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether any key may have a version below its newest one, or a delete marker: what the bucket counts says so, and
    /// whether it keeps versions does not, since the record that began it may have been lost and given up. A bucket whose
    /// first record was lost counts nothing.
    pub(crate) fn may_have_versions(&self) -> Result<bool, FoldError> {
        let slot = self.read::<BucketRow>(&StateKey::Bucket(self.origin().stream))?;
        let older = |usage: &Usage| usage.versions.saturating_add(usage.markers) > usage.objects;
        Ok(slot.row.is_none_or(|bucket| older(&bucket.usage)))
    }

    /// Writes the bucket's usage, if it changed. A stream whose first record was lost has no bucket to count for.
    pub(crate) fn finish(mut self) -> Result<(), FoldError> {
        self.count_holds()?;
        if self.added == self.taken {
            return Ok(());
        }
        let slot = self.read::<BucketRow>(&StateKey::Bucket(self.origin().stream))?;
        let Some(mut bucket) = slot.row.clone() else { return Ok(()) };
        bucket.usage.combine(&self.added, u64::saturating_add);
        bucket.usage.combine(&self.taken, u64::saturating_sub);
        self.fold.put(slot, &bucket)
    }
}

fn changed(count: u32, by: i64) -> u32 {
    let changed = i64::from(count).saturating_add(by).max(0);
    u32::try_from(changed).unwrap_or(u32::MAX)
}

/// What the rows of a stream count for together, read one by one.
fn recount(rows: &dyn Rows, stream: StreamId) -> Result<Usage, FoldError> {
    let mut usage = Usage::default();
    count::<ObjectRow>(rows, StateKey::current_under(stream, ""), &mut usage)?;
    count::<VersionRow>(rows, StateKey::versions_under(stream, ""), &mut usage)?;
    count::<PastRow>(rows, StateKey::past_of_bucket(stream), &mut usage)?;
    count::<UploadRow>(rows, StateKey::uploads_under(stream, ""), &mut usage)?;
    count::<PartRow>(rows, StateKey::parts_of_bucket(stream), &mut usage)?;
    let (from, to) = prefix_range(StateKey::blobs());
    for row in rows.range(Space::State, from, to) {
        let (key, stored) = row?;
        if matches!(StateKey::decode(&key)?, StateKey::Blob(_, of) if of == stream) {
            usage.combine(&BlobRow::from_stored(&stored)?.usage(), u64::saturating_add);
        }
    }
    Ok(usage)
}

fn count<R: Counted>(rows: &dyn Rows, prefix: Vec<u8>, usage: &mut Usage) -> Result<(), FoldError> {
    let (from, to) = prefix_range(prefix);
    for row in rows.range(Space::State, from, to) {
        usage.combine(&R::from_stored(&row?.1)?.usage(), u64::saturating_add);
    }
    Ok(())
}

pub(crate) fn created(fold: &mut StateFold<'_>, event: &BucketCreated) -> Result<(), FoldError> {
    let Origin { stream, seq, .. } = *fold.origin();
    let slot = fold.read::<BucketRow>(&StateKey::Bucket(stream))?;
    let usage = match &slot.row {
        Some(old) => old.usage,
        None if seq == Seq(1) => Usage::default(),
        // The bucket is made again whose first record was lost and given up; what came after it is there.
        None => recount(fold.rows(), stream)?,
    };
    let bucket = BucketRow {
        name: event.name.clone(),
        owner: event.owner,
        location: event.location.clone(),
        created: fold.origin().hlc,
        state: BucketState::Open,
        versioning: Versioning::Unversioned,
        tags: Vec::new(),
        usage,
    };
    fold.fold.put(slot, &bucket)
}

/// Changes the bucket's own row. A stream whose first record was lost has none.
fn change(fold: &mut StateFold<'_>, change: impl FnOnce(&mut BucketRow)) -> Result<(), FoldError> {
    let slot = fold.read::<BucketRow>(&StateKey::Bucket(fold.origin().stream))?;
    let Some(mut bucket) = slot.row.clone() else { return Ok(()) };
    change(&mut bucket);
    fold.fold.put(slot, &bucket)
}

pub(crate) fn versioning_set(fold: &mut StateFold<'_>, event: &BucketVersioningSet) -> Result<(), FoldError> {
    change(fold, |bucket| bucket.versioning = event.versioning)
}

pub(crate) fn tagged(fold: &mut StateFold<'_>, event: &BucketTagged) -> Result<(), FoldError> {
    change(fold, |bucket| bucket.tags.clone_from(&event.tags))
}

pub(crate) fn sealed(fold: &mut StateFold<'_>) -> Result<(), FoldError> {
    let stream = fold.origin().stream;
    fold.remove_all::<UploadRow>(StateKey::uploads_under(stream, ""))?;
    fold.remove_all::<UploadKeyRow>(StateKey::uploads_by_id(stream))?;
    multipart::remove_parts(fold, StateKey::parts_of_bucket(stream))?;
    let sealed = BucketState::Sealed(fold.origin().at());
    change(fold, |bucket| bucket.state = sealed)
}
