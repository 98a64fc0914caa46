//! Slow clients are cut for lack of progress, never by a total time: a large body may take hours.

use std::time::Duration;

/// How long a client may take for [`WINDOW_BYTES`].
const WINDOW: Duration = Duration::from_mins(1);
/// 1 KiB a second.
const WINDOW_BYTES: usize = 60 * 1024;

/// Counts what came, or went, while we waited for the client. Time in which we ourselves were busy does not count against it.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    waited: Duration,
    bytes: usize,
}

impl Progress {
    /// How much longer to wait for the next bytes.
    pub(crate) fn patience(&self) -> Duration {
        WINDOW.saturating_sub(self.waited)
    }

    /// Bytes came, or went, after waiting this long.
    pub(crate) fn moved(&mut self, bytes: usize, waited: Duration) {
        self.waited += waited;
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes >= WINDOW_BYTES {
            *self = Self::default();
        }
    }
}
