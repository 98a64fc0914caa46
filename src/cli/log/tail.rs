//! `siltstone log tail`: the end of a log, and what is appended to it by a server that runs beside.

use super::bound::{Bound, Range};
use super::inspect::List;
use super::record::{Filter, Selection, Shown};
use crate::cli::exit::ExitCode;
use crate::cli::output::{Format, OutputArgs};
use crate::cli::{CliError, Out, data};
use clap::Args;
use siltstone_log::host::real::RealDisk;
use siltstone_log::id::Position;
use siltstone_log::reader::Replay;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// How often a log that is followed is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Which records.
#[derive(Debug, Args)]
#[command(
    after_help = "What a running server has written but not yet synced is shown as well: a power cut can still undo \
                        the last lines, which nobody was told about."
)]
pub struct TailArgs {
    /// The data directory
    dir: PathBuf,
    /// Go on showing records as they are written
    #[arg(short = 'f', long)]
    follow: bool,
    /// So many of the last records
    #[arg(short = 'n', long, default_value_t = 10, conflicts_with = "from")]
    lines: usize,
    /// All from this position or time on, instead of the last ones
    #[arg(long, value_name = "POSITION|TIME", value_parser = Bound::parse)]
    from: Option<Bound>,
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    output: OutputArgs,
}

/// Shows the end of the log.
pub fn run(args: &TailArgs, out: Out<'_>) -> Result<ExitCode, CliError> {
    let disk = data::read_only(&args.dir)?;
    let selection = Selection {
        range: Range::from(args.from.unwrap_or(Bound::Position(1))),
        filter: args.filter.clone(),
    };
    // An array that never ends is none: what is followed is a line for each.
    let format = match args.output.format() {
        Format::Json if args.follow => Format::Ndjson,
        format => format,
    };
    let mut list = List::begin(format, out)?;
    let mut seen = Seen::of(&args.dir)?;
    let mut next = match args.from {
        Some(from) => show_from(disk.clone(), &selection, Position(from.first_position()), &mut list, out)?,
        None => show_last(&disk, &selection, args.lines, &mut list, out)?,
    };
    if !args.follow {
        list.end(out)?;
        return Ok(ExitCode::Ok);
    }
    // Until someone ends this program, or takes no more of its output.
    loop {
        out.flush()?;
        let now = Seen::of(&args.dir)?;
        if now == seen {
            wait();
            continue;
        }
        seen = now;
        // A new reader: the old one ends where the log ended when it was opened.
        next = show_from(data::read_only(&args.dir)?, &selection, next, &mut list, out)?;
    }
}

#[expect(clippy::disallowed_methods, reason = "a log in another process tells nobody that it has grown")]
fn wait() {
    std::thread::sleep(LOOK_EVERY);
}

/// Shows everything from a position on. Returns the position to go on from.
fn show_from(
    disk: RealDisk,
    selection: &Selection,
    from: Position,
    list: &mut List,
    out: Out<'_>,
) -> Result<Position, CliError> {
    let mut next = from.max(Position(1));
    for item in Replay::open(disk, next)? {
        let item = item?;
        next = item.last().map_or(next, |last| last.next().max(next));
        for shown in selection.of(item) {
            list.show(&shown.value, out)?;
        }
    }
    Ok(next)
}

/// Shows the last records, reading backwards by segments, each time twice as many. Returns the position to go on from.
fn show_last(
    disk: &RealDisk,
    selection: &Selection,
    lines: usize,
    list: &mut List,
    out: Out<'_>,
) -> Result<Position, CliError> {
    let segments = data::segments(disk)?;
    let mut back = 1;
    loop {
        let at = segments.len().saturating_sub(back);
        let from = segments.get(at).map_or(Position(1), |(segment, _)| segment.first);
        let (mut kept, mut next): (VecDeque<Shown>, _) = (VecDeque::new(), from);
        for item in Replay::open(disk.clone(), from)? {
            let item = item?;
            next = item.last().map_or(next, Position::next);
            for shown in selection.of(item) {
                kept.push_back(shown);
                if kept.len() > lines {
                    kept.pop_front();
                }
            }
        }
        if kept.len() >= lines || at == 0 {
            kept.iter().try_for_each(|shown| list.show(&shown.value, out))?;
            return Ok(next);
        }
        back *= 2;
    }
}

/// What tells that a log has changed: its newest file, and when that was written to.
#[derive(PartialEq, Eq)]
struct Seen(Option<(PathBuf, SystemTime)>);

impl Seen {
    fn of(dir: &Path) -> Result<Self, CliError> {
        let disk = data::read_only(dir)?;
        let Some((segment, _)) = data::segments(&disk)?.pop() else { return Ok(Self(None)) };
        let path = dir.join(segment.file().to_string());
        // One that has been given another name meanwhile is another one the next time.
        let written = std::fs::metadata(&path).and_then(|found| found.modified());
        Ok(Self(written.ok().map(|written| (path, written))))
    }
}
