//! `siltstone log verify`

use super::ReadArgs;
use crate::cli::exit::ExitCode;
use crate::cli::output::{Format, print_list, print_object};
use crate::cli::progress::{Counted, Progress};
use crate::cli::{CliError, Out, data};
use serde_json::{Value, json};
use siltstone_log::id::Span;
use siltstone_log::reader::{VerifyReport, verify_witnessed};
use siltstone_log::script::Script;

/// Checks the whole log.
pub fn run(args: &ReadArgs, out: Out<'_>) -> Result<ExitCode, CliError> {
    let disk = data::read_only(&args.dir)?;
    // ORDER: before the log. Beside a running server, a witness read later could speak of what was not there yet.
    let witness = data::projection_witness(&args.dir)?;
    let mut progress = Progress::begin(args.progress, "verify", data::log_bytes(&disk)?);
    let report = Script::new(move |io| async move { verify_witnessed(&io, witness).await })
        .run(&mut Counted::new(disk, &mut progress));
    progress.end();
    let report = report?;
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
