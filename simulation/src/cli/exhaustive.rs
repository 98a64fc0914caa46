//! `siltstone-sim exhaustive`: every crash of one run.

use super::{VIOLATION, at_commit, mutants};
use clap::Args;
use siltstone_simulation::exhaustive::{ENUMERATED, Failure, Request, run};
use std::process::ExitCode;

#[derive(Args)]
pub(super) struct ExhaustiveArgs {
    /// Operations of clients in the run.
    #[arg(long, default_value_t = 200)]
    operations: u64,
    /// The first disk operation to crash after.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// The last; without it, the last of the run.
    #[arg(long)]
    to: Option<u64>,
    /// Only the crash that these of the newest unsynced changes survive: a bit for each, the lowest for the oldest.
    #[arg(long, requires = "to", value_parser = clap::value_parser!(u64).range(..1 << ENUMERATED))]
    survivors: Option<u64>,
    /// How many threads; without it, as many as there are processors.
    #[arg(long)]
    jobs: Option<usize>,
    /// Plant this bug (needs a build with `--features mutants`).
    #[arg(long, hide = true)]
    mutant: Option<String>,
}

/// One crash in so many is a line of progress.
const PROGRESS: u64 = 500;

pub(super) fn exhaustive(args: &ExhaustiveArgs) -> ExitCode {
    if let Some(mutant) = &args.mutant
        && let Err(message) = mutants::plant(mutant)
    {
        return super::fail(&message);
    }
    let jobs = args.jobs.unwrap_or_else(super::processors);
    let points = args.from..=args.to.unwrap_or(u64::MAX);
    let request = Request { operations: args.operations, points, survivors: args.survivors, jobs };
    // A mutant is planted in one thread at a time.
    let prepare = || args.mutant.iter().for_each(|mutant| drop(mutants::plant(mutant)));
    let progress = |point: u64, states: u64| {
        if states.is_multiple_of(PROGRESS) {
            eprint!("\rdisk operation {point}, {states} states");
        }
    };
    let report = run(&request, &prepare, &progress);
    eprintln!();
    let totals = report.totals;
    println!(
        "crash points {} (like the one before {}, with more than {ENUMERATED} changes pending {}), subsets {}, states {}",
        totals.points, totals.repeated, totals.beyond, totals.subsets, totals.states
    );
    print!("{}", report.counters);
    match report.failure {
        Some(failure) => {
            println!("VIOLATION {}", failure.violation);
            println!("{}", repeat(args, &failure));
            ExitCode::from(VIOLATION)
        }
        None if totals.states == 0 => super::fail("the run has no such crash"),
        None => ExitCode::SUCCESS,
    }
}

/// The command that repeats exactly this crash; where the run itself failed, the run.
fn repeat(args: &ExhaustiveArgs, Failure { point, survivors, .. }: &Failure) -> String {
    let survivors = survivors.map(|subset| format!(" --survivors {subset}")).unwrap_or_default();
    let mutant = args.mutant.as_ref().map(|mutant| format!(" --mutant {mutant}")).unwrap_or_default();
    let operations = args.operations;
    format!(
        "siltstone-sim exhaustive --operations {operations} --from {point} --to {point}{survivors}{mutant}{}",
        at_commit()
    )
}
