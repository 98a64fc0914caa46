//! Group commit: one batch at a time, written, synced, then published.

mod api;

pub use api::{
    BatchTiming, CommittedBatch, Submission, WriteRefusal, WriterConfig, WriterEffect, WriterInput,
};

use crate::host::Now;
use crate::recovery::Recovered;

/// The writer's state machine.
pub struct Writer {}

impl Writer {
    /// Continues a recovered log.
    pub fn new(recovered: &Recovered, config: WriterConfig) -> Self {
        let _ = (recovered, config);
        Self {}
    }

    /// Takes one input and says what is to be done.
    pub fn handle(&mut self, now: Now, input: WriterInput, out: &mut Vec<WriterEffect>) {
        let _ = (self, now, input, out);
    }

    /// When [`WriterInput::Tick`] is due, by the monotonic clock.
    pub fn wake_at(&self) -> Option<u64> {
        None
    }

    /// Bytes of submissions that wait for a batch.
    pub fn queued_bytes(&self) -> usize {
        0
    }
}
