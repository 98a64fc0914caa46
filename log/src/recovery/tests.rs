use super::*;
use crate::host::mem::MemDisk;
use crate::host::{DiskErrorKind, DiskOp, DiskReply, FilePath, Folder};
use crate::id::{NodeId, Position};
use crate::reader::{ReadError, ReadItem, content};
use crate::record::Record;
use crate::script::Script;
use crate::segment::{HEADER_BYTES, spare_file};
use crate::testing::{
    LOG, Rig, logical, read_all, recover_disk, recovery_config, small_segments, stream, verify_disk,
    without_place,
};
use crate::witness::{Touched, checkpoint_file, is_refused, quarantine_file};
use crate::writer::WriterConfig;
use std::collections::BTreeMap;

type Files = BTreeMap<FilePath, Vec<u8>>;

fn segment_files(files: &Files) -> Vec<FilePath> {
    files.keys().filter(|file| SegmentName::parse(&file.name).is_some()).cloned().collect()
}

fn names(disk: &MemDisk) -> Vec<String> {
    disk.files().keys().map(|file| file.name.to_string()).collect()
}

/// A log that was being written when the power went: five streams, 14 batches of 14 records, 4 KiB each.
fn crashed_log() -> (Files, Vec<Record>, u64) {
    let mut rig =
        Rig::new(MemDisk::new(), WriterConfig { segment_bytes: 68 * 1024, ..WriterConfig::default() });
    let mut last_batch = 0;
    for batch in 0..14u64 {
        last_batch = rig.writer.durable().0 + 1;
        let drafts = (0..14)
            .map(|n| {
                rig.next_draft(
                    stream(u8::try_from((batch * n + n) % 5).unwrap()),
                    usize::from(n % 7 == 0) * 20,
                )
            })
            .collect();
        rig.submit(false, drafts);
        rig.settle();
        if batch == 12 {
            // The last batch but one is the last that anything else knows of.
            rig.wait(1_000_000_000);
        }
    }
    let records = rig.records();
    assert_eq!(records.len(), 196);
    assert_eq!(segment_files(&rig.disk.files()).len(), 1);
    (rig.disk.files(), records, last_batch)
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Clone, Copy)]
enum Verdict {
    Identical,
    Reported,
    LostUnwitnessedBatch,
}

/// Recovers a damaged log and insists that nothing is lost without being said. `at` is where the damage is; the costlier
/// half of the checks is made at some places only.
fn judge(files: Files, records: &[Record], last_batch: u64, at: usize, what: &str) -> Verdict {
    let disk = MemDisk::with_files(files);
    let planned = Script::new(|io| async move { plan(&io, &recovery_config()).await });
    let planned = planned.run(&mut disk.clone()).unwrap_or_else(|error| panic!("{what}: {error}"));
    let recovered = planned.recovered;
    let thorough = at.is_multiple_of(97);
    if thorough {
        assert_eq!(recover_disk(&disk).as_ref(), Ok(&recovered), "{what}");
        let again = recover_disk(&disk).unwrap();
        assert_eq!((&again.heads, &again.quarantine), (&recovered.heads, &recovered.quarantine), "{what}");
    }
    let items = read_all(&disk, 1).unwrap();
    let found: BTreeMap<_, _> =
        logical(&items).into_iter().map(|record| (record.place.position, record)).collect();
    let mut verdict = Verdict::Identical;
    for record in records {
        let position = record.place.position;
        let quarantined =
            recovered.quarantine.iter().any(|range| range.first <= position && position <= range.last);
        match found.get(&position) {
            Some(read) => assert_eq!(*read, without_place(record.clone()), "{what}"),
            None if quarantined => {
                assert!(is_refused(&recovered.quarantine, record.stream), "{what}: {record:?}");
            }
            None => {
                assert!(position.0 >= last_batch, "{what}: {position} is gone");
                verdict = Verdict::LostUnwitnessedBatch;
            }
        }
        let near = usize::try_from(record.place.offset).unwrap().abs_diff(at) < 4096;
        if record.content_len > 0 && found.contains_key(&position) && (thorough || near) {
            let read = Script::new(|io| content_of(io, record.clone())).run(&mut disk.clone());
            assert!(read || quarantined, "{what}: content of {position}");
        }
    }
    if !recovered.quarantine.is_empty() {
        return Verdict::Reported;
    }
    if verdict == Verdict::Identical {
        for record in records {
            assert!(recovered.heads.get(&record.stream).is_some_and(|head| head.seq >= record.seq), "{what}");
        }
        assert_eq!(recovered.next_position.0, records.len() as u64 + 1, "{what}");
    }
    verdict
}

async fn content_of(io: Io, record: Record) -> bool {
    match content(&io, record.place, record.content_len).await {
        Ok(bytes) => bytes.len() as u64 + 16 == record.content_len,
        Err(ReadError::NoContent(_)) => record.content_len == 0,
        Err(_) => false,
    }
}

#[test]
fn every_flipped_byte_is_harmless_or_reported_or_in_the_unwitnessed_last_batch() {
    let (files, records, last_batch) = crashed_log();
    let [segment] = segment_files(&files).try_into().unwrap();
    let bytes = files[&segment].len();
    let mut verdicts: BTreeMap<Verdict, usize> = BTreeMap::new();
    for at in 0..bytes {
        let mut files = files.clone();
        files.get_mut(&segment).unwrap()[at] ^= 1 << (at % 8);
        *verdicts.entry(judge(files, &records, last_batch, at, &format!("flip at {at}"))).or_default() += 1;
    }
    assert!(verdicts[&Verdict::Reported] > 40_000, "{verdicts:?}");
    assert!((1000..4097).contains(&verdicts[&Verdict::LostUnwitnessedBatch]), "{verdicts:?}");
}

#[test]
fn every_cut_is_harmless_or_reported_or_in_the_unwitnessed_last_batch() {
    let (files, records, last_batch) = crashed_log();
    let [segment] = segment_files(&files).try_into().unwrap();
    let bytes = files[&segment].len();
    let mut verdicts: BTreeMap<Verdict, usize> = BTreeMap::new();
    for at in 0..bytes {
        let mut files = files.clone();
        files.get_mut(&segment).unwrap().truncate(at);
        *verdicts.entry(judge(files, &records, last_batch, at, &format!("cut at {at}"))).or_default() += 1;
    }
    assert!(verdicts[&Verdict::Reported] > 40_000, "{verdicts:?}");
    assert_eq!(
        verdicts[&Verdict::LostUnwitnessedBatch],
        2 * 4096,
        "the marker before it proves nothing new: {verdicts:?}"
    );
}

#[test]
fn runs_of_zeros_and_garbage_at_every_sector_are_harmless_or_reported() {
    let (files, records, last_batch) = crashed_log();
    let [segment] = segment_files(&files).try_into().unwrap();
    let sectors = files[&segment].len() / 512;
    for (len, fill) in [(512, 0u8), (4096, 0), (512, 0xa5), (4096, 0xa5)] {
        for sector in 0..sectors {
            let mut files = files.clone();
            let file = files.get_mut(&segment).unwrap();
            let from = sector * 512;
            let to = (from + len).min(file.len());
            for (n, byte) in file[from..to].iter_mut().enumerate() {
                *byte = if fill == 0 { 0 } else { fill ^ u8::try_from(n % 251).unwrap() };
            }
            judge(
                files,
                &records,
                last_batch,
                sector * 97,
                &format!("{len} bytes of {fill} at sector {sector}"),
            );
        }
    }
}

#[test]
fn every_flipped_byte_of_a_sealed_log_is_found_by_verify_or_changes_nothing() {
    let mut rig = Rig::new(MemDisk::new(), small_segments());
    for n in 0..12u8 {
        rig.write(stream(n % 3), usize::from(n) * 40);
    }
    rig.wait(1_000_000_000);
    rig.stop();
    let records: Vec<_> = rig.records().into_iter().map(without_place).collect();
    let pristine_files = rig.disk.files();
    let pristine = recover_disk(&rig.disk).unwrap();
    let mut found = 0;
    for segment in segment_files(&pristine_files) {
        for at in 0..pristine_files[&segment].len() {
            let mut files = pristine_files.clone();
            files.get_mut(&segment).unwrap()[at] ^= 1 << (at % 8);
            let disk = MemDisk::with_files(files);
            let report = verify_disk(&disk);
            if report.is_intact() {
                let read = logical(&read_all(&disk, 1).unwrap());
                assert_eq!(read, records, "{segment} at {at}");
                assert_eq!(pristine_files[&segment][at], 0, "{segment} at {at}: only padding is not covered");
            } else {
                found += 1;
            }
            let recovered = recover_disk(&disk).unwrap();
            assert_eq!(recovered.heads, pristine.heads, "{segment} at {at}");
        }
    }
    assert!(found > 20_000, "{found}");
}

#[test]
fn recovery_is_idempotent_however_often_it_is_done() {
    let (files, records, _) = crashed_log();
    let disk = MemDisk::with_files(files);
    let first = recover_disk(&disk).unwrap();
    assert!(!first.clean && first.quarantine.is_empty());
    assert_eq!(names(&disk), ["0000000000000001-0001.seg", "CHECKPOINT"]);
    for _ in 0..10 {
        let again = recover_disk(&disk).unwrap();
        assert!(again.clean, "what recovery wrote is a sealed segment");
        let same = Recovered { clean: first.clean, ..again };
        assert_eq!(same, first);
    }
    let expected: Vec<_> = records.into_iter().map(without_place).collect();
    assert_eq!(logical(&read_all(&disk, 1).unwrap()), expected);
    assert!(verify_disk(&disk).is_intact());
}

#[test]
fn a_recovery_that_is_interrupted_anywhere_is_done_again() {
    let (files, records, _) = crashed_log();
    let expected: Vec<_> = records.into_iter().map(without_place).collect();
    for stop_after in 0.. {
        let disk = MemDisk::with_files(files.clone());
        let mut script = Script::new(|io| recover(io, recovery_config()));
        let mut step = script.resume(None);
        let mut changes = 0;
        let finished = loop {
            match step {
                crate::script::Step::Done(_) => break true,
                crate::script::Step::Submit(op) => {
                    if !matches!(op, DiskOp::Read { .. } | DiskOp::List { .. }) {
                        changes += 1;
                        if changes > stop_after {
                            break false;
                        }
                    }
                    step = script.resume(Some(disk.execute(&op)));
                }
            }
        };
        recover_disk(&disk).unwrap();
        assert_eq!(logical(&read_all(&disk, 1).unwrap()), expected, "stopped after {stop_after}");
        assert_eq!(segment_files(&disk.files()).len(), 1);
        if finished {
            assert!(stop_after >= 8);
            break;
        }
    }
}

#[test]
fn an_empty_directory_becomes_an_empty_log_and_a_lost_log_is_refused() {
    let disk = MemDisk::new();
    let recovered = recover_disk(&disk).unwrap();
    assert_eq!(
        (recovered.next_position, recovered.next_batch, recovered.clean),
        (Position(1), BatchSeq(1), true)
    );
    assert_eq!((recovered.log_id, recovered.node_id), (LOG, recovery_config().node_id));
    let config = RecoveryConfig { projection_witness: Some(Position(7)), ..recovery_config() };
    let lost = Script::new(|io| recover(io, config)).run(&mut disk.clone());
    assert_eq!(lost, Err(RecoveryError::LogMissing { witness: Position(7) }));
    let mut rig = Rig::new(disk, WriterConfig::default());
    rig.write(stream(1), 0);
    rig.wait(1_000_000_000);
    let mut files = rig.disk.files();
    files.retain(|file, _| *file == checkpoint_file());
    let lost = recover_disk(&MemDisk::with_files(files));
    assert_eq!(lost, Err(RecoveryError::LogMissing { witness: Position(1) }));
}

#[test]
fn a_projection_that_has_seen_the_last_batch_turns_a_torn_tail_into_rot() {
    let (mut files, records, last_batch) = crashed_log();
    let [segment] = segment_files(&files).try_into().unwrap();
    let at = usize::try_from(u64::from(records.last().unwrap().place.offset)).unwrap();
    files.get_mut(&segment).unwrap()[at] ^= 1;
    let with = |witness| {
        let config = RecoveryConfig { projection_witness: witness, ..recovery_config() };
        Script::new(|io| recover(io, config)).run(&mut MemDisk::with_files(files.clone())).unwrap()
    };
    let torn = with(None);
    assert_eq!(torn.tail_discarded.map(|tail| tail.first), Some(Position(last_batch)));
    assert!(torn.quarantine.is_empty());
    let rotten = with(Some(Position(last_batch)));
    assert_eq!(rotten.tail_discarded, None);
    assert_eq!(rotten.quarantine[0].first, Position(last_batch));
    assert_eq!(rotten.next_position, Position(197), "no position is given twice");
    assert!(is_refused(&rotten.quarantine, stream(99)), "nobody knows what the last batch held");
    let disk = MemDisk::with_files(files);
    let config = RecoveryConfig { projection_witness: Some(Position(last_batch)), ..recovery_config() };
    Script::new(|io| recover(io, config)).run(&mut disk.clone()).unwrap();
    let without = recover_disk(&disk).unwrap();
    assert_eq!(without.quarantine, rotten.quarantine, "a rebuilt projection has not made the loss undone");
}

#[test]
fn a_rotten_body_refuses_writes_to_its_own_stream_only() {
    let (mut files, records, _) = crashed_log();
    let [segment] = segment_files(&files).try_into().unwrap();
    let victim = &records[40];
    let at = usize::try_from(victim.place.offset).unwrap() + 165;
    files.get_mut(&segment).unwrap()[at] ^= 1;
    let disk = MemDisk::with_files(files);
    let recovered = recover_disk(&disk).unwrap();
    let range = &recovered.quarantine[0];
    assert_eq!((range.first, range.last), (victim.place.position, victim.place.position));
    assert_eq!(range.touched, Touched::Only([victim.stream].into()));
    assert_eq!(
        recovered.heads[&victim.stream].seq,
        records.iter().rfind(|r| r.stream == victim.stream).unwrap().seq
    );
    let unreadable: Vec<_> =
        read_all(&disk, 1).unwrap().into_iter().filter(|i| matches!(i, ReadItem::Unreadable(_))).collect();
    assert_eq!(unreadable.len(), 1);
    assert!(disk.files().contains_key(&segment), "the damaged file is kept as it is");
    assert!(disk.files().contains_key(&quarantine_file()));
}

#[test]
fn streams_proven_untouched_by_a_lost_batch_go_on() {
    let mut rig =
        Rig::new(MemDisk::new(), WriterConfig { segment_bytes: 1 << 20, ..WriterConfig::default() });
    for n in [1, 2, 3, 1, 2] {
        rig.write(stream(n), 0);
    }
    let mut files = rig.disk.files();
    let [segment] = segment_files(&files).try_into().unwrap();
    // The batch with the only record of stream 3.
    files.get_mut(&segment).unwrap()[4096 * 3] ^= 1;
    let disk = MemDisk::with_files(files);
    let recovered = recover_disk(&disk).unwrap();
    assert_eq!(recovered.quarantine.len(), 1);
    let refused = |n| is_refused(&recovered.quarantine, stream(n));
    assert_eq!([refused(1), refused(2), refused(3), refused(4)], [false, false, true, true]);
    let mut rig = Rig::new(disk, WriterConfig::default());
    rig.write(stream(1), 0);
    assert_eq!(rig.committed.len(), 1);
    rig.stop();
    let again = recover_disk(&rig.disk).unwrap();
    assert_eq!(again.quarantine, recovered.quarantine);
    assert_eq!(again.heads[&stream(1)].seq.0, 3);
}

#[test]
fn a_missing_segment_is_quarantined_and_a_lost_footer_is_made_anew() {
    let mut rig = Rig::new(MemDisk::new(), small_segments());
    for n in 0..12 {
        rig.write(stream(n % 2), 3000);
    }
    let expected: Vec<_> = rig.records().into_iter().map(without_place).collect();
    let files = rig.disk.files();
    let segments = segment_files(&files);
    assert!(segments.len() >= 4);
    let mut without = files.clone();
    without.remove(&segments[1]);
    let recovered = recover_disk(&MemDisk::with_files(without)).unwrap();
    let first = SegmentName::parse(&segments[1].name).unwrap().first;
    let next = SegmentName::parse(&segments[2].name).unwrap().first;
    assert_eq!((recovered.quarantine[0].first, recovered.quarantine[0].last.next()), (first, next));
    assert!(is_refused(&recovered.quarantine, stream(0)) && is_refused(&recovered.quarantine, stream(1)));
    let mut rotten = files.clone();
    let len = files[&segments[1]].len();
    rotten.get_mut(&segments[1]).unwrap()[len - 20..].fill(7);
    let disk = MemDisk::with_files(rotten);
    let recovered = recover_disk(&disk).unwrap();
    assert!(recovered.quarantine.is_empty() && recovered.notes.iter().any(|note| note.contains("footer")));
    assert_eq!(recover_disk(&disk).unwrap().notes, [""; 0]);
    assert_eq!(logical(&read_all(&disk, 1).unwrap()), expected);
    assert!(verify_disk(&disk).is_intact());
}

#[test]
fn of_two_generations_only_a_complete_younger_one_counts() {
    let (files, records, _) = crashed_log();
    let [old] = segment_files(&files).try_into().unwrap();
    let young = SegmentName::parse(&old.name).unwrap().next_generation().unwrap().file();
    let disk = MemDisk::with_files(files.clone());
    recover_disk(&disk).unwrap();
    let copy = disk.files()[&young].clone();
    let expected: Vec<_> = records.into_iter().map(without_place).collect();
    for complete in [true, false] {
        let mut both = files.clone();
        let kept = if complete { copy.len() } else { copy.len() - 4096 };
        both.insert(young.clone(), copy[..kept].to_vec());
        both.insert(spare_file(), vec![0; 100]);
        let disk = MemDisk::with_files(both);
        let plan = Script::new(|io| async move { plan(&io, &recovery_config()).await });
        let text = plan.run(&mut disk.clone()).unwrap().to_string();
        assert_eq!(text.contains("a younger generation is complete"), complete, "{text}");
        assert_eq!(text.contains("the copy was interrupted"), !complete, "{text}");
        recover_disk(&disk).unwrap();
        assert_eq!(names(&disk), ["0000000000000001-0001.seg", "CHECKPOINT"]);
        assert_eq!(logical(&read_all(&disk, 1).unwrap()), expected);
    }
}

#[test]
fn another_log_and_a_newer_format_are_refused() {
    let (files, ..) = crashed_log();
    let disk = MemDisk::with_files(files.clone());
    let config =
        RecoveryConfig { log_id: LogId([1; 16]), node_id: NodeId([2; 16]), projection_witness: None };
    let foreign = Script::new(|io| recover(io, config)).run(&mut disk.clone());
    assert!(matches!(foreign, Err(RecoveryError::ForeignLog { found: LOG, .. })));
    let [segment] = segment_files(&files).try_into().unwrap();
    let mut newer = files.clone();
    let file = newer.get_mut(&segment).unwrap();
    let header = crate::segment::SegmentHeader::decode(file).unwrap();
    let header = crate::segment::SegmentHeader { format_version: 3, min_reader_version: 2, ..header };
    file[..usize::try_from(HEADER_BYTES).unwrap()].copy_from_slice(&header.encode());
    let refused = recover_disk(&MemDisk::with_files(newer.clone()));
    assert!(matches!(refused, Err(RecoveryError::NeedsVersion { needed: 2, known: 1, .. })));
    let read = read_all(&MemDisk::with_files(newer), 1);
    assert!(matches!(read, Err(ReadError::NeedsVersion { needed: 2, known: 1, .. })));
}

/// Runs a script on a disk that cannot read a part of a file.
fn run_with_bad_sectors<T>(
    mut script: Script<T>,
    disk: &MemDisk,
    file: &FilePath,
    bad: std::ops::Range<u64>,
) -> T {
    let mut step = script.resume(None);
    loop {
        let op = match step {
            crate::script::Step::Done(done) => return done,
            crate::script::Step::Submit(op) => op,
        };
        let hit = match &op {
            DiskOp::Read { file: read, offset, len, .. } => {
                read == file && *offset < bad.end && bad.start < offset + len
            }
            _ => false,
        };
        let failed = || DiskError {
            kind: DiskErrorKind::Io,
            operation: "read",
            target: String::new(),
            message: String::new(),
        };
        let result = if hit { Err(failed()) } else { disk.execute(&op) };
        step = script.resume(Some(result));
    }
}

#[test]
fn a_copy_that_does_not_hold_what_was_read_costs_nothing() {
    let (files, records, _) = crashed_log();
    let segment = segment_files(&files).remove(0);
    let mut refused = 0;
    // Each read of the segment in turn gives what was there before its third batch was written.
    for stale in 0.. {
        let disk = MemDisk::with_files(files.clone());
        let mut script = Script::new(|io| recover(io, recovery_config()));
        let (mut step, mut reads) = (script.resume(None), 0);
        let recovered = loop {
            let op = match step {
                crate::script::Step::Done(done) => break done,
                crate::script::Step::Submit(op) => op,
            };
            let mut result = disk.execute(&op);
            if let (DiskOp::Read { file, offset, .. }, Ok(DiskReply::Data(bytes))) = (&op, &mut result)
                && *file == segment
            {
                let third = usize::try_from(HEADER_BYTES + 2 * 4096 - offset).unwrap_or(0);
                if reads == stale && third + 4096 <= bytes.len() {
                    let mut old = bytes.to_vec();
                    old[third..third + 4096].fill(0);
                    *bytes = old.into();
                }
                reads += 1;
            }
            step = script.resume(Some(result));
        };
        if reads <= stale {
            break;
        }
        refused += u64::from(matches!(recovered, Err(RecoveryError::CopyDiffers { .. })));
        let again = recover_disk(&disk).unwrap();
        assert!(again.quarantine.is_empty(), "read {stale}: {:?}", again.quarantine);
        assert_eq!(logical(&read_all(&disk, 1).unwrap()).len(), records.len(), "read {stale}");
    }
    assert_eq!(refused, 1, "one of the reads is the copy's");
}

#[test]
fn megabytes_that_the_disk_cannot_read_are_quarantined_and_the_rest_is_kept() {
    let mut rig =
        Rig::new(MemDisk::new(), WriterConfig { segment_bytes: 8 << 20, ..WriterConfig::default() });
    for _ in 0..40 {
        rig.write(stream(1), 100_000);
    }
    let records = rig.records();
    let [segment] = segment_files(&rig.disk.files()).try_into().unwrap();
    let bad = 500_000..3_000_000;
    let is_lost = |record: &Record| {
        let at = u64::from(record.place.offset) / 4096 * 4096;
        at < bad.end / 4096 * 4096 && bad.start < at + 104_000
    };
    let survivors: Vec<_> = records.iter().filter(|record| !is_lost(record)).cloned().collect();
    assert!(survivors.len() > 10 && survivors.len() < 30);
    for sealed in [false, true] {
        if sealed {
            rig.stop();
        }
        let disk = MemDisk::with_files(rig.disk.files());
        if !sealed {
            let script = Script::new(|io| recover(io, recovery_config()));
            let recovered = run_with_bad_sectors(script, &disk, &segment, bad.clone()).unwrap();
            assert!(!recovered.quarantine.is_empty() && recovered.tail_discarded.is_none());
            let lost = |at: Position| recovered.quarantine.iter().any(|r| r.first <= at && at <= r.last);
            assert!(survivors.iter().all(|record| !lost(record.place.position)));
            assert!(disk.files().contains_key(&segment), "nothing was cut off");
        }
        let config = crate::repair::RepairConfig {
            recovery: recovery_config(),
            actor: crate::event::Actor::server(crate::event::Door::Offline),
            salt: crate::id::Salt([8; 16]),
            wall_millis: 5,
            remembered: Vec::new(),
        };
        let script = Script::new(|io| crate::repair::repair(io, config));
        let report = run_with_bad_sectors(script, &disk, &segment, bad.clone()).unwrap();
        assert!(!report.given_up.is_empty(), "{report:?}");
        assert!(verify_disk(&disk).is_intact());
        let kept = logical(&read_all(&disk, 1).unwrap());
        // A record at the edge may be there without its content.
        let mut expected = survivors.iter().cloned().map(without_place);
        assert!(expected.all(|record| kept.contains(&record)));
    }
}

/// Runs a script on a disk of which the system refuses one read. Says whether there were so many.
fn run_with_refused_read<T>(
    mut script: Script<T>,
    disk: &MemDisk,
    refused: usize,
    kind: DiskErrorKind,
) -> (T, bool) {
    let (mut step, mut reads) = (script.resume(None), 0);
    loop {
        let op = match step {
            crate::script::Step::Done(done) => return (done, reads > refused),
            crate::script::Step::Submit(op) => op,
        };
        let is_read = matches!(op, DiskOp::Read { .. });
        let result = if is_read && reads == refused {
            let (operation, target, message) = ("read", String::new(), String::new());
            Err(DiskError { kind, operation, target, message })
        } else {
            disk.execute(&op)
        };
        reads += usize::from(is_read);
        step = script.resume(Some(result));
    }
}

#[test]
fn no_read_that_the_system_refuses_is_taken_for_damage() {
    let (crashed, ..) = crashed_log();
    let mut sealed = Rig::new(MemDisk::new(), small_segments());
    for n in 0..40 {
        sealed.write(stream(n % 3), 500);
    }
    sealed.stop();
    let mut sealed = sealed.disk.files();
    let quarantine = crate::witness::encode_quarantine(LOG, &[]);
    sealed.insert(quarantine_file(), quarantine.to_vec());
    for files in [crashed, sealed] {
        for kind in [DiskErrorKind::NoHandles, DiskErrorKind::Denied] {
            for read in 0.. {
                let disk = MemDisk::with_files(files.clone());
                let planned = Script::new(|io| async move { plan(&io, &recovery_config()).await });
                let (planned, hit) = run_with_refused_read(planned, &disk, read, kind);
                if !hit {
                    assert!(read > 4 && planned.is_ok());
                    break;
                }
                assert!(
                    matches!(&planned, Err(RecoveryError::Disk(error)) if error.kind == kind),
                    "read {read}"
                );
                let verified = Script::new(|io| async move { crate::reader::verify(&io).await });
                let (verified, hit) = run_with_refused_read(verified, &disk, read, kind);
                assert!(!hit || matches!(&verified, Err(ReadError::Disk(_))), "read {read}: {verified:?}");
            }
        }
    }
}

#[test]
fn a_bad_sector_in_the_last_footer_costs_no_record_and_refuses_no_write() {
    for streams in [3, 150u8] {
        let mut rig =
            Rig::new(MemDisk::new(), WriterConfig { segment_bytes: 1 << 20, ..WriterConfig::default() });
        for n in 0..streams {
            rig.write(stream(n), 10);
        }
        rig.stop();
        let files = rig.disk.files();
        let [segment] = segment_files(&files).try_into().unwrap();
        let len = files[&segment].len() as u64;
        let footer = u64::from(rig.records().last().unwrap().place.offset) / 4096 * 4096 + 4096;
        assert_eq!((len - footer) / 4096, if streams > 100 { 3 } else { 1 });
        let expected: Vec<_> = rig.records().into_iter().map(without_place).collect();
        for bad in (footer..len).step_by(4096) {
            let disk = MemDisk::with_files(files.clone());
            let bad = bad..bad + 4096;
            let verified = Script::new(|io| async move { crate::reader::verify(&io).await });
            let verified = run_with_bad_sectors(verified, &disk, &segment, bad.clone()).unwrap();
            let found: Vec<_> = verified.findings.iter().map(ToString::to_string).collect();
            assert!(found.len() == 1 && found[0].contains("footer"), "{found:?}");
            assert_eq!((verified.first_bad(), verified.tail_bytes), (None, 0));
            let script = Script::new(|io| recover(io, recovery_config()));
            let recovered = run_with_bad_sectors(script, &disk, &segment, bad).unwrap();
            assert_eq!((recovered.quarantine, recovered.tail_discarded), (vec![], None));
            assert_eq!(recovered.next_position, Position(u64::from(streams) + 1));
            assert!(recovered.notes.iter().any(|note| note.contains("footer")), "{:?}", recovered.notes);
            assert_eq!(logical(&read_all(&disk, 1).unwrap()), expected);
            assert!(verify_disk(&disk).is_intact(), "the copy is whole");
        }
    }
}

#[test]
fn a_bad_sector_in_the_last_batch_is_no_torn_append() {
    let (files, records, last_batch) = crashed_log();
    let [segment] = segment_files(&files).try_into().unwrap();
    let bad = u64::from(records.last().unwrap().place.offset) / 4096 * 4096;
    let disk = MemDisk::with_files(files);
    let script = Script::new(|io| recover(io, recovery_config()));
    let recovered = run_with_bad_sectors(script, &disk, &segment, bad..bad + 1).unwrap();
    assert_eq!(recovered.tail_discarded, None);
    assert_eq!(recovered.quarantine[0].first, Position(last_batch));
    assert!(disk.files().contains_key(&segment), "nothing was cut off");
    let listed = disk.execute(&DiskOp::List { folder: Folder::Log });
    assert!(matches!(listed, Ok(DiskReply::Files(files)) if files.len() == 3));
}
