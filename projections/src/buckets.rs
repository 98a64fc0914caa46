//! Buckets and what they hold, counted.
//!
//! Usage is a projection like any other: each row of a bucket says what it counts for ([`Counted`]), and a record
//! adds what the new rows count for and takes away what the old ones did. Applying a record to rows that have it
//! already would count nothing twice.

use crate::fold::{Fold, FoldError, Origin, Slot};
use crate::key::StateKey;
use crate::rows::{
    BucketRow, BucketState, ObjectRow, PartRow, Row, UploadKeyRow, UploadRow, Usage, VersionKeyRow,
    VersionRow,
};
use crate::store::{Rows, Space, StoreError, load_state, prefix_range};
use siltstone_log::event::BucketCreated;
use siltstone_log::id::StreamId;

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

/// Whether no key of the bucket holds an object. History and uploads under way do not count.
pub fn is_empty(rows: &dyn Rows, stream: StreamId) -> Result<bool, StoreError> {
    let (from, to) = prefix_range(StateKey::current_under(stream, ""));
    Ok(rows.range(Space::State, from, to).next().transpose()?.is_none())
}

/// What a row counts for in its bucket's usage.
pub(crate) trait Counted: Row {
    fn usage(&self) -> Usage;
}

impl Counted for ObjectRow {
    fn usage(&self) -> Usage {
        Usage { objects: 1, bytes: self.size, ..Usage::default() }
    }
}

impl Counted for VersionRow {
    fn usage(&self) -> Usage {
        let versions = u64::from(self.object.is_some());
        Usage { versions, history_bytes: self.history_bytes(), ..Usage::default() }
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

impl Counted for VersionKeyRow {
    fn usage(&self) -> Usage {
        Usage::default()
    }
}

impl Counted for UploadKeyRow {
    fn usage(&self) -> Usage {
        Usage::default()
    }
}

impl Usage {
    fn combine(&mut self, other: &Self, combine: impl Fn(u64, u64) -> u64) {
        self.objects = combine(self.objects, other.objects);
        self.bytes = combine(self.bytes, other.bytes);
        self.versions = combine(self.versions, other.versions);
        self.history_bytes = combine(self.history_bytes, other.history_bytes);
        self.uploads = combine(self.uploads, other.uploads);
        self.upload_bytes = combine(self.upload_bytes, other.upload_bytes);
    }
}

/// A record of a bucket's stream being folded, with what it changes in the bucket's usage.
pub(crate) struct StateFold<'a> {
    fold: Fold<'a>,
    added: Usage,
    taken: Usage,
}

impl<'a> StateFold<'a> {
    pub(crate) fn new(fold: Fold<'a>) -> Self {
        Self { fold, added: Usage::default(), taken: Usage::default() }
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

    /// Writes the bucket's usage, if it changed. A stream whose first record was lost has no bucket to count for.
    pub(crate) fn finish(mut self) -> Result<(), FoldError> {
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
        usage: slot.row.as_ref().map(|old| old.usage).unwrap_or_default(),
    };
    fold.fold.put(slot, &bucket)
}

pub(crate) fn sealed(fold: &mut StateFold<'_>) -> Result<(), FoldError> {
    let stream = fold.origin().stream;
    fold.remove_all::<UploadRow>(StateKey::uploads_under(stream, ""))?;
    fold.remove_all::<UploadKeyRow>(StateKey::uploads_by_id(stream))?;
    fold.remove_all::<PartRow>(StateKey::parts_of_bucket(stream))?;
    let slot = fold.read::<BucketRow>(&StateKey::Bucket(stream))?;
    if let Some(mut bucket) = slot.row.clone() {
        bucket.state = BucketState::Sealed(fold.origin().at());
        fold.fold.put(slot, &bucket)?;
    }
    Ok(())
}
