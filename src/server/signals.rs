//! SIGTERM, SIGINT and SIGHUP.

use std::io;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that mean "stop".
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Takes them over from the system, which would end the process at once.
    pub fn catch() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next one.
    pub async fn stop(&mut self) {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// SIGHUP, which means "read again what can be read again".
pub struct Hangup(Signal);

impl Hangup {
    /// Takes it over from the system, which would end the process.
    pub fn catch() -> io::Result<Self> {
        signal(SignalKind::hangup()).map(Self)
    }

    /// Waits for the next one; none comes after `None`.
    pub async fn next(&mut self) -> Option<()> {
        self.0.recv().await
    }
}
