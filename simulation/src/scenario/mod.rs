//! The runs: what a plan's scenario does with a world, step by step.

mod atlas;
mod full;
mod lies;
mod rot;
mod rounds;

pub(crate) use rounds::MOST_EVENTS;

use crate::fault::{Plan, Scenario};
use crate::invariants::Violation;
use crate::sometimes::Counters;
use crate::trace::Trace;
use crate::world::{UNTIL, World};
use serde_json::json;

/// What a run came to.
pub struct Outcome {
    /// What happened how often.
    pub counters: Counters,
    /// The promise that was not kept, if there is one.
    pub violation: Option<Violation>,
    /// The trace, to be finished.
    pub trace: Trace,
}

/// Runs a plan.
pub fn run(plan: &Plan, trace: Trace) -> Outcome {
    run_until(plan, trace, None)
}

/// Runs a plan up to an instant, in simulated nanoseconds.
pub fn run_until(plan: &Plan, trace: Trace, until: Option<u64>) -> Outcome {
    let mut world = World::new(plan.clone(), trace);
    world.until = until;
    world.event("plan", &json!(plan));
    let run = || match plan.scenario {
        Scenario::CrashRecovery | Scenario::BucketProtocol | Scenario::SlowNetwork => {
            rounds::crash_and_recover(&mut world)
        }
        Scenario::FailedFsync => rounds::fail_and_recover(&mut world),
        Scenario::DiskRot => rot::rot_and_report(&mut world),
        Scenario::LyingDisk => lies::lie_and_report(&mut world),
        Scenario::FullDisk => full::fill_and_drain(&mut world),
    };
    let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run))
        .unwrap_or_else(|panic| Err(Violation::new("nothing panics", panic_message(&*panic))));
    let result = match done {
        Err(ended) if ended.checker == UNTIL => Ok(()),
        Ok(()) if !world.counters.is_enough() => {
            let message =
                format!("{} acknowledged, {} crashes", world.counters.acknowledged, world.counters.crashes);
            Err(Violation::new("a run does enough to mean something", message))
        }
        done => done,
    };
    if let Err(violation) = &result {
        world.event("violation", &json!({"checker": violation.checker, "message": violation.message}));
    }
    Outcome { counters: world.counters, violation: result.err(), trace: world.trace }
}

pub(crate) fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without words".to_owned())
}
