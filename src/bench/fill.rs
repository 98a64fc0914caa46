//! A store with very many objects, kept from run to run: what a server would take hours to be given goes straight into
//! the log, by the log's own writer.
//!
//! The bucket itself is made by a server, so that everything beside the objects is as a server makes it; the server
//! that starts last builds the projections, and leaves the store as after any clean stop.

use super::BenchError;
use super::child::ServerProcess;
use super::load::{LoadOptions, make_bucket};
use super::ratios::load_options;
use super::scratch::create;
use super::writing::{Change, Changes, write};
use clap::ValueEnum;
use serde::Serialize;
use siltstone_log::event::{Body, Event};
use siltstone_log::host::real::{RealClock, RealDisk, RealEntropy};
use siltstone_log::host::{Clock, DiskOp, DiskReply, Folder};
use siltstone_log::id::{Position, StreamId};
use siltstone_log::layout::DataDir;
use siltstone_log::reader::{ReadItem, Replay};
use siltstone_log::recovery::{Recovered, RecoveryConfig, recover};
use siltstone_log::script::Script;
use siltstone_projections::store::fjall::FjallStore;
use siltstone_projections::store::{LogState, Store};
use std::fmt;
use std::path::{Path, PathBuf};

/// Bytes of the volume that an object takes for a while: about 600 of log, the rest rows, which are written more than
/// once before they have settled.
const BYTES_EACH: u64 = 1500;
/// What must stay free besides: the floor below which a server refuses writes, twice, and files allocated ahead.
const LEAVE_FREE: u64 = 1 << 30;
/// Prefixes, where the shape has some. Ten thousand keys are then a hundred each: more than a listing steps over before
/// it seeks, so that what a page costs can be compared between few and many.
pub(super) const FOLDERS: u64 = 100;

/// What the keys look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum KeyShape {
    /// `objects/<16 hex digits>`, in an order that has nothing to do with theirs
    Scattered,
    /// `objects/<16 digits>`, in their order
    Sequential,
    /// A hundred prefixes `folder-NN/`, each with its share of the keys, in turn
    Folders,
}

impl KeyShape {
    /// The key of an object by its number.
    pub fn key(self, number: u64) -> String {
        match self {
            Self::Scattered => format!("objects/{:016x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            Self::Sequential => format!("objects/{number:016}"),
            Self::Folders => format!("folder-{:02}/{:012}", number % FOLDERS, number / FOLDERS),
        }
    }
}

/// What to fill with.
#[derive(Debug, Clone)]
pub struct FillOptions {
    /// The data directory; made if missing, and kept.
    pub dir: PathBuf,
    /// The bucket; made if missing.
    pub bucket: String,
    /// Objects that the bucket has in the end, with those of earlier runs.
    pub objects: u64,
    /// What the keys look like; an earlier run must have used the same.
    pub key_shape: KeyShape,
    /// Whether nine of ten are deleted again: those of the lowest numbers, so that a listing finds what deletions leave
    /// behind before it finds an object. An earlier run must have had the same, and then as many objects.
    pub thinned: bool,
}

impl FillOptions {
    fn deletions(&self) -> u64 {
        if self.thinned { self.objects / 10 * 9 } else { 0 }
    }

    /// The changes to the bucket, by their numbers: first the puts, then the deletions.
    fn change(&self, number: u64) -> Change {
        match number.checked_sub(self.objects) {
            None => Change::Put(self.key_shape.key(number)),
            Some(deleted) => Change::Delete(self.key_shape.key(deleted)),
        }
    }
}

/// The result, for people and (by serde) for programs.
#[derive(Debug, Clone, Serialize)]
pub struct Fill {
    /// The bucket.
    pub bucket: String,
    /// Objects in it.
    pub objects: u64,
    /// Objects and deletions that this run wrote.
    pub written: u64,
    /// What the keys look like.
    pub key_shape: KeyShape,
    /// Bytes of log that this run wrote.
    pub log_bytes: u64,
    /// How long it took, the projections included.
    pub seconds: f64,
}

impl fmt::Display for Fill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bucket, objects, written, log_bytes, seconds, .. } = self;
        let megabytes = log_bytes / 1_000_000;
        write!(
            f,
            "{bucket}: {objects} objects, {written} records new ({megabytes} MB of log), in {seconds:.1} s"
        )
    }
}

/// Fills a bucket. `progress` is told how many of how many objects are written.
pub fn run(options: &FillOptions, progress: &mut dyn FnMut(u64, u64)) -> Result<Fill, BenchError> {
    let clock = RealClock::default();
    check_space(options, 0)?;
    create(&options.dir)?;
    let server = ServerProcess::serve(&options.dir)?;
    let made = make_bucket(&LoadOptions { bucket: options.bucket.clone(), ..load_options(&server) });
    server.stop_cleanly()?;
    made?;
    let (puts, deletions) = (options.objects, options.deletions());
    let mut filled = append(options, puts, progress)?;
    if deletions > 0 {
        // Behind the end of a server that has them all: side by side in one rebuild the puts would leave no trace.
        let deleted = append(options, puts + deletions, progress)?;
        filled = (filled.0 + deleted.0, filled.1 + deleted.1);
    }
    let (written, log_bytes) = filled;
    Ok(Fill {
        bucket: options.bucket.clone(),
        objects: puts - deletions,
        written,
        key_shape: options.key_shape,
        log_bytes,
        seconds: super::stats::figure(clock.monotonic_nanos()) / 1e9,
    })
}

/// Writes what is missing of the first `until` changes, and has a server take them in; returns how many were written, and
/// the bytes of log.
fn append(
    options: &FillOptions,
    until: u64,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(u64, u64), BenchError> {
    let data = DataDir::open(&options.dir, "siltstone bench", &RealEntropy)?;
    let disk = RealDisk::new(data.root());
    let recovered = recovered(&data, &disk)?;
    let (stream, present) = find_bucket(&disk, &recovered, &options.bucket)?;
    check_space(options, present)?;
    let changes = Changes { stream, first: present, count: until.saturating_sub(present) };
    let log_bytes = write(&recovered, &disk, changes, &|number| options.change(number), progress)?;
    drop(data);
    if changes.count > 0 {
        ServerProcess::serve(&options.dir)?.stop_cleanly()?;
        tidy(&options.dir)?;
    }
    Ok((changes.count, log_bytes))
}

/// What a server does a few seconds after it has taken many deletions in.
fn tidy(dir: &Path) -> Result<(), BenchError> {
    let data = DataDir::open(dir, "siltstone bench", &RealEntropy)?;
    let recovered = recovered(&data, &RealDisk::new(data.root()))?;
    let store = FjallStore::open(&data.root().join("projections"), &LogState::of(&recovered))?.store;
    store.tidy()?;
    store.sync()?;
    Ok(())
}

fn recovered(data: &DataDir, disk: &RealDisk) -> Result<Recovered, BenchError> {
    let format = data.format();
    let config = RecoveryConfig { log_id: format.log_id, node_id: format.node_id, projection_witness: None };
    Ok(Script::new(move |io| recover(io, config)).run(&mut disk.clone())?)
}

/// Refuses what would fill the volume up, before anything is written.
fn check_space(options: &FillOptions, present: u64) -> Result<(), BenchError> {
    let missing = (options.objects + options.deletions()).saturating_sub(present);
    // A folder that is not there yet will be on the volume of the one above.
    let existing = options.dir.join(Folder::Log.name());
    let on = existing.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("."));
    let free = if on.ends_with(Folder::Log.name()) {
        match RealDisk::new(&options.dir).execute(&DiskOp::FreeSpace { folder: Folder::Log })? {
            DiskReply::Free(free) => free,
            DiskReply::Done | DiskReply::Data(_) | DiskReply::Files(_) => 0,
        }
    } else {
        let found = rustix::fs::statvfs(on).map_err(std::io::Error::from)?;
        found.f_bavail.saturating_mul(found.f_frsize)
    };
    let needed = missing.saturating_mul(BYTES_EACH).saturating_add(LEAVE_FREE);
    if missing > 0 && free < needed { Err(BenchError::Space { needed, free }) } else { Ok(()) }
}

/// A bucket's stream and how many changes it has, where nothing but this command has written to it.
fn find_bucket(disk: &RealDisk, log: &Recovered, name: &str) -> Result<(StreamId, u64), BenchError> {
    for item in Replay::open(disk.clone(), Position(1))? {
        let ReadItem::Records(records) = item? else { continue };
        for record in &records {
            if let Some(Ok(Body { event: Event::BucketCreated(created), .. })) = record.decode()
                && created.name.as_str() == name
            {
                let head = log.heads.get(&record.stream).map(|head| head.seq.get()).unwrap_or_default();
                return Ok((record.stream, head.saturating_sub(1)));
            }
        }
    }
    Err(BenchError::Ended("search for the bucket"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_shape_gives_each_object_a_key_of_its_own() {
        for shape in [KeyShape::Scattered, KeyShape::Sequential, KeyShape::Folders] {
            let keys: BTreeSet<String> = (0..5000).map(|number| shape.key(number)).collect();
            assert_eq!(keys.len(), 5000, "{shape:?}");
        }
        let folder = |number| KeyShape::Folders.key(number).split_once('/').unwrap().0.to_owned();
        let folders: BTreeSet<String> = (0..5000).map(folder).collect();
        assert_eq!(folders.len() as u64, FOLDERS);
    }

    #[test]
    fn a_thinned_bucket_keeps_the_last_tenth_of_every_prefix() {
        let options = FillOptions {
            dir: PathBuf::new(),
            bucket: "fill".to_owned(),
            objects: 10_000,
            key_shape: KeyShape::Folders,
            thinned: true,
        };
        let mut present = BTreeSet::new();
        for number in 0..options.objects + options.deletions() {
            match options.change(number) {
                Change::Put(key) => assert!(present.insert(key)),
                Change::Delete(key) => assert!(present.remove(&key)),
            }
        }
        let kept = |folder: u64| (90..100).map(move |number| format!("folder-{folder:02}/{number:012}"));
        assert_eq!(present, (0..FOLDERS).flat_map(kept).collect());
    }

    #[test]
    fn what_would_fill_the_volume_up_is_refused_before_anything_is_made() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("new/data");
        let (bucket, key_shape) = ("fill".to_owned(), KeyShape::Folders);
        let options = FillOptions { dir: dir.clone(), bucket, objects: 1 << 50, key_shape, thinned: false };
        assert!(matches!(run(&options, &mut |_, _| ()), Err(BenchError::Space { .. })));
        assert!(!dir.exists());
    }
}
