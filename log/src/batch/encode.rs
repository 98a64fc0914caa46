//! Building a batch in memory: one arena for frame, table, headers, bodies and small contents; large contents are
//! passed on as they are, without a copy.

use super::{
    BATCH_ALIGN, BatchFrame, FRAME_BYTES, MAX_BATCH_BYTES, MAX_BATCH_RECORDS, TableEntry, encode_table,
    short_log_id, table_bytes,
};
use crate::codec::align_up;
use crate::frame::{RECORD_HEADER_BYTES, RecordHeader};
use crate::id::{BatchDigest, BatchSeq, Hash, Head, LogId, Position, StreamId};
use crate::record::{DraftContent, Place, Record, RecordDraft};
use crate::segment::SegmentName;
use bytes::{BufMut, Bytes, BytesMut};
use std::collections::BTreeMap;

/// Contents up to this are copied into the arena: a copy costs less than another buffer of the vectored write.
const COPY_BYTES: usize = 8 * 1024;

/// Where a batch stands in the log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BatchContext {
    pub log_id: LogId,
    pub seq: BatchSeq,
    pub first: Position,
    pub durable: Position,
    pub prev_digest: BatchDigest,
    pub segment: SegmentName,
    pub offset: u64,
}

/// A batch ready to be written.
pub(crate) struct EncodedBatch {
    /// Everything, padding included, in order.
    pub buffers: Vec<Bytes>,
    /// Bytes on disk.
    pub disk_bytes: u64,
    /// Frame, table and records, hashed.
    pub hash: Hash,
    /// The records as they will be read back.
    pub records: Vec<Record>,
    /// The heads of its streams after it, in order of first appearance.
    pub heads: Vec<(StreamId, Head)>,
}

/// A record about to be encoded.
pub(crate) struct Part {
    pub header: RecordHeader,
    /// The salted body; empty where it was erased.
    pub body: Bytes,
    /// Salted inline content; empty where there is none.
    pub content: Bytes,
}

/// The digest that the next batch carries.
pub(crate) fn digest_of(hash: Hash) -> BatchDigest {
    hash.0.first_chunk().map_or(BatchDigest::default(), |bytes| BatchDigest(*bytes))
}

/// Encodes drafts as one batch. `head` gives each stream's head before it; that each draft follows it has been checked.
/// `None` where a draft is beyond its limits.
pub(crate) fn encode_batch(
    context: &BatchContext,
    drafts: impl IntoIterator<Item = RecordDraft>,
    head: impl Fn(StreamId) -> Head,
) -> Option<EncodedBatch> {
    let mut position = context.first;
    let mut records = Vec::new();
    for draft in drafts {
        let header = RecordHeader::of_draft(&draft, position)?;
        let inline = match draft.content {
            DraftContent::Inline(salted) => salted.bytes,
            DraftContent::None | DraftContent::Blob(_) => Bytes::new(),
        };
        records.push(Part { header, body: draft.body.bytes, content: inline });
        position = position.next();
    }
    encode_parts(context, records, head)
}

/// Encodes records as one batch: those of drafts, or, in a repair, those that were read from a damaged one.
pub(crate) fn encode_parts(
    context: &BatchContext,
    parts: Vec<Part>,
    head: impl Fn(StreamId) -> Head,
) -> Option<EncodedBatch> {
    if parts.len() > MAX_BATCH_RECORDS {
        return None;
    }
    let mut table: Vec<TableEntry> = Vec::new();
    // Index of each stream in `table` and `heads`: a batch touches few streams, but may touch a thousand.
    let mut index: BTreeMap<StreamId, usize> = BTreeMap::new();
    let mut heads = Vec::new();
    for part in &parts {
        let leaf = &part.header.leaf;
        index.entry(leaf.stream).or_insert_with(|| {
            let before = head(leaf.stream);
            table.push(TableEntry { stream: leaf.stream, first: leaf.seq, prev_head: before.hash });
            heads.push((leaf.stream, before));
            heads.len() - 1
        });
    }
    let record_bytes: u64 = parts.iter().map(|part| part.header.record_bytes()).sum();
    let bytes = (FRAME_BYTES + table_bytes(table.len())) as u64 + record_bytes;
    let frame = BatchFrame {
        log_id: short_log_id(context.log_id),
        seq: context.seq,
        first: context.first,
        durable: context.durable,
        count: u16::try_from(parts.len()).ok()?,
        streams: u16::try_from(table.len()).ok()?,
        bytes: u32::try_from(bytes).ok().filter(|bytes| *bytes <= MAX_BATCH_BYTES)?,
        prev_digest: context.prev_digest,
    };
    let mut buffers = Buffers::new(&parts, table.len());
    buffers.arena.put_slice(&frame.encode());
    encode_table(&table, &mut buffers.arena);
    let mut records = Vec::with_capacity(parts.len());
    for part in parts {
        let leaf = part.header.leaf;
        let offset = context.offset + buffers.len;
        let before = index.get(&leaf.stream).and_then(|at| heads.get_mut(*at))?;
        before.1 = leaf.extend(before.1.hash);
        let place = Place {
            position: part.header.position,
            segment: context.segment.first,
            generation: context.segment.generation,
            offset: u32::try_from(offset + buffers.arena_len()).ok()?,
        };
        let hash = before.1.hash;
        buffers.put_record(&part);
        records.push(record_of(&part.header, place, (!part.body.is_empty()).then_some(part.body), hash));
    }
    let (buffers, hash) = buffers.finish();
    Some(EncodedBatch { buffers, disk_bytes: align_up(bytes, BATCH_ALIGN), hash, records, heads })
}

/// A record as readers see it.
pub(super) fn record_of(header: &RecordHeader, place: Place, body: Option<Bytes>, head: Hash) -> Record {
    let leaf = header.leaf;
    Record {
        place,
        stream: leaf.stream,
        seq: leaf.seq,
        hlc: leaf.hlc,
        epoch: leaf.epoch,
        kind: leaf.kind,
        ignorable: header.ignorable,
        body_hash: leaf.body_hash,
        content_hash: leaf.content_hash,
        body,
        content_len: u64::from(header.content_len),
        head,
    }
}

/// The arena, and where large contents are cut in.
struct Buffers {
    arena: BytesMut,
    /// Finished buffers before the arena's current run.
    done: Vec<Bytes>,
    /// Their bytes.
    len: u64,
}

impl Buffers {
    fn new(parts: &[Part], streams: usize) -> Self {
        let copied = |part: &Part| {
            let content = if part.content.len() <= COPY_BYTES { part.content.len() } else { 0 };
            RECORD_HEADER_BYTES + part.body.len() + content + 8
        };
        let records: usize = parts.iter().map(copied).sum();
        let padding = usize::try_from(BATCH_ALIGN).unwrap_or_default();
        let capacity = FRAME_BYTES + table_bytes(streams) + records + padding;
        Self { arena: BytesMut::with_capacity(capacity), done: Vec::new(), len: 0 }
    }

    fn arena_len(&self) -> u64 {
        self.arena.len() as u64
    }

    fn put_record(&mut self, part: &Part) {
        self.arena.put_slice(&part.header.encode());
        self.arena.put_slice(&part.body);
        if part.content.len() <= COPY_BYTES {
            self.arena.put_slice(&part.content);
        } else {
            self.cut();
            self.len += part.content.len() as u64;
            self.done.push(part.content.clone());
        }
        let parts = part.body.len() + part.content.len() + RECORD_HEADER_BYTES;
        let padding = align_up(parts as u64, crate::frame::RECORD_ALIGN) - parts as u64;
        self.arena.put_bytes(0, usize::try_from(padding).unwrap_or_default());
    }

    /// Ends the arena's current run; what follows continues in the same allocation.
    fn cut(&mut self) {
        let run = self.arena.split().freeze();
        self.len += run.len() as u64;
        self.done.push(run);
    }

    fn finish(mut self) -> (Vec<Bytes>, Hash) {
        let bytes = self.len + self.arena_len();
        let mut hasher = blake3::Hasher::new();
        self.done.iter().for_each(|buffer| {
            hasher.update(buffer);
        });
        hasher.update(&self.arena);
        let padding = align_up(bytes, BATCH_ALIGN) - bytes;
        self.arena.put_bytes(0, usize::try_from(padding).unwrap_or_default());
        self.cut();
        (self.done, Hash(*hasher.finalize().as_bytes()))
    }
}
