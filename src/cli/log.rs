//! `siltstone log`: reads a log without its lock, beside a running server, and repairs one with it.

use super::exit::ExitCode;
use super::output::{Format, OutputArgs, print_list, print_object};
use super::{CliError, Out, data};
use crate::engine::PROJECTIONS;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use siltstone_log::event::{Actor, Body, DecodeError, Door};
use siltstone_log::host::real::{RealClock, RealDisk, RealEntropy};
use siltstone_log::host::{Clock, draw};
use siltstone_log::id::{Position, Salt, Span, StreamId};
use siltstone_log::reader::{ReadItem, Replay, Tally, VerifyReport, stats, verify_witnessed};
use siltstone_log::record::Record;
use siltstone_log::repair::{Damage, RepairConfig, RepairReport, repair, survey};
use siltstone_log::script::Script;
use siltstone_log::segment::AcceptedLoss;
use siltstone_log::witness::{QuarantinedRange, Touched};
use siltstone_projections::store::fjall::condemn;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// `log …`
#[derive(Debug, Subcommand)]
pub enum LogCommand {
    /// Check every checksum, hash and chain; says "intact" with the head of each stream, or exits with 6
    Verify(ReadArgs),
    /// Show records
    Inspect(InspectArgs),
    /// Count records and bytes by event and stream
    Stats(ReadArgs),
    /// Look for everything that cannot be read, and give it up, so that its streams take writes again
    Repair(RepairArgs),
}

/// Which log, and in which form.
#[derive(Debug, Args)]
pub struct ReadArgs {
    /// The data directory
    dir: PathBuf,
    #[command(flatten)]
    output: OutputArgs,
}

/// Which records.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// The data directory
    dir: PathBuf,
    /// First position
    #[arg(long, default_value_t = 1, value_name = "POSITION")]
    from: u64,
    /// Last position
    #[arg(long, value_name = "POSITION")]
    to: Option<u64>,
    /// Only this stream: system, access, telemetry or an id
    #[arg(long)]
    stream: Option<String>,
    /// Only this event, for example ObjectPut
    #[arg(long)]
    event: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
}

/// What to give up.
#[derive(Debug, Args)]
pub struct RepairArgs {
    /// The data directory
    dir: PathBuf,
    /// Accept that what cannot be read is lost; without it, it is listed and nothing is changed
    #[arg(long)]
    accept_loss: bool,
    #[command(flatten)]
    output: OutputArgs,
}

/// Runs `siltstone log`.
pub fn run(command: LogCommand, out: Out<'_>) -> Result<ExitCode, CliError> {
    match command {
        LogCommand::Verify(args) => run_verify(&args, out),
        LogCommand::Inspect(args) => run_inspect(&args, out),
        LogCommand::Stats(args) => run_stats(&args, out),
        LogCommand::Repair(args) => run_repair(&args, out),
    }
}

fn run_verify(args: &ReadArgs, out: Out<'_>) -> Result<ExitCode, CliError> {
    let mut disk = data::read_only(&args.dir)?;
    // ORDER: before the log. Beside a running server, a witness read later could speak of what was not there yet.
    let witness = data::projection_witness(&args.dir)?;
    let report = Script::new(move |io| async move { verify_witnessed(&io, witness).await }).run(&mut disk)?;
    match args.output.format() {
        Format::Table => show_report(&report, out)?,
        format => print_object(out, format, &report_value(&report))?,
    }
    Ok(if report.is_intact() { ExitCode::Ok } else { ExitCode::Integrity })
}

fn stream_values(report: &VerifyReport) -> Vec<Value> {
    let values = report.streams.iter().map(|(stream, found)| {
        json!({
            "stream": stream.to_string(),
            "name": data::stream_name(*stream),
            "seq": found.head.seq,
            "records": found.records,
            "head": found.head.hash.to_string(),
        })
    });
    values.collect()
}

fn report_value(report: &VerifyReport) -> Value {
    let findings: Vec<Value> = report
        .findings
        .iter()
        .map(|finding| {
            json!({
                "segment": finding.segment.map(|segment| segment.to_string()),
                "position": finding.position,
                "what": finding.what,
            })
        })
        .collect();
    let accepted: Vec<Value> =
        report.accepted.iter().map(|loss| json!({ "first": loss.first, "last": loss.last })).collect();
    json!({
        "intact": report.is_intact(),
        "log_id": report.log_id.to_string(),
        "segments": report.segments,
        "batches": report.batches,
        "records": report.records,
        "position": report.last,
        "bytes": report.bytes,
        "tail_bytes": report.tail_bytes,
        "first_bad": report.first_bad(),
        "streams": stream_values(report),
        "findings": findings,
        "accepted_losses": accepted,
        "quarantine": report.quarantine.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}

fn show_report(report: &VerifyReport, out: Out<'_>) -> Result<(), CliError> {
    let VerifyReport { records, segments, log_id, last, .. } = report;
    let verdict = if report.is_intact() { "intact" } else { "NOT INTACT" };
    writeln!(
        out,
        "{verdict}: {records} records in {segments} segments of log {log_id}, up to position {last}"
    )?;
    for finding in &report.findings {
        writeln!(out, "  {finding}")?;
    }
    for range in &report.quarantine {
        writeln!(out, "  in quarantine: {range}")?;
    }
    for loss in &report.accepted {
        writeln!(out, "  given up earlier: {}", Span(loss.first, loss.last))?;
    }
    if report.tail_bytes > 0 {
        writeln!(out, "  {} bytes at the end are an append under way or cut off", report.tail_bytes)?;
    }
    if !report.is_intact() || !report.quarantine.is_empty() {
        writeln!(
            out,
            "  what to do: `siltstone log repair DIR` lists what it would give up, and changes nothing"
        )?;
    }
    print_list(out, Format::Table, &["name", "seq", "records", "head"], &stream_values(report))?;
    Ok(())
}

fn run_inspect(args: &InspectArgs, out: Out<'_>) -> Result<ExitCode, CliError> {
    let disk = data::read_only(&args.dir)?;
    let wanted = |record: &Record, value: &Value| {
        let name = data::stream_name(record.stream);
        let stream =
            args.stream.as_ref().is_none_or(|stream| *stream == name || *stream == record.stream.to_string());
        let event = args.event.as_ref().is_none_or(|event| value["event"].as_str() == Some(event));
        stream && event
    };
    let mut first = true;
    let format = args.output.format();
    if format == Format::Table {
        writeln!(out, "{:>10}  {:24}  {:32}  {:>8}  EVENT", "POSITION", "TIME", "STREAM", "SEQ")?;
    }
    let last = args.to.unwrap_or(u64::MAX);
    for item in Replay::open(disk, Position(args.from))? {
        match item? {
            ReadItem::Records(records) => {
                for record in records.iter().filter(|record| record.place.position.get() >= args.from) {
                    if record.place.position.get() > last {
                        return close(format, first, out);
                    }
                    let value = record_value(record);
                    if wanted(record, &value) {
                        show_item(format, &mut first, &value, out)?;
                    }
                }
            }
            ReadItem::Unreadable(range) => {
                let value = json!({
                    "unreadable": { "first": range.first, "last": range.last, "accepted": range.accepted },
                });
                show_item(format, &mut first, &value, out)?;
            }
        }
    }
    close(format, first, out)
}

/// One line, or one element of the array that [`close`] ends: a log does not fit into memory.
fn show_item(format: Format, first: &mut bool, value: &Value, out: Out<'_>) -> Result<(), CliError> {
    match format {
        Format::Ndjson => writeln!(out, "{value}")?,
        Format::Json => write!(out, "{}{value}", if *first { "[\n" } else { ",\n" })?,
        Format::Table if value.get("unreadable").is_some() => {
            writeln!(out, "unreadable: {}", value["unreadable"])?;
        }
        Format::Table => {
            let text = |name: &str| value[name].as_str().unwrap_or("-");
            let (time, stream, event) = (text("time"), text("name"), text("event"));
            let by_client = matches!(value["actor"]["door"].as_str(), Some("S3" | "Console"));
            let nobody = if by_client { "anonymous" } else { "server" };
            let who = value["actor"]["user"].as_str().filter(|user| !user.is_empty()).unwrap_or(nobody);
            let what = ["bucket", "name", "key", "user", "tenant", "access_key", "policy"]
                .iter()
                .filter_map(|field| value["body"][field].as_str())
                .map(super::output::printable)
                .collect::<Vec<_>>()
                .join(" ");
            let (position, seq) = (value["position"].to_string(), value["seq"].to_string());
            writeln!(out, "{position:>10}  {time:24}  {stream:32}  {seq:>8}  {event} by {who} {what}")?;
        }
    }
    *first = false;
    Ok(())
}

fn close(format: Format, first: bool, out: Out<'_>) -> Result<ExitCode, CliError> {
    match format {
        Format::Json => writeln!(out, "{}", if first { "[]" } else { "\n]" })?,
        Format::Table | Format::Ndjson => {}
    }
    Ok(ExitCode::Ok)
}

fn record_value(record: &Record) -> Value {
    let (event, actor, body) = match record.decode() {
        Some(Ok(Body { actor, event })) => (
            event.name().to_owned(),
            readable(serde_json::to_value(&actor).unwrap_or_default()),
            readable(serde_json::to_value(&event).unwrap_or_default()),
        ),
        Some(Err(DecodeError::UnknownType(number))) => {
            (format!("type {number:#06x}"), Value::Null, Value::Null)
        }
        Some(Err(error)) => (error.to_string(), Value::Null, Value::Null),
        None => ("erased".to_owned(), Value::Null, Value::Null),
    };
    json!({
        "position": record.place.position,
        "stream": record.stream.to_string(),
        "name": data::stream_name(record.stream),
        "seq": record.seq,
        "time": time_text(record.hlc.millis()),
        "event": event,
        "actor": actor,
        "body": body,
        "content_bytes": record.content_len,
        "body_hash": record.body_hash.to_string(),
        "content_hash": record.content_hash.to_string(),
        "head": record.head.to_string(),
    })
}

fn time_text(millis: u64) -> String {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(millis) * 1_000_000);
    time.ok().and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_default()
}

/// Identifiers, hashes and ciphertexts are byte strings, which JSON shows as lists of numbers: as hexadecimal text.
fn readable(value: Value) -> Value {
    match value {
        Value::Array(items) => {
            let bytes: Option<Vec<u8>> =
                items.iter().map(|item| item.as_u64().and_then(|n| u8::try_from(n).ok())).collect();
            match bytes {
                Some(bytes) if !bytes.is_empty() => Value::String(hexadecimal(&bytes)),
                Some(_) | None => Value::Array(items.into_iter().map(readable).collect()),
            }
        }
        Value::Object(fields) => {
            Value::Object(fields.into_iter().map(|(name, value)| (name, readable(value))).collect())
        }
        other => other,
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn tally_value(name: &str, label: &str, tally: &Tally) -> Value {
    json!({
        name: label,
        "records": tally.records,
        "body_bytes": tally.body_bytes,
        "content_bytes": tally.content_bytes,
    })
}

fn run_stats(args: &ReadArgs, out: Out<'_>) -> Result<ExitCode, CliError> {
    let mut disk: RealDisk = data::read_only(&args.dir)?;
    let found = Script::new(|io| async move { stats(&io).await }).run(&mut disk)?;
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

/// ORDER: before the repair. Rows that were built past a range which could not be read lack what the repair finds in it
/// again, and nothing would ever bring it to them: they count the range as applied.
fn discard_projections(folder: &Path) -> Result<(), CliError> {
    if !folder.is_dir() {
        return Ok(());
    }
    condemn(folder).map_err(|error| CliError::File { path: folder.display().to_string(), error })
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

fn run_repair(args: &RepairArgs, out: Out<'_>) -> Result<ExitCode, CliError> {
    let locked = data::Locked::open(&args.dir)?;
    let recovery = locked.recovery;
    let damage = Script::new(move |io| survey(io, recovery)).run(&mut locked.disk.clone())?;
    if !args.accept_loss && !damage.is_none() {
        show_damage(&damage, args.output.format(), out)?;
        return Err(CliError::LossNotAccepted);
    }
    if args.accept_loss && !damage.ranges.is_empty() {
        discard_projections(&locked.path(PROJECTIONS))?;
    }
    let config = RepairConfig {
        recovery: locked.recovery,
        actor: Actor::server(Door::Offline),
        salt: Salt(draw(&RealEntropy)),
        wall_millis: RealClock::default().wall_millis(),
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
    use super::*;
    use siltstone_log::id::LogId;
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

    #[test]
    fn byte_strings_are_shown_as_hexadecimal_and_lists_stay_lists() {
        let value = json!({ "id": [1, 255, 0], "parts": [{ "hash": [16] }], "none": [], "sizes": [300] });
        let expected = json!({ "id": "01ff00", "parts": [{ "hash": "10" }], "none": [], "sizes": [300] });
        assert_eq!(readable(value), expected);
    }

    #[test]
    fn a_json_list_is_whole_with_none_one_and_many_items() {
        for count in [0, 1, 3] {
            let mut out = Vec::new();
            let mut first = true;
            for number in 0..count {
                show_item(Format::Json, &mut first, &json!({ "n": number }), &mut out).unwrap();
            }
            close(Format::Json, first, &mut out).unwrap();
            let parsed: Vec<Value> = serde_json::from_slice(&out).unwrap();
            assert_eq!(parsed.len(), count);
        }
    }
}
