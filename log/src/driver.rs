//! The log's thread: takes what waits, calls the state machine, carries out what it wants.

use crate::host::real::RealDisk;
use crate::host::{Clock, DiskError};
use crate::recovery::Recovered;
use crate::writer::{CommittedBatch, Submission, WriteRefusal, WriterConfig};
use std::io;
use std::sync::Arc;

/// Where the writer's answers go, on its own thread and in order. Must not block for long.
pub trait LogSink: Send {
    /// These records are durable.
    fn committed(&mut self, batch: CommittedBatch);
    /// The submission is not in the log and never will be.
    fn refused(&mut self, token: u64, reason: WriteRefusal);
    /// The disk failed: nothing is acknowledged any more, and the process should end (exit code 74).
    fn failed(&mut self, error: DiskError);
}

/// Hands submissions to the log's thread.
#[derive(Clone)]
pub struct LogClient {}

impl LogClient {
    /// Hands a submission over; gives it back where the queue is full (the client is told to slow down) or the thread
    /// has ended.
    pub fn try_submit(&self, submission: Submission) -> Result<(), Submission> {
        Err(submission)
    }
}

/// The running thread.
pub struct LogThread {}

impl LogThread {
    /// Starts the thread.
    pub fn start(
        recovered: &Recovered,
        disk: RealDisk,
        clock: Arc<dyn Clock>,
        config: WriterConfig,
        sink: impl LogSink + 'static,
    ) -> io::Result<(Self, LogClient)> {
        let _ = (recovered, disk, clock, config, sink);
        unimplemented!()
    }

    /// Writes what waits, seals the segment and ends the thread.
    pub fn stop(self) {}
}
