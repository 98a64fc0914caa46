//! `siltstone log export`: records as lines of JSON, and how to go on with a file that was cut off.

use super::bound::Range;
use super::record::{Filter, Selection};
use crate::cli::exit::ExitCode;
use crate::cli::progress::{Extent, Progress, ProgressArgs};
use crate::cli::{CliError, Out, data};
use clap::Args;
use serde_json::Value;
use siltstone_log::id::Position;
use siltstone_log::reader::Replay;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// What is read of a file at first, to find its last line.
const LAST_LINE_BYTES: u64 = 64 * 1024;

/// Which records, and where to.
#[derive(Debug, Args)]
#[command(
    after_help = "Each line is one record in the form that docs/events.md describes; salts, sealed secrets and content are \
                        left out. What cannot be read is a line {\"unreadable\": …}, and the exit code is 6 then."
)]
pub struct ExportArgs {
    /// The data directory
    dir: PathBuf,
    #[command(flatten)]
    range: Range,
    #[command(flatten)]
    filter: Filter,
    /// A new file for the lines, instead of stdout
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Go on behind the last whole line of the file, if it is there; with the same --stream and --event as before
    #[arg(long, requires = "file")]
    resume: bool,
    #[command(flatten)]
    progress: ProgressArgs,
}

/// Writes the lines.
pub fn run(args: &ExportArgs, out: Out<'_>) -> Result<ExitCode, CliError> {
    let disk = data::read_only(&args.dir)?;
    let mut from = args.range.from.first_position();
    let Some(path) = &args.file else {
        let mut lines = BufWriter::with_capacity(1 << 18, out);
        let exported = export(args, disk, from, &mut lines)?;
        lines.flush()?;
        return Ok(exported.code());
    };
    let failed = |error| CliError::File { path: path.display().to_string(), error };
    let (file, last) = if args.resume {
        reopen(path).map_err(failed)?
    } else {
        let created = create(path).map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => CliError::Exists(path.clone(), "--resume goes on with it"),
            _ => failed(error),
        });
        (created?, None)
    };
    from = last.map_or(from, |last| from.max(last + 1));
    let mut lines = BufWriter::with_capacity(1 << 18, file);
    let exported = export(args, disk, from, &mut lines)?;
    let file = lines.into_inner().map_err(|error| failed(error.into_error()))?;
    file.sync_all().map_err(failed)?;
    let (path, Exported { records, last: end, .. }) = (path.display(), exported);
    match last {
        None => writeln!(out, "{records} records in {path}, the last at position {end}"),
        Some(last) if records == 0 => {
            writeln!(out, "nothing to add to {path}, which ends at position {last}")
        }
        Some(_) => writeln!(out, "{records} records added to {path}, the last at position {end}"),
    }?;
    Ok(exported.code())
}

/// What an export has written.
#[derive(Clone, Copy)]
struct Exported {
    records: u64,
    last: Position,
    damaged: bool,
}

impl Exported {
    fn code(&self) -> ExitCode {
        if self.damaged { ExitCode::Integrity } else { ExitCode::Ok }
    }
}

fn export(
    args: &ExportArgs,
    disk: siltstone_log::host::real::RealDisk,
    from: u64,
    lines: &mut dyn Write,
) -> Result<Exported, CliError> {
    let selection = Selection { range: args.range, filter: args.filter.clone() };
    let extent = Extent::of(data::segments(&disk)?);
    let mut progress = Progress::begin(args.progress, "export", extent.total());
    let mut exported = Exported { records: 0, last: Position(from.saturating_sub(1)), damaged: false };
    for item in Replay::open(disk, Position(from))? {
        let item = item?;
        progress.set(extent.read(&item));
        let last = item.last();
        // A batch, or what cannot be read, may begin before what the file still lacks.
        for shown in selection.of(item).into_iter().filter(|shown| shown.last >= Position(from)) {
            writeln!(lines, "{}", shown.value)?;
            exported.records += 1;
            exported.last = shown.last;
            exported.damaged |= shown.damaged;
        }
        if last.is_some_and(|last| selection.is_past(last.next())) {
            break;
        }
    }
    progress.end();
    Ok(exported)
}

#[expect(clippy::disallowed_methods, reason = "a file that the user named, no part of a store")]
fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}

/// Opens a file of an earlier export, cuts what stands behind its last whole line, and says which position that line
/// ends at; none for an empty file.
#[expect(clippy::disallowed_methods, reason = "a file that the user named, no part of a store")]
fn reopen(path: &Path) -> io::Result<(File, Option<u64>)> {
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
    let len = file.metadata()?.len();
    let mut window = LAST_LINE_BYTES;
    let (end, last) = loop {
        let begin = len.saturating_sub(window);
        file.seek(SeekFrom::Start(begin))?;
        let mut bytes = Vec::new();
        (&file).take(len - begin).read_to_end(&mut bytes)?;
        match last_line(&bytes, begin == 0) {
            Some((end, line)) => {
                break (begin + end as u64, if line.is_empty() { None } else { Some(position_of(&line)?) });
            }
            None => window = window.saturating_mul(4),
        }
    };
    file.set_len(end)?;
    file.seek(SeekFrom::Start(end))?;
    Ok((file, last))
}

/// The last whole line and where it ends; none where it begins before these bytes.
fn last_line(bytes: &[u8], whole: bool) -> Option<(usize, Vec<u8>)> {
    let newline = |bytes: &[u8]| bytes.iter().rposition(|byte| *byte == b'\n');
    let Some(end) = newline(bytes) else { return whole.then(|| (0, Vec::new())) };
    let before = bytes.get(..end).unwrap_or_default();
    let begin = match newline(before) {
        Some(newline) => newline + 1,
        None if whole => 0,
        None => return None,
    };
    Some((end + 1, before.get(begin..).unwrap_or_default().to_vec()))
}

fn position_of(line: &[u8]) -> io::Result<u64> {
    let value: Value = serde_json::from_slice(line).unwrap_or_default();
    let position = value["position"].as_u64().or(value["unreadable"]["last"].as_u64());
    let foreign = || {
        io::Error::new(ErrorKind::InvalidData, "its last line is not one of an export; nothing was changed")
    };
    position.ok_or_else(foreign)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("export");
        create(&path).unwrap().write_all(text).unwrap();
        (folder, path)
    }

    #[test]
    fn an_export_goes_on_behind_its_last_whole_line() {
        let long = format!("{{\"position\":7,\"x\":\"{}\"}}\n", "y".repeat(200_000));
        let table: [(Vec<u8>, Option<u64>, usize); 5] = [
            (b"".to_vec(), None, 0),
            (b"{\"posi".to_vec(), None, 0),
            (b"{\"position\":3}\n".to_vec(), Some(3), 15),
            (b"{\"position\":3}\n{\"unreadable\":{\"last\":9}}\n{\"pos".to_vec(), Some(9), 41),
            (format!("{{\"position\":3}}\n{long}{{").into_bytes(), Some(7), 15 + long.len()),
        ];
        for (text, position, len) in table {
            let (_folder, path) = file(&text);
            let (reopened, last) = reopen(&path).unwrap();
            assert_eq!((last, reopened.metadata().unwrap().len()), (position, len as u64));
        }
    }

    #[test]
    fn a_file_that_is_no_export_is_not_touched() {
        let (_folder, path) = file(b"my notes\nmore");
        assert!(reopen(&path).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "my notes\nmore");
    }
}
