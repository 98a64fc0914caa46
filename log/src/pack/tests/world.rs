//! The pack writer between clients that come and go and a disk that delays, fails and crashes.

use super::crash_disk::CrashDisk;
use super::*;
use crate::host::{Completion, Ticket};
use crate::pack::{PackConfig, PackEffect, PackInput, PackRefusal, PackWriter};
use crate::script::Step;
use proptest::prelude::*;
use std::collections::BTreeMap;

const SMALL: PackConfig = PackConfig { pack_bytes: 64 * 1024, extent_bytes: 12 * 1024, leave_free: 0 };

struct Client {
    stager: BlobStager,
    hasher: BlobHasher,
    content: Bytes,
    rest: Bytes,
    /// Waits for an answer of the pack writer.
    waiting: bool,
    place: Option<BlobPlace>,
}

struct World {
    dice: Dice,
    disk: CrashDisk<Ticket>,
    writer: PackWriter,
    index: Arc<MemoryBlobIndex>,
    clients: BTreeMap<BlobId, Client>,
    durable: BTreeMap<BlobId, (Bytes, BlobPlace)>,
    /// Freed in this life.
    freed: BTreeMap<BlobId, BlobPlace>,
    /// Freed in a life that ended in a crash: a hole that was punched and not synced may have closed again.
    uncertain: BTreeMap<BlobId, BlobPlace>,
    /// Every extent that is in use: where it ends, and for whom.
    held: BTreeMap<(u32, u64), (u64, BlobId)>,
    next_blob: u64,
    failed: bool,
    stopped: bool,
    refusals: Vec<PackRefusal>,
    sealed: usize,
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            dice: Dice(seed),
            disk: CrashDisk::new(),
            writer: PackWriter::new(&RecoveredPacks::none(LOG), SMALL),
            index: Arc::default(),
            clients: BTreeMap::new(),
            durable: BTreeMap::new(),
            freed: BTreeMap::new(),
            uncertain: BTreeMap::new(),
            held: BTreeMap::new(),
            next_blob: 0,
            failed: false,
            stopped: false,
            refusals: Vec::new(),
            sealed: 0,
        }
    }

    fn handle(&mut self, input: PackInput) {
        let mut effects = Vec::new();
        self.writer.handle(input, &mut effects);
        for effect in effects {
            self.carry_out(effect);
        }
    }

    fn carry_out(&mut self, effect: PackEffect) {
        match effect {
            PackEffect::Disk(ticket, op) => self.disk.submit(ticket, op),
            PackEffect::Reserved { blob, extent } => {
                self.hold(blob, extent);
                let client = self.clients.get_mut(&blob).expect("room is given to those who asked");
                client.stager.extent(extent);
                client.waiting = false;
            }
            PackEffect::Durable { blob, place } => {
                assert!(!self.failed, "nothing is durable after a failure");
                let client = self.clients.remove(&blob).expect("only a finished blob is durable");
                assert_eq!(client.place.as_ref(), Some(&place));
                let read = read_blob(&self.disk.durable(), blob, &place, 0..place.len);
                assert!(read.is_ok_and(|read| read == client.content), "reported durable and is not");
                self.index.put(blob, &place).unwrap();
                self.durable.insert(blob, (client.content, place));
            }
            PackEffect::Refused { blob, reason } => {
                self.refusals.push(reason);
                self.give_up(blob);
            }
            PackEffect::Freed { blob } => self.index.remove(blob).unwrap(),
            PackEffect::Sealed { pack } => {
                self.sealed += 1;
                self.index.mark_indexed(pack).unwrap();
            }
            PackEffect::Failed(_) => self.failed = true,
            PackEffect::Stopped => self.stopped = true,
        }
    }

    fn hold(&mut self, blob: BlobId, extent: ExtentPlace) {
        for ((pack, offset), (end, other)) in &self.held {
            let apart = *pack != extent.pack || *end <= extent.offset || extent.end() <= *offset;
            assert!(apart, "{blob} was given room of {other}");
        }
        self.held.insert((extent.pack, extent.offset), (extent.end(), blob));
    }

    fn release(&mut self, blob: BlobId) {
        self.held.retain(|_, (_, holder)| *holder != blob);
    }

    fn begin(&mut self) {
        self.next_blob += 1;
        let blob = blob_id(self.next_blob);
        let len = [0, 1, 5000, 12_288, 20_000, 40_000][self.dice.below(6)];
        let content = self.dice.bytes(len);
        let declared = self.dice.coin().then_some(len as u64);
        let client = Client {
            stager: BlobStager::new(self.writer.config().extent_bytes, declared),
            hasher: BlobHasher::new(LOG, blob, Salt([4; 16])),
            rest: content.clone(),
            content,
            waiting: false,
            place: None,
        };
        self.clients.insert(blob, client);
    }

    fn pick_client(&mut self) -> Option<BlobId> {
        let which = self.dice.below(self.clients.len().max(1));
        self.clients.keys().nth(which).copied()
    }

    /// Goes one step on with some blob.
    fn advance(&mut self) {
        let Some(blob) = self.pick_client() else { return };
        let client = self.clients.get_mut(&blob).unwrap();
        if client.waiting || client.place.is_some() {
            return;
        }
        match client.stager.step() {
            StagerStep::Feed if client.rest.is_empty() => client.stager.end(),
            StagerStep::Feed => {
                let len = (1 + self.dice.below(30_000)).min(client.rest.len());
                client.stager.push(client.rest.split_to(len));
            }
            StagerStep::Reserve { bytes } => {
                client.waiting = true;
                self.handle(PackInput::Reserve { blob, bytes });
            }
            StagerStep::Piece(piece) => {
                let mut ops = piece.ops();
                match client.hasher.update(&piece) {
                    Hashed::More => {}
                    Hashed::Extent(header) => ops.push(header),
                    Hashed::Blob(header, place) => {
                        ops.push(header);
                        client.place = Some(place);
                    }
                }
                let place = client.place.clone();
                for op in ops {
                    self.disk.now.execute(&op).unwrap();
                }
                if let Some(place) = place {
                    self.release(blob);
                    for extent in &place.extents {
                        self.hold(blob, *extent);
                    }
                    self.handle(PackInput::Finish { blob, place });
                }
            }
            StagerStep::Done => unreachable!("the last piece finishes the blob"),
        }
    }

    fn give_up(&mut self, blob: BlobId) {
        let Some(client) = self.clients.remove(&blob) else { return };
        self.release(blob);
        match client.place {
            Some(place) => self.handle(PackInput::Free { blob, place }),
            None => self.handle(PackInput::Abandon { blob }),
        }
    }

    fn free(&mut self) {
        let which = self.dice.below(self.durable.len().max(1));
        let Some(blob) = self.durable.keys().nth(which).copied() else { return };
        let (_, place) = self.durable.remove(&blob).unwrap();
        self.release(blob);
        self.freed.insert(blob, place.clone());
        self.handle(PackInput::Free { blob, place });
    }

    fn complete_some(&mut self) {
        if self.disk.pending() > 0 {
            let which = self.dice.below(self.disk.pending());
            let (ticket, result) = self.disk.complete(which);
            self.handle(PackInput::Disk(Completion { ticket, result }));
        }
    }

    fn settle(&mut self) {
        while self.disk.pending() > 0 {
            self.complete_some();
        }
    }

    fn act(&mut self) {
        match self.dice.below(40) {
            0..4 => self.begin(),
            4..22 => self.advance(),
            22..37 => self.complete_some(),
            37 => {
                if let Some(blob) = self.pick_client() {
                    self.give_up(blob);
                }
            }
            _ => self.free(),
        }
    }

    fn cut(&mut self) {
        if self.dice.coin() {
            self.disk.crash(&mut self.dice);
        } else {
            self.disk.kill(&mut self.dice);
        }
    }

    /// Kills the process or cuts the power and recovers; in recovery too, some times.
    fn crash(&mut self) {
        self.cut();
        self.clients.clear();
        self.uncertain.append(&mut self.freed);
        if self.dice.coin() {
            self.index = Arc::default();
        }
        let recovered = loop {
            let patience = self.dice.below(60);
            match self.recover(patience) {
                Some(recovered) => break recovered,
                None => self.cut(),
            }
        };
        for (blob, (content, place)) in &self.durable {
            assert_eq!(self.index.get(*blob).unwrap().as_ref(), Some(place), "a durable blob is lost");
            let read = read_blob(&self.disk.durable(), *blob, place, 0..place.len);
            assert!(read.is_ok_and(|read| read == *content), "a durable blob is not what it was");
        }
        // What can be read now may be named by a record from now on.
        for (blob, place) in self.index.blobs() {
            let now = read_blob(&self.disk.now, blob, &place, 0..place.len);
            let after = read_blob(&self.disk.durable(), blob, &place, 0..place.len);
            assert!(now == after || self.uncertain.contains_key(&blob), "{blob} is there and not durable");
        }
        let damaged = recovered.damaged.iter().find(|damage| self.durable.contains_key(&damage.blob));
        assert_eq!(damaged, None);
        // Blobs that were complete when the power went are orphans: the sweep frees them.
        self.held.clear();
        for (blob, place) in self.index.blobs() {
            for extent in &place.extents {
                self.hold(blob, *extent);
            }
        }
        self.writer = PackWriter::new(&recovered, SMALL);
    }

    fn recover(&mut self, patience: usize) -> Option<RecoveredPacks> {
        let index: Arc<dyn BlobIndex> = self.index.clone();
        let mut script = Script::new(|io| recover_packs(io, LOG, index));
        let mut result = None;
        // Most recoveries are left alone.
        let limit = if patience < 40 { patience } else { usize::MAX };
        for _ in 0..limit {
            match script.resume(result.take()) {
                Step::Done(report) => return Some(report.unwrap()),
                Step::Submit(op) => result = Some(self.disk.execute(Ticket(0), op)),
            }
        }
        None
    }

    /// Stops, and checks that the packs hold what is live and nothing else.
    fn stop(&mut self) {
        self.settle();
        self.handle(PackInput::Stop);
        self.settle();
        assert!(self.stopped && !self.failed);
        let fresh = Arc::new(MemoryBlobIndex::default());
        let report = recover(&self.disk.now, &fresh).unwrap();
        assert_eq!((report.closed, report.damaged.len()), (vec![], 0));
        assert!(report.incomplete.iter().all(|(blob, _)| self.uncertain.contains_key(blob)));
        let certain = |index: &MemoryBlobIndex| {
            let mut blobs = index.blobs();
            blobs.retain(|(blob, _)| !self.uncertain.contains_key(blob));
            blobs
        };
        assert_eq!(certain(&fresh), certain(&self.index));
        for (blob, (content, place)) in &self.durable {
            assert!(read_blob(&self.disk.durable(), *blob, place, 0..place.len).unwrap() == *content);
        }
        for (file, bytes) in self.disk.now.files() {
            let pack = crate::pack::pack_number(&file.name).unwrap();
            let held = self.held.iter().map(|((number, offset), (end, _))| (*number, *offset, *end));
            let uncertain = self.uncertain.values().flat_map(|place| &place.extents);
            let used = held.chain(uncertain.map(|extent| (extent.pack, extent.offset, extent.end())));
            let mut clear = bytes;
            let trailer = clear.len() - 16;
            let footer = u64::from_le_bytes(clear[trailer..trailer + 8].try_into().unwrap());
            clear.truncate(index(footer));
            clear[..4096].fill(0);
            for (_, offset, end) in used.filter(|(number, ..)| *number == pack) {
                let end = index(end).min(clear.len());
                clear[index(offset).min(end)..end].fill(0);
            }
            assert!(clear.iter().all(|byte| *byte == 0), "{file} holds what nobody needs");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn what_is_reported_durable_is_and_what_is_given_up_is_given_back(seed: u64, steps in 1usize..600) {
        let mut world = World::new(seed);
        for _ in 0..steps {
            world.act();
        }
        world.stop();
        prop_assert_eq!(world.index.blobs().len(), world.durable.len());
    }

    #[test]
    fn no_durable_blob_is_lost_in_a_crash(seed: u64, lives in prop::collection::vec(0usize..250, 1..5)) {
        let mut world = World::new(seed);
        for steps in lives {
            for _ in 0..steps {
                world.act();
            }
            world.crash();
        }
        world.stop();
    }

    #[test]
    fn after_a_failed_sync_or_write_nothing_is_durable(seed: u64, before in 0usize..200, after in 0usize..200, write: bool) {
        let mut world = World::new(seed);
        for _ in 0..before {
            world.act();
        }
        world.disk.fault = if write { |op| matches!(op, DiskOp::Write { .. }) } else { |op| matches!(op, DiskOp::Sync { .. }) };
        while !world.failed && world.next_blob < 2000 {
            world.act();
        }
        prop_assert!(world.failed);
        world.disk.fault = |_| false;
        let (durable, syncs) = (world.durable.len(), world.disk.pending());
        for _ in 0..after {
            world.act();
        }
        world.settle();
        prop_assert!(world.durable.len() <= durable && world.disk.pending() <= syncs);
        world.handle(PackInput::Stop);
        prop_assert!(world.stopped);
    }

    #[test]
    fn a_full_disk_refuses_new_room_and_goes_on_when_there_is_space_again(seed: u64) {
        let mut world = World::new(seed);
        world.disk.fault = |op| matches!(op, DiskOp::Create { .. });
        for _ in 0..200 {
            world.act();
        }
        world.settle();
        prop_assert!(!world.failed && world.durable.is_empty());
        prop_assert!(world.refusals.iter().all(|reason| *reason == PackRefusal::NoSpace));
        prop_assert!(!world.refusals.is_empty());
        world.disk.fault = |_| false;
        while world.durable.is_empty() {
            world.act();
        }
        world.stop();
    }
}

#[test]
fn blobs_that_finish_during_a_sync_share_the_next_one() {
    let mut world = World::new(1);
    for _ in 0..5 {
        world.next_blob += 1;
        let blob = blob_id(world.next_blob);
        let content = Bytes::from_static(b"x");
        let client = Client {
            stager: BlobStager::new(4096, Some(1)),
            hasher: BlobHasher::new(LOG, blob, Salt([4; 16])),
            rest: content.clone(),
            content,
            waiting: false,
            place: None,
        };
        world.clients.insert(blob, client);
        if world.next_blob == 3 {
            // So far all of them wait for the first pack.
            for _ in 0..400 {
                world.advance();
            }
            for _ in 0..4 {
                world.complete_some();
            }
        }
    }
    let unfinished = |world: &World| world.clients.values().any(|client| client.place.is_none());
    while unfinished(&world) {
        world.advance();
    }
    assert!(world.durable.is_empty());
    assert_eq!(world.disk.pending(), 1, "one sync, and no more than one, is under way");
    world.complete_some();
    assert_eq!(world.durable.len(), 1);
    world.complete_some();
    assert_eq!(world.durable.len(), 5);
}

#[test]
fn a_place_outside_what_was_reserved_is_refused() {
    let mut world = World::new(1);
    world.handle(PackInput::Reserve { blob: blob_id(1), bytes: 0 });
    let place = BlobPlace {
        len: 1,
        salt: Salt([0; 16]),
        hash: crate::id::Hash([0; 32]),
        extents: vec![ExtentPlace { pack: 1, offset: 4096, data_len: 1 }],
    };
    world.handle(PackInput::Finish { blob: blob_id(1), place });
    assert_eq!(world.refusals, [PackRefusal::NotReserved]);
}

/// The checker of this file catches the bug that reports a blob durable before its sync.
#[cfg(feature = "mutants")]
#[test]
fn reporting_a_blob_before_its_sync_is_caught() {
    use crate::mutants::{Mutant, plant};
    plant(Some(Mutant::SubmitBeforeBlobSync));
    let caught = std::panic::catch_unwind(|| {
        let mut world = World::new(5);
        for _ in 0..600 {
            world.act();
        }
    });
    plant(None);
    assert!(caught.is_err());
}
