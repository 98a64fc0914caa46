//! Bytes that are not what was written.

use super::*;
use crate::host::{DiskError, DiskErrorKind};
use crate::pack::format::encode_footer;
use crate::pack::reader::Damage;
use crate::pack::{BLOCK, PAGE};
use crate::script::Step;
use proptest::prelude::*;

/// Three blobs in pack 1, sealed or not, and where they lie.
fn three_blobs(sealed: bool) -> (MemDisk, Vec<(BlobId, BlobPlace, Bytes)>) {
    let mut dice = Dice(11);
    let (mut ops, mut blobs, mut end) = (Vec::new(), Vec::new(), PAGE);
    for (number, len) in [(1, 200_000), (2, 10), (3, 70_000)] {
        let content = dice.bytes(len);
        let (written, place) = stage(blob_id(number), std::slice::from_ref(&content), None, end);
        ops.extend(written);
        end = place.extents.last().unwrap().end();
        blobs.push((blob_id(number), place, content));
    }
    let disk = pack_with(&ops, end + 64 * 1024);
    if sealed {
        let infos: Vec<_> = blobs.iter().flat_map(|(blob, place, _)| extents_of(*blob, place)).collect();
        let data = vec![encode_footer(LOG, 1, end, infos.iter())];
        disk.execute(&DiskOp::Truncate { file: pack_file(1), len: end }).unwrap();
        disk.execute(&DiskOp::Write { file: pack_file(1), offset: end, data }).unwrap();
    }
    (disk, blobs)
}

fn flip(disk: &MemDisk, at: usize, bit: u32) {
    let mut bytes = disk.files()[&pack_file(1)].clone();
    bytes[at] ^= 1 << bit;
    disk.put(pack_file(1), bytes);
}

#[test]
fn a_flipped_byte_in_a_block_is_named_by_the_reader_and_costs_only_its_block() {
    let (disk, blobs) = three_blobs(true);
    let (blob, place, content) = &blobs[0];
    let at = place.extents[0].data_offset() + u64::from(BLOCK) + 17;
    flip(&disk, index(at), 0);
    let damage = BlobDamage { blob: *blob, pack: 1, offset: at - 17, damage: Damage::Block };
    assert_eq!(read_blob(&disk, *blob, place, 0..200_000), Err(damage));
    assert_eq!(read_blob(&disk, *blob, place, 65_536..65_537), Err(damage));
    assert_eq!(read_blob(&disk, *blob, place, 0..65_536).unwrap(), content[..65_536]);
    assert_eq!(read_blob(&disk, *blob, place, 131_072..200_000).unwrap(), content[131_072..]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn no_flipped_bit_is_ever_given_out(at in 4096usize..299_008, bit in 0u32..8, from in 0u64..200_000, len in 1u64..200_000) {
        let (disk, blobs) = three_blobs(true);
        flip(&disk, at, bit);
        for (blob, place, content) in &blobs {
            let until = (from + len).min(content.len() as u64);
            if let Ok(read) = read_blob(&disk, *blob, place, from..until) {
                let expected = content.slice(index(from.min(until))..index(until));
                prop_assert!(read == expected);
            } else {
                let touched = place.extents.iter().any(|e| (e.offset..e.end()).contains(&(at as u64)));
                prop_assert!(touched);
            }
        }
    }

    #[test]
    fn recovery_keeps_every_other_blob_whatever_bit_is_flipped(at in 0usize..360_000, bit in 0u32..8, sealed: bool) {
        let (disk, blobs) = three_blobs(sealed);
        let len = disk.files()[&pack_file(1)].len();
        let at = at % len;
        flip(&disk, at, bit);
        let index = Arc::new(MemoryBlobIndex::default());
        let report = recover(&disk, &index).unwrap();
        for (blob, place, content) in &blobs {
            let touched = place.extents.iter().any(|e| (e.offset..e.end()).contains(&(at as u64)));
            match index.get(*blob).unwrap() {
                Some(found) => {
                    prop_assert_eq!(&found, place);
                    let read = read_blob(&disk, *blob, place, 0..place.len);
                    prop_assert!(read.is_ok_and(|read| read == *content) || touched);
                }
                // Without its header an extent of an open pack cannot be told from garbage.
                None => prop_assert!(touched && !sealed),
            }
        }
        if at < len - 4096 {
            prop_assert_eq!(report.closed.is_empty(), sealed);
        }
    }
}

#[test]
fn a_sealed_pack_reports_an_extent_whose_header_is_damaged_and_forgets_one_that_was_freed() {
    let (disk, blobs) = three_blobs(true);
    let place = &blobs[0].1.extents[0];
    flip(&disk, index(place.offset) + 9, 3);
    let freed = blobs[2].1.extents[0];
    let punch = DiskOp::Punch { file: pack_file(1), offset: freed.offset, len: freed.footprint() };
    disk.execute(&punch).unwrap();
    let index = Arc::new(MemoryBlobIndex::default());
    let report = recover(&disk, &index).unwrap();
    let found: Vec<_> = index.blobs().into_iter().map(|(blob, _)| blob).collect();
    assert_eq!(found, [blob_id(1), blob_id(2)]);
    let damaged: Vec<_> = report.damaged.iter().map(|damage| (damage.blob, damage.offset)).collect();
    assert_eq!(damaged, [(blob_id(1), place.offset)]);
}

/// Recovers packs from a disk that cannot read one page of pack 1.
fn recover_with_bad_page(
    disk: &MemDisk,
    found: &Arc<MemoryBlobIndex>,
    bad: u64,
) -> Result<RecoveredPacks, PackRecoveryError> {
    let index: Arc<dyn BlobIndex> = found.clone();
    let mut script = Script::new(|io| recover_packs(io, LOG, index));
    let mut step = script.resume(None);
    loop {
        let op = match step {
            Step::Done(done) => return done,
            Step::Submit(op) => op,
        };
        let result = match &op {
            DiskOp::Read { offset, len, .. } if *offset < bad + PAGE && bad < offset + len => {
                let (target, message) = (String::new(), String::new());
                Err(DiskError { kind: DiskErrorKind::Io, operation: "read", target, message })
            }
            op => disk.execute(op),
        };
        step = script.resume(Some(result));
    }
}

#[test]
fn what_is_left_of_a_pack_is_read_from_the_disk_and_not_from_the_page_cache() {
    // The cache shows holes whose sync has failed, and they close again when the power goes.
    for sealed in [false, true] {
        let (disk, _) = three_blobs(sealed);
        let index: Arc<dyn BlobIndex> = Arc::new(MemoryBlobIndex::default());
        let mut script = Script::new(|io| recover_packs(io, LOG, index));
        let (mut step, mut reads) = (script.resume(None), 0);
        while let Step::Submit(op) = step {
            if let DiskOp::Read { offset, from_disk, .. } = &op {
                assert!(from_disk, "sealed {sealed}, at {offset}");
                reads += 1;
            }
            step = script.resume(Some(disk.execute(&op)));
        }
        assert!(reads >= 2, "the trailer, and what is there");
    }
}

#[test]
fn a_page_that_the_disk_cannot_read_refuses_no_start_and_gives_nothing_away() {
    for sealed in [false, true] {
        let (disk, blobs) = three_blobs(sealed);
        for bad in (0..disk.files()[&pack_file(1)].len() as u64).step_by(4096) {
            let disk = MemDisk::with_files(disk.files());
            let found = Arc::new(MemoryBlobIndex::default());
            recover_with_bad_page(&disk, &found, bad).unwrap();
            for (blob, place, _) in &blobs {
                let there = found.get(*blob).unwrap();
                let touched = place.extents.iter().any(|extent| extent.offset == bad);
                assert!(there.as_ref() == Some(place) || touched, "sealed {sealed}, page at {bad}");
            }
            // A disk that reads it again has lost nothing.
            let again = Arc::new(MemoryBlobIndex::default());
            assert!(recover(&disk, &again).unwrap().unreadable.is_empty());
            for (blob, place, content) in &blobs {
                let there = again.get(*blob).unwrap();
                assert_eq!(there.as_ref(), Some(place), "sealed {sealed}, page at {bad}");
                assert_eq!(&read_blob(&disk, *blob, place, 0..place.len).unwrap(), content);
            }
        }
    }
}

#[test]
fn a_blob_freed_by_half_in_a_sealed_pack_is_found_again_until_the_rest_is_freed() {
    let content = Dice(5).bytes(3 * index(BLOCK.into()));
    let (ops, place) = stage_by(BlobStager::new(BLOCK, None), blob_id(4), &[content], PAGE);
    assert_eq!(place.extents.len(), 3);
    let end = place.extents[2].end();
    let disk = pack_with(&ops, end + PAGE);
    let infos: Vec<_> = extents_of(blob_id(4), &place).collect();
    let data = vec![encode_footer(LOG, 1, end, infos.iter())];
    disk.execute(&DiskOp::Truncate { file: pack_file(1), len: end }).unwrap();
    disk.execute(&DiskOp::Write { file: pack_file(1), offset: end, data }).unwrap();
    let punch = |extent: &ExtentPlace| {
        let (offset, len) = (extent.offset, extent.footprint());
        disk.execute(&DiskOp::Punch { file: pack_file(1), offset, len }).unwrap();
    };
    punch(&place.extents[0]);
    let found = Arc::new(MemoryBlobIndex::default());
    for _ in 0..2 {
        let report = recover(&disk, &found).unwrap();
        let [(blob, left)] = report.incomplete.as_slice() else { panic!("{report:?}") };
        assert_eq!(
            (*blob, left.len, &left.extents[..]),
            (blob_id(4), 2 * u64::from(BLOCK), &place.extents[1..])
        );
        assert!(!found.is_indexed(1).unwrap() && found.blobs().is_empty());
    }
    place.extents[1..].iter().for_each(punch);
    assert_eq!(recover(&disk, &found).unwrap().incomplete, []);
    assert!(found.is_indexed(1).unwrap());
}

#[test]
fn content_that_looks_like_an_extent_is_content() {
    let (ops, inner) = stage(blob_id(66), &[Bytes::from_static(b"evil")], None, 5 * PAGE);
    let page = ops
        .iter()
        .find_map(|op| match op {
            DiskOp::Write { offset, data, .. } if *offset == inner.extents[0].offset => Some(data[0].clone()),
            _ => None,
        })
        .unwrap();
    // At this place in the pack lies the outer blob's fourth page of content.
    let content = [Bytes::from(vec![1; 3 * 4096]), page, Bytes::from_static(b"evil")].concat();
    let (ops, place) = stage(blob_id(1), &[content.into()], None, PAGE);
    let disk = pack_with(&ops, 64 * 1024);
    let index = Arc::new(MemoryBlobIndex::default());
    recover(&disk, &index).unwrap();
    assert_eq!(index.blobs(), [(blob_id(1), place)]);
}

#[test]
fn packs_of_another_log_are_refused_and_left_alone() {
    let (disk, _) = three_blobs(false);
    let before = disk.files();
    let index: Arc<dyn BlobIndex> = Arc::new(MemoryBlobIndex::default());
    let other = LogId([1; 16]);
    let refused = Script::new(|io| recover_packs(io, other, index)).run(&mut disk.clone());
    let reason = crate::pack::format::FormatError::Misplaced;
    assert_eq!(refused, Err(PackRecoveryError::Refused { pack: 1, reason }));
    assert_eq!(disk.files(), before);
}
