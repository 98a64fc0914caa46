//! The S3 figures beside this machine's limits: starts a fresh server and servers that only answer from memory, and
//! loads them in turn.

use super::BenchError;
use super::child::{ACCESS_KEY, SECRET_KEY, ServerProcess};
use super::large::{self, LargeOptions};
use super::load::{self, Limit, Listing, LoadOptions, LoadReport, Operation};
use super::machine;
use super::scratch::Scratch;
use super::stats::{figure, median};
use crate::auth::Secret;
use serde::Serialize;
use std::fmt;
use std::path::PathBuf;

const REGION: &str = "us-east-1";
const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// What to measure.
#[derive(Debug, Clone)]
pub struct RatioOptions {
    /// A folder on the volume to measure; made if missing, and then removed, as is all that the run writes there.
    pub dir: PathBuf,
    /// Seconds of each half of a round.
    pub seconds: u64,
    /// Rounds.
    pub rounds: usize,
    /// A store with very many objects to measure as well.
    pub large: Option<LargeOptions>,
}

/// What a figure is compared with.
#[derive(Clone, Copy)]
enum Against {
    /// CPU time for each request, and that of a server that stores nothing.
    Cpu,
    /// MB a second, and those of a server that answers from memory.
    Memory,
    /// MB a second, and those of MD5 on one processor.
    Md5,
    /// CPU time for each key on a page; there is no limit of the machine to compare it with.
    Keys,
}

struct Case {
    operation: Operation,
    size: usize,
    clients: usize,
    objects: u64,
    against: Against,
    required: &'static str,
}

const SMALL: usize = 4 * KIB;
const PUT_CPU: &str = "<= 2.5 x, <= 130 µs";
const GET_CPU: &str = "<= 3.0 x, <= 80 µs";

const fn case(
    operation: Operation,
    size: usize,
    clients: usize,
    objects: u64,
    against: Against,
    required: &'static str,
) -> Case {
    Case { operation, size, clients, objects, against, required }
}

const CASES: [Case; 9] = [
    case(Operation::Put, SMALL, 16, 0, Against::Cpu, PUT_CPU),
    case(Operation::Put, SMALL, 64, 0, Against::Cpu, PUT_CPU),
    case(Operation::Get, SMALL, 16, 500, Against::Cpu, GET_CPU),
    case(Operation::Get, SMALL, 64, 500, Against::Cpu, GET_CPU),
    case(Operation::Put, MIB, 4, 0, Against::Md5, ">= 0.8 x"),
    case(Operation::Put, 16 * MIB, 4, 0, Against::Md5, ">= 0.8 x"),
    case(Operation::Get, MIB, 4, 16, Against::Memory, ">= 0.7 x"),
    case(Operation::Get, 16 * MIB, 4, 4, Against::Memory, ">= 0.7 x"),
    case(Operation::List, 1, 4, 1000, Against::Keys, "<= 2 µs"),
];

/// One line of the table.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Row {
    pub(super) what: String,
    pub(super) unit: &'static str,
    pub(super) ours: f64,
    pub(super) limit: Option<f64>,
    pub(super) ratio: Option<f64>,
    pub(super) required: &'static str,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) errors: u64,
}

impl Row {
    /// A figure that stands alone.
    pub(super) fn plain(what: String, unit: &'static str, ours: f64, required: &'static str) -> Self {
        Self { what, unit, ours, limit: None, ratio: None, required, p50_ms: 0.0, p99_ms: 0.0, errors: 0 }
    }
}

/// The result, for people and (by serde) for programs.
#[derive(Debug, Clone, Serialize)]
pub struct Ratios {
    seconds: u64,
    rounds: usize,
    rows: Vec<Row>,
}

impl fmt::Display for Ratios {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "S3 beside this machine's limits, {} rounds of {} s", self.rounds, self.seconds)?;
        write!(f, "{:<26} {:>10} {:>10} {:>6}  required", "", "ours", "limit", "ratio")?;
        for row in &self.rows {
            let Row { what, unit, ours, limit, ratio, required, p50_ms, p99_ms, errors } = row;
            let dash = |value: &Option<f64>, digits: usize| {
                value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
            };
            let (limit, ratio) = (dash(limit, 1), dash(ratio, 2));
            write!(f, "\n{what:<26} {ours:>10.1} {limit:>10} {ratio:>6}  {required} ({unit}")?;
            if *p50_ms > 0.0 {
                write!(f, "; p50 {p50_ms:.2} ms, p99 {p99_ms:.2} ms")?;
            }
            if *errors > 0 {
                write!(f, "; {errors} ERRORS")?;
            }
            write!(f, ")")?;
        }
        Ok(())
    }
}

/// Runs every case.
pub fn run(options: &RatioOptions) -> Result<Ratios, BenchError> {
    let scratch = Scratch::new(&options.dir)?;
    let server = ServerProcess::serve(&scratch.join("data"))?;
    let mut rows = CASES.iter().map(|case| row(options, case, &server)).collect::<Result<Vec<_>, _>>()?;
    rows.push(Row::plain(
        "Peak memory in these cases".to_owned(),
        "MiB",
        peak_mebibytes(&server)?,
        "<= 256 MiB",
    ));
    drop(server);
    rows.extend(machine::rows(&scratch)?);
    if let Some(large) = &options.large {
        rows.extend(large::rows(large, options.seconds, options.rounds)?);
    }
    Ok(Ratios { seconds: options.seconds, rounds: options.rounds, rows })
}

/// The most memory that the server ever had resident (proc_pid_status(5), `VmHWM`).
fn peak_mebibytes(server: &ServerProcess) -> Result<f64, BenchError> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid()))?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
    let kib: u64 = peak.and_then(|kib| kib.parse().ok()).unwrap_or_default();
    Ok(figure(kib) / 1024.0)
}

fn row(options: &RatioOptions, case: &Case, server: &ServerProcess) -> Result<Row, BenchError> {
    let reference = match case.against {
        Against::Cpu | Against::Memory => {
            let bytes = case.size.to_string();
            Some(ServerProcess::start(&["bench", "memory-server", "--answer-bytes", &bytes], &[])?)
        }
        Against::Md5 | Against::Keys => None,
    };
    let (mut ours, mut limits, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    let (mut p50, mut p99, mut errors) = (Vec::new(), Vec::new(), 0);
    for _ in 0..options.rounds {
        let report = load(options, case, server)?;
        let figure = case.figure(&report);
        let limit = match (&reference, case.against) {
            (Some(reference), _) => Some(case.figure(&load(options, case, reference)?)),
            (None, Against::Md5) => Some(machine::md5()),
            (None, Against::Cpu | Against::Memory | Against::Keys) => None,
        };
        ours.push(figure);
        ratios.extend(limit.map(|limit| figure / limit));
        limits.extend(limit);
        p50.push(report.latency_ms.p50);
        p99.push(report.latency_ms.p99);
        errors += report.errors.values().sum::<u64>();
    }
    let some = |figures: Vec<f64>| (!figures.is_empty()).then(|| median(figures));
    Ok(Row {
        what: case.name(),
        unit: case.unit(),
        ours: median(ours),
        limit: some(limits),
        ratio: some(ratios),
        required: case.required,
        p50_ms: median(p50),
        p99_ms: median(p99),
        errors,
    })
}

fn load(options: &RatioOptions, case: &Case, server: &ServerProcess) -> Result<LoadReport, BenchError> {
    load::run(&LoadOptions {
        operation: case.operation,
        size: case.size,
        clients: case.clients,
        limit: Limit::Seconds(options.seconds),
        objects: case.objects,
        ..load_options(server)
    })
}

/// A load of a server that a benchmark started, to be completed.
pub(super) fn load_options(server: &ServerProcess) -> LoadOptions {
    LoadOptions {
        endpoint: server.endpoint.clone(),
        region: REGION.to_owned(),
        access_key: ACCESS_KEY.to_owned(),
        secret: Secret::new(SECRET_KEY),
        bucket: "siltstone-bench".to_owned(),
        operation: Operation::List,
        size: 1,
        clients: 1,
        limit: Limit::Requests(0),
        objects: 0,
        server_pid: Some(server.pid()),
        keep: false,
        listing: Listing::Own,
    }
}

impl Case {
    fn name(&self) -> String {
        let size = match self.size {
            _ if self.operation == Operation::List => "1000 keys".to_owned(),
            size if size >= MIB => format!("{} MiB", size / MIB),
            size => format!("{} KiB", size / KIB),
        };
        format!("{:?} {size}, {} clients", self.operation, self.clients)
    }

    fn unit(&self) -> &'static str {
        match self.against {
            Against::Cpu => "µs CPU a request",
            Against::Memory | Against::Md5 => "MB/s",
            Against::Keys => "µs CPU a key",
        }
    }

    fn figure(&self, report: &LoadReport) -> f64 {
        let cpu = report.server_cpu_micros_per_request.unwrap_or_default();
        match self.against {
            Against::Cpu => cpu,
            Against::Memory | Against::Md5 => report.megabytes_per_second,
            Against::Keys => cpu / figure(self.objects.max(1)),
        }
    }
}
