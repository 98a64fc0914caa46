//! `siltstone serve`

use super::CliError;
use super::exit::ExitCode;
use crate::config::{Config, Environment};
use crate::server::{self, Ended};
use clap::Args;
use std::path::PathBuf;

/// What a server is told on the command line; everything else is in the configuration.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// The data directory; made if it is missing
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// The configuration to read instead of /etc/siltstone/config.toml
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address of the S3 API; port 0 takes a free one [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    s3_listen: Option<String>,
    /// Address of the console API [default: 127.0.0.1:8081]
    #[arg(long, value_name = "ADDR")]
    console_listen: Option<String>,
    /// Address for other nodes; closed until a cluster is initialised [default: 127.0.0.1:8082]
    #[arg(long, value_name = "ADDR")]
    cluster_listen: Option<String>,
    /// Address of metrics and health [default: 127.0.0.1:8083]
    #[arg(long, value_name = "ADDR")]
    metrics_listen: Option<String>,
}

/// Serves until told to stop.
pub fn run(args: ServeArgs, env: &Environment) -> Result<ExitCode, CliError> {
    let flags = [
        ("--data-dir", "server", "data_dir", args.data_dir),
        ("--s3-listen", "listeners", "s3", args.s3_listen),
        ("--console-listen", "listeners", "console", args.console_listen),
        ("--cluster-listen", "listeners", "cluster", args.cluster_listen),
        ("--metrics-listen", "listeners", "metrics", args.metrics_listen),
    ];
    let given =
        flags.into_iter().filter_map(|(flag, section, key, value)| Some((flag, section, key, value?)));
    let flags: Vec<_> = given.collect();
    let (file, environment) = (args.config, env.clone());
    let load = move || Config::load(file.as_deref(), &environment, &flags);
    let config = load()?;
    match server::run(&config, env, Box::new(load))? {
        Ended::Stopped => Ok(ExitCode::Ok),
        Ended::Interrupted => Ok(ExitCode::Interrupted),
        Ended::DiskFailed(_) => Ok(ExitCode::Storage),
    }
}
