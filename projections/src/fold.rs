//! The one fold: what a record changes in the rows of a space. Live, in replay, in a rebuild and in the engine's
//! pending view it is this function.
//!
//! Pure: no clock, no dice, no I/O but reads of the same space's rows. Counters are derived from the old and the new
//! row, never counted blindly. A record that refers to something unknown (an upload, a version) changes nothing:
//! erasure and accepted losses make that legal.
//!
//! **Erasure.** Once a record's body is destroyed, a replay cannot know what it said. Whoever erases therefore first
//! deletes the key with all its versions and aborts its uploads, and then erases every record that names it: puts and
//! completions, deletes, tags, the creation of uploads. After the last `Erased` the rows are as if none of them had ever
//! been written; in between they may not be.
//!
//! Next hop: the views, one file each: [`crate::names`], [`crate::identity`], [`crate::buckets`],
//! [`crate::objects`], [`crate::multipart`].

use crate::changes::{Changes, EncodedKey, Layered};
use crate::rows::{At, Row, RowError};
use crate::store::{Rows, Space, StoreError};
use crate::{buckets, identity, multipart, names, objects};
use bytes::Bytes;
use siltstone_log::event::{Body, DecodeError, Event};
use siltstone_log::hlc::Hlc;
use siltstone_log::id::{BlobId, Seq, StreamId};
use siltstone_log::record::{Place, Record, RecordDraft};

/// A record could not be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FoldError {
    /// Rows could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The body is of a newer version, or no body at all.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// Records of the stream are missing.
    #[error("stream {stream}: record {expected} was to follow, but {found} came")]
    Gap {
        /// The stream.
        stream: StreamId,
        /// The record after its cursor.
        expected: Seq,
        /// The record that came.
        found: Seq,
    },
    /// The rows come from another history than the record: they have to be put aside and rebuilt.
    #[error("stream {stream}: record {seq} does not follow what the rows were computed from")]
    Forked {
        /// The stream.
        stream: StreamId,
        /// The record that came.
        seq: Seq,
    },
}

impl From<RowError> for FoldError {
    fn from(error: RowError) -> Self {
        Self::Store(error.into())
    }
}

/// What a fold needs to know of a record besides its body. A draft has no place yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// The stream it belongs to.
    pub stream: StreamId,
    /// Its number there.
    pub seq: Seq,
    /// When it was decided.
    pub hlc: Hlc,
    /// Where it lies on this node.
    pub place: Option<Place>,
}

impl Origin {
    /// Record and time, as rows carry them.
    pub(crate) fn at(&self) -> At {
        At { seq: self.seq, hlc: self.hlc }
    }
}

impl From<&Record> for Origin {
    fn from(record: &Record) -> Self {
        Self { stream: record.stream, seq: record.seq, hlc: record.hlc, place: Some(record.place) }
    }
}

impl From<&RecordDraft> for Origin {
    fn from(draft: &RecordDraft) -> Self {
        Self { stream: draft.stream, seq: draft.seq, hlc: draft.hlc, place: None }
    }
}

/// Adds to `out` what a record changes in a space. Each record must be applied once, in the order of its stream:
/// the follower's cursors see to that, and a stream task's own order.
pub fn apply(
    space: Space,
    rows: &dyn Rows,
    origin: &Origin,
    body: &Body,
    out: &mut Changes,
) -> Result<(), FoldError> {
    if Space::of(origin.stream) != Some(space) {
        return Ok(());
    }
    let mut fold = Fold { rows, origin, out };
    match space {
        Space::System => system(&mut fold, &body.event),
        Space::State => state(fold, body),
    }
}

fn system(fold: &mut Fold<'_>, event: &Event) -> Result<(), FoldError> {
    match event {
        Event::BucketNameReserved(event) => names::reserved(fold, event),
        Event::BucketNameReleased(event) => names::released(fold, event),
        Event::TenantCreated(event) => identity::tenant_created(fold, event),
        Event::AccountCreated(event) => identity::account_created(fold, event),
        Event::UserCreated(event) => identity::user_created(fold, event),
        Event::UserDeleted(event) => identity::user_deleted(fold, event),
        Event::UserStatusChanged(event) => identity::user_status_changed(fold, event),
        Event::AccessKeyCreated(event) => identity::access_key_created(fold, event),
        Event::AccessKeyDeleted(event) => identity::access_key_deleted(fold, event),
        Event::AccessKeyStatusChanged(event) => identity::access_key_status_changed(fold, event),
        Event::PolicyAttached(event) => identity::policy_attached(fold, event),
        Event::PolicyDetached(event) => identity::policy_detached(fold, event),
        // Facts about the log and the node make no row. The rest are of buckets' streams, or evidence.
        Event::NodeStarted(_)
        | Event::TailDiscarded(_)
        | Event::LogRepaired(_)
        | Event::BucketCreated(_)
        | Event::BucketSealed(_)
        | Event::BucketVersioningSet(_)
        | Event::BucketTagged(_)
        | Event::ObjectPut(_)
        | Event::ObjectDeleted(_)
        | Event::ObjectTagged(_)
        | Event::ContentExpired(_)
        | Event::Erased(_)
        | Event::MultipartCreated(_)
        | Event::PartUploaded(_)
        | Event::MultipartCompleted(_)
        | Event::MultipartAborted(_)
        | Event::AccessDenied(_)
        | Event::AccessSuppressed(_) => Ok(()),
    }
}

fn state(fold: Fold<'_>, body: &Body) -> Result<(), FoldError> {
    let mut fold = buckets::StateFold::new(fold);
    match &body.event {
        Event::BucketCreated(event) => buckets::created(&mut fold, event)?,
        Event::BucketSealed(_) => buckets::sealed(&mut fold)?,
        Event::BucketVersioningSet(event) => buckets::versioning_set(&mut fold, event)?,
        Event::BucketTagged(event) => buckets::tagged(&mut fold, event)?,
        Event::ObjectPut(event) => objects::put(&mut fold, event)?,
        Event::ObjectDeleted(event) => objects::deleted(&mut fold, event)?,
        Event::ObjectTagged(event) => objects::tagged(&mut fold, event)?,
        Event::ContentExpired(event) => objects::content_expired(&mut fold, event)?,
        Event::Erased(event) => objects::erased(&mut fold, event)?,
        Event::MultipartCreated(event) => multipart::created(&mut fold, event, body.actor.account)?,
        Event::PartUploaded(event) => multipart::part_uploaded(&mut fold, event)?,
        Event::MultipartCompleted(event) => multipart::completed(&mut fold, event)?,
        Event::MultipartAborted(event) => multipart::aborted(&mut fold, event)?,
        // Of the `system` stream, and evidence.
        Event::NodeStarted(_)
        | Event::TailDiscarded(_)
        | Event::LogRepaired(_)
        | Event::BucketNameReserved(_)
        | Event::BucketNameReleased(_)
        | Event::TenantCreated(_)
        | Event::AccountCreated(_)
        | Event::UserCreated(_)
        | Event::UserDeleted(_)
        | Event::UserStatusChanged(_)
        | Event::AccessKeyCreated(_)
        | Event::AccessKeyDeleted(_)
        | Event::AccessKeyStatusChanged(_)
        | Event::PolicyAttached(_)
        | Event::PolicyDetached(_)
        | Event::AccessDenied(_)
        | Event::AccessSuppressed(_) => {}
    }
    fold.finish()
}

/// A row that a fold has read, with what it needs to replace it.
pub(crate) struct Slot<R> {
    key: Vec<u8>,
    stored: Option<Bytes>,
    /// The row, if it is there.
    pub(crate) row: Option<R>,
}

impl<R: Row> Slot<R> {
    /// A row that a range read has found.
    pub(crate) fn found(key: &Bytes, stored: Bytes) -> Result<Self, FoldError> {
        let row = Some(R::from_stored(&stored)?);
        Ok(Self { key: key.to_vec(), stored: Some(stored), row })
    }

    /// A row whose key names the very record that is being folded, so that it cannot be there yet.
    pub(crate) fn fresh<K: EncodedKey>(key: &K) -> Self {
        Self { key: key.encoded(), stored: None, row: None }
    }
}

/// One record being folded.
pub(crate) struct Fold<'a> {
    /// The rows before the record. Range reads do not see what the record itself has changed so far.
    pub(crate) rows: &'a dyn Rows,
    pub(crate) origin: &'a Origin,
    out: &'a mut Changes,
}

impl Fold<'_> {
    /// Reads a row, as this record has left it so far.
    pub(crate) fn read<R: Row, K: EncodedKey>(&self, key: &K) -> Result<Slot<R>, FoldError> {
        let key = key.encoded();
        let stored = match self.out.look_up(&key) {
            Layered::Row(row) => Some(row.clone()),
            Layered::Removed => None,
            Layered::Untouched => self.rows.get(K::SPACE, &key)?,
        };
        let row = stored.as_ref().map(|stored| R::from_stored(stored)).transpose()?;
        Ok(Slot { key, stored, row })
    }

    /// Stores a row in the slot's place.
    pub(crate) fn put<R: Row>(&mut self, slot: Slot<R>, row: &R) -> Result<(), FoldError> {
        Ok(self.out.put(slot.key, slot.stored, row)?)
    }

    /// Whether this record removes a row.
    pub(crate) fn removes(&self, key: &[u8]) -> bool {
        matches!(self.out.look_up(key), Layered::Removed)
    }

    /// Reports that nothing refers to a blob after this record.
    pub(crate) fn free(&mut self, blob: BlobId) {
        self.out.free(blob);
    }

    /// Removes the row, if it was there.
    pub(crate) fn remove<R: Row>(&mut self, slot: Slot<R>) {
        if let Some(stored) = slot.stored {
            self.out.remove(slot.key, stored);
        }
    }
}

#[cfg(test)]
mod tests;
