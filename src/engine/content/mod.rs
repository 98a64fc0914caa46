//! Bytes on their way in and out.
//!
//! A door feeds a request's body into a [`ContentSink`]; what is small stays in memory with its salt in front and
//! becomes part of the record, what is larger goes to packs and is durable before the record is submitted.

mod keeper;
mod reader;
mod sink;

pub(super) use keeper::BlobKeeper;
pub use reader::{ContentReader, Sources};
pub use sink::{ContentSink, Staging};

use siltstone_log::event::{Content, ContentSlice, ContentSource};
use siltstone_log::id::{BlobId, Hash, Salt, Seq};
use siltstone_log::name::ObjectKey;
use siltstone_log::record::{DraftContent, Salted};
use siltstone_projections::rows::ObjectRow;
use std::ops::Range;

/// Where staged bytes may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// Into the record where they are small enough, into packs otherwise: objects.
    InlineIfSmall,
    /// Always into packs: parts of uploads, which Complete refers to long after their own record.
    Packs,
}

/// Bytes that wait for their record.
#[derive(Debug)]
pub enum StagedContent {
    /// No bytes.
    Empty,
    /// In memory, salt first.
    Inline(Salted),
    /// Durable in packs.
    Blob(StagedBlob),
    /// Bytes that a version of the same bucket holds already: nothing is written again.
    Shared(SharedContent),
}

/// Bytes in packs that belong to a version of the same bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedContent {
    /// The key of that version.
    pub key: ObjectKey,
    /// The record that made it. The decision looks whether it still holds its bytes.
    pub seq: Seq,
    /// Which of its bytes, never inline ones: those are written again, which costs less than a reference.
    pub slices: Vec<ContentSlice>,
}

impl SharedContent {
    /// A range of a version's bytes; none where it is empty or any of it is inline.
    pub fn of(key: &ObjectKey, object: &ObjectRow, range: Range<u64>) -> Option<Self> {
        let Content::Slices(slices) = &object.content else { return None };
        let slices: Vec<_> = cut(slices, range).collect();
        let in_packs = |slice: &ContentSlice| matches!(slice.source, ContentSource::Blob { .. });
        let shares = !slices.is_empty() && slices.iter().all(in_packs);
        shares.then(|| Self { key: key.clone(), seq: object.seq, slices })
    }
}

/// The slices, or parts of them, that a range covers.
fn cut(slices: &[ContentSlice], range: Range<u64>) -> impl Iterator<Item = ContentSlice> {
    let mut at = 0_u64;
    slices.iter().filter_map(move |slice| {
        let end = at.saturating_add(slice.len);
        let (first, last) = (range.start.max(at), range.end.min(end));
        let offset = slice.offset.saturating_add(first.saturating_sub(at));
        at = end;
        (first < last).then(|| ContentSlice { source: slice.source, offset, len: last - first })
    })
}

impl StagedContent {
    /// Bytes, without the salt.
    pub fn len(&self) -> u64 {
        match self {
            Self::Empty => 0,
            Self::Inline(salted) => (salted.bytes.len() as u64).saturating_sub(Salt::LEN as u64),
            Self::Blob(blob) => blob.len,
            Self::Shared(shared) => shared.slices.iter().fold(0, |sum, slice| sum.saturating_add(slice.len)),
        }
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Splits into what the event says, what the record carries, and what keeps the bytes until it is committed.
    pub fn into_parts(self) -> (Content, DraftContent, BlobGuard) {
        match self {
            Self::Empty => (Content::Empty, DraftContent::None, BlobGuard::none()),
            Self::Inline(salted) => (Content::Inline, DraftContent::Inline(salted), BlobGuard::none()),
            Self::Blob(StagedBlob { id, len, hash, guard }) => {
                let slice = ContentSlice { source: ContentSource::Blob { blob: id }, offset: 0, len };
                (Content::Slices(vec![slice]), DraftContent::Blob(hash), guard)
            }
            Self::Shared(SharedContent { slices, .. }) => {
                (Content::Slices(slices), DraftContent::None, BlobGuard::none())
            }
        }
    }
}

/// A blob that no record names yet.
#[derive(Debug)]
pub struct StagedBlob {
    /// Its name.
    pub id: BlobId,
    /// Its bytes.
    pub len: u64,
    /// `blake3(salt ‖ bytes)`.
    pub hash: Hash,
    /// Gives its space back unless a record comes to name it.
    pub guard: BlobGuard,
}

/// What becomes of a staged blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// A record names it, or may do so.
    Kept,
    /// No record names it, and none ever will.
    Dropped,
}

/// Tells a staged blob's owner what became of it; dropped without a word, the blob's space is given back.
pub struct BlobGuard(Option<Box<dyn FnOnce(Fate) + Send + Sync>>);

impl BlobGuard {
    /// Calls `owner` once, with the blob's fate.
    pub fn new(owner: impl FnOnce(Fate) + Send + Sync + 'static) -> Self {
        Self(Some(Box::new(owner)))
    }

    /// Guards nothing.
    pub fn none() -> Self {
        Self(None)
    }

    /// A durable record names the blob, or may do so: it stays.
    pub fn commit(mut self) {
        self.tell(Fate::Kept);
    }

    fn tell(&mut self, fate: Fate) {
        if let Some(owner) = self.0.take() {
            owner(fate);
        }
    }
}

impl Drop for BlobGuard {
    fn drop(&mut self) {
        self.tell(Fate::Dropped);
    }
}

impl std::fmt::Debug for BlobGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BlobGuard(armed: {})", self.0.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Every byte that slices stand for, one by one.
    fn bytes_of(slices: &[ContentSlice]) -> Vec<(ContentSource, u64)> {
        let each = |slice: &ContentSlice| {
            let (source, offset) = (slice.source, slice.offset);
            (0..slice.len).map(move |at| (source, offset + at)).collect::<Vec<_>>()
        };
        slices.iter().flat_map(each).collect()
    }

    proptest! {
        #[test]
        fn a_range_of_slices_stands_for_the_bytes_of_the_range(
            lens in proptest::collection::vec((0_u64..20, 0_u64..9, 0_u8..3), 0..8),
            start in 0_u64..120,
            end in 0_u64..120,
        ) {
            let slice = |(offset, len, blob): &(u64, u64, u8)| {
                let source = ContentSource::Blob { blob: BlobId([*blob; 16]) };
                ContentSlice { source, offset: *offset, len: *len }
            };
            let slices: Vec<_> = lens.iter().map(slice).collect();
            let found: Vec<_> = cut(&slices, start..end).collect();
            prop_assert!(found.iter().all(|slice| slice.len > 0));
            let all = bytes_of(&slices).into_iter();
            let skipped = usize::try_from(start).unwrap();
            let wanted = usize::try_from(end.saturating_sub(start)).unwrap();
            prop_assert_eq!(bytes_of(&found), all.skip(skipped).take(wanted).collect::<Vec<_>>());
        }
    }
}
