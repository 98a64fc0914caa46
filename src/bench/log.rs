//! Group commit beside the bare file.

use super::BenchError;
use super::scratch::{Scratch, remove};
use super::stats::median;
use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, unbounded};
use serde::Serialize;
use siltstone_log::driver::{LogSink, LogThread};
use siltstone_log::event::{Actor, Body, Door, Event, EventKind, UserDeleted};
use siltstone_log::hlc::Hlc;
use siltstone_log::host::real::{RealClock, RealDisk, RealEntropy};
use siltstone_log::host::{Clock, DiskError, DiskOp, FilePath, Folder, draw};
use siltstone_log::id::{Epoch, Salt, Seq, StreamId};
use siltstone_log::layout::DataDir;
use siltstone_log::record::{DraftContent, RecordDraft, Salted};
use siltstone_log::recovery::{RecoveryConfig, recover};
use siltstone_log::script::Script;
use siltstone_log::writer::{CommittedBatch, Submission, WriteRefusal, WriterConfig};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What to measure.
#[derive(Debug, Clone)]
pub struct LogBenchOptions {
    /// A folder on the volume to measure; made if missing, and then removed, as is all that the run writes there.
    pub dir: PathBuf,
    /// Writers, each with one record under way.
    pub writers: usize,
    /// Bytes of content in a record.
    pub bytes: usize,
    /// Seconds of each half of a round.
    pub seconds: u64,
    /// Rounds.
    pub rounds: usize,
}

/// One round's figures.
#[derive(Debug, Clone, Serialize)]
struct Round {
    acks_per_second: f64,
    bare_acks_per_second: f64,
    ratio: f64,
    records_per_sync: f64,
    p50_ms: f64,
    p99_ms: f64,
}

/// The result, for people and (by serde) for programs.
#[derive(Debug, Clone, Serialize)]
pub struct LogBench {
    writers: usize,
    bytes: usize,
    rounds: Vec<Round>,
    median_ratio: f64,
    median_p99_ms: f64,
}

impl fmt::Display for LogBench {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "group commit, {} writers, {} B of content a record", self.writers, self.bytes)?;
        writeln!(f, "round    acks/s   bare/s  ratio  recs/sync  p50 ms  p99 ms")?;
        for (number, round) in self.rounds.iter().enumerate() {
            let Round { acks_per_second, bare_acks_per_second, ratio, records_per_sync, p50_ms, p99_ms } =
                round;
            writeln!(
                f,
                "{:5} {acks_per_second:9.0} {bare_acks_per_second:8.0} {ratio:6.2} {records_per_sync:10.1} {p50_ms:7.2} {p99_ms:7.2}",
                number + 1
            )?;
        }
        let Self { median_ratio, median_p99_ms, .. } = self;
        write!(
            f,
            "median ratio {median_ratio:.2} (required 0.70), median p99 {median_p99_ms:.2} ms (required 10)"
        )
    }
}

enum Answer {
    Batch { tokens: Vec<u64>, bytes: u64 },
    Refused(WriteRefusal),
    Failed(DiskError),
}

struct Answers(Sender<Answer>);

impl LogSink for Answers {
    fn committed(&mut self, batch: CommittedBatch) {
        // The receiver outlives the thread unless the benchmark has failed already.
        let _ = self.0.send(Answer::Batch { tokens: batch.tokens, bytes: batch.timing.bytes });
    }

    fn refused(&mut self, _token: u64, reason: WriteRefusal) {
        let _ = self.0.send(Answer::Refused(reason));
    }

    fn failed(&mut self, error: DiskError) {
        let _ = self.0.send(Answer::Failed(error));
    }
}

/// What the log's half of a round found.
struct LogHalf {
    acks: u64,
    syncs: u64,
    bytes: u64,
    nanos: u64,
    latencies: Vec<u64>,
}

/// Runs the rounds.
pub fn run(options: &LogBenchOptions) -> Result<LogBench, BenchError> {
    let scratch = Scratch::new(&options.dir)?;
    let mut rounds = Vec::with_capacity(options.rounds);
    for number in 0..options.rounds {
        let dir = scratch.join(&format!("round-{number}"));
        rounds.push(round(options, &dir)?);
        // Rounds do not need each other's space.
        remove(&dir)?;
    }
    let of = |figure: fn(&Round) -> f64| median(rounds.iter().map(figure));
    let (median_ratio, median_p99_ms) = (of(|round| round.ratio), of(|round| round.p99_ms));
    Ok(LogBench { writers: options.writers, bytes: options.bytes, rounds, median_ratio, median_p99_ms })
}

#[expect(clippy::cast_precision_loss, reason = "counts of a few seconds, shown with three digits")]
fn round(options: &LogBenchOptions, dir: &Path) -> Result<Round, BenchError> {
    let mut half = log_half(options, dir)?;
    let per_sync = half.acks as f64 / half.syncs.max(1) as f64;
    let bare_syncs = bare_half(options, dir, half.bytes / half.syncs.max(1))?;
    half.latencies.sort_unstable();
    let percentile = |percent: usize| {
        let index = half.latencies.len().saturating_sub(1) * percent / 100;
        half.latencies.get(index).map_or(0.0, |nanos| *nanos as f64 / 1e6)
    };
    let acks_per_second = half.acks as f64 * 1e9 / half.nanos as f64;
    let bare_acks_per_second = bare_syncs * per_sync;
    Ok(Round {
        acks_per_second,
        bare_acks_per_second,
        ratio: acks_per_second / bare_acks_per_second,
        records_per_sync: per_sync,
        p50_ms: percentile(50),
        p99_ms: percentile(99),
    })
}

/// One record of the load; its hashes are computed once, as doors compute theirs beside the writer.
fn template(bytes: usize) -> (EventKind, Salted, Salted) {
    let event = Event::UserDeleted(UserDeleted { user: "bench".to_owned() });
    let kind = event.kind();
    let body = Body { actor: Actor::server(Door::Offline), event }.encode().unwrap_or_default();
    let salt = Salt(draw(&RealEntropy));
    (kind, Salted::new(salt, &body), Salted::new(salt, &vec![7; bytes]))
}

fn log_half(options: &LogBenchOptions, dir: &Path) -> Result<LogHalf, BenchError> {
    let data = DataDir::open(dir, "siltstone bench", &RealEntropy)?;
    let disk = RealDisk::new(data.root());
    let format = data.format();
    let config = RecoveryConfig { log_id: format.log_id, node_id: format.node_id, projection_witness: None };
    let recovered = Script::new(|io| recover(io, config)).run(&mut disk.clone())?;
    let clock = Arc::new(RealClock::default());
    let (answers, answered) = unbounded();
    let (thread, client) =
        LogThread::start(&recovered, disk, clock.clone(), WriterConfig::default(), Answers(answers))?;
    let (kind, body, content) = template(options.bytes);
    let draft = |stream: StreamId, seq: u64| RecordDraft {
        stream,
        seq: Seq(seq),
        hlc: Hlc::from_millis(clock.wall_millis()),
        epoch: Epoch(1),
        kind,
        ignorable: false,
        body: body.clone(),
        content: DraftContent::Inline(content.clone()),
    };
    // One stream, as in the busiest case: one bucket.
    let stream = StreamId(draw(&RealEntropy));
    let mut seq = 0;
    let mut submit = |token: u64| {
        seq += 1;
        client.try_submit(Submission { token, priority: false, drafts: vec![draft(stream, seq)] })
    };
    let half = drive(options, &*clock, &answered, |token| submit(token).is_ok());
    drop(thread.stop());
    half
}

/// Keeps one record of each writer under way for the given time.
fn drive(
    options: &LogBenchOptions,
    clock: &dyn Clock,
    answered: &Receiver<Answer>,
    mut submit: impl FnMut(u64) -> bool,
) -> Result<LogHalf, BenchError> {
    let began = clock.monotonic_nanos();
    let mut submitted = vec![began; options.writers];
    let mut half = LogHalf { acks: 0, syncs: 0, bytes: 0, nanos: 0, latencies: Vec::new() };
    let mut under_way = 0;
    for token in 0..options.writers as u64 {
        under_way += usize::from(submit(token));
    }
    while under_way > 0 {
        let Ok(answer) = answered.recv() else { break };
        let (tokens, bytes) = match answer {
            Answer::Batch { tokens, bytes } => (tokens, bytes),
            Answer::Refused(reason) => return Err(reason.into()),
            Answer::Failed(error) => return Err(error.into()),
        };
        let now = clock.monotonic_nanos();
        half.acks += tokens.len() as u64;
        half.syncs += u64::from(!tokens.is_empty());
        half.bytes += bytes;
        half.nanos = now - began;
        for token in tokens {
            under_way -= 1;
            let Some(since) = usize::try_from(token).ok().and_then(|token| submitted.get_mut(token)) else {
                continue;
            };
            half.latencies.push(now - *since);
            *since = now;
            if now - began < options.seconds * 1_000_000_000 {
                under_way += usize::from(submit(token));
            }
        }
    }
    Ok(half)
}

/// The bare file: a preallocated file, `batch` bytes a write, one sync each. Returns syncs a second.
#[expect(clippy::cast_precision_loss, reason = "counts of a few seconds, shown with three digits")]
fn bare_half(options: &LogBenchOptions, dir: &Path, batch: u64) -> Result<f64, BenchError> {
    const FILE_BYTES: u64 = 64 << 20;
    let disk = RealDisk::new(dir);
    let clock = RealClock::default();
    let data = Bytes::from(vec![7; usize::try_from(batch).unwrap_or(usize::MAX)]);
    let (mut syncs, mut files, mut offset) = (0_u64, 0, FILE_BYTES);
    let mut file = FilePath::new(Folder::Log, "bare-0");
    while clock.monotonic_nanos() < options.seconds * 1_000_000_000 {
        if offset + batch > FILE_BYTES {
            files += 1;
            file = FilePath::new(Folder::Log, format!("bare-{files}"));
            disk.execute(&DiskOp::Create { file: file.clone(), len: FILE_BYTES.max(batch), leave_free: 0 })?;
            disk.execute(&DiskOp::Sync { file: file.clone() })?;
            offset = 0;
        }
        disk.execute(&DiskOp::Write { file: file.clone(), offset, data: vec![data.clone()] })?;
        disk.execute(&DiskOp::Sync { file: file.clone() })?;
        offset += batch;
        syncs += 1;
    }
    Ok(syncs as f64 * 1e9 / clock.monotonic_nanos() as f64)
}
