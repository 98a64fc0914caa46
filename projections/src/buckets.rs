//! Buckets and what they hold, counted.
//!
//! Usage is a projection like any other: each row of a bucket says what it counts for ([`Counted`]), and a record
//! adds what the new rows count for and takes away what the old ones did. Applying a record to rows that have it
//! already would count nothing twice.

use crate::fold::{Fold, FoldError, Origin, Slot};
use crate::key::StateKey;
use crate::multipart;
use crate::rows::{
    BlobRefRow, BucketRow, BucketState, ExpiryRow, NullRow, ObjectRow, PartRow, PastRow, Row, UploadKeyRow,
    UploadRow, Usage, VersionIdRow, VersionKeyRow, VersionRow,
};
use crate::store::{Rows, Space, StoreError, load_state, prefix_range};
use siltstone_log::event::{
    BucketCreated, BucketTagged, BucketVersioningSet, Content, ContentSource, Versioning,
};
use siltstone_log::id::{BlobId, Seq, StreamId};
use std::collections::BTreeSet;

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

/// Whether anything has bytes in a blob.
pub fn is_referenced(rows: &dyn Rows, blob: BlobId) -> Result<bool, StoreError> {
    let (from, to) = prefix_range(StateKey::refs_of(blob));
    Ok(rows.range(Space::State, from, to).next().transpose()?.is_some())
}

/// The blobs that content lies in, each once.
fn blobs_of(content: &Content) -> BTreeSet<BlobId> {
    let slices = match content {
        Content::Slices(slices) => slices.as_slice(),
        Content::Empty | Content::Inline => &[],
    };
    let blobs = slices.iter().filter_map(|slice| match slice.source {
        ContentSource::Blob { blob } => Some(blob),
        ContentSource::Inline { .. } => None,
    });
    blobs.collect()
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
        let history_bytes = self.version.object().map_or(0, |object| object.size);
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

impl Counted for VersionKeyRow {}
impl Counted for VersionIdRow {}
impl Counted for NullRow {}
impl Counted for ExpiryRow {}
impl Counted for BlobRefRow {}
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

/// A record of a bucket's stream being folded, with what it changes in the bucket's usage and which blobs it gives up.
pub(crate) struct StateFold<'a> {
    fold: Fold<'a>,
    added: Usage,
    taken: Usage,
    /// Blobs that got a reference.
    referred: BTreeSet<BlobId>,
    /// Blobs that lost one.
    released: BTreeSet<BlobId>,
}

impl<'a> StateFold<'a> {
    pub(crate) fn new(fold: Fold<'a>) -> Self {
        let (added, taken) = Default::default();
        let (referred, released) = Default::default();
        Self { fold, added, taken, referred, released }
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

    /// Notes that what a record stored has bytes in these blobs.
    pub(crate) fn refer(&mut self, content: &Content, seq: Seq) -> Result<(), FoldError> {
        for blob in blobs_of(content) {
            let slot = Slot::fresh(&StateKey::BlobRef(blob, self.origin().stream, seq));
            self.fold.put(slot, &BlobRefRow)?;
            self.referred.insert(blob);
        }
        Ok(())
    }

    /// Takes back what [`Self::refer`] noted.
    pub(crate) fn release(&mut self, content: &Content, seq: Seq) -> Result<(), FoldError> {
        for blob in blobs_of(content) {
            let slot = self.read::<BlobRefRow>(&StateKey::BlobRef(blob, self.origin().stream, seq))?;
            self.fold.remove(slot);
            self.released.insert(blob);
        }
        Ok(())
    }

    /// Reports the blobs that nothing refers to after this record.
    fn report_freed(&mut self) -> Result<(), FoldError> {
        let released = std::mem::take(&mut self.released);
        'blobs: for blob in released.difference(&self.referred) {
            let (from, to) = prefix_range(StateKey::refs_of(*blob));
            for row in self.rows().range(Space::State, from, to) {
                if !self.fold.removes(&row?.0) {
                    continue 'blobs;
                }
            }
            self.fold.free(*blob);
        }
        Ok(())
    }

    /// Whether the bucket keeps versions. One whose first record was lost may have.
    pub(crate) fn may_have_versions(&self) -> Result<bool, FoldError> {
        let slot = self.read::<BucketRow>(&StateKey::Bucket(self.origin().stream))?;
        Ok(slot.row.is_none_or(|bucket| bucket.versioning != Versioning::Unversioned))
    }

    /// Writes the bucket's usage, if it changed. A stream whose first record was lost has no bucket to count for.
    pub(crate) fn finish(mut self) -> Result<(), FoldError> {
        self.report_freed()?;
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

pub(crate) fn created(fold: &mut StateFold<'_>, event: &BucketCreated) -> Result<(), FoldError> {
    let slot = fold.read::<BucketRow>(&StateKey::Bucket(fold.origin().stream))?;
    let bucket = BucketRow {
        name: event.name.clone(),
        owner: event.owner,
        location: event.location.clone(),
        created: fold.origin().hlc,
        state: BucketState::Open,
        versioning: Versioning::Unversioned,
        tags: Vec::new(),
        usage: slot.row.as_ref().map(|old| old.usage).unwrap_or_default(),
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
