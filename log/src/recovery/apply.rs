//! Carrying a recovery plan out. Every step can be interrupted and done again.

use super::{RecoveryError, RecoveryPlan, RecoveryStep};
use crate::batch::{Verify, short_log_id};
use crate::host::{DiskError, DiskOp, Folder};
use crate::id::BatchSeq;
use crate::scan::{Scan, ScanConfig, ScanItem, Until};
use crate::script::Io;
use crate::segment::{Footer, HEADER_BYTES, SegmentHeader, SegmentName, Tally};
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
                copy(io, *from, *to, header, *end, footer).await?;
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
async fn copy(
    io: &Io,
    from: SegmentName,
    to: SegmentName,
    header: &Bytes,
    end: u64,
    footer: &Bytes,
) -> Result<(), RecoveryError> {
    let len = end.saturating_add(footer.len() as u64);
    io.run(DiskOp::Create { file: to.file(), len, leave_free: 0 }).await?;
    let write = |offset, data: Bytes| {
        let op = DiskOp::Write { file: to.file(), offset, data: vec![data] };
        async { io.run(op).await }
    };
    write(0, header.clone()).await?;
    let mut at = HEADER_BYTES;
    while at < end {
        let chunk = io.read(&from.file(), at, CHUNK.min(end - at), true).await?;
        if chunk.is_empty() {
            break;
        }
        let next = at + chunk.len() as u64;
        write(at, chunk).await?;
        at = next;
    }
    // ORDER: the batches are durable before the footer, which says that the copy is complete.
    io.run(DiskOp::Sync { file: to.file() }).await?;
    if !holds_what_was_read(io, to, header, end, footer).await? {
        return Err(RecoveryError::CopyDiffers { from, to });
    }
    write(end, footer.clone()).await?;
    io.run(DiskOp::Sync { file: to.file() }).await?;
    Ok(())
}

/// Whether a copy has the batches that its footer was made of. They were read a second time to be copied, and a disk
/// that gave others then, or has not kept what was written, must not cost the original.
async fn holds_what_was_read(
    io: &Io,
    copy: SegmentName,
    header: &Bytes,
    end: u64,
    footer: &Bytes,
) -> Result<bool, DiskError> {
    let (Ok(footer), Ok(header_fields)) = (Footer::decode(footer, end), SegmentHeader::decode(header)) else {
        return Ok(false);
    };
    let first_batch = header_fields.first_batch;
    let prev_batch = BatchSeq(first_batch.0.saturating_sub(1));
    let mut tally = Tally::new(header, copy.first, prev_batch, header_fields.prev_digest);
    let mut scan = Scan::new(ScanConfig {
        name: copy,
        file_bytes: end,
        log_id: short_log_id(footer.log_id),
        first_batch,
        first: copy.first,
        until: Until::Sealed { offset: end, last: footer.last },
        verify: Verify::Digest,
        from_disk: true,
        offset: 0,
    });
    loop {
        match scan.next(io).await? {
            ScanItem::Batch(batch) => {
                let frame = &batch.frame;
                let hash = batch.hash.unwrap_or_default();
                tally.batch(frame.seq, hash, frame.first, u64::from(frame.count), frame.disk_bytes());
            }
            // Markers alone may be missing: of them nothing is lost.
            ScanItem::Lost(lost) if lost.last < lost.first => {}
            ScanItem::Lost(_) => return Ok(false),
            ScanItem::End(_) => break,
        }
    }
    let found = tally.footer(footer.log_id, footer.segment_no, footer.max_hlc);
    Ok(found.segment_hash == footer.segment_hash && found.batches == footer.batches)
}
