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

/// Slices are shared only while there is no more than one for so many bytes, and one besides. Copies of parts of copies
/// would multiply them otherwise, and every reader, listing and deletion would have them to go through.
const LEAST_SLICE: u64 = 1 << 20;
/// Bytes that a slice takes in a record and in a row, at most.
const SLICE_RECORD: u64 = 64;

impl SharedContent {
    /// A range of a version's bytes; none where it is empty, any of it is inline, or it lies in too many small slices.
    /// What is not shared is to be written again.
    pub fn of(key: &ObjectKey, object: &ObjectRow, range: Range<u64>) -> Option<Self> {
        let Content::Slices(slices) = &object.content else { return None };
        let len = range.end.saturating_sub(range.start);
        let slices: Vec<_> = cut(&merged(slices), range).collect();
        let in_packs = |slice: &ContentSlice| matches!(slice.source, ContentSource::Blob { .. });
        let few = slices.len() as u64 <= 1 + len / LEAST_SLICE;
        let shares = !slices.is_empty() && few && slices.iter().all(in_packs);
        shares.then(|| Self { key: key.clone(), seq: object.seq, slices })
    }

    /// Bytes that storing the reference takes.
    pub fn record_bytes(&self) -> u64 {
        (self.slices.len() as u64).saturating_mul(SLICE_RECORD)
    }
}

/// The same bytes in as few slices as can be.
pub(super) fn merged(slices: &[ContentSlice]) -> Vec<ContentSlice> {
    let mut merged: Vec<ContentSlice> = Vec::with_capacity(slices.len());
    for slice in slices.iter().filter(|slice| slice.len > 0) {
        match merged.last_mut() {
            Some(last)
                if last.source == slice.source && last.offset.checked_add(last.len) == Some(slice.offset) =>
            {
                last.len = last.len.saturating_add(slice.len);
            }
            Some(_) | None => merged.push(slice.clone()),
        }
    }
    merged
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
    use siltstone_log::event::ContentHeaders;
    use siltstone_log::hlc::Hlc;

    /// Every byte that slices stand for, one by one.
    fn bytes_of(slices: &[ContentSlice]) -> Vec<(ContentSource, u64)> {
        let each = |slice: &ContentSlice| {
            let (source, offset) = (slice.source, slice.offset);
            (0..slice.len).map(move |at| (source, offset + at)).collect::<Vec<_>>()
        };
        slices.iter().flat_map(each).collect()
    }

    fn blob(number: usize) -> ContentSource {
        ContentSource::Blob { blob: BlobId((number as u128).to_be_bytes()) }
    }

    fn key() -> ObjectKey {
        ObjectKey::parse("k").unwrap()
    }

    fn object(slices: Vec<ContentSlice>) -> ObjectRow {
        ObjectRow {
            seq: Seq(1),
            hlc: Hlc(0),
            version: None,
            size: slices.iter().map(|slice| slice.len).sum(),
            etag: String::new(),
            checksums: Vec::new(),
            content: Content::Slices(slices),
            headers: ContentHeaders::default(),
            metadata: Vec::new(),
            parts: Vec::new(),
            tags: Vec::new(),
            upload: None,
            place: None,
        }
    }

    #[test]
    fn many_small_slices_are_not_shared() {
        let small: Vec<_> = (0..3).map(|at| ContentSlice { source: blob(at), offset: 0, len: 100 }).collect();
        assert_eq!(SharedContent::of(&key(), &object(small.clone()), 0..300), None);
        assert!(SharedContent::of(&key(), &object(small), 50..90).is_some());
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
            prop_assert_eq!(bytes_of(&merged(&found)), bytes_of(&found));
        }

        #[test]
        fn any_chain_of_copies_keeps_its_bytes_in_a_bounded_number_of_slices(
            copies in proptest::collection::vec(
                proptest::collection::vec((any::<u8>(), any::<u32>(), 5_u64 << 20..7 << 20), 1..4), 1..40),
        ) {
            // Each object as it is stored, and the same bytes as ranges of the first one.
            let original = ContentSlice { source: blob(0), offset: 0, len: 20 << 20 };
            let mut objects = vec![(vec![original.clone()], vec![original.clone()])];
            // What each blob holds of the first object.
            let mut blobs = vec![vec![original]];
            for parts in copies {
                let (mut stored, mut meant) = (Vec::new(), Vec::new());
                for (source, start, len) in parts {
                    let (slices, bytes) = &objects[usize::from(source) % objects.len()];
                    let size: u64 = slices.iter().map(|slice| slice.len).sum();
                    let len = len.min(size);
                    let start = u64::from(start) % (size - len + 1);
                    let range = start..start + len;
                    let part: Vec<_> = cut(bytes, range.clone()).collect();
                    let shared = SharedContent::of(&key(), &object(slices.clone()), range);
                    if let Some(shared) = shared {
                        stored.extend(shared.slices);
                    } else {
                        stored.push(ContentSlice { source: blob(blobs.len()), offset: 0, len });
                        blobs.push(part.clone());
                    }
                    meant.extend(part);
                }
                let stored = merged(&stored);
                let size: u64 = stored.iter().map(|slice| slice.len).sum();
                // A part has one slice more than its bytes ask for, and there is none below 5 MiB but the last.
                prop_assert!(stored.len() as u64 <= 1 + size / LEAST_SLICE + size / (5 << 20));
                let number = |slice: &ContentSlice| (0..blobs.len()).find(|at| blob(*at) == slice.source).unwrap();
                let resolved: Vec<_> = stored
                    .iter()
                    .flat_map(|slice| cut(&blobs[number(slice)], slice.offset..slice.offset + slice.len))
                    .collect();
                prop_assert_eq!(merged(&resolved), merged(&meant));
                objects.push((stored, meant));
            }
        }
    }
}
