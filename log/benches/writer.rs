//! The CPU cost of group commit and of the chain, on a disk in memory: what the log needs beside its syncs.

#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use siltstone_log::chain::Leaf;
use siltstone_log::event::{Actor, Body, Door, Event, NodeStarted};
use siltstone_log::hlc::Hlc;
use siltstone_log::host::mem::MemDisk;
use siltstone_log::host::{Completion, Now};
use siltstone_log::id::{Epoch, Hash, LogId, NodeId, Salt, Seq, StreamId};
use siltstone_log::record::{DraftContent, RecordDraft, Salted};
use siltstone_log::recovery::{RecoveryConfig, recover};
use siltstone_log::script::Script;
use siltstone_log::writer::{Submission, Writer, WriterConfig, WriterEffect, WriterInput};
use std::collections::VecDeque;
use std::hint::black_box;

const STREAM: StreamId = StreamId([7; 16]);
/// Records that wait together, each in a submission of its own.
const RECORDS: u64 = 100;

fn drafts(content: usize) -> Vec<RecordDraft> {
    let event = Event::NodeStarted(NodeStarted { node: NodeId([1; 16]), version: "1".into(), clean: true });
    let kind = event.kind();
    let body = Body { actor: Actor::server(Door::Worker), event }.encode().expect("an event can be encoded");
    let body = Salted::new(Salt([2; Salt::LEN]), &body);
    let content = DraftContent::Inline(Salted::new(Salt([3; Salt::LEN]), &vec![5; content]));
    let draft = |seq| RecordDraft {
        stream: STREAM,
        seq: Seq(seq),
        hlc: Hlc::from_millis(1000 + seq),
        epoch: Epoch(0),
        kind,
        ignorable: false,
        body: body.clone(),
        content: content.clone(),
    };
    (1..=RECORDS).map(draft).collect()
}

/// A writer on a new log, ready for records.
struct Rig {
    disk: MemDisk,
    writer: Writer,
    now: Now,
    waiting: VecDeque<Completion>,
    committed: usize,
}

impl Rig {
    fn new() -> Self {
        let disk = MemDisk::new();
        let config =
            RecoveryConfig { log_id: LogId([1; 16]), node_id: NodeId([2; 16]), projection_witness: None };
        let recovered = Script::new(move |io| recover(io, config))
            .run(&mut disk.clone())
            .expect("a new log is recovered");
        let config = WriterConfig { segment_bytes: 4 << 20, ..WriterConfig::default() };
        let writer = Writer::new(&recovered, config);
        let now = Now { wall_millis: 1_000_000, monotonic_nanos: 1 };
        let mut rig = Self { disk, writer, now, waiting: VecDeque::new(), committed: 0 };
        rig.input(WriterInput::Tick);
        rig.settle();
        rig
    }

    fn input(&mut self, input: WriterInput) {
        let mut out = Vec::new();
        self.writer.handle(self.now, input, &mut out);
        for effect in out {
            match effect {
                WriterEffect::Disk(ticket, op) => {
                    self.waiting.push_back(Completion { ticket, result: self.disk.execute(&op) });
                }
                WriterEffect::Committed(batch) => self.committed += batch.records.len(),
                other => panic!("{other:?}"),
            }
        }
    }

    fn settle(&mut self) {
        while let Some(completion) = self.waiting.pop_front() {
            self.input(WriterInput::Disk(completion));
        }
    }

    /// Everything waits while the first batch is under way, so that there are two.
    fn commit(mut self, drafts: Vec<RecordDraft>) -> Self {
        for (token, draft) in (0..).zip(drafts) {
            self.input(WriterInput::Submit(Submission { token, priority: false, drafts: vec![draft] }));
        }
        self.settle();
        assert_eq!(self.committed as u64, RECORDS);
        self
    }
}

fn group_commit(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("group commit");
    group.throughput(Throughput::Elements(RECORDS));
    for content in [0, 1024, 32 * 1024] {
        group.bench_function(format!("{content} B of content"), |bencher| {
            let drafts = drafts(content);
            let setup = || (Rig::new(), drafts.clone());
            bencher.iter_batched(setup, |(rig, drafts)| rig.commit(drafts), BatchSize::LargeInput);
        });
    }
    group.finish();
}

fn chain(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("chain");
    group.throughput(Throughput::Elements(1));
    let leaf = |seq| Leaf {
        stream: STREAM,
        seq: Seq(seq),
        hlc: Hlc(seq),
        epoch: Epoch(0),
        kind: siltstone_log::event::EventKind { event_type: 1, schema: 1 },
        body_hash: Hash([4; 32]),
        content_hash: Hash([5; 32]),
    };
    let mut head = leaf(1).extend(Hash::default());
    group.bench_function("one record", |bencher| {
        bencher.iter(|| {
            head = black_box(leaf(head.seq.0 + 1)).extend(head.hash);
            head
        });
    });
    group.finish();
}

criterion_group!(benches, group_commit, chain);
criterion_main!(benches);
