//! Damage at rest: it must be found and reported, wherever it is; nothing else may be lost.

use super::atlas::Target;
use super::rounds::{Checked, Ended, MOST_EVENTS};
use crate::fault::Scenario;
use crate::invariants::Violation;
use crate::sometimes::State;
use crate::world::World;
use crate::world::disk::{InstantDisk, SECTOR};
use crate::world::note;
use siltstone_log::event::{Actor, Door};
use siltstone_log::host::{Clock, DiskOp, FilePath, Folder};
use siltstone_log::id::{Position, Salt};
use siltstone_log::recovery::RecoveryConfig;
use siltstone_log::repair::{RepairConfig, RepairReport, repair, survey};
use siltstone_log::script::{Script, Step};
use siltstone_log::witness::{QuarantinedRange, is_refused, quarantine_file};
use siltstone_projections::lacking;

impl World {
    /// Lets time pass, so that the log marks its last batch as durable and writes its checkpoint.
    pub(super) fn idle(&mut self, millis: u64) -> Result<Ended, Violation> {
        let until = self.clock.monotonic_nanos() + millis * 1_000_000;
        self.run_until(MOST_EVENTS, move |world| world.clock.monotonic_nanos() >= until && world.is_quiet())
    }

    /// Draws a place, mostly one where something was written: most of a batch's last page and of a pack is zeros.
    fn damage_at(&mut self, file: &FilePath, end: u64) -> u64 {
        let mut offset = self.faults.below(end);
        for _ in 0..16 {
            if self.disk.durable_bytes(file, offset, 1) != [0] {
                break;
            }
            offset = self.faults.below(end);
        }
        offset
    }

    /// Damages the last batch and nothing else, where the projections can tell of it. Says up to which position they do.
    fn rot_last_batch(&mut self) -> Option<Position> {
        let witness = self.projection_witness()?;
        let last = self.last_record().filter(|last| witness >= last.position)?;
        let bit = u8::try_from(self.faults.below(8)).unwrap_or(0);
        let at = last.offset + self.faults.below(160);
        match self.plan.scenario {
            Scenario::LyingDisk => self.lose_last_batch(&last)?,
            _ => self.disk.flip_bit(&last.segment.file(), at, bit),
        }
        self.rotten = true;
        note!(self, "rot", {"file": last.segment.to_string(), "at": at, "last_batch": true});
        Some(last.position)
    }

    /// A batch that was acknowledged and rotted between the crash and the start is damage and no torn append, and only
    /// the projections know.
    fn rotten_tail_is_found(&mut self) -> Checked {
        let Some(last) = self.rot_last_batch() else { return Ok(()) };
        // A power cut before recovery is done could take the witness, which is in no file that was synced.
        let crashes = std::mem::take(&mut self.plan.crash_in_recovery_percent);
        self.bring_up()?;
        self.plan.crash_in_recovery_percent = crashes;
        if let Some(node) = &self.node {
            let (quarantine, tail) = (&node.recovered.quarantine, node.recovered.tail_discarded);
            if tail.is_some_and(|tail| tail.first <= last) {
                let what = format!("position {last} is known to have been durable, and {tail:?} was dropped");
                return Err(Violation::new("a witnessed batch is never cut off", what));
            }
            let found = quarantine.iter().any(|range| range.first <= last && last <= range.last);
            self.counters.sometimes(State::RottenTail, found);
        }
        self.settle_and_audit()?;
        self.stop_cleanly().map(drop)
    }

    /// Damages some places of the log or the packs.
    fn damage(&mut self) {
        match self.plan.scenario {
            Scenario::LyingDisk => self.lie(),
            _ => self.rot(),
        }
    }

    fn rot(&mut self) {
        let targets = self.targets();
        for hit in 0..self.faults.between(1, 5) {
            // The log is small beside the packs, and most of them is unused.
            let log = hit == 0 || self.faults.percent(70);
            let wanted: Vec<&Target> =
                targets.iter().filter(|target| (target.file.folder == Folder::Log) == log).collect();
            // The last segment is the one that recovery reads.
            let last = wanted.len().saturating_sub(1);
            let index =
                if hit == 0 || self.faults.percent(65) { last } else { self.faults.index(wanted.len()) };
            let Some(Target { file, end }) = wanted.get(index) else { continue };
            let offset = self.damage_at(file, *end);
            let how = self.faults.below(3);
            match how {
                0 | 1 => {
                    let bit = u8::try_from(self.faults.below(8)).unwrap_or(0);
                    self.disk.flip_bit(file, offset, bit);
                }
                _ if (offset / SECTOR + 1) * SECTOR <= *end => {
                    self.disk.scramble_sector(file, offset / SECTOR);
                }
                _ => continue,
            }
            self.rotten = true;
            note!(self, "rot", {"file": file.to_string(), "at": offset, "sector": how == 2});
        }
    }

    pub(super) fn quarantined_round(&mut self) -> Checked {
        self.bring_up()?;
        self.settle_and_audit()?;
        let quarantine = self.node.as_ref().map(|node| node.recovered.quarantine.clone()).unwrap_or_default();
        self.lost_through = quarantine.iter().map(|range| range.last).max();
        let before = self.counters.acknowledged;
        self.work(self.plan.operations, false)?;
        self.audit()?;
        let refused = self.history.streams().filter(|stream| is_refused(&quarantine, **stream)).count();
        note!(self, "quarantined", {"ranges": quarantine.len(), "streams": refused});
        let open = quarantine.is_empty() || refused == 0;
        if open && self.counters.acknowledged == before {
            return Err(Violation::new(
                "what is not damaged takes writes",
                format!("nothing went through in a round beside {quarantine:?}"),
            ));
        }
        if !quarantine.is_empty() {
            self.counters.reach(State::Quarantine);
        }
        Ok(())
    }

    /// `log repair --accept-loss` on the stopped node, which a crash may interrupt.
    pub(super) fn repair(&mut self) -> Checked {
        let crash = self.faults.coin();
        let mut most = if crash { self.faults.between(1, 60) } else { u64::MAX };
        loop {
            let recovery = RecoveryConfig {
                log_id: self.log_id,
                node_id: self.node_id,
                projection_witness: self.projection_witness(),
            };
            let remembered = self.remembered()?;
            let known = remembered.clone();
            let survey = Script::new(move |io| survey(io, recovery, known));
            let damage = survey.run(&mut InstantDisk::new(self.observer()));
            let damage = damage.map_err(|error| Violation::new("damage can be listed", error.to_string()))?;
            // As `siltstone log repair` does, and durably: rows built past a range lack what the repair finds in it again,
            // and others remember what it gives up.
            self.condemned |= !damage.ranges.is_empty();
            let config = RepairConfig {
                recovery,
                actor: Actor::server(Door::Offline),
                salt: Salt(self.faults.bytes()),
                wall_millis: self.clock.wall_millis(),
                remembered,
            };
            let mut script = Script::new(|io| repair(io, config));
            let mut step = script.resume(None);
            let done = loop {
                match step {
                    Step::Done(result) => break Some(result),
                    Step::Submit(_) if most == 0 => break None,
                    Step::Submit(op) => {
                        most -= 1;
                        let in_flight = self.disk.begin(op);
                        step = script.resume(Some(self.disk.complete(&in_flight)));
                    }
                }
            };
            match done {
                Some(Ok(report)) => {
                    self.repaired(&report);
                    return Ok(());
                }
                Some(Err(error)) => {
                    return Err(Violation::new("a repair can be done", error.to_string()));
                }
                None => {
                    most = u64::MAX;
                    // It may have given records up, and its report was never seen.
                    self.lost_records = true;
                    self.counters.reach(State::CrashInRepair);
                    let down = self.draw_crash();
                    self.go_down(down)?;
                }
            }
        }
    }

    /// A whole file is lost while nobody has it open: a sealed segment, or a pack. Not the newest segment, as for damage.
    fn lose_file(&mut self) -> Checked {
        let last = self.last_record().map(|last| last.segment.file());
        let is_newest = |target: &Target| Some(&target.file) == last.as_ref();
        let targets = self.targets();
        let packs = self.faults.percent(75);
        let wanted: Vec<&Target> = targets
            .iter()
            .filter(|target| (target.file.folder == Folder::Packs) == packs && !is_newest(target))
            .collect();
        let Some(Target { file, .. }) = self.faults.pick(&wanted).copied() else { return Ok(()) };
        self.rotten = true;
        note!(self, "rot", {"file": file.to_string(), "gone": true});
        self.remove(file.clone())
    }

    fn remove(&mut self, file: FilePath) -> Checked {
        let folder = file.folder;
        for op in [DiskOp::Remove { file }, DiskOp::SyncFolder { folder }] {
            let in_flight = self.disk.begin(op);
            let done = self.disk.complete(&in_flight);
            done.map_err(|error| Violation::new("simulation", error.to_string()))?;
        }
        Ok(())
    }

    /// What the rows say that they lack, which `siltstone log repair` asks as well.
    fn remembered(&self) -> Result<Vec<QuarantinedRange>, Violation> {
        // Rows that are condemned already are not asked.
        if self.condemned {
            return Ok(Vec::new());
        }
        let known = lacking::not_in(self.store.rows(), &[]);
        known.map_err(|error| Violation::new("projections", error.to_string()))
    }

    /// The last copy but one of what the log has lost is lost too: `log/QUARANTINE`, which is deletable, goes or rots. Not
    /// where it alone remembers an end of the log: a single node that loses all its witnesses cannot know of that.
    /// Says whether it did.
    fn forget_quarantine(&mut self) -> Result<bool, Violation> {
        let file = quarantine_file();
        let is_there = self.disk.files(Folder::Log).iter().any(|(name, _)| **name == *file.name);
        let last = self.last_record().map(|last| last.position);
        let end_is_lost = self.lost_through > last;
        if !is_there || end_is_lost || self.faults.once_in(4) {
            return Ok(false);
        }
        let gone = self.faults.coin();
        if gone {
            self.remove(file)?;
        } else {
            let bit = u8::try_from(self.faults.below(8)).unwrap_or(0);
            self.disk.flip_bit(&file, self.faults.below(8), bit);
        }
        note!(self, "rot", {"file": "log/QUARANTINE", "gone": gone});
        Ok(true)
    }

    fn repaired(&mut self, report: &RepairReport) {
        note!(self, "repaired", {"given_up": report.given_up.len(), "emptied": report.emptied.len(), "ranges": report.ranges.len()});
        self.counters.sometimes(State::Repaired, !report.ranges.is_empty());
        self.lost_records |= !report.given_up.is_empty();
        self.emptied.extend(report.emptied.iter().copied());
    }

    /// After a repair nothing is in quarantine, and writes go through.
    pub(super) fn repaired_round(&mut self) -> Checked {
        self.bring_up()?;
        if let Some(range) = self.node.as_ref().and_then(|node| node.recovered.quarantine.first()) {
            return Err(Violation::new("a repair lifts the quarantine", range.to_string()));
        }
        self.settle_and_audit()?;
        self.still_works()?;
        self.stop_cleanly().map(drop)
    }
}

pub(super) fn rot_and_report(world: &mut World) -> Checked {
    for round in 0.. {
        if world.has_done_enough(round) {
            break;
        }
        world.round()?;
    }
    world.operations_are_linearizable()?;
    damage_and_report(world)
}

/// Damage to what there is only one copy of: while the node runs, while it is down, and what a repair makes of it.
pub(super) fn damage_and_report(world: &mut World) -> Checked {
    world.bring_up()?;
    world.work(world.plan.operations, false)?;
    world.audit()?;
    world.idle(1500)?;
    if world.faults.coin() {
        // Found by readers, while the node runs.
        world.damage();
        world.work(world.plan.operations / 2, false)?;
        world.idle(1500)?;
    }
    if world.faults.once_in(4) {
        world.stop_cleanly()?;
    } else {
        // Without a pause nothing but the projections speaks of the last batch.
        if world.faults.coin() {
            world.work(world.plan.operations / 2, false)?;
        }
        let down = world.draw_crash();
        world.go_down(down)?;
        if world.faults.coin() {
            world.rotten_tail_is_found()?;
        }
    }
    world.damage();
    if world.faults.once_in(3) {
        world.lose_file()?;
    }
    if world.faults.coin() {
        world.lose_projections();
    }
    world.quarantined_round()?;
    world.stop_cleanly()?;
    if world.forget_quarantine()? && !world.faults.once_in(4) {
        world.quarantined_round()?;
        world.stop_cleanly()?;
    }
    world.repair()?;
    world.repaired_round()
}
