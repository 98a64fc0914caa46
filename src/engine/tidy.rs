//! The thread that has the projections tidy up, so that listings stay cheap after many deletions.

use super::Shared;
use crossbeam_channel::{Receiver, RecvTimeoutError};
use std::sync::Weak;
use std::time::Duration;

const PERIOD: Duration = Duration::from_secs(10);

/// Runs until the other side of `stop` is dropped, or the engine is; what is under way then goes on, and the end of the
/// process is a crash to it, which the store survives.
pub(super) fn run(engine: &Weak<Shared>, stop: &Receiver<()>) {
    while stop.recv_timeout(PERIOD) == Err(RecvTimeoutError::Timeout) {
        let Some(shared) = engine.upgrade() else { return };
        let store = shared.store.clone();
        drop(shared);
        match store.tidy() {
            Ok(true) => tracing::info!("the projections were compacted after deletions"),
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "the projections could not be compacted"),
        }
    }
}
