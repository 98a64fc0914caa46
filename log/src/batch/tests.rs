use super::*;
use crate::frame::tests::draft;
use crate::id::Head;
use crate::record::{DraftContent, RecordDraft};
use crate::segment::SegmentName;
use bytes::Bytes;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn context() -> BatchContext {
    BatchContext {
        log_id: LogId([7; 16]),
        seq: BatchSeq(5),
        first: Position(100),
        durable: Position(99),
        prev_digest: BatchDigest([3; 16]),
        segment: SegmentName { first: Position(90), generation: 2 },
        offset: 8192,
    }
}

/// Gives the drafts of each stream consecutive numbers, as the writer has checked them.
fn numbered(mut drafts: Vec<RecordDraft>) -> Vec<RecordDraft> {
    let mut next: BTreeMap<StreamId, Seq> = BTreeMap::new();
    for draft in &mut drafts {
        let seq = next.entry(draft.stream).or_insert(Seq(9));
        *seq = seq.next();
        draft.seq = *seq;
    }
    drafts
}

fn head_before(_stream: StreamId) -> Head {
    Head { seq: Seq(9), hash: Hash([4; 32]) }
}

fn encode(drafts: Vec<RecordDraft>) -> (EncodedBatch, Bytes) {
    let batch = encode_batch(&context(), drafts, head_before).unwrap();
    let bytes = Bytes::from(batch.buffers.concat());
    (batch, bytes)
}

fn decode(bytes: &Bytes, verify: Verify) -> Option<BatchContents> {
    decode_batch(bytes, context().segment, context().offset, verify)
}

proptest! {
    #[test]
    fn a_batch_is_read_back(drafts in prop::collection::vec(draft(), 0..20)) {
        let drafts = numbered(drafts);
        let (batch, bytes) = encode(drafts.clone());
        prop_assert_eq!(bytes.len() as u64, batch.disk_bytes);
        prop_assert_eq!(batch.disk_bytes % BATCH_ALIGN, 0);
        let read = decode(&bytes, Verify::Hashes).unwrap();
        prop_assert!(read.is_sound() && !read.stray);
        prop_assert_eq!(read.hash, Some(batch.hash));
        prop_assert_eq!(usize::from(read.frame.count), drafts.len());
        let records: Vec<_> = read.slots.iter().map(|slot| slot.record.clone()).collect();
        prop_assert_eq!(&records, &batch.records);
        for (slot, draft) in read.slots.iter().zip(&drafts) {
            prop_assert_eq!(slot.record.body.as_ref(), Some(&draft.body.bytes));
            let content = match &draft.content {
                DraftContent::Inline(salted) => salted.bytes.clone(),
                DraftContent::None | DraftContent::Blob(_) => Bytes::new(),
            };
            prop_assert_eq!(&slot.content, &content);
            let at = usize::try_from(u64::from(slot.record.place.offset) - context().offset).unwrap();
            prop_assert_eq!(crate::frame::RecordHeader::decode(&bytes[at..]), Ok(slot.header));
        }
        for (stream, head) in &batch.heads {
            let last = batch.records.iter().rev().find(|record| record.stream == *stream).unwrap();
            prop_assert_eq!((head.seq, head.hash), (last.seq, last.head));
        }
    }

    #[test]
    fn a_flipped_bit_is_noticed_and_costs_no_more_than_it_must(
        drafts in prop::collection::vec(draft(), 1..8), at: prop::sample::Index, bit in 0u8..8
    ) {
        let (batch, bytes) = encode(numbered(drafts));
        let frame = BatchFrame::decode(&bytes).unwrap();
        let at = at.index(frame.bytes as usize);
        let mut flipped = bytes.to_vec();
        flipped[at] ^= 1 << bit;
        let table_end = FRAME_BYTES + table_bytes(usize::from(frame.streams));
        match decode(&Bytes::from(flipped), Verify::Checksums) {
            None => prop_assert!(at < FRAME_BYTES),
            Some(read) if at < table_end => prop_assert!(at >= FRAME_BYTES && read.table.is_none()),
            Some(read) => {
                prop_assert!(!read.is_sound() || read.stray);
                let offset = context().offset + at as u64;
                let hit = batch.records.iter().rposition(|r| u64::from(r.place.offset) <= offset).unwrap();
                prop_assert!(read.slots.iter().take(hit).all(|slot| !slot.damage.any()));
                prop_assert!(read.slots.len() == hit || read.slots.len() == batch.records.len());
            }
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(
        drafts in prop::collection::vec(draft(), 0..4),
        garbage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..50),
        cut: prop::sample::Index,
    ) {
        let (_, bytes) = encode(numbered(drafts));
        let mut damaged = bytes.to_vec();
        for (at, byte) in garbage {
            let at = at.index(damaged.len());
            damaged[at] = byte;
        }
        damaged.truncate(cut.index(damaged.len()) + 1);
        let read = decode(&Bytes::from(damaged), Verify::Hashes);
        prop_assert!(read.is_none_or(|read| read.slots.len() <= usize::from(read.frame.count)));
    }

    #[test]
    fn a_frame_is_read_back_and_every_flip_is_noticed(
        seq: u64, first in 1u64..u64::MAX / 2, count in 1u16..4096, at in 0usize..FRAME_BYTES, bit in 0u8..8
    ) {
        let frame = BatchFrame {
            log_id: 1,
            seq: BatchSeq(seq),
            first: Position(first),
            durable: Position(first - 1),
            count,
            streams: 1,
            bytes: 4000,
            prev_digest: BatchDigest([1; 16]),
        };
        let bytes = frame.encode();
        prop_assert_eq!(BatchFrame::decode(&bytes), Ok(frame));
        prop_assert_eq!(frame.last(), Position(first + u64::from(count) - 1));
        let mut flipped = bytes;
        flipped[at] ^= 1 << bit;
        prop_assert_eq!(BatchFrame::decode(&flipped), Err(BatchFrameError));
    }
}

#[test]
fn a_frame_beyond_the_limits_is_refused_in_spite_of_its_checksum() {
    let good = BatchFrame {
        log_id: 1,
        seq: BatchSeq(1),
        first: Position(1),
        durable: Position(0),
        count: 1,
        streams: 1,
        bytes: 4096,
        prev_digest: BatchDigest::default(),
    };
    assert_eq!(BatchFrame::decode(&good.encode()), Ok(good));
    let impossible = [
        BatchFrame { count: 4097, ..good },
        BatchFrame { streams: 2, ..good },
        BatchFrame { count: 0, ..good },
        BatchFrame { bytes: MAX_BATCH_BYTES + 1, ..good },
        BatchFrame { bytes: 127, ..good },
        BatchFrame { durable: Position(1), ..good },
        BatchFrame { first: Position(u64::MAX), ..good },
    ];
    for frame in impossible {
        assert_eq!(BatchFrame::decode(&frame.encode()), Err(BatchFrameError), "{frame:?}");
    }
}

#[test]
fn large_contents_are_not_copied() {
    let content = crate::record::Salted::new(crate::id::Salt([1; 16]), &vec![5; 64 * 1024]);
    let mut draft = RecordDraft {
        stream: StreamId([1; 16]),
        seq: Seq(10),
        hlc: crate::hlc::Hlc(1),
        epoch: crate::id::Epoch(0),
        kind: crate::event::EventKind { event_type: 1, schema: 1 },
        ignorable: false,
        body: crate::record::Salted::new(crate::id::Salt([2; 16]), b"body"),
        content: DraftContent::Inline(content.clone()),
    };
    let first = draft.clone();
    draft.seq = Seq(11);
    let batch = encode_batch(&context(), [first, draft], head_before).unwrap();
    let shared = batch.buffers.iter().filter(|buffer| buffer.as_ptr() == content.bytes.as_ptr()).count();
    assert_eq!((shared, batch.buffers.len()), (2, 5));
}

#[test]
fn a_batch_beyond_the_limits_is_not_encoded() {
    let (one, _) = encode(numbered(vec![]));
    assert_eq!((one.records.len(), one.disk_bytes), (0, BATCH_ALIGN), "an idle marker has no records");
    let draft = RecordDraft {
        stream: StreamId([1; 16]),
        seq: Seq(10),
        hlc: crate::hlc::Hlc(1),
        epoch: crate::id::Epoch(0),
        kind: crate::event::EventKind { event_type: 1, schema: 1 },
        ignorable: false,
        body: crate::record::Salted::from_salted(Bytes::from(vec![0; 9 * 1024 * 1024])),
        content: DraftContent::None,
    };
    let many = |count| encode_batch(&context(), vec![draft.clone(); count], head_before);
    assert!(many(3).is_some());
    assert!(many(4).is_none());
}
