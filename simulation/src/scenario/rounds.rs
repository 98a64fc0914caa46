//! A round: the node starts, works, and goes down one way or the other.

use crate::audited::Audited;
use crate::invariants::Violation;
use crate::sometimes::State;
use crate::world::boot::StartFailure;
use crate::world::disk::Crash;
use crate::world::node::{Life, Node};
use crate::world::{Down, World};
use siltstone_log::host::{Clock, DiskErrorKind};
use siltstone_log::pack::recovery::PackRecoveryError;
use siltstone_log::recovery::RecoveryError;

pub(super) type Checked = Result<(), Violation>;

/// Operations of the rounds that a run adds because it has not done enough.
const LONG_ROUND: u64 = 150;

/// Rounds after which a run that has not done enough is given up.
const MOST_ROUNDS: u64 = 120;

/// How soon a node serves whose disk and network are healed, in simulated nanoseconds.
const SERVES_WITHIN: u64 = 60_000_000_000;

/// More events than any round needs: what goes on for longer is stuck.
pub(crate) const MOST_EVENTS: u64 = 400_000;

/// How a stretch of events ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// What was waited for has come.
    Reached,
    /// The crash that was planned came first.
    Crashed,
    /// The disk failed, and the node ended itself.
    Failed,
    /// Nothing is left to happen.
    Idle,
}

impl World {
    /// Lets events happen until something is reached, or so many have happened.
    pub(super) fn run_until(
        &mut self,
        most: u64,
        reached: impl Fn(&Self) -> bool,
    ) -> Result<Ended, Violation> {
        let until = self.handled + most.min(MOST_EVENTS);
        loop {
            if self.node.as_ref().is_some_and(Node::has_failed) {
                return Ok(Ended::Failed);
            }
            if reached(self) {
                return Ok(Ended::Reached);
            }
            if self.handled >= until {
                return if most < MOST_EVENTS { Ok(Ended::Crashed) } else { Err(self.stuck_world()) };
            }
            if !self.step()? {
                return Ok(Ended::Idle);
            }
        }
    }

    fn stuck_world(&self) -> Violation {
        Violation::new(
            "the node makes progress",
            format!("{MOST_EVENTS} events brought no end at {:?}", self.now()),
        )
    }

    pub(super) fn draw_crash(&mut self) -> Down {
        let power = self.faults.percent(self.plan.power_cut_percent);
        Down::Crash(if power { Crash::PowerCut } else { Crash::Kill })
    }

    /// Starts the node, crashing in the middle of it as often as the plan wants, and looks at everything.
    pub(super) fn bring_up(&mut self) -> Checked {
        loop {
            self.start()?;
            let most = if self.faults.percent(self.plan.crash_in_recovery_percent) {
                self.faults.between(0, 60)
            } else {
                MOST_EVENTS
            };
            let ended = self.run_until(most, |world| {
                world.start_failure.is_some()
                    || world.node.as_ref().is_some_and(|node| node.life >= Life::Started)
            })?;
            if let Some(failure) = &self.start_failure {
                if !self.is_injected(failure) {
                    return Err(Violation::new("the node starts again", format!("{failure:?}")));
                }
                self.counters.sometimes(State::FailedSync, self.plan.failed_sync_one_in > 0);
                self.go_down(Down::DiskFailed)?;
                continue;
            }
            match ended {
                Ended::Reached => return Ok(()),
                Ended::Crashed => {
                    let down = self.draw_crash();
                    self.go_down(down)?;
                }
                Ended::Failed => self.exit_after_failure()?,
                Ended::Idle => {
                    return Err(Violation::new("the node makes progress", "a start that waits for nothing"));
                }
            }
        }
    }

    /// Whether a start failed because the plan let an operation fail: the process ends, and is started again.
    fn is_injected(&self, failure: &StartFailure) -> bool {
        let faults = self.plan.failed_sync_one_in > 0
            || self.plan.failed_write_one_in > 0
            || self.disk.options.failed_read_one_in > 0;
        let error = match failure {
            StartFailure::Log(RecoveryError::CopyDiffers { .. }) => {
                return self.disk.options.stale_read_one_in > 0;
            }
            StartFailure::Log(RecoveryError::Disk(error))
            | StartFailure::Packs(PackRecoveryError::Disk(error)) => error,
            StartFailure::Log(_) | StartFailure::Packs(_) | StartFailure::Read(_) => return false,
        };
        faults && error.kind == DiskErrorKind::Io
    }

    fn exit_after_failure(&mut self) -> Checked {
        // What else is under way goes on for a moment, and nothing of it may be acknowledged.
        for _ in 0..self.faults.below(40) {
            if !self.step()? {
                break;
            }
        }
        self.go_down(Down::DiskFailed)?;
        if self.faults.percent(self.plan.power_cut_percent) {
            self.go_down(Down::Crash(Crash::PowerCut))?;
        }
        Ok(())
    }

    pub(super) fn settle_and_audit(&mut self) -> Result<Ended, Violation> {
        let ended = self.run_until(MOST_EVENTS, World::is_quiet)?;
        if ended == Ended::Reached {
            self.audit()?;
        }
        Ok(ended)
    }

    /// Goes on until the crash would interrupt what the draw aims at, or it has not come up for a while.
    fn aim(&mut self) -> Result<Ended, Violation> {
        let aim = self.faults.below(5);
        let hit = |world: &Self| match aim {
            0 | 3 => world.is_writing_log(),
            1 => world.is_writing_packs(),
            2 => world.node.as_ref().is_some_and(Node::is_rolling),
            _ => true,
        };
        self.run_until(400, hit)
    }

    /// Lets the clients work until they are done, or a crash comes.
    pub(super) fn work(&mut self, operations: u64, crash: bool) -> Result<Ended, Violation> {
        self.operations_left = operations;
        self.let_clients_in();
        // Each message that is under way is an event more.
        let each = if self.plan.delay_millis > 0 { 10 } else { 7 };
        let most = if crash { self.faults.between(1, operations * each) } else { MOST_EVENTS };
        match self.run_until(most, |world| world.operations_left == 0 && world.is_quiet())? {
            Ended::Crashed => match self.aim()? {
                Ended::Failed => Ok(Ended::Failed),
                Ended::Reached | Ended::Crashed | Ended::Idle => Ok(Ended::Crashed),
            },
            ended => Ok(ended),
        }
    }

    pub(super) fn stop_cleanly(&mut self) -> Result<Ended, Violation> {
        self.stop()?;
        let ended = self.run_until(MOST_EVENTS, World::has_stopped)?;
        if ended == Ended::Reached {
            self.go_down(Down::Clean)?;
        }
        Ok(ended)
    }

    /// One round of write, crash, recover.
    pub(super) fn round(&mut self) -> Checked {
        self.bring_up()?;
        if self.faults.coin() && self.settle_and_audit()? == Ended::Failed {
            return self.exit_after_failure();
        }
        let clean = self.faults.percent(self.plan.clean_stop_percent);
        let operations = self.faults.between(1, self.plan.operations);
        match self.work(operations, !clean)? {
            Ended::Failed => self.exit_after_failure(),
            Ended::Crashed => {
                let down = self.draw_crash();
                self.go_down(down)
            }
            Ended::Reached | Ended::Idle => {
                self.audit()?;
                if clean {
                    match self.stop_cleanly()? {
                        Ended::Failed => self.exit_after_failure(),
                        _ => Ok(()),
                    }
                } else {
                    let down = self.draw_crash();
                    self.go_down(down)
                }
            }
        }
    }

    /// The last start: nothing fails any more, and everything is compared.
    pub(crate) fn last_look(&mut self) -> Checked {
        let healed = self.clock.monotonic_nanos();
        self.disk.options.failed_sync_one_in = 0;
        self.disk.options.failed_write_one_in = 0;
        self.plan.crash_in_recovery_percent = 0;
        self.plan.refused_one_in = 0;
        self.heal_network();
        self.bring_up()?;
        self.run_until(MOST_EVENTS, |world| world.is_quiet() && world.has_swept())?;
        self.audited = Audited::default();
        let verdict = self.audit()?;
        self.nothing_is_half_made(&verdict.model)?;
        self.nothing_unnamed_is_stored(&verdict.model)?;
        self.still_works()?;
        let took = self.clock.monotonic_nanos() - healed;
        if took > SERVES_WITHIN {
            return Err(Violation::new("a healed node serves within a minute", format!("it took {took} ns")));
        }
        self.operations_are_linearizable()?;
        self.log_verifies()?;
        self.stop_cleanly()?;
        self.log_verifies()
    }

    /// Whether the plan's rounds are over and have done what every run must do.
    pub(super) fn has_done_enough(&mut self, rounds: u64) -> bool {
        if rounds < self.plan.rounds {
            return false;
        }
        // Few and long rounds from here on: each costs a recovery and two looks at everything.
        self.plan.operations = self.plan.operations.max(LONG_ROUND);
        self.counters.is_enough() || rounds >= MOST_ROUNDS
    }

    /// Works while the network loses nothing: what it loses says nothing of the node.
    pub(super) fn work_connected(&mut self, operations: u64) -> Checked {
        let plan = self.plan.clone();
        self.heal_network();
        self.work(operations, false)?;
        self.plan.take_network(&plan);
        Ok(())
    }

    /// The node still takes writes.
    pub(super) fn still_works(&mut self) -> Checked {
        let before = self.counters.acknowledged;
        self.plan.mix.put += 20;
        self.work_connected(12)?;
        if self.counters.acknowledged == before {
            return Err(Violation::new(
                "the node takes writes after recovery",
                "none of 12 operations went through",
            ));
        }
        self.audit().map(drop)
    }
}

pub(super) fn crash_and_recover(world: &mut World) -> Checked {
    for round in 0.. {
        if world.has_done_enough(round) {
            break;
        }
        world.round()?;
    }
    world.last_look()
}

pub(super) fn fail_and_recover(world: &mut World) -> Checked {
    crash_and_recover(world)
}
