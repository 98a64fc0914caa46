//! `siltstone log stats`

use super::ReadArgs;
use crate::cli::exit::ExitCode;
use crate::cli::output::{Format, print_list, print_object};
use crate::cli::progress::{Counted, Progress};
use crate::cli::{CliError, Out, data};
use serde_json::{Value, json};
use siltstone_log::reader::{Tally, stats};
use siltstone_log::script::Script;

fn tally_value(name: &str, label: &str, tally: &Tally) -> Value {
    json!({
        name: label,
        "records": tally.records,
        "body_bytes": tally.body_bytes,
        "content_bytes": tally.content_bytes,
    })
}

/// Counts records and bytes.
pub fn run(args: &ReadArgs, out: Out<'_>) -> Result<ExitCode, CliError> {
    let disk = data::read_only(&args.dir)?;
    let mut progress = Progress::begin(args.progress, "stats", data::log_bytes(&disk)?);
    let found = Script::new(|io| async move { stats(&io).await }).run(&mut Counted::new(disk, &mut progress));
    progress.end();
    let found = found?;
    let name_of = |number: u16| {
        let mut catalogue = siltstone_log::event::Event::CATALOGUE.iter();
        let known = catalogue.find(|(known, ..)| *known == number);
        known.map_or_else(|| format!("type {number:#06x}"), |(.., name)| (*name).to_owned())
    };
    let events: Vec<Value> = found
        .kinds
        .iter()
        .map(|(kind, tally)| tally_value("event", &name_of(kind.event_type), tally))
        .collect();
    let streams: Vec<Value> = found
        .streams
        .iter()
        .map(|(stream, tally)| tally_value("stream", &data::stream_name(*stream), tally))
        .collect();
    match args.output.format() {
        Format::Table => {
            let columns = ["records", "body_bytes", "content_bytes"];
            print_list(out, Format::Table, &[&["event"], &columns[..]].concat(), &events)?;
            writeln!(out)?;
            print_list(out, Format::Table, &[&["stream"], &columns[..]].concat(), &streams)?;
            writeln!(out, "\n{} records, {} unreadable", found.total.records, found.unreadable)?;
        }
        format => {
            let total = tally_value("log", &args.dir.display().to_string(), &found.total);
            let value = json!({ "total": total, "events": events, "streams": streams, "unreadable": found.unreadable });
            print_object(out, format, &value)?;
        }
    }
    Ok(ExitCode::Ok)
}
