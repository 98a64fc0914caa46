use crate::s3::sigv4::SignError;
use siltstone_log::host::DiskError;
use siltstone_log::writer::WriteRefusal;

/// A benchmark could not be run.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The folder cannot be used as a data directory.
    #[error(transparent)]
    Layout(#[from] siltstone_log::layout::LayoutError),
    /// The fresh log could not be opened.
    #[error(transparent)]
    Recovery(#[from] siltstone_log::recovery::RecoveryError),
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The system failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The log refused a record.
    #[error("the log refused a record: {0}")]
    Refused(#[from] WriteRefusal),
    /// The log of the run cannot be read back.
    #[error(transparent)]
    Read(#[from] siltstone_log::reader::ReadError),
    /// The projections cannot be opened.
    #[error(transparent)]
    Store(#[from] siltstone_projections::StoreError),
    /// The projections cannot follow the log.
    #[error(transparent)]
    Rebuild(#[from] siltstone_projections::rebuild::RebuildError),
    /// A request cannot be signed.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The bucket or its objects could not be made ready.
    #[error("{step} was answered with {answer}")]
    Prepare {
        /// What was tried.
        step: String,
        /// The error's code, or the status.
        answer: String,
    },
    /// There is no host in the endpoint, or a name makes no request.
    #[error("`{0}` makes no request")]
    Target(String),
    /// A server that the run needs did not start.
    #[error("`siltstone {0}` did not start; run it by hand to see why")]
    Child(String),
    /// A server that the run started did not stop as it should.
    #[error("a server of the run ended with {0}")]
    Stop(std::process::ExitStatus),
    /// The volume is too small for what is asked.
    #[error("this needs {needed} bytes free, and the volume has {free}; fewer --objects need less")]
    Space {
        /// What is needed.
        needed: u64,
        /// What there is.
        free: u64,
    },
    /// A part of the run ended unexpectedly.
    #[error("the {0} ended unexpectedly")]
    Ended(&'static str),
}
