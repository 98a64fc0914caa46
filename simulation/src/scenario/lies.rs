//! A disk that lies: writes that it acknowledged and never did, or did elsewhere; reads that give what was there before,
//! or fail once; another disk in its place, or its own of yesterday.

use super::atlas::LastRecord;
use super::rot::damage_and_report;
use super::rounds::{Checked, MOST_EVENTS};
use crate::invariants::Violation;
use crate::sometimes::State;
use crate::world::boot::StartFailure;
use crate::world::disk::{SimDisk, Written};
use crate::world::node::Life;
use crate::world::note;
use crate::world::{Down, World};
use siltstone_log::host::{FilePath, Folder};
use siltstone_log::id::Position;
use siltstone_log::recovery::RecoveryError;
use siltstone_log::witness::checkpoint_file;

const PAGE: u64 = 4096;

impl World {
    /// Damages what has another copy, while the node is down.
    fn damage_spares(&mut self) {
        let Some(newest) = self.last_record() else { return };
        let newest = newest.segment.file();
        let segments = self.disk.files(Folder::Log).into_iter().filter(|(name, _)| name.ends_with(".seg"));
        let segments = segments.map(|(name, len)| (FilePath::new(Folder::Log, name), len));
        let mut places = vec![(checkpoint_file(), 0, 2 * PAGE)];
        for (file, len) in segments.filter(|(file, _)| *file < newest) {
            places.push((file.clone(), 0, PAGE));
            places.push((file, len.saturating_sub(PAGE), len));
        }
        for _ in 0..self.faults.below(3) {
            let Some((file, from, to)) = self.faults.pick(&places).cloned() else { continue };
            let at = self.faults.between(from, to.saturating_sub(1));
            let written: Vec<Written> = self.disk.written(Folder::Log);
            let written: Vec<Written> = written
                .into_iter()
                .filter(|one| one.file == file && (from..to).contains(&one.offset))
                .collect();
            let how = self.faults.below(3);
            match (how, self.faults.pick(&written).cloned()) {
                (0, Some(write)) => self.disk.lose_write(&write),
                (1, _) => self.disk.lose_sector(&file, at / 512),
                _ => self.disk.flip_bit(&file, at, 3),
            }
            self.counters.reach(State::SpareDamaged);
            note!(self, "rot", {"file": file.to_string(), "at": at, "how": how, "spare": true});
        }
    }

    /// After damage to spare copies nothing is missing, and nothing is refused.
    fn everything_is_there(&mut self) -> Checked {
        self.bring_up()?;
        self.run_until(MOST_EVENTS, |world| world.is_quiet() && world.has_swept())?;
        let verdict = self.audit()?;
        self.nothing_is_half_made(&verdict.model)?;
        self.nothing_unnamed_is_stored(&verdict.model)?;
        self.still_works()?;
        self.operations_are_linearizable()?;
        self.stop_cleanly().map(drop)
    }

    /// Takes writes back that were acknowledged, or moves them.
    pub(super) fn lie(&mut self) {
        let targets = self.targets();
        for _ in 0..self.faults.between(1, 4) {
            let folder = if self.faults.percent(70) { Folder::Log } else { Folder::Packs };
            let within = |one: &Written| {
                targets.iter().any(|target| target.file == one.file && one.offset + one.len <= target.end)
            };
            let written: Vec<Written> = self.disk.written(folder).into_iter().filter(within).collect();
            let Some(first) = self.faults.pick(&written).cloned() else { continue };
            // A disk may lose a whole write, or a part of it.
            let whole = self.faults.coin();
            let parts = written.into_iter().filter(|one| {
                *one == first || (whole && one.operation == first.operation && one.file == first.file)
            });
            let parts: Vec<Written> = parts.collect();
            let how = self.faults.below(3);
            let elsewhere: Vec<_> = targets.iter().filter(|target| target.file.folder == folder).collect();
            let to = self.faults.pick(&elsewhere).map(|target| {
                (target.file.clone(), self.faults.below(target.end.div_ceil(PAGE)) * PAGE, target.end)
            });
            for part in &parts {
                match (how, &to) {
                    (0, Some((file, offset, end))) => {
                        // Moved as one, and not past what damage may hit.
                        let offset = offset + (part.offset - parts[0].offset.min(part.offset));
                        if offset + part.len <= *end {
                            self.disk.misdirect_write(part, file, offset);
                            self.counters.reach(State::MisdirectedWrite);
                        }
                    }
                    (1, _) => {
                        self.disk.lose_sector(&part.file, part.offset / 512);
                        self.counters.reach(State::UnreadableSector);
                    }
                    _ => {
                        self.disk.lose_write(part);
                        self.counters.reach(State::LostWrite);
                    }
                }
            }
            self.rotten = true;
            let to = to.map(|(file, offset, _)| format!("{file} at {offset}"));
            let parts: Vec<String> = parts
                .iter()
                .map(|one| format!("{} at {}, {} bytes", one.file, one.offset, one.len))
                .collect();
            note!(self, "lie", {"how": how, "writes": parts, "to": to});
        }
    }

    /// The writes of the last batch were never done, where any of them can be taken back.
    pub(super) fn lose_last_batch(&mut self, last: &LastRecord) -> Option<()> {
        let file = last.segment.file();
        let written = self.disk.written(Folder::Log).into_iter();
        let newest = written.filter(|one| one.file == file && one.offset >= last.batch);
        let newest: Vec<Written> = newest.collect();
        for write in &newest {
            self.disk.lose_write(write);
        }
        self.counters.sometimes(State::LostWrite, !newest.is_empty());
        (!newest.is_empty()).then_some(())
    }

    /// Works, and goes down one way or the other, with the newest batch told of by a witness or not.
    fn work_and_go_down(&mut self) -> Checked {
        self.bring_up()?;
        self.work(self.plan.operations, false)?;
        if self.faults.coin() {
            self.idle(1500)?;
        }
        self.audit()?;
        let down = self.draw_crash();
        self.go_down(down)
    }

    /// Reads fail once, and give what was there before, while the node starts and while it runs. What it refuses for that
    /// is refused until a repair; the disk is well, and nothing is lost.
    fn read_badly(&mut self) -> Checked {
        self.work_and_go_down()?;
        let newest = self.last_record().map(|last| (last.segment.file(), last.batch));
        self.disk.spare(newest.or_else(|| Some((checkpoint_file(), 0))));
        self.rotten = true;
        self.lie_to_readers(true);
        self.bring_up()?;
        self.disk.spare(None);
        self.lie_to_readers(true);
        self.work(self.plan.operations, false)?;
        self.lie_to_readers(false);
        let (failed, stale) = self.disk.lying_reads();
        self.counters.sometimes(State::ReadFailedOnce, failed > 0);
        self.counters.sometimes(State::StaleRead, stale > 0);
        self.settle_and_audit()?;
        self.stop_cleanly()?;
        self.repair()?;
        // Every byte is as it was written.
        (self.rotten, self.lost_records) = (false, false);
        self.everything_is_there()
    }

    fn lie_to_readers(&mut self, lie: bool) {
        let one_in = |wanted: u64| if lie { wanted } else { 0 };
        self.disk.options.failed_read_one_in = one_in(self.plan.failed_read_one_in);
        self.disk.options.stale_read_one_in = one_in(self.plan.stale_read_one_in);
    }

    /// The last position that can be read.
    fn end_of_log(&self) -> Position {
        self.last_record().map_or(Position(0), |last| last.position)
    }

    /// The volume of log and packs is set back to how it was, while the projections lie elsewhere: they tell.
    ///
    /// The projections are the last good copy of that: no power is cut here, which could take their last commits.
    fn roll_back(&mut self, before: SimDisk) -> Checked {
        self.plan.power_cut_percent = 0;
        self.plan.lost_projections_percent = 0;
        self.work_and_go_down()?;
        let Some(witness) = self.projection_witness() else { return self.everything_is_there() };
        self.disk = before;
        self.rotten = true;
        note!(self, "rolled-back", {"to": self.end_of_log().get(), "witness": witness.get()});
        if self.end_of_log() < witness {
            self.counters.reach(State::RolledBack);
            self.quarantined_round()?;
            self.stop_cleanly()?;
        }
        self.repair()?;
        self.repaired_round()
    }

    /// Another disk, empty, where log and packs were: the start is refused, and goes on with the right one.
    fn start_on_an_empty_disk(&mut self) -> Checked {
        self.work_and_go_down()?;
        if self.projection_witness().is_none() {
            // Nothing is left that could tell: this is a new node.
            return self.everything_is_there();
        }
        let options = self.disk.options.clone();
        let right = std::mem::replace(&mut self.disk, SimDisk::new(self.plan.seed, options));
        note!(self, "emptied", {});
        self.start()?;
        self.run_until(MOST_EVENTS, |world| {
            world.start_failure.is_some()
                || world.node.as_ref().is_some_and(|node| node.life >= Life::Started)
        })?;
        match &self.start_failure {
            Some(StartFailure::Log(RecoveryError::LogMissing { .. })) => {}
            other => {
                let message = format!("it came to {other:?}");
                return Err(Violation::new("a node does not start without its log", message));
            }
        }
        self.counters.reach(State::DiskMissing);
        self.go_down(Down::DiskFailed)?;
        self.disk = right;
        self.everything_is_there()
    }
}

pub(super) fn lie_and_report(world: &mut World) -> Checked {
    world.disk.options.remembers = true;
    for round in 0.. {
        if world.has_done_enough(round) {
            break;
        }
        world.round()?;
        world.damage_spares();
    }
    world.everything_is_there()?;
    let before = world.disk.clone();
    match world.faults.below(4) {
        0 => world.read_badly(),
        1 => world.roll_back(before),
        2 => world.start_on_an_empty_disk(),
        _ => damage_and_report(world),
    }
}
