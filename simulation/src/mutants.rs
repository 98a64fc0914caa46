//! Plants known bugs and looks for the seed that shows each: a checker that has never caught a bug proves nothing.

use crate::fault::{Plan, Scenario};
use crate::invariants::Violation;
use crate::scenario;
use crate::trace::Trace;
use siltstone_log::mutants::{Mutant, plant};

/// A bug that was caught.
#[derive(Debug)]
pub struct Caught {
    /// The run that caught it.
    pub plan: Plan,
    /// What it found.
    pub violation: Violation,
    /// How many seeds were tried.
    pub tried: u64,
}

/// Finds a mutant by its number, for example `M1`.
pub fn find(name: &str) -> Option<Mutant> {
    Mutant::ALL.into_iter().find(|(number, _)| *number == name).map(|(_, mutant)| mutant)
}

/// The scenario that has the faults a mutant needs to show.
pub fn scenario_for(mutant: Mutant) -> Scenario {
    match mutant {
        Mutant::AckBeforeSync
        | Mutant::NoFolderSync
        | Mutant::SubmitBeforeBlobSync
        | Mutant::ApplyAgain
        | Mutant::SeparatePosition
        | Mutant::SkipAtPageEnd
        | Mutant::FollowClockBack
        | Mutant::DeleteOnFailedComplete
        | Mutant::HashOrder
        | Mutant::FreeShared
        | Mutant::ExpireEarly
        | Mutant::SweepStaged
        | Mutant::SweepPast
        | Mutant::SweepNothing
        | Mutant::KeepRemains
        | Mutant::KeepPermit => Scenario::CrashRecovery,
        Mutant::DropsField => Scenario::SlowNetwork,
        Mutant::ForgetSecondHalf => Scenario::FullDisk,
        Mutant::RetrySync => Scenario::FailedFsync,
        Mutant::TruncateAtDamage | Mutant::ForgetLostEnd | Mutant::ForgetLacking => Scenario::DiskRot,
    }
}

/// Tries seeds from 1 on until one of them catches the mutant.
pub fn hunt(mutant: Mutant, seeds: u64) -> Option<Caught> {
    plant(Some(mutant));
    let caught = (1..=seeds).find_map(|seed| {
        let plan = Plan::draw(seed, scenario_for(mutant));
        let violation = if mutant == Mutant::HashOrder { differs(&plan) } else { violation(&plan) }?;
        Some(Caught { plan, violation, tried: seed })
    });
    plant(None);
    caught
}

fn violation(plan: &Plan) -> Option<Violation> {
    scenario::run(plan, Trace::none()).violation
}

/// Runs a seed twice: what is not determined by it shows in the trace.
fn differs(plan: &Plan) -> Option<Violation> {
    let hash = || scenario::run(plan, Trace::hashed()).trace.finish().ok();
    let (one, other) = (hash(), hash());
    let message = || format!("two runs gave {one:?} and {other:?}");
    (one != other).then(|| Violation::new("one seed, one trace", message()))
}
