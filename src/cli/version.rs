//! `siltstone version`

use super::exit::ExitCode;
use super::output::{Format, OutputArgs, print_object};
use super::{CliError, Out};
use clap::Args;
use serde_json::json;

/// How to print it.
#[derive(Debug, Args)]
pub struct VersionArgs {
    #[command(flatten)]
    output: OutputArgs,
}

/// Prints the version.
pub fn run(args: &VersionArgs, out: Out<'_>) -> Result<ExitCode, CliError> {
    let version = env!("CARGO_PKG_VERSION");
    match args.output.format() {
        Format::Table => writeln!(out, "siltstone {version}")?,
        format => {
            let target = format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS);
            print_object(out, format, &json!({ "name": "siltstone", "version": version, "target": target }))?;
        }
    }
    Ok(ExitCode::Ok)
}
