//! The command line: one file per command group. Data goes to stdout, talk to stderr, and the exit code says which kind
//! of outcome it was ([`exit`]).

mod admin;
mod api_client;
mod bench;
mod config;
mod confirm;
mod data;
mod documents;
mod error;
pub mod exit;
mod healthcheck;
mod log;
mod output;
mod profile;
mod progress;
mod projection;
mod secret;
mod serve;
mod setting_flags;
mod sim;
mod version;

pub use error::CliError;

use crate::config::Environment;
use clap::{Parser, Subcommand};
use exit::ExitCode;
use std::ffi::OsString;
use std::io::{self, ErrorKind, Write};

/// S3-compatible object storage whose only source of truth is an append-only log.
#[derive(Debug, Parser)]
#[command(name = "siltstone", version, arg_required_else_help = true, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Tenants, users, access keys and policies of a running server
    #[command(subcommand)]
    Admin(admin::AdminCommand),
    /// Figures of this machine beside its own limits
    #[command(subcommand)]
    Bench(bench::BenchCommand),
    /// Print a script that completes command lines in a shell
    Completions(documents::CompletionsArgs),
    /// The configuration
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Ask a running server whether it is ready
    Healthcheck(healthcheck::HealthcheckArgs),
    /// Read, check and repair a log, mostly beside a running server
    #[command(subcommand)]
    Log(log::LogCommand),
    /// Print the manual page, or write one for each command
    Man(documents::ManArgs),
    /// Servers by name, for `admin`
    #[command(subcommand)]
    Profile(profile::ProfileCommand),
    /// Check and rebuild the projections of a server that is not running
    #[command(subcommand)]
    Projection(projection::ProjectionCommand),
    /// Run a server
    Serve(serve::ServeArgs),
    /// Run the simulator (`siltstone-sim`, beside this program)
    Sim(sim::SimArgs),
    /// Print the version
    Version(version::VersionArgs),
}

/// Where a command's data goes.
type Out<'a> = &'a mut dyn Write;

/// Runs the program.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come this way too, on stdout and with code 0.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::Usage } else { ExitCode::Ok };
        }
    };
    let env = Environment::of_process();
    let mut out = io::stdout().lock();
    match dispatch(cli.command, &env, &mut out).and_then(|code| Ok(out.flush().map(|()| code)?)) {
        Ok(code) => code,
        // Whoever reads our output has seen enough.
        Err(CliError::Output(error)) if error.kind() == ErrorKind::BrokenPipe => ExitCode::Ok,
        Err(error) => {
            let advice = error.advice().map(|advice| format!("\n  {advice}")).unwrap_or_default();
            let message = output::printable(&error.to_string());
            let _ = writeln!(io::stderr(), "siltstone: {message}{advice}");
            error.exit_code()
        }
    }
}

fn dispatch(command: Command, env: &Environment, out: Out<'_>) -> Result<ExitCode, CliError> {
    match command {
        Command::Admin(command) => admin::run(command, env, out),
        Command::Bench(command) => bench::run(command, env, out),
        Command::Completions(args) => documents::completions(&args, out),
        Command::Config(command) => config::run(command, env, out),
        Command::Healthcheck(args) => healthcheck::run(args, env, out),
        Command::Log(command) => log::run(command, out),
        Command::Man(args) => documents::man(&args, out),
        Command::Profile(command) => profile::run(command, env, out),
        Command::Projection(command) => projection::run(command, out),
        Command::Serve(args) => serve::run(args, env),
        Command::Sim(args) => sim::run(&args),
        Command::Version(args) => version::run(&args, out),
    }
}

/// Runs a command line in a test. Says what it came to, and what it wrote.
#[cfg(test)]
pub(crate) fn told(words: &[&str]) -> (Result<ExitCode, CliError>, String) {
    let cli = Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{error}"));
    let mut out = Vec::new();
    let result = dispatch(cli.command, &Environment::of_process(), &mut out);
    (result, String::from_utf8_lossy(&out).into_owned())
}

/// A runtime for the commands that talk to a server.
fn runtime() -> Result<tokio::runtime::Runtime, CliError> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(CliError::Runtime)
}

#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;
