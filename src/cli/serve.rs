//! `siltstone serve`

use super::CliError;
use super::exit::ExitCode;
use super::setting_flags::SettingFlags;
use crate::config::Environment;
use crate::server::{self, Ended};
use clap::Args;

/// What a server is told on the command line.
#[derive(Debug, Args)]
pub struct ServeArgs {
    #[command(flatten)]
    settings: SettingFlags,
}

/// Serves until told to stop.
pub fn run(args: ServeArgs, env: &Environment) -> Result<ExitCode, CliError> {
    let load = args.settings.loader(env);
    let config = load()?;
    match server::run(&config, env, Box::new(load))? {
        Ended::Stopped => Ok(ExitCode::Ok),
        Ended::Interrupted => Ok(ExitCode::Interrupted),
        Ended::DiskFailed(_) => Ok(ExitCode::Storage),
    }
}
