//! What the log loses: kept by the projections until it is given up, and nothing is written upon it.

#![expect(clippy::disallowed_methods, reason = "the tests play a disk that forgets")]

use super::readers::blob_of;
use super::{Live, config, delete, pattern};
use crate::cli::exit::ExitCode;
use crate::cli::told;
use crate::engine::catch_up::CatchUp;
use crate::engine::damage::FoundDamage;
use crate::engine::outcome::{EngineError, Unavailable};
use crate::engine::sweep::Turn;
use crate::engine::tests::key;
use crate::engine::{Engine, OpenError, PROJECTIONS, ROOT_ACCOUNT};
use bytes::Bytes;
use siltstone_log::event::{Actor, Door};
use siltstone_log::host::real::RealDisk;
use siltstone_log::id::{Position, Salt, StreamId};
use siltstone_log::reader::Unreadable;
use siltstone_log::recovery::RecoveryConfig;
use siltstone_log::repair::{RepairConfig, RepairReport, repair};
use siltstone_log::script::Script;
use siltstone_projections::identity;
use siltstone_projections::key::CURSOR;
use siltstone_projections::lacking;
use siltstone_projections::objects;
use siltstone_projections::store::fjall::{applied_witness, condemn};
use siltstone_projections::store::mem::MemStore;
use siltstone_projections::store::meta;
use siltstone_projections::{Batch, Digest, RowIter, Rows, Space, Store, StoreError};
use std::collections::BTreeSet;
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

impl Live {
    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn files(&self, folder: &str) -> BTreeSet<PathBuf> {
        let entries = std::fs::read_dir(self.data().join(folder)).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    fn put_aside(&self) -> Vec<PathBuf> {
        let bad = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with("projections.bad");
        self.files("").into_iter().filter(bad).collect()
    }

    pub(super) fn stop(&mut self) {
        self.running.take().unwrap().shutdown();
    }

    fn refuses_writes(&self, stream: StreamId) -> bool {
        let refused = self.put(stream, "more", b"v").map(drop);
        refused == Err(EngineError::Unavailable(Unavailable::Quarantined))
    }

    /// What `siltstone log repair --accept-loss` does.
    fn repair(&self) -> RepairReport {
        let projections = self.data().join(PROJECTIONS);
        let (log_id, node_id) = (self.engine().recovered().log_id, self.engine().recovered().node_id);
        let projection_witness = applied_witness(&projections, log_id).unwrap();
        condemn(&projections).unwrap();
        let config = RepairConfig {
            recovery: RecoveryConfig { log_id, node_id, projection_witness },
            actor: Actor::server(Door::Offline),
            salt: Salt([8; 16]),
            wall_millis: 5,
            remembered: Vec::new(),
        };
        Script::new(|io| repair(io, config)).run(&mut RealDisk::new(self.data())).unwrap()
    }

    /// `siltstone log repair` with these flags: its exit code, and what it says.
    fn repair_command(&self, flags: &[&str]) -> (ExitCode, String) {
        let data = self.data();
        let words = ["siltstone", "log", "repair", data.to_str().unwrap(), "--progress", "off"];
        let (result, said) = told(&[&words, flags].concat());
        (result.unwrap_or_else(|error| error.exit_code()), said)
    }

    /// The segments that have `wanted` in them.
    fn segments_with(&self, wanted: &[u8]) -> Vec<PathBuf> {
        let has = |path: &PathBuf| std::fs::read(path).unwrap().windows(wanted.len()).any(|at| at == wanted);
        self.files("log").into_iter().filter(has).collect()
    }

    /// Flips a bit in the frame of the batch that has `wanted` in it.
    fn damage_batch_of(&self, wanted: &[u8]) {
        let path = &self.segments_with(wanted)[0];
        let mut content = std::fs::read(path).unwrap();
        let at = content.windows(wanted.len()).position(|window| window == wanted).unwrap();
        content[at / 4096 * 4096 + 9] ^= 0x10;
        std::fs::write(path, content).unwrap();
    }

    /// Damages records in a sealed segment and starts on projections that are built past them.
    fn rebuild_past(&mut self, lost: &[&str]) {
        if let Some(engine) = self.running.take() {
            engine.shutdown();
        }
        for object in lost {
            self.damage_batch_of(object.as_bytes());
        }
        std::fs::remove_dir_all(self.data().join(PROJECTIONS)).unwrap();
        self.reopen();
    }

    fn assert_set_apart(&self, stream: StreamId, why: &str) {
        let quarantine = &self.engine().recovered().quarantine;
        let noted = quarantine.iter().any(|range| range.touched.contains(stream));
        assert!(noted && self.refuses_writes(stream), "{why}: {quarantine:?}");
    }

    fn knows(&self, stream: StreamId, object: &str) -> bool {
        objects::current(&self.engine().view(), stream, &key(object)).unwrap().is_some()
    }
}

#[test]
fn an_end_of_the_log_that_only_the_projections_remember_is_quarantined_and_not_forgotten() {
    for keep_witness in [true, false] {
        let (mut live, stream) = Live::with_bucket();
        live.put(stream, "early", b"v").unwrap();
        live.stop();
        let early = live.files("log");
        live.reopen();
        let large = pattern(300_000);
        live.put(stream, "late-large", &large).unwrap();
        live.put(stream, "late", b"v").unwrap();
        let before = live.digests();
        live.stop();
        for path in live.files("log") {
            if !early.contains(&path) || path.ends_with("CHECKPOINT") {
                std::fs::remove_file(path).unwrap();
            }
        }
        if !keep_witness {
            std::fs::remove_file(live.data().join(PROJECTIONS).join("APPLIED")).unwrap();
        }
        for _ in 0..2 {
            live.reopen();
            let quarantine = &live.engine().recovered().quarantine;
            assert_eq!(quarantine.len(), 1, "{quarantine:?}");
            assert!(quarantine[0].touched.contains(stream));
            assert_eq!((live.put_aside(), live.digests()), (vec![], before));
            assert_eq!(live.get(stream, "early", 0..9).as_deref(), Some(b"v".as_slice()));
            assert!(live.get(stream, "late-large", 0..u64::MAX).as_ref() == Some(&large));
            assert!(live.knows(stream, "late"), "its bytes went with its record");
            assert!(live.refuses_writes(stream));
            let told = live.engine().preview(delete(stream, "early").into());
            assert_eq!(told, Err(EngineError::Unavailable(Unavailable::Quarantined)), "so does a dry run");
            assert_eq!(live.sweep_below(u32::MAX), Turn::Refused);
        }
        let row = objects::current(&live.engine().view(), stream, &key("late-large")).unwrap().unwrap();
        live.engine().shutdown();
        assert_eq!(live.repair().given_up.len(), 1);
        live.reopen();
        let known = ["early", "late-large", "late"].map(|object| live.knows(stream, object));
        assert_eq!(known, [true, false, false], "what was given up is gone, and nothing else");
        live.wait_until_gone(blob_of(&row));
        live.put(stream, "late", b"again").unwrap();
        let after = live.digests();
        live.stop();
        std::fs::remove_dir_all(live.data().join(PROJECTIONS)).unwrap();
        live.running = Some(Engine::open(config(live.folder.path())).unwrap());
        assert_eq!(live.digests(), after);
    }
}

#[test]
fn what_could_not_be_read_once_is_written_down_even_if_the_disk_gives_it_the_second_time() {
    let (mut live, stream) = Live::with_bucket();
    live.put(stream, "k", b"v").unwrap();
    live.reopen();
    let recovered = live.engine().recovered().clone();
    live.stop();
    let (disk, store) = (RealDisk::new(live.data()), MemStore::new());
    let damage = FoundDamage::new(recovered.log_id, &[]);
    let (recovered, damage) = (&recovered, Some(&damage));
    let catch_up = CatchUp { disk: &disk, recovered, store: &store, damage, no_further_than: None };
    let last = Position(recovered.next_position.get() - 1);
    let met = Unreadable { first: Position(1), last, accepted: false };
    let noted = catch_up.note(met, std::iter::empty()).unwrap();
    assert_eq!(lacking::for_range(&noted, (met.first, met.last)), [StreamId::SYSTEM, stream].into());
    live.reopen();
    let quarantine = &live.engine().recovered().quarantine;
    assert!(quarantine.iter().any(|range| range.touched.contains(stream)), "{quarantine:?}");
    assert!(live.refuses_writes(stream));
    assert_eq!(live.sweep_below(u32::MAX), Turn::Refused);
}

/// A store that counts what a pass costs it, however long the log is.
#[derive(Default)]
struct Counting {
    store: MemStore,
    commits: AtomicUsize,
    syncs: AtomicUsize,
    reads_of_all_cursors: AtomicUsize,
}

impl Rows for Counting {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.store.get(space, key)
    }

    fn range(&self, space: Space, from: Bound<Vec<u8>>, to: Bound<Vec<u8>>) -> RowIter<'_> {
        if from == Bound::Included(vec![CURSOR]) {
            self.reads_of_all_cursors.fetch_add(1, Ordering::Relaxed);
        }
        self.store.range(space, from, to)
    }
}

impl Store for Counting {
    fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.store.commit(batch)
    }

    fn ingest(&self, batch: Batch) -> Result<(), StoreError> {
        self.commit(batch)
    }

    fn snapshot(&self) -> Box<dyn Rows + Send + Sync> {
        self.store.snapshot()
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.syncs.fetch_add(1, Ordering::Relaxed);
        self.store.sync()
    }
}

impl Live {
    /// Stops, and builds the rows anew. Says what that cost (commits, syncs, reads of all cursors) and gave.
    fn cost_of_a_rebuild(&mut self) -> ([usize; 3], [Digest; 2]) {
        let recovered = self.engine().recovered().clone();
        self.stop();
        let (disk, store) = (RealDisk::new(self.data()), Counting::default());
        let damage = FoundDamage::new(recovered.log_id, &recovered.quarantine);
        let (recovered, damage) = (&recovered, Some(&damage));
        let catch_up = CatchUp { disk: &disk, recovered, store: &store, damage, no_further_than: None };
        catch_up.run(|_| ()).unwrap();
        let counts = [&store.commits, &store.syncs, &store.reads_of_all_cursors];
        let counts = counts.map(|count| count.load(Ordering::Relaxed));
        (counts, Space::ALL.map(|space| meta(&store, space).unwrap().digest))
    }
}

#[test]
fn ranges_that_cannot_be_read_cost_a_rebuild_no_flush_whether_they_were_given_up_or_not() {
    let (mut live, stream) = Live::with_bucket();
    let lost = ["lost-1", "lost-2", "lost-3", "lost-4"];
    for object in lost {
        live.put(stream, object, b"v").unwrap();
        live.put(stream, &object.replace("lost", "kept"), b"v").unwrap();
    }
    live.reopen();
    let (whole, _) = live.cost_of_a_rebuild();
    assert_eq!(whole[..2], [2, 1], "one commit for each space, one sync");
    live.rebuild_past(&lost);
    live.assert_set_apart(stream, "after the rebuild");
    let before = live.digests();
    let (unreadable, digests) = live.cost_of_a_rebuild();
    assert_eq!((unreadable, digests), (whole, before));
    live.reopen();
    live.engine().shutdown();
    assert_eq!(live.repair().given_up.len(), lost.len());
    live.reopen();
    let before = live.digests();
    let (given_up, digests) = live.cost_of_a_rebuild();
    assert_eq!((given_up, digests), (whole, before));
}

#[test]
fn rows_that_were_built_past_damage_guard_themselves_whatever_becomes_of_the_quarantine_file() {
    let (mut live, stream) = Live::with_bucket();
    for object in ["early", "lost-object", "behind"] {
        live.put(stream, object, b"v").unwrap();
    }
    live.rebuild_past(&["lost-object"]);
    let known = |live: &Live| ["early", "lost-object", "behind"].map(|object| live.knows(stream, object));
    live.assert_set_apart(stream, "after the rebuild");
    assert_eq!(known(&live), [true, false, true]);
    let file = live.data().join("log/QUARANTINE");
    let whole = std::fs::read(&file).unwrap();
    for at in 0..whole.len() {
        live.stop();
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (at % 8);
        std::fs::write(&file, flipped).unwrap();
        live.reopen();
        live.assert_set_apart(stream, &format!("byte {at}"));
        assert_eq!(live.sweep_below(u32::MAX), Turn::Refused, "byte {at}");
        assert_eq!(std::fs::read(&file).unwrap(), whole, "byte {at}: the file is made good");
    }
    live.stop();
    std::fs::remove_file(&file).unwrap();
    live.reopen();
    live.assert_set_apart(stream, "without the file");
    // Both at once: the damage is still there, and is met again.
    live.stop();
    std::fs::remove_file(&file).unwrap();
    std::fs::remove_dir_all(live.data().join(PROJECTIONS)).unwrap();
    live.reopen();
    live.assert_set_apart(stream, "without the file and the rows");
    let before = live.digests();
    live.engine().shutdown();
    assert_eq!(live.repair().given_up.len(), 1);
    live.reopen();
    assert!(live.engine().recovered().quarantine.is_empty(), "what was accepted is over");
    assert_eq!((known(&live), live.digests()[1]), ([true, false, true], before[1]));
    live.put(stream, "lost-object", b"again").unwrap();
    live.reopen();
    assert!(live.engine().recovered().quarantine.is_empty());
}

#[test]
fn rows_that_were_built_past_damage_stay_set_apart_when_an_unsealed_segment_reads_well_again() {
    let (mut live, stream) = Live::with_bucket();
    for object in ["early", "lost-object", "behind"] {
        live.put(stream, object, b"v").unwrap();
    }
    live.stop();
    // As after an unclean stop: the segment has no footer, and is read through at each start.
    let [segment] = live.segments_with(b"lost-object").try_into().unwrap();
    let mut content = std::fs::read(&segment).unwrap();
    let end = content.len() - 1;
    content[end] ^= 1;
    std::fs::write(&segment, &content).unwrap();
    let whole = content;
    live.rebuild_past(&["lost-object"]);
    live.assert_set_apart(stream, "after the rebuild");
    live.stop();
    std::fs::write(&segment, whole).unwrap();
    for start in 0..3 {
        live.reopen();
        live.assert_set_apart(stream, &format!("start {start}"));
        assert!(live.knows(stream, "behind") && !live.knows(stream, "lost-object"), "start {start}");
    }
    live.engine().shutdown();
    assert_eq!(live.repair().given_up.len(), 0, "everything can be read");
    live.reopen();
    assert!(live.engine().recovered().quarantine.is_empty());
    assert!(live.knows(stream, "lost-object"), "the rows are built anew, and nothing is lost");
    live.put(stream, "more", b"v").unwrap();
}

#[test]
fn a_start_that_cannot_find_roots_account_says_what_to_do_and_a_repair_makes_it_anew() {
    let (mut live, stream) = Live::with_bucket();
    live.put(stream, "k", b"v").unwrap();
    let root = identity::account(&live.engine().view(), ROOT_ACCOUNT).unwrap().unwrap();
    live.stop();
    live.damage_batch_of(root.canonical_id.as_bytes());
    std::fs::remove_dir_all(live.data().join(PROJECTIONS)).unwrap();
    for _ in 0..2 {
        let refused = Engine::open(config(live.folder.path())).map(drop).unwrap_err();
        assert!(matches!(refused, OpenError::RootLost), "{refused}");
        assert!(refused.to_string().contains("siltstone log repair DIR"), "{refused}");
    }
    let (code, said) = live.repair_command(&["--accept-loss"]);
    assert_eq!(code, ExitCode::Ok, "{said}");
    live.reopen();
    assert!(live.engine().recovered().quarantine.is_empty());
    assert!(identity::account(&live.engine().view(), ROOT_ACCOUNT).unwrap().is_some());
    assert_eq!(live.get(stream, "k", 0..9).as_deref(), Some(b"v".as_slice()));
    live.put(stream, "more", b"v").unwrap();
}

#[test]
fn a_repair_asks_the_rows_what_they_lack_where_the_disk_is_whole_again_and_the_quarantine_file_is_gone() {
    let (mut live, stream) = Live::with_bucket();
    for object in ["early", "lost-object", "behind"] {
        live.put(stream, object, b"v").unwrap();
    }
    live.rebuild_past(&["lost-object"]);
    live.assert_set_apart(stream, "after the rebuild");
    live.stop();
    live.damage_batch_of(b"lost-object"); // the same bit again: the disk has come to its senses
    std::fs::remove_file(live.data().join("log/QUARANTINE")).unwrap();
    let (code, said) = live.repair_command(&[]);
    assert_eq!(code, ExitCode::Conflict, "{said}");
    assert!(said.contains("the projections were built without them"), "{said}");
    let (code, said) = live.repair_command(&["--accept-loss"]);
    assert_eq!(code, ExitCode::Ok, "{said}");
    live.reopen();
    assert!(live.engine().recovered().quarantine.is_empty());
    assert!(live.knows(stream, "lost-object"), "nothing was lost, and the rows have it again");
    live.put(stream, "more", b"v").unwrap();
}
