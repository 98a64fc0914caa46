//! Every pair of interruptions: recovery is cut off after each of its operations, and the recovery after that again.

use siltstone_log::event::{Actor, Body, Door, Event, NodeStarted};
use siltstone_log::hlc::Hlc;
use siltstone_log::host::{Completion, Now};
use siltstone_log::id::{Epoch, Head, LogId, NodeId, Salt, Seq, StreamId};
use siltstone_log::record::{DraftContent, RecordDraft, Salted};
use siltstone_log::recovery::{Recovered, RecoveryConfig, recover};
use siltstone_log::script::{Script, Step};
use siltstone_log::writer::{Submission, Writer, WriterConfig, WriterEffect, WriterInput};
use siltstone_simulation::world::disk::{Crash, DiskOptions, InstantDisk, SimDisk};
use std::collections::BTreeMap;

fn config() -> RecoveryConfig {
    RecoveryConfig { log_id: LogId([1; 16]), node_id: NodeId([2; 16]), projection_witness: None }
}

fn recovered(disk: &SimDisk) -> (Recovered, SimDisk) {
    let mut disk = InstantDisk::new(disk.clone());
    let recovered = Script::new(|io| recover(io, config())).run(&mut disk);
    (recovered.unwrap(), disk.disk)
}

fn draft(seq: u64) -> RecordDraft {
    let started = NodeStarted { node: NodeId([2; 16]), version: "x".repeat(900), clean: true };
    let body = Body { actor: Actor::server(Door::Recovery), event: Event::NodeStarted(started) };
    RecordDraft {
        stream: StreamId::SYSTEM,
        seq: Seq(seq),
        hlc: Hlc(seq),
        epoch: Epoch(0),
        kind: body.event.kind(),
        ignorable: false,
        body: Salted::new(Salt([3; 16]), &body.encode().unwrap()),
        content: DraftContent::None,
    }
}

/// A log with a sealed segment and one that is written to.
fn written_log() -> (SimDisk, BTreeMap<StreamId, Head>) {
    let (start, disk) = recovered(&SimDisk::new(1, DiskOptions::default()));
    let mut disk = InstantDisk::new(disk);
    let mut writer =
        Writer::new(&start, WriterConfig { segment_bytes: 32 * 1024, ..WriterConfig::default() });
    let mut heads = BTreeMap::new();
    for seq in 1..=9 {
        let submission = Submission { token: seq, priority: false, drafts: vec![draft(seq)] };
        let mut inputs = vec![WriterInput::Submit(submission)];
        while let Some(input) = inputs.pop() {
            let mut effects = Vec::new();
            writer.handle(Now { wall_millis: 1, monotonic_nanos: seq }, input, &mut effects);
            for effect in effects {
                match effect {
                    WriterEffect::Disk(ticket, op) => {
                        inputs.insert(0, WriterInput::Disk(Completion { ticket, result: disk.execute(op) }));
                    }
                    WriterEffect::Committed(batch) => heads.extend(batch.heads),
                    other => panic!("{other:?}"),
                }
            }
        }
    }
    assert_eq!(heads[&StreamId::SYSTEM].seq, Seq(9));
    (disk.disk, heads)
}

/// Recovers, and crashes with the operation number `at` under way. None where recovery needs no more operations.
fn interrupted(disk: &SimDisk, at: usize, crash: Crash) -> Option<SimDisk> {
    let mut disk = disk.clone();
    let mut script = Script::new(|io| recover(io, config()));
    let mut result = None;
    for _ in 0..at {
        let Step::Submit(op) = script.resume(result) else { return None };
        let in_flight = disk.begin(op);
        result = Some(disk.complete(&in_flight));
    }
    let Step::Submit(op) = script.resume(result) else { return None };
    let in_flight = disk.begin(op);
    disk.crash(crash, &[in_flight]);
    Some(disk)
}

#[test]
fn two_interrupted_recoveries_lose_nothing_wherever_they_are_interrupted() {
    let (mut written, heads) = written_log();
    written.crash(Crash::Kill, &[]);
    let mut cases = 0;
    for (first_crash, dice) in
        [Crash::Kill, Crash::PowerCut].into_iter().flat_map(|c| (0..12).map(move |d| (c, d)))
    {
        written.reseed(dice);
        for first in 0.. {
            let Some(once) = interrupted(&written, first, first_crash) else { break };
            for second in 0.. {
                let Some(twice) = interrupted(&once, second, Crash::PowerCut) else { break };
                let (found, _) = recovered(&twice);
                assert_eq!(found.heads, heads, "{first_crash:?} at {first}, then at {second}, dice {dice}");
                assert!(
                    found.quarantine.is_empty(),
                    "{first_crash:?} at {first}, then at {second}, dice {dice}"
                );
                cases += 1;
            }
        }
    }
    assert!(cases > 1000, "{cases} cases");
}
