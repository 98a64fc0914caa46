//! A server in a process of its own, so that its CPU time is its own.

use super::BenchError;
use serde_json::Value;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

/// The root key of the servers that benchmarks start.
pub(super) const ACCESS_KEY: &str = "bench-root";
/// Its secret.
pub(super) const SECRET_KEY: &str = "bench-root-secret";

/// A running `siltstone …`, killed when dropped.
pub(super) struct ServerProcess {
    child: Child,
    /// Kept open: a server whose output nobody takes would fail to write it.
    _stdout: BufReader<ChildStdout>,
    pub(super) endpoint: http::Uri,
}

impl ServerProcess {
    /// Starts this program with other arguments, and waits for its ready line.
    pub(super) fn start(arguments: &[&str], environment: &[(&str, &str)]) -> Result<Self, BenchError> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(arguments)
            .env_clear()
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let failed = || BenchError::Child(arguments.join(" "));
        let mut stdout = BufReader::new(child.stdout.take().ok_or_else(failed)?);
        let endpoint = endpoint(&mut stdout).ok_or_else(failed);
        match endpoint {
            Ok(endpoint) => Ok(Self { child, _stdout: stdout, endpoint }),
            Err(error) => {
                stop(&mut child);
                Err(error)
            }
        }
    }

    /// Starts a server on a data directory, on free ports, with the benchmarks' root key.
    pub(super) fn serve(data_dir: &Path) -> Result<Self, BenchError> {
        let (data, any) = (data_dir.display().to_string(), "127.0.0.1:0");
        let listen = ["--s3-listen", any, "--console-listen", any, "--metrics-listen", any];
        let arguments = [&["serve", "--data-dir", &data][..], &listen].concat();
        let keys = [("SILTSTONE_ROOT_ACCESS_KEY", ACCESS_KEY), ("SILTSTONE_ROOT_SECRET_KEY", SECRET_KEY)];
        Self::start(&arguments, &keys)
    }

    /// Tells it to stop and waits for its end.
    pub(super) fn stop_cleanly(mut self) -> Result<(), BenchError> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).map_err(io::Error::from)?;
        let status = self.child.wait()?;
        if status.success() { Ok(()) } else { Err(BenchError::Stop(status)) }
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }
}

/// The endpoint that the ready line names; none if the program ended without one.
fn endpoint(stdout: &mut impl BufRead) -> Option<http::Uri> {
    for line in stdout.lines() {
        let event: Value = serde_json::from_str(&line.ok()?).unwrap_or_default();
        if event["event"] == "ready" {
            return event["s3"].as_str()?.parse().ok();
        }
    }
    None
}

fn stop(child: &mut Child) {
    // One that has ended already cannot be killed; it is waited for all the same.
    drop(child.kill());
    drop(child.wait());
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        stop(&mut self.child);
    }
}
