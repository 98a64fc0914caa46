//! From bytes to extents and back.

use super::*;
use crate::pack::stager::{PIECE, PieceEnd};
use crate::pack::{MAX_EXTENT, PAGE};
use proptest::prelude::*;

const MIB: usize = 1024 * 1024;

fn round_trip(len: usize, largest_chunk: usize, declare: bool) {
    let mut dice = Dice(len as u64);
    let content = dice.bytes(len);
    let chunks = chunked(&content, &mut dice, largest_chunk);
    let declared = declare.then_some(len as u64);
    let (ops, place) = stage(blob_id(1), &chunks, declared, PAGE);
    assert_eq!(place.len, len as u64);
    assert_eq!(place.extents.len(), len.div_ceil(MAX_EXTENT as usize).max(1));
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[9; 16]).update(&content);
    assert_eq!(place.hash.0, *hasher.finalize().as_bytes());
    let disk = pack_with(&ops, place.extents.last().unwrap().end());
    assert!(read_blob(&disk, blob_id(1), &place, 0..u64::MAX).unwrap() == content);
    for _ in 0..8 {
        let (a, b) = (dice.below(len + 2), dice.below(len + 2));
        let range = a.min(b)..a.max(b);
        let expected = &content[range.start.min(len)..range.end.min(len)];
        let read = read_blob(&disk, blob_id(1), &place, range.start as u64..range.end as u64).unwrap();
        assert!(read == expected, "{range:?}");
    }
}

#[test]
fn a_blob_of_any_size_reads_back_whole_and_in_ranges() {
    let block = 64 * 1024;
    let sizes = [0, 1, block - 1, block, block + 1, MIB, 4 * MIB - 1, 4 * MIB, 4 * MIB + 1, 9 * MIB];
    for len in sizes {
        round_trip(len, 100_000, true);
        round_trip(len, 600_000, false);
    }
    round_trip(300_000, 1, false);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn the_chunks_a_blob_came_in_do_not_matter(len in 0usize..900_000, chunk in 1usize..400_000, declare: bool) {
        round_trip(len, chunk, declare);
    }
}

#[test]
fn a_declared_length_reserves_to_the_byte_and_an_ended_blob_too() {
    let mut stager = BlobStager::new(MAX_EXTENT, Some(5 * MIB as u64));
    stager.push(Bytes::from(vec![1; MIB]));
    assert_eq!(stager.step(), StagerStep::Reserve { bytes: MAX_EXTENT });
    let mut stager = BlobStager::new(MAX_EXTENT, Some(MIB as u64));
    stager.push(Bytes::from(vec![1; MIB / 2]));
    assert_eq!(stager.step(), StagerStep::Reserve { bytes: 1_048_576 });
    let mut stager = BlobStager::new(MAX_EXTENT, None);
    stager.push(Bytes::from(vec![1; 100_000]));
    assert_eq!(stager.step(), StagerStep::Feed);
    stager.end();
    assert_eq!(stager.step(), StagerStep::Reserve { bytes: 100_000 });
}

#[test]
fn single_bytes_do_not_cost_a_buffer_each() {
    let mut stager = BlobStager::new(MAX_EXTENT, None);
    for _ in 0..=PIECE {
        assert_eq!(stager.step(), StagerStep::Feed);
        stager.push(Bytes::from_static(b"x"));
    }
    let StagerStep::Reserve { bytes } = stager.step() else { panic!() };
    stager.extent(ExtentPlace { pack: 1, offset: PAGE, data_len: bytes });
    let StagerStep::Piece(piece) = stager.step() else { panic!() };
    assert_eq!((piece.data().len(), piece.end()), (1, PieceEnd::More));
    assert_eq!(stager.step(), StagerStep::Feed);
    assert_eq!(stager.len(), u64::from(PIECE) + 1);
}

#[test]
fn large_chunks_are_written_without_a_copy_and_written_out_early() {
    let content = Bytes::from(vec![5; 2 * MIB]);
    let (ops, _) = stage(blob_id(1), std::slice::from_ref(&content), None, PAGE);
    let writebacks = ops.iter().filter(|op| matches!(op, DiskOp::StartWriteback { len: 1_048_576, .. }));
    assert_eq!(writebacks.count(), 2);
    let own = content.as_ptr_range();
    let pieces: Vec<_> = ops
        .iter()
        .filter_map(|op| match op {
            DiskOp::Write { offset, data, .. } if *offset > PAGE => Some(&data[0]),
            _ => None,
        })
        .collect();
    assert_eq!(pieces.len(), 8);
    assert!(pieces.iter().all(|piece| own.contains(&piece.as_ptr())));
}

#[test]
fn a_reader_gives_slices_of_what_was_read_and_reads_each_header_once() {
    let content = Dice(3).bytes(5 * MIB);
    let (ops, place) = stage(blob_id(1), &[content], None, PAGE);
    let disk = pack_with(&ops, place.extents.last().unwrap().end());
    let mut reader = BlobReader::new(LOG, blob_id(1), &place, 100..5 * MIB as u64);
    let (mut reads, mut headers) = (0, 0);
    while let Some(op) = reader.next_read() {
        let DiskOp::Read { offset, len, .. } = &op else { panic!() };
        assert!(*len <= MIB as u64 / 4 + PAGE, "a slow reader's answer keeps what was read in memory");
        reads += 1;
        headers += usize::from(place.extents.iter().any(|extent| extent.offset == *offset));
        let Ok(DiskReply::Data(bytes)) = disk.execute(&op) else { panic!() };
        let given = reader.accept(bytes.clone()).unwrap().unwrap();
        assert!(bytes.as_ptr_range().contains(&given.as_ptr()));
    }
    assert_eq!((reads, headers), (20, 2));
}
