//! How fast the projections are built from a log of small records.

use super::BenchError;
use super::fill::KeyShape;
use super::scratch::Scratch;
use super::stats::figure;
use super::writing::{Change, Changes, write_bucket};
use crate::telemetry::process::cpu_seconds_of;
use serde::Serialize;
use siltstone_log::host::real::{RealClock, RealDisk, RealEntropy};
use siltstone_log::host::{Clock, draw};
use siltstone_log::id::StreamId;
use siltstone_log::layout::DataDir;
use siltstone_log::reader::{ReadItem, Replay};
use siltstone_log::recovery::{RecoveryConfig, recover};
use siltstone_log::script::Script;
use siltstone_projections::Pace;
use siltstone_projections::rebuild::Rebuild;
use siltstone_projections::store::LogState;
use siltstone_projections::store::Store;
use siltstone_projections::store::fjall::FjallStore;
use std::fmt;
use std::path::PathBuf;

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
    let changes = Changes { stream: StreamId(draw(&RealEntropy)), first: 0, count: options.records };
    let bytes =
        write_bucket(&recovered()?, &disk, changes, &|number| Change::Put(KeyShape::Scattered.key(number)))?;
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
