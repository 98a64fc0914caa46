//! Everything that can go wrong in a command, and the exit code of each.

use super::api_client::ApiError;
use super::exit::ExitCode;
use crate::bench::BenchError;
use crate::config::ConfigError;
use crate::config::environment::SecretError;
use crate::engine::catch_up::CatchUpError;
use crate::engine::{EngineError, Fault, OpenError};
use crate::keys::{KeyStoreError, KeysError};
use crate::server::ServeError;
use siltstone_log::layout::LayoutError;
use siltstone_log::reader::ReadError;
use siltstone_log::recovery::RecoveryError;
use siltstone_log::repair::RepairError;
use siltstone_projections::StoreError;
use std::io;
use std::path::PathBuf;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A secret of the environment cannot be used.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// There is no log at the path given.
    #[error("{path}: no data directory", path = .0.display())]
    NoLog(PathBuf),
    /// Something is there already, and what to do about it.
    #[error("{path} exists already; {then}", path = .0.display(), then = .1)]
    Exists(PathBuf, &'static str),
    /// There is no such profile.
    #[error("there is no profile `{0}`; `siltstone profile ls` lists those there are")]
    NoProfile(String),
    /// A profile of that name is there already.
    #[error("there is a profile `{0}` already; `siltstone profile rm` forgets it")]
    ProfileExists(String),
    /// A data directory cannot be used.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The log cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The log cannot be recovered.
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    /// The log cannot be repaired.
    #[error(transparent)]
    Repair(#[from] RepairError),
    /// The projections cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The projections cannot be brought up to date.
    #[error(transparent)]
    CatchUp(#[from] CatchUpError),
    /// The projections on disk are not usable; the next start builds them anew.
    #[error("the projections cannot be used: {0}")]
    ProjectionsUnusable(String),
    /// A server could not start.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// A benchmark could not be run.
    #[error(transparent)]
    Bench(#[from] BenchError),
    /// A loss was not accepted.
    #[error(
        "nothing was changed. A repair gives up what cannot be read, for good: repeat it with --accept-loss to do that"
    )]
    LossNotAccepted,
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
    /// No listener answers a probe.
    #[error(transparent)]
    Probe(ApiError),
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
    /// What to do next, where the message does not say it.
    pub fn advice(&self) -> Option<&'static str> {
        match self {
            Self::NoLog(_) => {
                Some("name the folder that `siltstone serve --data-dir` was given; a server makes it")
            }
            Self::Layout(LayoutError::Locked { .. }) => {
                Some("stop what holds it first; `log verify|inspect|stats|tail|export|replay` read beside it")
            }
            Self::Read(ReadError::Damaged(_)) | Self::Store(StoreError::Damaged(_)) => {
                Some("`siltstone log verify DIR` says what is damaged")
            }
            Self::ProjectionsUnusable(_) => {
                Some("`siltstone projection rebuild DIR` builds them from the log")
            }
            Self::CatchUp(CatchUpError::Rebuild(_)) => {
                Some("`siltstone log verify DIR` says whether the log is intact")
            }
            Self::Recovery(_) => Some(
                "`siltstone log verify DIR` says what is there; docs/durability.md says what can be done",
            ),
            Self::Api(ApiError::Unreachable { .. }) => Some(
                "is the server running? --endpoint or SILTSTONE_ENDPOINT says where its console listener is",
            ),
            Self::Api(ApiError::Refused { status, .. }) if *status == http::StatusCode::UNAUTHORIZED => {
                Some("SILTSTONE_ACCESS_KEY and SILTSTONE_SECRET_KEY say who asks")
            }
            Self::Probe(ApiError::Unreachable { .. }) => Some(
                "is the server running? --endpoint, or the configuration with SILTSTONE_LISTENERS__METRICS, says where its \
                 metrics listener is",
            ),
            Self::NotReady(_) => {
                Some("its log says why; `/readyz?verbose` of the metrics listener lists its checks")
            }
            Self::Config(_) => {
                Some("docs/configuration.md lists every setting; `siltstone config check` tries again")
            }
            Self::Program { .. } => Some("`make build` makes it beside this program"),
            _ => None,
        }
    }

    /// The exit code that tells a script what kind of outcome this is.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Config(_) | Self::Secret(_) | Self::Usage(_) => ExitCode::Usage,
            Self::Unconfirmed(_)
            | Self::LossNotAccepted
            | Self::Exists(..)
            | Self::ProfileExists(_)
            | Self::Bench(BenchError::Space { .. }) => ExitCode::Conflict,
            Self::NoLog(_) | Self::NoProfile(_) => ExitCode::NotFound,
            Self::File { error, .. } | Self::Program { error, .. } => of_io(error),
            Self::Api(error) | Self::Probe(error) => error.exit_code(),
            Self::NotReady(_) => ExitCode::Unavailable,
            Self::Layout(error) => of_layout(error),
            Self::Read(error) | Self::Repair(RepairError::Read(error)) => of_read(error),
            Self::Recovery(error) | Self::Repair(RepairError::Recovery(error)) => of_recovery(error),
            Self::Store(error) => of_store(error),
            Self::CatchUp(error) => of_catch_up(error),
            Self::ProjectionsUnusable(_)
            | Self::Repair(RepairError::StillDamaged(_) | RepairError::NewDamage { .. }) => {
                ExitCode::Integrity
            }
            Self::Serve(error) => of_serve(error),
            Self::Bench(_)
            | Self::Runtime(_)
            | Self::Output(_)
            | Self::Repair(RepairError::Disk(_) | RepairError::Encode(_)) => ExitCode::Failed,
        }
    }
}

fn of_io(error: &io::Error) -> ExitCode {
    match error.kind() {
        io::ErrorKind::NotFound => ExitCode::NotFound,
        io::ErrorKind::PermissionDenied => ExitCode::Denied,
        _ => ExitCode::Failed,
    }
}

fn of_layout(error: &LayoutError) -> ExitCode {
    match error {
        LayoutError::Io { source, .. } => of_io(source),
        LayoutError::Locked { .. } | LayoutError::UnknownFormat { .. } => ExitCode::Conflict,
        LayoutError::Malformed { .. } => ExitCode::Integrity,
    }
}

fn of_read(error: &ReadError) -> ExitCode {
    match error {
        ReadError::Disk(_) => ExitCode::Failed,
        ReadError::NotFound(_) | ReadError::NoContent(_) => ExitCode::NotFound,
        ReadError::NeedsVersion { .. } => ExitCode::Conflict,
        ReadError::Damaged(_) | ReadError::ForeignLog { .. } => ExitCode::Integrity,
    }
}

fn of_recovery(error: &RecoveryError) -> ExitCode {
    match error {
        RecoveryError::Disk(_) | RecoveryError::CopyDiffers { .. } => ExitCode::Failed,
        RecoveryError::NeedsVersion { .. } => ExitCode::Conflict,
        RecoveryError::ForeignLog { .. }
        | RecoveryError::LogMissing { .. }
        | RecoveryError::Overlap { .. }
        | RecoveryError::GenerationsExhausted { .. } => ExitCode::Integrity,
    }
}

fn of_store(error: &StoreError) -> ExitCode {
    match error {
        StoreError::Io(_) | StoreError::NotInMemory => ExitCode::Failed,
        StoreError::Damaged(_) | StoreError::Ahead(_) | StoreError::OnlyCopy { .. } => ExitCode::Integrity,
    }
}

fn of_catch_up(error: &CatchUpError) -> ExitCode {
    match error {
        CatchUpError::Read(error) => of_read(error),
        CatchUpError::Store(error) => of_store(error),
        CatchUpError::Rebuild(_) => ExitCode::Integrity,
        CatchUpError::Quarantine(_) | CatchUpError::Thread(_) => ExitCode::Failed,
    }
}

fn of_serve(error: &ServeError) -> ExitCode {
    match error {
        ServeError::NoDataDir | ServeError::Tls(_) | ServeError::Keys(KeysError::Root(_)) => ExitCode::Usage,
        ServeError::Layout(error) => of_layout(error),
        ServeError::Keys(KeysError::Store(KeyStoreError::Malformed { .. })) => ExitCode::Integrity,
        ServeError::Keys(KeysError::Store(KeyStoreError::Folder(error))) => of_io(error),
        ServeError::Engine(error) => of_open(error),
        ServeError::Keys(KeysError::Store(KeyStoreError::Disk(_)))
        | ServeError::Listen { .. }
        | ServeError::System(_)
        | ServeError::Metrics(_) => ExitCode::Failed,
    }
}

fn of_open(error: &OpenError) -> ExitCode {
    match error {
        OpenError::Layout(error) => of_layout(error),
        OpenError::Log(error) => of_recovery(error),
        OpenError::CatchUp(error) => of_catch_up(error),
        OpenError::Store(error) => of_store(error),
        OpenError::Packs(_) | OpenError::RootLost => ExitCode::Integrity,
        OpenError::Start(EngineError::Fault(Fault::Disk(_) | Fault::LogStopped)) => ExitCode::Storage,
        OpenError::Start(_) | OpenError::Thread(_) => ExitCode::Failed,
    }
}
