//! `siltstone projection`: works on the projections of a server that is not running.

use super::data::{Locked, discard_projections, segments};
use super::exit::ExitCode;
use super::output::{Format, OutputArgs, print_list, print_object};
use super::progress::{Extent, Progress, ProgressArgs};
use super::{CliError, Out};
use crate::engine::PROJECTIONS;
use crate::engine::catch_up::{CatchUp, set_apart};
use crate::engine::damage::FoundDamage;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use siltstone_projections::rebuild::{Comparison, Difference, compare};
use siltstone_projections::store::fjall::{FjallStore, Opened};
use siltstone_projections::store::{LogState, meta};
use siltstone_projections::{Rows, SCHEMA, Space, Store};
use std::path::{Path, PathBuf};

/// The differing rows that are shown.
const SHOWN_DIFFERENCES: usize = 20;
/// Where a second copy is built to compare with.
const COPY: &str = "projections.verify";

/// `projection …`
#[derive(Debug, Subcommand)]
pub enum ProjectionCommand {
    /// Build the projections a second time from the log and compare; exits with 6 if they differ
    Verify(ProjectionArgs),
    /// Throw the projections away and build them from the log
    Rebuild(ProjectionArgs),
    /// Bring the projections up to date and print their digests
    Digest(ProjectionArgs),
}

/// Whose, and in which form.
#[derive(Debug, Args)]
pub struct ProjectionArgs {
    /// The data directory
    dir: PathBuf,
    #[command(flatten)]
    progress: ProgressArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Runs `siltstone projection`.
pub fn run(command: ProjectionCommand, out: Out<'_>) -> Result<ExitCode, CliError> {
    match command {
        ProjectionCommand::Verify(args) => run_verify(&args, out),
        ProjectionCommand::Rebuild(args) => {
            let mut locked = Locked::open(&args.dir)?.recovered()?;
            let live = locked.path(PROJECTIONS);
            discard_projections(&live)?;
            let opened = open(&locked, &live)?;
            follow(&mut locked, &opened.store, args.progress)?;
            show_digests(args.output.format(), &opened.store, out)
        }
        ProjectionCommand::Digest(args) => {
            let mut locked = Locked::open(&args.dir)?.recovered()?;
            let opened = open(&locked, &locked.path(PROJECTIONS))?;
            follow(&mut locked, &opened.store, args.progress)?;
            show_digests(args.output.format(), &opened.store, out)
        }
    }
}

fn open(locked: &Locked, folder: &Path) -> Result<Opened, CliError> {
    Ok(FjallStore::open(folder, &LogState::of(&locked.log))?)
}

/// Applies what the live store does not have yet. What cannot be read goes into quarantine, as at a start.
fn follow(locked: &mut Locked, store: &dyn Store, shown: ProgressArgs) -> Result<(), CliError> {
    let damage = set_apart(&locked.disk, &mut locked.log, store)?;
    catch_up(locked, store, Some(&damage), None, shown)
}

fn catch_up(
    locked: &Locked,
    store: &dyn Store,
    damage: Option<&FoundDamage>,
    no_further_than: Option<&dyn Rows>,
    shown: ProgressArgs,
) -> Result<(), CliError> {
    let (disk, recovered) = (&locked.disk, &locked.log);
    let extent = Extent::of(segments(disk)?);
    let mut progress = Progress::begin(shown, "replay", extent.total());
    CatchUp { disk, recovered, store, damage, no_further_than }
        .run(|item| progress.set(extent.read(item)))?;
    progress.end();
    Ok(())
}

fn show_digests(format: Format, store: &dyn Rows, out: Out<'_>) -> Result<ExitCode, CliError> {
    let mut value = json!({ "schema": SCHEMA });
    for space in Space::ALL {
        value[space.name()] = meta(store, space)?.digest.to_string().into();
    }
    print_object(out, format, &value)?;
    Ok(ExitCode::Ok)
}

/// Removes a folder of ours, if it is there.
#[expect(clippy::disallowed_methods, reason = "fjall's folder, which lies outside the folders of `Disk`")]
fn remove(folder: &Path) -> Result<(), CliError> {
    match std::fs::remove_dir_all(folder) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(CliError::File { path: folder.display().to_string(), error }),
    }
}

fn run_verify(args: &ProjectionArgs, out: Out<'_>) -> Result<ExitCode, CliError> {
    let locked = Locked::open(&args.dir)?;
    let live = open(&locked, &locked.path(PROJECTIONS))?;
    if let Some(discarded) = live.discarded {
        let moved = discarded.moved_to.map(|to| format!("; they were moved to {}", to.display()));
        let moved = moved.unwrap_or_else(|| "; they were removed, for lack of space".to_owned());
        return Err(CliError::ProjectionsUnusable(discarded.reason + &moved));
    }
    let copy = locked.path(COPY);
    // What an interrupted run left behind.
    remove(&copy)?;
    let compared = compare_with_copy(&locked, &live.store, &copy, args.progress);
    remove(&copy)?;
    let compared = compared?;
    let equal = compared.iter().all(Comparison::is_equal);
    let values: Vec<Value> = compared.iter().map(comparison_value).collect();
    match args.output.format() {
        Format::Table => {
            writeln!(out, "{}", if equal { "equal" } else { "NOT EQUAL to what the log says" })?;
            print_list(out, Format::Table, &["projection", "equal", "different", "digest"], &values)?;
        }
        format => print_object(out, format, &json!({ "equal": equal, "projections": values }))?,
    }
    Ok(if equal { ExitCode::Ok } else { ExitCode::Integrity })
}

fn compare_with_copy(
    locked: &Locked,
    live: &FjallStore,
    copy: &Path,
    shown: ProgressArgs,
) -> Result<Vec<Comparison>, CliError> {
    let built = open(locked, copy)?;
    catch_up(locked, &built.store, None, Some(live), shown)?;
    let both = Space::ALL.into_iter().map(|space| compare(live, &built.store, space, SHOWN_DIFFERENCES));
    Ok(both.collect::<Result<_, _>>()?)
}

fn comparison_value(compared: &Comparison) -> Value {
    let [live, built] = compared.kept;
    let first: Vec<String> = compared.first.iter().map(Difference::describe).collect();
    json!({
        "projection": compared.space.name(),
        "equal": compared.is_equal(),
        "different": compared.different,
        "first": first,
        "digest": live.to_string(),
        "rebuilt_digest": built.to_string(),
    })
}
