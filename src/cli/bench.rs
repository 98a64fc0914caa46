//! `siltstone bench`

use super::api_client::{ApiError, ClientCredentials, parse_endpoint};
use super::exit::ExitCode;
use super::output::{Format, OutputArgs, print_object};
use super::progress::{Progress, ProgressArgs};
use super::{CliError, Out};
use crate::bench::fill::{self, FillOptions, KeyShape};
use crate::bench::large::LargeOptions;
use crate::bench::load::{self, Limit, Listing, LoadOptions, Operation};
use crate::bench::log::LogBenchOptions;
use crate::bench::ratios::{self, RatioOptions};
use crate::bench::rebuild::{self, RebuildOptions};
use crate::bench::{self, memory_server};
use crate::config::{ByteSize, Environment, InvalidValue};
use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::json;
use std::fmt::Display;
use std::net::SocketAddr;
use std::path::PathBuf;

/// `bench …`
#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// Group commit beside the bare file
    Log(LogBenchArgs),
    /// Put new objects
    Put(LoadArgs),
    /// Get objects that were put before
    Get(LoadArgs),
    /// Seven reads to three overwrites
    Mixed(LoadArgs),
    /// List pages of up to a thousand keys
    List(LoadArgs),
    /// Delete objects that were put before
    Delete(LoadArgs),
    /// The S3 figures of a fresh server beside those of servers that only answer from memory
    S3(S3BenchArgs),
    /// Make a store with very many objects and keep it; a store that an earlier run made is filled up
    Fill(FillArgs),
    /// Build the projections from a log of small records
    Rebuild(RebuildBenchArgs),
    /// The server that the figures are compared with: stores nothing, answers GETs from memory
    MemoryServer(MemoryServerArgs),
}

/// What to measure of the log.
#[derive(Debug, Args)]
pub struct LogBenchArgs {
    /// A folder on the volume to measure; made if missing, and then removed, as is all that the run writes there
    #[arg(long)]
    dir: PathBuf,
    /// Writers, each with one record under way
    #[arg(long, default_value_t = 128)]
    writers: usize,
    /// Bytes of content in a record, for example 4096 or `4 KiB`
    #[arg(long, default_value = "1 KiB", value_parser = size)]
    bytes: usize,
    /// Seconds of each half of a round
    #[arg(long, default_value_t = 1)]
    seconds: u64,
    /// Rounds
    #[arg(long, default_value_t = 15)]
    rounds: usize,
    #[command(flatten)]
    output: OutputArgs,
}

/// What to send, and to whom. The keys come from the environment, as for `admin`.
#[derive(Debug, Args)]
pub struct LoadArgs {
    /// An S3 endpoint
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    endpoint: String,
    /// The region that signatures name
    #[arg(long, default_value = "us-east-1")]
    region: String,
    /// The bucket; made if missing, and then removed
    #[arg(long, default_value = "siltstone-bench")]
    bucket: String,
    /// Bytes of an object, for example 4096 or `4 KiB`
    #[arg(long, default_value = "4 KiB", value_parser = size)]
    size: usize,
    /// Clients, each with one request under way
    #[arg(long, default_value_t = 16)]
    clients: usize,
    /// Seconds
    #[arg(long, default_value_t = 10, conflicts_with = "requests")]
    seconds: u64,
    /// Requests, instead of seconds
    #[arg(long)]
    requests: Option<u64>,
    /// Objects that are put before the clock starts, where the requests need some
    #[arg(long, default_value_t = 1000)]
    objects: u64,
    /// The server's process on this machine: its CPU time for each request is shown
    #[arg(long, value_name = "PID")]
    server_pid: Option<u32>,
    /// Leave the objects
    #[arg(long)]
    keep: bool,
    #[command(flatten)]
    output: OutputArgs,
}

/// What to measure of S3.
#[derive(Debug, Args)]
pub struct S3BenchArgs {
    /// A folder on the volume to measure; made if missing, and then removed, as is all that the run writes there
    #[arg(long)]
    dir: PathBuf,
    /// Seconds of each half of a round
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Rounds
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Measure the start and listings of a store with so many objects as well
    #[arg(long, requires = "store")]
    objects: Option<u64>,
    /// That store, as `bench fill` makes it; made if missing, filled up if smaller, and kept
    #[arg(long, value_name = "DIR", requires = "objects")]
    store: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
}

/// What to fill with.
#[derive(Debug, Args)]
pub struct FillArgs {
    /// The data directory; made if missing, and kept. Its root key is `bench-root` with the secret `bench-root-secret`
    #[arg(long)]
    dir: PathBuf,
    /// Objects that the bucket has in the end
    #[arg(long, default_value_t = 1_000_000)]
    objects: u64,
    /// The bucket; made if missing
    #[arg(long, default_value = "siltstone-fill")]
    bucket: String,
    /// What the keys look like; a bucket is filled up with the shape it began with
    #[arg(long, value_enum, default_value_t = KeyShape::Folders)]
    key_shape: KeyShape,
    /// Delete nine of ten of them again; a bucket that was thinned cannot be filled up
    #[arg(long)]
    thinned: bool,
    #[command(flatten)]
    progress: ProgressArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// What to rebuild.
#[derive(Debug, Args)]
pub struct RebuildBenchArgs {
    /// A folder on the volume to measure; made if missing, and then removed, as is all that the run writes there
    #[arg(long)]
    dir: PathBuf,
    /// Records
    #[arg(long, default_value_t = 1_000_000)]
    records: u64,
    #[command(flatten)]
    output: OutputArgs,
}

/// How to answer.
#[derive(Debug, Args)]
pub struct MemoryServerArgs {
    /// Where to listen; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Bytes of the answer to a GET, for example 4096 or `4 KiB`
    #[arg(long, default_value = "4 KiB", value_parser = size)]
    answer_bytes: usize,
}

/// A size as settings take it.
fn size(text: &str) -> Result<usize, InvalidValue> {
    let ByteSize(bytes) = text.parse()?;
    usize::try_from(bytes).map_err(|_| InvalidValue(format!("`{text}` is too large")))
}

/// Runs `siltstone bench`.
pub fn run(command: BenchCommand, env: &Environment, out: Out<'_>) -> Result<ExitCode, CliError> {
    match command {
        BenchCommand::Log(args) => {
            let LogBenchArgs { dir, writers, bytes, seconds, rounds, output } = args;
            let options = LogBenchOptions { dir, writers, bytes, seconds, rounds };
            show(output, &bench::log::run(&options)?, out)
        }
        BenchCommand::Put(args) => run_load(Operation::Put, args, env, out),
        BenchCommand::Get(args) => run_load(Operation::Get, args, env, out),
        BenchCommand::Mixed(args) => run_load(Operation::Mixed, args, env, out),
        BenchCommand::List(args) => run_load(Operation::List, args, env, out),
        BenchCommand::Delete(args) => run_load(Operation::Delete, args, env, out),
        BenchCommand::S3(S3BenchArgs { dir, seconds, rounds, objects, store, output }) => {
            let large = store.zip(objects).map(|(store, objects)| LargeOptions { store, objects });
            show(output, &ratios::run(&RatioOptions { dir, seconds, rounds, large })?, out)
        }
        BenchCommand::Fill(FillArgs { dir, objects, bucket, key_shape, thinned, progress, output }) => {
            let options = FillOptions { dir, bucket, objects, key_shape, thinned };
            let mut shown = None;
            let filled = fill::run(&options, &mut |done, of| {
                shown.get_or_insert_with(|| Progress::begin_counting(progress, "fill", of)).set(done);
            });
            shown.into_iter().for_each(Progress::end);
            show(output, &filled?, out)
        }
        BenchCommand::Rebuild(RebuildBenchArgs { dir, records, output }) => {
            show(output, &rebuild::run(&RebuildOptions { dir, records })?, out)
        }
        BenchCommand::MemoryServer(MemoryServerArgs { listen, answer_bytes }) => {
            let mut ready = Ok(());
            memory_server::run(listen, answer_bytes, |address| {
                let line = json!({ "event": "ready", "s3": format!("http://{address}") });
                ready = writeln!(out, "{line}").and_then(|()| out.flush());
            })
            .map_err(CliError::Runtime)?;
            ready?;
            Ok(ExitCode::Ok)
        }
    }
}

fn show(output: OutputArgs, result: &(impl Display + Serialize), out: Out<'_>) -> Result<ExitCode, CliError> {
    match output.format() {
        Format::Table => writeln!(out, "{result}")?,
        format => print_object(out, format, result)?,
    }
    Ok(ExitCode::Ok)
}

fn run_load(
    operation: Operation,
    args: LoadArgs,
    env: &Environment,
    out: Out<'_>,
) -> Result<ExitCode, CliError> {
    let endpoint = parse_endpoint(&args.endpoint)?;
    if endpoint.scheme_str() == Some("https") {
        return Err(CliError::Usage("the load generator speaks http only".to_owned()));
    }
    let credentials = ClientCredentials::from_environment(env)?.ok_or(ApiError::NoCredentials)?;
    let (access_key, secret) = credentials.into_parts();
    let limit = args.requests.map_or(Limit::Seconds(args.seconds), Limit::Requests);
    let report = load::run(&LoadOptions {
        endpoint,
        region: args.region,
        access_key,
        secret,
        bucket: args.bucket,
        operation,
        size: args.size,
        clients: args.clients,
        limit,
        objects: args.objects,
        server_pid: args.server_pid,
        keep: args.keep,
        listing: Listing::Own,
    })?;
    show(args.output, &report, out)?;
    Ok(if report.is_clean() { ExitCode::Ok } else { ExitCode::Partial })
}
