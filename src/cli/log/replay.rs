//! `siltstone log replay`: projections from the log in a folder of their own, beside a running server if there is one.

use crate::cli::exit::ExitCode;
use crate::cli::output::{OutputArgs, print_object};
use crate::cli::progress::{Extent, Progress, ProgressArgs};
use crate::cli::{CliError, Out, data};
use crate::engine::catch_up::Pass;
use clap::Args;
use serde_json::json;
use siltstone_log::host::Clock;
use siltstone_log::host::real::RealClock;
use siltstone_log::id::Position;
use siltstone_log::layout::DataDir;
use siltstone_projections::store::fjall::FjallStore;
use siltstone_projections::store::{LogState, meta};
use siltstone_projections::{SCHEMA, Space};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path, PathBuf, absolute};

/// What to replay, and where to.
#[derive(Debug, Args)]
#[command(
    after_help = "The digests are those of `projection digest` for the same positions, without the store's lock and without a \
                        change to the store. `projection verify` compares the store's own rows, `projection rebuild` replaces them."
)]
pub struct ReplayArgs {
    /// The data directory, which is only read
    dir: PathBuf,
    /// The folder for the projections: new or empty, and outside the data directory
    #[arg(long, value_name = "FOLDER")]
    into: PathBuf,
    /// Last position: the projections become what they were then
    #[arg(long, value_name = "POSITION")]
    to: Option<u64>,
    #[command(flatten)]
    progress: ProgressArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Replays the log.
pub fn run(args: &ReplayArgs, out: Out<'_>) -> Result<ExitCode, CliError> {
    let disk = data::read_only(&args.dir)?;
    must_be_apart(&args.dir, &args.into)?;
    let log_id = DataDir::inspect(&args.dir)?.log_id;
    // A store without a row cannot be ahead of a log, so that the log's heads are of no use to it.
    let heads = BTreeMap::new();
    let state = LogState { log_id, next_position: Position(1), heads: &heads, quarantine: &[] };
    let store = FjallStore::open(&args.into, &state)?.store;
    let clock = RealClock::default();
    let until = Position(args.to.unwrap_or(u64::MAX));
    let extent = Extent::of(data::segments(&disk)?);
    let mut progress = Progress::begin(args.progress, "replay", extent.total());
    let pass = Pass { disk: &disk, log_id, store: &store, losses: Vec::new(), no_further_than: None, until };
    let built = pass.run(|item| progress.set(extent.read(item)), |_, _| Ok(BTreeSet::new()))?;
    progress.end();
    let mut value = json!({
        "schema": SCHEMA,
        "position": built.position,
        "records": built.records,
        "seconds": u32::try_from(clock.monotonic_nanos() / 1_000_000).map_or(f64::MAX, |ms| f64::from(ms) / 1000.0),
        "unreadable": built.unreadable,
    });
    for space in Space::ALL {
        value[space.name()] = meta(&store, space)?.digest.to_string().into();
    }
    print_object(out, args.output.format(), &value)?;
    Ok(if built.unreadable > 0 { ExitCode::Integrity } else { ExitCode::Ok })
}

/// Refuses a folder that holds something, or that lies in the data directory.
fn must_be_apart(dir: &Path, into: &Path) -> Result<(), CliError> {
    let failed = |path: &Path, error| CliError::File { path: path.display().to_string(), error };
    let whole = dir.canonicalize().map_err(|error| failed(dir, error))?;
    // A folder that does not exist yet has ancestors that do; `..` behind those leads nowhere yet.
    let target = absolute(into).map_err(|error| failed(into, error))?;
    let existing = target.ancestors().find_map(|folder| Some((folder, folder.canonicalize().ok()?)));
    let (reached, existing) = existing.ok_or_else(|| CliError::NoLog(into.to_owned()))?;
    let mut rest = target.strip_prefix(reached).unwrap_or(&target).components();
    if existing.starts_with(&whole) || rest.any(|part| part == Component::ParentDir) {
        let message = "the folder must lie outside the data directory, without `..` in what is to be made";
        return Err(CliError::Usage(message.to_owned()));
    }
    match entries(into) {
        Ok(0) => Ok(()),
        Ok(_) => Err(CliError::Exists(into.to_owned(), "name a new or an empty folder")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(into, error)),
    }
}

#[expect(clippy::disallowed_methods, reason = "a folder that the user named, no part of a store")]
fn entries(folder: &Path) -> io::Result<usize> {
    Ok(std::fs::read_dir(folder)?.count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_the_store_or_with_something_in_it_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let (data, full) = (root.path().join("data"), root.path().join("full"));
        for folder in [data.join("projections"), full.join("x")] {
            std::fs::DirBuilder::new().recursive(true).create(folder).unwrap();
        }
        let code = |into: PathBuf| must_be_apart(&data, &into).map_err(|error| error.exit_code());
        assert_eq!(code(data.clone()), Err(ExitCode::Usage));
        assert_eq!(code(data.join("projections")), Err(ExitCode::Usage));
        assert_eq!(code(data.join("new/deep")), Err(ExitCode::Usage));
        assert_eq!(code(full.join("../data/new")), Err(ExitCode::Usage));
        assert_eq!(code(full.clone()), Err(ExitCode::Conflict));
        assert_eq!(code(root.path().join("new/deep")), Ok(()));
        assert_eq!(code(full.join("x")), Ok(()));
    }
}
