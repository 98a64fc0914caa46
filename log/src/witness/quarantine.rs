//! `log/QUARANTINE`: ranges of positions whose records cannot be read.

use crate::codec::{Fields, crc32c};
use crate::host::{DiskError, DiskErrorKind, DiskOp, FilePath, Folder};
use crate::id::{LogId, Position, Span, StreamId};
use crate::script::Io;
use bytes::{BufMut, Bytes, BytesMut};
use std::collections::BTreeSet;
use std::fmt;

/// Which streams may have records in a damaged range. They refuse writes, because what would follow is unknown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Touched {
    /// Exactly these.
    Only(BTreeSet<StreamId>),
    /// All but these, whose later records prove that they have none there.
    AllExcept(BTreeSet<StreamId>),
}

impl Touched {
    /// Whether the stream may have records in the range.
    pub fn contains(&self, stream: StreamId) -> bool {
        match self {
            Self::Only(streams) => streams.contains(&stream),
            Self::AllExcept(streams) => !streams.contains(&stream),
        }
    }

    /// Takes in what another one has. Says whether that is more.
    pub fn add(&mut self, other: &Self) -> bool {
        let before = self.clone();
        match (&mut *self, other) {
            (Self::Only(mine), Self::Only(others)) => mine.extend(others),
            (Self::Only(mine), Self::AllExcept(others)) => {
                *self = Self::AllExcept(others.difference(mine).copied().collect());
            }
            (Self::AllExcept(mine), Self::Only(others)) => mine.retain(|stream| !others.contains(stream)),
            (Self::AllExcept(mine), Self::AllExcept(others)) => mine.retain(|stream| others.contains(stream)),
        }
        *self != before
    }
}

/// A range of positions whose records cannot all be read. Reads outside it go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuarantinedRange {
    /// The first position.
    pub first: Position,
    /// The last position.
    pub last: Position,
    /// The streams that refuse writes.
    pub touched: Touched,
    /// What was found.
    pub reason: String,
}

impl fmt::Display for QuarantinedRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", Span(self.first, self.last), self.reason)
    }
}

/// Whether any of the ranges makes the stream refuse writes.
pub fn is_refused(ranges: &[QuarantinedRange], stream: StreamId) -> bool {
    ranges.iter().any(|range| range.touched.contains(stream))
}

/// Adds a range, or the streams that refuse writes for one that is known already. Says whether that is more.
pub fn add_range(ranges: &mut Vec<QuarantinedRange>, range: QuarantinedRange) -> bool {
    let covers = |known: &&mut QuarantinedRange| known.first <= range.first && range.last <= known.last;
    if let Some(covering) = ranges.iter_mut().find(covers) {
        return covering.touched.add(&range.touched);
    }
    ranges.push(range);
    ranges.sort_by_key(|range| (range.first, range.last));
    true
}

/// Why the file could not be read. It is a witness: the ranges that recovery finds itself count without it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuarantineError {
    /// Not in this format, or damaged.
    #[error("log/QUARANTINE is damaged")]
    Malformed,
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

const MAGIC: &[u8; 8] = b"SILTQUAR";
const VERSION: u16 = 1;
/// Bounds what a damaged length could make a reader take.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// The file.
pub fn quarantine_file() -> FilePath {
    FilePath::new(Folder::Log, "QUARANTINE")
}

fn temporary_file() -> FilePath {
    FilePath::new(Folder::Log, "QUARANTINE.tmp")
}

/// The file's bytes.
pub fn encode_quarantine(log_id: LogId, ranges: &[QuarantinedRange]) -> Bytes {
    let mut out = BytesMut::new();
    out.put_slice(MAGIC);
    out.put_u16_le(VERSION);
    out.put_slice(&log_id.0);
    out.put_u32_le(u32::try_from(ranges.len()).unwrap_or(u32::MAX));
    for range in ranges {
        out.put_u64_le(range.first.0);
        out.put_u64_le(range.last.0);
        let (form, streams) = match &range.touched {
            Touched::Only(streams) => (0, streams),
            Touched::AllExcept(streams) => (1, streams),
        };
        out.put_u8(form);
        out.put_u32_le(u32::try_from(streams.len()).unwrap_or(u32::MAX));
        for stream in streams {
            out.put_slice(&stream.0);
        }
        out.put_u32_le(u32::try_from(range.reason.len()).unwrap_or(u32::MAX));
        out.put_slice(range.reason.as_bytes());
    }
    let crc = crc32c(&out);
    out.put_u32_le(crc);
    out.freeze()
}

/// Reads the file's bytes back.
pub fn decode_quarantine(bytes: &[u8]) -> Result<(LogId, Vec<QuarantinedRange>), QuarantineError> {
    decode(bytes).ok_or(QuarantineError::Malformed)
}

fn decode(bytes: &[u8]) -> Option<(LogId, Vec<QuarantinedRange>)> {
    let (content, crc) = bytes.split_last_chunk::<4>()?;
    let mut fields = Fields(content);
    if u32::from_le_bytes(*crc) != crc32c(content)
        || fields.array::<8>()? != *MAGIC
        || fields.u16()? != VERSION
    {
        return None;
    }
    let log_id = LogId(fields.array()?);
    // Counts are never given to an allocator: the vectors grow with what is really there.
    let mut ranges = Vec::new();
    for _ in 0..fields.u32()? {
        let (first, last, form) = (Position(fields.u64()?), Position(fields.u64()?), fields.u8()?);
        let mut streams = BTreeSet::new();
        for _ in 0..fields.u32()? {
            streams.insert(StreamId(fields.array()?));
        }
        let touched = match form {
            0 => Touched::Only(streams),
            1 => Touched::AllExcept(streams),
            _ => return None,
        };
        let len = usize::try_from(fields.u32()?).ok()?;
        let reason = std::str::from_utf8(fields.take(len)?).ok()?.to_owned();
        ranges.push(QuarantinedRange { first, last, touched, reason });
    }
    fields.0.is_empty().then_some((log_id, ranges))
}

/// Reads the file; no ranges where there is none.
pub async fn load_quarantine(io: &Io, log_id: LogId) -> Result<Vec<QuarantinedRange>, QuarantineError> {
    let bytes = match io.read(&quarantine_file(), 0, MAX_BYTES, false).await {
        Ok(bytes) => bytes,
        Err(error) if error.kind == DiskErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let (found, ranges) = decode_quarantine(&bytes)?;
    if found == log_id { Ok(ranges) } else { Err(QuarantineError::Malformed) }
}

/// Replaces the file, durably; removes it where there are no ranges.
pub async fn store_quarantine(io: &Io, log_id: LogId, ranges: &[QuarantinedRange]) -> Result<(), DiskError> {
    let missing_is_fine = |result: Result<_, DiskError>| match result {
        Err(error) if error.kind != DiskErrorKind::NotFound => Err(error),
        Ok(_) | Err(_) => Ok(()),
    };
    if ranges.is_empty() {
        missing_is_fine(io.run(DiskOp::Remove { file: quarantine_file() }).await)?;
    } else {
        let bytes = encode_quarantine(log_id, ranges);
        missing_is_fine(io.run(DiskOp::Remove { file: temporary_file() }).await)?;
        io.run(DiskOp::Create { file: temporary_file(), len: bytes.len() as u64, leave_free: 0 }).await?;
        io.run(DiskOp::Write { file: temporary_file(), offset: 0, data: vec![bytes] }).await?;
        io.run(DiskOp::Sync { file: temporary_file() }).await?;
        io.run(DiskOp::Rename { file: temporary_file(), to: quarantine_file().name }).await?;
    }
    io.run(DiskOp::SyncFolder { folder: Folder::Log }).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ranges() -> impl Strategy<Value = Vec<QuarantinedRange>> {
        let streams = prop::collection::btree_set(any::<[u8; 16]>().prop_map(StreamId), 0..4);
        let touched = (any::<bool>(), streams).prop_map(|(only, streams)| {
            if only { Touched::Only(streams) } else { Touched::AllExcept(streams) }
        });
        let range =
            (any::<u64>(), any::<u64>(), touched, ".{0,20}").prop_map(|(first, last, touched, reason)| {
                QuarantinedRange { first: Position(first), last: Position(last), touched, reason }
            });
        prop::collection::vec(range, 0..4)
    }

    proptest! {
        #[test]
        fn ranges_are_read_back(log_id: [u8; 16], ranges in ranges()) {
            let bytes = encode_quarantine(LogId(log_id), &ranges);
            prop_assert_eq!(decode_quarantine(&bytes), Ok((LogId(log_id), ranges)));
        }

        #[test]
        fn a_flipped_bit_is_noticed(ranges in ranges(), at: prop::sample::Index, bit in 0u8..8) {
            let mut bytes = encode_quarantine(LogId([1; 16]), &ranges).to_vec();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert_eq!(decode_quarantine(&bytes), Err(QuarantineError::Malformed));
        }

        #[test]
        fn what_is_added_is_the_union(
            mine in ranges(), others in ranges(), probes: Vec<[u8; 16]>,
        ) {
            let (Some(mine), Some(other)) = (mine.first(), others.first()) else { return Ok(()) };
            let mut all = mine.touched.clone();
            let more = all.add(&other.touched);
            prop_assert_eq!(more, all != mine.touched);
            let named = [mine, other].into_iter().flat_map(|range| match &range.touched {
                Touched::Only(streams) | Touched::AllExcept(streams) => streams.iter().copied(),
            });
            for stream in named.chain(probes.into_iter().map(StreamId)) {
                let either = mine.touched.contains(stream) || other.touched.contains(stream);
                prop_assert_eq!(all.contains(stream), either);
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(decode_quarantine(&bytes).is_err());
        }
    }
}
