//! What remains known of a body after the handler that owned it is done.

use super::BodySource;
use http_body_util::BodyExt as _;
use hyper::body::Body as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::timeout;

/// How much of a refused body is read and thrown away, and for how long. Closing a connection on which bytes are
/// still arriving resets it, and the client may never see why it was refused.
const DISCARD_BYTES: usize = 4 * 1024 * 1024;
const DISCARD_TIME: Duration = Duration::from_secs(2);

#[derive(Default)]
struct Inner {
    received: AtomicU64,
    polled: AtomicBool,
    rest: Mutex<Option<BodySource>>,
}

/// A view of a body that outlives it: how much came, and what was left unread.
#[derive(Clone, Default)]
pub struct BodyWatch(Arc<Inner>);

impl BodyWatch {
    /// Bytes of content received.
    pub fn received(&self) -> u64 {
        self.0.received.load(Ordering::Relaxed)
    }

    /// Whether the first byte was asked for, which is what sends `100 Continue`.
    pub fn was_polled(&self) -> bool {
        self.0.polled.load(Ordering::Relaxed)
    }

    pub(super) fn count(&self, received: u64) {
        self.0.received.store(received, Ordering::Relaxed);
    }

    pub(super) fn note_polled(&self) {
        self.0.polled.store(true, Ordering::Relaxed);
    }

    /// Keeps a body that nobody will read.
    pub fn keep(&self, source: BodySource) {
        *self.0.rest.lock().unwrap_or_else(PoisonError::into_inner) = Some(source);
    }

    fn take(&self) -> Option<BodySource> {
        self.0.rest.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Whether nothing is left unread.
    pub fn is_finished(&self) -> bool {
        let rest = self.0.rest.lock().unwrap_or_else(PoisonError::into_inner);
        rest.as_ref().is_none_or(hyper::body::Body::is_end_stream)
    }

    /// Throws away what was left and is here already; false if more may come. That is read and thrown away in the
    /// background, within bounds, so that the answer does not wait for it.
    pub async fn discard_rest(&self) -> bool {
        let Some(mut rest) = self.take() else { return true };
        let mut left = DISCARD_BYTES;
        loop {
            let before = left;
            tokio::select! {
                biased;
                ended = discard(&mut rest, &mut left) => return ended,
                // The first look asks the connection for bytes. It shares this task and has them for us when it ran.
                () = tokio::task::yield_now() => {}
            }
            if left == before {
                break;
            }
        }
        tokio::spawn(async move { timeout(DISCARD_TIME, discard(&mut rest, &mut left)).await });
        false
    }
}

/// Reads a body to its end, or until it is too long: false.
async fn discard(rest: &mut BodySource, left: &mut usize) -> bool {
    loop {
        if rest.is_end_stream() {
            return true;
        }
        match rest.frame().await {
            None => return true,
            Some(Err(_)) => return false,
            Some(Ok(frame)) => {
                let len = frame.data_ref().map_or(0, bytes::Bytes::len);
                let Some(less) = left.checked_sub(len) else { return false };
                *left = less;
            }
        }
    }
}

/// A body's source, given back to the watch when its reader is done with it.
pub(super) struct Held {
    source: Option<BodySource>,
    watch: BodyWatch,
}

impl Held {
    pub(super) fn new(source: BodySource, watch: BodyWatch) -> Self {
        Self { source: Some(source), watch }
    }

    pub(super) fn source(&mut self) -> Option<&mut BodySource> {
        self.watch.note_polled();
        self.source.as_mut()
    }

    pub(super) fn watch(&self) -> &BodyWatch {
        &self.watch
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(source) = self.source.take() {
            self.watch.keep(source);
        }
    }
}
