//! What a segment's footer will say, gathered batch by batch: by the writer as it appends, by a copy as it reads.

use super::{AcceptedLoss, BatchEntry, Footer, HEADER_BYTES, StreamEntry};
use crate::batch::{BATCH_ALIGN, digest_of};
use crate::hlc::Hlc;
use crate::id::{BatchDigest, BatchSeq, Hash, Head, LogId, Position, Seq, StreamId};
use std::collections::BTreeMap;

/// The growing footer of a segment.
#[derive(Debug, Clone)]
pub(crate) struct Tally {
    first: Position,
    last: Position,
    last_batch: BatchSeq,
    last_digest: BatchDigest,
    batches: Vec<BatchEntry>,
    streams: BTreeMap<StreamId, StreamEntry>,
    losses: Vec<AcceptedLoss>,
    hasher: blake3::Hasher,
    /// Where the next batch goes.
    pub offset: u64,
}

impl Tally {
    /// A segment that has its header and nothing else.
    pub fn new(header: &[u8], first: Position, prev_batch: BatchSeq, prev_digest: BatchDigest) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(header);
        Self {
            first,
            last: Position(first.0.saturating_sub(1)),
            last_batch: prev_batch,
            last_digest: prev_digest,
            batches: Vec::new(),
            streams: BTreeMap::new(),
            losses: Vec::new(),
            hasher,
            offset: HEADER_BYTES,
        }
    }

    /// Whether it holds no records.
    pub fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Whether a batch fits, and the footer after it, into so many bytes. An empty segment takes any batch: there is no
    /// larger one to put it into.
    pub fn fits(&self, disk_bytes: u64, streams: impl Iterator<Item = StreamId>, segment_bytes: u64) -> bool {
        let new = streams.filter(|stream| !self.streams.contains_key(stream)).count();
        let footer = Footer::encoded_len(self.batches.len() + 1, self.streams.len() + new, self.losses.len());
        self.is_empty() || self.offset.saturating_add(disk_bytes).saturating_add(footer) <= segment_bytes
    }

    /// Whether a batch can stand in so many bytes behind what there is. The footer always has its room.
    pub fn leaves_room_for_a_batch(&self, bytes: u64) -> bool {
        let footer = Footer::encoded_len(self.batches.len(), self.streams.len(), self.losses.len());
        bytes >= footer.saturating_add(BATCH_ALIGN)
    }

    /// Counts a batch that stands at [`Self::offset`]. One without records is not in the index, which finds records.
    pub fn batch(&mut self, seq: BatchSeq, hash: Hash, first: Position, count: u64, disk_bytes: u64) {
        if count > 0 {
            self.batches.push(BatchEntry { first, offset: self.offset });
            self.last = Position(first.0.saturating_add(count).saturating_sub(1));
        }
        self.last_batch = seq;
        self.last_digest = digest_of(hash);
        self.hasher.update(&hash.0);
        self.offset += disk_bytes.next_multiple_of(BATCH_ALIGN);
    }

    /// Counts records of a stream.
    pub fn stream(&mut self, stream: StreamId, first: Seq, head: Head) {
        let entry = self.streams.entry(stream);
        let entry = entry.or_insert(StreamEntry { stream, first, last: head.seq, head: head.hash });
        entry.last = head.seq;
        entry.head = head.hash;
    }

    /// Notes positions that were given up, behind everything so far. Neighbours become one: a reader finds one gap.
    pub fn loss(&mut self, loss: AcceptedLoss) {
        if loss.first > loss.last {
            return;
        }
        self.last = self.last.max(loss.last);
        match self.losses.last_mut().filter(|last| last.last.next() == loss.first) {
            Some(last) => last.last = loss.last,
            None => self.losses.push(loss),
        }
    }

    /// The footer after all that.
    pub fn footer(&self, log_id: LogId, segment_no: u64, max_hlc: Hlc) -> Footer {
        Footer {
            log_id,
            first: self.first,
            last: self.last,
            last_batch: self.last_batch,
            last_digest: self.last_digest,
            max_hlc,
            segment_hash: Hash(*self.hasher.finalize().as_bytes()),
            segment_no,
            batches: self.batches.clone(),
            streams: self.streams.values().copied().collect(),
            losses: self.losses.clone(),
        }
    }
}
