//! Generates `docs/cli.md` and, for each first word, a page in `docs/cli/` from the commands themselves:
//! `SILTSTONE_BLESS=1 cargo test -p siltstone --lib cli_page` writes them again.

use super::Cli;
use super::documents::every_command;
use clap::{Arg, Command, CommandFactory};
use std::collections::BTreeMap;
use std::fmt::Write;

const INTRODUCTION: &str = "# Command line
Every command with its arguments. Generated from `src/cli`; `SILTSTONE_BLESS=1 cargo test -p siltstone --lib cli_page` writes it again, and the pages it names.

Data goes to stdout, everything else to stderr. `-o` chooses the form of the data: a table for people, or `json`, `ndjson` (a line for each value) or `yaml`
for programs; `--json` is short for `-o json` wherever there is `-o`, and `--help` is everywhere. Control characters in names are escaped in tables. Nothing is coloured but help and errors of the command line,
on a terminal and without `NO_COLOR`. Secrets are never arguments: they come from variables, from files (`-` is stdin), and are shown once where they are made.
What destroys asks at a terminal, and needs `--yes` everywhere else.

| exit code | means |
|---|---|
| 0 | done |
| 1 | failed for a reason that has no code of its own |
| 2 | the command line or the configuration is wrong |
| 3 | something named does not exist |
| 4 | not authenticated, or not allowed |
| 5 | refused: locked, exists already, or a confirmation is missing |
| 6 | a chain, a checksum or a projection is not what it should be |
| 7 | nobody answers, or not now |
| 8 | done in part |
| 9 | a simulation found a violation |
| 74 | the disk failed; nothing was acknowledged afterwards |
| 130 | interrupted |

";

/// Arguments that the introduction describes once for all commands.
const EVERYWHERE: [&str; 2] = ["help", "json"];

/// The pages by their paths: the list of all commands, and one page for all that begin with the same word.
fn pages() -> BTreeMap<String, String> {
    let (mut list, mut pages) = (INTRODUCTION.to_owned(), BTreeMap::new());
    for (name, command) in &every_command(Cli::command()) {
        let shown = command.get_bin_name().unwrap_or(name);
        let mut words = shown.split(' ');
        let (depth, first) = (words.clone().count() - 1, words.nth(1).unwrap_or(shown));
        let group = command.has_subcommands();
        let linked = if group { format!("`{shown}`") } else { format!("[`{shown}`](cli/{first}.md#{name})") };
        writeln!(list, "{}- {linked}: {}", "  ".repeat(depth), about(command)).unwrap();
        if !group {
            let page = pages.entry(format!("docs/cli/{first}.md"));
            let page = page
                .or_insert_with(|| format!("# siltstone {first}\nGenerated, like [the list](../cli.md).\n"));
            page.push_str(&section(shown, command));
        }
    }
    pages.insert("docs/cli.md".to_owned(), list);
    pages
}

fn section(shown: &str, command: &Command) -> String {
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ");
    let mut section = format!("\n## {shown}\n{}\n\n```\n{usage}\n```\n", about(command));
    if let Some(more) = command.get_after_help() {
        write!(section, "\n{more}\n").unwrap();
    }
    let told = |arg: &&Arg| !arg.is_hide_set() && !EVERYWHERE.contains(&arg.get_id().as_str());
    let mut rows = command.get_arguments().filter(told).map(row).peekable();
    if rows.peek().is_some() {
        section.push_str("\n| argument | meaning | default |\n|---|---|---|\n");
        rows.for_each(|row| section.push_str(&row));
    }
    section
}

fn about(command: &Command) -> String {
    command.get_about().map(ToString::to_string).unwrap_or_default()
}

fn row(arg: &Arg) -> String {
    let value = arg.get_value_names().and_then(|names| names.first()).map_or("", |name| name.as_str());
    let takes = arg.get_action().takes_values();
    let name = match (arg.get_short(), arg.get_long()) {
        (_, None) => format!("<{value}>"),
        (short, Some(long)) => {
            let short = short.map(|short| format!("-{short}, ")).unwrap_or_default();
            let value = if takes { format!(" <{value}>") } else { String::new() };
            format!("{short}--{long}{value}")
        }
    };
    let mut meaning = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let values = arg.get_possible_values();
    if takes && !values.is_empty() {
        let names: Vec<String> = values.iter().map(|value| format!("`{}`", value.get_name())).collect();
        write!(meaning, " ({})", names.join(", ")).unwrap();
    }
    let defaults: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    let default =
        if takes && !defaults.is_empty() { format!("`{}`", defaults.join(" ")) } else { String::new() };
    format!("| `{name}` | {} | {default} |\n", meaning.replace('|', "\\|"))
}

#[test]
fn every_cli_page_is_what_the_code_says() {
    let pages = pages();
    for (path, page) in &pages {
        crate::bless::bless_or_compare(path, page);
    }
    #[expect(clippy::disallowed_methods, reason = "a folder of the repository")]
    let kept = std::fs::read_dir(crate::bless::root().join("docs/cli")).unwrap();
    let kept = kept.map(|file| format!("docs/cli/{}", file.unwrap().file_name().display()));
    let left_over: Vec<String> = kept.filter(|path| !pages.contains_key(path)).collect();
    assert!(left_over.is_empty(), "pages of commands that there are no more: {left_over:?}");
}

#[test]
fn every_command_and_argument_is_described() {
    for (name, command) in every_command(Cli::command()) {
        assert!(!about(&command).is_empty(), "{name} says nothing about itself");
        for arg in command.get_arguments() {
            assert!(arg.get_help().is_some(), "{name}: {} says nothing about itself", arg.get_id());
        }
    }
}

/// C-6 of the requirements: an argument can be read by every process of the machine.
#[test]
fn no_argument_takes_a_secret() {
    for (name, command) in every_command(Cli::command()) {
        for arg in command.get_arguments().filter(|arg| arg.get_action().takes_values()) {
            let id = arg.get_id().as_str();
            let secret = ["secret", "password", "token", "passphrase"].iter().any(|word| id.contains(word));
            assert!(!secret || id.ends_with("_file"), "{name}: {id} would put a secret on the command line");
        }
    }
}
