//! `siltstone config check`

use super::exit::ExitCode;
use super::output::{OutputArgs, print_list};
use super::{CliError, Out};
use crate::config::{Config, Environment};
use clap::{Args, Subcommand};
use serde_json::json;
use std::path::PathBuf;

/// `config …`
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Check the configuration and show every setting with where it comes from
    Check(CheckArgs),
}

/// What to check.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The file to read instead of /etc/siltstone/config.toml
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
}

/// Runs `siltstone config`.
pub fn run(command: &ConfigCommand, env: &Environment, out: Out<'_>) -> Result<ExitCode, CliError> {
    let ConfigCommand::Check(args) = command;
    let config = Config::load(args.config.as_deref(), env, &[])?;
    let entries: Vec<_> = config
        .entries()
        .map(|(info, value, origin)| {
            let setting = format!("{}.{}", info.section, info.key);
            json!({ "setting": setting, "value": value, "origin": origin.to_string() })
        })
        .collect();
    print_list(out, args.output.format(), &["setting", "value", "origin"], &entries)?;
    Ok(ExitCode::Ok)
}
