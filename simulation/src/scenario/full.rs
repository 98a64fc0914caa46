//! A volume that fills up: what would need more is refused, what makes room still goes through, and when there is
//! space again the node goes on by itself.

use super::rounds::{Checked, Ended, MOST_EVENTS};
use crate::invariants::Violation;
use crate::sometimes::State;
use crate::world::boot::StartFailure;
use crate::world::node::Life;
use crate::world::note;
use crate::world::{Down, World};
use siltstone_log::host::{Clock, DiskErrorKind};
use siltstone_log::recovery::RecoveryError;

impl World {
    /// Something else on the volume takes all but a little.
    fn fill(&mut self) {
        let left = if self.faults.coin() { 0 } else { self.faults.below(self.plan.segment_bytes) };
        let free = self.disk.free();
        self.disk.take_space(free.saturating_sub(left));
        note!(self, "volume-filled", {"left": left});
    }

    fn drain(&mut self) {
        self.disk.take_space(0);
        self.disk.options.capacity = 1 << 40;
        note!(self, "volume-drained", {});
    }

    /// A start needs room for a copy of the last segment's end. Without it the node stays down until there is some.
    fn bring_up_full(&mut self) -> Checked {
        self.start()?;
        self.run_until(MOST_EVENTS, |world| {
            world.start_failure.is_some()
                || world.node.as_ref().is_some_and(|node| node.life >= Life::Started)
        })?;
        match &self.start_failure {
            None => Ok(()),
            Some(StartFailure::Log(RecoveryError::Disk(error))) if error.kind == DiskErrorKind::NoSpace => {
                self.counters.reach(State::StartWithoutSpace);
                self.go_down(Down::DiskFailed)?;
                self.drain();
                self.bring_up()
            }
            Some(failure) => Err(Violation::new("the node starts again", format!("{failure:?}"))),
        }
    }

    fn work_full(&mut self) -> Result<Ended, Violation> {
        let ended = self.work(self.plan.operations, false)?;
        if ended == Ended::Failed {
            return Err(Violation::new(
                "a full volume is no failure of the disk",
                format!("{:?}", self.now()),
            ));
        }
        Ok(ended)
    }

    /// After the space came back, and the writer's retry is due, writes go through.
    fn space_comes_back(&mut self) -> Checked {
        self.drain();
        let until = self.clock.monotonic_nanos() + 3_000_000_000;
        self.operations_left = 0;
        self.run_until(MOST_EVENTS, move |world| world.clock.monotonic_nanos() >= until)?;
        self.run_until(MOST_EVENTS, World::is_quiet)?;
        // What was refused by half has been repeated, without anyone asking for it again.
        let verdict = self.audit()?;
        self.nothing_is_half_made(&verdict.model)?;
        let before = self.counters.acknowledged;
        self.plan.mix.put += 20;
        self.work_connected(16)?;
        if self.counters.acknowledged == before {
            return Err(Violation::new(
                "writes go on when space is back",
                "none of 16 operations went through",
            ));
        }
        self.counters.reach(State::SpaceBack);
        self.audit().map(drop)
    }
}

pub(super) fn fill_and_drain(world: &mut World) -> Checked {
    for round in 0.. {
        if world.has_done_enough(round) {
            break;
        }
        world.bring_up_full()?;
        world.work_full()?;
        world.audit()?;
        world.fill();
        world.work_full()?;
        world.audit()?;
        if world.faults.percent(75) {
            let down = world.draw_crash();
            world.go_down(down)?;
            world.bring_up_full()?;
            world.work_full()?;
        }
        world.space_comes_back()?;
        world.audit()?;
        let down = world.draw_crash();
        world.go_down(down)?;
    }
    world.last_look()
}
