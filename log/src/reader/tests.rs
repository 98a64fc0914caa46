use super::*;
use crate::host::DiskOp;
use crate::host::mem::MemDisk;
use crate::script::{Io, Script, Step};
use crate::testing::{Rig, recover_disk, small_segments, stream, verify_disk};
use crate::writer::WriterConfig;
use std::future::Future;

/// Runs a script and counts its reads.
fn counted<T, F: Future<Output = T> + 'static>(disk: &MemDisk, body: impl FnOnce(Io) -> F) -> (T, usize) {
    let mut script = Script::new(body);
    let mut step = script.resume(None);
    let mut reads = 0;
    loop {
        match step {
            Step::Done(value) => return (value, reads),
            Step::Submit(op) => {
                reads += usize::from(matches!(op, DiskOp::Read { .. }));
                step = script.resume(Some(disk.execute(&op)));
            }
        }
    }
}

#[test]
fn content_takes_one_read_and_two_where_its_length_was_unknown() {
    let mut rig = Rig::new(MemDisk::new(), WriterConfig::default());
    rig.write(stream(1), 50_000);
    let record = rig.records().remove(0);
    let (bytes, reads) =
        counted(&rig.disk, |io| async move { content(&io, record.place, record.content_len).await });
    assert_eq!((bytes.unwrap(), reads), (vec![1; 50_000].into(), 1));
    let record = rig.records().remove(0);
    let (bytes, reads) = counted(&rig.disk, |io| async move { content(&io, record.place, 0).await });
    assert_eq!((bytes.unwrap().len(), reads), (50_000, 2));
}

#[test]
fn content_is_found_by_its_old_place_after_its_segment_was_written_anew() {
    let mut rig = Rig::new(MemDisk::new(), WriterConfig::default());
    for n in 0..20 {
        rig.write(stream(n % 3), 500);
    }
    let records = rig.records();
    assert!(!recover_disk(&rig.disk).unwrap().clean, "the segment has another generation now");
    for record in &records {
        let (place, len) = (record.place, record.content_len);
        let (bytes, reads) = counted(&rig.disk, |io| async move { content(&io, place, len).await });
        let fill = u8::try_from(record.seq.0).unwrap();
        assert_eq!((bytes.unwrap(), reads), (vec![fill; 500].into(), 2));
        let moved = crate::record::Place { offset: place.offset + 8, generation: 77, ..place };
        let (bytes, _) = counted(&rig.disk, |io| async move { content(&io, moved, len).await });
        assert_eq!(bytes.unwrap(), vec![fill; 500]);
    }
}

#[test]
fn content_that_is_damaged_or_absent_is_an_error_of_its_own() {
    let mut rig = Rig::new(MemDisk::new(), WriterConfig::default());
    rig.write(stream(1), 5000);
    rig.write(stream(1), 0);
    let [with, without] = rig.records().try_into().unwrap();
    let read = |disk: &MemDisk, record: &Record| {
        let (place, len) = (record.place, record.content_len);
        counted(disk, |io| async move { content(&io, place, len).await }).0
    };
    assert_eq!(read(&rig.disk, &without), Err(ReadError::NoContent(Position(2))));
    let unknown =
        Record { place: crate::record::Place { position: Position(3), ..with.place }, ..with.clone() };
    assert_eq!(read(&rig.disk, &unknown), Err(ReadError::NotFound(Position(3))));
    let (file, mut bytes) =
        rig.disk.files().into_iter().find(|(file, _)| file.name.ends_with(".seg")).unwrap();
    bytes[usize::try_from(with.place.offset).unwrap() + 3000] ^= 1;
    rig.disk.put(file, bytes);
    assert_eq!(read(&rig.disk, &with), Err(ReadError::Damaged(Position(1))));
}

#[test]
fn one_record_is_found_by_its_position() {
    let mut rig = Rig::new(MemDisk::new(), small_segments());
    for n in 0..30 {
        rig.write(stream(n % 4), 700);
    }
    rig.stop();
    for record in rig.records() {
        let position = record.place.position;
        let (found, reads) = counted(&rig.disk, |io| async move { record_at(&io, position).await });
        assert_eq!(found, Ok(record));
        assert!(reads < 80);
    }
    let (beyond, _) = counted(&rig.disk, |io| async move { record_at(&io, Position(31)).await });
    assert_eq!(beyond, Err(ReadError::NotFound(Position(31))));
}

#[test]
fn a_reader_beside_the_writer_ends_before_an_append_that_is_under_way() {
    let mut rig = Rig::new(MemDisk::new(), WriterConfig::default());
    for _ in 0..5 {
        rig.write(stream(1), 100);
    }
    let drafts = (0..20).map(|_| rig.next_draft(stream(1), 1000)).collect();
    rig.submit(false, drafts);
    let Some((_, DiskOp::Write { file, offset, data })) = rig.waiting.front().cloned() else { panic!() };
    let half = data.concat()[..6000].to_vec();
    rig.disk.execute(&DiskOp::Write { file, offset, data: vec![half.into()] }).unwrap();
    let items = crate::testing::read_all(&rig.disk, 1).unwrap();
    assert_eq!(crate::testing::logical(&items).len(), 5);
    let report = verify_disk(&rig.disk);
    assert!(report.is_intact() && report.tail_bytes > 0, "{report:?}");
    rig.settle();
    let report = verify_disk(&rig.disk);
    assert_eq!((report.records, report.tail_bytes, report.last), (25, 0, Position(25)));
}

#[test]
fn an_edit_that_fits_every_checksum_is_found_by_the_hashes() {
    let mut rig = Rig::new(MemDisk::new(), WriterConfig::default());
    for _ in 0..5 {
        rig.write(stream(1), 100);
    }
    rig.stop();
    let record = rig.records().remove(2);
    let (file, mut bytes) =
        rig.disk.files().into_iter().find(|(file, _)| file.name.ends_with(".seg")).unwrap();
    let at = usize::try_from(record.place.offset).unwrap();
    let mut header = crate::frame::RecordHeader::decode(&bytes[at..]).unwrap();
    let body_at = at + 160;
    let body = body_at..body_at + usize::try_from(header.body_len).unwrap();
    bytes[body_at + 30] ^= 1;
    header.body_crc = crate::codec::crc32c(&bytes[body]);
    bytes[at..at + 160].copy_from_slice(&header.encode());
    rig.disk.put(file, bytes);
    let report = verify_disk(&rig.disk);
    assert_eq!(report.first_bad(), Some(record.place.position), "{:?}", report.findings);
    assert!(recover_disk(&rig.disk).unwrap().quarantine.is_empty(), "recovery trusts checksums");
}

#[test]
fn stats_count_every_record_by_type_and_stream() {
    let mut rig = Rig::new(MemDisk::new(), small_segments());
    for n in 0..12 {
        rig.write(stream(n % 3), 400);
    }
    let (stats, _) = counted(&rig.disk, |io| async move { stats(&io).await });
    let stats = stats.unwrap();
    assert_eq!((stats.total.records, stats.total.content_bytes, stats.unreadable), (12, 12 * 416, 0));
    assert_eq!((stats.kinds.len(), stats.streams.len()), (1, 3));
    assert!(stats.streams.values().all(|tally| tally.records == 4 && tally.body_bytes > 4 * 160));
}
