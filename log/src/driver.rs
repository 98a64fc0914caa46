//! The log's thread: takes what waits, calls the state machine, carries out what it wants.

use crate::host::real::RealDisk;
use crate::host::{Clock, Completion, DiskError};
use crate::recovery::Recovered;
use crate::writer::{
    CommittedBatch, Submission, WriteRefusal, Writer, WriterConfig, WriterEffect, WriterInput,
};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

/// Submissions that can wait in front of the thread.
const QUEUE: usize = 4096;
/// Bytes that the state machine may hold; what is beyond waits in the channel, whose end the submitters feel.
const QUEUED_BYTES: usize = 16 * 1024 * 1024;

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
        self.sender.try_send(Message::Submit(submission)).or_else(|error| match error.into_inner() {
            Message::Submit(submission) => Err(submission),
            Message::Stop => Ok(()),
        })
    }
}

/// The running thread.
pub struct LogThread {
    thread: JoinHandle<()>,
    sender: Sender<Message>,
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
        let driver =
            Driver { writer, disk, clock, sink, receiver, effects: VecDeque::new(), out: Vec::new() };
        let thread = Builder::new().name("log-writer".to_owned()).spawn(|| driver.run())?;
        Ok((Self { thread, sender: sender.clone() }, LogClient { sender }))
    }

    /// Writes what waits, seals the segment and ends the thread. An error says that the thread panicked.
    pub fn stop(self) -> std::thread::Result<()> {
        // Where the thread has ended already, there is nothing to be told.
        drop(self.sender.send(Message::Stop));
        self.thread.join()
    }
}

struct Driver<S> {
    writer: Writer,
    disk: RealDisk,
    clock: Arc<dyn Clock>,
    sink: S,
    receiver: Receiver<Message>,
    effects: VecDeque<WriterEffect>,
    out: Vec<WriterEffect>,
}

impl<S: LogSink> Driver<S> {
    fn run(mut self) {
        self.handle(WriterInput::Tick);
        loop {
            match self.effects.pop_front() {
                Some(WriterEffect::Disk(ticket, op)) => {
                    let result = self.disk.execute(&op);
                    // ORDER: what came during the operation is taken before its completion, which begins the next batch.
                    self.drain();
                    self.handle(WriterInput::Disk(Completion { ticket, result }));
                }
                Some(WriterEffect::Committed(batch)) => self.sink.committed(batch),
                Some(WriterEffect::Refused { token, reason }) => self.sink.refused(token, reason),
                Some(WriterEffect::Failed(error)) => return self.sink.failed(error),
                Some(WriterEffect::Stopped) => return,
                None => {
                    let first = self.wait();
                    self.take(first);
                    // ORDER: all that waits is taken before a batch begins, so that it shares one sync.
                    self.drain();
                    self.handle(WriterInput::Tick);
                }
            }
        }
    }

    fn handle(&mut self, input: WriterInput) {
        self.writer.handle(self.clock.now(), input, &mut self.out);
        self.effects.extend(self.out.drain(..));
    }

    fn drain(&mut self) {
        while self.writer.queued_bytes() < QUEUED_BYTES
            && let Ok(message) = self.receiver.try_recv()
        {
            self.take(Some(message));
        }
    }

    /// Takes a message without beginning a batch; `None` says that time has passed.
    fn take(&mut self, message: Option<Message>) {
        match message {
            Some(Message::Submit(submission)) => {
                self.writer.enqueue(self.clock.now(), submission, &mut self.out);
                self.effects.extend(self.out.drain(..));
            }
            Some(Message::Stop) => self.handle(WriterInput::Stop),
            None => {}
        }
    }

    fn wait(&self) -> Option<Message> {
        let message = match self.writer.wake_at() {
            Some(at) => {
                let nanos = at.saturating_sub(self.clock.monotonic_nanos());
                self.receiver.recv_timeout(Duration::from_nanos(nanos))
            }
            None => self.receiver.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match message {
            Ok(message) => Some(message),
            Err(RecvTimeoutError::Timeout) => None,
            // Nobody can submit any more.
            Err(RecvTimeoutError::Disconnected) => Some(Message::Stop),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Folder;
    use crate::host::real::RealClock;
    use crate::id::{Position, Seq};
    use crate::reader::{ReadItem, Replay, read_cached_content, read_content};
    use crate::recovery::recover;
    use crate::script::Script;
    use crate::testing::{draft, recovery_config, stream};
    use std::sync::mpsc;

    enum Answer {
        Committed(CommittedBatch),
        Refused(u64, WriteRefusal),
        Failed,
    }

    struct Answers(mpsc::Sender<Answer>);

    impl LogSink for Answers {
        fn committed(&mut self, batch: CommittedBatch) {
            self.0.send(Answer::Committed(batch)).unwrap();
        }
        fn refused(&mut self, token: u64, reason: WriteRefusal) {
            self.0.send(Answer::Refused(token, reason)).unwrap();
        }
        fn failed(&mut self, _error: DiskError) {
            self.0.send(Answer::Failed).unwrap();
        }
    }

    fn start(disk: &RealDisk) -> (LogThread, LogClient, mpsc::Receiver<Answer>) {
        let recovered = Script::new(|io| recover(io, recovery_config())).run(&mut disk.clone()).unwrap();
        let (sender, answers) = mpsc::channel();
        let clock = Arc::new(RealClock::default());
        let config = WriterConfig { segment_bytes: 256 * 1024, ..WriterConfig::default() };
        let (thread, client) =
            LogThread::start(&recovered, disk.clone(), clock, config, Answers(sender)).unwrap();
        (thread, client, answers)
    }

    #[expect(clippy::disallowed_methods, reason = "a test of the real driver makes its own folder")]
    fn folder() -> (tempfile::TempDir, RealDisk) {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join(Folder::Log.name())).unwrap();
        let disk = RealDisk::new(root.path());
        (root, disk)
    }

    #[test]
    fn what_the_thread_acknowledged_is_in_the_files_after_a_restart() {
        let (_root, disk) = folder();
        let mut places = Vec::new();
        for round in 0..3u64 {
            let (thread, client, answers) = start(&disk);
            for n in 1..=200 {
                let drafts = vec![draft(stream(1), round * 200 + n, 3000)];
                client.try_submit(Submission { token: n, priority: false, drafts }).unwrap();
            }
            let drafts = vec![draft(stream(1), 10_000, 0)];
            client.try_submit(Submission { token: 999, priority: false, drafts }).unwrap();
            thread.stop().unwrap();
            let mut refused = Vec::new();
            for answer in answers.try_iter() {
                match answer {
                    Answer::Committed(batch) => places.extend(batch.records.into_iter().map(|r| r.place)),
                    Answer::Refused(token, reason) => refused.push((token, reason)),
                    Answer::Failed => panic!("the disk failed"),
                }
            }
            let expected = Seq(round * 200 + 201);
            let reason = WriteRefusal::OutOfOrder { stream: stream(1), expected, found: Seq(10_000) };
            assert_eq!(refused, [(999, reason)]);
            let late = Submission { token: 1, priority: false, drafts: vec![draft(stream(2), 1, 0)] };
            assert_eq!(client.try_submit(late.clone()), Err(late), "a stopped thread takes nothing");
        }
        let replayed: usize = Replay::open(disk.clone(), Position(1))
            .unwrap()
            .map(|item| match item.unwrap() {
                ReadItem::Records(records) => records.len(),
                ReadItem::Unreadable(range) => panic!("{range:?}"),
            })
            .sum();
        assert_eq!((replayed, places.len()), (600, 600));
        let items = |replay: Replay| replay.map(Result::unwrap).collect::<Vec<_>>();
        let ahead = || Replay::open(disk.clone(), Position(1)).unwrap().read_ahead().unwrap();
        let read: Vec<_> = ahead().map(Result::unwrap).collect();
        assert_eq!(read, items(Replay::open(disk.clone(), Position(1)).unwrap()));
        assert!(ahead().take(1).count() == 1, "whoever stops early is not waited for");
        for (seq, place) in (1..).zip(places) {
            let content = read_content(&disk, place, 3016).unwrap();
            // What the page cache does not have is not waited for; what it has is the same.
            let cached = read_cached_content(&disk, place, 3016);
            assert!(cached.is_none_or(|cached| cached == content));
            assert_eq!(read_cached_content(&RealDisk::new("nowhere"), place, 3016), None);
            assert_eq!((content.len(), content[0]), (3000, u8::try_from(seq % 251).unwrap()));
        }
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test of the real driver removes its own folder")]
    fn a_failing_disk_ends_the_thread_after_it_has_said_so() {
        let (root, disk) = folder();
        let (thread, client, answers) = start(&disk);
        // A file that the thread makes meanwhile can stop a removal half way; once the folder is gone it stays so.
        while root.path().exists() {
            drop(std::fs::remove_dir_all(root.path()));
        }
        let mut failed = false;
        for n in 1..=2000 {
            let drafts = vec![draft(stream(1), n, 3000)];
            if client.try_submit(Submission { token: n, priority: false, drafts }).is_err() {
                break;
            }
        }
        for answer in &answers {
            failed |= matches!(answer, Answer::Failed);
        }
        assert!(failed, "the next segment could not be made");
        thread.stop().unwrap();
    }
}
