//! `log repair --accept-loss`: giving up what cannot be read, on a node that has nobody to fetch it from.
//!
//! Nothing valid is changed. A record whose header is sound keeps its place in the chain, because the chain covers the
//! hashes that stand there; its unreadable body or content is marked as gone, as after an erasure. Positions of which
//! not even the header can be read become an accepted loss in the footer of the segment's next generation: a gap that
//! `verify` names instead of failing on it for ever. What was given up is a record in `system`, written first.

use crate::batch::{
    BatchContents, BatchContext, Part, RecordSlot, TableEntry, Verify, digest_of, encode_batch, encode_parts,
};
use crate::catalogue::{Catalogue, Segment};
use crate::event::{Actor, Body, Event, LogRepaired};
use crate::hlc::{Hlc, HlcClock};
use crate::host::{DiskError, DiskOp, Folder};
use crate::id::{BatchDigest, BatchSeq, Epoch, Head, Position, Salt, Seq, Span, StreamId};
use crate::reader::{Finding, ReadError, verify_with};
use crate::record::{DraftContent, RecordDraft, Salted};
use crate::recovery::{Recovered, RecoveryConfig, RecoveryError, Streams, plan, recover};
use crate::scan::{Lost, Scan, ScanConfig, ScanItem};
use crate::script::Io;
use crate::segment::{AcceptedLoss, FORMAT_VERSION, HEADER_BYTES, SegmentHeader, SegmentName, Tally};
use crate::witness::{QuarantinedRange, add_range, store_quarantine};
use bytes::Bytes;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

/// What a repair is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepairConfig {
    /// What recovery is told: a repair begins with one.
    pub recovery: RecoveryConfig,
    /// Who gives the records up.
    pub actor: Actor,
    /// The salt of the record that says so.
    pub salt: Salt,
    /// Wall-clock milliseconds since the Unix epoch.
    pub wall_millis: u64,
    /// What is lost as far as something beside the log remembers: the rows of projections that were built without it.
    pub remembered: Vec<QuarantinedRange>,
}

/// What a repair would have to do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Damage {
    /// Records that cannot be read, wherever they are.
    pub ranges: Vec<QuarantinedRange>,
    /// Everything that is not as it was written, that which costs no record included.
    pub findings: Vec<Finding>,
}

impl Damage {
    /// Whether there is nothing to repair.
    pub fn is_none(&self) -> bool {
        self.ranges.is_empty() && self.findings.is_empty()
    }
}

/// What a repair did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RepairReport {
    /// The ranges that could not be read.
    pub ranges: Vec<QuarantinedRange>,
    /// Positions that are gone altogether.
    pub given_up: Vec<AcceptedLoss>,
    /// Records that lost their body or content, and are still in the chain.
    pub emptied: Vec<Position>,
    /// Segments written anew: old and new file. A segment that was missing has no old one.
    pub rewritten: Vec<(Option<SegmentName>, SegmentName)>,
}

/// Why a repair could not be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RepairError {
    /// Recovery could not be done.
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    /// The log could not be looked through.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The record of the repair could not be made.
    #[error("the record of the repair cannot be encoded: {0}")]
    Encode(String),
    /// The disk lost more while the repair was under way. What is not recorded is not given up.
    #[error(
        "{} could be read when the damage was listed, and cannot be read now: the disk loses more. Nothing that was not \
         listed was given up; repeat the repair to list it", Span(*first, *last)
    )]
    NewDamage {
        /// The first position.
        first: Position,
        /// The last one.
        last: Position,
    },
    /// Something is still damaged.
    #[error("still damaged after the repair: {0}")]
    StillDamaged(String),
}

/// Records of a repair in one batch; there are seldom more than a few.
const RECORDS_A_BATCH: usize = 1000;

/// Looks for everything that a repair would give up or write anew, `remembered` as in [`RepairConfig`]; changes nothing.
pub async fn survey(
    io: Io,
    recovery: RecoveryConfig,
    remembered: Vec<QuarantinedRange>,
) -> Result<Damage, RepairError> {
    let quarantine = plan(&io, &recovery).await?.recovered.quarantine;
    find_damage(&io, quarantine, remembered).await
}

/// What recovery found, which trusts the footers of sealed segments, what is remembered elsewhere, and what is found where
/// every byte is read.
async fn find_damage(
    io: &Io,
    quarantine: Vec<QuarantinedRange>,
    remembered: Vec<QuarantinedRange>,
) -> Result<Damage, RepairError> {
    let report = verify_with(io, true, None).await?;
    let mut ranges = quarantine;
    for range in remembered {
        add_range(&mut ranges, range);
    }
    for found in report.damaged {
        if !ranges.iter().any(|known| known.first <= found.first && found.last <= known.last) {
            ranges.push(found);
        }
    }
    ranges.sort_by_key(|range| (range.first, range.last));
    Ok(Damage { ranges, findings: report.findings })
}

/// Gives up what cannot be read, in sealed segments as well as at the end. Does nothing where nothing is damaged.
pub async fn repair(io: Io, config: RepairConfig) -> Result<RepairReport, RepairError> {
    let mut recovered = recover(io.clone(), config.recovery).await?;
    let quarantine = std::mem::take(&mut recovered.quarantine);
    let damage = find_damage(&io, quarantine, config.remembered.clone()).await?;
    let mut report = RepairReport { ranges: damage.ranges.clone(), ..RepairReport::default() };
    if damage.is_none() {
        return Ok(report);
    }
    recovered.quarantine = damage.ranges;
    if !recovered.quarantine.is_empty() {
        // ORDER: the record of the loss is durable before the loss is accepted. Interrupted in between, the repair is
        // done again and recorded twice.
        record_repair(&io, &config, &recovered).await?;
    }
    let unsound = damage.findings.iter().filter_map(|finding| Some(finding.segment?.first)).collect();
    let mut repair =
        Repair { io: io.clone(), recovered, unsound, report: &mut report, streams: Streams::default() };
    repair.rewrite_all().await?;
    store_quarantine(&io, config.recovery.log_id, &[]).await?;
    let after = recover(io.clone(), config.recovery).await?;
    let left = find_damage(&io, after.quarantine, Vec::new()).await?;
    let range = left.ranges.first().map(ToString::to_string);
    match range.or_else(|| left.findings.first().map(ToString::to_string)) {
        Some(left) => Err(RepairError::StillDamaged(left)),
        None => Ok(report),
    }
}

fn repair_drafts(config: &RepairConfig, recovered: &Recovered) -> Result<Vec<RecordDraft>, RepairError> {
    let mut clock = HlcClock::starting_after(recovered.max_hlc);
    let mut seq = recovered.heads.get(&StreamId::SYSTEM).copied().unwrap_or_default().seq;
    let mut drafts = Vec::new();
    for range in &recovered.quarantine {
        let (first, last, reason) = (range.first, range.last, range.reason.clone());
        let event = Event::LogRepaired(LogRepaired { first, last, reason });
        let kind = event.kind();
        let body = Body { actor: config.actor.clone(), event }.encode();
        let body = body.map_err(|error| RepairError::Encode(error.to_string()))?;
        seq = seq.next();
        drafts.push(RecordDraft {
            stream: StreamId::SYSTEM,
            seq,
            hlc: clock.tick(config.wall_millis),
            epoch: Epoch(0),
            kind,
            ignorable: false,
            body: Salted::new(config.salt, &body),
            content: DraftContent::None,
        });
    }
    Ok(drafts)
}

/// Writes the records of the repair, as a sealed segment of their own at the end of the log.
async fn record_repair(io: &Io, config: &RepairConfig, recovered: &Recovered) -> Result<(), RepairError> {
    let drafts = repair_drafts(config, recovered)?;
    let max_hlc = drafts.last().map_or(recovered.max_hlc, |draft| draft.hlc);
    let name = SegmentName { first: recovered.next_position, generation: 0 };
    let header = new_header(recovered, name, recovered.next_segment, recovered.next_batch, max_hlc);
    let mut file = NewSegment::create(io, name, &header, recovered.next_batch, recovered.last_digest).await?;
    let mut head = recovered.heads.get(&StreamId::SYSTEM).copied().unwrap_or_default();
    let (mut seq, mut first) = (recovered.next_batch, recovered.next_position);
    for chunk in drafts.chunks(RECORDS_A_BATCH) {
        let context = file.context(recovered, seq, first);
        let batch = encode_batch(&context, chunk.to_vec(), |_| head)
            .ok_or_else(|| RepairError::Encode("too large".to_owned()))?;
        head = batch.heads.first().map_or(head, |(_, head)| *head);
        let count = batch.records.len() as u64;
        file.append(seq, first, batch).await?;
        (seq, first) = (seq.next(), Position(first.0.saturating_add(count)));
    }
    file.seal(recovered, recovered.next_segment, max_hlc).await
}

fn new_header(
    recovered: &Recovered,
    name: SegmentName,
    segment_no: u64,
    first_batch: BatchSeq,
    created: Hlc,
) -> SegmentHeader {
    SegmentHeader {
        format_version: FORMAT_VERSION,
        min_reader_version: FORMAT_VERSION,
        generation: name.generation,
        epoch: Epoch(0),
        node_id: recovered.node_id,
        log_id: recovered.log_id,
        segment_no,
        first: name.first,
        first_batch,
        created,
        prev_digest: recovered.last_digest,
    }
}

/// A segment being written in one go.
struct NewSegment {
    io: Io,
    name: SegmentName,
    tally: Tally,
    prev_digest: BatchDigest,
}

impl NewSegment {
    async fn create(
        io: &Io,
        name: SegmentName,
        header: &SegmentHeader,
        first_batch: BatchSeq,
        prev_digest: BatchDigest,
    ) -> Result<Self, DiskError> {
        let bytes = header.encode();
        let prev_batch = BatchSeq(first_batch.0.saturating_sub(1));
        let tally = Tally::new(&bytes, name.first, prev_batch, prev_digest);
        io.run(DiskOp::Create { file: name.file(), len: HEADER_BYTES, leave_free: 0 }).await?;
        let segment = Self { io: io.clone(), name, tally, prev_digest };
        segment.write(0, vec![bytes]).await?;
        Ok(segment)
    }

    async fn write(&self, offset: u64, data: Vec<Bytes>) -> Result<(), DiskError> {
        self.io.run(DiskOp::Write { file: self.name.file(), offset, data }).await?;
        Ok(())
    }

    async fn sync(&self) -> Result<(), DiskError> {
        self.io.run(DiskOp::Sync { file: self.name.file() }).await?;
        Ok(())
    }

    fn context(&self, recovered: &Recovered, seq: BatchSeq, first: Position) -> BatchContext {
        BatchContext {
            log_id: recovered.log_id,
            seq,
            first,
            durable: Position(first.0.saturating_sub(1)),
            prev_digest: self.prev_digest,
            segment: self.name,
            offset: self.tally.offset,
        }
    }

    async fn append(
        &mut self,
        seq: BatchSeq,
        first: Position,
        batch: crate::batch::EncodedBatch,
    ) -> Result<(), DiskError> {
        let offset = self.tally.offset;
        self.tally.batch(seq, batch.hash, first, batch.records.len() as u64, batch.disk_bytes);
        for record in &batch.records {
            self.tally.stream(record.stream, record.seq, Head { seq: record.seq, hash: record.head });
        }
        self.prev_digest = digest_of(batch.hash);
        self.write(offset, batch.buffers).await
    }

    async fn seal(self, recovered: &Recovered, segment_no: u64, max_hlc: Hlc) -> Result<(), RepairError> {
        // ORDER: batches, sync, footer, sync, name: a footer says that everything before it is durable.
        self.sync().await?;
        let at = self.tally.offset;
        let footer = self.tally.footer(recovered.log_id, segment_no, max_hlc).encode(at);
        self.write(at, vec![footer]).await?;
        self.sync().await?;
        self.io.run(DiskOp::SyncFolder { folder: Folder::Log }).await?;
        Ok(())
    }
}

struct Repair<'a> {
    io: Io,
    recovered: Recovered,
    /// The first positions of segments in which something is not as it was written.
    unsound: BTreeSet<Position>,
    report: &'a mut RepairReport,
    streams: Streams,
}

impl Repair<'_> {
    async fn rewrite_all(&mut self) -> Result<(), RepairError> {
        let catalogue = Catalogue::load(&self.io, true).await?;
        let (mut next, mut segment_no) = (Position(1), 1);
        for (at, segment) in catalogue.segments.iter().enumerate() {
            let first = segment.name.first;
            if first > next {
                self.fill_gap(next, Position(first.0.saturating_sub(1)), segment_no).await?;
            }
            let behind = catalogue.segments.get(at + 1).map(|next| next.name.first);
            next = match segment.whole_footer(&self.io).await? {
                Some(footer) if !self.needs_rewriting(first, footer.last) => {
                    for loss in &footer.losses {
                        self.streams.accepted(loss.first, loss.last);
                    }
                    self.streams.sealed(&footer.streams);
                    footer.last.next()
                }
                Some(_) | None => self.rewrite(segment, behind, segment_no).await?,
            };
            segment_no =
                segment.footer.as_ref().map_or(segment_no, |footer| footer.segment_no).saturating_add(1);
        }
        Ok(())
    }

    fn needs_rewriting(&self, first: Position, last: Position) -> bool {
        let mut ranges = self.recovered.quarantine.iter();
        self.unsound.contains(&first) || ranges.any(|range| range.first <= last && first <= range.last)
    }

    /// Stands in for a segment that is missing.
    async fn fill_gap(
        &mut self,
        first: Position,
        last: Position,
        segment_no: u64,
    ) -> Result<(), RepairError> {
        self.insist_recorded(first, last)?;
        let name = SegmentName { first, generation: 0 };
        let digest = BatchDigest::default();
        let header = new_header(&self.recovered, name, segment_no, BatchSeq(0), self.recovered.max_hlc);
        let header = SegmentHeader { prev_digest: digest, ..header };
        let mut file = NewSegment::create(&self.io, name, &header, BatchSeq(0), digest).await?;
        file.tally.loss(AcceptedLoss { first, last });
        self.report.given_up.push(AcceptedLoss { first, last });
        self.report.rewritten.push((None, name));
        self.streams.accepted(first, last);
        file.seal(&self.recovered, segment_no, self.recovered.max_hlc).await
    }

    /// Writes what can be read of a segment into its next generation. Says which position follows it.
    async fn rewrite(
        &mut self,
        segment: &Segment,
        behind: Option<Position>,
        segment_no: u64,
    ) -> Result<Position, RepairError> {
        let old = segment.name;
        let exhausted = RecoveryError::GenerationsExhausted { segment: old };
        let name = old.next_generation().ok_or(exhausted)?;
        let segment_no = segment.footer.as_ref().map_or(segment_no, |footer| footer.segment_no);
        let lost_header = new_header(&self.recovered, name, segment_no, BatchSeq(0), self.recovered.max_hlc);
        let header = segment.header.as_ref().map_or(lost_header, |header| *header);
        let header = SegmentHeader { generation: name.generation, ..header };
        let mut file =
            NewSegment::create(&self.io, name, &header, header.first_batch, header.prev_digest).await?;
        let mut scan = Scan::new(ScanConfig {
            name: old,
            file_bytes: segment.file_bytes,
            log_id: crate::batch::short_log_id(self.recovered.log_id),
            first_batch: header.first_batch,
            first: old.first,
            until: segment.until(behind),
            // As in the survey, so that both find the same.
            verify: Verify::Hashes,
            from_disk: true,
            offset: 0,
        });
        loop {
            match scan.next(&self.io).await? {
                ScanItem::Batch(batch) => self.keep(&mut file, *batch).await?,
                ScanItem::Lost(Lost { first, last, .. }) if segment.gave_up(first, last) => {
                    file.tally.loss(AcceptedLoss { first, last });
                    self.streams.accepted(first, last);
                }
                ScanItem::Lost(lost) => self.give_up(&mut file, lost.first, lost.last)?,
                ScanItem::End(_) => break,
            }
        }
        if let Some(behind) = behind {
            // What ends before it should is a gap from here on.
            self.insist_recorded(scan.next_position(), Position(behind.0.saturating_sub(1)))?;
        }
        let max_hlc = segment.footer.as_ref().map_or(self.recovered.max_hlc, |footer| footer.max_hlc);
        file.seal(&self.recovered, segment_no, max_hlc).await?;
        // ORDER: the new generation and its name are durable before the old one goes.
        self.io.run(DiskOp::Remove { file: old.file() }).await?;
        self.io.run(DiskOp::SyncFolder { folder: Folder::Log }).await?;
        self.report.rewritten.push((Some(old), name));
        Ok(scan.next_position())
    }

    /// ORDER: a record of the loss is durable before anything is given up. A disk that has lost more since the damage
    /// was listed ends the repair, before the old file goes.
    fn insist_recorded(&self, first: Position, last: Position) -> Result<(), RepairError> {
        let mut next = first;
        for range in &self.recovered.quarantine {
            if range.first <= next {
                next = next.max(range.last.next());
            }
        }
        if first <= last && next <= last { Err(RepairError::NewDamage { first: next, last }) } else { Ok(()) }
    }

    fn give_up(&mut self, file: &mut NewSegment, first: Position, last: Position) -> Result<(), RepairError> {
        if first <= last {
            self.insist_recorded(first, last)?;
            file.tally.loss(AcceptedLoss { first, last });
            self.streams.accepted(first, last);
            self.report.given_up.push(AcceptedLoss { first, last });
        }
        Ok(())
    }

    /// The head of each stream before a batch; `None` where nothing says it.
    fn heads_before(&self, batch: &BatchContents) -> Option<BTreeMap<StreamId, Head>> {
        let mut heads = BTreeMap::new();
        let previous = |seq: Seq| Seq(seq.0.saturating_sub(1));
        if let Some(table) = &batch.table {
            let before = |entry: &TableEntry| Head { seq: previous(entry.first), hash: entry.prev_head };
            heads.extend(table.iter().map(|entry| (entry.stream, before(entry))));
            return Some(heads);
        }
        for slot in &batch.slots {
            let (stream, seq) = (slot.record.stream, slot.record.seq);
            if let Entry::Vacant(entry) = heads.entry(stream) {
                let known = self.streams.heads().get(&stream).copied().unwrap_or_default();
                entry.insert(Some(known).filter(|head| head.seq == previous(seq))?);
            }
        }
        Some(heads)
    }

    /// Writes a batch again, with what can be read of it.
    async fn keep(&mut self, file: &mut NewSegment, batch: BatchContents) -> Result<(), RepairError> {
        let frame = batch.frame;
        let Some(heads) = self.heads_before(&batch) else {
            return self.give_up(file, frame.first, frame.last());
        };
        self.streams.batch(&batch);
        let unreached = batch.unreached;
        for slot in batch.slots.iter().filter(|slot| slot.damage.any()) {
            let position = slot.record.place.position;
            self.insist_recorded(position, position)?;
            self.report.emptied.push(position);
        }
        let parts: Vec<Part> = batch.slots.into_iter().map(part_of).collect();
        if !parts.is_empty() || frame.count == 0 {
            let mut context = file.context(&self.recovered, frame.seq, frame.first);
            context.durable = frame.durable;
            let head = |stream: StreamId| heads.get(&stream).copied().unwrap_or_default();
            let encoded = encode_parts(&context, parts, head)
                .ok_or_else(|| RepairError::Encode("a batch exceeds its limits".to_owned()))?;
            file.append(frame.seq, frame.first, encoded).await?;
        }
        if let Some(unreached) = unreached {
            self.give_up(file, unreached, frame.last())?;
        }
        Ok(())
    }
}

/// A record for writing it again. A part that is damaged is gone; the header keeps its hash.
fn part_of(slot: RecordSlot) -> Part {
    let RecordSlot { mut header, record, damage, mut content } = slot;
    if damage.body {
        header.body_erased = true;
        header.body_len = 0;
        header.body_crc = 0;
    }
    if damage.content {
        header.content_gone = true;
        header.content_len = 0;
        header.content_crc = 0;
        content = Bytes::new();
    }
    Part { header, body: record.body.unwrap_or_default(), content }
}

#[cfg(test)]
mod tests;
