//! All records in order of position.

use super::{ReadError, ReadItem, Unreadable, identify, next_first};
use crate::batch::{BatchContents, BatchFrame, FRAME_BYTES, Verify, short_log_id};
use crate::catalogue::{Catalogue, Segment};
use crate::host::real::RealDisk;
use crate::host::{DiskError, unless_lost};
use crate::id::{BatchSeq, LogId, Position};
use crate::record::Record;
use crate::scan::{Scan, ScanConfig, ScanItem, Tail};
use crate::script::{Io, Script};
use crossbeam_channel::{Receiver, bounded};
use std::collections::VecDeque;
use std::io;
use std::panic::resume_unwind;
use std::thread::{Builder, JoinHandle};

/// Items that wait between the two threads; each holds a batch.
const READ_AHEAD_ITEMS: usize = 2;

/// Reads records in order of position, holding one batch and one read-ahead chunk in memory.
pub struct LogReader {
    catalogue: Catalogue,
    log_id: LogId,
    /// The segment that is read, or comes next.
    at: usize,
    scan: Option<Scan>,
    /// What is delivered next is at or behind this.
    next: Position,
    ready: VecDeque<ReadItem>,
}

impl LogReader {
    /// Opens the log at a position (1 or 0: from the beginning). The end is where it is now: what is appended later in
    /// another segment is not seen.
    pub async fn open(io: &Io, from: Position) -> Result<Self, ReadError> {
        let catalogue = Catalogue::load(io, false).await?;
        let log_id = identify(io, &catalogue).await?;
        let at = catalogue.find(from).unwrap_or_default();
        let next = from.max(Position(1));
        Ok(Self { catalogue, log_id, at, scan: None, next, ready: VecDeque::new() })
    }

    /// The log's id; all zero where the log is empty.
    pub fn log_id(&self) -> LogId {
        self.log_id
    }

    /// The next records; `None` at the end of the log.
    pub async fn next(&mut self, io: &Io) -> Result<Option<ReadItem>, ReadError> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Ok(Some(item));
            }
            let Some(segment) = self.catalogue.segments.get(self.at) else { return Ok(None) };
            let Some(scan) = &mut self.scan else {
                let next = next_first(&self.catalogue.segments, self.at);
                let (first, scan) = open_segment(io, self.log_id, segment, next, self.next).await?;
                self.scan = Some(scan);
                self.unreadable(self.next, Position(first.0.saturating_sub(1)), false);
                continue;
            };
            match scan.next(io).await? {
                ScanItem::Batch(batch) => self.deliver(*batch),
                ScanItem::Lost(lost) => {
                    let accepted = segment.gave_up(lost.first, lost.last);
                    self.unreadable(lost.first, lost.last, accepted);
                }
                ScanItem::End(Tail::Clean | Tail::Footer(_) | Tail::Garbage(_)) => {
                    self.scan = None;
                    self.at += 1;
                }
            }
        }
    }

    fn unreadable(&mut self, first: Position, last: Position, accepted: bool) {
        let first = first.max(self.next);
        if first <= last {
            self.next = last.next();
            self.ready.push_back(ReadItem::Unreadable(Unreadable { first, last, accepted }));
        }
    }

    fn deliver(&mut self, batch: BatchContents) {
        let (first, last) = (batch.frame.first, batch.frame.last());
        if batch.table.is_none() {
            // Without the table the records' heads are unknown.
            return self.unreadable(first, last, false);
        }
        let mut run: Vec<Record> = Vec::with_capacity(batch.slots.len());
        for slot in batch.slots {
            let position = slot.record.place.position;
            if position < self.next {
                continue;
            }
            if slot.damage.body {
                self.flush(&mut run);
                self.unreadable(position, position, false);
            } else {
                run.push(slot.record);
            }
        }
        self.flush(&mut run);
        if let Some(unreached) = batch.unreached {
            self.unreadable(unreached, last, false);
        }
    }

    fn flush(&mut self, run: &mut Vec<Record>) {
        if let Some(last) = run.last() {
            self.next = last.place.position.next();
            self.ready.push_back(ReadItem::Records(std::mem::take(run)));
        }
    }
}

/// Begins to read a segment as near before a position as its index allows. Says with which position it begins.
async fn open_segment(
    io: &Io,
    log_id: LogId,
    segment: &Segment,
    next: Option<Position>,
    from: Position,
) -> Result<(Position, Scan), DiskError> {
    let mut config = ScanConfig {
        name: segment.name,
        file_bytes: segment.file_bytes,
        log_id: short_log_id(log_id),
        // Where the header is lost, whatever batch comes first is the first.
        first_batch: segment.header.as_ref().map_or(BatchSeq(0), |header| header.first_batch),
        first: segment.name.first,
        until: segment.until(next),
        verify: Verify::Checksums,
        from_disk: false,
        offset: 0,
    };
    if let Some(frame) = indexed_frame(io, segment, from).await? {
        (config.first_batch, config.first, config.offset) = (frame.0.seq, frame.0.first, frame.1);
    }
    Ok((config.first, Scan::new(config)))
}

/// The batch that holds a position, by a sealed segment's index, and where it stands.
async fn indexed_frame(
    io: &Io,
    segment: &Segment,
    position: Position,
) -> Result<Option<(BatchFrame, u64)>, DiskError> {
    let batches = segment.whole_footer(io).await?.map(|footer| footer.batches).unwrap_or_default();
    let at = batches.partition_point(|batch| batch.first <= position).checked_sub(1);
    let Some(entry) = at.and_then(|at| batches.get(at)) else { return Ok(None) };
    let bytes = io.read(&segment.name.file(), entry.offset, FRAME_BYTES as u64, false).await;
    let frame = unless_lost(bytes)?.and_then(|bytes| BatchFrame::decode(&bytes).ok());
    Ok(frame.filter(|frame| frame.first == entry.first).map(|frame| (frame, entry.offset)))
}

/// [`LogReader`] over a real disk, as an iterator.
pub struct Replay {
    disk: RealDisk,
    reader: Option<LogReader>,
}

impl Replay {
    /// Opens the log at a position (1 or 0: from the beginning).
    pub fn open(disk: RealDisk, from: Position) -> Result<Self, ReadError> {
        let mut disk = disk;
        let reader = Script::new(|io| async move { LogReader::open(&io, from).await }).run(&mut disk)?;
        Ok(Self { disk, reader: Some(reader) })
    }

    /// Reads and decodes on a thread of its own, ahead of whoever takes the items.
    pub fn read_ahead(self) -> io::Result<ReadAhead> {
        let (sender, items) = bounded(READ_AHEAD_ITEMS);
        let read = move || {
            for item in self {
                if sender.send(item).is_err() {
                    // Nobody takes them any more.
                    return;
                }
            }
        };
        let thread = Builder::new().name("log-reader".to_owned()).spawn(read)?;
        Ok(ReadAhead { items: Some(items), thread: Some(thread) })
    }
}

impl Iterator for Replay {
    type Item = Result<ReadItem, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut reader = self.reader.take()?;
        let (reader, item) = Script::new(|io| async move {
            let item = reader.next(&io).await;
            (reader, item)
        })
        .run(&mut self.disk);
        // After an error there is nothing to go on from.
        self.reader = item.is_ok().then_some(reader);
        item.transpose()
    }
}

/// A [`Replay`] whose next items are read while the last ones are worked on. Its thread ends with it.
pub struct ReadAhead {
    items: Option<Receiver<Result<ReadItem, ReadError>>>,
    thread: Option<JoinHandle<()>>,
}

impl Iterator for ReadAhead {
    type Item = Result<ReadItem, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = self.items.as_ref()?.recv().ok();
        if item.is_none()
            && let Some(thread) = self.thread.take()
        {
            // A reader that panicked must not pass for the end of the log.
            thread.join().unwrap_or_else(|panic| resume_unwind(panic));
        }
        item
    }
}

impl Drop for ReadAhead {
    fn drop(&mut self) {
        // ORDER: the thread ends once nobody can take what it reads.
        self.items = None;
        if let Some(thread) = self.thread.take() {
            // Whoever drops it does not look at what was read, nor at how the reading ended.
            drop(thread.join());
        }
    }
}
