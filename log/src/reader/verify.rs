//! Checking everything: checksums, hashes, the chain of every stream, the batches' digests, the footers.

use super::{ReadError, identify, next_first};
use crate::batch::{BatchContents, Verify, digest_of, short_log_id};
use crate::catalogue::{Catalogue, Segment};
use crate::host::unless_lost;
use crate::id::{BatchDigest, BatchSeq, Head, LogId, Position, Span, StreamId};
use crate::recovery::Streams;
use crate::scan::{Lost, Scan, ScanConfig, ScanItem, Tail};
use crate::script::Io;
use crate::segment::{AcceptedLoss, Footer, HEADER_BYTES, SegmentName, Tally};
use crate::witness::{QuarantineError, QuarantinedRange, load_quarantine};
use std::collections::BTreeMap;
use std::fmt;

/// Something that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Where; none where it is the log as a whole.
    pub segment: Option<SegmentName>,
    /// The first position concerned; none where no record is.
    pub position: Option<Position>,
    /// What was found.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(segment) = self.segment {
            write!(f, "{segment}: ")?;
        }
        // What was found may begin with the position itself.
        if let Some(position) = self.position.filter(|_| !self.what.starts_with("position")) {
            write!(f, "position {position}: ")?;
        }
        f.write_str(&self.what)
    }
}

/// A stream as verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StreamReport {
    /// Its last record, and the hash over all of them.
    pub head: Head,
    /// Records that are there.
    pub records: u64,
}

/// The outcome of a verification.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VerifyReport {
    /// The log.
    pub log_id: LogId,
    /// Segments.
    pub segments: u64,
    /// Batches with records.
    pub batches: u64,
    /// Records.
    pub records: u64,
    /// The last position.
    pub last: Position,
    /// Bytes of batches, padding included.
    pub bytes: u64,
    /// Every stream's head.
    pub streams: BTreeMap<StreamId, StreamReport>,
    /// What is not as it was written, in order.
    pub findings: Vec<Finding>,
    /// What an administrator gave up.
    pub accepted: Vec<AcceptedLoss>,
    /// What `log/QUARANTINE` says.
    pub quarantine: Vec<QuarantinedRange>,
    /// The records among the findings, with the streams they can belong to.
    pub damaged: Vec<QuarantinedRange>,
    /// Bytes of an append that is not complete: under way in a running server, or interrupted by a crash.
    pub tail_bytes: u64,
}

impl VerifyReport {
    /// Whether everything is as it was written, except what was given up.
    pub fn is_intact(&self) -> bool {
        self.findings.is_empty()
    }

    /// The first position that is not as it was written.
    pub fn first_bad(&self) -> Option<Position> {
        self.findings.iter().filter_map(|finding| finding.position).min()
    }
}

/// Checks the whole log.
pub async fn verify(io: &Io) -> Result<VerifyReport, ReadError> {
    verify_with(io, false, None).await
}

/// [`verify`], where something else knows of a position that was durable before this began. Without that the end of a
/// log that a crash left cannot be told from one that was lost.
pub async fn verify_witnessed(io: &Io, witness: Option<Position>) -> Result<VerifyReport, ReadError> {
    verify_with(io, false, witness).await
}

/// [`verify_witnessed`], past the system's page cache where that is wanted.
pub(crate) async fn verify_with(
    io: &Io,
    from_disk: bool,
    witness: Option<Position>,
) -> Result<VerifyReport, ReadError> {
    let catalogue = Catalogue::load(io, from_disk).await?;
    let log_id = identify(io, &catalogue).await?;
    let mut check = Check::new(log_id, from_disk);
    for (at, segment) in catalogue.segments.iter().enumerate() {
        check.segment(io, segment, next_first(&catalogue.segments, at)).await?;
    }
    match load_quarantine(io, log_id).await {
        Ok(quarantine) => check.report.quarantine = quarantine,
        Err(QuarantineError::Disk(error)) if !error.is_loss() => return Err(error.into()),
        Err(_) => check.find(None, None, "log/QUARANTINE is damaged".to_owned()),
    }
    let checkpoint = catalogue.checkpoint.filter(|found| found.log_id == log_id);
    let lost = check.report.quarantine.iter().map(|range| range.last);
    let known = checkpoint.map(|found| found.durable).into_iter().chain(witness).chain(lost).max();
    if let Some(known) = known.filter(|known| *known >= check.next) {
        let lost = Span(check.next, known);
        let what = format!("{lost} cannot be read, though durable once: the end of the log is lost");
        check.find(None, Some(check.next), what);
        // No append that nobody was told of.
        check.report.tail_bytes = 0;
    }
    Ok(check.finish())
}

struct Check {
    from_disk: bool,
    report: VerifyReport,
    streams: Streams,
    next: Position,
}

impl Check {
    fn new(log_id: LogId, from_disk: bool) -> Self {
        let report = VerifyReport { log_id, ..VerifyReport::default() };
        Self { from_disk, report, streams: Streams::default(), next: Position(1) }
    }

    fn find(&mut self, segment: Option<SegmentName>, position: Option<Position>, what: String) {
        self.report.findings.push(Finding { segment, position, what });
    }

    async fn segment(&mut self, io: &Io, segment: &Segment, next: Option<Position>) -> Result<(), ReadError> {
        let name = segment.name;
        self.report.segments += 1;
        if name.first != self.next {
            let what = format!("begins at position {}, expected {}", name.first, self.next);
            self.find(Some(name), Some(self.next), what);
            let last = Position(name.first.0.saturating_sub(1));
            self.streams.lost(self.next, last, None, "no segment holds these positions");
        }
        if segment.header.is_err() {
            self.find(Some(name), None, "the header is damaged".to_owned());
        }
        if segment.footer.is_err() && (next.is_some() || segment.footer_at.is_some()) {
            let what = match segment.footer_at {
                Some(_) => "the footer is damaged",
                None => {
                    "there is no footer: it is lost, or the segment was kept as it was when its end was lost"
                }
            };
            self.find(Some(name), None, what.to_owned());
        }
        // A header that the disk cannot read is damaged, which was said above.
        let header_bytes =
            unless_lost(io.read(&name.file(), 0, HEADER_BYTES, self.from_disk).await)?.unwrap_or_default();
        let header = segment.header.as_ref().ok();
        let first_batch = header.map_or(BatchSeq(0), |header| header.first_batch);
        let mut expected = header.map(|header| header.prev_digest);
        let prev_batch = BatchSeq(first_batch.0.saturating_sub(1));
        let mut tally = Tally::new(&header_bytes, name.first, prev_batch, expected.unwrap_or_default());
        let mut scan = Scan::new(ScanConfig {
            name,
            file_bytes: segment.file_bytes,
            log_id: short_log_id(self.report.log_id),
            first_batch,
            first: name.first,
            until: segment.until(next),
            verify: Verify::Hashes,
            from_disk: self.from_disk,
            offset: 0,
        });
        loop {
            match scan.next(io).await? {
                ScanItem::Batch(batch) => self.batch(name, &batch, &mut expected, &mut tally),
                ScanItem::Lost(lost) => {
                    expected = None;
                    self.lost(segment, lost, &mut tally);
                }
                ScanItem::End(tail) => {
                    self.tail(segment, scan.offset(), &tail, &tally);
                    break;
                }
            }
        }
        self.next = scan.next_position();
        if let Some(footer) = segment.whole_footer(io).await? {
            let counted = tally.footer(footer.log_id, footer.segment_no, footer.max_hlc);
            if counted != footer {
                self.find(Some(name), None, "the footer does not agree with the batches".to_owned());
            }
        }
        Ok(())
    }

    fn batch(
        &mut self,
        name: SegmentName,
        batch: &BatchContents,
        expected: &mut Option<BatchDigest>,
        tally: &mut Tally,
    ) {
        let frame = &batch.frame;
        let before = self.streams.found();
        self.streams.batch(batch);
        for (position, reason) in self.streams.found_since(before) {
            self.find(Some(name), Some(position), reason);
        }
        if batch.stray {
            self.find(Some(name), Some(frame.first), "bytes between records are not zero".to_owned());
        }
        let hash = batch.hash.unwrap_or_default();
        if expected.is_some_and(|expected| expected != frame.prev_digest) {
            self.find(
                Some(name),
                Some(frame.first),
                "the batch does not follow the one before it".to_owned(),
            );
        }
        *expected = Some(digest_of(hash));
        tally.batch(frame.seq, hash, frame.first, u64::from(frame.count), frame.disk_bytes());
        self.report.batches += u64::from(frame.count > 0);
        self.report.bytes += frame.disk_bytes();
        for slot in &batch.slots {
            let record = &slot.record;
            let head = Head { seq: record.seq, hash: record.head };
            tally.stream(record.stream, record.seq, head);
            self.report.records += 1;
            self.report.streams.entry(record.stream).or_default().records += 1;
        }
    }

    fn lost(&mut self, segment: &Segment, lost: Lost, tally: &mut Tally) {
        let Lost { first, last, .. } = lost;
        if segment.gave_up(first, last) {
            self.streams.accepted(first, last);
            tally.loss(AcceptedLoss { first, last });
            self.report.accepted.push(AcceptedLoss { first, last });
            return;
        }
        if last < first && segment.name.generation > 0 {
            // A repair leaves out markers that it cannot read. Damage since would show in the footer's hash.
            return;
        }
        self.streams.lost(first, last, None, "batches cannot be read");
        let what = if first <= last {
            format!("{} cannot be read", Span(first, last))
        } else {
            "an idle marker cannot be read".to_owned()
        };
        self.find(Some(segment.name), (first <= last).then_some(first), what);
    }

    fn tail(&mut self, segment: &Segment, at: u64, tail: &Tail, tally: &Tally) {
        match tail {
            Tail::Clean => {}
            Tail::Footer(footer) => {
                let len =
                    Footer::encoded_len(footer.batches.len(), footer.streams.len(), footer.losses.len());
                if at + len == segment.file_bytes {
                    self.find(Some(segment.name), None, "the end of the footer is damaged".to_owned());
                }
            }
            Tail::Garbage(garbage)
                if garbage.unreadable && garbage.is_in_place_of_a_footer(segment.file_bytes, tally) =>
            {
                if segment.footer_at.is_none() {
                    self.find(Some(segment.name), None, "the footer is damaged".to_owned());
                }
            }
            Tail::Garbage(garbage) => {
                self.report.tail_bytes += garbage.bytes;
                if garbage.unreadable {
                    let what = "the disk cannot read the end of the segment".to_owned();
                    self.find(Some(segment.name), Some(self.next), what);
                }
            }
        }
    }

    fn finish(mut self) -> VerifyReport {
        for (stream, head) in self.streams.heads() {
            self.report.streams.entry(*stream).or_default().head = *head;
        }
        self.report.last = Position(self.next.0.saturating_sub(1));
        self.report.damaged = self.streams.quarantine();
        self.report
    }
}
