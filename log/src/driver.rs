//! The log's thread: takes what waits, calls the state machine, carries out what it wants.
//!
//! It executes disk operations on itself, one after the other; while one runs, submissions collect in the channel and
//! are all enqueued before the next batch is built. That is the whole of group commit.

use crate::host::real::RealDisk;
use crate::host::{Clock, Completion, DiskError, Now};
use crate::recovery::Recovered;
use crate::writer::{
    CommittedBatch, Submission, WriteRefusal, Writer, WriterConfig, WriterEffect, WriterInput,
};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// The most submissions that wait for the thread. Their bytes are bounded by who submits.
const QUEUE: usize = 8192;

/// Where the writer's answers go, on its own thread and in order. Must not block for long.
pub trait LogSink: Send {
    /// These records are durable.
    fn committed(&mut self, batch: CommittedBatch);
    /// The submission is not in the log and never will be.
    fn refused(&mut self, token: u64, reason: WriteRefusal);
    /// The disk failed: nothing is acknowledged any more, and the process should end (exit code 74).
    fn failed(&mut self, error: DiskError);
}

enum Message {
    Submit(Submission),
    Stop,
}

/// Hands submissions to the log's thread.
#[derive(Clone)]
pub struct LogClient {
    sender: Sender<Message>,
}

impl LogClient {
    /// Hands a submission over; gives it back where the queue is full (the client is told to slow down) or the thread
    /// has ended.
    pub fn try_submit(&self, submission: Submission) -> Result<(), Submission> {
        self.sender.try_send(Message::Submit(submission)).map_err(|refused| match refused.into_inner() {
            Message::Submit(submission) => submission,
            Message::Stop => unreachable_stop(),
        })
    }
}

#[expect(clippy::unreachable, reason = "the channel gives back what was sent, and that was a submission")]
fn unreachable_stop() -> Submission {
    unreachable!("a refused submission comes back as one")
}

/// The running thread.
pub struct LogThread {
    sender: Sender<Message>,
    thread: JoinHandle<()>,
}

impl LogThread {
    /// Starts the thread.
    pub fn start(
        recovered: &Recovered,
        disk: RealDisk,
        clock: Arc<dyn Clock>,
        config: WriterConfig,
        sink: impl LogSink + 'static,
    ) -> io::Result<(Self, LogClient)> {
        let (sender, receiver) = bounded(QUEUE);
        let writer = Writer::new(recovered, config);
        let driver = Driver { writer, disk, clock, receiver, sink, effects: Vec::new(), stopping: false };
        let thread = std::thread::Builder::new().name("log-writer".to_owned()).spawn(move || driver.run())?;
        Ok((Self { sender: sender.clone(), thread }, LogClient { sender }))
    }

    /// Writes what waits, seals the segment and ends the thread.
    pub fn stop(self) {
        // Both fail only where the thread has ended by itself, after a failure that the sink was told.
        let _ = self.sender.send(Message::Stop);
        let _ = self.thread.join();
    }
}

struct Driver<S> {
    writer: Writer,
    disk: RealDisk,
    clock: Arc<dyn Clock>,
    receiver: Receiver<Message>,
    sink: S,
    effects: Vec<WriterEffect>,
    stopping: bool,
}

impl<S: LogSink> Driver<S> {
    fn now(&self) -> Now {
        Now { wall_millis: self.clock.wall_millis(), monotonic_nanos: self.clock.monotonic_nanos() }
    }

    fn run(mut self) {
        let mut input = WriterInput::Tick;
        loop {
            let now = self.now();
            self.writer.handle(now, input, &mut self.effects);
            if !self.carry_out() {
                return;
            }
            input = self.wait();
        }
    }

    /// Carries out effects until none is left; `false` once the writer has ended.
    fn carry_out(&mut self) -> bool {
        let mut effects: VecDeque<WriterEffect> = self.effects.drain(..).collect();
        while let Some(effect) = effects.pop_front() {
            match effect {
                WriterEffect::Disk(ticket, op) => {
                    let result = self.disk.execute(&op);
                    // ORDER: what arrived during the operation is enqueued before its completion is handled, so that
                    // the batch which the completion may start takes all of it.
                    self.enqueue_waiting();
                    let now = self.now();
                    let input = WriterInput::Disk(Completion { ticket, result });
                    self.writer.handle(now, input, &mut self.effects);
                    effects.extend(self.effects.drain(..));
                }
                WriterEffect::Committed(batch) => self.sink.committed(batch),
                WriterEffect::Refused { token, reason } => self.sink.refused(token, reason),
                WriterEffect::Failed(error) => {
                    self.sink.failed(error);
                    return false;
                }
                WriterEffect::Stopped => return false,
            }
        }
        true
    }

    fn enqueue_waiting(&mut self) {
        while let Ok(message) = self.receiver.try_recv() {
            self.enqueue(message);
        }
    }

    fn enqueue(&mut self, message: Message) {
        match message {
            Message::Submit(submission) => {
                let now = self.now();
                self.writer.enqueue(now, submission, &mut self.effects);
            }
            Message::Stop => self.stopping = true,
        }
    }

    /// Waits for work or for the time that the writer asked for.
    fn wait(&mut self) -> WriterInput {
        if !self.stopping {
            let message = match self.writer.wake_at() {
                None => self.receiver.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(at) => {
                    let left = at.saturating_sub(self.clock.monotonic_nanos());
                    self.receiver.recv_timeout(Duration::from_nanos(left))
                }
            };
            match message {
                Ok(message) => {
                    self.enqueue(message);
                    self.enqueue_waiting();
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => self.stopping = true,
            }
        }
        if self.stopping { WriterInput::Stop } else { WriterInput::Tick }
    }
}
