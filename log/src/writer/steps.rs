//! The writer's work on the disk, one operation at a time: append, seal, open, checkpoint.

use super::{Active, BatchTiming, CommittedBatch, Spare, Step, Taken, WriteRefusal, Writer, WriterEffect};
use crate::batch::{BATCH_ALIGN, BatchContext, EncodedBatch, digest_of, encode_batch};
use crate::hlc::Hlc;
use crate::host::{DiskOp, DiskResult, FilePath, Folder, Now};
use crate::id::{Head, Position, StreamId};
use crate::mutants::{Mutant, active};
use crate::record::{Record, RecordDraft};
use crate::segment::{FORMAT_VERSION, SegmentHeader, SegmentName, Tally, spare_file};
use crate::witness::{Checkpoint, checkpoint_file};
use bytes::Bytes;

/// A batch on its way to the disk.
pub(super) struct Appending {
    file: FilePath,
    tokens: Vec<u64>,
    records: Vec<Record>,
    heads: Vec<(StreamId, Head)>,
    last: Position,
    /// An idle marker: nobody waits for it.
    marker: bool,
    timing: BatchTiming,
    /// When the operation under way was begun.
    began: u64,
}

#[derive(Clone, Copy)]
enum SealStep {
    WriteFooter,
    SyncFooter,
    Truncate,
    SyncLength,
}

/// A segment being sealed.
pub(super) struct Sealing {
    file: FilePath,
    end: u64,
    step: SealStep,
}

#[derive(Clone, Copy)]
enum OpenStep {
    WriteHeader,
    SyncHeader,
    Rename,
    SyncFolder,
}

/// A segment being made from the spare file.
pub(super) struct Opening {
    active: Active,
    step: OpenStep,
}

/// A checkpoint being written.
#[derive(Clone, Copy)]
pub(super) enum CheckpointStep {
    Write,
    Sync,
}

impl Writer {
    pub(super) fn step_done(&mut self, now: Now, result: DiskResult, out: &mut Vec<WriterEffect>) {
        let step = std::mem::replace(&mut self.step, Step::Ready);
        if let Err(error) = result {
            if let Step::Sync(appending) = step
                && active(Mutant::RetrySync)
            {
                let file = appending.file.clone();
                return self.run(DiskOp::Sync { file }, Step::Sync(appending), out);
            }
            return self.fail(error, out);
        }
        match step {
            Step::Append(appending) => self.written(now, appending, out),
            Step::Sync(appending) => self.synced(now, *appending, out),
            Step::Seal(sealing) => self.seal_done(now, sealing, out),
            Step::Open(opening) => self.open_done(opening, out),
            Step::Checkpoint(CheckpointStep::Write) => {
                let op = DiskOp::Sync { file: checkpoint_file() };
                self.run(op, Step::Checkpoint(CheckpointStep::Sync), out);
            }
            Step::Checkpoint(CheckpointStep::Sync) | Step::Ready => {}
            Step::Failed | Step::Stopped => self.step = step,
        }
    }

    /// Encodes what was taken, and writes it.
    pub(super) fn append(&mut self, now: Now, taken: Taken, out: &mut Vec<WriterEffect>) {
        let timing = BatchTiming {
            queued_nanos: now.monotonic_nanos.saturating_sub(taken.oldest()),
            ..BatchTiming::default()
        };
        let tokens: Vec<u64> = taken.tokens().collect();
        let drafts = taken.into_drafts();
        let newest = drafts.iter().map(|draft| draft.hlc).max().unwrap_or_default();
        let Some((file, offset, batch)) = self.encode(drafts) else {
            // The limits were checked when the submissions came.
            for token in tokens {
                out.push(WriterEffect::Refused { token, reason: WriteRefusal::TooLarge });
            }
            return;
        };
        self.max_hlc = self.max_hlc.max(newest);
        let marker = batch.records.is_empty();
        let appending = Appending {
            file: file.clone(),
            tokens,
            last: batch.records.last().map_or(self.durable, |record| record.place.position),
            records: batch.records,
            heads: batch.heads,
            marker,
            timing: BatchTiming { bytes: batch.disk_bytes, ..timing },
            began: now.monotonic_nanos,
        };
        let op = DiskOp::Write { file, offset, data: batch.buffers };
        self.run(op, Step::Append(Box::new(appending)), out);
    }

    /// Encodes a batch for the end of the active segment, and moves everything on as if it were there.
    fn encode(&mut self, drafts: Vec<RecordDraft>) -> Option<(FilePath, u64, EncodedBatch)> {
        let segment = self.active.as_mut()?;
        let offset = segment.tally.offset;
        let context = BatchContext {
            log_id: self.log_id,
            seq: self.next_batch,
            first: self.next_position,
            durable: self.durable,
            prev_digest: self.last_digest,
            segment: segment.name,
            offset,
        };
        let heads = &self.heads;
        let batch = encode_batch(&context, drafts, |stream| heads.get(&stream).copied().unwrap_or_default())?;
        let count = batch.records.len() as u64;
        segment.tally.batch(self.next_batch, batch.hash, self.next_position, count, batch.disk_bytes);
        segment.unmarked = count > 0;
        for record in &batch.records {
            let head = Head { seq: record.seq, hash: record.head };
            segment.tally.stream(record.stream, record.seq, head);
        }
        self.heads.extend(batch.heads.iter().copied());
        self.next_batch = self.next_batch.next();
        self.next_position = Position(self.next_position.0.saturating_add(count));
        self.last_digest = digest_of(batch.hash);
        Some((segment.name.file(), offset, batch))
    }

    fn written(&mut self, now: Now, mut appending: Box<Appending>, out: &mut Vec<WriterEffect>) {
        appending.timing.write_nanos = now.monotonic_nanos.saturating_sub(appending.began);
        appending.began = now.monotonic_nanos;
        if active(Mutant::AckBeforeSync) {
            self.publish(&mut appending, out);
        }
        // ORDER: the sync begins after the write returned, and nothing else is written before the sync returned.
        let op = DiskOp::Sync { file: appending.file.clone() };
        self.run(op, Step::Sync(appending), out);
    }

    fn synced(&mut self, now: Now, mut appending: Appending, out: &mut Vec<WriterEffect>) {
        appending.timing.sync_nanos = now.monotonic_nanos.saturating_sub(appending.began);
        // ORDER: only here, after the sync returned, is a position published as durable.
        self.publish(&mut appending, out);
        self.last_commit = now.monotonic_nanos;
        let since = now.monotonic_nanos.saturating_sub(self.checkpoint_at.unwrap_or_default());
        if appending.marker || since >= self.config.checkpoint_nanos {
            self.checkpoint(now, out);
        }
    }

    fn publish(&mut self, appending: &mut Appending, out: &mut Vec<WriterEffect>) {
        self.durable = appending.last;
        let tokens = std::mem::take(&mut appending.tokens);
        if !tokens.is_empty() {
            out.push(WriterEffect::Committed(CommittedBatch {
                tokens,
                records: std::mem::take(&mut appending.records),
                durable: appending.last,
                heads: std::mem::take(&mut appending.heads),
                timing: appending.timing,
            }));
        }
    }

    /// Writes the empty batch that proves the last one durable; once, until something else is written.
    pub(super) fn mark(&mut self, now: Now, out: &mut Vec<WriterEffect>) {
        let Some(segment) = &mut self.active else { return };
        if segment.tally.fits(BATCH_ALIGN, std::iter::empty(), segment.limit) {
            self.append(now, Taken::default(), out);
        } else {
            segment.unmarked = false;
            self.checkpoint(now, out);
        }
    }

    /// States in the witness file what is durable. Called only where nothing is under way.
    fn checkpoint(&mut self, now: Now, out: &mut Vec<WriterEffect>) {
        self.checkpoint_at = Some(now.monotonic_nanos);
        if self.checkpointed == self.durable {
            return;
        }
        self.checkpointed = self.durable;
        self.checkpoint_counter += 1;
        let checkpoint = Checkpoint {
            log_id: self.log_id,
            durable: self.durable,
            batch: crate::id::BatchSeq(self.next_batch.0.saturating_sub(1)),
            digest: self.last_digest,
            hlc: self.max_hlc,
            counter: self.checkpoint_counter,
        };
        let data = vec![checkpoint.encode()];
        let op = DiskOp::Write { file: checkpoint_file(), offset: checkpoint.offset(), data };
        self.run(op, Step::Checkpoint(CheckpointStep::Write), out);
    }

    /// Ends the active segment with its footer.
    pub(super) fn seal(&mut self, _now: Now, out: &mut Vec<WriterEffect>) {
        let Some(segment) = self.active.take() else { return };
        let footer = segment.tally.footer(self.log_id, segment.segment_no, self.max_hlc);
        let offset = segment.tally.offset;
        let bytes = footer.encode(offset);
        let file = segment.name.file();
        let end = offset + bytes.len() as u64;
        let op = DiskOp::Write { file: file.clone(), offset, data: vec![bytes] };
        self.run(op, Step::Seal(Sealing { file, end, step: SealStep::WriteFooter }), out);
    }

    fn seal_done(&mut self, now: Now, sealing: Sealing, out: &mut Vec<WriterEffect>) {
        let Sealing { file, end, step } = sealing;
        // ORDER: the file gets its final length only after its footer is durable: a footer at the end of a file then
        // proves that it, and all before it, was synced.
        let (op, step) = match step {
            SealStep::WriteFooter => (DiskOp::Sync { file: file.clone() }, SealStep::SyncFooter),
            SealStep::SyncFooter => (DiskOp::Truncate { file: file.clone(), len: end }, SealStep::Truncate),
            SealStep::Truncate => (DiskOp::Sync { file: file.clone() }, SealStep::SyncLength),
            SealStep::SyncLength => return self.checkpoint(now, out),
        };
        self.run(op, Step::Seal(Sealing { file, end, step }), out);
    }

    /// Makes the spare file the active segment.
    pub(super) fn open(&mut self, now: Now, out: &mut Vec<WriterEffect>) {
        let name = SegmentName { first: self.next_position, generation: 0 };
        let header = SegmentHeader {
            format_version: FORMAT_VERSION,
            min_reader_version: FORMAT_VERSION,
            generation: name.generation,
            epoch: self.config.epoch,
            node_id: self.node_id,
            log_id: self.log_id,
            segment_no: self.next_segment,
            first: self.next_position,
            first_batch: self.next_batch,
            created: self.max_hlc.max(Hlc::from_millis(now.wall_millis)),
            prev_digest: self.last_digest,
        };
        let bytes: Bytes = header.encode();
        let prev_batch = crate::id::BatchSeq(self.next_batch.0.saturating_sub(1));
        let tally = Tally::new(&bytes, self.next_position, prev_batch, self.last_digest);
        let allocated = match std::mem::replace(&mut self.spare, Spare::None) {
            Spare::Ready(len) => len,
            Spare::None | Spare::Creating(_) | Spare::Removing(_) => 0,
        };
        let limit = allocated.min(self.config.segment_bytes);
        let active = Active { name, segment_no: self.next_segment, tally, limit, unmarked: false };
        self.next_segment += 1;
        let op = DiskOp::Write { file: spare_file(), offset: 0, data: vec![bytes] };
        self.run(op, Step::Open(Box::new(Opening { active, step: OpenStep::WriteHeader })), out);
    }

    fn open_done(&mut self, mut opening: Box<Opening>, out: &mut Vec<WriterEffect>) {
        // ORDER: header, then its sync, then the name, then the folder's sync, then the first append. A segment with a
        // name has a header, and a batch is never durable in a file whose name is not.
        let name = opening.active.name;
        let (op, step) = match opening.step {
            OpenStep::WriteHeader => (DiskOp::Sync { file: spare_file() }, OpenStep::SyncHeader),
            OpenStep::SyncHeader => {
                (DiskOp::Rename { file: spare_file(), to: name.file().name }, OpenStep::Rename)
            }
            OpenStep::Rename if !active(Mutant::NoFolderSync) => {
                (DiskOp::SyncFolder { folder: Folder::Log }, OpenStep::SyncFolder)
            }
            OpenStep::Rename | OpenStep::SyncFolder => {
                self.active = Some(opening.active);
                return;
            }
        };
        opening.step = step;
        self.run(op, Step::Open(opening), out);
    }
}
