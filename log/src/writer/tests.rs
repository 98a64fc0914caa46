use super::*;
use crate::host::FilePath;
use crate::host::mem::MemDisk;
use crate::id::Seq;
use crate::reader::ReadItem;
use crate::testing::{
    Fault, Rig, draft, logical, read_all, recover_disk, small_segments, stream, verify_disk, without_place,
};
use crate::witness::checkpoint_file;
use proptest::prelude::*;
use std::cell::RefCell;
use std::rc::Rc;

fn error(kind: DiskErrorKind) -> DiskResult {
    Err(DiskError { kind, operation: "test", target: String::new(), message: String::new() })
}

/// Fails the first operation that matches.
fn fail_once(matches: fn(&DiskOp) -> bool, kind: DiskErrorKind) -> Fault {
    let mut done = false;
    Box::new(move |op| {
        (!done && matches(op)).then(|| {
            done = true;
            error(kind)
        })
    })
}

fn is_segment(file: &FilePath) -> bool {
    SegmentName::parse(&file.name).is_some()
}

#[test]
fn records_are_acknowledged_only_after_their_sync() {
    let mut rig = Rig::new(MemDisk::new(), WriterConfig::default());
    let draft = rig.next_draft(stream(1), 100);
    rig.submit(false, vec![draft]);
    assert!(matches!(rig.waiting.front(), Some((_, DiskOp::Write { .. }))));
    rig.step();
    assert!(rig.committed.is_empty(), "written is not durable");
    assert!(matches!(rig.waiting.front(), Some((_, DiskOp::Sync { .. }))));
    rig.step();
    assert_eq!(rig.committed.len(), 1);
    assert_eq!((rig.committed[0].durable, rig.writer.durable()), (Position(1), Position(1)));
}

#[test]
fn what_waits_during_a_sync_goes_into_the_next_batch_in_order() {
    let mut rig = Rig::new(MemDisk::new(), WriterConfig::default());
    let first = rig.next_draft(stream(1), 0);
    rig.submit(false, vec![first]);
    for n in 0..100 {
        let draft = rig.next_draft(stream(n % 7), 10);
        rig.submit(false, vec![draft]);
    }
    assert!(rig.writer.queued_bytes() > 100 * 160);
    rig.settle();
    assert_eq!(rig.writer.queued_bytes(), 0);
    let sizes: Vec<_> = rig.committed.iter().map(|batch| batch.records.len()).collect();
    assert_eq!(sizes, [1, 100]);
    assert_eq!(rig.committed[1].tokens, (2..=101).collect::<Vec<_>>());
    let positions: Vec<_> = rig.records().iter().map(|record| record.place.position.0).collect();
    assert_eq!(positions, (1..=101).collect::<Vec<_>>());
}

#[test]
fn a_batch_ends_at_its_limits_without_splitting_a_submission() {
    let config = WriterConfig { batch_records: 10, batch_bytes: 100_000, ..WriterConfig::default() };
    let mut rig = Rig::new(MemDisk::new(), config);
    let write = |rig: &mut Rig, count, content| {
        let drafts = (0..count).map(|_| rig.next_draft(stream(1), content)).collect();
        rig.submit(false, drafts);
    };
    write(&mut rig, 1, 0);
    for count in [6, 3, 2, 25, 1] {
        write(&mut rig, count, 0);
    }
    for content in [60_000, 60_000, 10] {
        write(&mut rig, 1, content);
    }
    rig.settle();
    let sizes: Vec<_> = rig.committed.iter().map(|batch| batch.records.len()).collect();
    assert_eq!(sizes, [1, 9, 2, 25, 2, 2]);
}

#[test]
fn a_submission_that_does_not_follow_its_stream_is_refused_whole() {
    let mut rig = Rig::new(MemDisk::new(), WriterConfig::default());
    rig.write(stream(1), 0);
    let token = rig.submit(false, vec![draft(stream(2), 1, 0), draft(stream(1), 3, 0)]);
    rig.settle();
    let reason = WriteRefusal::OutOfOrder { stream: stream(1), expected: Seq(2), found: Seq(3) };
    assert_eq!(rig.refused, [(token, reason)]);
    rig.submit(false, vec![draft(stream(2), 1, 0), draft(stream(1), 2, 0), draft(stream(2), 2, 0)]);
    rig.settle();
    assert_eq!(rig.committed.len(), 2, "the refused one left no trace");
}

#[test]
fn submissions_beyond_the_limits_are_refused() {
    let mut rig = Rig::new(MemDisk::new(), WriterConfig::default());
    let huge = draft(stream(1), 1, 16 * 1024 * 1024);
    let many = (1..=4097).map(|seq| draft(stream(1), seq, 0)).collect();
    let large = (1..=3).map(|seq| draft(stream(1), seq, 15 * 1024 * 1024)).collect();
    for drafts in [vec![], vec![huge], many, large] {
        let token = rig.submit(false, drafts);
        assert_eq!(rig.refused.pop(), Some((token, WriteRefusal::TooLarge)));
    }
    assert!(rig.waiting.is_empty());
}

#[test]
fn one_marker_and_a_checkpoint_follow_when_nothing_is_written_for_a_while() {
    let mut rig = Rig::new(MemDisk::new(), WriterConfig::default());
    assert_eq!(rig.writer.wake_at(), None, "nothing to prove yet");
    rig.write(stream(1), 0);
    let size = |rig: &Rig| {
        let files = rig.disk.files();
        let segment = files.iter().find(|(file, _)| is_segment(file)).unwrap().1;
        segment.iter().rposition(|byte| *byte != 0).unwrap() / 4096
    };
    assert_eq!(size(&rig), 1);
    let due = rig.writer.wake_at().unwrap();
    rig.wait(due - rig.now.monotonic_nanos - 1);
    assert_eq!(size(&rig), 1);
    rig.wait(1);
    assert_eq!((size(&rig), rig.writer.wake_at()), (2, None));
    let checkpoint = crate::witness::Checkpoint::newest(&rig.disk.files()[&checkpoint_file()]).unwrap();
    assert_eq!((checkpoint.durable, checkpoint.batch), (Position(1), BatchSeq(2)));
    rig.wait(10_000_000_000);
    assert_eq!(size(&rig), 2, "the marker is not repeated");
    assert_eq!(rig.committed.len(), 1, "a marker is nobody's commit");
}

#[test]
fn under_load_a_checkpoint_is_written_every_five_seconds() {
    let mut rig = Rig::new(MemDisk::new(), WriterConfig::default());
    let checkpoint = |rig: &Rig| crate::witness::Checkpoint::newest(&rig.disk.files()[&checkpoint_file()]);
    for _ in 0..40 {
        rig.now.monotonic_nanos += 100_000_000;
        rig.write(stream(1), 0);
    }
    assert_eq!(checkpoint(&rig), None);
    for _ in 0..20 {
        rig.now.monotonic_nanos += 100_000_000;
        rig.write(stream(1), 0);
    }
    let found = checkpoint(&rig).unwrap();
    assert!((49..=51).contains(&found.durable.0), "{found:?}");
}

#[test]
fn the_first_append_to_a_segment_waits_until_its_name_is_durable() {
    let mut rig = Rig::new(MemDisk::new(), small_segments());
    let mut ops: Vec<DiskOp> = Vec::new();
    for _ in 0..10 {
        let draft = rig.next_draft(stream(1), 5000);
        rig.submit(false, vec![draft]);
        while let Some((_, op)) = rig.waiting.front() {
            ops.push(op.clone());
            rig.step();
        }
    }
    let renamed: Vec<_> =
        ops.iter().enumerate().filter(|(_, op)| matches!(op, DiskOp::Rename { .. })).collect();
    assert!(renamed.len() >= 3);
    for (at, op) in renamed {
        let DiskOp::Rename { to, .. } = op else { unreachable!() };
        assert!(matches!(ops[at - 1], DiskOp::Sync { .. }));
        assert_eq!(ops[at + 1], DiskOp::SyncFolder { folder: crate::host::Folder::Log });
        let appended = |op: &DiskOp| matches!(op, DiskOp::Write { file, .. } if file.name == *to);
        assert!(ops.iter().position(appended).unwrap() > at + 1);
    }
}

#[test]
fn after_any_failed_write_or_sync_nothing_is_acknowledged_or_tried_again() {
    let cases: [fn(&DiskOp) -> bool; 4] = [
        |op| matches!(op, DiskOp::Write { file, .. } if is_segment(file)),
        |op| matches!(op, DiskOp::Sync { file } if is_segment(file)),
        |op| matches!(op, DiskOp::SyncFolder { .. }),
        |op| matches!(op, DiskOp::Truncate { .. }),
    ];
    for (n, matches) in cases.into_iter().enumerate() {
        for kind in [DiskErrorKind::Io, DiskErrorKind::NoSpace] {
            let mut rig = Rig::new(MemDisk::new(), small_segments());
            rig.fault = fail_once(matches, kind);
            for _ in 0..10 {
                rig.write(stream(1), 5000);
            }
            assert!(rig.failed, "case {n}");
            assert!(rig.waiting.is_empty() && rig.committed.len() < 10);
            let committed = rig.committed.len();
            rig.refused.clear();
            let token = rig.submit(true, vec![draft(stream(9), 1, 0)]);
            assert_eq!(rig.refused, [(token, WriteRefusal::Failed)]);
            rig.wait(100_000_000_000);
            assert_eq!(rig.committed.len(), committed);
            assert_eq!(rig.writer.wake_at(), None);
        }
    }
}

#[test]
fn without_space_for_another_segment_only_what_makes_room_is_written_until_there_is_space_again() {
    let mut rig =
        Rig::new(MemDisk::new(), WriterConfig { segment_bytes: 64 * 1024, ..WriterConfig::default() });
    rig.fault = Box::new(|op| matches!(op, DiskOp::Create { .. }).then(|| error(DiskErrorKind::NoSpace)));
    let mut ordinary = 0;
    while !rig.writer.is_low_on_space() {
        rig.write(stream(1), 3000);
        ordinary += 1;
        assert!(ordinary < 20);
    }
    let token = rig.submit(false, vec![draft(stream(1), ordinary + 1, 0)]);
    assert_eq!(rig.refused, [(token, WriteRefusal::NoSpace)]);
    let mut reserve = 0;
    loop {
        let draft = draft(stream(2), reserve + 1, 0);
        let token = rig.submit(true, vec![draft]);
        rig.settle();
        if rig.refused.contains(&(token, WriteRefusal::NoSpace)) {
            break;
        }
        reserve += 1;
    }
    assert!(reserve >= 4, "the reserve is about half a segment: {reserve}");
    assert!(!rig.failed);
    rig.fault = Box::new(|_| None);
    let wake = rig.writer.wake_at().unwrap();
    rig.wait(wake - rig.now.monotonic_nanos);
    rig.wait(2_000_000_000);
    assert!(!rig.writer.is_low_on_space());
    let written = rig.committed.len();
    rig.submit(false, vec![draft(stream(1), ordinary + 1, 0)]);
    rig.settle();
    assert_eq!(rig.committed.len(), written + 1);
    rig.stop();
    assert!(verify_disk(&rig.disk).is_intact());
}

#[test]
fn a_restart_on_a_full_volume_has_room_for_what_makes_room_and_for_nothing_else() {
    let config = WriterConfig {
        segment_bytes: 256 * 1024,
        leave_free: 1 << 20,
        reserve_bytes: 16 * 1024,
        ..WriterConfig::default()
    };
    let mut rig = Rig::new(MemDisk::new(), config);
    rig.write(stream(1), 100);
    rig.stop();
    let mut rig = Rig::new(rig.disk.clone(), small_segments());
    // Less than the floor is free: whole segments are refused, and so many small ones find room.
    let small = Rc::new(RefCell::new(3));
    let left = Rc::clone(&small);
    let full = move |op: &DiskOp| match op {
        DiskOp::Create { leave_free: 0, len, .. } if *left.borrow() > 0 => {
            assert_eq!(*len, 16 * 1024);
            *left.borrow_mut() -= 1;
            None
        }
        DiskOp::Create { .. } => Some(error(DiskErrorKind::NoSpace)),
        _ => None,
    };
    rig.stop();
    let recovered = recover_disk(&rig.disk).unwrap();
    rig.writer = Writer::new(&recovered, config);
    rig.stopped = false;
    rig.fault = Box::new(full);
    rig.input(WriterInput::Tick);
    rig.settle();
    assert!(rig.writer.is_low_on_space());
    assert_eq!(*small.borrow(), 3, "no small segment is made before something needs it");
    let token = rig.submit(false, vec![draft(stream(1), 2, 0)]);
    assert_eq!(rig.refused, [(token, WriteRefusal::NoSpace)]);
    let mut written = 0;
    loop {
        let token = rig.submit(true, vec![draft(stream(2), written + 1, 0)]);
        rig.settle();
        if rig.refused.contains(&(token, WriteRefusal::NoSpace)) {
            break;
        }
        written += 1;
    }
    assert!(written >= 6, "three small segments hold some records: {written}");
    assert!(!rig.failed && rig.writer.is_low_on_space());
    rig.fault = Box::new(|_| None);
    rig.wait(2_000_000_000);
    assert!(!rig.writer.is_low_on_space());
    rig.submit(false, vec![draft(stream(1), 2, 200_000)]);
    rig.settle();
    rig.stop();
    let report = verify_disk(&rig.disk);
    assert!(report.is_intact(), "{:?}", report.findings);
    assert_eq!(report.records, 2 + written);
}

#[test]
fn what_makes_room_is_written_though_it_shared_a_batch_with_what_is_refused() {
    let config = WriterConfig {
        segment_bytes: 256 * 1024,
        leave_free: 1 << 20,
        reserve_bytes: 16 * 1024,
        ..WriterConfig::default()
    };
    let mut rig = Rig::new(MemDisk::new(), small_segments());
    rig.stop();
    rig.writer = Writer::new(&recover_disk(&rig.disk).unwrap(), config);
    // Only small segments find room.
    rig.fault = Box::new(|op| {
        matches!(op, DiskOp::Create { leave_free, .. } if *leave_free > 0)
            .then(|| error(DiskErrorKind::NoSpace))
    });
    let submissions = [
        (1, false, draft(stream(1), 1, 0)),
        (2, true, draft(stream(2), 1, 0)),
        (3, true, draft(stream(1), 2, 0)),
        (4, true, draft(stream(2), 2, 0)),
    ];
    for (token, priority, draft) in submissions {
        let submission = Submission { token, priority, drafts: vec![draft] };
        rig.writer.enqueue(rig.now, submission, &mut Vec::new());
    }
    rig.input(WriterInput::Tick);
    rig.settle();
    let (expected, found) = (Seq(1), Seq(2));
    // The third was decided upon the first.
    let rested = WriteRefusal::OutOfOrder { stream: stream(1), expected, found };
    assert_eq!(rig.refused, [(1, WriteRefusal::NoSpace), (3, rested)]);
    let written: Vec<u64> = rig.committed.iter().flat_map(|batch| batch.tokens.clone()).collect();
    assert_eq!(written, [2, 4]);
    assert_eq!(rig.writer.queued_bytes(), 0);
}

/// Gives the writer every tick it asks for, until it asks for none that is due.
fn give_due_ticks(rig: &mut Rig) {
    for _ in 0..10 {
        if rig.writer.wake_at().is_none_or(|at| at > rig.now.monotonic_nanos) {
            return;
        }
        rig.input(WriterInput::Tick);
    }
    panic!("the writer asks for a tick that it has nothing to do with");
}

#[test]
fn a_writer_that_waits_for_its_next_segment_does_not_ask_to_be_woken_again_and_again() {
    let mut rig = Rig::new(MemDisk::new(), small_segments());
    rig.write(stream(1), 1000);
    rig.now.monotonic_nanos += 10_000_000_000;
    let large = rig.next_draft(stream(1), 15_000);
    rig.submit(false, vec![large]);
    assert!(!rig.waiting.is_empty(), "the segment's file is being made");
    give_due_ticks(&mut rig);
    rig.settle();
    assert_eq!(rig.committed.len(), 2);
}

#[test]
fn space_is_looked_for_again_even_where_what_needed_it_was_refused() {
    let mut rig = Rig::new(MemDisk::new(), small_segments());
    rig.write(stream(1), 1000);
    rig.fault = fail_once(|op| matches!(op, DiskOp::Create { .. }), DiskErrorKind::NoSpace);
    let large = rig.next_draft(stream(1), 15_000);
    let token = rig.submit(false, vec![large]);
    rig.settle();
    assert_eq!(rig.refused, [(token, WriteRefusal::NoSpace)]);
    assert!(rig.writer.is_low_on_space());
    rig.now.monotonic_nanos += 10_000_000_000;
    give_due_ticks(&mut rig);
    rig.settle();
    assert!(!rig.writer.is_low_on_space());
}

#[test]
fn streams_in_quarantine_refuse_writes_and_others_go_on() {
    let mut recovered = recover_disk(&MemDisk::new()).unwrap();
    recovered.quarantine.push(QuarantinedRange {
        first: Position(1),
        last: Position(1),
        touched: crate::witness::Touched::Only([stream(1)].into()),
        reason: String::new(),
    });
    let mut writer = Writer::new(&recovered, WriterConfig::default());
    let mut out = Vec::new();
    for (token, stream) in [(1, stream(1)), (2, stream(2))] {
        let submission = Submission { token, priority: true, drafts: vec![draft(stream, 1, 0)] };
        writer.handle(Now::default(), WriterInput::Submit(submission), &mut out);
    }
    let refused: Vec<_> =
        out.iter().filter(|effect| matches!(effect, WriterEffect::Refused { .. })).cloned().collect();
    let reason = WriteRefusal::Quarantined(stream(1));
    assert_eq!(refused, [WriterEffect::Refused { token: 1, reason }]);
    assert!(writer.queued_bytes() > 0);
}

#[test]
fn stopping_writes_what_waits_and_seals() {
    let mut rig = Rig::new(MemDisk::new(), WriterConfig::default());
    for _ in 0..3 {
        let draft = rig.next_draft(stream(1), 10);
        rig.submit(false, vec![draft]);
    }
    rig.input(WriterInput::Stop);
    let late = rig.submit(false, vec![draft(stream(1), 4, 0)]);
    rig.settle();
    assert!(rig.stopped);
    assert_eq!((rig.records().len(), rig.refused.clone()), (3, vec![(late, WriteRefusal::Failed)]));
    let recovered = recover_disk(&rig.disk).unwrap();
    assert!(recovered.clean && recovered.segments.iter().all(|segment| segment.sealed));
    assert!(recovered.segments[0].bytes < 32 * 1024, "a sealed segment costs what it holds");
    assert_eq!(recovered.next_position, Position(4));
}

#[test]
fn stopping_without_a_record_leaves_nothing_behind() {
    let mut rig = Rig::new(MemDisk::new(), WriterConfig::default());
    rig.stop();
    let recovered = recover_disk(&rig.disk).unwrap();
    assert!(recovered.clean && recovered.segments.is_empty());
    assert_eq!(rig.disk.files().keys().map(|file| &*file.name).collect::<Vec<_>>(), ["CHECKPOINT"]);
}

/// What a test does to the writer.
#[derive(Debug, Clone)]
enum Act {
    Submit { streams: Vec<u8>, content: usize },
    Step,
    Settle,
    Wait(u64),
    Restart,
}

fn act() -> impl Strategy<Value = Act> {
    let content = prop_oneof![Just(0), 0usize..300, 3000usize..20_000];
    prop_oneof![
        6 => (prop::collection::vec(0u8..4, 1..6), content)
            .prop_map(|(streams, content)| Act::Submit { streams, content }),
        3 => Just(Act::Step),
        2 => Just(Act::Settle),
        1 => (0u64..300_000_000).prop_map(Act::Wait),
        1 => Just(Act::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_is_acknowledged_is_read_back_in_order(acts in prop::collection::vec(act(), 1..60)) {
        let mut rig = Rig::new(MemDisk::new(), small_segments());
        let mut acknowledged = Vec::new();
        for act in acts {
            match act {
                Act::Submit { streams, content } => {
                    let drafts = streams.iter().map(|n| rig.next_draft(stream(*n), content)).collect();
                    rig.submit(false, drafts);
                }
                Act::Step => {
                    rig.step();
                }
                Act::Settle => rig.settle(),
                Act::Wait(nanos) => rig.wait(nanos),
                Act::Restart => {
                    rig.stop();
                    acknowledged.extend(rig.records());
                    rig = Rig::new(rig.disk.clone(), small_segments());
                }
            }
        }
        rig.settle();
        prop_assert!(rig.refused.is_empty() && !rig.failed);
        acknowledged.extend(rig.records());
        let items = read_all(&rig.disk, 1).unwrap();
        let all_readable = items.iter().all(|item| matches!(item, ReadItem::Records(_)));
        prop_assert!(all_readable);
        let expected: Vec<_> = acknowledged.into_iter().map(without_place).collect();
        prop_assert_eq!(logical(&items), expected.clone());
        let report = verify_disk(&rig.disk);
        prop_assert!(report.is_intact(), "{:?}", report.findings);
        prop_assert_eq!(report.records, expected.len() as u64);
        if let Some(from) = expected.len().checked_div(2).filter(|from| *from > 0) {
            let rest = logical(&read_all(&rig.disk, from as u64).unwrap());
            prop_assert_eq!(&rest[..], &expected[from - 1..]);
        }
    }
}

#[test]
fn a_batch_larger_than_a_segment_gets_one_of_its_own() {
    let mut rig = Rig::new(MemDisk::new(), small_segments());
    for content in [10, 60_000, 10, 100_000, 10] {
        rig.write(stream(1), content);
    }
    assert_eq!(rig.records().len(), 5);
    rig.stop();
    let report = verify_disk(&rig.disk);
    assert!(report.is_intact() && report.segments >= 4, "{report:?}");
}

#[test]
fn no_write_outgrows_the_space_allocated_for_its_segment() {
    let mut rig = Rig::new(MemDisk::new(), small_segments());
    // The rig has allocated its first segment already.
    let first = small_segments().segment_bytes;
    let allocated = Rc::new(RefCell::new(BTreeMap::new()));
    let seen = Rc::clone(&allocated);
    rig.fault = Box::new(move |op| {
        let mut seen = seen.borrow_mut();
        match op {
            DiskOp::Create { file, len, .. } => drop(seen.insert(file.clone(), *len)),
            DiskOp::Rename { file, to } => {
                let len = seen.remove(file).unwrap_or(first);
                seen.insert(FilePath::new(file.folder, to.clone()), len);
            }
            DiskOp::Write { file, offset, data } if is_segment(file) => {
                let end = offset + data.iter().map(|bytes| bytes.len() as u64).sum::<u64>();
                let len = seen.get(file).copied().unwrap_or(first);
                assert!(end <= len, "{file} is written up to {end}, but {len} is allocated");
            }
            _ => {}
        }
        None
    });
    for content in [10, 20_000, 60_000, 10, 100_000, 10] {
        rig.write(stream(1), content);
    }
    rig.stop();
    assert!(allocated.borrow().values().any(|len| *len > 100_000));
}
