//! Replay into a store in memory, and pages of listings out of it: the projections without their disk.

#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use siltstone_log::chain::Leaf;
use siltstone_log::event::{Actor, Body, Content, ContentHeaders, Door, Event, ObjectPut};
use siltstone_log::hlc::Hlc;
use siltstone_log::id::{Epoch, Hash, Head, LogId, Position, Salt, Seq, StreamId};
use siltstone_log::name::ObjectKey;
use siltstone_log::record::{Place, Record, Salted};
use siltstone_projections::Pace;
use siltstone_projections::objects::{self, ListQuery};
use siltstone_projections::rebuild::Rebuild;
use siltstone_projections::store::mem::MemStore;
use std::hint::black_box;

const LOG: LogId = LogId([1; 16]);
const STREAM: StreamId = StreamId([7; 16]);
const RECORDS: u64 = 10_000;
/// Objects under each common prefix.
const FOLDER: u64 = 20;

/// A put of an object of its own for each record, chained as a writer would.
fn records() -> Vec<Record> {
    let (mut head, mut records) = (Head::default(), Vec::new());
    for number in 1..=RECORDS {
        let event = Event::ObjectPut(ObjectPut {
            key: ObjectKey::parse(format!("{:05}/{number:08}", number / FOLDER)).expect("a good key"),
            version: None,
            size: 128,
            etag: format!("{number:032x}"),
            content: Content::Inline,
            checksums: Vec::new(),
            headers: ContentHeaders::default(),
            metadata: Vec::new(),
            tags: Vec::new(),
            copied_from: None,
        });
        let kind = event.kind();
        let body = Body { actor: Actor::server(Door::S3), event }.encode().expect("an event can be encoded");
        let body = Salted::new(Salt([7; Salt::LEN]), &body);
        let (seq, hlc, content_hash) = (Seq(number), Hlc::from_millis(1000 + number), Hash([9; 32]));
        let leaf =
            Leaf { stream: STREAM, seq, hlc, epoch: Epoch(1), kind, body_hash: body.hash, content_hash };
        head = leaf.extend(head.hash);
        let offset = u32::try_from(number * 4096).expect("a small log");
        records.push(Record {
            place: Place { position: Position(number), segment: Position(1), generation: 0, offset },
            stream: STREAM,
            seq,
            hlc,
            epoch: Epoch(1),
            kind,
            ignorable: false,
            body_hash: body.hash,
            content_hash,
            body: Some(body.bytes),
            content_len: 128,
            head: head.hash,
        });
    }
    records
}

fn replayed(records: Vec<Record>) -> MemStore {
    let store = MemStore::new();
    let mut rebuild = Rebuild::new(&store, LOG, Vec::new(), Pace::REBUILD).expect("an empty store");
    rebuild.push(records).expect("sound records");
    assert_eq!(rebuild.finish(), Ok(Position(RECORDS)));
    store
}

fn replay(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("replay");
    group.throughput(Throughput::Elements(RECORDS)).sample_size(20);
    let records = records();
    group.bench_function("puts into memory", |bencher| {
        bencher.iter_batched(|| records.clone(), replayed, BatchSize::LargeInput);
    });
    group.finish();
}

fn listing(criterion: &mut Criterion) {
    let store = replayed(records());
    for (name, delimiter, limit) in
        [("page of 1,000 keys", None, 1000), ("page of 500 prefixes", Some("/"), 500)]
    {
        let mut group = criterion.benchmark_group("listing");
        group.throughput(Throughput::Elements(limit));
        group.bench_function(name, |bencher| {
            let limit = usize::try_from(limit).expect("a small page");
            let query = ListQuery {
                prefix: String::new(),
                delimiter: delimiter.map(str::to_owned),
                after: None,
                limit,
            };
            bencher.iter(|| {
                let page = objects::list(&store, STREAM, black_box(&query)).expect("a sound store");
                assert_eq!(page.entries.len(), limit);
                page
            });
        });
        group.finish();
    }
}

criterion_group!(benches, replay, listing);
criterion_main!(benches);
