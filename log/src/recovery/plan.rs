//! Reading and deciding; nothing is changed here.

use super::{DiscardedTail, Recovered, RecoveryConfig, RecoveryError, Streams};
use crate::batch::{BatchContents, Verify, digest_of, short_log_id};
use crate::catalogue::{Catalogue, Segment};
use crate::hlc::Hlc;
use crate::host::FilePath;
use crate::id::{BatchDigest, BatchSeq, Head, Position};
use crate::mutants::{Mutant, active};
use crate::scan::{Garbage, Lost, Scan, ScanConfig, ScanItem, Tail};
use crate::script::Io;
use crate::segment::{
    FORMAT_VERSION, Footer, HeaderError, READER_VERSION, SegmentHeader, SegmentInfo, SegmentName, Tally,
    spare_file,
};
use crate::witness::{Checkpoint, QuarantineError, QuarantinedRange, load_quarantine};
use bytes::Bytes;
use std::fmt;

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecoveryStep {
    /// Remove a file that holds nothing.
    Remove {
        /// The file.
        file: FilePath,
        /// Why it is not needed.
        why: &'static str,
    },
    /// Remove a generation of a segment whose younger one is complete.
    Supersede {
        /// The older generation.
        old: SegmentName,
        /// The younger one.
        by: SegmentName,
    },
    /// Write a segment anew, durably, and remove the old file.
    Copy {
        /// The old file.
        from: SegmentName,
        /// The new one.
        to: SegmentName,
        /// Its header.
        header: Bytes,
        /// Where the sound batches end.
        end: u64,
        /// The footer that follows them.
        footer: Bytes,
    },
    /// Make a file durable that is kept as it is.
    Sync {
        /// The segment.
        segment: SegmentName,
    },
    /// Make the checkpoint file.
    CreateCheckpoint,
    /// Write down what is in quarantine.
    StoreQuarantine,
}

/// What recovery will do, and what the log is afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoveryPlan {
    /// The changes, in order.
    pub steps: Vec<RecoveryStep>,
    /// The log after them.
    pub recovered: Recovered,
}

impl fmt::Display for RecoveryPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            match step {
                RecoveryStep::Remove { file, why } => writeln!(f, "remove {file}: {why}")?,
                RecoveryStep::Copy { from, to, end, .. } => writeln!(f, "copy {from} to {to}, {end} bytes")?,
                RecoveryStep::Supersede { old, by } => {
                    writeln!(f, "remove {old}: a younger generation is complete, {by}")?;
                }
                RecoveryStep::Sync { segment } => writeln!(f, "sync {segment}")?,
                RecoveryStep::CreateCheckpoint => writeln!(f, "create log/CHECKPOINT")?,
                RecoveryStep::StoreQuarantine => writeln!(f, "write log/QUARANTINE")?,
            }
        }
        let log = &self.recovered;
        if let Some(tail) = log.tail_discarded {
            writeln!(f, "discard an interrupted append of {} bytes at position {}", tail.bytes, tail.first)?;
        }
        log.quarantine.iter().try_for_each(|range| writeln!(f, "quarantine {range}"))?;
        log.notes.iter().try_for_each(|note| writeln!(f, "note: {note}"))?;
        writeln!(f, "{} streams, next position {}", log.heads.len(), log.next_position)
    }
}

/// Reads the log and decides what is to be done.
pub async fn plan(io: &Io, config: &RecoveryConfig) -> Result<RecoveryPlan, RecoveryError> {
    let catalogue = Catalogue::load(io, true).await?;
    let (stored, unreadable) = match load_quarantine(io, config.log_id).await {
        Ok(stored) => (stored, None),
        Err(QuarantineError::Disk(error)) if !error.is_loss() => return Err(error.into()),
        Err(error) => (Vec::new(), Some(error.to_string())),
    };
    let mut survey = Survey::new(*config, &catalogue, &stored);
    survey.notes.extend(unreadable);
    let segments = &catalogue.segments;
    for (at, segment) in segments.iter().enumerate() {
        let next = segments.get(at + 1).map(|next| next.name.first);
        survey.check_identity(segment)?;
        survey.gap_before(segment)?;
        match segment.whole_footer(io).await? {
            Some(footer) => survey.sealed(segment, &footer, next.is_none()),
            None => survey.unsealed(io, segment, next).await?,
        }
    }
    survey.witnessed_end();
    if let (None, Some(witness)) = (segments.first(), survey.witness) {
        return Err(RecoveryError::LogMissing { witness });
    }
    Ok(survey.finish(&catalogue, &stored))
}

/// The decisions so far.
struct Survey {
    config: RecoveryConfig,
    checkpoint: Option<Checkpoint>,
    /// The last position that something else knows to have been durable.
    witness: Option<Position>,
    streams: Streams,
    next: Position,
    next_batch: BatchSeq,
    next_segment: u64,
    last_digest: BatchDigest,
    max_hlc: Hlc,
    infos: Vec<SegmentInfo>,
    steps: Vec<RecoveryStep>,
    notes: Vec<String>,
    tail_discarded: Option<DiscardedTail>,
    clean: bool,
}

/// What a walk over an unsealed segment found.
struct Walked {
    /// Everything in it can be read, so that it can be written anew.
    sound: bool,
    /// Where the sound batches end.
    end: u64,
    header: Bytes,
    tally: Tally,
}

impl Survey {
    fn new(config: RecoveryConfig, catalogue: &Catalogue, stored: &[QuarantinedRange]) -> Self {
        let checkpoint = catalogue.checkpoint.filter(|found| found.log_id == config.log_id);
        let durable = checkpoint.map(|found| found.durable);
        // What an earlier recovery found lost is known to have been there, whatever became of its witness since.
        let lost = stored.iter().map(|range| range.last);
        let witness = durable.into_iter().chain(config.projection_witness).chain(lost).max();
        let mut notes = Vec::new();
        if catalogue.checkpoint_file && checkpoint.is_none() && !catalogue.segments.is_empty() {
            notes.push("log/CHECKPOINT has no valid slot of this log".to_owned());
        }
        Self {
            config,
            checkpoint,
            witness: witness.filter(|witness| *witness > Position(0)),
            streams: Streams::default(),
            next: Position(1),
            next_batch: BatchSeq(1),
            next_segment: 1,
            last_digest: BatchDigest::default(),
            max_hlc: checkpoint.map_or(Hlc::default(), |found| found.hlc),
            infos: Vec::new(),
            steps: Vec::new(),
            notes,
            tail_discarded: None,
            clean: true,
        }
    }

    fn check_identity(&mut self, segment: &Segment) -> Result<(), RecoveryError> {
        let (expected, name) = (self.config.log_id, segment.name);
        let found = match &segment.header {
            Ok(header) => Some(header.log_id),
            Err(HeaderError::NeedsVersion { needed }) => {
                let (needed, known) = (*needed, READER_VERSION);
                return Err(RecoveryError::NeedsVersion { segment: name, needed, known });
            }
            Err(HeaderError::Damaged) => {
                self.notes.push(format!("{name}: the header is damaged; no record is in it"));
                segment.footer.as_ref().ok().map(|footer| footer.log_id)
            }
        };
        match found {
            Some(found) if found != expected => {
                Err(RecoveryError::ForeignLog { segment: name, found, expected })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Positions between two segments belong to a file that is gone, or to a tail that was lost.
    fn gap_before(&mut self, segment: &Segment) -> Result<(), RecoveryError> {
        let first = segment.name.first;
        if first < self.next {
            return Err(RecoveryError::Overlap { segment: segment.name });
        }
        let last = Position(first.0.saturating_sub(1));
        self.streams.lost(self.next, last, None, "no segment holds these positions");
        self.next = first;
        Ok(())
    }

    fn sealed(&mut self, segment: &Segment, footer: &Footer, is_last: bool) {
        for loss in &footer.losses {
            self.streams.accepted(loss.first, loss.last);
        }
        self.streams.sealed(&footer.streams);
        self.next = footer.last.next();
        self.next_batch = footer.last_batch.next();
        self.next_segment = footer.segment_no.saturating_add(1);
        self.last_digest = footer.last_digest;
        self.max_hlc = self.max_hlc.max(footer.max_hlc);
        self.infos.push(segment.info(footer.last));
        if is_last {
            // Its footer was read from the disk, but a file that ends exactly where it was allocated to may have it
            // before its sync.
            self.steps.push(RecoveryStep::Sync { segment: segment.name });
        }
    }

    async fn unsealed(
        &mut self,
        io: &Io,
        segment: &Segment,
        next: Option<Position>,
    ) -> Result<(), RecoveryError> {
        let name = segment.name;
        if next.is_some() {
            self.notes.push(format!("{name}: the footer is damaged; the segment was read through"));
        }
        let walked = self.walk(io, segment, next).await?;
        if let Ok(header) = &segment.header {
            self.next_segment = header.segment_no;
        }
        if walked.sound && walked.tally.is_empty() {
            if self.tail_discarded.is_some() {
                self.clean = false;
            }
            self.steps.push(RecoveryStep::Remove { file: name.file(), why: "no batch is in it" });
            return Ok(());
        }
        self.clean = false;
        let segment_no = self.next_segment;
        self.next_segment = segment_no.saturating_add(1);
        let last = Position(self.next.0.saturating_sub(1));
        if !walked.sound {
            // What is damaged is kept as it is: it is evidence, and all that a better tool could work on.
            self.steps.push(RecoveryStep::Sync { segment: name });
            self.infos.push(segment.info(last));
            return Ok(());
        }
        let to = name.next_generation().ok_or(RecoveryError::GenerationsExhausted { segment: name })?;
        let footer = walked.tally.footer(self.config.log_id, segment_no, self.max_hlc);
        let footer = footer.encode(walked.end);
        let bytes = walked.end.saturating_add(footer.len() as u64);
        self.infos.push(SegmentInfo { name: to, last, sealed: true, bytes });
        let (end, header) = (walked.end, walked.header);
        self.steps.push(RecoveryStep::Copy { from: name, to, header, end, footer });
        Ok(())
    }

    /// The header that the segment's copy gets.
    fn copy_header(&self, segment: &Segment) -> SegmentHeader {
        let old = segment.header.as_ref().copied().unwrap_or(SegmentHeader {
            format_version: FORMAT_VERSION,
            min_reader_version: FORMAT_VERSION,
            generation: segment.name.generation,
            epoch: crate::id::Epoch(0),
            node_id: self.config.node_id,
            log_id: self.config.log_id,
            segment_no: self.next_segment,
            first: segment.name.first,
            first_batch: self.next_batch,
            created: self.max_hlc,
            prev_digest: self.last_digest,
        });
        SegmentHeader { generation: old.generation.saturating_add(1), ..old }
    }

    async fn walk(
        &mut self,
        io: &Io,
        segment: &Segment,
        next: Option<Position>,
    ) -> Result<Walked, RecoveryError> {
        let copy_header = self.copy_header(segment);
        let header = copy_header.encode();
        let prev_batch = BatchSeq(copy_header.first_batch.0.saturating_sub(1));
        let tally = Tally::new(&header, segment.name.first, prev_batch, copy_header.prev_digest);
        let mut scan = Scan::new(ScanConfig {
            name: segment.name,
            file_bytes: segment.file_bytes,
            log_id: short_log_id(self.config.log_id),
            first_batch: copy_header.first_batch,
            first: segment.name.first,
            until: segment.until(next),
            verify: Verify::Digest,
            from_disk: true,
            offset: 0,
        });
        let mut walked = Walked { sound: true, end: scan.offset(), header, tally };
        // The digest that the next batch must name; unknown behind damage.
        let mut expected = segment.header.as_ref().ok().map(|header| header.prev_digest);
        loop {
            let item = scan.next(io).await?;
            if active(Mutant::TruncateAtDamage) && self.cut_instead(&item, &walked) {
                break;
            }
            match item {
                ScanItem::Batch(batch) => self.batch(&batch, &mut expected, &mut walked),
                ScanItem::Lost(Lost { first, last, .. }) => {
                    self.streams.lost(first, last, None, "batches cannot be read");
                    walked.sound &= last < first;
                    expected = None;
                }
                ScanItem::End(tail) => {
                    self.next = scan.next_position();
                    self.next_batch = scan.next_batch();
                    walked.sound &= next.is_some() || self.tail(segment, &tail, &walked.tally);
                    break;
                }
            }
            walked.end = scan.offset();
            self.next = scan.next_position();
            self.next_batch = scan.next_batch();
        }
        Ok(walked)
    }

    /// Mutant M4: whatever cannot be read ends the log.
    fn cut_instead(&mut self, item: &ScanItem, walked: &Walked) -> bool {
        let damaged = match item {
            ScanItem::Batch(batch) => !batch.is_sound(),
            ScanItem::Lost(_) | ScanItem::End(Tail::Garbage(_)) => true,
            ScanItem::End(Tail::Clean | Tail::Footer(_)) => false,
        };
        if damaged {
            self.witness = None;
            self.tail_discarded = Some(DiscardedTail { first: self.next, bytes: walked.end });
        }
        damaged
    }

    fn batch(&mut self, batch: &BatchContents, expected: &mut Option<BatchDigest>, walked: &mut Walked) {
        let frame = &batch.frame;
        walked.sound &= self.streams.batch(batch);
        if expected.is_some_and(|expected| expected != frame.prev_digest) {
            let reason = "the batch does not follow the one before it";
            let streams = batch.table.iter().flatten().map(|entry| entry.stream).collect();
            self.streams.lost(frame.first, frame.last(), Some(streams), reason);
            walked.sound = false;
        }
        let hash = batch.hash.unwrap_or_default();
        *expected = Some(digest_of(hash));
        self.last_digest = digest_of(hash);
        walked.tally.batch(frame.seq, hash, frame.first, u64::from(frame.count), frame.disk_bytes());
        for slot in &batch.slots {
            let record = &slot.record;
            self.max_hlc = self.max_hlc.max(record.hlc);
            let head = Head { seq: record.seq, hash: record.head };
            walked.tally.stream(record.stream, record.seq, head);
        }
    }

    /// Judges what stands behind the last batch of the last segment. Says whether it is no damage.
    fn tail(&mut self, segment: &Segment, tail: &Tail, tally: &Tally) -> bool {
        let witnessed = self.witness.is_some_and(|witness| witness >= self.next);
        let Tail::Garbage(garbage) = tail else {
            // What is known to have been durable is not there: the file is kept as the evidence of that.
            return !witnessed;
        };
        let sealed_at = segment.footer_at.filter(|_| segment.footer.is_err());
        let was_footer = sealed_at.is_some_and(|footer_at| garbage.offset >= footer_at);
        if (was_footer || garbage.is_in_place_of_a_footer(segment.file_bytes, tally)) && !witnessed {
            self.notes.push(format!("{}: the footer is damaged; the segment was read through", segment.name));
            return true;
        }
        // A sealed segment was synced to its end.
        if witnessed || garbage.unreadable || sealed_at.is_some() {
            self.lost_tail(garbage);
            return false;
        }
        self.tail_discarded = Some(DiscardedTail { first: self.next, bytes: garbage.bytes });
        true
    }

    /// The last batch was durable once and cannot be read: nobody knows what it held.
    fn lost_tail(&mut self, garbage: &Garbage) {
        let partial = garbage.partial.as_ref().map(|batch| batch.frame.last());
        let last = self.witness.into_iter().chain(partial).fold(self.next, Position::max);
        self.streams.lost(self.next, last, None, "the last batch cannot be read, and was durable once");
        self.next = last.next();
        self.next_batch = self.next_batch.next();
    }

    /// A witness may know of positions that no file holds at all.
    fn witnessed_end(&mut self) {
        if let Some(witness) = self.witness.filter(|witness| *witness >= self.next) {
            self.streams.lost(self.next, witness, None, "the end of the log is missing");
            self.next = witness.next();
        }
    }

    fn finish(mut self, catalogue: &Catalogue, stored: &[QuarantinedRange]) -> RecoveryPlan {
        let mut quarantine = self.streams.quarantine();
        for range in stored {
            if is_still_damaged(range, catalogue) && !quarantine.contains(range) {
                quarantine.push(range.clone());
            }
        }
        let mut steps = leftovers(catalogue);
        steps.append(&mut self.steps);
        if !catalogue.checkpoint_file {
            steps.push(RecoveryStep::CreateCheckpoint);
        }
        if quarantine != stored {
            steps.push(RecoveryStep::StoreQuarantine);
        }
        let recovered = Recovered {
            log_id: self.config.log_id,
            node_id: self.config.node_id,
            heads: self.streams.heads().clone(),
            segments: self.infos,
            next_position: self.next,
            next_batch: self.next_batch,
            next_segment: self.next_segment,
            last_digest: self.last_digest,
            max_hlc: self.max_hlc,
            checkpoint_counter: self.checkpoint.map_or(0, |found| found.counter),
            clean: self.clean && self.tail_discarded.is_none(),
            tail_discarded: self.tail_discarded,
            quarantine,
            notes: self.notes,
        };
        RecoveryPlan { steps, recovered }
    }
}

/// Whether a range that was written down earlier lies where this recovery has not looked: in a sealed segment.
fn is_still_damaged(range: &QuarantinedRange, catalogue: &Catalogue) -> bool {
    let segment = catalogue.find(range.first).and_then(|at| catalogue.segments.get(at));
    segment.is_some_and(|segment| {
        let sealed = segment.footer.as_ref().is_ok_and(|footer| range.last <= footer.last);
        sealed && !segment.gave_up(range.first, range.last)
    })
}

fn leftovers(catalogue: &Catalogue) -> Vec<RecoveryStep> {
    let remove = |file, why| RecoveryStep::Remove { file, why };
    let mut steps = Vec::new();
    if catalogue.spare {
        steps.push(remove(spare_file(), "a spare segment is made anew"));
    }
    for old in &catalogue.superseded {
        let by = catalogue.segments.iter().find(|segment| segment.name.first == old.first);
        steps.extend(by.map(|by| RecoveryStep::Supersede { old: *old, by: by.name }));
    }
    for name in &catalogue.incomplete {
        steps.push(remove(name.file(), "the copy was interrupted"));
    }
    steps
}
