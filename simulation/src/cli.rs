//! The command line. Exit codes: 0 all promises kept, 1 failed, 2 usage, 9 a promise was not kept.

mod exhaustive;

use clap::{Args, Parser, Subcommand};
use siltstone_simulation::fault::{Plan, Scenario};
use siltstone_simulation::scenario::{self, Outcome, run_until};
use siltstone_simulation::sometimes::{Counters, State};
use siltstone_simulation::trace::Trace;
use std::fmt::Write as _;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command as Process, ExitCode};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// A promise was not kept.
const VIOLATION: u8 = 9;

/// From so many seeds on, a sweep fails if a registered state was never reached.
const SWEEP_REACHES_ALL: u64 = 100;

/// Runs one node from a seed: the product's own state machines on a simulated disk and clock.
#[derive(Parser)]
#[command(name = "siltstone-sim", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs one seed.
    Run(RunArgs),
    /// Runs many seeds.
    Sweep(SweepArgs),
    /// Crashes one run after each of its disk operations, with every subset of its newest unsynced changes.
    Exhaustive(exhaustive::ExhaustiveArgs),
    /// Runs seeds in two processes each and compares their traces.
    Meta(MetaArgs),
    /// Looks for the smallest plan of a failing seed that breaks the same promise.
    Shrink(ShrinkArgs),
    /// Plants each known bug in turn and shows that it is caught (needs a build with `--features mutants`).
    Mutants(MutantArgs),
}

#[derive(Args)]
struct MetaArgs {
    /// The first seed.
    #[arg(long)]
    seed: u64,
    /// How many seeds from it on.
    #[arg(long, default_value_t = 1)]
    count: u64,
    /// The scenario; without it each seed picks one.
    #[arg(long, value_parser = parse_scenario)]
    scenario: Option<Scenario>,
}

#[derive(Args)]
struct ShrinkArgs {
    /// The failing seed.
    seed: u64,
    /// The scenario; without it the seed picks one.
    #[arg(long, value_parser = parse_scenario)]
    scenario: Option<Scenario>,
    /// Plant this bug (needs a build with `--features mutants`).
    #[arg(long, hide = true)]
    mutant: Option<String>,
}

#[derive(Args)]
struct RunArgs {
    /// The seed.
    #[arg(long, required_unless_present = "plan")]
    seed: Option<u64>,
    /// The scenario; without it the seed picks one.
    #[arg(long, value_parser = parse_scenario)]
    scenario: Option<Scenario>,
    /// Run the plan of this file instead: one that `shrink` printed, or a trace.
    #[arg(long, conflicts_with_all = ["seed", "scenario"])]
    plan: Option<PathBuf>,
    /// End the run at this instant, in simulated milliseconds.
    #[arg(long)]
    until: Option<u64>,
    /// Write every event to this file, one JSON object a line.
    #[arg(long)]
    trace: Option<PathBuf>,
    /// Print the hash of the trace.
    #[arg(long, hide = true)]
    hash: bool,
    /// Plant this bug (needs a build with `--features mutants`).
    #[arg(long, hide = true)]
    mutant: Option<String>,
}

#[derive(Args)]
struct SweepArgs {
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// How many seeds.
    #[arg(long)]
    count: u64,
    /// How many at a time; without it, as many as there are processors.
    #[arg(long)]
    jobs: Option<usize>,
    /// The scenario; without it each seed picks one.
    #[arg(long, value_parser = parse_scenario)]
    scenario: Option<Scenario>,
}

#[derive(Args)]
struct MutantArgs {
    /// The most seeds to try for each.
    #[arg(long, default_value_t = 500)]
    seeds: u64,
}

fn parse_scenario(name: &str) -> Result<Scenario, String> {
    let known = Scenario::ALL.map(Scenario::name).join(", ");
    Scenario::parse(name).ok_or_else(|| format!("there is no scenario of this name; known are: {known}"))
}

/// Runs the program.
pub fn run() -> ExitCode {
    match Cli::parse().command {
        Command::Run(args) => run_one(&args),
        Command::Sweep(args) => sweep(&args),
        Command::Exhaustive(args) => exhaustive::exhaustive(&args),
        Command::Meta(args) => meta(&args),
        Command::Shrink(args) => shrink(&args),
        Command::Mutants(args) => mutants::run(args.seeds),
    }
}

fn plan_of(seed: u64, scenario: Option<Scenario>) -> Plan {
    Plan::draw(seed, scenario.unwrap_or_else(|| Scenario::of_seed(seed)))
}

/// The exact command that repeats a run, with the commit it holds for where the sources say that.
fn repeat(plan: &Plan) -> String {
    format!("siltstone-sim run --seed {} --scenario {}{}", plan.seed, plan.scenario, at_commit())
}

fn at_commit() -> String {
    let head = Process::new("git").args(["rev-parse", "--short", "HEAD"]).output().ok();
    let head = head.filter(|output| output.status.success());
    let commit = head.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    commit.map(|commit| format!(" # commit {commit}")).unwrap_or_default()
}

#[expect(clippy::disallowed_methods, reason = "a plan is the simulator's own input, not the product's")]
fn read_plan(path: &Path) -> Result<Plan, String> {
    let text = File::open(path).and_then(std::io::read_to_string);
    let plan = text.map_err(|error| error.to_string()).and_then(|text| Plan::parse(&text));
    plan.map_err(|error| format!("{}: {error}", path.display()))
}

/// Halves and drops what a plan has while the same promise stays broken.
fn shrink(args: &ShrinkArgs) -> ExitCode {
    if let Some(mutant) = &args.mutant
        && let Err(message) = mutants::plant(mutant)
    {
        return fail(&message);
    }
    let first = plan_of(args.seed, args.scenario);
    let breaks = |plan: &Plan| scenario::run(plan, Trace::none()).violation;
    let Some(violation) = breaks(&first) else {
        return fail(&format!("seed {} breaks no promise{}", args.seed, at_commit()));
    };
    let mut smallest = first;
    let same = |plan: &Plan| breaks(plan).is_some_and(|found| found.checker == violation.checker);
    while let Some(smaller) = smallest.smaller().into_iter().find(|plan| same(plan)) {
        smallest = smaller;
    }
    println!("{}", serde_json::to_string(&smallest).expect("a plan is plain data"));
    println!("VIOLATION {}", breaks(&smallest).unwrap_or(violation));
    println!("siltstone-sim run --plan FILE-WITH-THE-FIRST-LINE{}", at_commit());
    ExitCode::from(VIOLATION)
}

fn fail(message: &str) -> ExitCode {
    eprintln!("siltstone-sim: {message}");
    ExitCode::FAILURE
}

fn run_one(args: &RunArgs) -> ExitCode {
    let plan = match (&args.plan, args.seed) {
        (Some(path), _) => match read_plan(path) {
            Ok(plan) => plan,
            Err(message) => {
                eprintln!("siltstone-sim: {message}");
                return ExitCode::from(2);
            }
        },
        (None, seed) => plan_of(seed.unwrap_or_default(), args.scenario),
    };
    let trace = match (&args.trace, args.hash) {
        (Some(path), _) => match Trace::to_file(path) {
            Ok(trace) => trace,
            Err(error) => return fail(&format!("{}: {error}", path.display())),
        },
        (None, true) => Trace::hashed(),
        (None, false) => Trace::none(),
    };
    if let Some(mutant) = &args.mutant
        && let Err(message) = mutants::plant(mutant)
    {
        return fail(&message);
    }
    println!("{}", serde_json::to_string(&plan).expect("a plan is plain data"));
    let Outcome { counters, violation, trace } =
        run_until(&plan, trace, args.until.map(|millis| millis.saturating_mul(1_000_000)));
    print!("{counters}");
    match trace.finish() {
        Ok((events, hash)) if args.hash || args.trace.is_some() => {
            println!("trace: {events} events, blake3 {hash}");
        }
        Ok(_) => {}
        Err(error) => return fail(&format!("the trace cannot be written: {error}")),
    }
    match violation {
        None => ExitCode::SUCCESS,
        Some(violation) => {
            println!("VIOLATION {violation}");
            match &args.plan {
                Some(path) => println!("siltstone-sim run --plan {}{}", path.display(), at_commit()),
                None => println!("{}", repeat(&plan)),
            }
            ExitCode::from(VIOLATION)
        }
    }
}

struct Sweep {
    next: AtomicU64,
    done: AtomicU64,
    total: Mutex<Totals>,
}

#[derive(Default)]
struct Totals {
    counters: Counters,
    failed: Option<(Plan, String)>,
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

fn sweep(args: &SweepArgs) -> ExitCode {
    let jobs = args.jobs.unwrap_or_else(processors);
    let sweep = Sweep { next: AtomicU64::new(0), done: AtomicU64::new(0), total: Mutex::default() };
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| sweep.worker(args));
        }
    });
    let done = sweep.done.load(Ordering::Relaxed);
    let totals = sweep.total.into_inner().expect("no worker panicked while it held the lock");
    eprintln!();
    println!("seeds {done} from {}", args.from);
    print!("{}", totals.counters);
    if let Some((plan, violation)) = totals.failed {
        println!("VIOLATION {violation}");
        println!("{}", repeat(&plan));
        return ExitCode::from(VIOLATION);
    }
    let missed: Vec<&str> = State::ALL
        .iter()
        .filter(|state| state.is_expected(args.scenario) && totals.counters.times(**state) == 0)
        .map(|state| state.text())
        .collect();
    if args.count >= SWEEP_REACHES_ALL && !missed.is_empty() {
        println!("never reached: {}", missed.join(", "));
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

impl Sweep {
    fn worker(&self, args: &SweepArgs) {
        loop {
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            if index >= args.count || self.total.lock().expect("no panic").failed.is_some() {
                return;
            }
            let plan = plan_of(args.from + index, args.scenario);
            let outcome = scenario::run(&plan, Trace::none());
            let mut total = self.total.lock().expect("no panic");
            total.counters.add(&outcome.counters);
            if let Some(violation) = outcome.violation {
                // The lowest seed is reported, whichever thread came to it first.
                if total.failed.as_ref().is_none_or(|(failed, _)| plan.seed < failed.seed) {
                    total.failed = Some((plan, violation.to_string()));
                }
            }
            let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
            if done.is_multiple_of(10) {
                eprint!("\r{done} of {} seeds", args.count);
            }
        }
    }
}

fn meta(args: &MetaArgs) -> ExitCode {
    for seed in args.seed..args.seed.saturating_add(args.count) {
        let same = one_trace(seed, args.scenario);
        if same != ExitCode::SUCCESS {
            return same;
        }
    }
    ExitCode::SUCCESS
}

fn one_trace(seed: u64, scenario: Option<Scenario>) -> ExitCode {
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => return fail(&format!("cannot find this program: {error}")),
    };
    let mut outputs = Vec::new();
    for _ in 0..2 {
        let mut child = Process::new(&program);
        child.args(["run", "--hash", "--seed", &seed.to_string()]);
        if let Some(scenario) = scenario {
            child.args(["--scenario", scenario.name()]);
        }
        match child.output() {
            Ok(output) => outputs.push((output.status.code(), output.stdout)),
            Err(error) => return fail(&format!("cannot run {}: {error}", program.display())),
        }
    }
    let text = String::from_utf8_lossy(&outputs[0].1).into_owned();
    let hash = text.lines().find(|line| line.starts_with("trace:")).unwrap_or("no trace").to_owned();
    if outputs[0] == outputs[1] {
        println!("seed {seed}: {hash}, the same in two processes");
        return ExitCode::SUCCESS;
    }
    let mut report = String::new();
    let other = String::from_utf8_lossy(&outputs[1].1).into_owned();
    for (one, two) in text.lines().zip(other.lines()).filter(|(one, two)| one != two) {
        let _ = writeln!(report, "- {one}\n+ {two}");
    }
    println!("two processes differ:\n{report}siltstone-sim meta --seed {seed}{}", at_commit());
    ExitCode::from(VIOLATION)
}

#[cfg(not(feature = "mutants"))]
mod mutants {
    use std::process::ExitCode;

    const MISSING: &str =
        "this build has no mutants: cargo run -p siltstone-simulation --features mutants -- mutants";

    pub fn plant(_mutant: &str) -> Result<(), String> {
        Err(MISSING.to_owned())
    }

    pub fn run(_seeds: u64) -> ExitCode {
        eprintln!("siltstone-sim: {MISSING}");
        ExitCode::from(2)
    }
}

#[cfg(feature = "mutants")]
mod mutants {
    use siltstone_log::mutants::{Mutant, plant as plant_mutant};
    use siltstone_simulation::mutants::{find, hunt};
    use std::process::ExitCode;

    pub fn plant(mutant: &str) -> Result<(), String> {
        let found = find(mutant).ok_or_else(|| format!("there is no mutant {mutant}"))?;
        plant_mutant(Some(found));
        Ok(())
    }

    pub fn run(seeds: u64) -> ExitCode {
        let mut survivors = Vec::new();
        for (name, mutant) in Mutant::ALL {
            match hunt(mutant, seeds) {
                Some(caught) => println!(
                    "{name} caught by \"{}\" at seed {} ({}), the {}. tried",
                    caught.violation.checker, caught.plan.seed, caught.plan.scenario, caught.tried
                ),
                None => survivors.push(name),
            }
        }
        if survivors.is_empty() {
            return ExitCode::SUCCESS;
        }
        println!("survived {seeds} seeds: {}", survivors.join(", "));
        ExitCode::from(super::VIOLATION)
    }
}
