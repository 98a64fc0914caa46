//! Sequential disk work (recovery, scans, repair) as a resumable script.
//!
//! An `async` block is a state machine that the compiler writes: it asks for one [`DiskOp`] at a time through
//! [`Io`] and is resumed with the result. No executor, thread or waker is involved, so the simulator can stop it
//! between any two operations, and the real driver just executes them in turn ([`Script::run`]).

use crate::host::{Disk, DiskOp, DiskReply, DiskResult, FilePath, Folder, Ticket};
use bytes::Bytes;
use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

#[derive(Default)]
struct Slot {
    asked: Option<DiskOp>,
    answered: Option<DiskResult>,
}

/// A script's way to the disk. Clones share the one place for a pending operation: a script asks for one at a time.
#[derive(Clone)]
pub struct Io(Rc<RefCell<Slot>>);

impl Io {
    /// Performs an operation.
    pub async fn run(&self, op: DiskOp) -> DiskResult {
        self.0.borrow_mut().asked = Some(op);
        std::future::poll_fn(|_| self.0.borrow_mut().answered.take().map_or(Poll::Pending, Poll::Ready)).await
    }

    /// Reads a range; shorter only at the end of the file.
    pub async fn read(
        &self,
        file: &FilePath,
        offset: u64,
        len: u64,
        from_disk: bool,
    ) -> Result<Bytes, crate::host::DiskError> {
        let op = DiskOp::Read { file: file.clone(), offset, len, from_disk };
        Ok(match self.run(op).await? {
            DiskReply::Data(bytes) => bytes,
            DiskReply::Done | DiskReply::Files(_) | DiskReply::Free(_) => Bytes::new(),
        })
    }

    /// Lists a folder.
    pub async fn list(&self, folder: Folder) -> Result<Vec<(Arc<str>, u64)>, crate::host::DiskError> {
        Ok(match self.run(DiskOp::List { folder }).await? {
            DiskReply::Files(files) => files,
            DiskReply::Done | DiskReply::Data(_) | DiskReply::Free(_) => Vec::new(),
        })
    }
}

/// What a script wants next.
pub enum Step<T> {
    /// This operation, then [`Script::resume`] with its result.
    Submit(DiskOp),
    /// Nothing: it is finished.
    Done(T),
}

/// A running script.
pub struct Script<T> {
    future: Pin<Box<dyn Future<Output = T>>>,
    slot: Rc<RefCell<Slot>>,
}

impl<T> Script<T> {
    /// Prepares a script; nothing runs before the first [`Script::resume`].
    pub fn new<F: Future<Output = T> + 'static>(body: impl FnOnce(Io) -> F) -> Self {
        let slot = Rc::new(RefCell::new(Slot::default()));
        Self { future: Box::pin(body(Io(slot.clone()))), slot }
    }

    /// Runs up to the next operation. `result` answers the one asked for before; `None` starts the script.
    pub fn resume(&mut self, result: Option<DiskResult>) -> Step<T> {
        self.slot.borrow_mut().answered = result;
        match self.future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => Step::Done(value),
            Poll::Pending => match self.slot.borrow_mut().asked.take() {
                Some(op) => Step::Submit(op),
                None => unreachable_await(),
            },
        }
    }

    /// Runs to the end against a disk that completes what it is given.
    pub fn run(mut self, disk: &mut impl Disk) -> T {
        let mut step = self.resume(None);
        loop {
            match step {
                Step::Done(value) => return value,
                Step::Submit(op) => {
                    disk.submit(Ticket(0), op);
                    let result = loop {
                        if let Some(completion) = disk.poll() {
                            break completion.result;
                        }
                    };
                    step = self.resume(Some(result));
                }
            }
        }
    }
}

#[expect(
    clippy::panic,
    reason = "a script that awaits anything but its Io is a programming error that no input can cause"
)]
fn unreachable_await() -> ! {
    panic!("a script awaited something other than its disk")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_asks_for_one_operation_at_a_time_and_gets_its_results_in_order() {
        let mut script = Script::new(|io| async move {
            let mut seen = Vec::new();
            for folder in [Folder::Log, Folder::Packs] {
                seen.push(io.list(folder).await.unwrap().len());
            }
            seen
        });
        let file = (Arc::from("a"), 1);
        let Step::Submit(DiskOp::List { folder: Folder::Log }) = script.resume(None) else { panic!() };
        let Step::Submit(DiskOp::List { folder: Folder::Packs }) =
            script.resume(Some(Ok(DiskReply::Files(vec![file]))))
        else {
            panic!()
        };
        let Step::Done(seen) = script.resume(Some(Ok(DiskReply::Files(vec![])))) else { panic!() };
        assert_eq!(seen, [1, 0]);
    }
}
