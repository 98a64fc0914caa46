//! `siltstone sim`: hands over to the simulator, which is a program of its own because it depends on this one.

use super::CliError;
use super::exit::ExitCode;
use clap::Args;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// What the simulator is told.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub struct SimArgs {
    /// Arguments of siltstone-sim
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
    arguments: Vec<OsString>,
}

/// Becomes `siltstone-sim`; returns only if that is impossible.
pub fn run(args: &SimArgs) -> Result<ExitCode, CliError> {
    let beside = std::env::current_exe().map(|program| program.with_file_name("siltstone-sim"));
    let program = beside.unwrap_or_else(|_| "siltstone-sim".into());
    let error = Command::new(&program).args(&args.arguments).exec();
    Err(CliError::Program { program: program.display().to_string(), error })
}
