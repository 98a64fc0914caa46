//! Bytes as the reference knows them: ranges of the bodies that operations brought.

use super::history::OpId;
use super::model::{Contradiction, contradiction};
use siltstone_log::event::{Content, ContentSource};
use siltstone_log::id::BlobId;
use std::collections::BTreeMap;
use std::ops::Range;

/// A range of the body of the operation that brought it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The operation.
    pub op: OpId,
    /// First byte of its body.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
    /// The blob they lie in; none for inline content.
    pub blob: Option<BlobId>,
}

/// A blob that something has bytes in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The operation that brought it.
    pub op: OpId,
    /// Its bytes.
    pub len: u64,
    /// How often versions and parts that S3 shows have bytes in it.
    pub live: u64,
    /// How often versions that were deleted or replaced have.
    pub past: u64,
}

/// Every blob that anything has bytes in.
#[derive(Debug, Clone, Default)]
pub struct Blobs(pub BTreeMap<BlobId, Held>);

/// Which count of a [`Held`] is meant.
pub type Count = fn(&mut Held) -> &mut u64;

/// Versions and parts that S3 shows.
pub fn live(held: &mut Held) -> &mut u64 {
    &mut held.live
}

/// Versions that were deleted or replaced.
pub fn past(held: &mut Held) -> &mut u64 {
    &mut held.past
}

fn distinct(pieces: &[Piece]) -> BTreeMap<BlobId, &Piece> {
    pieces.iter().filter_map(|piece| Some((piece.blob?, piece))).collect()
}

impl Blobs {
    /// Something has bytes in these blobs now. One that nothing held before is whole: it was just brought.
    pub fn hold(&mut self, pieces: &[Piece], count: Count) {
        for (blob, piece) in distinct(pieces) {
            let fresh = Held { op: piece.op, len: piece.offset + piece.len, live: 0, past: 0 };
            *count(self.0.entry(blob).or_insert(fresh)) += 1;
        }
    }

    /// It has no more.
    pub fn let_go(&mut self, pieces: &[Piece], count: Count) {
        for blob in distinct(pieces).into_keys() {
            let Some(held) = self.0.get_mut(&blob) else { continue };
            let held_by = count(held);
            *held_by = held_by.saturating_sub(1);
            if held.live == 0 && held.past == 0 {
                self.0.remove(&blob);
            }
        }
    }
}

/// A range of bytes that lie in pieces.
pub fn cut(pieces: &[Piece], range: &Range<u64>) -> Vec<Piece> {
    let mut at = 0;
    let mut out = Vec::new();
    for piece in pieces {
        let (first, last) = (range.start.max(at), range.end.min(at + piece.len));
        if first < last {
            out.push(Piece { offset: piece.offset + first - at, len: last - first, ..piece.clone() });
        }
        at += piece.len;
    }
    out
}

/// How many bytes pieces have.
pub fn total(pieces: &[Piece]) -> u64 {
    pieces.iter().map(|piece| piece.len).sum()
}

/// The content that an operation stored as its own body.
pub fn brought(op: OpId, size: u64, content: &Content) -> Result<Vec<Piece>, Contradiction> {
    let piece = |blob| vec![Piece { op, offset: 0, len: size, blob }];
    match (content, places(content).as_slice()) {
        (Content::Empty, _) if size == 0 => Ok(Vec::new()),
        (Content::Inline, _) => Ok(piece(None)),
        (Content::Slices(_), [(blob, 0, len)]) if *len == size => Ok(piece(Some(*blob))),
        _ => contradiction(format!("{op:?} has {size} bytes but lies in {content:?}")),
    }
}

/// Whether a record names just these bytes, however they are cut.
pub fn is_made_of(content: &Content, pieces: &[Piece]) -> bool {
    let places_of_pieces = pieces.iter().filter_map(|piece| Some((piece.blob?, piece.offset, piece.len)));
    joined(places(content)) == joined(places_of_pieces.collect())
}

type Place = (BlobId, u64, u64);

fn places(content: &Content) -> Vec<Place> {
    let Content::Slices(slices) = content else { return Vec::new() };
    let blob = |source: &ContentSource| match source {
        ContentSource::Blob { blob } => Some(*blob),
        ContentSource::Inline { .. } => None,
    };
    slices.iter().filter_map(|slice| Some((blob(&slice.source)?, slice.offset, slice.len))).collect()
}

fn joined(places: Vec<Place>) -> Vec<Place> {
    let mut out: Vec<Place> = Vec::new();
    for (blob, offset, len) in places.into_iter().filter(|(_, _, len)| *len > 0) {
        match out.last_mut() {
            Some((last, at, bytes)) if *last == blob && *at + *bytes == offset => *bytes += len,
            _ => out.push((blob, offset, len)),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(op: u64, offset: u64, len: u64) -> Piece {
        Piece { op: OpId(op), offset, len, blob: Some(BlobId([u8::try_from(op).unwrap(); 16])) }
    }

    #[test]
    fn a_range_takes_of_each_piece_what_lies_in_it() {
        let pieces = [piece(1, 5, 10), piece(2, 0, 4)];
        assert_eq!(cut(&pieces, &(8..12)), [piece(1, 13, 2), piece(2, 0, 2)]);
        assert_eq!(cut(&pieces, &(0..14)), pieces);
        assert_eq!(cut(&pieces, &(3..3)), []);
    }

    #[test]
    fn a_blob_is_held_until_the_last_that_has_bytes_in_it_lets_go() {
        let mut blobs = Blobs::default();
        let both = [piece(1, 0, 10), piece(1, 10, 5)];
        blobs.hold(&both, live);
        blobs.hold(&both[..1], past);
        blobs.let_go(&both, live);
        assert_eq!(blobs.0.len(), 1);
        blobs.let_go(&both[..1], past);
        assert!(blobs.0.is_empty());
    }
}
