//! Data directories as the offline commands open them.

use super::CliError;
use crate::engine::PROJECTIONS;
use crate::server::PROGRAM;
use siltstone_log::host::real::{RealDisk, RealEntropy};
use siltstone_log::host::{DiskOp, DiskReply, Folder};
use siltstone_log::id::{Position, StreamId};
use siltstone_log::layout::DataDir;
use siltstone_log::reader::ReadError;
use siltstone_log::recovery::{Recovered, RecoveryConfig, plan, recover};
use siltstone_log::script::Script;
use siltstone_log::segment::SegmentName;
use siltstone_projections::store::fjall::{applied_witness, condemn};
use std::path::{Path, PathBuf};

/// Refuses a path where there is no log, before anything is made there.
fn must_exist(dir: &Path) -> Result<(), CliError> {
    if dir.join(Folder::Log.name()).is_dir() { Ok(()) } else { Err(CliError::NoLog(dir.to_owned())) }
}

/// Opens for reading only, beside a running server if there is one.
pub fn read_only(dir: &Path) -> Result<RealDisk, CliError> {
    must_exist(dir)?;
    // A format of the future is refused before its files are misread.
    DataDir::inspect(dir)?;
    Ok(RealDisk::read_only(dir))
}

/// A position that the projections know to have been durable.
pub fn projection_witness(dir: &Path) -> Result<Option<Position>, CliError> {
    let log_id = DataDir::inspect(dir)?.log_id;
    Ok(applied_witness(&dir.join(PROJECTIONS), log_id)?)
}

/// Marks projections as not to be used again, if there are any: the next start builds them anew.
pub fn discard_projections(folder: &Path) -> Result<(), CliError> {
    if !folder.is_dir() {
        return Ok(());
    }
    condemn(folder).map_err(|error| CliError::File { path: folder.display().to_string(), error })
}

/// The segments of a log and the lengths of their files, in order of position, each once: its youngest generation.
pub fn segments(disk: &RealDisk) -> Result<Vec<(SegmentName, u64)>, CliError> {
    let DiskReply::Files(files) =
        disk.execute(&DiskOp::List { folder: Folder::Log }).map_err(ReadError::from)?
    else {
        return Ok(Vec::new());
    };
    let named = files.into_iter().filter_map(|(name, bytes)| Some((SegmentName::parse(&name)?, bytes)));
    let mut segments: Vec<(SegmentName, u64)> = Vec::new();
    for (segment, bytes) in named {
        segments.pop_if(|(before, _)| before.first == segment.first);
        segments.push((segment, bytes));
    }
    Ok(segments)
}

/// Bytes of all segments.
pub fn log_bytes(disk: &RealDisk) -> Result<u64, CliError> {
    Ok(segments(disk)?.iter().map(|(_, bytes)| bytes).sum())
}

/// A data directory that belongs to this command alone as long as the value lives.
pub struct Locked {
    /// The directory and its lock.
    pub dir: DataDir,
    /// Its files.
    pub disk: RealDisk,
    /// What recovery and repair are told.
    pub recovery: RecoveryConfig,
    /// The log as a start would find it; nothing of it was changed.
    pub log: Recovered,
}

impl Locked {
    /// Takes the lock.
    pub fn open(dir: &Path) -> Result<Self, CliError> {
        must_exist(dir)?;
        // A folder that merely has one called `log` in it is not made into a data directory.
        DataDir::inspect(dir)?;
        let dir = DataDir::open(dir, PROGRAM, &RealEntropy)?;
        let disk = RealDisk::new(dir.root());
        let format = dir.format();
        let recovery = RecoveryConfig {
            log_id: format.log_id,
            node_id: format.node_id,
            projection_witness: projection_witness(dir.root())?,
        };
        let planned =
            Script::new(move |io| async move { plan(&io, &recovery).await }).run(&mut disk.clone())?;
        Ok(Self { dir, disk, recovery, log: planned.recovered })
    }

    /// Recovers the log, as a start does. What another file is to keep of it must be durable in the log first: a power cut
    /// would leave rows of records that the log never had.
    pub fn recovered(mut self) -> Result<Self, CliError> {
        let config = self.recovery;
        self.log = Script::new(move |io| recover(io, config)).run(&mut self.disk.clone())?;
        Ok(self)
    }

    /// A path below the directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.root().join(name)
    }
}

/// What people call a stream: the fixed ones have names, a bucket's has its id.
pub fn stream_name(stream: StreamId) -> String {
    match stream {
        StreamId::SYSTEM => "system".to_owned(),
        StreamId::ACCESS => "access".to_owned(),
        StreamId::TELEMETRY => "telemetry".to_owned(),
        bucket => bucket.to_string(),
    }
}
