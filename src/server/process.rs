//! What the process asks of the system before it serves.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::thread;

/// Threads that hold state which clients wait for: a server without one of them only seems to be alive.
const CORE_THREADS: [&str; 4] = ["log-writer", "pack-", "projections", "engine-"];

/// Files that the log, the packs and the projections may have open: the projections alone keep up to 900.
const FILES_OF_THE_STORE: u64 = 1_200;
/// Connections on the console and on the metrics listener: a few people, tools and probes.
const SIDE_CONNECTIONS: u64 = 256;

/// Raises the soft limit of open files to the hard one, and gives what is then the limit: the usual 1,024 is fewer than
/// the connections that are accepted, and a file of the log that cannot be opened counts as a failed disk.
pub(super) fn raise_file_limit() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum && setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_err() {
        tracing::warn!(?current, "the limit of open files cannot be raised");
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// How many connections each listener may have at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Connections {
    pub(super) s3: usize,
    /// The console's, and as many of the metrics listener.
    pub(super) side: usize,
}

impl Connections {
    /// What was configured, as far as the open files allow it after the store's own: further connections wait in the
    /// system's queue, which costs this process no file.
    pub(super) fn within(files: u64, configured: u32) -> Self {
        let room = files.saturating_sub(FILES_OF_THE_STORE).max(files / 4);
        let side = (room / 8).clamp(1, SIDE_CONNECTIONS);
        let s3 = u64::from(configured).min(room.saturating_sub(2 * side)).max(1);
        if s3 < configured.into() {
            tracing::warn!(
                configured,
                connections = s3,
                files,
                "fewer connections than configured: too few open files"
            );
        }
        let number = |value| usize::try_from(value).unwrap_or(usize::MAX);
        Self { s3: number(s3), side: number(side) }
    }
}

/// Ends the process when a core thread panics: recovery is made for that, while waiting for a dead thread is not.
pub(super) fn end_with_core_threads() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        report(info);
        let current = thread::current();
        let name = current.name().unwrap_or_default();
        if CORE_THREADS.iter().any(|core| name.starts_with(core)) {
            tracing::error!(
                thread = name,
                "a core thread panicked: the process ends, and recovers at its next start"
            );
            std::process::abort();
        }
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_the_store_its_files() {
        let within = |files| {
            let Connections { s3, side } = Connections::within(files, 4096);
            (s3, side)
        };
        assert_eq!(within(u64::MAX), (4096, 256));
        assert_eq!(within(65_536), (4096, 256));
        assert_eq!(within(4096), (2896 - 512, 256));
        assert_eq!(within(1024), (192, 32));
        assert_eq!(within(16), (2, 1));
        for files in [64u64, 256, 1024, 1500, 4096, 5000] {
            let (s3, side) = within(files);
            assert!(
                (s3 + 2 * side) as u64 <= files.saturating_sub(FILES_OF_THE_STORE).max(files / 4),
                "{files}"
            );
        }
    }
}
