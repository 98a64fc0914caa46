use super::*;
use crate::objects;
use crate::rebuild::{Rebuild, compare};
use crate::store::mem::MemStore;
use crate::testing::*;
use crate::{Pace, key};
use siltstone_log::id::{Position, StreamId};
use siltstone_log::witness::{QuarantinedRange, Touched};

pub(super) fn folder(parent: &tempfile::TempDir) -> PathBuf {
    parent.path().join("projections")
}

fn state(log: &TestLog) -> LogState<'_> {
    let next_position = Position(log.records.len() as u64 + 1);
    LogState { log_id: LOG, next_position, heads: &log.heads, quarantine: &[] }
}

pub(super) fn open(folder: &Path, log: &TestLog) -> Opened {
    FjallStore::open(folder, &state(log)).unwrap()
}

pub(super) fn history(puts: u32) -> TestLog {
    let mut log = TestLog::default();
    log.append(bucket_stream(0), bucket_created("a-bucket"));
    for number in 0..puts {
        log.append(bucket_stream(0), put(&format!("key-{number:05}"), number.into()));
        if number % 10 == 0 {
            log.append(
                StreamId::SYSTEM,
                log_of(&[Step::System(SystemStep::Tenant(0))]).records[0].decode().unwrap().unwrap().event,
            );
        }
    }
    log
}

/// What a start does: open, then follow the log from where the rows are.
pub(super) fn recover(folder: &Path, log: &TestLog) -> (FjallStore, Option<Discarded>) {
    let Opened { store, discarded } = open(folder, log);
    log.follow(&store, 50).unwrap();
    (store, discarded)
}

pub(super) fn reference(log: &TestLog) -> MemStore {
    let store = MemStore::new();
    log.follow(&store, 1_000).unwrap();
    store
}

#[test]
fn a_store_continues_where_it_was_left() {
    let (parent, mut log) = (tempfile::tempdir().unwrap(), history(100));
    let (store, _) = recover(&folder(&parent), &log);
    let before = digests(&store);
    drop(store);
    let opened = open(&folder(&parent), &log);
    assert_eq!((opened.discarded, digests(&opened.store)), (None, before));
    drop(opened.store);
    log.append(bucket_stream(0), put("more", 1));
    let (store, discarded) = recover(&folder(&parent), &log);
    assert_eq!((discarded, digests(&store)), (None, digests(&reference(&log))));
    assert!(store.disk_bytes() > 0);
}

#[test]
fn a_store_that_was_never_closed_is_whole_and_catches_up() {
    let (parent, killed, log) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), history(2_000));
    let (store, _) = recover(&folder(&parent), &log);
    // What a kill leaves: the files as they are, with whatever had not reached them missing.
    copy_folder(&folder(&parent), &folder(&killed));
    let opened = open(&folder(&killed), &log);
    assert_eq!(opened.discarded, None);
    digests(&opened.store);
    drop(opened.store);
    let (caught_up, discarded) = recover(&folder(&killed), &log);
    assert_eq!((discarded, digests(&caught_up)), (None, digests(&store)));
}

#[test]
fn projections_that_do_not_fit_the_log_are_put_aside_and_rebuilt() {
    let full = history(20);
    let shorter = history(19);
    let mut forked = history(19);
    forked.append(bucket_stream(0), put("key-00019", 4_711));
    let lengthened = |log: &TestLog| {
        // As long as the full log, so that only heads can tell.
        let mut log = log.clone();
        while log.records.len() < full.records.len() {
            log.append(StreamId::ACCESS, put("x", 1));
        }
        log
    };
    let logs = [("forked", forked), ("a stream cut by nobody knows what", lengthened(&shorter))];
    for (case, log) in logs {
        let parent = tempfile::tempdir().unwrap();
        drop(recover(&folder(&parent), &full));
        let (store, discarded) = recover(&folder(&parent), &log);
        let discarded = discarded.unwrap_or_else(|| panic!("{case} was accepted"));
        let aside = discarded.moved_to.unwrap();
        assert!(aside.ends_with("projections.bad-1") && aside.exists(), "{case}");
        assert_eq!(digests(&store), digests(&reference(&log)), "{case}");
    }
}

#[test]
fn a_stream_cut_by_damage_that_is_in_quarantine_costs_no_projections() {
    let (parent, full, cut) = (tempfile::tempdir().unwrap(), history(20), history(15));
    let (store, _) = recover(&folder(&parent), &full);
    let before = digests(&store);
    drop(store);
    let lost = |first, stream| QuarantinedRange {
        first: Position(first),
        last: Position(full.records.len() as u64),
        touched: Touched::Only([stream].into()),
        reason: "rot".to_owned(),
    };
    let first = cut.records.len() as u64 + 1;
    let open = |range: QuarantinedRange| {
        let log = LogState { quarantine: &[range], heads: &cut.heads, ..state(&full) };
        FjallStore::open(&folder(&parent), &log).unwrap()
    };
    let opened = open(lost(first, bucket_stream(0)));
    assert_eq!((opened.discarded, digests(&opened.store)), (None, before));
    drop(opened.store);
    // A range that holds nothing of the stream excuses nothing.
    let opened = open(lost(first, StreamId::ACCESS));
    assert!(opened.discarded.is_some_and(|discarded| discarded.reason.contains("is not the log's")));
}

#[test]
fn projections_ahead_of_the_log_accuse_the_log_and_stay_as_they_are() {
    let (parent, log) = (tempfile::tempdir().unwrap(), history(20));
    assert_eq!(applied_witness(&folder(&parent), LOG), Ok(None));
    drop(recover(&folder(&parent), &log));
    let last = Position(log.records.len() as u64);
    assert_eq!(applied_witness(&folder(&parent), LOG), Ok(Some(last)));
    let refused = FjallStore::open(&folder(&parent), &state(&history(19))).err();
    assert_eq!(refused, Some(StoreError::Ahead(last)));
    assert_eq!(recover(&folder(&parent), &log).1, None, "nothing was put aside");
}

#[test]
fn a_kill_leaves_the_witness_of_every_commit_that_readers_saw() {
    let (parent, killed, log) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), history(5));
    let (_store, _) = recover(&folder(&parent), &log);
    copy_folder(&folder(&parent), &folder(&killed));
    assert_eq!(applied_witness(&folder(&killed), LOG), Ok(Some(Position(log.records.len() as u64))));
}

#[test]
fn what_the_system_refuses_is_no_damage_and_puts_nothing_aside() {
    let (parent, log) = (tempfile::tempdir().unwrap(), history(5));
    drop(recover(&folder(&parent), &log));
    let (marker, kept) = (folder(&parent).join("version"), parent.path().join("kept"));
    fs::rename(&marker, &kept).unwrap();
    // A name that the system cannot follow, as it cannot a sector that it cannot read.
    std::os::unix::fs::symlink("version", &marker).unwrap();
    let refused = FjallStore::open(&folder(&parent), &state(&log)).err();
    assert!(matches!(refused, Some(StoreError::Io(_))), "{refused:?}");
    fs::remove_file(&marker).unwrap();
    fs::rename(&kept, &marker).unwrap();
    assert_eq!(recover(&folder(&parent), &log).1, None);
}

/// Makes the projections those of an older program.
fn make_older(folder: &Path) {
    let store = FjallStore::open_database(folder, LOG).ok().unwrap();
    let old = SpaceMeta { schema: "older".into(), ..meta(&store, Space::State).unwrap() };
    let stored = crate::rows::Row::to_stored(&old).unwrap();
    store.spaces[1].insert([key::META], Slice::from(stored)).unwrap();
}

#[test]
fn projections_of_another_schema_that_may_alone_remember_what_the_log_lost_are_kept_until_that_is_given_up() {
    let (parent, full, cut) = (tempfile::tempdir().unwrap(), history(20), history(15));
    drop(recover(&folder(&parent), &full));
    make_older(&folder(&parent));
    let lost = |first| QuarantinedRange {
        first: Position(first),
        last: Position(full.records.len() as u64),
        touched: Touched::AllExcept([].into()),
        reason: "rot".to_owned(),
    };
    let first = cut.records.len() as u64 + 1;
    let (remembered, later) = ([lost(first)], [lost(full.records.len() as u64 + 1)]);
    let log = LogState { quarantine: &remembered, heads: &cut.heads, ..state(&full) };
    let expected = StoreError::OnlyCopy { schema: "older".into(), lost: Position(first) };
    for _ in 0..2 {
        let refused = FjallStore::open(&folder(&parent), &log).err().unwrap();
        assert_eq!(refused, expected);
        assert!(refused.to_string().contains("siltstone log repair DIR --accept-loss"));
        assert!(!folder(&parent).with_extension("bad-1").exists(), "nothing was put aside");
    }
    // A loss that the rows never had, and one that is given up, keep nothing.
    let never_had = LogState { quarantine: &later, ..state(&full) };
    assert!(FjallStore::open(&folder(&parent), &never_had).unwrap().discarded.is_some());
    make_older(&folder(&parent));
    condemn(&folder(&parent)).unwrap();
    assert!(FjallStore::open(&folder(&parent), &log).unwrap().discarded.is_some());
}

#[test]
fn projections_of_another_log_or_schema_are_put_aside() {
    let (parent, log) = (tempfile::tempdir().unwrap(), history(3));
    drop(recover(&folder(&parent), &log));
    let other = LogState { log_id: LogId([9; 16]), ..state(&log) };
    let opened = FjallStore::open(&folder(&parent), &other).unwrap();
    assert!(opened.discarded.unwrap().reason.contains("of log"));
    drop(opened.store);

    drop(recover(&folder(&parent), &log));
    make_older(&folder(&parent));
    let opened = open(&folder(&parent), &log);
    assert!(opened.discarded.unwrap().reason.contains("schema older"));
    assert_eq!(meta(&opened.store, Space::State).unwrap(), SpaceMeta::default());
}

#[test]
fn condemned_projections_are_not_opened_again_and_old_ones_do_not_pile_up() {
    let (parent, log) = (tempfile::tempdir().unwrap(), history(3));
    for round in 0..4 {
        let (store, discarded) = recover(&folder(&parent), &log);
        assert_eq!(discarded.is_some(), round > 0);
        drop(store);
        condemn(&folder(&parent)).unwrap();
    }
    let aside = fs::read_dir(parent.path()).unwrap().count() - 1;
    assert!((1..=2).contains(&aside), "{aside} copies are kept");
}

#[test]
fn a_store_that_another_process_has_open_is_left_alone() {
    let (parent, log) = (tempfile::tempdir().unwrap(), history(3));
    let (store, _) = recover(&folder(&parent), &log);
    assert!(matches!(FjallStore::open(&folder(&parent), &state(&log)), Err(StoreError::Io(_))));
    assert!(store.get(Space::State, &[key::META]).unwrap().is_some());
}

#[test]
fn a_commit_missing_in_the_middle_is_noticed() {
    let (parent, log) = (tempfile::tempdir().unwrap(), history(60));
    let (store, _) = recover(&folder(&parent), &log);
    assert_eq!(check(&store, Space::State, &state(&log)), Ok(()));
    store.spaces[1].remove(trail_key(1)).unwrap();
    let refused = check(&store, Space::State, &state(&log)).unwrap_err();
    assert!(refused.to_string().contains("commit 1 of"), "{refused}");
    drop(store);
    let (store, discarded) = recover(&folder(&parent), &log);
    assert!(discarded.is_some());
    assert_eq!(digests(&store), digests(&reference(&log)));
}

#[test]
fn any_bit_flipped_in_the_journal_is_made_good_from_the_log() {
    let log = history(40);
    let expected = digests(&reference(&log));
    let parent = tempfile::tempdir().unwrap();
    let (store, _) = recover(&folder(&parent), &log);
    store.sync().unwrap();
    drop(store);
    let mut journal = fs::read_dir(folder(&parent)).unwrap().map(|entry| entry.unwrap().path());
    let journal = journal.find(|path| path.extension().is_some_and(|ext| ext == "jnl")).unwrap();
    let whole = fs::read(&journal).unwrap();
    // The journal is preallocated; its zeros say nothing.
    let used = whole.iter().rposition(|byte| *byte != 0).unwrap();
    let mut outcomes = std::collections::BTreeSet::new();
    for step in 0..24 {
        let copy = tempfile::tempdir().unwrap();
        copy_folder(&folder(&parent), &folder(&copy));
        let mut bytes = whole.clone();
        bytes[used * step / 24] ^= 1 << (step % 8);
        fs::write(folder(&copy).join(journal.file_name().unwrap()), bytes).unwrap();
        let (store, discarded) = recover(&folder(&copy), &log);
        assert_eq!(digests(&store), expected, "a flip {step}/24 into the journal");
        outcomes.insert(discarded.is_some());
    }
    assert!(outcomes.contains(&true), "no flip was ever noticed by fjall: the test flips nothing");
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn a_checksum_that_fails_is_an_error_now_and_a_rebuild_at_the_next_start() {
    let (parent, log) = (tempfile::tempdir().unwrap(), history(3_000));
    let rebuilt = rebuild_into(&folder(&parent), &log);
    drop(rebuilt);
    // Flip a bit in the middle of the largest table.
    let mut tables = Vec::new();
    walk(&folder(&parent), &mut |path| {
        if path.parent().is_some_and(|parent| parent.ends_with("tables")) {
            tables.push((fs::metadata(path).unwrap().len(), path.to_owned()));
        }
    });
    let (len, table) = tables.into_iter().max().unwrap();
    let mut bytes = fs::read(&table).unwrap();
    bytes[usize::try_from(len).unwrap() / 3] ^= 0x10;
    fs::write(&table, bytes).unwrap();

    let Opened { store, discarded } = open(&folder(&parent), &log);
    if discarded.is_none() {
        let mut rows = store.range(Space::State, Bound::Unbounded, Bound::Unbounded);
        let failed = rows.find_map(Result::err).expect("the damaged block is read");
        assert!(matches!(failed, StoreError::Damaged(_)), "{failed}");
    }
    drop(store);
    let (store, again) = recover(&folder(&parent), &log);
    assert!(discarded.is_some() || again.is_some());
    assert_eq!(digests(&store), digests(&reference(&log)));
}

fn walk(folder: &Path, visit: &mut impl FnMut(&Path)) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { walk(&path, visit) } else { visit(&path) }
    }
}

fn rebuild_into(folder: &Path, log: &TestLog) -> FjallStore {
    let Opened { store, .. } = open(folder, log);
    let pace = Pace::Bulk { rows: 20_000, bytes: usize::MAX };
    let mut rebuild = Rebuild::new(&store, LOG, vec![], pace).unwrap();
    log.records.chunks(1_000).for_each(|records| rebuild.push(records.to_vec()).unwrap());
    rebuild.finish().unwrap();
    store
}

#[test]
fn a_rebuild_by_ingestion_gives_the_live_rows_and_is_followed_further() {
    let (parent, beside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut log = history(9_000);
    // Overwrites and deletes of rows that earlier batches have ingested.
    for number in (0..9_000).step_by(3) {
        log.append(bucket_stream(0), put(&format!("key-{number:05}"), 7));
        log.append(bucket_stream(0), delete(&format!("key-{:05}", number + 1)));
    }
    let live = reference(&log);
    let rebuilt = rebuild_into(&folder(&parent), &log);
    for space in Space::ALL {
        let comparison = compare(&live, &rebuilt, space, 3).unwrap();
        assert!(comparison.is_equal(), "{comparison:?}");
    }
    drop(rebuilt);
    log.append(bucket_stream(0), put("key-00001", 5));
    let (store, discarded) = recover(&folder(&parent), &log);
    assert_eq!((discarded, digests(&store)), (None, digests(&reference(&log))));
    let row = objects::current(&store, bucket_stream(0), &crate::testing::key("key-00001")).unwrap();
    assert_eq!(row.map(|row| row.size), Some(5));
    let empty = open(&folder(&beside), &log).store;
    assert!(!compare(&store, &empty, Space::State, 1).unwrap().is_equal());
}

mod blobs {
    use super::*;
    use siltstone_log::id::{BlobId, Hash, Salt};
    use siltstone_log::pack::{BlobIndex, BlobPlace, ExtentPlace};

    fn place(len: u32) -> BlobPlace {
        let extent = ExtentPlace { pack: 3, offset: 4096, data_len: len };
        BlobPlace { len: len.into(), salt: Salt([1; 16]), hash: Hash([2; 32]), extents: vec![extent] }
    }

    #[test]
    fn the_index_keeps_places_and_marks_over_a_restart() {
        let (parent, log) = (tempfile::tempdir().unwrap(), history(3));
        let (one, two) = (BlobId([1; 16]), BlobId([2; 16]));
        let (store, _) = recover(&folder(&parent), &log);
        let index = store.blobs();
        index.put(one, &place(5)).unwrap();
        index.put(one, &place(6)).unwrap();
        index.put(two, &place(7)).unwrap();
        index.remove(two).unwrap();
        index.remove(two).unwrap();
        index.mark_indexed(3).unwrap();
        let highest = index.highest_pack().unwrap();
        assert!(highest >= 3);
        index
            .put(
                two,
                &BlobPlace { extents: vec![ExtentPlace { pack: 9, ..place(7).extents[0] }], ..place(7) },
            )
            .unwrap();
        index.remove(two).unwrap();
        drop((index, store));
        let (store, discarded) = recover(&folder(&parent), &log);
        let index = store.blobs();
        assert_eq!(discarded, None);
        assert_eq!((index.get(one).unwrap(), index.get(two).unwrap()), (Some(place(6)), None));
        assert_eq!((index.is_indexed(3).unwrap(), index.is_indexed(4).unwrap()), (true, false));
        assert_eq!(index.highest_pack().unwrap(), 9, "also of a blob that is gone");
        index.put(two, &place(7)).unwrap();
        index.put(BlobId([0; 16]), &place(7)).unwrap();
        assert_eq!(index.list(None, 9).unwrap(), [BlobId([0; 16]), one, two]);
        assert_eq!(index.list(None, 1).unwrap(), [BlobId([0; 16])]);
        assert_eq!(index.list(Some(BlobId([0; 16])), 9).unwrap(), [one, two]);
        assert_eq!(index.list(Some(two), 9).unwrap(), [], "marks are no blobs");
        assert_eq!(digests(&store), digests(&reference(&log)), "no digest covers it");
    }

    #[test]
    fn an_index_of_another_log_or_with_a_lost_write_is_not_used() {
        let (parent, log) = (tempfile::tempdir().unwrap(), history(0));
        let fill = || {
            let store = open(&folder(&parent), &log).store;
            (1..4).for_each(|id| store.blobs().put(BlobId([id; 16]), &place(1)).unwrap());
            store
        };
        drop(fill());
        let other = LogState { log_id: LogId([9; 16]), ..state(&log) };
        let opened = FjallStore::open(&folder(&parent), &other).unwrap();
        assert!(opened.discarded.unwrap().reason.contains("blob index: of log"));
        assert_eq!(opened.store.blobs().get(BlobId([1; 16])).unwrap(), None);
        drop(opened.store);
        fs::remove_dir_all(folder(&parent)).unwrap();

        let store = fill();
        store
            .database
            .keyspace(super::super::blobs::KEYSPACE, options)
            .unwrap()
            .remove(trail_key(2))
            .unwrap();
        drop(store);
        let opened = open(&folder(&parent), &log);
        assert!(opened.discarded.unwrap().reason.contains("blob index: commit 2 of 3"));
    }
}
