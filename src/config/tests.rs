use super::*;
use std::time::Duration;

const FILE: &str = "[log]\nsegment_size = \"8 MiB\"\n\n[server]\ndrain_timeout = \"5 s\"\n";

fn load(file: Option<&str>, env: &Environment, flags: &[FlagValue]) -> Result<Config, ConfigError> {
    Config::from_layers(file.map(|text| (Path::new("c.toml"), text)), env, flags)
}

fn message(file: &str) -> String {
    load(Some(file), &[].into(), &[]).unwrap_err().to_string()
}

#[test]
fn every_default_is_a_value_of_its_kind_and_is_shown_as_it_is_written() {
    let config = load(None, &[].into(), &[]).unwrap();
    for (info, value, origin) in config.entries() {
        assert_eq!(
            (value.as_str(), origin),
            (info.default, &Origin::Default),
            "{}.{}",
            info.section,
            info.key
        );
        assert!(!info.doc.trim().is_empty());
    }
}

#[test]
fn a_flag_wins_over_the_environment_the_environment_over_the_file_the_file_over_the_default() {
    let none = || Environment::from([]);
    let env = || Environment::from([("SILTSTONE_LOG__SEGMENT_SIZE", "16 MiB")]);
    let flag = [("--segment-size", "log", "segment_size", "32 MiB".to_owned())];
    let no_flag: &[FlagValue] = &[];
    let flag = &flag[..];
    let table = [
        (None, none(), no_flag, 64, "default"),
        (Some(FILE), none(), no_flag, 8, "c.toml:2:1"),
        (None, env(), no_flag, 16, "SILTSTONE_LOG__SEGMENT_SIZE"),
        (Some(FILE), env(), no_flag, 16, "SILTSTONE_LOG__SEGMENT_SIZE"),
        (Some(FILE), none(), flag, 32, "--segment-size"),
        (Some(FILE), env(), flag, 32, "--segment-size"),
    ];
    for (file, env, flags, mebibytes, origin) in table {
        let config = load(file, &env, flags).unwrap();
        assert_eq!(config.settings.log.segment_size, ByteSize(mebibytes << 20));
        let entry = config.entries().find(|(info, ..)| info.key == "segment_size").unwrap();
        assert_eq!(entry.2.to_string(), origin);
    }
    let config = load(Some(FILE), &env(), flag).unwrap();
    assert_eq!(config.settings.server.drain_timeout, Duration::from_secs(5));
}

#[test]
fn an_unknown_key_is_refused_with_its_place_and_the_nearest_name() {
    let cases = [
        (
            "[log]\nsegmnt_size = 1\n",
            "c.toml:2:1: unknown setting `log.segmnt_size`; did you mean `log.segment_size`?",
        ),
        ("[lgo]\nsegment_size = 1\n", "c.toml:1:2: unknown setting `lgo`; did you mean `log`?"),
        (
            "[log]\npack_size = 1\n",
            "c.toml:2:1: unknown setting `log.pack_size`; did you mean `content.pack_size`?",
        ),
        ("[log]\nzzzzzzzzzz = 1\n", "c.toml:2:1: unknown setting `log.zzzzzzzzzz`"),
    ];
    for (file, expected) in cases {
        assert_eq!(message(file), expected);
    }
    let env = Environment::from([("SILTSTONE_LOG__SEGMENT_SIZ", "1")]);
    let error = load(None, &env, &[]).unwrap_err().to_string();
    assert_eq!(
        error,
        "SILTSTONE_LOG__SEGMENT_SIZ: unknown setting `log.segment_siz`; did you mean `log.segment_size`?"
    );
}

#[test]
fn a_wrong_value_names_the_setting_and_the_place() {
    assert_eq!(
        message("[log]\n  segment_size = \"big\"\n"),
        "c.toml:2:3: log.segment_size: `big` is no size; write for example `64 MiB`"
    );
    assert_eq!(message("log = 1\n"), "c.toml:1:1: log: expected a section `[log]`");
    assert!(message("[log\n").starts_with("c.toml:1:5: "), "{}", message("[log\n"));
    assert!(message("[log]\nsegment_size = [1]\n").contains("expected a text or a whole number"));
}

#[test]
fn a_file_may_name_variables_that_are_set() {
    let env = || Environment::from([("HOME_OF_DATA", "/srv/${X}"), ("DOMAIN", "s3.example.org")]);
    let file =
        "[server]\ndata_dir = \"${HOME_OF_DATA}/a$$b\"\n[s3]\ndomains = [\"${DOMAIN}\", \"localhost\"]\n";
    let settings = load(Some(file), &env(), &[]).unwrap().settings;
    assert_eq!(
        settings.server.data_dir,
        Path::new("/srv/${X}/a$b"),
        "what a variable holds is not expanded again"
    );
    assert_eq!(settings.s3.domains.0, ["s3.example.org", "localhost"]);
    let refused = |value: &str| {
        load(Some(&format!("[server]\ndata_dir = \"{value}\"\n")), &env(), &[]).unwrap_err().to_string()
    };
    assert_eq!(refused("${GONE}/x"), "c.toml:2:1: server.data_dir: the variable `GONE` is not set");
    for value in ["$HOME_OF_DATA", "a$", "${", "${}", "${1A}", "${HOME_OF_DATA", "${A B}", "${HOME:-x}"] {
        assert!(refused(value).contains("write `$$` for one `$`"), "{value}");
    }
}

#[test]
fn a_list_is_written_as_one_or_as_text_with_commas() {
    let names = ["s3.example.org".to_owned(), "localhost".to_owned()];
    let of = |file, env| load(file, &env, &[]).map(|config| config.settings.s3.domains.0);
    let list = Some("[s3]\ndomains = [\"s3.example.org\", \"localhost\"]\n");
    assert_eq!(of(list, Environment::from([])).unwrap(), names);
    let env = Environment::from([("SILTSTONE_S3__DOMAINS", "S3.example.org, localhost")]);
    assert_eq!(of(None, env).unwrap(), names);
    assert!(
        message("[s3]\ndomains = [\"http://a\"]\n").starts_with("c.toml:2:1: s3.domains: `http://a` is no")
    );
    assert!(message("[s3]\nsigv2_links = \"no\"\n").contains("neither true nor false"));
}

#[test]
fn variables_without_a_section_are_none_of_the_settings() {
    let env = Environment::from([("SILTSTONE_ENDPOINT", "http://x"), ("AWS_REGION", "r")]);
    assert!(load(None, &env, &[]).is_ok());
}

#[test]
fn a_variable_with_our_prefix_that_nobody_reads_is_refused_with_the_nearest_name() {
    let error = |name| load(None, &Environment::from([(name, "1")]), &[]).unwrap_err().to_string();
    let expected = "unknown variable `SILTSTONE_SPACE_FLOOR`; did you mean `SILTSTONE_SPACE__FLOOR`?";
    assert_eq!(error("SILTSTONE_SPACE_FLOOR"), expected);
    let expected = "unknown variable `SILTSTONE_ROOT_ACCES_KEY`; did you mean `SILTSTONE_ROOT_ACCESS_KEY`?";
    assert_eq!(error("SILTSTONE_ROOT_ACCES_KEY"), expected);
    assert!(load(None, &[("SILTSTONE_ROOT_SECRET_KEY_FILE", "f")].into(), &[]).is_ok());
}

#[test]
fn a_file_that_is_named_must_exist() {
    let missing = Config::load(Some(Path::new("/nonexistent/c.toml")), &[].into(), &[]);
    assert!(matches!(missing, Err(ConfigError::Unreadable { .. })));
}

#[test]
fn a_value_outside_its_range_is_refused_where_it_stands() {
    for (file, place) in [
        ("[log]\nsegment_size = \"1 GiB\"\n", "c.toml:2:1: log.segment_size: must be 16 KiB to 512 MiB"),
        ("[log]\nsegment_size = 65537\n", "c.toml:2:1: log.segment_size: must be"),
        ("[content]\npack_size = \"1 MiB\"\n", "c.toml:2:1: content.pack_size: must be"),
        ("[content]\ninline_threshold = \"2 MiB\"\n", "c.toml:2:1: content.inline_threshold: must be"),
        ("[history]\nwindow_days = 36501\n", "c.toml:2:1: history.window_days: must be"),
        ("[history]\nmax_bytes = 0\n", "c.toml:2:1: history.max_bytes: must be more than 0"),
        ("[limits]\nconnections = 0\n", "c.toml:2:1: limits.connections: must be"),
        ("[tls]\ncert = \"a\"\n", "default: tls.key: is needed"),
        ("[tls]\nkey = \"a\"\n", "default: tls.cert: is needed"),
        ("[server]\nregion = \"a/b\"\n", "c.toml:2:1: server.region: must be"),
    ] {
        assert!(message(file).starts_with(place), "{}", message(file));
    }
}
