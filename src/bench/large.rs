//! What very many objects in a bucket cost: the start of their server, and pages of listings beside those of a small
//! bucket of the same server; also where nine of ten were deleted.

use super::BenchError;
use super::child::ServerProcess;
use super::fill::{self, FOLDERS, FillOptions, KeyShape};
use super::load::{self, Limit, Listing, LoadOptions, LoadReport, Operation, PAGE_KEYS};
use super::ratios::{Row, load_options};
use super::stats::{figure, median};
use siltstone_log::host::Clock;
use siltstone_log::host::real::RealClock;
use std::path::PathBuf;

/// Objects of the bucket that is compared with.
const SMALL: u64 = 10_000;
const SMALL_BUCKET: &str = "siltstone-fill-small";
const LARGE_BUCKET: &str = "siltstone-fill";
/// One that had as many and has a tenth of them left.
const THINNED_BUCKET: &str = "siltstone-fill-thinned";
const CLIENTS: usize = 4;

/// Which store.
#[derive(Debug, Clone)]
pub struct LargeOptions {
    /// The store; made if missing, filled up if smaller, and kept.
    pub store: PathBuf,
    /// Objects of its large bucket.
    pub objects: u64,
}

/// Fills the store where that is needed, and measures it.
pub(super) fn rows(options: &LargeOptions, seconds: u64, rounds: usize) -> Result<Vec<Row>, BenchError> {
    let mut objects = 0;
    let buckets = [
        (SMALL_BUCKET, SMALL, false),
        (LARGE_BUCKET, options.objects, false),
        (THINNED_BUCKET, options.objects, true),
    ];
    for (bucket, count, thinned) in buckets {
        let (dir, bucket) = (options.store.clone(), bucket.to_owned());
        let fill = FillOptions { dir, bucket, objects: count, key_shape: KeyShape::Folders, thinned };
        objects += fill::run(&fill, &mut |_, _| ())?.objects;
    }
    let mut starts = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let clock = RealClock::default();
        let server = ServerProcess::serve(&options.store)?;
        starts.push(figure(clock.monotonic_nanos()) / 1e9);
        server.stop_cleanly()?;
    }
    let server = ServerProcess::serve(&options.store)?;
    let start = Row {
        what: format!("Start, {objects} objects"),
        unit: "s until ready",
        ours: median(starts),
        limit: None,
        ratio: None,
        required: "<= 1 s",
        p50_ms: 0.0,
        p99_ms: 0.0,
        errors: 0,
    };
    let of = options.objects;
    let pages = [
        (LARGE_BUCKET, Listing::First, format!("List {PAGE_KEYS} keys of {of}")),
        (LARGE_BUCKET, Listing::Prefixes, format!("List {FOLDERS} prefixes of {of}")),
        (THINNED_BUCKET, Listing::First, format!("List {PAGE_KEYS} keys, 9/10 of {of} deleted")),
        (THINNED_BUCKET, Listing::Prefixes, format!("List {FOLDERS} prefixes, 9/10 of {of} deleted")),
    ];
    let pages = pages.map(|(bucket, listing, what)| compare(&server, bucket, listing, what, seconds, rounds));
    let rows = std::iter::once(Ok(start)).chain(pages).collect();
    server.stop_cleanly()?;
    rows
}

/// Pages of the large bucket beside those of the small one, in turn.
fn compare(
    server: &ServerProcess,
    bucket: &str,
    listing: Listing,
    what: String,
    seconds: u64,
    rounds: usize,
) -> Result<Row, BenchError> {
    let load = |bucket: &str| -> Result<LoadReport, BenchError> {
        load::run(&LoadOptions {
            bucket: bucket.to_owned(),
            operation: Operation::List,
            clients: CLIENTS,
            limit: Limit::Seconds(seconds),
            keep: true,
            listing,
            ..load_options(server)
        })
    };
    let cpu = |report: &LoadReport| report.server_cpu_micros_per_request.unwrap_or_default();
    let (mut ours, mut small, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    let (mut p50, mut p99, mut errors) = (Vec::new(), Vec::new(), 0);
    for _ in 0..rounds {
        let (of_large, of_small) = (load(bucket)?, load(SMALL_BUCKET)?);
        ours.push(cpu(&of_large));
        small.push(cpu(&of_small));
        ratios.push(cpu(&of_large) / cpu(&of_small));
        p50.push(of_large.latency_ms.p50);
        p99.push(of_large.latency_ms.p99);
        errors += of_large.errors.values().chain(of_small.errors.values()).sum::<u64>();
    }
    Ok(Row {
        what,
        unit: "µs CPU a page; the limit is the same page of 10000 objects",
        ours: median(ours),
        limit: Some(median(small)),
        ratio: Some(median(ratios)),
        required: "<= 1.5 x",
        p50_ms: median(p50),
        p99_ms: median(p99),
        errors,
    })
}
