use super::*;
use proptest::prelude::*;

fn file(name: &str) -> FilePath {
    FilePath::new(Folder::Log, name)
}

fn disk(seed: u64) -> InstantDisk {
    InstantDisk::new(SimDisk::new(seed, DiskOptions::default()))
}

fn create(disk: &mut InstantDisk, name: &str, len: u64) {
    disk.execute(DiskOp::Create { file: file(name), len, leave_free: 0 }).unwrap();
    disk.execute(DiskOp::Sync { file: file(name) }).unwrap();
    disk.execute(DiskOp::SyncFolder { folder: Folder::Log }).unwrap();
}

fn write(disk: &mut InstantDisk, name: &str, offset: u64, data: &[u8]) {
    let data = vec![Bytes::copy_from_slice(data)];
    disk.execute(DiskOp::Write { file: file(name), offset, data }).unwrap();
}

fn read(disk: &mut InstantDisk, name: &str, offset: u64, len: u64, from_disk: bool) -> Vec<u8> {
    match disk.execute(DiskOp::Read { file: file(name), offset, len, from_disk }) {
        Ok(DiskReply::Data(bytes)) => bytes.to_vec(),
        other => panic!("{other:?}"),
    }
}

#[derive(Debug, Clone)]
enum Step {
    Write { sector: u64, sectors: u64, fill: u8 },
    Sync,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let write = (0u64..24, 1u64..12, 1u8..=255).prop_map(|(sector, sectors, fill)| Step::Write {
        sector,
        sectors,
        fill,
    });
    prop::collection::vec(prop_oneof![4 => write, 1 => Just(Step::Sync)], 1..30)
}

proptest! {
    #[test]
    fn after_a_power_cut_a_sector_is_its_synced_state_or_a_later_write_or_torn(seed: u64, steps in steps()) {
        let mut disk = disk(seed);
        create(&mut disk, "a", 64 * SECTOR);
        let mut synced = [0u8; 64];
        let mut later: Vec<Vec<u8>> = vec![vec![]; 64];
        for step in steps {
            match step {
                Step::Write { sector, sectors, fill } => {
                    write(&mut disk, "a", sector * SECTOR, &vec![fill; sparse::size(sectors * SECTOR)]);
                    (sector..sector + sectors).for_each(|s| later[sparse::size(s)].push(fill));
                }
                Step::Sync => {
                    disk.execute(DiskOp::Sync { file: file("a") }).unwrap();
                    for (synced, later) in synced.iter_mut().zip(&mut later) {
                        *synced = later.drain(..).next_back().unwrap_or(*synced);
                    }
                }
            }
        }
        disk.disk.crash(Crash::PowerCut, &[]);
        let bytes = read(&mut disk, "a", 0, 64 * SECTOR, false);
        for (sector, found) in bytes.chunks(512).enumerate() {
            let whole = found.iter().all(|byte| *byte == found[0]);
            if later[sector].is_empty() {
                prop_assert!(whole && found[0] == synced[sector], "a synced sector changed");
            } else if whole {
                prop_assert!(found[0] == synced[sector] || later[sector].contains(&found[0]));
            }
        }
    }

    #[test]
    fn a_kill_loses_nothing_that_was_written(seed: u64, fill in 1u8..) {
        let mut disk = disk(seed);
        disk.execute(DiskOp::Create { file: file("a"), len: 0, leave_free: 0 }).unwrap();
        write(&mut disk, "a", 100, &[fill; 5000]);
        disk.disk.crash(Crash::Kill, &[]);
        prop_assert_eq!(read(&mut disk, "a", 100, 9999, true), vec![fill; 5000]);
    }

    #[test]
    fn a_copy_of_a_disk_is_independent_and_behaves_the_same(seed: u64) {
        let mut one = disk(seed);
        create(&mut one, "a", 8192);
        write(&mut one, "a", 0, &[1; 8192]);
        let mut other = one.clone();
        one.disk.crash(Crash::PowerCut, &[]);
        prop_assert_eq!(read(&mut other.clone(), "a", 0, 8192, false), vec![1; 8192]);
        other.disk.crash(Crash::PowerCut, &[]);
        prop_assert_eq!(read(&mut one, "a", 0, 8192, false), read(&mut other, "a", 0, 8192, false));
    }
}

/// Runs a case on many seeds and says how often it came out true.
fn share(case: impl Fn(u64) -> bool) -> usize {
    (0..200).filter(|seed| case(*seed)).count()
}

#[test]
fn an_unsynced_file_a_rename_and_a_removal_may_or_may_not_survive_a_power_cut() {
    let survives = share(|seed| {
        let mut disk = disk(seed);
        disk.execute(DiskOp::Create { file: file("a"), len: 4096, leave_free: 0 }).unwrap();
        disk.execute(DiskOp::Sync { file: file("a") }).unwrap();
        disk.disk.crash(Crash::PowerCut, &[]);
        !disk.disk.files(Folder::Log).is_empty()
    });
    assert!((20..180).contains(&survives), "creates: {survives}");
    let renamed = share(|seed| {
        let mut disk = disk(seed);
        create(&mut disk, "a", 4096);
        disk.execute(DiskOp::Rename { file: file("a"), to: "b".into() }).unwrap();
        disk.disk.crash(Crash::PowerCut, &[]);
        let names: Vec<_> = disk.disk.files(Folder::Log).into_iter().map(|(name, _)| name).collect();
        assert!(names == [Arc::from("a")] || names == [Arc::from("b")], "{names:?}");
        names == [Arc::from("b")]
    });
    assert!((20..180).contains(&renamed), "renames: {renamed}");
    let removed = share(|seed| {
        let mut disk = disk(seed);
        create(&mut disk, "a", 4096);
        disk.execute(DiskOp::Remove { file: file("a") }).unwrap();
        disk.disk.crash(Crash::PowerCut, &[]);
        disk.disk.files(Folder::Log).is_empty()
    });
    assert!((20..180).contains(&removed), "removals: {removed}");
}

#[test]
fn a_later_write_may_survive_an_earlier_one() {
    let reordered = share(|seed| {
        let mut disk = disk(seed);
        create(&mut disk, "a", 8192);
        write(&mut disk, "a", 0, &[1; 512]);
        write(&mut disk, "a", 4096, &[2; 512]);
        disk.disk.crash(Crash::PowerCut, &[]);
        read(&mut disk, "a", 0, 512, false) == [0; 512] && read(&mut disk, "a", 4096, 512, false) == [2; 512]
    });
    assert!(reordered > 5, "{reordered}");
}

#[test]
fn a_file_may_have_grown_over_zeros() {
    let grown = share(|seed| {
        let mut disk = disk(seed);
        create(&mut disk, "a", 0);
        write(&mut disk, "a", 0, &[1; 512]);
        disk.disk.crash(Crash::PowerCut, &[]);
        disk.disk.files(Folder::Log) == [(Arc::from("a"), 512)]
            && read(&mut disk, "a", 0, 512, false) == [0; 512]
    });
    assert!(grown > 5, "{grown}");
}

#[test]
fn a_sync_does_not_cover_a_write_that_was_under_way_when_it_began() {
    let lost = share(|seed| {
        let mut disk = disk(seed);
        create(&mut disk, "a", 512);
        let sync = disk.disk.begin(DiskOp::Sync { file: file("a") });
        write(&mut disk, "a", 0, &[1; 512]);
        disk.disk.complete(&sync).unwrap();
        disk.disk.crash(Crash::PowerCut, &[]);
        read(&mut disk, "a", 0, 512, false) == [0; 512]
    });
    assert!(lost > 20, "{lost}");
}

#[test]
fn a_failed_sync_loses_its_bytes_for_good_though_the_cache_shows_them_and_the_next_sync_succeeds() {
    let lost = share(|seed| {
        let mut disk = disk(seed);
        create(&mut disk, "a", 8192);
        write(&mut disk, "a", 0, &[1; 8192]);
        disk.disk.options.failed_sync_one_in = 1;
        let error = disk.execute(DiskOp::Sync { file: file("a") }).unwrap_err();
        assert_eq!((error.kind, error.operation), (DiskErrorKind::Io, "sync"));
        disk.disk.options.failed_sync_one_in = 0;
        assert_eq!(disk.execute(DiskOp::Sync { file: file("a") }), Ok(DiskReply::Done));
        assert_eq!(read(&mut disk, "a", 0, 8192, false), [1; 8192], "the cache shows what was written");
        let on_disk = read(&mut disk, "a", 0, 8192, true);
        disk.disk.crash(Crash::PowerCut, &[]);
        assert_eq!(read(&mut disk, "a", 0, 8192, false), on_disk);
        on_disk != [1; 8192]
    });
    assert!(lost > 100, "{lost}");
}

#[test]
fn space_runs_out_and_comes_back() {
    let options = DiskOptions { capacity: 4 * 4096, ..DiskOptions::default() };
    let mut disk = InstantDisk::new(SimDisk::new(1, options));
    disk.execute(DiskOp::Create { file: file("a"), len: 3 * 4096, leave_free: 0 }).unwrap();
    let no_space = |result: DiskResult| result.map_err(|error| error.kind) == Err(DiskErrorKind::NoSpace);
    assert!(no_space(disk.execute(DiskOp::Create { file: file("b"), len: 2 * 4096, leave_free: 0 })));
    assert_eq!(disk.disk.files(Folder::Log).len(), 1, "a failed allocation leaves no file");
    disk.execute(DiskOp::Punch { file: file("a"), offset: 0, len: 4096 }).unwrap();
    assert_eq!(disk.execute(DiskOp::FreeSpace { folder: Folder::Log }), Ok(DiskReply::Free(2 * 4096)));
    disk.execute(DiskOp::Create { file: file("b"), len: 2 * 4096, leave_free: 0 }).unwrap();
    let data = vec![Bytes::from_static(b"x")];
    assert!(no_space(disk.execute(DiskOp::Write { file: file("a"), offset: 0, data })));
    disk.execute(DiskOp::Remove { file: file("b") }).unwrap();
    assert_eq!(disk.disk.free(), 2 * 4096);
    disk.execute(DiskOp::Truncate { file: file("a"), len: 4096 }).unwrap();
    assert_eq!(disk.disk.free(), 4 * 4096);
}

#[test]
fn rot_shows_at_the_next_read_and_a_lost_sector_fails_until_it_is_written_again() {
    let mut disk = disk(1);
    create(&mut disk, "a", 4096);
    write(&mut disk, "a", 0, &[8; 4096]);
    disk.execute(DiskOp::Sync { file: file("a") }).unwrap();
    disk.disk.flip_bit(&file("a"), 700, 0);
    assert_eq!(read(&mut disk, "a", 699, 3, false), [8, 9, 8]);
    disk.disk.lose_sector(&file("a"), 2);
    assert_eq!(read(&mut disk, "a", 0, 1024, false).len(), 1024);
    let range = DiskOp::Read { file: file("a"), offset: 1000, len: 100, from_disk: false };
    assert_eq!(disk.execute(range.clone()).unwrap_err().kind, DiskErrorKind::Io);
    write(&mut disk, "a", 1024, &[7; 512]);
    disk.execute(DiskOp::Sync { file: file("a") }).unwrap();
    assert!(disk.execute(range).is_ok());
}

#[test]
fn the_operations_answer_as_the_real_disk_does() {
    let mut disk = disk(1);
    let a = file("a");
    disk.execute(DiskOp::Create { file: a.clone(), len: 16384, leave_free: 0 }).unwrap();
    let data = vec![Bytes::new(), Bytes::from_static(b"abc"), Bytes::new(), Bytes::from_static(b"def")];
    disk.execute(DiskOp::Write { file: a.clone(), offset: 4094, data }).unwrap();
    assert_eq!(read(&mut disk, "a", 4093, 8, true), b"\0abcdef\0");
    assert_eq!(read(&mut disk, "a", 16380, 99, false), [0; 4]);
    assert_eq!(read(&mut disk, "a", 99999, 1, false), [0u8; 0]);
    disk.execute(DiskOp::Punch { file: a.clone(), offset: 4096, len: 4096 }).unwrap();
    assert_eq!(read(&mut disk, "a", 4093, 8, false), b"\0ab\0\0\0\0\0");
    assert_eq!(
        disk.execute(DiskOp::Create { file: a.clone(), len: 0, leave_free: 0 }).unwrap_err().kind,
        DiskErrorKind::Exists
    );
    disk.execute(DiskOp::Remove { file: a.clone() }).unwrap();
    for op in [
        DiskOp::Sync { file: a.clone() },
        DiskOp::Remove { file: a.clone() },
        DiskOp::Truncate { file: a, len: 0 },
    ] {
        assert_eq!(disk.execute(op).unwrap_err().kind, DiskErrorKind::NotFound);
    }
}

#[test]
fn a_cut_leaves_exactly_the_changes_that_are_named() {
    let mut disk = disk(1);
    create(&mut disk, "a", 4096);
    write(&mut disk, "a", 0, &[1; 4]);
    disk.execute(DiskOp::Create { file: file("b"), len: 4096, leave_free: 0 }).unwrap();
    write(&mut disk, "a", 2, &[2; 4]);
    let under_way =
        disk.disk.begin(DiskOp::Write { file: file("b"), offset: 0, data: vec![Bytes::from_static(b"xy")] });
    let sync = disk.disk.begin(DiskOp::Sync { file: file("a") });
    let disk = disk.disk.with_changes_under_way([&under_way, &sync].into_iter());
    let pending = disk.pending();
    // The write of `a`, the name and the length of `b`, the later write of `a`, and the one under way.
    assert_eq!(pending.len(), 5);
    let mut seen = std::collections::BTreeSet::new();
    for subset in 0..1 << pending.len() {
        let survives = |bit: usize| subset >> bit & 1 == 1;
        let survivors: Vec<_> =
            (0..pending.len()).filter(|bit| survives(*bit)).map(|bit| pending[bit]).collect();
        let mut left = disk.clone();
        left.cut_power_but(&survivors);
        assert!(left.pending().is_empty());
        let mut expected = [0u8; 6];
        (0..4).filter(|_| survives(0)).for_each(|at| expected[at] = 1);
        (2..6).filter(|_| survives(3)).for_each(|at| expected[at] = 2);
        assert_eq!(left.durable_bytes(&file("a"), 0, 6), expected, "{subset:05b}");
        let files = left.files(Folder::Log);
        assert_eq!(files.len(), if survives(1) { 2 } else { 1 }, "{subset:05b}");
        let b = left.durable_bytes(&file("b"), 0, 2);
        let bytes: &[u8] = if survives(4) { b"xy" } else { b"\0\0" };
        let b_expected: &[u8] = if survives(1) && survives(2) { bytes } else { b"" };
        assert_eq!(b, b_expected, "{subset:05b}");
        seen.insert((expected, files, b));
    }
    assert_eq!(seen.len(), 4 * 4, "four states of one file, four of the other: no name, no length, old, new");
}
