//! The threads that digest large bodies.
//!
//! Work is taken in turns, as the log takes batches: what came while a turn was under way makes the next one. So a body
//! that is alone never waits for company, and bodies get company in the lanes of MD5 when the processors do not keep up.

use super::md5::LANES;
use super::{Digester, Lost, Step};
use crate::engine::Permit;
use crossbeam_channel::{Receiver, Sender, unbounded};
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::LazyLock;
use std::thread;
use tokio::sync::oneshot;

/// The next steps of a body.
pub(super) struct Job {
    pub(super) digester: Box<Digester>,
    pub(super) steps: Vec<Step>,
    /// Outlives a client that goes: the bytes are here until they are digested.
    pub(super) permit: Option<Permit>,
    /// Where the digester goes back to; dropped if it is lost.
    pub(super) reply: oneshot::Sender<Box<Digester>>,
}

/// The threads of this process: what they share out is its processors. Half of these digest, since the others have to bring
/// the bytes. Each body has one job under way, so admission bounds the queue.
static THREADS: LazyLock<Sender<Job>> = LazyLock::new(|| {
    let (jobs, queue) = unbounded();
    let processors = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    for number in 0..(processors / 2).max(1) {
        let queue = queue.clone();
        let named = thread::Builder::new().name(format!("digest-{number}"));
        if let Err(error) = named.spawn(move || run(&queue)) {
            // Where none can be started, the queue has no reader and jobs are refused.
            tracing::error!(%error, "a thread for digests could not be started");
        }
    }
    jobs
});

/// Has the steps of a body done. The digester comes back through the receiver.
pub(super) fn hand_over(
    digester: Box<Digester>,
    steps: Vec<Step>,
    permit: Option<Permit>,
) -> Result<oneshot::Receiver<Box<Digester>>, Lost> {
    let (reply, done) = oneshot::channel();
    THREADS.send(Job { digester, steps, permit, reply }).map_err(|_| Lost)?;
    Ok(done)
}

fn run(queue: &Receiver<Job>) {
    while let Some(jobs) = turn(queue) {
        // After a panic the bodies of this turn are lost, which their requests are told, and no others.
        if catch_unwind(AssertUnwindSafe(|| digest(jobs))).is_err() {
            tracing::error!("digesting panicked");
        }
    }
}

/// The first that waits, and others that wait already, in the order they came. None when nobody is left who could hand
/// anything over.
fn turn<J>(queue: &Receiver<J>) -> Option<Vec<J>> {
    let first = queue.recv().ok()?;
    Some(std::iter::once(first).chain(queue.try_iter().take(LANES - 1)).collect())
}

fn digest(mut jobs: Vec<Job>) {
    let mut bodies: Vec<_> = jobs.iter_mut().map(|job| (&mut *job.digester, job.steps.as_slice())).collect();
    Digester::steps_together(&mut bodies);
    for Job { digester, steps, permit, reply } in jobs {
        // The bytes go before what was admitted for them.
        drop((steps, permit));
        // A client that has gone does not want it back.
        drop(reply.send(digester));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_takes_what_waits_and_never_waits_for_more() {
        let (jobs, queue) = unbounded();
        jobs.send(0).unwrap();
        assert_eq!(turn(&queue), Some(vec![0]), "one that is alone is taken alone");
        (1..=6).for_each(|job| jobs.send(job).unwrap());
        assert_eq!(turn(&queue), Some(vec![1, 2, 3, 4]));
        assert_eq!(turn(&queue), Some(vec![5, 6]));
        drop(jobs);
        assert_eq!(turn(&queue), None);
    }
}
