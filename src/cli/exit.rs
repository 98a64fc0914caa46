//! Exit codes: one enum, one map from everything that can go wrong.

/// What the process's exit code says. The numbers are an interface: scripts rely on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// Done.
    Ok = 0,
    /// Failed for a reason that has no code of its own.
    Failed = 1,
    /// The command line or the configuration is wrong.
    Usage = 2,
    /// Something named does not exist.
    NotFound = 3,
    /// Not authenticated, or not allowed.
    Denied = 4,
    /// Refused: locked, exists already, or a confirmation is missing.
    Conflict = 5,
    /// A chain, a checksum or a projection is not what it should be.
    Integrity = 6,
    /// Nobody answers, or not now.
    Unavailable = 7,
    /// Done in part.
    Partial = 8,
    /// A simulation found a violation.
    Simulation = 9,
    /// The disk failed; nothing was acknowledged afterwards.
    Storage = 74,
    /// Interrupted.
    Interrupted = 130,
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code as u8)
    }
}
