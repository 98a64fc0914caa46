//! `siltstone bench`

use super::exit::ExitCode;
use super::output::{Format, OutputArgs, print_object};
use super::{CliError, Out};
use crate::bench::{self, LogBenchOptions};
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// `bench …`
#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// Group commit beside the bare file
    Log(LogBenchArgs),
}

/// What to measure.
#[derive(Debug, Args)]
pub struct LogBenchArgs {
    /// A folder on the volume to measure; what the run writes there is removed
    #[arg(long)]
    dir: PathBuf,
    /// Writers, each with one record under way
    #[arg(long, default_value_t = 128)]
    writers: usize,
    /// Bytes of content in a record
    #[arg(long, default_value_t = 1024)]
    bytes: usize,
    /// Seconds of each half of a round
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Rounds
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    #[command(flatten)]
    output: OutputArgs,
}

/// Runs `siltstone bench`.
pub fn run(command: BenchCommand, out: Out<'_>) -> Result<ExitCode, CliError> {
    let BenchCommand::Log(args) = command;
    let LogBenchArgs { dir, writers, bytes, seconds, rounds, output } = args;
    let result = bench::run(&LogBenchOptions { dir, writers, bytes, seconds, rounds })?;
    match output.format() {
        Format::Table => writeln!(out, "{result}")?,
        format => print_object(out, format, &result)?,
    }
    Ok(ExitCode::Ok)
}
