//! What the process asks of the system before it serves.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::thread;

/// Threads that hold state which clients wait for: a server without one of them only seems to be alive.
const CORE_THREADS: [&str; 4] = ["log-writer", "pack-", "projections", "engine-"];

/// Raises the soft limit of open files to the hard one: the usual 1,024 is fewer than the connections that are
/// accepted, and a file of the log that cannot be opened counts as a failed disk.
pub(super) fn raise_file_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum && setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_err() {
        tracing::warn!(?current, "the limit of open files cannot be raised");
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
