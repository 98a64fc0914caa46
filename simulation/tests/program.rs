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
    assert!(first.starts_with("{\"seed\":3,\"scenario\":\"bucket_protocol\""), "{first}");
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
