//! What the engine tells whoever keeps figures. Called on its threads: it must be quick.

use super::history::Reason;
use super::outcome::{EngineError, Receipt};
use siltstone_log::writer::BatchTiming;

/// Takes note of what happens.
pub trait Observer: Send + Sync {
    /// A step of the start is under way: which one, and where it is known, log positions done and to be done.
    fn starting(&self, _step: &'static str, _progress: Option<(u64, u64)>) {}
    /// A batch is durable.
    fn committed(&self, _timing: &BatchTiming, _records: usize) {}
    /// A command was answered, so long after it was submitted.
    fn answered(&self, _action: &'static str, _result: &Result<Receipt, EngineError>, _nanos: u64) {}
    /// Versions left the history window, and with them so many bytes.
    fn expired(&self, _reason: Reason, _versions: u64, _bytes: u64) {}
    /// Versions left before the window's days had passed.
    fn window_shortened(&self, _reason: Reason) {}
    /// So many blobs in use were found missing since the start, in a search that goes on.
    fn content_missing(&self, _blobs: u64) {}
    /// Blobs that nothing names, with so many bytes, are given back.
    fn swept(&self, _blobs: u64, _bytes: u64) {}
    /// The search for them has ended: whether it went through all blobs.
    fn sweep_ended(&self, _complete: bool) {}
}

/// Takes no note.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoObserver;

impl Observer for NoObserver {}
