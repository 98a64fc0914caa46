//! Carrying a recovery plan out. Every step can be interrupted and done again.

use super::{RecoveryError, RecoveryPlan, RecoveryStep};
use crate::host::{DiskError, DiskOp, FilePath, Folder};
use crate::script::Io;
use crate::segment::HEADER_BYTES;
use crate::witness::{CHECKPOINT_BYTES, checkpoint_file, store_quarantine};
use bytes::Bytes;

/// Bytes copied at a time.
const CHUNK: u64 = 1024 * 1024;

/// Does what a plan says.
pub async fn apply(io: &Io, plan: &RecoveryPlan) -> Result<(), RecoveryError> {
    for step in &plan.steps {
        match step {
            RecoveryStep::Remove { file, .. } => {
                io.run(DiskOp::Remove { file: file.clone() }).await?;
            }
            RecoveryStep::Copy { from, to, header, end, footer } => {
                copy(io, &from.file(), &to.file(), header, *end, footer).await?;
                io.run(DiskOp::SyncFolder { folder: Folder::Log }).await?;
                // ORDER: the copy and its name are durable before the original goes.
                io.run(DiskOp::Remove { file: from.file() }).await?;
            }
            RecoveryStep::Supersede { old, by } => {
                // ORDER: a start that was interrupted (a crash, a failed sync) has left both, the younger one perhaps
                // in the page cache only, and its name not durable. A power cut that kept the removal and lost the
                // name would take the whole segment.
                io.run(DiskOp::Sync { file: by.file() }).await?;
                io.run(DiskOp::SyncFolder { folder: Folder::Log }).await?;
                io.run(DiskOp::Remove { file: old.file() }).await?;
            }
            RecoveryStep::Sync { segment } => {
                io.run(DiskOp::Sync { file: segment.file() }).await?;
            }
            RecoveryStep::CreateCheckpoint => {
                io.run(DiskOp::Create { file: checkpoint_file(), len: CHECKPOINT_BYTES, leave_free: 0 })
                    .await?;
                io.run(DiskOp::Sync { file: checkpoint_file() }).await?;
            }
            RecoveryStep::StoreQuarantine => {
                store_quarantine(io, plan.recovered.log_id, &plan.recovered.quarantine).await?;
            }
        }
    }
    // ORDER: a segment's name may have been given just before the crash; it is durable before anything rests on it.
    io.run(DiskOp::SyncFolder { folder: Folder::Log }).await?;
    Ok(())
}

/// Writes a segment anew: its own header, the other's batches, a footer. What was written before a crash may stand in
/// the page cache only, and after a failed sync the system believes it clean; so nothing is trusted that was not read
/// from the disk and synced in a file that no sync has failed on.
pub(crate) async fn copy(
    io: &Io,
    from: &FilePath,
    to: &FilePath,
    header: &Bytes,
    end: u64,
    footer: &Bytes,
) -> Result<(), DiskError> {
    let len = end.saturating_add(footer.len() as u64);
    io.run(DiskOp::Create { file: to.clone(), len, leave_free: 0 }).await?;
    let write = |offset, data: Bytes| {
        let op = DiskOp::Write { file: to.clone(), offset, data: vec![data] };
        async { io.run(op).await }
    };
    write(0, header.clone()).await?;
    let mut at = HEADER_BYTES;
    while at < end {
        let chunk = io.read(from, at, CHUNK.min(end - at), true).await?;
        if chunk.is_empty() {
            break;
        }
        let next = at + chunk.len() as u64;
        write(at, chunk).await?;
        at = next;
    }
    // ORDER: the batches are durable before the footer, which says that the copy is complete.
    io.run(DiskOp::Sync { file: to.clone() }).await?;
    write(end, footer.clone()).await?;
    io.run(DiskOp::Sync { file: to.clone() }).await?;
    Ok(())
}
