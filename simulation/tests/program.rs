//! The program as it is called from outside.

use std::process::{Command, Output};

fn sim(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_siltstone-sim")).args(args).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn a_run_prints_its_plan_first_and_exits_with_0() {
    let output = sim(&["run", "--seed", "3", "--scenario", "bucket_protocol"]);
    assert_eq!(output.status.code(), Some(0), "{}", stdout(&output));
    let first = stdout(&output).lines().next().unwrap().to_owned();
    assert!(first.starts_with("{\"version\":2,\"seed\":3,\"scenario\":\"bucket_protocol\""), "{first}");
}

#[test]
fn two_processes_give_the_same_trace() {
    let output = sim(&["meta", "--seed", "5"]);
    assert_eq!(output.status.code(), Some(0), "{}", stdout(&output));
    assert!(stdout(&output).contains("blake3 "), "{}", stdout(&output));
}

#[test]
fn an_unknown_scenario_is_a_usage_error_that_names_the_known_ones() {
    let output = sim(&["run", "--seed", "1", "--scenario", "nonsense"]);
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("crash_recovery") && error.contains("disk_rot"), "{error}");
}

#[test]
fn a_trace_is_one_json_object_a_line_in_order() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    let output = sim(&["run", "--seed", "2", "--scenario", "crash_recovery", "--trace", path]);
    assert_eq!(output.status.code(), Some(0), "{}", stdout(&output));
    let text = std::io::read_to_string(file.reopen().unwrap()).unwrap();
    let mut last = 0;
    for (ordinal, line) in text.lines().enumerate() {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(event["n"], ordinal);
        let nanos = event["t"].as_u64().unwrap();
        assert!(nanos >= last && event["e"].is_string(), "{line}");
        last = nanos;
    }
    assert!(text.lines().count() > 100);
}

#[test]
fn a_sweep_counts_what_it_ran() {
    let output = sim(&["sweep", "--from", "7", "--count", "6", "--jobs", "2"]);
    assert_eq!(output.status.code(), Some(0), "{}", stdout(&output));
    assert!(stdout(&output).starts_with("seeds 6 from 7\noperations "), "{}", stdout(&output));
}

#[test]
fn a_trace_can_be_run_again_and_one_of_another_version_is_refused() {
    let trace = tempfile::NamedTempFile::new().unwrap();
    let path = trace.path().to_str().unwrap();
    let first = sim(&["run", "--seed", "2", "--scenario", "crash_recovery", "--trace", path]);
    let again = sim(&["run", "--plan", path, "--hash"]);
    assert_eq!(stdout(&first), stdout(&again));
    let text = std::io::read_to_string(trace.reopen().unwrap()).unwrap();
    let other = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(
        &mut other.as_file(),
        text.replace("\"version\":2", "\"version\":99").as_bytes(),
    )
    .unwrap();
    let output = sim(&["run", "--plan", other.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("of version 99"), "{error}");
    let output = sim(&["run", "--plan", "Cargo.toml"]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_run_ends_at_the_instant_that_was_asked_for() {
    let count = |args: &[&str]| {
        let output = sim(args);
        assert_eq!(output.status.code(), Some(0), "{}", stdout(&output));
        let text = stdout(&output);
        let line = text.lines().find(|line| line.starts_with("trace: ")).unwrap().to_owned();
        line.split(' ').nth(1).unwrap().parse::<u64>().unwrap()
    };
    let whole = count(&["run", "--seed", "2", "--hash"]);
    assert!(count(&["run", "--seed", "2", "--hash", "--until", "20"]) < whole / 2);
}

#[test]
fn a_seed_that_keeps_its_promises_cannot_be_shrunk() {
    let output = sim(&["shrink", "1"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("breaks no promise"));
}

#[test]
fn the_exhaustive_mode_counts_what_it_tried_and_one_crash_can_be_tried_alone() {
    let output = sim(&["exhaustive", "--operations", "4", "--from", "30", "--to", "36", "--jobs", "2"]);
    assert_eq!(output.status.code(), Some(0), "{}", stdout(&output));
    assert!(stdout(&output).starts_with("crash points 7 ("), "{}", stdout(&output));
    let output = sim(&["exhaustive", "--operations", "4", "--from", "34", "--to", "34", "--survivors", "0"]);
    assert_eq!(output.status.code(), Some(0), "{}", stdout(&output));
    assert!(stdout(&output).lines().next().unwrap().ends_with(", states 1"), "{}", stdout(&output));
    let output = sim(&["exhaustive", "--operations", "4", "--from", "99999", "--to", "99999"]);
    assert_eq!(output.status.code(), Some(1), "{}", stdout(&output));
}
