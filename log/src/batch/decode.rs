//! Reading a batch back, whatever has become of its bytes.

use super::encode::record_of;
use super::{BatchFrame, FRAME_BYTES, TableEntry, decode_table, table_bytes};
use crate::codec::{crc32c, is_zero};
use crate::frame::{RECORD_ALIGN, RECORD_HEADER_BYTES, RecordHeader};
use crate::id::{Hash, Head, Position, StreamId};
use crate::record::{Place, Record};
use crate::segment::SegmentName;
use bytes::Bytes;
use std::collections::BTreeMap;

/// How closely to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verify {
    /// Checksums of everything, contents included: finds every damage that is not made on purpose.
    Checksums,
    /// The batch's digest as well.
    Digest,
    /// The hashes that the chain covers as well.
    Hashes,
}

/// What is wrong with a record whose header is sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Damage {
    pub body: bool,
    pub content: bool,
}

impl Damage {
    pub(crate) fn any(self) -> bool {
        self.body || self.content
    }
}

/// A record of a batch.
#[derive(Debug)]
pub(crate) struct RecordSlot {
    pub header: RecordHeader,
    /// With its head, as far as the table says what came before.
    pub record: Record,
    pub damage: Damage,
    /// Salted inline content; empty where there is none.
    pub content: Bytes,
}

/// A batch whose frame is sound.
#[derive(Debug)]
pub(crate) struct BatchContents {
    pub frame: BatchFrame,
    /// `None` where it is damaged.
    pub table: Option<Vec<TableEntry>>,
    /// The records up to the first whose header is damaged: behind that, nothing says where the next one begins.
    pub slots: Vec<RecordSlot>,
    /// The first position that could not be reached.
    pub unreached: Option<Position>,
    /// Whether bytes that no record covers are not zero: harmless, but not as written.
    pub stray: bool,
    /// Records chained as the table says, and in order.
    pub chained: bool,
    /// Hash of frame, table and records; none unless asked for.
    pub hash: Option<Hash>,
}

impl BatchContents {
    /// Whether every record is there, sound and chained.
    pub(crate) fn is_sound(&self) -> bool {
        self.table.is_some()
            && self.unreached.is_none()
            && self.chained
            && !self.slots.iter().any(|slot| slot.damage.any())
    }
}

/// Decodes a batch from its bytes, `frame.bytes` of them. `None` where the frame is damaged or bytes are missing.
pub(crate) fn decode_batch(
    bytes: &Bytes,
    segment: SegmentName,
    offset: u64,
    verify: Verify,
) -> Option<BatchContents> {
    let frame = BatchFrame::decode(bytes).ok()?;
    let whole = bytes.get(..usize::try_from(frame.bytes).ok()?)?;
    let table_end = FRAME_BYTES + table_bytes(usize::from(frame.streams));
    let table = decode_table(whole.get(FRAME_BYTES..table_end)?, usize::from(frame.streams));
    let mut walk = Walk {
        bytes,
        end: whole.len(),
        segment,
        offset,
        verify,
        heads: table.iter().flatten().map(|entry| (entry.stream, before(entry))).collect(),
        chained: true,
        stray: false,
    };
    let mut at = table_end;
    let mut position = frame.first;
    let mut slots = Vec::with_capacity(usize::from(frame.count));
    let mut unreached = None;
    for _ in 0..frame.count {
        let Some((slot, next)) = walk.record(at, position) else {
            unreached = Some(position);
            break;
        };
        slots.push(slot);
        at = next;
        position = position.next();
    }
    if unreached.is_none() && at != whole.len() {
        // The frame's checksum held, so its length is right and a record's is not: nothing in here can be trusted.
        unreached = Some(frame.first);
        slots.clear();
    }
    let hash = (verify != Verify::Checksums).then(|| Hash(*blake3::hash(whole).as_bytes()));
    let (chained, stray) = (walk.chained, walk.stray);
    Some(BatchContents { frame, table, slots, unreached, stray, chained, hash })
}

fn before(entry: &TableEntry) -> Head {
    Head { seq: crate::id::Seq(entry.first.0.saturating_sub(1)), hash: entry.prev_head }
}

struct Walk<'a> {
    bytes: &'a Bytes,
    end: usize,
    segment: SegmentName,
    offset: u64,
    verify: Verify,
    heads: BTreeMap<StreamId, Head>,
    chained: bool,
    stray: bool,
}

impl Walk<'_> {
    /// The record at an offset, and where the next one begins.
    fn record(&mut self, at: usize, position: Position) -> Option<(RecordSlot, usize)> {
        let header = RecordHeader::decode(self.bytes.get(at..self.end)?).ok()?;
        let next = at.checked_add(usize::try_from(header.record_bytes()).ok()?)?;
        if header.position != position || next > self.end {
            return None;
        }
        let body_at = at + RECORD_HEADER_BYTES;
        let content_at = body_at.checked_add(usize::try_from(header.body_len).ok()?)?;
        let content_end = content_at.checked_add(usize::try_from(header.content_len).ok()?)?;
        debug_assert!(next - content_end < usize::try_from(RECORD_ALIGN).unwrap_or_default());
        let body = self.bytes.slice(body_at..content_at);
        let content = self.bytes.slice(content_at..content_end);
        let leaf = header.leaf;
        let damage = Damage {
            body: !header.body_erased && !self.matches(&body, header.body_crc, leaf.body_hash),
            content: header.content_len > 0 && !self.matches(&content, header.content_crc, leaf.content_hash),
        };
        self.stray |= !is_zero(self.bytes.get(content_end..next)?);
        let mut head = Hash::default();
        if let Some(last) = self.heads.get_mut(&leaf.stream) {
            self.chained &= last.seq.next() == leaf.seq;
            *last = leaf.extend(last.hash);
            head = last.hash;
        } else {
            self.chained = false;
        }
        let place = Place {
            position,
            segment: self.segment.first,
            generation: self.segment.generation,
            offset: u32::try_from(self.offset + at as u64).ok()?,
        };
        let kept = (!header.body_erased && !damage.body).then_some(body);
        let record = record_of(&header, place, kept, head);
        Some((RecordSlot { header, record, damage, content }, next))
    }

    fn matches(&self, bytes: &[u8], crc: u32, hash: Hash) -> bool {
        match self.verify {
            Verify::Checksums | Verify::Digest => crc32c(bytes) == crc,
            Verify::Hashes => crc32c(bytes) == crc && *blake3::hash(bytes).as_bytes() == hash.0,
        }
    }
}
