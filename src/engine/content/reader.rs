//! Bytes on their way out, each checked against its checksum before it is given out.
//!
//! A [`ContentReader`] walks the slices that make an object's content, in reads of at most 256 KiB. What the page cache has
//! is read where it is sent. What it does not have is read on blocking threads, from then on one ahead of what is being
//! sent. Every chunk holds the permit that the reader was given.

use super::cut;
use super::keeper::{BlobHold, BlobKeeper};
use crate::engine::admission::ReadPermit;
use crate::engine::damage::FoundDamage;
use crate::engine::outcome::Fault;
use bytes::Bytes;
use siltstone_log::event::{Content, ContentSlice, ContentSource};
use siltstone_log::host::real::RealDisk;
use siltstone_log::host::{DiskOp, DiskReply};
use siltstone_log::id::{BlobId, LogId, Salt, Seq, StreamId};
use siltstone_log::pack::BlobReader;
use siltstone_log::reader::{ReadError, read_cached_content, read_content};
use siltstone_log::record::Place;
use siltstone_projections::objects;
use siltstone_projections::rows::{ObjectRow, VersionRow};
use siltstone_projections::store::Store;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use tokio::task::JoinHandle;

/// What readers need to find bytes.
#[derive(Clone)]
pub struct Sources {
    pub(crate) disk: RealDisk,
    pub(crate) log_id: LogId,
    pub(crate) blobs: Arc<BlobKeeper>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) damage: Arc<FoundDamage>,
}

type ReadResult = Result<Option<Bytes>, Fault>;

/// The bytes of a range of an object.
pub struct ContentReader {
    cursor: Option<Box<Cursor>>,
    /// The read after what was given out last.
    ahead: Option<JoinHandle<(Box<Cursor>, ReadResult)>>,
    /// Whether the page cache lacked something of a blob whose place was known: then the rest is read ahead as well. To
    /// look up the first place takes another thread all the same, and says nothing about what follows.
    missed: bool,
}

impl ContentReader {
    /// Begins to read a range, cut to what the object has.
    pub fn new(sources: Arc<Sources>, object: &ObjectRow, range: Range<u64>, permit: ReadPermit) -> Self {
        let range = range.start..range.end.min(object.size);
        let slices = match &object.content {
            _ if range.is_empty() => VecDeque::new(),
            Content::Empty => VecDeque::new(),
            Content::Inline => {
                let len = range.end.saturating_sub(range.start);
                let whole = Inline { place: object.place, len: object.size };
                VecDeque::from([Part { source: PartSource::Own(whole), offset: range.start, len }])
            }
            Content::Slices(slices) => cut(slices, range).map(|slice| Part::of(&slice)).collect(),
        };
        let hold = sources.blobs.hold(slices.iter().filter_map(Part::blob).collect());
        let cursor = Cursor { sources, parts: slices, blob: None, permit, _hold: hold };
        Self { cursor: Some(Box::new(cursor)), ahead: None, missed: false }
    }

    /// The next bytes; none at the end. After an error nothing more comes, and the connection is to be cut: the
    /// client must not take a part for the whole.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        if self.ahead.is_none() {
            // What is in the page cache is here sooner than a blocking thread could be woken.
            if let Some(cursor) = self.cursor.as_mut() {
                match cursor.cached() {
                    Ok(None) => self.missed = cursor.blob.is_some(),
                    Ok(bytes) => return Ok(bytes),
                    Err(fault) => {
                        self.cursor = None;
                        return Err(fault);
                    }
                }
            }
            self.start();
        }
        let Some(ahead) = self.ahead.as_mut() else { return Ok(None) };
        let joined = ahead.await;
        self.ahead = None;
        let (cursor, read) = joined.map_err(|_| Fault::Ended("content reader"))?;
        if matches!(read, Ok(Some(_))) && cursor.has_more() {
            self.cursor = Some(cursor);
            if self.missed {
                self.start();
            }
        }
        read
    }

    /// Like [`Self::next`], on a thread that may wait for the disk. To be called before it.
    pub fn read_first(&mut self) -> Result<Option<Bytes>, Fault> {
        let Some(cursor) = self.cursor.as_mut() else { return Ok(None) };
        let read = cursor.read();
        if !matches!(read, Ok(Some(_))) || !cursor.has_more() {
            self.cursor = None;
        }
        read
    }

    fn start(&mut self) {
        if let Some(mut cursor) = self.cursor.take().filter(|cursor| cursor.has_more()) {
            self.ahead = Some(tokio::task::spawn_blocking(move || {
                let read = cursor.read();
                (cursor, read)
            }));
        }
    }
}

/// Inline content: where its record lies, and how many bytes it has.
#[derive(Clone, Copy)]
struct Inline {
    place: Option<Place>,
    len: u64,
}

impl Inline {
    fn salted_len(&self) -> u64 {
        self.len.saturating_add(Salt::LEN as u64)
    }
}

enum PartSource {
    /// In the object's own record.
    Own(Inline),
    /// In another record.
    Record(StreamId, Seq),
    Blob(BlobId),
}

struct Part {
    source: PartSource,
    offset: u64,
    len: u64,
}

impl Part {
    fn of(slice: &ContentSlice) -> Self {
        let source = match slice.source {
            ContentSource::Inline { stream, seq } => PartSource::Record(stream, seq),
            ContentSource::Blob { blob } => PartSource::Blob(blob),
        };
        Self { source, offset: slice.offset, len: slice.len }
    }

    fn blob(&self) -> Option<BlobId> {
        match self.source {
            PartSource::Blob(blob) => Some(blob),
            PartSource::Own(_) | PartSource::Record(..) => None,
        }
    }
}

/// What is still to be read.
struct Cursor {
    sources: Arc<Sources>,
    parts: VecDeque<Part>,
    /// The blob that the first part is being read from.
    blob: Option<BlobReader>,
    permit: ReadPermit,
    /// Keeps the blobs of all parts, whatever becomes of the version.
    _hold: BlobHold,
}

fn damaged(error: &impl ToString) -> Fault {
    Fault::Content(error.to_string())
}

impl Cursor {
    fn has_more(&self) -> bool {
        self.blob.is_some() || !self.parts.is_empty()
    }

    /// The next bytes, where reading them waits for no disk: those of the blob at hand, or of the object's own record.
    /// None where it might wait.
    fn cached(&mut self) -> ReadResult {
        if self.blob.as_mut().is_some_and(|blob| blob.next_read().is_none()) {
            self.blob = None;
        }
        let bytes = if let Some(blob) = &mut self.blob {
            cached_piece(blob, &self.sources.disk)?
        } else {
            self.cached_inline()
        };
        Ok(bytes.map(|bytes| self.permit.bind(bytes)))
    }

    fn cached_inline(&mut self) -> Option<Bytes> {
        let Some(Part { source: PartSource::Own(inline), offset, len }) = self.parts.front() else {
            return None;
        };
        let read = read_cached_content(&self.sources.disk, inline.place?, inline.salted_len())?;
        let bytes = cut_out(&read, *offset, *len)?;
        self.parts.pop_front();
        Some(bytes)
    }

    /// The next bytes; blocks.
    fn read(&mut self) -> ReadResult {
        Ok(self.read_piece()?.map(|bytes| self.permit.bind(bytes)))
    }

    fn read_piece(&mut self) -> ReadResult {
        loop {
            if let Some(mut blob) = self.blob.take() {
                while let Some(op) = blob.next_read() {
                    let bytes = match self.sources.disk.execute(&op).map_err(Fault::Disk)? {
                        DiskReply::Data(bytes) => bytes,
                        DiskReply::Done | DiskReply::Files(_) | DiskReply::Free(_) => Bytes::new(),
                    };
                    if let Some(bytes) = blob.accept(bytes).map_err(|error| damaged(&error))? {
                        self.blob = Some(blob);
                        return Ok(Some(bytes));
                    }
                }
            }
            let Some(Part { source, offset, len }) = self.parts.pop_front() else { return Ok(None) };
            match source {
                PartSource::Own(inline) => return self.inline(inline, offset, len).map(Some),
                PartSource::Record(stream, seq) => {
                    let inline = self.find(stream, seq)?;
                    return self.inline(inline, offset, len).map(Some);
                }
                PartSource::Blob(blob) => {
                    let place = self.sources.blobs.place(blob)?;
                    let range = offset..offset.saturating_add(len);
                    self.blob = Some(BlobReader::new(self.sources.log_id, blob, &place, range));
                }
            }
        }
    }

    /// The record that another version's content refers to.
    fn find(&self, stream: StreamId, seq: Seq) -> Result<Inline, Fault> {
        let store = &*self.sources.store;
        let projection = |error: siltstone_projections::StoreError| Fault::Projection(error.to_string());
        let missing = || Fault::Content(format!("record {seq} of stream {stream} is missing"));
        let found = objects::by_seq(store, stream, seq).map_err(projection)?.ok_or_else(missing)?;
        let version = objects::version(store, stream, &found.key, seq).map_err(projection)?;
        let object = version.and_then(VersionRow::into_object).ok_or_else(missing)?;
        Ok(Inline { place: found.place, len: object.size })
    }

    fn inline(&self, inline: Inline, offset: u64, len: u64) -> Result<Bytes, Fault> {
        let place = inline.place.ok_or_else(|| Fault::Content("a record's place is unknown".to_owned()))?;
        let read = read_content(&self.sources.disk, place, inline.salted_len()).map_err(|error| {
            if let ReadError::Damaged(position) = error {
                self.sources.damage.note(position, position, error.to_string());
            }
            damaged(&error)
        })?;
        cut_out(&read, offset, len)
            .ok_or_else(|| Fault::Content(format!("{} bytes where {} were expected", read.len(), inline.len)))
    }
}

/// The next bytes of a blob, where the page cache has them. A read that was planned and not done is planned again.
fn cached_piece(blob: &mut BlobReader, disk: &RealDisk) -> ReadResult {
    while let Some(DiskOp::Read { file, offset, len, from_disk: false }) = blob.next_read() {
        let Some(read) = disk.read_cached(&file, offset, len) else { return Ok(None) };
        let bytes = blob.accept(read).map_err(|error| damaged(&error))?;
        if bytes.is_some() {
            return Ok(bytes);
        }
    }
    Ok(None)
}

/// A range of a record's content, if the content has it.
fn cut_out(content: &Bytes, offset: u64, len: u64) -> Option<Bytes> {
    let first = usize::try_from(offset).ok()?;
    let last = first.checked_add(usize::try_from(len).ok()?)?;
    (last <= content.len()).then(|| content.slice(first..last))
}
