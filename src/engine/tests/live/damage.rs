//! What the log loses: kept by the projections until it is given up, and nothing is written upon it.

#![expect(clippy::disallowed_methods, reason = "the tests play a disk that forgets")]

use super::readers::blob_of;
use super::{Live, config, pattern};
use crate::engine::catch_up::CatchUp;
use crate::engine::damage::FoundDamage;
use crate::engine::outcome::{EngineError, Unavailable};
use crate::engine::sweep::Turn;
use crate::engine::tests::key;
use crate::engine::{Engine, PROJECTIONS};
use bytes::Bytes;
use siltstone_log::event::{Actor, Door};
use siltstone_log::host::real::RealDisk;
use siltstone_log::id::{Position, Salt, StreamId};
use siltstone_log::reader::Unreadable;
use siltstone_log::recovery::RecoveryConfig;
use siltstone_log::repair::{RepairConfig, RepairReport, repair};
use siltstone_log::script::Script;
use siltstone_projections::key::CURSOR;
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
        };
        Script::new(|io| repair(io, config)).run(&mut RealDisk::new(self.data())).unwrap()
    }

    /// Flips a bit in the frame of the batch that has `wanted` in it.
    fn damage_batch_of(&self, wanted: &[u8]) {
        for path in self.files("log") {
            let mut content = std::fs::read(&path).unwrap();
            if let Some(at) = content.windows(wanted.len()).position(|window| window == wanted) {
                content[at / 4096 * 4096 + 9] ^= 0x10;
                std::fs::write(path, content).unwrap();
                return;
            }
        }
        panic!("no segment holds it");
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
    assert_eq!(catch_up.note(met, std::iter::empty()).unwrap(), [(met.first, met.last)]);
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
