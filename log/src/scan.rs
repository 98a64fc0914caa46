//! Walking over a segment's batches, damaged or not.
//!
//! The walk never guesses: what it cannot read is either proven lost (a later batch of this log, or an end that is
//! known, shows that something stood there) or it is the tail, about which only a witness can say more.

use crate::batch::{
    BATCH_ALIGN, BatchContents, BatchFrame, FRAME_BYTES, MAX_BATCH_BYTES, Verify, decode_batch, short_log_id,
};
use crate::codec::is_zero;
use crate::host::DiskError;
use crate::id::{BatchSeq, Position};
use crate::script::Io;
use crate::segment::{Footer, HEADER_BYTES, SegmentName, Tally};
use bytes::{Bytes, BytesMut};

/// Bytes read at a time.
const CHUNK: u64 = 1024 * 1024;

/// Where a segment's batches should end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    /// Sealed: they end at this offset with this position.
    Sealed { offset: u64, last: Position },
    /// The footer is lost, but the next segment shows with which position they end.
    Position(Position),
    /// It may have been appended to until a crash.
    Open,
}

/// What to walk over, and how.
#[derive(Debug, Clone)]
pub(crate) struct ScanConfig {
    pub name: SegmentName,
    pub file_bytes: u64,
    pub log_id: u64,
    pub first_batch: BatchSeq,
    pub first: Position,
    pub until: Until,
    pub verify: Verify,
    /// Whether to read past the system's page cache.
    pub from_disk: bool,
    /// Where the first batch to read stands.
    pub offset: u64,
}

/// What comes next in a segment.
#[derive(Debug)]
pub(crate) enum ScanItem {
    /// A batch whose frame is sound and that follows what came before. Parts of it may be damaged.
    Batch(Box<BatchContents>),
    /// Batches that cannot be read, though they were complete once.
    Lost(Lost),
    /// The end.
    End(Tail),
}

/// Batches that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lost {
    /// The first position in them.
    pub first: Position,
    /// The last one; before the first where only idle markers were lost.
    pub last: Position,
    /// Where they begin in the file.
    pub offset: u64,
}

/// What stands behind the last batch.
#[derive(Debug)]
pub(crate) enum Tail {
    /// Zeros, or the end that was known.
    Clean,
    /// A sound footer that the file does not end with: the crash came before the file got its final length.
    Footer(Box<Footer>),
    /// Something that is no batch: a torn append, unless a witness says that it was durable once.
    Garbage(Garbage),
}

/// What is left of a last batch that cannot be read.
#[derive(Debug)]
pub(crate) struct Garbage {
    /// Where it begins.
    pub offset: u64,
    /// Bytes up to the last one that is not zero.
    pub bytes: u64,
    /// The batch, where at least its frame can be read.
    pub partial: Option<Box<BatchContents>>,
    /// Whether the disk itself refused to read some of it, which no torn append explains.
    pub unreadable: bool,
}

impl Garbage {
    /// Whether it stands where nothing but the footer of what came before can stand: every batch leaves the room for
    /// its segment's footer.
    pub fn is_in_place_of_a_footer(&self, file_bytes: u64, before: &Tally) -> bool {
        let bytes = file_bytes.saturating_sub(self.offset);
        self.partial.is_none() && !before.leaves_room_for_a_batch(bytes)
    }
}

enum Found {
    Frame { offset: u64, frame: BatchFrame },
    Footer(Box<Footer>),
    Nothing { end: u64 },
}

/// A walk over one segment.
pub(crate) struct Scan {
    config: ScanConfig,
    offset: u64,
    next_batch: BatchSeq,
    next: Position,
    buffer: Bytes,
    /// Where the buffer begins in the file.
    buffer_at: u64,
    ended: bool,
    /// The last block that the disk refused to read.
    unreadable: Option<u64>,
}

impl Scan {
    pub fn new(config: ScanConfig) -> Self {
        Self {
            offset: config.offset.max(HEADER_BYTES),
            next_batch: config.first_batch,
            next: config.first,
            config,
            buffer: Bytes::new(),
            buffer_at: 0,
            ended: false,
            unreadable: None,
        }
    }

    /// Where the next batch would begin: after the last item, the end of the sound part.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The position that comes next.
    pub fn next_position(&self) -> Position {
        self.next
    }

    /// The batch that comes next.
    pub fn next_batch(&self) -> BatchSeq {
        self.next_batch
    }

    fn limit(&self) -> u64 {
        match self.config.until {
            Until::Sealed { offset, .. } => offset.min(self.config.file_bytes),
            Until::Position(_) | Until::Open => self.config.file_bytes,
        }
    }

    /// The last position that can stand here, where that is known: a batch behind it is another segment's, which the disk
    /// has put in the wrong place.
    fn last(&self) -> Option<Position> {
        match self.config.until {
            Until::Sealed { last, .. } | Until::Position(last) => Some(last),
            Until::Open => None,
        }
    }

    /// The next item. After the end, the end again.
    pub async fn next(&mut self, io: &Io) -> Result<ScanItem, DiskError> {
        if self.ended {
            return Ok(ScanItem::End(Tail::Clean));
        }
        // Behind the last record that the next segment shows there can only be markers, and the lost footer.
        if matches!(self.config.until, Until::Position(last) if self.next > last) {
            self.ended = true;
            return Ok(ScanItem::End(Tail::Clean));
        }
        let at = self.offset;
        let batch = self.batch_at(io, at).await?.filter(|batch| self.follows(&batch.frame));
        let Some(batch) = batch else { return self.resync(io, at).await };
        if self.config.until == Until::Open && !batch.is_sound() && !self.is_followed(io, &batch).await? {
            self.ended = true;
            let bytes = self.last_nonzero(io, at).await?.saturating_sub(at);
            let unreadable = self.is_unreadable_from(at);
            let garbage = Garbage { offset: at, bytes, partial: Some(batch), unreadable };
            return Ok(ScanItem::End(Tail::Garbage(garbage)));
        }
        self.pass(at, &batch.frame);
        Ok(ScanItem::Batch(batch))
    }

    fn follows(&self, frame: &BatchFrame) -> bool {
        frame.seq == self.next_batch && frame.first == self.next
    }

    fn pass(&mut self, at: u64, frame: &BatchFrame) {
        self.offset = at.saturating_add(frame.disk_bytes());
        self.next_batch = frame.seq.next();
        self.next = frame.last().next();
    }

    /// Whether something stands behind a damaged batch that proves it to have been complete once.
    async fn is_followed(&mut self, io: &Io, batch: &BatchContents) -> Result<bool, DiskError> {
        let behind = self.offset.saturating_add(batch.frame.disk_bytes());
        Ok(match self.search(io, behind).await? {
            Found::Frame { .. } | Found::Footer(_) => true,
            Found::Nothing { .. } => false,
        })
    }

    /// No batch where one should be: finds out what that means.
    async fn resync(&mut self, io: &Io, at: u64) -> Result<ScanItem, DiskError> {
        let (first, offset) = (self.next, at);
        match self.search(io, at).await? {
            Found::Frame { offset: found, frame } => {
                self.offset = found;
                self.next_batch = frame.seq;
                self.next = frame.first;
                let last = Position(frame.first.0.saturating_sub(1));
                Ok(ScanItem::Lost(Lost { first, last, offset }))
            }
            Found::Footer(footer) if footer.last_batch >= self.next_batch || footer.last >= first => {
                self.next = footer.last.next();
                self.next_batch = footer.last_batch.next();
                Ok(ScanItem::Lost(Lost { first, last: footer.last, offset }))
            }
            Found::Footer(footer) => {
                self.ended = true;
                Ok(ScanItem::End(Tail::Footer(footer)))
            }
            Found::Nothing { end } => {
                self.ended = true;
                if let Until::Sealed { last, .. } | Until::Position(last) = self.config.until {
                    if last >= first {
                        self.next = last.next();
                        return Ok(ScanItem::Lost(Lost { first, last, offset }));
                    }
                    return Ok(ScanItem::End(Tail::Clean));
                }
                let (bytes, unreadable) = (end.saturating_sub(at), self.is_unreadable_from(at));
                let tail = if bytes == 0 && !unreadable {
                    Tail::Clean
                } else {
                    Tail::Garbage(Garbage { offset: at, bytes, partial: None, unreadable })
                };
                Ok(ScanItem::End(tail))
            }
        }
    }

    /// Looks for the next thing that is certainly ours: a frame that is not older than what is expected, or a footer.
    async fn search(&mut self, io: &Io, from: u64) -> Result<Found, DiskError> {
        let mut at = from;
        let mut end = from;
        let limit = self.limit();
        while at < limit {
            let block = self.bytes(io, at, BATCH_ALIGN).await?;
            if block.is_empty() {
                break;
            }
            if let Ok(frame) = BatchFrame::decode(&block)
                && frame.log_id == self.config.log_id
                && frame.seq >= self.next_batch
                && frame.first >= self.next
                && self.last().is_none_or(|last| frame.last() <= last)
                && !(at == self.offset && self.follows(&frame))
            {
                return Ok(Found::Frame { offset: at, frame });
            }
            if Footer::begins(&block)
                && let Some(footer) = self.footer_at(io, at).await?
            {
                return Ok(Found::Footer(Box::new(footer)));
            }
            if !is_zero(&block) {
                let last = block.iter().rposition(|byte| *byte != 0).unwrap_or_default();
                end = at + last as u64 + 1;
            }
            at = at.saturating_add(BATCH_ALIGN);
        }
        Ok(Found::Nothing { end })
    }

    async fn footer_at(&mut self, io: &Io, at: u64) -> Result<Option<Footer>, DiskError> {
        if self.config.until != Until::Open {
            return Ok(None);
        }
        let len = self.limit().saturating_sub(at).min(crate::segment::MAX_FOOTER_BYTES);
        let bytes = self.read(io, at, len).await?;
        let footer = Footer::decode(&bytes, at).ok();
        // A client's bytes can look like a footer, but not like one of this log.
        let ours = |footer: &Footer| short_log_id(footer.log_id) == self.config.log_id;
        Ok(footer.filter(|footer| footer.first == self.config.name.first && ours(footer)))
    }

    fn is_unreadable_from(&self, at: u64) -> bool {
        self.unreadable.is_some_and(|unreadable| unreadable >= at)
    }

    async fn last_nonzero(&mut self, io: &Io, from: u64) -> Result<u64, DiskError> {
        let (mut at, mut end) = (from, from);
        while at < self.limit() {
            let block = self.bytes(io, at, BATCH_ALIGN).await?;
            if block.is_empty() {
                break;
            }
            if let Some(last) = block.iter().rposition(|byte| *byte != 0) {
                end = at + last as u64 + 1;
            }
            at = at.saturating_add(BATCH_ALIGN);
        }
        Ok(end)
    }

    /// The batch at an offset, if its frame is sound and its bytes are all there.
    async fn batch_at(&mut self, io: &Io, at: u64) -> Result<Option<Box<BatchContents>>, DiskError> {
        if at >= self.limit() {
            return Ok(None);
        }
        let head = self.bytes(io, at, FRAME_BYTES as u64).await?;
        let Ok(frame) = BatchFrame::decode(&head) else { return Ok(None) };
        let end = at.saturating_add(u64::from(frame.bytes));
        if frame.log_id != self.config.log_id || frame.bytes > MAX_BATCH_BYTES || end > self.limit() {
            return Ok(None);
        }
        let bytes = self.bytes(io, at, u64::from(frame.bytes)).await?;
        Ok(decode_batch(&bytes, self.config.name, at, self.config.verify).map(Box::new))
    }

    /// Bytes of the file, from the read-ahead buffer. Fewer at the end of the file.
    async fn bytes(&mut self, io: &Io, at: u64, len: u64) -> Result<Bytes, DiskError> {
        if let Some(bytes) = self.buffered(at, len) {
            return Ok(bytes);
        }
        let want = len.max(CHUNK).min(self.config.file_bytes.saturating_sub(at)).max(len);
        self.buffer = self.read(io, at, want).await?;
        self.buffer_at = at;
        let end = usize::try_from(len).unwrap_or(usize::MAX).min(self.buffer.len());
        Ok(self.buffer.slice(..end))
    }

    fn buffered(&self, at: u64, len: u64) -> Option<Bytes> {
        let from = usize::try_from(at.checked_sub(self.buffer_at)?).ok()?;
        let to = from.checked_add(usize::try_from(len).ok()?)?;
        (to <= self.buffer.len()).then(|| self.buffer.slice(from..to))
    }

    /// Reads a range. Where the disk cannot, reads it block by block and leaves zeros for those it has lost: a bad
    /// sector is damage like any other, and costs the batches that touch it. What the system refuses for another reason
    /// (no permission, no descriptors, a file that is gone) says nothing of what is on the disk, and ends the walk.
    async fn read(&mut self, io: &Io, at: u64, len: u64) -> Result<Bytes, DiskError> {
        let file = self.config.name.file();
        let from_disk = self.config.from_disk;
        match io.read(&file, at, len, from_disk).await {
            Err(error) if error.is_loss() => {}
            other => return other,
        }
        let mut out = BytesMut::new();
        let (mut block_at, end) = (at, at.saturating_add(len).min(self.config.file_bytes));
        while block_at < end {
            let block_len = BATCH_ALIGN.min(end - block_at);
            match io.read(&file, block_at, block_len, from_disk).await {
                Ok(block) => out.extend_from_slice(&block),
                Err(error) if error.is_loss() => {
                    self.unreadable = Some(self.unreadable.map_or(block_at, |last| last.max(block_at)));
                }
                Err(error) => return Err(error),
            }
            out.resize(usize::try_from(block_at + block_len - at).unwrap_or(usize::MAX), 0);
            block_at += block_len;
        }
        Ok(out.freeze())
    }
}
