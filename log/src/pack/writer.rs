//! Gives out space in packs and says when a blob is durable: a state machine that takes no time into account.
//!
//! A pack goes through creating (file, header, both synced) → open → full → sealing (footer, cut to its end, synced).
//! One open pack is the active one, from which room is given; the next is made ready when the active one is three
//! quarters full. A full pack is sealed when none of its extents belongs to an unfinished blob any more.
//!
//! Syncs are shared: what finishes while a pack's sync is under way waits for the next one, which covers all of it.

use super::api::{PackConfig, PackEffect, PackInput, PackRefusal};
use super::format::{encode_footer, encode_pack_header, extents_of, footer_len};
use super::open_pack::{OpenPack, Phase};
use super::place::{BlobPlace, ExtentPlace};
use super::recovery::RecoveredPacks;
use super::{MAX_EXTENT, PAGE, pack_file};
use crate::host::{Completion, DiskError, DiskErrorKind, DiskOp, DiskReply, Folder, Ticket};
use crate::id::{BlobId, LogId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A blob that is not durable yet.
struct Upload {
    extents: Vec<ExtentPlace>,
    /// Set by `Finish`: the place, and how many packs still have to be synced.
    finished: Option<(BlobPlace, usize)>,
}

/// A blob whose space is being given back.
struct Freeing {
    bytes: u64,
    /// Punches that have not returned.
    left: usize,
    /// Whether those that have succeeded.
    all: bool,
    packs: BTreeSet<u32>,
}

/// Punched blobs whose packs are to be synced before the index forgets them: after a power cut a hole may have closed
/// again, and nobody would know of it. One sync at a time, so that uploads never wait for more.
#[derive(Default)]
struct Holes {
    waiting: BTreeMap<BlobId, BTreeSet<u32>>,
    /// Blobs that the syncs under way are for, and the packs still to be synced.
    syncing: Vec<BlobId>,
    packs: BTreeSet<u32>,
}

/// What an operation under way is for.
#[derive(Debug, Clone, Copy)]
enum Task {
    Create(u32),
    WriteHeader(u32),
    SyncHeader(u32),
    SyncName(u32),
    SyncBlobs(u32),
    Punch { pack: u32, freed: Option<BlobId> },
    SyncHoles,
    SyncExtents(u32),
    WriteFooter(u32),
    CutTail(u32),
    SyncFooter(u32),
    Remove(u32),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Running,
    Stopping,
    Stopped,
    Failed,
}

/// The state machine.
pub struct PackWriter {
    log_id: LogId,
    config: PackConfig,
    mode: Mode,
    packs: BTreeMap<u32, OpenPack>,
    active: Option<u32>,
    /// The pack after the active one, being made or ready.
    spare: Option<u32>,
    /// Cleared when there was no space for a spare; then one is made only when it is needed.
    make_spare_early: bool,
    next_pack: u32,
    /// The highest number of a pack whose name is durable.
    highest_named: u32,
    uploads: BTreeMap<BlobId, Upload>,
    waiting: VecDeque<(BlobId, u32)>,
    /// Freed blobs whose punches are under way.
    freeing: BTreeMap<BlobId, Freeing>,
    holes: Holes,
    under_way: BTreeMap<Ticket, Task>,
    next_ticket: u64,
}

type Out = Vec<PackEffect>;

impl PackWriter {
    /// Continues after recovery, in a new pack.
    pub fn new(recovered: &RecoveredPacks, mut config: PackConfig) -> Self {
        // An extent that did not fit an empty pack would wait for room for ever.
        let room = config.pack_bytes.saturating_sub(2 * PAGE + footer_len(1)) / PAGE * PAGE;
        let fits = u32::try_from(room).unwrap_or(u32::MAX).min(MAX_EXTENT);
        config.extent_bytes = config.extent_bytes.min(fits);
        Self {
            log_id: recovered.log_id,
            config,
            mode: Mode::Running,
            packs: BTreeMap::new(),
            active: None,
            spare: None,
            make_spare_early: true,
            next_pack: recovered.next_pack,
            highest_named: recovered.next_pack.saturating_sub(1),
            uploads: BTreeMap::new(),
            waiting: VecDeque::new(),
            freeing: BTreeMap::new(),
            holes: Holes::default(),
            under_way: BTreeMap::new(),
            next_ticket: 0,
        }
    }

    /// The log whose packs these are.
    pub fn log_id(&self) -> LogId {
        self.log_id
    }

    /// The sizes in use: extents are never larger than an empty pack can hold.
    pub fn config(&self) -> PackConfig {
        self.config
    }

    /// Takes one input and appends what follows from it.
    pub fn handle(&mut self, input: PackInput, out: &mut Out) {
        match (self.mode, input) {
            (Mode::Failed, PackInput::Reserve { blob, .. } | PackInput::Finish { blob, .. }) => {
                out.push(PackEffect::Refused { blob, reason: PackRefusal::Failed });
            }
            (Mode::Stopping | Mode::Stopped, PackInput::Reserve { blob, .. })
            | (Mode::Stopped, PackInput::Finish { blob, .. }) => {
                out.push(PackEffect::Refused { blob, reason: PackRefusal::Stopping });
            }
            (Mode::Failed | Mode::Stopped, PackInput::Stop) => out.push(PackEffect::Stopped),
            (
                Mode::Failed | Mode::Stopped,
                PackInput::Abandon { .. }
                | PackInput::Free { .. }
                | PackInput::WriteFailed(_)
                | PackInput::Disk(_),
            )
            | (Mode::Stopping, PackInput::Stop) => {}
            (Mode::Running, PackInput::Reserve { blob, bytes }) => self.reserve(blob, bytes, out),
            (_, PackInput::Finish { blob, place }) => self.finish(blob, place, out),
            (_, PackInput::Abandon { blob }) => self.abandon(blob, out),
            (_, PackInput::Free { blob, place }) => self.free(blob, &place, out),
            (_, PackInput::WriteFailed(error)) => self.fail(error, out),
            (_, PackInput::Disk(completion)) => self.completed(completion, out),
            (Mode::Running, PackInput::Stop) => self.stop(out),
        }
        if self.mode == Mode::Stopping && self.packs.is_empty() && self.under_way.is_empty() {
            self.mode = Mode::Stopped;
            out.push(PackEffect::Stopped);
        }
    }

    fn submit(&mut self, task: Task, op: DiskOp, out: &mut Out) {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.under_way.insert(ticket, task);
        out.push(PackEffect::Disk(ticket, op));
    }

    fn fail(&mut self, error: DiskError, out: &mut Out) {
        let stopping = self.mode == Mode::Stopping;
        self.mode = Mode::Failed;
        out.push(PackEffect::Failed(error));
        if stopping {
            out.push(PackEffect::Stopped);
        }
    }

    fn reserve(&mut self, blob: BlobId, bytes: u32, out: &mut Out) {
        if self.uploads.get(&blob).is_some_and(|upload| upload.finished.is_some()) {
            out.push(PackEffect::Refused { blob, reason: PackRefusal::NotReserved });
            return;
        }
        self.uploads.entry(blob).or_insert(Upload { extents: Vec::new(), finished: None });
        self.waiting.push_back((blob, bytes.min(self.config.extent_bytes)));
        self.give_room(out);
    }

    /// Serves those who wait for room, as far as there is a pack to serve them from.
    fn give_room(&mut self, out: &mut Out) {
        while let Some(&(blob, bytes)) = self.waiting.front() {
            let limit = self.config.pack_bytes;
            let given = self.active.and_then(|number| self.packs.get_mut(&number)?.allocate(bytes, limit));
            if let Some(extent) = given {
                self.waiting.pop_front();
                self.uploads.entry(blob).and_modify(|upload| upload.extents.push(extent));
                out.push(PackEffect::Reserved { blob, extent });
            } else if !self.next_active(out) {
                break;
            }
        }
        let filled = self.active.and_then(|number| self.packs.get(&number)).map_or(0, OpenPack::end);
        if filled >= self.config.pack_bytes / 4 * 3 && self.make_spare_early && self.mode == Mode::Running {
            self.make_spare(out);
        }
    }

    /// Closes the active pack and takes the spare one, if that is ready.
    fn next_active(&mut self, out: &mut Out) -> bool {
        if let Some(full) = self.active.take() {
            self.close(full, out);
        }
        let ready = |number: &u32| self.packs.get(number).is_some_and(|pack| pack.phase == Phase::Open);
        self.active = self.spare.take_if(|number| ready(number));
        if self.active.is_none() {
            self.make_spare(out);
        }
        self.active.is_some()
    }

    fn make_spare(&mut self, out: &mut Out) {
        if self.spare.is_none() {
            let number = self.next_pack;
            self.next_pack = number.saturating_add(1);
            self.spare = Some(number);
            self.packs.insert(number, OpenPack::new(number));
            let (len, leave_free) = (self.config.pack_bytes, self.config.leave_free);
            let op = DiskOp::Create { file: pack_file(number), len, leave_free };
            self.submit(Task::Create(number), op, out);
        }
    }

    fn not_created(&mut self, number: u32, reason: PackRefusal, out: &mut Out) {
        self.packs.remove(&number);
        self.spare = None;
        self.make_spare_early = false;
        self.refuse_waiting(reason, out);
    }

    fn refuse_waiting(&mut self, reason: PackRefusal, out: &mut Out) {
        out.extend(self.waiting.drain(..).map(|(blob, _)| PackEffect::Refused { blob, reason }));
    }

    fn close(&mut self, number: u32, out: &mut Out) {
        if let Some(pack) = self.packs.get_mut(&number) {
            pack.phase = Phase::Full;
        }
        self.seal_if_settled(number, out);
    }

    fn finish(&mut self, blob: BlobId, place: BlobPlace, out: &mut Out) {
        let Some(upload) = self.uploads.get_mut(&blob).filter(|upload| upload.holds(&place)) else {
            out.push(PackEffect::Refused { blob, reason: PackRefusal::NotReserved });
            return;
        };
        let reserved = std::mem::replace(&mut upload.extents, place.extents.clone());
        let touched: BTreeSet<u32> = place.extents.iter().map(|extent| extent.pack).collect();
        let infos: Vec<_> = extents_of(blob, &place).collect();
        upload.finished = Some((place, touched.len()));
        for info in infos {
            self.packs.entry(info.place.pack).and_modify(|pack| pack.keep(info));
        }
        self.give_back_unused(&reserved, blob, out);
        if crate::mutants::active(crate::mutants::Mutant::SubmitBeforeBlobSync) {
            self.durable(blob, out);
        }
        for number in touched {
            self.packs.entry(number).and_modify(|pack| pack.unsynced.push(blob));
            self.sync_blobs(number, out);
        }
    }

    /// Gives back what a finished blob reserved and did not need. It was never written.
    fn give_back_unused(&mut self, reserved: &[ExtentPlace], blob: BlobId, out: &mut Out) {
        // Backwards, so that a run of unused extents at a pack's end is given back as a whole.
        for extent in reserved.iter().rev() {
            let Some(pack) = self.packs.get_mut(&extent.pack) else { continue };
            if let Some((offset, len)) = pack.trim(*extent, blob) {
                self.punch(extent.pack, offset, len, None, out);
            }
            self.seal_if_settled(extent.pack, out);
        }
    }

    fn sync_blobs(&mut self, number: u32, out: &mut Out) {
        let Some(pack) = self.packs.get_mut(&number) else { return };
        // ORDER: a sync that is under way may have passed over writes that returned since; only one that begins
        // after them covers them.
        if pack.syncing.is_none() && !pack.unsynced.is_empty() {
            pack.syncing = Some(std::mem::take(&mut pack.unsynced));
            self.submit(Task::SyncBlobs(number), DiskOp::Sync { file: pack_file(number) }, out);
        }
    }

    fn blobs_synced(&mut self, number: u32, out: &mut Out) {
        let synced = self.packs.get_mut(&number).and_then(|pack| pack.syncing.take()).unwrap_or_default();
        for blob in synced {
            let Some((_, missing)) = self.uploads.get_mut(&blob).and_then(|upload| upload.finished.as_mut())
            else {
                continue;
            };
            *missing -= 1;
            if *missing == 0 {
                self.durable(blob, out);
            }
        }
        self.sync_blobs(number, out);
        self.seal_if_settled(number, out);
    }

    fn durable(&mut self, blob: BlobId, out: &mut Out) {
        let Some((place, _)) = self.uploads.remove(&blob).and_then(|upload| upload.finished) else { return };
        for extent in &place.extents {
            self.packs.entry(extent.pack).and_modify(OpenPack::settle);
        }
        let touched: BTreeSet<u32> = place.extents.iter().map(|extent| extent.pack).collect();
        out.push(PackEffect::Durable { blob, place });
        for number in touched {
            self.seal_if_settled(number, out);
        }
    }

    fn abandon(&mut self, blob: BlobId, out: &mut Out) {
        self.waiting.retain(|(waiting, _)| *waiting != blob);
        let Some(upload) = self.uploads.remove(&blob) else { return };
        for extent in upload.extents {
            if let Some(pack) = self.packs.get_mut(&extent.pack) {
                pack.drop_extent(extent.offset);
                pack.settle();
                pack.forget(blob);
            }
            self.punch(extent.pack, extent.offset, extent.footprint(), None, out);
        }
    }

    fn free(&mut self, blob: BlobId, place: &BlobPlace, out: &mut Out) {
        // Its owner gave it up before it was told that it is durable.
        if self.uploads.contains_key(&blob) {
            return self.abandon(blob, out);
        }
        if self.freeing.contains_key(&blob) || place.extents.is_empty() {
            return;
        }
        let packs = place.extents.iter().map(|extent| extent.pack).collect();
        let freeing = Freeing { bytes: place.len, left: place.extents.len(), all: true, packs };
        self.freeing.insert(blob, freeing);
        for extent in &place.extents {
            self.packs.entry(extent.pack).and_modify(|pack| pack.drop_extent(extent.offset));
            self.punch(extent.pack, extent.offset, extent.footprint(), Some(blob), out);
        }
    }

    fn punch(&mut self, pack: u32, offset: u64, len: u64, freed: Option<BlobId>, out: &mut Out) {
        self.packs.entry(pack).and_modify(|open| open.punching += 1);
        self.submit(Task::Punch { pack, freed }, DiskOp::Punch { file: pack_file(pack), offset, len }, out);
    }

    /// A punch that fails costs space, not content: it is not a reason to stop.
    fn punched(&mut self, pack: u32, freed: Option<BlobId>, ok: bool, out: &mut Out) {
        self.packs.entry(pack).and_modify(|open| open.punching = open.punching.saturating_sub(1));
        if let Some(blob) = freed
            && let Some(freeing) = self.freeing.get_mut(&blob)
        {
            freeing.left -= 1;
            freeing.all &= ok;
            if freeing.left == 0
                && let Some(freeing) = self.freeing.remove(&blob).filter(|freeing| freeing.all)
            {
                self.holes.waiting.insert(blob, freeing.packs);
                self.sync_holes(out);
            }
        }
        self.seal_if_settled(pack, out);
    }

    /// Syncs the next pack that blobs were punched out of, if no such sync is under way.
    fn sync_holes(&mut self, out: &mut Out) {
        if self.under_way.values().any(|task| matches!(task, Task::SyncHoles)) {
            return;
        }
        if self.holes.packs.is_empty() {
            let synced = std::mem::take(&mut self.holes.syncing);
            out.extend(synced.into_iter().map(|blob| PackEffect::Freed { blob }));
            for (blob, packs) in std::mem::take(&mut self.holes.waiting) {
                self.holes.syncing.push(blob);
                self.holes.packs.extend(packs);
            }
        }
        if let Some(number) = self.holes.packs.pop_first() {
            self.submit(Task::SyncHoles, DiskOp::Sync { file: pack_file(number) }, out);
        }
    }

    fn holes_synced(&mut self, result: Result<DiskReply, DiskError>, out: &mut Out) {
        match result {
            Ok(_) => {}
            // A pack that is gone took its holes along.
            Err(error) if error.kind == DiskErrorKind::NotFound => {}
            // The index keeps the blobs, and the next start frees them again.
            Err(error) if error.kind == DiskErrorKind::NoHandles => self.holes.syncing.clear(),
            Err(error) => return self.fail(error, out),
        }
        self.sync_holes(out);
    }

    /// Bytes of freed blobs whose space is not back yet.
    pub fn giving_back(&self) -> u64 {
        self.freeing.values().fold(0, |sum, freeing| sum.saturating_add(freeing.bytes))
    }

    /// Blobs that are being stored: room is held or waited for.
    pub fn uploads(&self) -> usize {
        self.uploads.len().max(self.waiting.len())
    }

    fn stop(&mut self, out: &mut Out) {
        self.mode = Mode::Stopping;
        self.refuse_waiting(PackRefusal::Stopping, out);
        let unfinished: Vec<_> = self
            .uploads
            .iter()
            .filter(|(_, upload)| upload.finished.is_none())
            .map(|(blob, _)| *blob)
            .collect();
        for blob in unfinished {
            self.abandon(blob, out);
        }
        self.active = None;
        self.spare = None;
        let open: Vec<_> =
            self.packs.values().filter(|pack| pack.phase == Phase::Open).map(OpenPack::number).collect();
        for number in open {
            self.close(number, out);
        }
    }

    fn seal_if_settled(&mut self, number: u32, out: &mut Out) {
        let Some(pack) = self.packs.get_mut(&number).filter(|pack| pack.settled()) else { return };
        pack.phase = Phase::Sealing;
        let file = pack_file(number);
        // A number is not used twice: the index may still say that a freed blob lies in this pack. So the pack with
        // the highest number stays, at the cost of two pages.
        if pack.is_empty() && number < self.highest_named {
            self.submit(Task::Remove(number), DiskOp::Remove { file }, out);
        } else {
            // ORDER: all that the footer speaks of, punches included, is durable before the footer can be.
            self.submit(Task::SyncExtents(number), DiskOp::Sync { file }, out);
        }
    }

    fn write_footer(&mut self, number: u32, out: &mut Out) {
        let Some(pack) = self.packs.get_mut(&number) else { return };
        let footer = encode_footer(self.log_id, number, pack.end(), pack.extents());
        let offset = pack.end();
        pack.file_len = offset.saturating_add(footer.len() as u64);
        let op = DiskOp::Write { file: pack_file(number), offset, data: vec![footer] };
        self.submit(Task::WriteFooter(number), op, out);
    }

    fn completed(&mut self, completion: Completion, out: &mut Out) {
        let Some(task) = self.under_way.remove(&completion.ticket) else { return };
        match (task, completion.result) {
            (Task::Punch { pack, freed }, result) => {
                // A pack that is gone holds nothing to give back.
                let ok = result.map_or_else(|error| error.kind == DiskErrorKind::NotFound, |_| true);
                self.punched(pack, freed, ok, out);
            }
            (Task::SyncHoles, result) => self.holes_synced(result, out),
            (Task::Create(number), Err(error)) if error.kind == DiskErrorKind::NoSpace => {
                self.not_created(number, PackRefusal::NoSpace, out);
            }
            (Task::Create(number), Err(error)) if error.kind == DiskErrorKind::NoHandles => {
                self.not_created(number, PackRefusal::Busy, out);
            }
            (Task::Remove(number), Err(error)) if error.kind == DiskErrorKind::NotFound => {
                self.packs.remove(&number);
            }
            (_, Err(error)) => self.fail(error, out),
            (task, Ok(_)) => self.succeeded(task, out),
        }
    }

    fn succeeded(&mut self, task: Task, out: &mut Out) {
        match task {
            Task::Create(number) => {
                let data = vec![encode_pack_header(self.log_id, number)];
                let op = DiskOp::Write { file: pack_file(number), offset: 0, data };
                self.submit(Task::WriteHeader(number), op, out);
            }
            Task::WriteHeader(number) => {
                self.submit(Task::SyncHeader(number), DiskOp::Sync { file: pack_file(number) }, out);
            }
            // ORDER: the file's name is durable before any blob in it can be: a sync of the file alone does not
            // promise that it is found again.
            Task::SyncHeader(number) => {
                self.submit(Task::SyncName(number), DiskOp::SyncFolder { folder: Folder::Packs }, out);
            }
            Task::SyncName(number) => self.created(number, out),
            Task::SyncBlobs(number) => self.blobs_synced(number, out),
            Task::SyncExtents(number) => self.write_footer(number, out),
            Task::WriteFooter(number) => {
                let len = self.packs.get(&number).map_or(0, |pack| pack.file_len);
                self.submit(Task::CutTail(number), DiskOp::Truncate { file: pack_file(number), len }, out);
            }
            Task::CutTail(number) => {
                self.submit(Task::SyncFooter(number), DiskOp::Sync { file: pack_file(number) }, out);
            }
            Task::SyncFooter(number) => {
                if self.packs.remove(&number).is_some_and(|pack| !pack.is_empty()) {
                    out.push(PackEffect::Sealed { pack: number });
                }
            }
            Task::Remove(number) => {
                self.packs.remove(&number);
            }
            // Handled with its outcome before.
            Task::Punch { .. } | Task::SyncHoles => {}
        }
    }

    fn created(&mut self, number: u32, out: &mut Out) {
        self.highest_named = self.highest_named.max(number);
        if let Some(pack) = self.packs.get_mut(&number) {
            pack.phase = Phase::Open;
        }
        self.make_spare_early = true;
        match self.mode {
            Mode::Running => self.give_room(out),
            Mode::Stopping | Mode::Stopped | Mode::Failed => self.close(number, out),
        }
    }
}

impl Upload {
    /// Whether a place uses what was reserved, in order.
    fn holds(&self, place: &BlobPlace) -> bool {
        let mut reserved = self.extents.iter();
        let inside = |extent: &ExtentPlace| {
            let spot = |given: &&ExtentPlace| (given.pack, given.offset) == (extent.pack, extent.offset);
            reserved.find(spot).is_some_and(|given| extent.data_len <= given.data_len)
        };
        self.finished.is_none() && !place.extents.is_empty() && place.extents.iter().all(inside)
    }
}
