//! What lies in the log folder: the segments that count, and what is left over beside them.

use crate::batch::BATCH_ALIGN;
use crate::hlc::Hlc;
use crate::host::{DiskError, DiskErrorKind, FilePath, Folder, unless_lost};
use crate::id::{LogId, Position};
use crate::scan::Until;
use crate::script::Io;
use crate::segment::{
    AcceptedLoss, Footer, FooterError, HEADER_BYTES, HeaderError, MAX_FOOTER_BYTES, SegmentHeader,
    SegmentInfo, SegmentName, TRAILER_BYTES, spare_file,
};
use crate::witness::{CHECKPOINT_BYTES, Checkpoint, checkpoint_file};

/// What is kept of a footer. Its index and streams are read again where they are needed: those of all segments
/// together would take more memory than a server has to start in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sealed {
    pub log_id: LogId,
    pub last: Position,
    pub max_hlc: Hlc,
    pub segment_no: u64,
    losses: Vec<AcceptedLoss>,
}

/// A segment file with what its ends say.
#[derive(Debug, Clone)]
pub(crate) struct Segment {
    pub name: SegmentName,
    pub file_bytes: u64,
    pub header: Result<SegmentHeader, HeaderError>,
    pub footer: Result<Sealed, FooterError>,
    /// Where the footer begins or, by the file's last bytes, began. None where the segment was never sealed.
    pub footer_at: Option<u64>,
}

impl Segment {
    /// Reads a segment's header and footer.
    pub async fn load(
        io: &Io,
        name: SegmentName,
        file_bytes: u64,
        from_disk: bool,
    ) -> Result<Self, DiskError> {
        let file = name.file();
        // Unreadable ends are damage, which costs no record as long as what lies between can be read.
        let header = match unless_lost(io.read(&file, 0, HEADER_BYTES, from_disk).await)? {
            Some(bytes) => SegmentHeader::decode(&bytes),
            None => Err(HeaderError::Damaged),
        };
        let header = match header {
            Ok(found) if found.first != name.first || found.generation != name.generation => {
                Err(HeaderError::Damaged)
            }
            other => other,
        };
        let (footer, footer_at) = load_footer(io, &file, file_bytes, from_disk).await?;
        let footer = match footer {
            Ok(found) if found.first != name.first => Err(FooterError::Damaged),
            Ok(Footer { log_id, last, max_hlc, segment_no, losses, .. }) => {
                Ok(Sealed { log_id, last, max_hlc, segment_no, losses })
            }
            Err(error) => Err(error),
        };
        Ok(Self { name, file_bytes, header, footer, footer_at })
    }

    /// The whole footer; `None` where the segment has none that can be read.
    pub async fn whole_footer(&self, io: &Io) -> Result<Option<Footer>, DiskError> {
        if self.footer.is_err() {
            return Ok(None);
        }
        Ok(load_footer(io, &self.name.file(), self.file_bytes, false).await?.0.ok())
    }

    /// Its public description, given the last position where its footer does not say it.
    pub fn info(&self, last: Position) -> SegmentInfo {
        let last = self.footer.as_ref().map_or(last, |footer| footer.last);
        SegmentInfo { name: self.name, last, sealed: self.footer.is_ok(), bytes: self.file_bytes }
    }

    /// The log it says it belongs to.
    pub fn log_id(&self) -> Option<LogId> {
        let header = self.header.as_ref().ok().map(|header| header.log_id);
        header.or_else(|| self.footer.as_ref().ok().map(|footer| footer.log_id))
    }

    /// Where its batches should end, given the first position of the next segment.
    pub fn until(&self, next: Option<Position>) -> Until {
        match (&self.footer, next) {
            (Ok(footer), _) => {
                Until::Sealed { offset: self.footer_at.unwrap_or(self.file_bytes), last: footer.last }
            }
            (Err(_), Some(next)) => Until::Position(Position(next.0.saturating_sub(1))),
            (Err(_), None) => Until::Open,
        }
    }

    /// Whether its footer says that positions were given up.
    pub fn gave_up(&self, first: Position, last: Position) -> bool {
        let covers = |loss: &AcceptedLoss| loss.first <= first && last <= loss.last;
        self.footer.as_ref().is_ok_and(|footer| footer.losses.iter().any(covers))
    }
}

/// Bytes read from the end of a segment at once.
const FOOTER_GUESS: u64 = 64 * 1024;

async fn load_footer(
    io: &Io,
    file: &FilePath,
    file_bytes: u64,
    from_disk: bool,
) -> Result<(Result<Footer, FooterError>, Option<u64>), DiskError> {
    let missing = Ok((Err(FooterError::Missing), None));
    // Most footers are small: one read gets trailer and footer.
    let mut end_at = file_bytes.saturating_sub(FOOTER_GUESS);
    let mut end = unless_lost(io.read(file, end_at, FOOTER_GUESS, from_disk).await)?;
    if end.is_none() {
        // The trailer alone still tells a footer that was lost from one that was never there.
        end_at = file_bytes.saturating_sub(BATCH_ALIGN);
        end = unless_lost(io.read(file, end_at, BATCH_ALIGN, from_disk).await)?;
    }
    let Some(end) = end else { return missing };
    let Some(at) = end.last_chunk::<TRAILER_BYTES>().and_then(|trailer| Footer::locate(trailer)) else {
        return missing;
    };
    let Some(len) = file_bytes.checked_sub(at).filter(|len| *len <= MAX_FOOTER_BYTES) else { return missing };
    let within = at.checked_sub(end_at).and_then(|skip| usize::try_from(skip).ok());
    if let Some(bytes) = within.and_then(|skip| end.get(skip..)) {
        return Ok((Footer::decode(bytes, at), Some(at)));
    }
    Ok(match unless_lost(io.read(file, at, len, from_disk).await)? {
        Some(bytes) => (Footer::decode(&bytes, at), Some(at)),
        None => (Err(FooterError::Damaged), Some(at)),
    })
}

/// The log folder.
#[derive(Debug, Clone, Default)]
pub(crate) struct Catalogue {
    /// The segments that count, in order of position.
    pub segments: Vec<Segment>,
    /// Generations whose place a complete younger one has taken.
    pub superseded: Vec<SegmentName>,
    /// Copies that a crash interrupted.
    pub incomplete: Vec<SegmentName>,
    /// Whether a spare file is there.
    pub spare: bool,
    /// Whether there is a checkpoint file, and its newest valid slot.
    pub checkpoint_file: bool,
    pub checkpoint: Option<Checkpoint>,
}

impl Catalogue {
    /// Reads the folder, and every segment's ends.
    pub async fn load(io: &Io, from_disk: bool) -> Result<Self, DiskError> {
        // ORDER: the checkpoint first. Beside a running server, one read later could speak of positions in segments that
        // the list does not have yet.
        let checkpoint = match io.read(&checkpoint_file(), 0, CHECKPOINT_BYTES, from_disk).await {
            Err(error) if error.kind == DiskErrorKind::NotFound => None,
            read => unless_lost(read)?,
        };
        let files = io.list(Folder::Log).await?;
        // A witness that is lost says nothing.
        let checkpoint = checkpoint.and_then(|bytes| Checkpoint::newest(&bytes));
        let mut catalogue = Self { checkpoint, ..Self::default() };
        let mut generations: Vec<Segment> = Vec::new();
        for (name, bytes) in files {
            if let Some(name) = SegmentName::parse(&name) {
                let next_first = name.first;
                if generations.first().is_some_and(|segment| segment.name.first != next_first) {
                    catalogue.choose(std::mem::take(&mut generations));
                }
                generations.push(Segment::load(io, name, bytes, from_disk).await?);
            } else if name == spare_file().name {
                catalogue.spare = true;
            } else if name == checkpoint_file().name {
                catalogue.checkpoint_file = true;
            }
        }
        catalogue.choose(generations);
        Ok(catalogue)
    }

    /// Of several generations of one segment the youngest complete one counts: a copy gets its footer last, after
    /// everything in it is written. Without a complete one the oldest counts, which is what was being copied.
    fn choose(&mut self, generations: Vec<Segment>) {
        let complete = generations.iter().rposition(|segment| segment.footer.is_ok()).unwrap_or_default();
        for (at, segment) in generations.into_iter().enumerate() {
            match at.cmp(&complete) {
                std::cmp::Ordering::Less => self.superseded.push(segment.name),
                std::cmp::Ordering::Equal => self.segments.push(segment),
                std::cmp::Ordering::Greater => self.incomplete.push(segment.name),
            }
        }
    }

    /// The segment that a position belongs to, if there is one.
    pub fn find(&self, position: Position) -> Option<usize> {
        self.segments.partition_point(|segment| segment.name.first <= position).checked_sub(1)
    }
}
