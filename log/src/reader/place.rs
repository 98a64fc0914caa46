//! Single records: the content of one whose place is known, and any by its position.

use super::{LogReader, ReadError, ReadItem};
use crate::codec::crc32c;
use crate::frame::{RECORD_HEADER_BYTES, RecordHeader};
use crate::host::real::RealDisk;
use crate::host::{Completion, Disk, DiskError, DiskErrorKind, DiskOp, DiskReply, Folder, Ticket};
use crate::id::{Position, Salt};
use crate::record::{Place, Record};
use crate::script::{Io, Script};
use crate::segment::SegmentName;
use bytes::Bytes;

/// What a body usually takes at most: so much is read beside header and content, so that one read is enough.
const BODY_GUESS: u64 = 1024;

/// Reads a record's inline content, without its salt, checked against its checksum. `content_len` is what the record
/// said ([`Record::content_len`]): with it, header, body and content take one read; a wrong one costs a second.
pub async fn content(io: &Io, place: Place, content_len: u64) -> Result<Bytes, ReadError> {
    let name = SegmentName { first: place.segment, generation: place.generation };
    match content_in(io, name, place, content_len).await {
        Err(ReadError::NotFound(_)) => {}
        known => return known,
    }
    // The segment was written anew since the place was noted. A recovery copies batches to where they were, and the next
    // generation is tried before the folder is listed; a repair or a compaction moves them.
    if let Some(next) = name.next_generation() {
        match content_in(io, next, place, content_len).await {
            Err(ReadError::NotFound(_)) => {}
            known => return known,
        }
    }
    for name in generations(io, place.position).await? {
        match content_in(io, name, place, content_len).await {
            Err(ReadError::NotFound(_)) => {}
            known => return known,
        }
    }
    let moved = record_at(io, place.position).await?.place;
    let name = SegmentName { first: moved.segment, generation: moved.generation };
    content_in(io, name, moved, content_len).await
}

/// [`content`] from a real disk, on the caller's thread.
pub fn read_content(disk: &RealDisk, place: Place, content_len: u64) -> Result<Bytes, ReadError> {
    Script::new(|io| async move { content(&io, place, content_len).await }).run(&mut disk.clone())
}

/// [`content`] where the page cache has all of it, without ever waiting for the disk; none where it has not, and none
/// instead of an error: [`read_content`] says what is wrong.
pub fn read_cached_content(disk: &RealDisk, place: Place, content_len: u64) -> Option<Bytes> {
    let name = SegmentName { first: place.segment, generation: place.generation };
    let mut cached = Cached { disk, done: None };
    Script::new(|io| async move { content_in(&io, name, place, content_len).await }).run(&mut cached).ok()
}

/// A disk that has what the page cache has, and nothing else.
struct Cached<'a> {
    disk: &'a RealDisk,
    done: Option<Completion>,
}

impl Disk for Cached<'_> {
    fn submit(&mut self, ticket: Ticket, op: DiskOp) {
        let found = match &op {
            DiskOp::Read { file, offset, len, from_disk: false } => {
                self.disk.read_cached(file, *offset, *len)
            }
            _ => None,
        };
        let (kind, operation) = (DiskErrorKind::Io, "cached read");
        let missing = || DiskError { kind, operation, target: String::new(), message: String::new() };
        let result = found.map(DiskReply::Data).ok_or_else(missing);
        self.done = Some(Completion { ticket, result });
    }

    fn poll(&mut self) -> Option<Completion> {
        self.done.take()
    }
}

/// Reads one record, its body checked against its checksum.
pub async fn record_at(io: &Io, position: Position) -> Result<Record, ReadError> {
    let mut reader = LogReader::open(io, position).await?;
    match reader.next(io).await? {
        Some(ReadItem::Records(records)) => {
            let first = records.into_iter().next().filter(|record| record.place.position == position);
            first.ok_or(ReadError::NotFound(position))
        }
        Some(ReadItem::Unreadable(_)) => Err(ReadError::Damaged(position)),
        None => Err(ReadError::NotFound(position)),
    }
}

/// Reads content at an offset of a file. `NotFound` where the record is not there.
async fn content_in(io: &Io, name: SegmentName, place: Place, content_len: u64) -> Result<Bytes, ReadError> {
    let position = place.position;
    let (file, offset) = (name.file(), u64::from(place.offset));
    let guess = (RECORD_HEADER_BYTES as u64 + BODY_GUESS).saturating_add(content_len);
    let mut bytes = match io.read(&file, offset, guess.min(crate::frame::MAX_RECORD_BYTES), false).await {
        Ok(bytes) => bytes,
        Err(error) if error.kind == DiskErrorKind::NotFound => return Err(ReadError::NotFound(position)),
        Err(error) => return Err(error.into()),
    };
    let header = RecordHeader::decode(&bytes).map_err(|_| ReadError::NotFound(position))?;
    if header.position != position {
        return Err(ReadError::NotFound(position));
    }
    if header.content_len == 0 {
        return Err(ReadError::NoContent(position));
    }
    if (bytes.len() as u64) < header.record_bytes() {
        bytes = io.read(&file, offset, header.record_bytes(), false).await?;
    }
    let damaged = ReadError::Damaged(position);
    let from = RECORD_HEADER_BYTES as u64 + u64::from(header.body_len);
    let to = from + u64::from(header.content_len);
    let (Ok(from), Ok(to)) = (usize::try_from(from), usize::try_from(to)) else { return Err(damaged) };
    if to > bytes.len() {
        return Err(damaged);
    }
    let salted = bytes.slice(from..to);
    if crc32c(&salted) != header.content_crc || salted.len() < Salt::LEN {
        return Err(damaged);
    }
    Ok(salted.slice(Salt::LEN..))
}

/// The files of the segment that a position belongs to, youngest first.
async fn generations(io: &Io, position: Position) -> Result<Vec<SegmentName>, ReadError> {
    let files = io.list(Folder::Log).await?;
    let names = files.iter().filter_map(|(name, _)| SegmentName::parse(name));
    let mut names: Vec<_> = names.filter(|name| name.first <= position).collect();
    names.sort_by(|a, b| b.cmp(a));
    let first = names.first().map(|name| name.first);
    names.retain(|name| Some(name.first) == first);
    Ok(names)
}
