//! Everything that can go wrong in a command, and the exit code of each.

use super::api_client::ApiError;
use super::exit::ExitCode;
use crate::config::ConfigError;
use crate::config::environment::SecretError;
use std::io;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A secret of the environment cannot be used.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// What was given makes no sense, beyond what the parser of arguments can tell.
    #[error("{0}")]
    Usage(String),
    /// A confirmation is missing.
    #[error("{0} Nothing was changed; repeat it with --yes.")]
    Unconfirmed(&'static str),
    /// A file that was named cannot be read.
    #[error("{path}: {error}")]
    File {
        /// The file.
        path: String,
        /// The system's words.
        error: io::Error,
    },
    /// The server's answer, or none.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The server is not ready.
    #[error("{0}")]
    NotReady(String),
    /// Another program that this one hands over to cannot be started.
    #[error("{program} cannot be started: {error}")]
    Program {
        /// The program.
        program: String,
        /// The system's words.
        error: io::Error,
    },
    /// The system gives no threads or sockets.
    #[error("the system gives no resources: {0}")]
    Runtime(#[source] io::Error),
    /// Stdout cannot be written to.
    #[error("output: {0}")]
    Output(#[from] io::Error),
}

impl CliError {
    /// The exit code that tells a script what kind of outcome this is.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Config(_) | Self::Secret(_) | Self::Usage(_) => ExitCode::Usage,
            Self::Unconfirmed(_) => ExitCode::Conflict,
            Self::File { error, .. } | Self::Program { error, .. } => match error.kind() {
                io::ErrorKind::NotFound => ExitCode::NotFound,
                io::ErrorKind::PermissionDenied => ExitCode::Denied,
                _ => ExitCode::Failed,
            },
            Self::Api(error) => error.exit_code(),
            Self::NotReady(_) => ExitCode::Unavailable,
            Self::Runtime(_) | Self::Output(_) => ExitCode::Failed,
        }
    }
}
