//! Content that a crash or a stop left without a name.

#![expect(clippy::disallowed_methods, reason = "the tests play a disk that forgets")]

use super::copies::{add_part, begin_upload, complete, share};
use super::{Live, delete, pattern, put};
use crate::engine::command::{ExpireVersions, PutObject};
use crate::engine::sweep::{PAGE, Sweeper, Turn};
use crate::engine::tests::key;
use crate::engine::{PROJECTIONS, Placement, StagedContent};
use siltstone_log::host::DiskOp;
use siltstone_log::host::real::RealDisk;
use siltstone_log::id::{BlobId, Position};
use siltstone_log::pack::recovery::RecoveredPacks;
use siltstone_log::pack::{BlobPlace, pack_file};
use siltstone_projections::objects;
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
    pub(super) fn sweep_below(&self, pack: u32) -> Turn {
        let packs =
            RecoveredPacks { next_pack: pack, ..RecoveredPacks::none(self.engine().recovered().log_id) };
        let mut sweeper = Sweeper::new(&packs, PAGE);
        loop {
            match self.engine().sweep(&mut sweeper).unwrap() {
                Turn::Wait | Turn::Free(_) => std::thread::yield_now(),
                end => return end,
            }
        }
    }

    /// Waits until the index has forgotten a blob.
    pub(super) fn wait_until_gone(&self, blob: BlobId) {
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

#[test]
fn what_history_copies_and_uploads_under_way_name_stays_however_often_a_start_is_cut_off() {
    let (mut live, stream) = Live::with_bucket();
    let stored = |live: &Live, object: &str, len: usize| {
        let content = live.stage(Placement::Packs, None, &pattern(len));
        let blob = blob_of(&content);
        let receipt = live.submit(PutObject { content, ..put(stream, object) }).unwrap();
        (blob, receipt.seq)
    };
    let (past, _) = stored(&live, "past", 300_000);
    live.submit(delete(stream, "past")).unwrap();
    let (shared, source) = stored(&live, "source", 3_000_000);
    let content = share(&live, stream, "source", 1_000..2_500_000);
    live.submit(PutObject { content, ..put(stream, "copy") }).unwrap();
    live.submit(delete(stream, "source")).unwrap();
    live.submit(ExpireVersions { stream, versions: vec![(key("source"), source)] }).unwrap();
    let upload = (stream, "joined", begin_upload(&live, stream, "joined"));
    let content = live.stage(Placement::Packs, None, &pattern(400_000));
    let in_upload = blob_of(&content);
    let named = add_part(&live, upload, 1, content);
    let orphans = [live.orphan().0, live.orphan().0, live.orphan().0];
    for rebuilt in [false, true] {
        for _ in 0..3 {
            live.reopen();
        }
        for blob in orphans {
            live.wait_until_gone(blob);
        }
        // No pack is spared.
        assert_eq!(live.sweep_below(u32::MAX), Turn::Done);
        for blob in [past, shared, in_upload] {
            assert!(live.place(blob).is_some(), "rebuilt: {rebuilt}");
        }
        assert!(
            live.get(stream, "copy", 0..u64::MAX).as_deref() == Some(&pattern(3_000_000)[1_000..2_500_000])
        );
        live.running.take().unwrap().shutdown();
        std::fs::remove_dir_all(live.folder.path().join("data").join(PROJECTIONS)).unwrap();
    }
    live.reopen();
    complete(&live, upload, vec![named]);
    live.reopen();
    assert_eq!(live.sweep_below(u32::MAX), Turn::Done);
    assert!(live.get(stream, "joined", 0..u64::MAX) == Some(pattern(400_000)));
    assert_eq!(objects::past(&live.engine().view(), stream, &key("past")).count(), 1);
}

#[test]
fn a_pack_that_the_sweep_emptied_lends_its_number_to_no_other() {
    let mut live = Live::new();
    let mut highest = 0;
    for _ in 0..3 {
        let (lost, place) = live.orphan();
        let first = place.extents[0].pack;
        assert!(first > highest, "pack {first} was there before");
        highest = first;
        live.reopen();
        live.wait_until_gone(lost);
        live.reopen();
    }
}

#[test]
fn a_pack_that_was_lost_does_not_give_its_number_to_new_content() {
    let (mut live, stream) = Live::with_bucket();
    live.put(stream, "old", &pattern(SIZE)).unwrap();
    let (orphan, place) = live.orphan();
    let lost = place.extents.last().unwrap().pack;
    live.stop();
    let name = format!("packs/{}", pack_file(lost).name);
    std::fs::remove_file(live.folder.path().join("data").join(name)).unwrap();
    live.reopen();
    live.put(stream, "new", &pattern(SIZE)).unwrap();
    // What was there goes, by deletion and by the sweep, and leaves what is there now alone.
    live.submit(delete(stream, "old")).unwrap();
    live.wait_until_gone(orphan);
    live.reopen();
    assert_eq!(live.sweep_below(u32::MAX), Turn::Done);
    assert!(live.get(stream, "new", 0..u64::MAX) == Some(pattern(SIZE)));
}
