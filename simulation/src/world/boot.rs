//! A start: recover the log, recover the packs, let the projections catch up, then run.
//!
//! Each step is one of the product's own scripts; a crash may come between any two of its disk operations.

use super::disk::InstantDisk;
use super::node::Node;
use super::{Owner, World};
use crate::invariants::Violation;
use crate::sometimes::State;
use serde_json::json;
use siltstone::engine::Limits;
use siltstone::engine::admission::Admission;
use siltstone::engine::sweep::Sweeper;
use siltstone_log::host::DiskResult;
use siltstone_log::id::Position;
use siltstone_log::pack::recovery::{PackRecoveryError, RecoveredPacks, recover_packs};
use siltstone_log::pack::{BlobIndex, PackConfig, PackWriter};
use siltstone_log::reader::{LogReader, ReadError, ReadItem, Unreadable};
use siltstone_log::recovery::{Recovered, RecoveryConfig, RecoveryError, recover};
use siltstone_log::script::{Io, Script, Step};
use siltstone_log::writer::{Writer, WriterConfig};
use siltstone_projections::store::{LogState, check_fit};
use siltstone_projections::{Follower, FollowerEffect, FollowerInput, Pace, Space, StoreError};
use std::sync::Arc;

/// How far a start has come.
pub(crate) enum Boot {
    /// The log is being recovered.
    Log(Script<Result<Recovered, RecoveryError>>),
    /// The packs are being recovered.
    Packs(Script<Result<RecoveredPacks, PackRecoveryError>>, Recovered),
    /// The projections read what they lack.
    Replay(Script<Result<Vec<ReadItem>, ReadError>>, Recovered, RecoveredPacks),
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
        self.event("start", &json!({"witness": config.projection_witness.map(Position::get)}));
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
            };
            match submitted {
                Advance::Submit(op) => {
                    self.boot = Some(boot);
                    self.submit(Owner::Boot, op);
                    return Ok(());
                }
                Advance::Log(Ok(recovered)) => self.log_recovered(recovered)?,
                Advance::Packs(Ok(packs)) => self.packs_recovered(boot, packs)?,
                Advance::Replay(Ok(items)) => return self.run_node(boot, items),
                Advance::Log(Err(error)) => self.start_failed(StartFailure::Log(error)),
                Advance::Packs(Err(error)) => self.start_failed(StartFailure::Packs(error)),
                Advance::Replay(Err(error)) => self.start_failed(StartFailure::Read(error)),
            }
        }
    }

    fn start_failed(&mut self, failure: StartFailure) {
        self.event("start-failed", &json!({"why": format!("{failure:?}")}));
        self.start_failure = Some(failure);
    }

    fn log_recovered(&mut self, recovered: Recovered) -> Result<(), Violation> {
        self.event(
            "log-recovered",
            &json!({
                "next": recovered.next_position.get(),
                "clean": recovered.clean,
                "segments": recovered.segments.len(),
                "tail": recovered.tail_discarded.map(|tail| tail.bytes),
                "quarantine": recovered.quarantine.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "notes": recovered.notes,
            }),
        );
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
            self.event("projections-lost", &json!({"why": "condemned"}));
            self.store.clear();
        }
        for space in Space::ALL {
            let checked = check_fit(self.store.rows(), space, &LogState::of(recovered));
            checked.map_err(|error| match error {
                StoreError::Ahead(_) => {
                    Violation::new("the log never ends before the projections", error.to_string())
                }
                StoreError::Damaged(_) | StoreError::Io(_) | StoreError::NotInMemory => {
                    Violation::new("I1 projections hold durable records only", error.to_string())
                }
            })?;
        }
        Ok(())
    }

    fn packs_recovered(&mut self, boot: Boot, packs: RecoveredPacks) -> Result<(), Violation> {
        let Boot::Packs(_, recovered) = boot else { return Ok(()) };
        self.event(
            "packs-recovered",
            &json!({
                "next": packs.next_pack, "blobs": packs.blobs, "closed": packs.closed,
                "given_back": packs.given_back, "damaged": packs.damaged.len(),
            }),
        );
        let follower = self.follower(&recovered)?;
        let from = follower.resume_from();
        self.boot = Some(Boot::Replay(Script::new(move |io| read_log(io, from)), recovered, packs));
        Ok(())
    }

    /// What cannot be read is passed over: its streams take no writes, and reads show what there is.
    fn follower(&self, recovered: &Recovered) -> Result<Follower, Violation> {
        let losses = self.known_losses(recovered);
        Follower::new(self.store.rows(), recovered.log_id, losses, Pace::Live)
            .map_err(|error| Violation::new("projections", error.to_string()))
    }

    /// Every range of the log that cannot be read, wherever this start begins to read.
    fn known_losses(&self, recovered: &Recovered) -> Vec<(Position, Position)> {
        let quarantine = recovered.quarantine.iter().map(|range| (range.first, range.last));
        quarantine.chain(self.unreadable().iter().map(|range| (range.first, range.last))).collect()
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

    fn run_node(&mut self, boot: Boot, items: Vec<ReadItem>) -> Result<(), Violation> {
        let Boot::Replay(_, recovered, packs) = boot else { return Ok(()) };
        let mut follower = self.follower(&recovered)?;
        self.lost_records |= !self.known_losses(&recovered).is_empty();
        let mut effects = Vec::new();
        for item in items {
            if let ReadItem::Records(records) = item {
                follower.handle(self.store.rows(), FollowerInput::Records(records), &mut effects);
            }
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
        let writer = Writer::new(&recovered, self.writer_config());
        // Small pages, so that what there is takes several.
        let sweeper = Sweeper::new(&packs, self.schedule.index(4) + 1);
        let packs = PackWriter::new(&packs, self.pack_config());
        let stuck = format!("{:?}", follower.status());
        let admission = Admission::new(self.limits(), self.free_space());
        self.node = Some(Node::new(recovered, writer, packs, follower, admission, sweeper));
        self.event("running", &json!({"projections": stuck}));
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

enum Advance {
    Submit(siltstone_log::host::DiskOp),
    Log(Result<Recovered, RecoveryError>),
    Packs(Result<RecoveredPacks, PackRecoveryError>),
    Replay(Result<Vec<ReadItem>, ReadError>),
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

fn advance<T: Outcome>(script: &mut Script<T>, result: Option<DiskResult>) -> Advance {
    match script.resume(result) {
        Step::Submit(op) => Advance::Submit(op),
        Step::Done(value) => value.done(),
    }
}
