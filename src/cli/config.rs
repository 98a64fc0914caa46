//! `siltstone config check|show|schema`

use super::exit::ExitCode;
use super::output::{Format, OutputArgs, print_list, print_object};
use super::setting_flags::SettingFlags;
use super::{CliError, Out};
use crate::config::{Config, Environment, Origin};
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

/// `config …`
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Check the configuration as a start would, and say how many settings are not at their defaults
    Check(ConfigArgs),
    /// Show the value of every setting
    Show(ShowArgs),
    /// Print a JSON Schema of the configuration file, for editors and for programs that write one
    Schema,
}

/// Which configuration.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    #[command(flatten)]
    settings: SettingFlags,
    #[command(flatten)]
    output: OutputArgs,
}

/// What to show.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Also where each value came from: default, file with line and column, variable or flag
    #[arg(long)]
    origin: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Runs `siltstone config`.
pub fn run(command: ConfigCommand, env: &Environment, out: Out<'_>) -> Result<ExitCode, CliError> {
    match command {
        ConfigCommand::Check(ConfigArgs { settings, output }) => {
            check(&settings.load(env)?, output.format(), out)
        }
        ConfigCommand::Show(ShowArgs { origin, config: ConfigArgs { settings, output } }) => {
            show(&settings.load(env)?, origin, output.format(), out)
        }
        ConfigCommand::Schema => {
            writeln!(out, "{:#}", crate::config::schema())?;
            Ok(ExitCode::Ok)
        }
    }
}

fn check(config: &Config, format: Format, out: Out<'_>) -> Result<ExitCode, CliError> {
    let (given, all) = (
        config.entries().filter(|(.., origin)| **origin != Origin::Default).count(),
        config.entries().count(),
    );
    match format {
        Format::Table => {
            writeln!(out, "the configuration is valid: {given} of {all} settings are not at their defaults")?;
        }
        format => print_object(out, format, &json!({ "valid": true, "settings": all, "given": given }))?,
    }
    Ok(ExitCode::Ok)
}

fn show(config: &Config, origin: bool, format: Format, out: Out<'_>) -> Result<ExitCode, CliError> {
    let entry = |(info, value, from): (&crate::config::SettingInfo, String, &Origin)| {
        let mut entry = Map::new();
        entry.insert("setting".to_owned(), info.name().into());
        entry.insert("value".to_owned(), value.into());
        if origin {
            entry.insert("origin".to_owned(), from.to_string().into());
        }
        Value::Object(entry)
    };
    let entries: Vec<Value> = config.entries().map(entry).collect();
    let columns = ["setting", "value", "origin"];
    print_list(out, format, if origin { &columns } else { &columns[..2] }, &entries)?;
    Ok(ExitCode::Ok)
}
