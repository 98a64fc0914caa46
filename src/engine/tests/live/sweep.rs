//! Content that a crash or a stop left without a name.

#![expect(clippy::disallowed_methods, reason = "the tests play a disk that forgets")]

use super::{Live, pattern, put};
use crate::engine::command::PutObject;
use crate::engine::sweep::{PAGE, Sweeper, Turn};
use crate::engine::{PROJECTIONS, Placement, StagedContent};
use siltstone_log::host::DiskOp;
use siltstone_log::host::real::RealDisk;
use siltstone_log::id::{BlobId, Position};
use siltstone_log::pack::recovery::RecoveredPacks;
use siltstone_log::pack::{BlobPlace, pack_file};
use std::os::unix::fs::MetadataExt;

/// More than one extent.
const SIZE: usize = 5_000_000;

impl Live {
    /// Makes a blob durable whose record a crash then cuts off. Says where it lies.
    fn orphan(&self) -> (BlobId, BlobPlace) {
        let staged = self.stage(Placement::Packs, None, &pattern(SIZE));
        let blob = blob_of(&staged);
        // Nothing runs that would give it back, as after a kill.
        std::mem::forget(staged);
        (blob, self.place(blob).unwrap())
    }

    fn place(&self, blob: BlobId) -> Option<BlobPlace> {
        self.engine().shared.blobs.find(blob).unwrap()
    }

    /// Bytes that a pack takes on the disk.
    fn pack_bytes(&self, pack: u32) -> u64 {
        let name = format!("packs/{}", pack_file(pack).name);
        std::fs::metadata(self.folder.path().join("data").join(name)).map_or(0, |found| found.blocks() * 512)
    }

    /// A walk of its own, over packs below this one: how it ends.
    fn sweep_below(&self, pack: u32) -> Turn {
        let packs = RecoveredPacks { next_pack: pack, ..RecoveredPacks::none(self.engine().recovered().log_id) };
        let mut sweeper = Sweeper::new(&packs, PAGE);
        loop {
            match self.engine().sweep(&mut sweeper).unwrap() {
                Turn::Wait | Turn::Free(_) => std::thread::yield_now(),
                end => return end,
            }
        }
    }

    /// Waits until the index has forgotten a blob.
    fn wait_until_gone(&self, blob: BlobId) {
        while self.place(blob).is_some() {
            std::thread::yield_now();
        }
    }
}

fn blob_of(staged: &StagedContent) -> BlobId {
    let StagedContent::Blob(blob) = staged else { panic!("in packs") };
    blob.id
}

#[test]
fn a_blob_that_a_crash_left_without_a_record_is_given_back_and_what_is_named_or_staged_stays() {
    let (mut live, stream) = Live::with_bucket();
    live.put(stream, "named", &pattern(300_000)).unwrap();
    let (lost, place) = live.orphan();
    let pack = place.extents[0].pack;
    live.reopen();
    let staged = live.stage(Placement::Packs, None, &pattern(SIZE));
    let own = live.place(blob_of(&staged)).unwrap();
    let first_own = own.extents[0].pack;
    assert!(place.extents.iter().all(|extent| extent.pack < first_own));
    live.wait_until_gone(lost);
    let left = live.pack_bytes(pack);
    assert!((300_000..700_000).contains(&left), "{left} bytes for 300,000 that are named");
    assert_eq!(live.sweep_below(first_own), Turn::Done);
    assert_eq!(live.place(blob_of(&staged)), Some(own), "it waits for its record");
    live.submit(PutObject { content: staged, ..put(stream, "staged") }).unwrap();
    for _ in 0..2 {
        assert!(live.get(stream, "named", 0..u64::MAX) == Some(pattern(300_000)));
        assert!(live.get(stream, "staged", 0..u64::MAX) == Some(pattern(SIZE)));
        live.reopen();
        assert_eq!(live.sweep_below(u32::MAX), Turn::Done, "all that is stored is named");
    }
}

#[test]
fn what_is_left_of_a_blob_freed_by_half_is_given_back_also_where_the_index_does_not_know_it() {
    for index_lost in [true, false] {
        let (mut live, stream) = Live::with_bucket();
        live.put(stream, "named", &pattern(300_000)).unwrap();
        let (lost, place) = live.orphan();
        live.running.take().unwrap().shutdown();
        assert_eq!(place.extents.len(), 2);
        let first = place.extents[0];
        let punch =
            DiskOp::Punch { file: pack_file(first.pack), offset: first.offset, len: first.footprint() };
        RealDisk::new(live.folder.path().join("data")).execute(&punch).unwrap();
        if index_lost {
            std::fs::remove_dir_all(live.folder.path().join("data").join(PROJECTIONS)).unwrap();
        }
        let before = live.pack_bytes(first.pack);
        live.reopen();
        live.wait_until_gone(lost);
        let rest = place.extents[1].footprint();
        while live.pack_bytes(first.pack) + rest > before {
            std::thread::yield_now();
        }
        assert!(live.get(stream, "named", 0..u64::MAX) == Some(pattern(300_000)));
    }
}

#[test]
fn nothing_is_swept_while_records_cannot_be_read() {
    let (mut live, stream) = Live::with_bucket();
    live.put(stream, "named", &pattern(300_000)).unwrap();
    let (lost, place) = live.orphan();
    let damage = &live.engine().shared.damage;
    damage.note(Position(2), Position(2), "a test says so".to_owned());
    damage.write_down(&RealDisk::new(live.folder.path().join("data"))).unwrap();
    live.reopen();
    assert_eq!(live.engine().status().unreadable_ranges, 1);
    assert_eq!(live.sweep_below(u32::MAX), Turn::Refused);
    live.reopen();
    assert_eq!(live.place(lost), Some(place));
}
