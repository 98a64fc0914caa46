//! `siltstone log repair`

use crate::cli::exit::ExitCode;
use crate::cli::output::{Format, OutputArgs, print_object};
use crate::cli::progress::{Counted, Progress, ProgressArgs};
use crate::cli::{CliError, Out, data};
use crate::engine::PROJECTIONS;
use clap::Args;
use serde_json::json;
use siltstone_log::event::{Actor, Door};
use siltstone_log::host::real::{RealClock, RealEntropy};
use siltstone_log::host::{Clock, draw};
use siltstone_log::id::{Salt, Span, StreamId};
use siltstone_log::repair::{Damage, RepairConfig, RepairReport, repair, survey};
use siltstone_log::script::Script;
use siltstone_log::segment::AcceptedLoss;
use siltstone_log::witness::{QuarantinedRange, Touched};
use siltstone_projections::store::fjall::FjallStore;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// What to give up.
#[derive(Debug, Args)]
pub struct RepairArgs {
    /// The data directory
    dir: PathBuf,
    /// Accept that what cannot be read is lost; without it, it is listed and nothing is changed
    #[arg(long)]
    accept_loss: bool,
    #[command(flatten)]
    progress: ProgressArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Whose records can be in a range.
fn concerned(range: &QuarantinedRange) -> String {
    let names = |streams: &BTreeSet<StreamId>| {
        let names: Vec<String> = streams.iter().map(|stream| data::stream_name(*stream)).collect();
        names.join(", ")
    };
    match &range.touched {
        Touched::Only(streams) if streams.is_empty() => "streams that are not known".to_owned(),
        Touched::Only(streams) => names(streams),
        Touched::AllExcept(streams) if streams.is_empty() => "any stream".to_owned(),
        Touched::AllExcept(streams) => format!("any stream but {}", names(streams)),
    }
}

/// What a repair would do, for someone to decide.
fn show_damage(damage: &Damage, format: Format, out: Out<'_>) -> Result<(), CliError> {
    match format {
        Format::Table => {
            for range in &damage.ranges {
                writeln!(out, "cannot be read: {range}")?;
                writeln!(out, "  records of {}", concerned(range))?;
            }
            if damage.ranges.is_empty() {
                writeln!(out, "no record is lost; a repair writes these segments anew")?;
            } else {
                writeln!(
                    out,
                    "A repair gives these records up. `siltstone log inspect DIR --from N --to N` shows what is left of one.\n\
                     Where the disk may still come to its senses (cables, controllers), copy DIR first, and read it there."
                )?;
            }
            for finding in &damage.findings {
                writeln!(out, "  {finding}")?;
            }
        }
        format => {
            let value = json!({
                "ranges": damage.ranges.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "findings": damage.findings.iter().map(ToString::to_string).collect::<Vec<_>>(),
            });
            print_object(out, format, &value)?;
        }
    }
    Ok(())
}

/// Lists what cannot be read, or gives it up.
pub fn run(args: &RepairArgs, out: Out<'_>) -> Result<ExitCode, CliError> {
    let locked = data::Locked::open(&args.dir)?;
    let recovery = locked.recovery;
    // What the projections were built without is lost to them even if the disk gives it again and the file that said so is
    // gone: they have to be built anew.
    let log_id = locked.dir.format().log_id;
    let remembered = FjallStore::lacking(&locked.path(PROJECTIONS), log_id, &locked.log.quarantine)?;
    let known = remembered.clone();
    let mut progress = Progress::begin(args.progress, "survey", data::log_bytes(&locked.disk)?);
    let survey = Script::new(move |io| survey(io, recovery, known));
    let damage = survey.run(&mut Counted::new(locked.disk.clone(), &mut progress));
    progress.end();
    let damage = damage?;
    if !args.accept_loss && !damage.is_none() {
        show_damage(&damage, args.output.format(), out)?;
        return Err(CliError::LossNotAccepted);
    }
    if args.accept_loss && !damage.ranges.is_empty() {
        // ORDER: before the repair. Rows that were built past a range which could not be read lack what the repair finds in
        // it again, and nothing would ever bring it to them: they count the range as applied.
        data::discard_projections(&locked.path(PROJECTIONS))?;
    }
    let config = RepairConfig {
        recovery: locked.recovery,
        actor: Actor::server(Door::Offline),
        salt: Salt(draw(&RealEntropy)),
        wall_millis: RealClock::default().wall_millis(),
        remembered,
    };
    let report = if damage.is_none() {
        RepairReport::default()
    } else {
        Script::new(move |io| repair(io, config)).run(&mut locked.disk.clone())?
    };
    let lost = |loss: &AcceptedLoss| json!({ "first": loss.first, "last": loss.last });
    let rewritten = report
        .rewritten
        .iter()
        .map(|(old, new)| json!({ "old": old.map(|name| name.to_string()), "new": new.to_string() }));
    let value = json!({
        "ranges": report.ranges.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "given_up": report.given_up.iter().map(lost).collect::<Vec<_>>(),
        "emptied": report.emptied,
        "rewritten": rewritten.collect::<Vec<_>>(),
    });
    match args.output.format() {
        Format::Table if damage.is_none() => writeln!(out, "nothing to repair")?,
        Format::Table => {
            for range in &report.ranges {
                writeln!(out, "could not be read: {range}")?;
            }
            for loss in &report.given_up {
                writeln!(out, "  given up: {}", Span(loss.first, loss.last))?;
            }
            for position in &report.emptied {
                writeln!(out, "  kept without its unreadable body or content: position {position}")?;
            }
            if report.ranges.is_empty() {
                writeln!(out, "{} segments written anew; no record was lost", report.rewritten.len())?;
            } else {
                writeln!(out, "This is recorded in the log. The next start builds the projections anew.")?;
            }
        }
        format => print_object(out, format, &value)?,
    }
    Ok(ExitCode::Ok)
}

#[cfg(test)]
mod tests {
    use crate::cli::data::discard_projections;
    use siltstone_log::id::{LogId, Position};
    use siltstone_projections::store::LogState;
    use siltstone_projections::store::fjall::FjallStore;
    use std::collections::BTreeMap;

    #[test]
    fn projections_that_a_repair_outdates_are_not_used_again_and_missing_ones_are_no_error() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("projections");
        discard_projections(&folder).unwrap();
        let heads = BTreeMap::new();
        let (log_id, next_position) = (LogId([1; 16]), Position(1));
        let log = LogState { log_id, next_position, heads: &heads, quarantine: &[] };
        drop(FjallStore::open(&folder, &log).unwrap());
        discard_projections(&folder).unwrap();
        assert!(FjallStore::open(&folder, &log).unwrap().discarded.is_some());
    }
}
