//! The thread that, once a second, looks at the disk's free space, writes down what was found damaged, ends the minutes
//! of refused requests, and repeats what was refused between the halves of creating and deleting buckets.

use super::Engine;
use super::admission::{Admission, FreeSpace};
use super::command::{Command, RecordSuppressed};
use super::damage::FoundDamage;
use super::shard::ReplyTo;
use crossbeam_channel::Receiver;
use siltstone_log::event::{Actor, Door};
use siltstone_log::host::real::RealDisk;
use siltstone_log::host::{DiskOp, DiskReply, Folder};
use std::sync::{PoisonError, Weak};
use std::time::Duration;

const PERIOD: Duration = Duration::from_secs(1);

/// What is free on the volumes of log, packs and projections, which may be three. None where the system does not say.
pub(super) fn free_space(disk: &RealDisk) -> Option<FreeSpace> {
    let free = |folder| match disk.execute(&DiskOp::FreeSpace { folder }) {
        Ok(DiskReply::Free(bytes)) => Some(bytes),
        Ok(DiskReply::Done | DiskReply::Data(_) | DiskReply::Files(_)) | Err(_) => None,
    };
    let content = free(Folder::Log).into_iter().chain(free(Folder::Packs)).min()?;
    Some(FreeSpace { content, rows: free(Folder::Projections).unwrap_or(u64::MAX) })
}

/// Runs until the other side of `stop` is dropped, or the engine is.
pub(super) fn run(
    engine: &Weak<super::Shared>,
    disk: &RealDisk,
    admission: &Admission,
    damage: &FoundDamage,
    stop: &Receiver<()>,
) {
    while stop.recv_timeout(PERIOD) == Err(crossbeam_channel::RecvTimeoutError::Timeout) {
        if let Some(free) = free_space(disk) {
            admission.set_free(free);
        }
        if let Err(error) = damage.write_down(disk) {
            tracing::warn!(%error, "cannot write down what was found damaged");
        }
        let Some(shared) = engine.upgrade() else { return };
        let engine = Engine { shared };
        end_minutes(&engine);
        engine.repeat_unfinished();
    }
}

fn end_minutes(engine: &Engine) {
    let now = engine.clock().monotonic_nanos();
    let summaries = {
        let mut limiter = engine.shared.denied.lock().unwrap_or_else(PoisonError::into_inner);
        limiter.take_summaries(now)
    };
    for summary in summaries {
        let command = Command::new(Actor::server(Door::Worker), RecordSuppressed(summary), engine.entropy());
        drop(engine.send(command, ReplyTo::Nobody));
    }
}
