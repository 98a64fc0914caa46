//! How fast the projections are built from a log of small records.

use super::BenchError;
use super::scratch::Scratch;
use super::stats::figure;
use crate::telemetry::process::cpu_seconds_of;
use crossbeam_channel::{Sender, bounded};
use serde::Serialize;
use siltstone_log::driver::{LogSink, LogThread};
use siltstone_log::event::{Actor, Body, BucketCreated, Content, ContentHeaders, Door, Event, ObjectPut};
use siltstone_log::hlc::Hlc;
use siltstone_log::host::real::{RealClock, RealDisk, RealEntropy};
use siltstone_log::host::{Clock, DiskError, draw};
use siltstone_log::id::{AccountId, Epoch, Salt, Seq, StreamId};
use siltstone_log::layout::DataDir;
use siltstone_log::name::{BucketName, ObjectKey};
use siltstone_log::reader::{ReadItem, Replay};
use siltstone_log::record::{DraftContent, RecordDraft, Salted};
use siltstone_log::recovery::{Recovered, RecoveryConfig, recover};
use siltstone_log::script::Script;
use siltstone_log::writer::{CommittedBatch, Submission, WriteRefusal, WriterConfig};
use siltstone_projections::Pace;
use siltstone_projections::rebuild::Rebuild;
use siltstone_projections::store::LogState;
use siltstone_projections::store::Store;
use siltstone_projections::store::fjall::FjallStore;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// Records of one submission.
const TOGETHER: u64 = 500;
/// Bytes of content in a record.
const CONTENT_BYTES: usize = 128;

/// What to measure.
#[derive(Debug, Clone)]
pub struct RebuildOptions {
    /// A folder on the volume to measure; made if missing, and then removed, as is all that the run writes there.
    pub dir: PathBuf,
    /// Records.
    pub records: u64,
}

/// The result, for people and (by serde) for programs.
#[derive(Debug, Clone, Serialize)]
pub struct RebuildBench {
    records: u64,
    seconds: f64,
    records_per_second: f64,
    /// What remains of a busy machine's noise: CPU time does not count the waiting for a processor.
    records_per_cpu_second: Option<f64>,
    log_megabytes: f64,
}

impl fmt::Display for RebuildBench {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { records, seconds, records_per_second, log_megabytes, records_per_cpu_second } = self;
        if let Some(rate) = records_per_cpu_second {
            writeln!(f, "rebuild: {rate:.0} records for each second of CPU time")?;
        }
        write!(
            f,
            "rebuild: {records} records ({log_megabytes:.0} MB of log) in {seconds:.1} s: {records_per_second:.0} records/s \
             (required 100000)"
        )
    }
}

/// Writes a log and builds the projections from it.
pub fn run(options: &RebuildOptions) -> Result<RebuildBench, BenchError> {
    let scratch = Scratch::new(&options.dir)?;
    let data = DataDir::open(&scratch.join("data"), "siltstone bench", &RealEntropy)?;
    let format = data.format();
    let disk = RealDisk::new(data.root());
    let recovered = || {
        let config =
            RecoveryConfig { log_id: format.log_id, node_id: format.node_id, projection_witness: None };
        Script::new(move |io| recover(io, config)).run(&mut disk.clone())
    };
    let bytes = write(options, &recovered()?, &disk)?;
    let recovered = recovered()?;
    let store = FjallStore::open(&data.root().join("projections"), &LogState::of(&recovered))?.store;
    let cpu = || cpu_seconds_of(std::process::id());
    let (clock, cpu_before) = (RealClock::default(), cpu());
    let mut rebuild = Rebuild::new(&store, recovered.log_id, Vec::new(), Pace::REBUILD)?;
    for item in Replay::open(disk.clone(), rebuild.resume_from())?.read_ahead()? {
        match item? {
            ReadItem::Records(records) => rebuild.push(records)?,
            ReadItem::Unreadable(_) => return Err(BenchError::Ended("log of the run")),
        }
    }
    rebuild.finish()?;
    store.sync()?;
    let seconds = figure(clock.monotonic_nanos()) / 1e9;
    let records = options.records + 1;
    Ok(RebuildBench {
        records,
        seconds,
        records_per_second: figure(records) / seconds,
        records_per_cpu_second: cpu()
            .zip(cpu_before)
            .map(|(after, before)| figure(records) / (after - before)),
        log_megabytes: figure(bytes) / 1e6,
    })
}

struct Answers(Sender<Result<u64, BenchError>>);

impl LogSink for Answers {
    fn committed(&mut self, batch: CommittedBatch) {
        // The receiver outlives the thread unless the benchmark has failed already.
        for (index, _) in batch.tokens.iter().enumerate() {
            drop(self.0.send(Ok(if index == 0 { batch.timing.bytes } else { 0 })));
        }
    }

    fn refused(&mut self, _token: u64, reason: WriteRefusal) {
        drop(self.0.send(Err(reason.into())));
    }

    fn failed(&mut self, error: DiskError) {
        drop(self.0.send(Err(error.into())));
    }
}

/// Writes a bucket's log; returns its bytes.
fn write(options: &RebuildOptions, recovered: &Recovered, disk: &RealDisk) -> Result<u64, BenchError> {
    const UNDER_WAY: usize = 8;
    let clock = Arc::new(RealClock::default());
    let (answers, answered) = bounded(UNDER_WAY * 2);
    let (thread, client) =
        LogThread::start(recovered, disk.clone(), clock.clone(), WriterConfig::default(), Answers(answers))?;
    let stream = StreamId(draw(&RealEntropy));
    let account = AccountId(draw(&RealEntropy));
    let (mut seq, mut under_way, mut bytes) = (0u64, 0usize, 0u64);
    while seq <= options.records {
        let last = (seq + TOGETHER).min(options.records + 1);
        let drafts = (seq..last).map(|number| draft(stream, account, number, clock.wall_millis())).collect();
        seq = last;
        let submission = Submission { token: seq, priority: false, drafts };
        client.try_submit(submission).map_err(|_| BenchError::Ended("log"))?;
        under_way += 1;
        if under_way == UNDER_WAY {
            bytes += answered.recv().map_err(|_| BenchError::Ended("log"))??;
            under_way -= 1;
        }
    }
    for _ in 0..under_way {
        bytes += answered.recv().map_err(|_| BenchError::Ended("log"))??;
    }
    drop(thread.stop());
    Ok(bytes)
}

/// The first record makes the bucket, each other one puts an object under a key of its own, in scattered order.
fn draft(stream: StreamId, account: AccountId, number: u64, now: u64) -> RecordDraft {
    let event = if number == 0 {
        let name = BucketName::parse("siltstone-bench").expect("a good name");
        Event::BucketCreated(BucketCreated { name, owner: account, location: String::new() })
    } else {
        let key = format!("objects/{:016x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        Event::ObjectPut(ObjectPut {
            key: ObjectKey::parse(&key).expect("a good key"),
            version: None,
            size: CONTENT_BYTES as u64,
            etag: format!("{number:032x}"),
            content: Content::Inline,
            checksums: Vec::new(),
            headers: ContentHeaders {
                content_type: Some("text/plain".to_owned()),
                ..ContentHeaders::default()
            },
            metadata: Vec::new(),
            tags: Vec::new(),
            copied_from: None,
        })
    };
    let kind = event.kind();
    let actor = Actor {
        account: Some(account),
        user: "bench".to_owned(),
        access_key: "AKIABENCHBENCHBENCH0".to_owned(),
        address: "127.0.0.1".to_owned(),
        agent: "siltstone bench".to_owned(),
        ..Actor::server(Door::S3)
    };
    let body = Body { actor, event }.encode().expect("an event can be encoded");
    let content = if number == 0 {
        DraftContent::None
    } else {
        DraftContent::Inline(Salted::new(Salt([2; Salt::LEN]), &[7; CONTENT_BYTES]))
    };
    RecordDraft {
        stream,
        seq: Seq(number + 1),
        hlc: Hlc::from_millis(now),
        epoch: Epoch(0),
        kind,
        ignorable: false,
        body: Salted::new(Salt([1; Salt::LEN]), &body),
        content,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_run_measures_and_leaves_nothing() {
        let root = tempfile::tempdir().unwrap();
        let bench = run(&RebuildOptions { dir: root.path().join("new"), records: 1200 }).unwrap();
        assert_eq!(bench.records, 1201);
        assert!(bench.records_per_second > 0.0 && bench.log_megabytes > 0.1);
        assert_eq!(root.path().read_dir().unwrap().count(), 0);
    }
}
