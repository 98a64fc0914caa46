//! One record on disk: a header of 160 bytes with a checksum of its own, then the body, then inline content.
//!
//! The header's own checksum is why a rotten body costs one record and not the walk over the rest of its batch, nor
//! the chain: the chain covers the hashes that stand in the header.

use crate::chain::Leaf;
use crate::codec::{Fields, align_up, crc32c, patch};
use crate::event::EventKind;
use crate::hlc::Hlc;
use crate::id::{Epoch, Hash, Position, Seq, StreamId};
use crate::record::{DraftContent, RecordDraft};

/// Bytes of a record's header.
pub const RECORD_HEADER_BYTES: usize = 160;
/// The most bytes of a record, header included.
pub const MAX_RECORD_BYTES: u64 = 16 * 1024 * 1024;
/// Records begin at multiples of this.
pub const RECORD_ALIGN: u64 = 8;

const SALT: u64 = crate::id::Salt::LEN as u64;
const CONTENT_MASK: u32 = 0b11;
const IGNORABLE: u32 = 1 << 2;
const BODY_ERASED: u32 = 1 << 3;
const CONTENT_GONE: u32 = 1 << 4;

/// Where a record's content is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentForm {
    /// It has none.
    None,
    /// Behind the body.
    Inline,
    /// In packs.
    Blob,
}

/// A record's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordHeader {
    /// Checksum of the body.
    pub body_crc: u32,
    /// Checksum of inline content.
    pub content_crc: u32,
    /// The record's position.
    pub position: Position,
    /// What the chain covers.
    pub leaf: Leaf,
    /// Bytes of the salted body on disk; 0 where it was erased.
    pub body_len: u32,
    /// Bytes of salted inline content on disk; 0 where there is none (any more).
    pub content_len: u32,
    /// Whether an unknown type may be passed over.
    pub ignorable: bool,
    /// Where the content is, or was.
    pub content: ContentForm,
    /// The body was destroyed.
    pub body_erased: bool,
    /// The content was destroyed, or has expired.
    pub content_gone: bool,
}

/// Bytes that a draft will take on disk; `None` where it lacks a salt or is too long for a record.
pub fn draft_bytes(draft: &RecordDraft) -> Option<u64> {
    let salted = |len: usize| u64::try_from(len).ok().filter(|len| *len >= SALT);
    let content = match &draft.content {
        DraftContent::Inline(content) => salted(content.bytes.len())?,
        DraftContent::None | DraftContent::Blob(_) => 0,
    };
    let parts =
        salted(draft.body.bytes.len())?.checked_add(content)?.checked_add(RECORD_HEADER_BYTES as u64)?;
    Some(align_up(parts, RECORD_ALIGN)).filter(|bytes| *bytes <= MAX_RECORD_BYTES)
}

/// A record's header could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the record header is damaged")]
pub struct FrameError;

impl RecordHeader {
    /// The header of a draft at a position. `None` where the draft is beyond a record's limits.
    pub fn of_draft(draft: &RecordDraft, position: Position) -> Option<Self> {
        let (content, content_hash, inline) = match &draft.content {
            DraftContent::None => (ContentForm::None, Hash::default(), None),
            DraftContent::Inline(salted) => (ContentForm::Inline, salted.hash, Some(&salted.bytes)),
            DraftContent::Blob(hash) => (ContentForm::Blob, *hash, None),
        };
        let header = Self {
            body_crc: crc32c(&draft.body.bytes),
            content_crc: inline.map_or(0, |bytes| crc32c(bytes)),
            position,
            leaf: Leaf {
                stream: draft.stream,
                seq: draft.seq,
                hlc: draft.hlc,
                epoch: draft.epoch,
                kind: draft.kind,
                body_hash: draft.body.hash,
                content_hash,
            },
            body_len: u32::try_from(draft.body.bytes.len()).ok()?,
            content_len: inline.map_or(Some(0), |bytes| u32::try_from(bytes.len()).ok())?,
            ignorable: draft.ignorable,
            content,
            body_erased: false,
            content_gone: false,
        };
        header.is_consistent().then_some(header)
    }

    /// Bytes from this record's header to the next one's.
    pub fn record_bytes(&self) -> u64 {
        let parts = RECORD_HEADER_BYTES as u64 + u64::from(self.body_len) + u64::from(self.content_len);
        align_up(parts, RECORD_ALIGN)
    }

    /// What every header that we write fulfils, and what one that is read must.
    fn is_consistent(&self) -> bool {
        let salted = |len: u32| u64::from(len) >= SALT;
        let body = if self.body_erased { self.body_len == 0 } else { salted(self.body_len) };
        let content = match self.content {
            ContentForm::Inline if !self.content_gone => salted(self.content_len),
            ContentForm::Inline | ContentForm::Blob => self.content_len == 0,
            ContentForm::None => {
                self.content_len == 0 && !self.content_gone && self.leaf.content_hash == Hash::default()
            }
        };
        body && content && self.record_bytes() <= MAX_RECORD_BYTES
    }

    fn flags(&self) -> u32 {
        let content = match self.content {
            ContentForm::None => 0,
            ContentForm::Inline => 1,
            ContentForm::Blob => 2,
        };
        let bit = |set: bool, bit: u32| if set { bit } else { 0 };
        content
            | bit(self.ignorable, IGNORABLE)
            | bit(self.body_erased, BODY_ERASED)
            | bit(self.content_gone, CONTENT_GONE)
    }

    /// The header's bytes.
    pub fn encode(&self) -> [u8; RECORD_HEADER_BYTES] {
        let mut out = [0; RECORD_HEADER_BYTES];
        let leaf = &self.leaf;
        let len = u32::try_from(self.record_bytes()).unwrap_or(u32::MAX);
        let parts: [&[u8]; 16] = [
            &len.to_le_bytes(),
            &[0; 4],
            &self.body_crc.to_le_bytes(),
            &self.content_crc.to_le_bytes(),
            &leaf.kind.event_type.to_le_bytes(),
            &leaf.kind.schema.to_le_bytes(),
            &self.flags().to_le_bytes(),
            &self.position.0.to_le_bytes(),
            &leaf.stream.0,
            &leaf.seq.0.to_le_bytes(),
            &leaf.hlc.0.to_le_bytes(),
            &leaf.epoch.0.to_le_bytes(),
            &self.body_len.to_le_bytes(),
            &u64::from(self.content_len).to_le_bytes(),
            &leaf.body_hash.0,
            &leaf.content_hash.0,
        ];
        let mut at = 0;
        for part in parts {
            patch(&mut out, at, part);
            at += part.len();
        }
        let crc = header_crc(&out);
        patch(&mut out, 4, &crc.to_le_bytes());
        out
    }

    /// Reads a header back.
    pub fn decode(bytes: &[u8]) -> Result<Self, FrameError> {
        bytes.first_chunk().and_then(Self::parse).ok_or(FrameError)
    }

    fn parse(bytes: &[u8; RECORD_HEADER_BYTES]) -> Option<Self> {
        let mut fields = Fields(bytes);
        let (len, crc) = (fields.u32()?, fields.u32()?);
        if crc != header_crc(bytes) {
            return None;
        }
        let (body_crc, content_crc) = (fields.u32()?, fields.u32()?);
        let kind = EventKind { event_type: fields.u16()?, schema: fields.u16()? };
        let flags = fields.u32()?;
        let position = Position(fields.u64()?);
        let (stream, seq) = (StreamId(fields.array()?), Seq(fields.u64()?));
        let (hlc, epoch) = (Hlc(fields.u64()?), Epoch(fields.u32()?));
        let (body_len, content_len) = (fields.u32()?, u32::try_from(fields.u64()?).ok()?);
        let (body_hash, content_hash) = (Hash(fields.array()?), Hash(fields.array()?));
        let content = match flags & CONTENT_MASK {
            0 => ContentForm::None,
            1 => ContentForm::Inline,
            2 => ContentForm::Blob,
            _ => return None,
        };
        let header = Self {
            body_crc,
            content_crc,
            position,
            leaf: Leaf { stream, seq, hlc, epoch, kind, body_hash, content_hash },
            body_len,
            content_len,
            ignorable: flags & IGNORABLE != 0,
            content,
            body_erased: flags & BODY_ERASED != 0,
            content_gone: flags & CONTENT_GONE != 0,
        };
        let known = CONTENT_MASK | IGNORABLE | BODY_ERASED | CONTENT_GONE;
        let whole = flags & !known == 0 && fields.rest_is_zero() && header.is_consistent();
        (whole && u64::from(len) == header.record_bytes()).then_some(header)
    }
}

/// Checksum of a header's bytes 8..160. The length in front of it follows from fields inside it, and is compared.
fn header_crc(header: &[u8; RECORD_HEADER_BYTES]) -> u32 {
    crc32c(header.get(8..).unwrap_or_default())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::id::Salt;
    use crate::record::Salted;
    use proptest::prelude::*;

    /// Any draft of a small record.
    pub(crate) fn draft() -> impl Strategy<Value = RecordDraft> {
        let bytes = |max| prop::collection::vec(any::<u8>(), 0..max);
        let content = prop_oneof![
            Just(DraftContent::None),
            bytes(9000).prop_map(|bytes| DraftContent::Inline(Salted::new(Salt([2; 16]), &bytes))),
            any::<[u8; 32]>().prop_map(|hash| DraftContent::Blob(Hash(hash))),
        ];
        let numbers = (0u8..4, 1u64..100, any::<u64>(), any::<u32>(), any::<u16>(), any::<bool>());
        (numbers, bytes(300), content).prop_map(
            |((stream, seq, hlc, epoch, event_type, ignorable), body, content)| RecordDraft {
                stream: StreamId([stream; 16]),
                seq: Seq(seq),
                hlc: Hlc(hlc),
                epoch: Epoch(epoch),
                kind: EventKind { event_type, schema: 1 },
                ignorable,
                body: Salted::new(Salt([1; 16]), &body),
                content,
            },
        )
    }

    proptest! {
        #[test]
        fn a_header_is_read_back_and_every_flip_is_noticed(
            draft in draft(), position: u64, erased: bool, gone: bool, at in 0usize..160, bit in 0u8..8
        ) {
            let mut header = RecordHeader::of_draft(&draft, Position(position)).unwrap();
            if erased {
                header.body_erased = true;
                header.body_len = 0;
            }
            if gone && header.content != ContentForm::None {
                header.content_gone = true;
                header.content_len = 0;
            }
            let bytes = header.encode();
            prop_assert_eq!(RecordHeader::decode(&bytes), Ok(header));
            prop_assert_eq!(header.record_bytes() % 8, 0);
            if !header.body_erased && !header.content_gone {
                prop_assert_eq!(draft_bytes(&draft), Some(header.record_bytes()));
            }
            let mut flipped = bytes;
            flipped[at] ^= 1 << bit;
            prop_assert_eq!(RecordHeader::decode(&flipped), Err(FrameError));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(RecordHeader::decode(&bytes), Err(FrameError));
        }
    }

    #[test]
    fn a_header_with_impossible_fields_is_refused_in_spite_of_its_checksum() {
        let draft = RecordDraft {
            stream: StreamId::SYSTEM,
            seq: Seq(1),
            hlc: Hlc(1),
            epoch: Epoch(0),
            kind: EventKind { event_type: 1, schema: 1 },
            ignorable: false,
            body: Salted::new(Salt([1; 16]), b"body"),
            content: DraftContent::None,
        };
        let good = RecordHeader::of_draft(&draft, Position(1)).unwrap();
        let impossible = [
            RecordHeader { body_len: 15, ..good },
            RecordHeader { body_erased: true, ..good },
            RecordHeader { content_len: 16, ..good },
            RecordHeader { content_gone: true, ..good },
            RecordHeader { body_len: u32::MAX, ..good },
            RecordHeader { content: ContentForm::Blob, content_len: 1, ..good },
            RecordHeader { content: ContentForm::Inline, content_len: 15, ..good },
        ];
        for header in impossible {
            assert_eq!(RecordHeader::decode(&header.encode()), Err(FrameError), "{header:?}");
        }
    }

    #[test]
    fn a_draft_without_its_salt_or_beyond_the_limit_has_no_header() {
        let draft = |body: Vec<u8>| RecordDraft {
            stream: StreamId::SYSTEM,
            seq: Seq(1),
            hlc: Hlc(1),
            epoch: Epoch(0),
            kind: EventKind { event_type: 1, schema: 1 },
            ignorable: false,
            body: Salted::from_salted(body.into()),
            content: DraftContent::None,
        };
        let most = usize::try_from(MAX_RECORD_BYTES).unwrap() - RECORD_HEADER_BYTES;
        for (len, possible) in [(15, false), (16, true), (most, true), (most + 1, false)] {
            let draft = draft(vec![0; len]);
            assert_eq!(RecordHeader::of_draft(&draft, Position(1)).is_some(), possible, "{len}");
            assert_eq!(draft_bytes(&draft).is_some(), possible, "{len}");
        }
    }
}
