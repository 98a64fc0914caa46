//! `siltstone log inspect`

use super::bound::Range;
use super::record::{Filter, Selection};
use crate::cli::exit::ExitCode;
use crate::cli::output::{Format, OutputArgs, printable};
use crate::cli::{CliError, Out, data};
use clap::Args;
use serde_json::Value;
use siltstone_log::id::Position;
use siltstone_log::reader::Replay;
use std::path::PathBuf;

/// Which records.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// The data directory
    dir: PathBuf,
    #[command(flatten)]
    range: Range,
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    output: OutputArgs,
}

/// Shows records.
pub fn run(args: &InspectArgs, out: Out<'_>) -> Result<ExitCode, CliError> {
    let disk = data::read_only(&args.dir)?;
    let selection = Selection { range: args.range, filter: args.filter.clone() };
    let mut list = List::begin(args.output.format(), out)?;
    for item in Replay::open(disk, Position(args.range.from.first_position()))? {
        let item = item?;
        let end = item.last();
        for shown in selection.of(item) {
            list.show(&shown.value, out)?;
        }
        if end.is_some_and(|end| selection.is_past(end.next())) {
            break;
        }
    }
    list.end(out)?;
    Ok(ExitCode::Ok)
}

/// A list that is printed as it comes: a log does not fit into memory.
pub struct List {
    format: Format,
    first: bool,
}

impl List {
    /// Prints what stands before the first.
    pub fn begin(format: Format, out: Out<'_>) -> Result<Self, CliError> {
        if format == Format::Table {
            writeln!(out, "{:>10}  {:24}  {:32}  {:>8}  EVENT", "POSITION", "TIME", "STREAM", "SEQ")?;
        }
        Ok(Self { format, first: true })
    }

    /// Prints one.
    pub fn show(&mut self, value: &Value, out: Out<'_>) -> Result<(), CliError> {
        match self.format {
            Format::Ndjson => writeln!(out, "{value}")?,
            Format::Json => write!(out, "{}{value}", if self.first { "[\n" } else { ",\n" })?,
            // JSON is YAML; a long list is one line for each.
            Format::Yaml => writeln!(out, "- {value}")?,
            Format::Table if value.get("unreadable").is_some() => {
                writeln!(out, "unreadable: {}", value["unreadable"])?;
            }
            Format::Table => show_row(value, out)?,
        }
        self.first = false;
        Ok(())
    }

    /// Prints what stands behind the last.
    pub fn end(self, out: Out<'_>) -> Result<(), CliError> {
        match self.format {
            Format::Json => writeln!(out, "{}", if self.first { "[]" } else { "\n]" })?,
            Format::Yaml if self.first => writeln!(out, "[]")?,
            Format::Table | Format::Ndjson | Format::Yaml => {}
        }
        Ok(())
    }
}

fn show_row(value: &Value, out: Out<'_>) -> Result<(), CliError> {
    let text = |name: &str| value[name].as_str().unwrap_or("-");
    let (time, stream, event) = (text("time"), text("name"), text("event"));
    let by_client = matches!(value["actor"]["door"].as_str(), Some("S3" | "Console"));
    let nobody = if by_client { "anonymous" } else { "server" };
    let who = value["actor"]["user"].as_str().filter(|user| !user.is_empty()).unwrap_or(nobody);
    let what = ["bucket", "name", "key", "user", "tenant", "access_key", "policy"]
        .iter()
        .filter_map(|field| value["body"][field].as_str())
        .map(printable)
        .collect::<Vec<_>>()
        .join(" ");
    let (who, position, seq) = (printable(who), value["position"].to_string(), value["seq"].to_string());
    writeln!(out, "{position:>10}  {time:24}  {stream:32}  {seq:>8}  {event} by {who} {what}")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_json_list_is_whole_with_none_one_and_many_items() {
        for count in [0, 1, 3] {
            let mut out = Vec::new();
            let mut list = List::begin(Format::Json, &mut out).unwrap();
            for number in 0..count {
                list.show(&json!({ "n": number }), &mut out).unwrap();
            }
            list.end(&mut out).unwrap();
            let parsed: Vec<Value> = serde_json::from_slice(&out).unwrap();
            assert_eq!(parsed.len(), count);
        }
    }
}
