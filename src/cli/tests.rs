use super::*;
use clap::CommandFactory;

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
        "siltstone admin key create anna --access-key AK1 --secret-key-file -",
        "siltstone admin key ls anna -o ndjson",
        "siltstone admin key rm AK1 --yes",
        "siltstone admin key set AK1 --status active",
        "siltstone admin policy attach readwrite --user anna",
        "siltstone admin policy detach readwrite --user anna",
        "siltstone admin policy ls --user anna",
        "siltstone config check --config c.toml",
        "siltstone healthcheck --endpoint http://127.0.0.1:8083",
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
        "siltstone admin key create anna --secret-key hunter22",
        "siltstone admin policy attach readwrite",
        "siltstone version -o xml",
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
