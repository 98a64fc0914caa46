use super::*;
use crate::engine::{Fault, OpenError};
use crate::server::ServeError;
use clap::CommandFactory;
use siltstone_log::id::Position;
use siltstone_log::layout::LayoutError;
use siltstone_log::reader::ReadError;
use siltstone_log::recovery::RecoveryError;
use siltstone_log::repair::RepairError;
use siltstone_projections::StoreError;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split_whitespace())
}

#[test]
fn the_command_line_is_consistent_in_itself() {
    Cli::command().debug_assert();
}

#[test]
fn every_documented_command_is_understood() {
    for line in [
        "siltstone admin tenant create acme --json",
        "siltstone admin user create anna --id C1 --display-name Anna --email a@b --tenant acme -o json",
        "siltstone admin user ls --endpoint http://127.0.0.1:1",
        "siltstone admin user rm anna --yes",
        "siltstone admin user set anna --status suspended",
        "siltstone admin key create --user anna --access-key AK1 --secret-key-file -",
        "siltstone admin key ls --user anna -o ndjson",
        "siltstone admin key rm AK1 --yes",
        "siltstone admin key set AK1 --status active",
        "siltstone admin policy attach readwrite --user anna",
        "siltstone admin policy detach readwrite --user anna --yes",
        "siltstone admin user get anna --json",
        "siltstone admin user rm anna --dry-run",
        "siltstone config schema",
        "siltstone log inspect d --from 2026-11-20T08:00:00Z --to 2026-11-21",
        "siltstone admin policy ls --user anna",
        "siltstone serve --data-dir d --config c --s3-listen 127.0.0.1:0 --console-listen 127.0.0.1:0",
        "siltstone serve --cluster-listen 127.0.0.1:0 --metrics-listen 127.0.0.1:0",
        "siltstone log verify d --json",
        "siltstone log inspect d --from 3 --to 9 --stream system --event UserCreated -o ndjson",
        "siltstone log stats d",
        "siltstone log tail d -f --stream system --event UserCreated --json",
        "siltstone log tail d --from 7 -o ndjson",
        "siltstone log tail d -n 3",
        "siltstone log export d --from 3 --to 9 --stream system --event UserCreated",
        "siltstone log export d --file f --resume --progress plain",
        "siltstone log replay d --into f --to 9 --progress off --json",
        "siltstone log repair d --accept-loss",
        "siltstone profile add home --endpoint http://h:1 --region r --access-key AK1 --secret-key-file -",
        "siltstone profile ls -o json",
        "siltstone profile rm home --yes",
        "siltstone admin user ls --profile home",
        "siltstone projection verify d",
        "siltstone projection rebuild d",
        "siltstone projection digest d -o json",
        "siltstone bench log --dir d --writers 8 --bytes 100 --seconds 1 --rounds 1",
        "siltstone bench put --endpoint http://h:1 --size 4096 --clients 64 --seconds 3 --server-pid 7",
        "siltstone bench mixed --requests 1000 --objects 50 --bucket b --region r --keep --json",
        "siltstone bench s3 --dir d --seconds 1 --rounds 1",
        "siltstone bench rebuild --dir d --records 1000",
        "siltstone bench s3 --dir d --objects 1000000 --store f",
        "siltstone bench fill --dir d --objects 1000 --key-shape scattered --bucket b --progress plain --json",
        "siltstone bench memory-server --listen 127.0.0.1:0 --answer-bytes 4096",
        "siltstone config check --config c.toml",
        "siltstone config show --origin --data-dir d --s3-listen 127.0.0.1:0 --json",
        "siltstone completions bash",
        "siltstone man",
        "siltstone man pages",
        "siltstone healthcheck --endpoint http://127.0.0.1:8083 --json",
        "siltstone bench put --size 4KiB",
        "siltstone version --json",
        "siltstone sim sweep --from 1 --count 2",
    ] {
        assert!(parse(line).is_ok(), "{line}: {}", parse(line).unwrap_err());
    }
}

#[test]
fn what_is_wrong_or_would_show_a_secret_is_refused() {
    for line in [
        "siltstone",
        "siltstone serve --no-such-flag",
        "siltstone no-such-command",
        "siltstone admin user create",
        "siltstone admin user set anna --status gone",
        "siltstone admin key create --user anna --secret-key hunter22",
        "siltstone admin policy attach readwrite",
        "siltstone profile add home",
        "siltstone profile add home --endpoint http://h:1 --access-key AK1",
        "siltstone version -o xml",
        "siltstone bench put --seconds 1 --requests 1",
        "siltstone log export d --resume",
        "siltstone log replay d",
        "siltstone bench put --size big",
        "siltstone bench s3 --dir d --objects 5",
    ] {
        assert!(parse(line).is_err(), "{line}");
    }
}

#[test]
fn failures_have_the_exit_codes_of_the_interface() {
    let missing = io::Error::from(ErrorKind::NotFound);
    let table = [
        (CliError::Usage("x".to_owned()), 2),
        (CliError::File { path: "f".to_owned(), error: missing }, 3),
        (CliError::Api(api_client::ApiError::NoCredentials), 4),
        (CliError::Unconfirmed("x"), 5),
        (CliError::LossNotAccepted, 5),
        (CliError::NoProfile("x".to_owned()), 3),
        (CliError::ProfileExists("x".to_owned()), 5),
        (CliError::NoLog("d".into()), 3),
        (CliError::Exists("d".into(), "x"), 5),
        (crate::bench::BenchError::Space { needed: 2, free: 1 }.into(), 5),
        (LayoutError::Locked { path: "d".into(), holder: "x".to_owned() }.into(), 5),
        (LayoutError::Malformed { path: "d".into(), what: "x" }.into(), 6),
        (ReadError::Damaged(Position(1)).into(), 6),
        (RecoveryError::LogMissing { witness: Position(1) }.into(), 6),
        (StoreError::Damaged("x".to_owned()).into(), 6),
        (RepairError::StillDamaged("x".to_owned()).into(), 6),
        (ServeError::NoDataDir.into(), 2),
        (ServeError::from(OpenError::Start(Fault::LogStopped.into())).into(), 74),
        (CliError::NotReady("x".to_owned()), 7),
        (CliError::Output(io::Error::from(ErrorKind::StorageFull)), 1),
    ];
    for (error, code) in table {
        assert_eq!(error.exit_code() as u8, code, "{error}");
    }
    let whole =
        [ExitCode::Ok, ExitCode::Integrity, ExitCode::Partial, ExitCode::Simulation, ExitCode::Storage];
    assert_eq!(whole.map(|code| code as u8), [0, 6, 8, 9, 74]);
    assert_eq!(ExitCode::Interrupted as u8, 130);
}
