//! Generates `docs/configuration.md` from the table of settings: `SILTSTONE_BLESS=1 cargo test -p siltstone --lib
//! configuration_page` writes it again.

use super::environment::{NO_SETTINGS, PREFIX};
use super::{FLAGS, SECTIONS, SYSTEM_FILE, TABLE};
use std::fmt::Write;

const INTRODUCTION: &str = "# Configuration
Generated from `src/config/settings.rs`; `SILTSTONE_BLESS=1 cargo test -p siltstone --lib configuration_page` writes it again.

A setting comes from the first of these that has it: a flag of the command line, a variable of the environment, the file that `--config`
names (else";

const RULES: &str = ", which may be missing), its default. `siltstone config check` reads all of them and refuses what a start would refuse;
`siltstone config show --origin` prints every value with where it came from: `default`, the file with line and column, the variable, or the flag.

The file is TOML, a table for each section. An unknown setting is an error that names the nearest known one, in the file and in the environment. Sizes take
`B`, `KB`, `MB`, `GB`, `TB`, `KiB`, `MiB`, `GiB`, `TiB`; durations `ms`, `s`, `min`, `h`, `d`; lists are lists of texts, with commas between them in a variable.
Texts of the file may name variables, `\"${HOME}/siltstone\"`; one that is not set is an error, and `$$` is one `$`. `siltstone config schema` prints a JSON
Schema of the file, for editors. No setting is a secret: secrets stand in files (`tls.key`, and `keys/` of the data directory) or come from the variables below, and no command prints them.

```toml
[server]
data_dir = \"/var/lib/siltstone\"

[log]
segment_size = \"64 MiB\"
```
";

fn page() -> String {
    let mut page = format!("{INTRODUCTION} `{SYSTEM_FILE}`{RULES}");
    for (section, about) in SECTIONS {
        write!(page, "\n## {section}\n{}\n", about.trim()).unwrap();
        page.push_str("\n| setting | default | meaning | variable | flag |\n|---|---|---|---|---|\n");
        for info in TABLE.iter().filter(|info| info.section == *section) {
            let default =
                if info.default.is_empty() { "–".to_owned() } else { format!("`{}`", info.default) };
            let flag = FLAGS.iter().find(|(_, section, key)| (*section, *key) == (info.section, info.key));
            let flag = flag.map_or_else(|| "–".to_owned(), |(flag, ..)| format!("`{flag}`"));
            let (key, doc, variable) = (info.key, info.doc.trim(), info.variable());
            writeln!(page, "| `{key}` | {default} | {doc} | `{variable}` | {flag} |").unwrap();
        }
    }
    page.push_str("\n## Variables that are no settings\n");
    page.push_str("Those of keys have a form with `_FILE` behind the name, which names a file that holds the value.\n\n");
    page.push_str("| variable | meaning |\n|---|---|\n");
    for (name, meaning) in NO_SETTINGS {
        writeln!(page, "| `{PREFIX}{name}` | {meaning} |").unwrap();
    }
    page
}

#[test]
fn the_configuration_page_is_what_the_code_says() {
    crate::bless::bless_or_compare("docs/configuration.md", page());
}

#[test]
fn every_flag_is_one_of_a_setting() {
    for (flag, section, key) in FLAGS {
        let known = TABLE.iter().any(|info| (info.section, info.key) == (section, key));
        assert!(known, "{flag} sets {section}.{key}, which is no setting");
    }
}
