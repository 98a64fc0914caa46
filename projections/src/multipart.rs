//! Multipart uploads under way and their parts. An upload that ended has no rows: a completed one is an object.

use crate::buckets::{Holder, StateFold};
use crate::fold::{FoldError, Slot};
use crate::key::StateKey;
use crate::list::{self, Listing};
use crate::objects;
use crate::rows::{ObjectRow, PartRow, Row, RowError, UploadKeyRow, UploadRow};
use crate::store::{Rows, Space, StoreError, load_state, prefix_end, prefix_range};
use siltstone_log::event::{MultipartAborted, MultipartCompleted, MultipartCreated, PartUploaded};
use siltstone_log::id::{AccountId, StreamId, UploadId};
use siltstone_log::name::ObjectKey;
use std::borrow::Cow;
use std::ops::Bound;

/// An upload under way, with the key it will store.
pub fn upload(
    rows: &dyn Rows,
    stream: StreamId,
    upload: UploadId,
) -> Result<Option<(ObjectKey, UploadRow)>, StoreError> {
    let found = load_state::<UploadKeyRow>(rows, &StateKey::UploadById(stream, upload))?;
    let Some(UploadKeyRow { key, seq }) = found else { return Ok(None) };
    let row = load_state(rows, &StateKey::Upload(stream, Cow::Borrowed(key.as_str()), seq, upload))?;
    Ok(row.map(|row| (key, row)))
}

/// A part of an upload under way.
pub fn part(
    rows: &dyn Rows,
    stream: StreamId,
    upload: UploadId,
    number: u16,
) -> Result<Option<PartRow>, StoreError> {
    load_state(rows, &StateKey::Part(stream, upload, number))
}

/// Every part of an upload under way, in the order of the numbers.
pub fn all_parts(
    rows: &dyn Rows,
    stream: StreamId,
    upload: UploadId,
) -> impl Iterator<Item = Result<(u16, PartRow), StoreError>> {
    let (from, to) = prefix_range(StateKey::parts_of(stream, upload));
    parts_between(rows, from, to)
}

fn parts_between(
    rows: &dyn Rows,
    from: Bound<Vec<u8>>,
    to: Bound<Vec<u8>>,
) -> impl Iterator<Item = Result<(u16, PartRow), StoreError>> {
    rows.range(Space::State, from, to).map(|row| {
        let (key, stored) = row?;
        match StateKey::decode(&key)? {
            StateKey::Part(_, _, number) => Ok((number, PartRow::from_stored(&stored)?)),
            _ => Err(RowError::key(&key).into()),
        }
    })
}

/// A page of parts in the order of their numbers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PartPage {
    /// Numbers and parts.
    pub parts: Vec<(u16, PartRow)>,
    /// The last number returned, where more follow: the next page's `after`.
    pub next: Option<u16>,
}

/// Lists the parts of an upload with numbers greater than `after`.
pub fn parts(
    rows: &dyn Rows,
    stream: StreamId,
    upload: UploadId,
    after: u16,
    limit: usize,
) -> Result<PartPage, StoreError> {
    let mut page = PartPage::default();
    if limit == 0 {
        return Ok(page);
    }
    let from = Bound::Excluded(StateKey::Part(stream, upload, after).encode());
    for part in parts_between(rows, from, prefix_end(&StateKey::parts_of(stream, upload))) {
        let part = part?;
        if page.parts.len() == limit {
            page.next = page.parts.last().map(|(number, _)| *number);
            break;
        }
        page.parts.push(part);
    }
    Ok(page)
}

/// Where a page of uploads begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UploadMarker {
    /// After every upload of this key.
    Key(String),
    /// After this upload of this key.
    Upload(String, UploadId),
    /// After every key that begins so.
    Prefix(String),
}

/// Which uploads to list.
#[derive(Debug, Clone, Default)]
pub struct UploadQuery {
    /// Only keys that begin so.
    pub prefix: String,
    /// Keys that have this after the prefix are rolled up into common prefixes. Empty is the same as none.
    pub delimiter: Option<String>,
    /// Where to begin.
    pub after: Option<UploadMarker>,
    /// The most entries to return, uploads and common prefixes together.
    pub limit: usize,
}

/// An entry of a list of uploads.
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every entry of a page is an upload: a box each saves nothing"
)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UploadEntry {
    /// An upload.
    Upload {
        /// The key it will store.
        key: String,
        /// Its id.
        upload: UploadId,
        /// The upload.
        row: UploadRow,
    },
    /// The keys that begin so, rolled up.
    Prefix(String),
}

impl UploadEntry {
    /// Where a page that ends with this entry is continued.
    pub fn marker(&self) -> UploadMarker {
        match self {
            Self::Upload { key, upload, .. } => UploadMarker::Upload(key.clone(), *upload),
            Self::Prefix(prefix) => UploadMarker::Prefix(prefix.clone()),
        }
    }
}

/// A page of uploads.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UploadPage {
    /// Uploads and common prefixes, in byte order of key, each key's oldest upload first.
    pub entries: Vec<UploadEntry>,
    /// Where the next page begins; none where this is the last.
    pub next: Option<UploadMarker>,
}

/// Lists the uploads under way of a bucket.
pub fn list(rows: &dyn Rows, stream: StreamId, query: &UploadQuery) -> Result<UploadPage, StoreError> {
    let uploads = Uploads { stream };
    let from = match &query.after {
        Some(UploadMarker::Key(key)) => Some(list::bound_after(&StateKey::uploads_of(stream, key))),
        Some(UploadMarker::Upload(key, upload)) => Some(after_upload(rows, stream, key, *upload)?),
        Some(UploadMarker::Prefix(prefix)) => Some(list::bound_after(&uploads.under(prefix))),
        None => None,
    };
    let found = list::walk(rows, &uploads, &query.prefix, query.delimiter.as_deref(), from, query.limit)?;
    let next = found.more.then(|| found.entries.last().map(UploadEntry::marker)).flatten();
    Ok(UploadPage { entries: found.entries, next })
}

/// The bound after an upload. One that ended since its page was made has nothing to stand for its place, and its key's
/// uploads are told again rather than passed over.
fn after_upload(
    rows: &dyn Rows,
    stream: StreamId,
    key: &str,
    upload: UploadId,
) -> Result<Bound<Vec<u8>>, StoreError> {
    let found = load_state::<UploadKeyRow>(rows, &StateKey::UploadById(stream, upload))?;
    Ok(match found.filter(|found| found.key.as_str() == key) {
        Some(UploadKeyRow { seq, .. }) => {
            Bound::Excluded(StateKey::Upload(stream, Cow::Borrowed(key), seq, upload).encode())
        }
        None => Bound::Included(StateKey::uploads_of(stream, key)),
    })
}

struct Uploads {
    stream: StreamId,
}

impl Listing for Uploads {
    type Entry = UploadEntry;

    fn under(&self, prefix: &str) -> Vec<u8> {
        StateKey::uploads_under(self.stream, prefix)
    }

    fn name<'k>(&self, key: &'k StateKey<'_>) -> Option<&'k str> {
        match key {
            StateKey::Upload(_, name, ..) => Some(name),
            _ => None,
        }
    }

    fn entry(&self, key: &StateKey<'_>, stored: &[u8]) -> Result<UploadEntry, RowError> {
        match key {
            StateKey::Upload(_, name, _, upload) => Ok(UploadEntry::Upload {
                key: name.clone().into_owned(),
                upload: *upload,
                row: UploadRow::from_stored(stored)?,
            }),
            other => Err(RowError::key(&other.encode())),
        }
    }

    fn common(&self, prefix: &str) -> UploadEntry {
        UploadEntry::Prefix(prefix.to_owned())
    }
}

fn end(fold: &mut StateFold<'_>, upload: UploadId) -> Result<(), FoldError> {
    let stream = fold.origin().stream;
    let by_id = fold.read::<UploadKeyRow>(&StateKey::UploadById(stream, upload))?;
    let Some(UploadKeyRow { key, seq }) = by_id.row.clone() else { return Ok(()) };
    fold.replace(by_id, None)?;
    let slot = fold.read::<UploadRow>(&StateKey::Upload(stream, Cow::Borrowed(key.as_str()), seq, upload))?;
    fold.replace(slot, None)?;
    remove_parts(fold, StateKey::parts_of(stream, upload))
}

/// Removes every part below a prefix, and its hold on its bytes.
pub(crate) fn remove_parts(fold: &mut StateFold<'_>, prefix: Vec<u8>) -> Result<(), FoldError> {
    let (from, to) = prefix_range(prefix);
    for row in fold.rows().range(Space::State, from, to) {
        let (key, stored) = row?;
        let slot = Slot::<PartRow>::found(&key, stored)?;
        if let Some(part) = slot.row.clone() {
            fold.release(&part.content, part.at.seq, Holder::Live)?;
        }
        fold.replace(slot, None)?;
    }
    Ok(())
}

pub(crate) fn created(
    fold: &mut StateFold<'_>,
    event: &MultipartCreated,
    initiator: Option<AccountId>,
) -> Result<(), FoldError> {
    // No two records have the same upload; were it so, the first would leave no trace.
    end(fold, event.upload)?;
    let (stream, at) = (fold.origin().stream, fold.origin().at());
    let row = UploadRow {
        at,
        initiator,
        headers: event.headers.clone(),
        metadata: event.metadata.clone(),
        checksum: event.checksum,
        tags: event.tags.clone(),
    };
    let key = StateKey::Upload(stream, Cow::Borrowed(event.key.as_str()), at.seq, event.upload);
    fold.replace(Slot::fresh(&key), Some(&row))?;
    let slot = fold.read(&StateKey::UploadById(stream, event.upload))?;
    fold.replace(slot, Some(&UploadKeyRow { key: event.key.clone(), seq: at.seq }))
}

pub(crate) fn part_uploaded(fold: &mut StateFold<'_>, event: &PartUploaded) -> Result<(), FoldError> {
    let stream = fold.origin().stream;
    let upload = fold.read::<UploadKeyRow>(&StateKey::UploadById(stream, event.upload))?;
    if upload.row.is_none() {
        return Ok(());
    }
    let row = PartRow {
        at: fold.origin().at(),
        size: event.size,
        etag: event.etag.clone(),
        content: event.content.clone(),
        checksums: event.checksums.clone(),
    };
    let slot = fold.read::<PartRow>(&StateKey::Part(stream, event.upload, event.number))?;
    if let Some(replaced) = slot.row.clone() {
        fold.release(&replaced.content, replaced.at.seq, Holder::Live)?;
    }
    fold.refer(&row.content, row.at.seq)?;
    fold.replace(slot, Some(&row))
}

pub(crate) fn completed(fold: &mut StateFold<'_>, event: &MultipartCompleted) -> Result<(), FoldError> {
    end(fold, event.upload)?;
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
        parts: event.parts.clone(),
        tags: event.tags.clone(),
        upload: Some(event.upload),
        place: origin.place,
    };
    objects::store(fold, &event.key, object)
}

pub(crate) fn aborted(fold: &mut StateFold<'_>, event: &MultipartAborted) -> Result<(), FoldError> {
    end(fold, event.upload)
}
