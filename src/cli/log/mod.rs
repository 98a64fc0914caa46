//! `siltstone log`: reads a log without its lock, beside a running server, and repairs one with it.

mod bound;
mod export;
mod inspect;
mod record;
mod repair;
mod replay;
mod stats;
mod tail;
mod verify;

use super::exit::ExitCode;
use super::output::OutputArgs;
use super::progress::ProgressArgs;
use super::{CliError, Out};
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// `log …`
#[derive(Debug, Subcommand)]
pub enum LogCommand {
    /// Check every checksum, hash and chain; says "intact" with the head of each stream, or exits with 6
    Verify(ReadArgs),
    /// Show records
    Inspect(inspect::InspectArgs),
    /// Show the last records, and with --follow those that come
    Tail(tail::TailArgs),
    /// Write records as lines of JSON, to keep or to work on
    Export(export::ExportArgs),
    /// Build projections from the log in a folder of their own, and print their digests
    Replay(replay::ReplayArgs),
    /// Count records and bytes by event and stream
    Stats(ReadArgs),
    /// Look for everything that cannot be read, and give it up, so that its streams take writes again
    Repair(repair::RepairArgs),
}

/// Which log, and in which form.
#[derive(Debug, Args)]
pub struct ReadArgs {
    /// The data directory
    dir: PathBuf,
    #[command(flatten)]
    progress: ProgressArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Runs `siltstone log`.
pub fn run(command: LogCommand, out: Out<'_>) -> Result<ExitCode, CliError> {
    match command {
        LogCommand::Verify(args) => verify::run(&args, out),
        LogCommand::Inspect(args) => inspect::run(&args, out),
        LogCommand::Tail(args) => tail::run(&args, out),
        LogCommand::Export(args) => export::run(&args, out),
        LogCommand::Replay(args) => replay::run(&args, out),
        LogCommand::Stats(args) => stats::run(&args, out),
        LogCommand::Repair(args) => repair::run(&args, out),
    }
}
