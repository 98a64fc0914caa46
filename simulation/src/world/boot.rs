//! A start: recover the log, recover the packs, let the projections catch up, then run.
//!
//! Each step is one of the product's own scripts; a crash may come between any two of its disk operations.

use super::disk::InstantDisk;
use super::node::Node;
use super::{Owner, World};
use crate::invariants::Violation;
use crate::sometimes::State;
use crate::world::note;
use siltstone::engine::Limits;
use siltstone::engine::admission::Admission;
use siltstone::engine::inventory::Inventory;
use siltstone::engine::sweep::Sweeper;
use siltstone_log::host::{DiskError, DiskResult};
use siltstone_log::id::{Position, Seq, StreamId};
use siltstone_log::pack::recovery::{PackRecoveryError, RecoveredPacks, recover_packs};
use siltstone_log::pack::{BlobIndex, PackConfig, PackWriter};
use siltstone_log::reader::{LogReader, ReadError, ReadItem, Unreadable};
use siltstone_log::recovery::{Recovered, RecoveryConfig, RecoveryError, recover};
use siltstone_log::script::{Io, Script, Step};
use siltstone_log::witness::{QuarantinedRange, add_range, store_quarantine};
use siltstone_log::writer::{Writer, WriterConfig};
use siltstone_projections::lacking::{self, Lacking};
use siltstone_projections::store::{LogState, check_fit};
use siltstone_projections::{Follower, FollowerEffect, FollowerInput, Pace, Space, StoreError};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How far a start has come.
pub(crate) enum Boot {
    /// The log is being recovered.
    Log(Script<Result<Recovered, RecoveryError>>),
    /// The packs are being recovered.
    Packs(Script<Result<RecoveredPacks, PackRecoveryError>>, Recovered),
    /// The projections read what they lack.
    Replay(Script<Result<Vec<ReadItem>, ReadError>>, Recovered, RecoveredPacks),
    /// What cannot be read of that is written down.
    Note(Script<Result<(), DiskError>>, Box<Replayed>),
}

/// A start that has read all it needs.
pub(crate) struct Replayed {
    recovered: Recovered,
    packs: RecoveredPacks,
    items: Vec<ReadItem>,
    /// The streams that lack records for what of these cannot be read.
    lacking: Vec<QuarantinedRange>,
}

/// Reads the log from a position to its end.
pub async fn read_log(io: Io, from: Position) -> Result<Vec<ReadItem>, ReadError> {
    let mut reader = LogReader::open(&io, from).await?;
    let mut items = Vec::new();
    while let Some(item) = reader.next(&io).await? {
        items.push(item);
    }
    Ok(items)
}

/// Why a start came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartFailure {
    /// The log cannot be recovered.
    Log(RecoveryError),
    /// The packs cannot be recovered.
    Packs(PackRecoveryError),
    /// The log cannot be read.
    Read(ReadError),
}

impl World {
    /// Begins a start. It goes on with each [`World::step`] until [`World::node`] is there.
    pub fn start(&mut self) -> Result<(), Violation> {
        let config = RecoveryConfig {
            log_id: self.log_id,
            node_id: self.node_id,
            projection_witness: self.projection_witness(),
        };
        note!(self, "start", {"witness": config.projection_witness.map(Position::get)});
        self.clients.clear();
        self.start_failure = None;
        self.boot = Some(Boot::Log(Script::new(|io| recover(io, config))));
        self.boot_step(None)
    }

    pub(crate) fn boot_disk(&mut self, result: DiskResult) -> Result<(), Violation> {
        self.boot_step(Some(result))
    }

    fn boot_step(&mut self, mut result: Option<DiskResult>) -> Result<(), Violation> {
        loop {
            let Some(mut boot) = self.boot.take() else { return Ok(()) };
            let submitted = match &mut boot {
                Boot::Log(script) => advance(script, result.take()),
                Boot::Packs(script, _) => advance(script, result.take()),
                Boot::Replay(script, ..) => advance(script, result.take()),
                Boot::Note(script, _) => advance(script, result.take()),
            };
            match submitted {
                Advance::Submit(op) => {
                    self.boot = Some(boot);
                    self.submit(Owner::Boot, op);
                    return Ok(());
                }
                Advance::Log(Ok(recovered)) => self.log_recovered(recovered)?,
                Advance::Packs(Ok(packs)) => self.packs_recovered(boot, packs)?,
                Advance::Replay(Ok(items)) => return self.replayed(boot, items),
                Advance::Note(Ok(())) => return self.noted(boot),
                Advance::Note(Err(error)) => self.start_failed(StartFailure::Log(error.into())),
                Advance::Log(Err(error)) => self.start_failed(StartFailure::Log(error)),
                Advance::Packs(Err(error)) => self.start_failed(StartFailure::Packs(error)),
                Advance::Replay(Err(error)) => self.start_failed(StartFailure::Read(error)),
            }
        }
    }

    fn start_failed(&mut self, failure: StartFailure) {
        note!(self, "start-failed", {"why": format!("{failure:?}")});
        self.start_failure = Some(failure);
    }

    fn log_recovered(&mut self, recovered: Recovered) -> Result<(), Violation> {
        note!(self, "log-recovered", {
            "next": recovered.next_position.get(),
            "clean": recovered.clean,
            "segments": recovered.segments.len(),
            "tail": recovered.tail_discarded.map(|tail| tail.bytes),
            "quarantine": recovered.quarantine.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "notes": recovered.notes,
        });
        self.counters.sometimes(State::TornTail, recovered.tail_discarded.is_some());
        self.counters.sometimes(State::Quarantine, !recovered.quarantine.is_empty());
        self.counters.sometimes(State::CleanStart, recovered.clean && recovered.next_position.get() > 1);
        self.check_store(&recovered)?;
        let (log_id, index) = (self.log_id, self.index.clone() as Arc<dyn BlobIndex>);
        self.boot = Some(Boot::Packs(Script::new(move |io| recover_packs(io, log_id, index)), recovered));
        Ok(())
    }

    /// Projections fit the log at every start, whatever has rotted: recovery knows how far they are, and what they
    /// remember of records that are lost is in quarantine. Only a repair, which gives that up, throws them away.
    fn check_store(&mut self, recovered: &Recovered) -> Result<(), Violation> {
        if std::mem::take(&mut self.condemned) {
            note!(self, "projections-lost", {"why": "condemned"});
            self.store.clear();
        }
        for space in Space::ALL {
            let checked = check_fit(self.store.rows(), space, &LogState::of(recovered));
            checked.map_err(|error| match error {
                StoreError::Ahead(_) => {
                    Violation::new("the log never ends before the projections", error.to_string())
                }
                StoreError::Damaged(_)
                | StoreError::OnlyCopy { .. }
                | StoreError::Io(_)
                | StoreError::NotInMemory => {
                    Violation::new("I1 projections hold durable records only", error.to_string())
                }
            })?;
        }
        Ok(())
    }

    fn packs_recovered(&mut self, boot: Boot, packs: RecoveredPacks) -> Result<(), Violation> {
        let Boot::Packs(_, recovered) = boot else { return Ok(()) };
        note!(self, "packs-recovered", {
            "next": packs.next_pack, "blobs": packs.blobs, "closed": packs.closed,
            "given_back": packs.given_back, "damaged": packs.damaged.len(),
        });
        let follower = self.follower(&recovered)?;
        let from = follower.resume_from();
        // Readers are lied to by recovery alone, which knows what it says of it: what rows that are built past damage lack
        // is a matter of the engine (`src/engine/catch_up.rs`).
        (self.disk.options.failed_read_one_in, self.disk.options.stale_read_one_in) = (0, 0);
        self.boot = Some(Boot::Replay(Script::new(move |io| read_log(io, from)), recovered, packs));
        Ok(())
    }

    /// What cannot be read is passed over: its streams take no writes, and reads show what there is.
    fn follower(&self, recovered: &Recovered) -> Result<Follower, Violation> {
        let losses = recovered.quarantine.iter().map(|range| (range.first, range.last)).collect();
        Follower::new(self.store.rows(), recovered.log_id, losses, Pace::Live)
            .map_err(|error| Violation::new("projections", error.to_string()))
    }

    /// What a reader of the whole log is told that it cannot read.
    fn unreadable(&self) -> Vec<Unreadable> {
        if !self.rotten {
            return Vec::new();
        }
        let mut disk = InstantDisk::new(self.observer());
        let items = Script::new(|io| read_log(io, Position(0))).run(&mut disk).unwrap_or_default();
        let unreadable = items.iter().filter_map(|item| match item {
            ReadItem::Unreadable(range) => Some(*range),
            ReadItem::Records(_) => None,
        });
        unreadable.collect()
    }

    /// Whether any record cannot be read that nobody has given up.
    pub(crate) fn has_unreadable_records(&self) -> bool {
        let quarantine = self.node.as_ref().is_some_and(|node| !node.recovered.quarantine.is_empty());
        quarantine || self.unreadable().iter().any(|range| !range.accepted)
    }

    /// What `src/engine/catch_up.rs` does: streams whose rows lack records are set apart, those of which the rows remember
    /// it and those that this start builds past what it cannot read, durably before it does.
    fn replayed(&mut self, boot: Boot, items: Vec<ReadItem>) -> Result<(), Violation> {
        let Boot::Replay(_, mut recovered, packs) = boot else { return Ok(()) };
        let remembered = lacking::not_in(self.store.rows(), &recovered.quarantine)
            .map_err(|error| Violation::new("projections", error.to_string()))?;
        self.counters.sometimes(State::RowsRemember, !remembered.is_empty());
        let mut found = Lacking::new(self.follower(&recovered)?.cursors());
        for item in &items {
            match item {
                ReadItem::Records(records) => {
                    for record in records {
                        found.record(record.stream, record.seq, record.place.position);
                    }
                }
                ReadItem::Unreadable(range) if !range.accepted => found.lost(range.first, range.last),
                ReadItem::Unreadable(_) => {}
            }
        }
        let lacking = found.finish(&recovered.heads);
        let all = remembered.into_iter().chain(lacking.iter().cloned());
        // All of them: each may be more.
        let more = all.filter(|range| add_range(&mut recovered.quarantine, range.clone())).count() > 0;
        let (log_id, ranges) = (self.log_id, recovered.quarantine.clone());
        let replayed = Box::new(Replayed { recovered, packs, items, lacking });
        if !more {
            return self.run_node(*replayed);
        }
        let note = Script::new(move |io| async move { store_quarantine(&io, log_id, &ranges).await });
        self.boot = Some(Boot::Note(note, replayed));
        self.boot_step(None)
    }

    fn noted(&mut self, boot: Boot) -> Result<(), Violation> {
        let Boot::Note(_, replayed) = boot else { return Ok(()) };
        self.run_node(*replayed)
    }

    fn run_node(&mut self, replayed: Replayed) -> Result<(), Violation> {
        let Replayed { recovered, packs, items, lacking } = replayed;
        let mut follower = self.follower(&recovered)?;
        self.lost_records |= !recovered.quarantine.is_empty() || !self.unreadable().is_empty();
        let mut holes = Holes::new(&follower);
        let inputs = items.into_iter().map(|item| match item {
            ReadItem::Records(records) => (FollowerInput::Records(records), false),
            ReadItem::Unreadable(Unreadable { first, last, accepted: true }) => {
                (FollowerInput::PassOver((first, last), BTreeSet::new()), false)
            }
            ReadItem::Unreadable(Unreadable { first, last, accepted: false }) => {
                let streams = lacking::for_range(&lacking, (first, last));
                (FollowerInput::PassOver((first, last), streams), true)
            }
        });
        let mut effects = Vec::new();
        for (input, lost) in inputs.chain([(FollowerInput::Flush, false)]) {
            self.store.note_holes(&holes.with(&input, lost));
            follower.handle(self.store.rows(), input, &mut effects);
            for effect in effects.drain(..) {
                match effect {
                    FollowerEffect::Commit(batch) => {
                        self.store
                            .commit(batch)
                            .map_err(|error| Violation::new("projections", error.to_string()))?;
                    }
                    FollowerEffect::Applied(_) => {}
                    FollowerEffect::Stuck(stuck) => {
                        return Err(Violation::new("projections follow the log", stuck.to_string()));
                    }
                }
            }
        }
        let ends: Vec<(StreamId, Seq)> =
            recovered.heads.iter().map(|(stream, head)| (*stream, head.seq)).collect();
        self.store.note_holes(&holes.before_their_ends(&ends));
        self.counters.sometimes(State::BuiltPastDamage, self.store.has_holes());
        let writer = Writer::new(&recovered, self.writer_config());
        // Small pages, so that what there is takes several.
        let walks = (Sweeper::new(&packs, self.schedule.index(4) + 1), Inventory::new(&packs));
        let packs = PackWriter::new(&packs, self.pack_config());
        let stuck = format!("{:?}", follower.status());
        let admission = Admission::new(self.limits(), self.free_space());
        self.node = Some(Node::new(recovered, writer, packs, follower, admission, walks));
        note!(self, "running", {"projections": stuck});
        self.sweep_later();
        self.begin_serving()
    }

    /// Only space is short here: what is let in is bounded by the clients, each of which does one thing at a time.
    fn limits(&self) -> Limits {
        Limits {
            bytes: u64::MAX,
            read_bytes: u64::MAX,
            requests: u64::MAX,
            per_request: u64::MAX,
            free_floor: self.plan.leave_free,
        }
    }

    fn writer_config(&self) -> WriterConfig {
        WriterConfig {
            segment_bytes: self.plan.segment_bytes,
            batch_records: self.plan.batch_records,
            batch_bytes: self.plan.batch_bytes,
            checkpoint_nanos: 50_000_000,
            leave_free: self.plan.leave_free,
            reserve_bytes: WriterConfig::MIN_SEGMENT_BYTES,
            ..WriterConfig::default()
        }
    }

    /// The sizes of packs in this run.
    pub fn pack_config(&self) -> PackConfig {
        PackConfig {
            pack_bytes: self.plan.pack_bytes,
            extent_bytes: self.plan.extent_bytes,
            leave_free: self.plan.leave_free,
        }
    }
}

/// The checker's own view of which streams' rows lack records: those that a pass applies with a gap in them, or not up to
/// their end, where something before that could not be read and was not given up.
struct Holes {
    last: BTreeMap<StreamId, (Seq, usize)>,
    /// How many such ranges the pass has met.
    met: usize,
}

impl Holes {
    fn new(follower: &Follower) -> Self {
        Self { last: follower.cursors().map(|(stream, cursor)| (stream, (cursor.seq, 0))).collect(), met: 0 }
    }

    /// The streams that get a hole by what comes next.
    fn with(&mut self, input: &FollowerInput, is_lost: bool) -> Vec<StreamId> {
        self.met += usize::from(is_lost);
        let FollowerInput::Records(records) = input else { return Vec::new() };
        let met = self.met;
        let jumps = records.iter().filter(|record| {
            let (last, then) = self.last.get(&record.stream).copied().unwrap_or_default();
            if record.seq > last {
                self.last.insert(record.stream, (record.seq, met));
            }
            record.seq.get() > last.get() + 1 && then < met
        });
        jumps.map(|record| record.stream).collect()
    }

    /// The streams of which the pass has not seen the end.
    fn before_their_ends(&self, ends: &[(StreamId, Seq)]) -> Vec<StreamId> {
        let unseen = ends.iter().filter(|(stream, end)| {
            let (last, then) = self.last.get(stream).copied().unwrap_or_default();
            last < *end && then < self.met
        });
        unseen.map(|(stream, _)| *stream).collect()
    }
}

enum Advance {
    Submit(siltstone_log::host::DiskOp),
    Log(Result<Recovered, RecoveryError>),
    Packs(Result<RecoveredPacks, PackRecoveryError>),
    Replay(Result<Vec<ReadItem>, ReadError>),
    Note(Result<(), DiskError>),
}

trait Outcome: Sized {
    fn done(self) -> Advance;
}

impl Outcome for Result<Recovered, RecoveryError> {
    fn done(self) -> Advance {
        Advance::Log(self)
    }
}

impl Outcome for Result<RecoveredPacks, PackRecoveryError> {
    fn done(self) -> Advance {
        Advance::Packs(self)
    }
}

impl Outcome for Result<Vec<ReadItem>, ReadError> {
    fn done(self) -> Advance {
        Advance::Replay(self)
    }
}

impl Outcome for Result<(), DiskError> {
    fn done(self) -> Advance {
        Advance::Note(self)
    }
}

fn advance<T: Outcome>(script: &mut Script<T>, result: Option<DiskResult>) -> Advance {
    match script.resume(result) {
        Step::Submit(op) => Advance::Submit(op),
        Step::Done(value) => value.done(),
    }
}
