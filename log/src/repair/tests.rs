use super::*;
use crate::event::Door;
use crate::host::FilePath;
use crate::host::mem::MemDisk;
use crate::reader::{ReadError, ReadItem, VerifyReport, content};
use crate::record::Place;
use crate::script::Script;
use crate::testing::{
    Rig, logical, read_all, recover_disk, recovery_config, small_segments, stream, verify_disk, without_place,
};

fn repair_disk(disk: &MemDisk) -> Result<RepairReport, RepairError> {
    let config = RepairConfig {
        recovery: recovery_config(),
        actor: Actor::server(Door::Offline),
        salt: Salt([8; 16]),
        wall_millis: 5,
        remembered: Vec::new(),
    };
    Script::new(|io| repair(io, config)).run(&mut disk.clone())
}

/// Twelve batches of six records in several segments, and a tail that was not sealed.
fn log() -> Rig {
    let mut rig = Rig::new(MemDisk::new(), small_segments());
    for _ in 0..12 {
        let drafts = (0..6).map(|n| rig.next_draft(stream(n % 3), 100)).collect();
        rig.submit(false, drafts);
        rig.settle();
    }
    rig.wait(1_000_000_000);
    rig
}

fn damage(disk: &MemDisk, file: &FilePath, at: usize) {
    let mut files = disk.files();
    let bytes = files.get_mut(file).unwrap();
    bytes[at] ^= 1;
    disk.put(file.clone(), bytes.clone());
}

/// Repairs, and insists that what could be read before is unchanged and that the log verifies.
fn repaired(disk: &MemDisk) -> (RepairReport, VerifyReport) {
    let readable = logical(&read_all(disk, 1).unwrap());
    let report = repair_disk(disk).unwrap();
    let after = read_all(disk, 1).unwrap();
    let records = logical(&after);
    for record in &readable {
        let same = records.iter().find(|other| other.place.position == record.place.position);
        assert_eq!(same, Some(record));
    }
    let open = after.iter().any(|item| matches!(item, ReadItem::Unreadable(range) if !range.accepted));
    assert!(!open, "{after:?}");
    let verified = verify_disk(disk);
    assert!(verified.is_intact(), "{:?}", verified.findings);
    assert!(verified.quarantine.is_empty());
    let recovered = recover_disk(disk).unwrap();
    assert!(recovered.quarantine.is_empty());
    assert_eq!(repair_disk(disk).unwrap(), RepairReport::default(), "a second repair has nothing to do");
    let last = records.last().unwrap();
    assert!(matches!(last.decode().unwrap().unwrap().event, Event::LogRepaired(_)));
    assert_eq!((last.stream, recovered.heads[&StreamId::SYSTEM].seq), (StreamId::SYSTEM, last.seq));
    (report, verified)
}

#[test]
fn a_rotten_body_or_content_leaves_its_record_in_the_chain() {
    let rig = log();
    let heads = recover_disk(&MemDisk::with_files(rig.disk.files())).unwrap().heads;
    let records = rig.records();
    let (body, inline) = (&records[68], &records[70]);
    for (record, into) in
        [(body, 165), (inline, 160 + u32::try_from(inline.body.as_ref().unwrap().len()).unwrap())]
    {
        let name = SegmentName { first: record.place.segment, generation: record.place.generation };
        damage(&rig.disk, &name.file(), usize::try_from(record.place.offset + into).unwrap());
    }
    let (report, verified) = repaired(&rig.disk);
    assert_eq!(report.emptied, [body.place.position, inline.place.position]);
    assert!(report.given_up.is_empty() && verified.accepted.is_empty());
    let after = recover_disk(&rig.disk).unwrap();
    assert!(heads.iter().all(|(stream, head)| after.heads[stream] == *head), "no head has changed");
    let place = inline.place;
    let read = Script::new(|io| async move { content(&io, place, 116).await }).run(&mut rig.disk.clone());
    assert_eq!(read, Err(ReadError::NoContent(place.position)));
}

#[test]
fn a_batch_that_the_disk_put_into_another_segment_is_none_of_that_segments() {
    let rig = log();
    let mut records = rig.records().into_iter();
    let first = records.next().unwrap().place;
    let other = records.find(|record| record.place.segment != first.segment).unwrap().place;
    let page = |place: Place| {
        let name = SegmentName { first: place.segment, generation: place.generation };
        (name.file(), usize::try_from(place.offset / 4096 * 4096).unwrap())
    };
    let ((file, at), (from, from_at)) = (page(first), page(other));
    let mut files = rig.disk.files();
    let moved = files[&from][from_at..from_at + 4096].to_vec();
    let bytes = files.get_mut(&file).unwrap();
    bytes[at..at + 4096].copy_from_slice(&moved);
    rig.disk.put(file, bytes.clone());
    let (report, _) = repaired(&rig.disk);
    let lost: Vec<(u64, u64)> = report.given_up.iter().map(|loss| (loss.first.0, loss.last.0)).collect();
    assert_eq!(lost, [(1, 6)], "what it replaced, and no more");
}

#[test]
fn a_lost_batch_becomes_an_accepted_gap_and_its_streams_go_on() {
    let rig = log();
    let records = rig.records();
    let victim = records[66].place;
    let name = SegmentName { first: victim.segment, generation: victim.generation };
    let frame = usize::try_from(victim.offset / 4096 * 4096).unwrap();
    damage(&rig.disk, &name.file(), frame);
    assert!(!recover_disk(&MemDisk::with_files(rig.disk.files())).unwrap().quarantine.is_empty());
    let (report, verified) = repaired(&rig.disk);
    assert_eq!(report.given_up.len(), 1);
    assert_eq!(verified.accepted, report.given_up);
    assert!(report.given_up[0].first <= victim.position && victim.position <= report.given_up[0].last);
    let mut rig = Rig::new(rig.disk.clone(), small_segments());
    for n in 0..3 {
        rig.write(stream(n), 10);
    }
    assert!(rig.refused.is_empty());
    rig.stop();
    assert!(verify_disk(&rig.disk).is_intact());
}

#[test]
fn a_damaged_header_costs_the_rest_of_its_batch_and_a_damaged_table_nothing() {
    let rig = log();
    let place = rig.records()[68].place;
    let name = SegmentName { first: place.segment, generation: place.generation };
    damage(&rig.disk, &name.file(), usize::try_from(place.offset).unwrap() + 20);
    let (report, _) = repaired(&rig.disk);
    let batch_end = Position(72);
    assert_eq!(report.given_up, [AcceptedLoss { first: place.position, last: batch_end }]);
    let rig = log();
    damage(&rig.disk, &name.file(), usize::try_from(place.offset / 4096 * 4096).unwrap() + 70);
    let expected: Vec<_> = rig.records().into_iter().map(without_place).collect();
    let (report, _) = repaired(&rig.disk);
    assert!(report.given_up.is_empty() && report.emptied.is_empty());
    assert_eq!(logical(&read_all(&rig.disk, 1).unwrap())[..72], expected);
}

#[test]
fn a_missing_segment_and_a_lost_end_are_given_up() {
    let rig = log();
    let mut files = rig.disk.files();
    let segments: Vec<_> = files.keys().filter(|f| SegmentName::parse(&f.name).is_some()).cloned().collect();
    files.remove(&segments[1]);
    let disk = MemDisk::with_files(files.clone());
    let (report, verified) = repaired(&disk);
    assert_eq!((report.given_up.len(), verified.accepted.len()), (1, 1));
    files.remove(segments.last().unwrap());
    let disk = MemDisk::with_files(files);
    let (report, _) = repaired(&disk);
    assert_eq!(report.given_up.len(), 2);
}

fn survey_disk(disk: &MemDisk) -> Damage {
    Script::new(|io| survey(io, recovery_config(), Vec::new())).run(&mut disk.clone()).unwrap()
}

/// A log that was stopped cleanly: every segment is sealed, so that recovery reads footers only.
fn sealed_log() -> Rig {
    let mut rig = log();
    rig.stop();
    rig
}

#[test]
fn every_kind_of_damage_in_a_sealed_segment_is_repaired_and_costs_only_what_it_touches() {
    let rig = sealed_log();
    let records = rig.records();
    let place = records[8].place;
    let name = SegmentName { first: place.segment, generation: place.generation };
    let record = usize::try_from(place.offset).unwrap();
    let frame = record / 4096 * 4096;
    let len = rig.disk.files()[&name.file()].len();
    // Where a bit flips, and whether records are lost, emptied, or neither.
    let cases = [
        ("the body", record + 165, (false, true)),
        ("a record's header", record + 20, (true, false)),
        ("the batch's frame", frame + 9, (true, false)),
        ("the batch's table", frame + 70, (false, false)),
        ("the segment's header", 30, (false, false)),
        ("the footer", len - 4096 + 20, (false, false)),
    ];
    for (what, at, (lost, emptied)) in cases {
        let disk = MemDisk::with_files(rig.disk.files());
        damage(&disk, &name.file(), at);
        assert!(!verify_disk(&disk).is_intact(), "{what}");
        let before = disk.files();
        let found = survey_disk(&disk);
        assert_eq!(disk.files(), before, "{what}: looking changes nothing");
        assert!(!found.is_none(), "{what}");
        if lost || emptied {
            let (report, verified) = repaired(&disk);
            assert_eq!((!report.given_up.is_empty(), !report.emptied.is_empty()), (lost, emptied), "{what}");
            assert_eq!(verified.accepted, report.given_up, "{what}");
        } else {
            let report = repair_disk(&disk).unwrap();
            assert!(report.given_up.is_empty() && report.emptied.is_empty(), "{what}: {report:?}");
            let verified = verify_disk(&disk);
            assert!(verified.is_intact(), "{what}: {:?}", verified.findings);
            let kept = logical(&read_all(&disk, 1).unwrap());
            let all: Vec<_> = records.iter().cloned().map(without_place).collect();
            assert_eq!(kept[..all.len()], all, "{what}");
        }
        assert!(survey_disk(&disk).is_none(), "{what}");
    }
}

#[test]
fn what_was_given_up_once_is_not_given_up_again_by_the_next_repair_of_its_segment() {
    let rig = sealed_log();
    let records = rig.records();
    let (one, other) = (records[8].place, records[2].place);
    let name = SegmentName { first: one.segment, generation: one.generation };
    assert_eq!(one.segment, other.segment);
    damage(&rig.disk, &name.file(), usize::try_from(one.offset / 4096 * 4096).unwrap());
    let (first, _) = repaired(&rig.disk);
    let younger = name.next_generation().unwrap();
    let place = Script::new(|io| async move { crate::reader::record_at(&io, other.position).await });
    let place = place.run(&mut rig.disk.clone()).unwrap().place;
    damage(&rig.disk, &younger.file(), usize::try_from(place.offset).unwrap() + 165);
    let (second, verified) = repaired(&rig.disk);
    assert_eq!((second.given_up.len(), second.emptied), (0, vec![other.position]));
    assert_eq!(verified.accepted, first.given_up);
}

#[test]
fn an_interrupted_repair_is_done_again() {
    let rig = log();
    let victim = rig.records()[66].place;
    let name = SegmentName { first: victim.segment, generation: victim.generation };
    damage(&rig.disk, &name.file(), usize::try_from(victim.offset / 4096 * 4096).unwrap());
    let files = rig.disk.files();
    for stop_after in 0.. {
        let disk = MemDisk::with_files(files.clone());
        let config = RepairConfig {
            recovery: recovery_config(),
            actor: Actor::server(Door::Offline),
            salt: Salt([8; 16]),
            wall_millis: 5,
            remembered: Vec::new(),
        };
        let mut script = Script::new(|io| repair(io, config));
        let mut step = script.resume(None);
        let mut changes = 0;
        let finished = loop {
            match step {
                crate::script::Step::Done(done) => break done.is_ok(),
                crate::script::Step::Submit(op) => {
                    changes += u32::from(!matches!(op, DiskOp::Read { .. } | DiskOp::List { .. }));
                    if changes > stop_after {
                        break false;
                    }
                    step = script.resume(Some(disk.execute(&op)));
                }
            }
        };
        if finished {
            assert!(stop_after > 10);
            break;
        }
        repair_disk(&disk).unwrap();
        let verified = verify_disk(&disk);
        assert!(verified.is_intact(), "stopped after {stop_after}: {:?}", verified.findings);
        assert_eq!(verified.accepted.len(), 1, "stopped after {stop_after}");
    }
}

#[test]
fn nothing_is_given_up_that_was_not_listed_and_recorded() {
    let rig = sealed_log();
    let records = rig.records();
    let (listed, later) = (records[8].place, records[2].place);
    let name = SegmentName { first: listed.segment, generation: listed.generation };
    assert_eq!(listed.segment, later.segment);
    // What goes bad after the damage was listed, while the segment is written anew: a body, and a whole batch.
    let later = usize::try_from(later.offset).unwrap();
    for at in [later + 165, later / 4096 * 4096 + 9] {
        let disk = MemDisk::with_files(rig.disk.files());
        damage(&disk, &name.file(), usize::try_from(listed.offset).unwrap() + 165);
        let config = RepairConfig {
            recovery: recovery_config(),
            actor: Actor::server(Door::Offline),
            salt: Salt([8; 16]),
            wall_millis: 5,
            remembered: Vec::new(),
        };
        let mut script = Script::new(|io| repair(io, config));
        let mut step = script.resume(None);
        let mut rotten = false;
        let done = loop {
            match step {
                crate::script::Step::Done(done) => break done,
                crate::script::Step::Submit(op) => {
                    let generation = |file: &FilePath| SegmentName::parse(&file.name).unwrap().generation;
                    if !rotten && matches!(&op, DiskOp::Create { file, .. } if generation(file) > 0) {
                        damage(&disk, &name.file(), at);
                        rotten = true;
                    }
                    step = script.resume(Some(disk.execute(&op)));
                }
            }
        };
        assert!(rotten);
        assert!(matches!(done, Err(RepairError::NewDamage { .. })), "{done:?}");
        assert!(disk.files().contains_key(&name.file()), "what could be read is still there");
        let (report, _) = repaired(&disk);
        let recorded = |position: Position| {
            report.ranges.iter().any(|range| range.first <= position && position <= range.last)
        };
        assert!(report.emptied.iter().all(|position| recorded(*position)));
        assert_eq!(report.emptied.len() + report.given_up.len(), 2, "{report:?}");
    }
}
