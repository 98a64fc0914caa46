//! `siltstone completions` and `siltstone man`: what a package ships beside the program, made by the program itself.

use super::exit::ExitCode;
use super::{Cli, CliError, Out};
use clap::{Args, Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use std::io;
use std::path::{Path, PathBuf};

/// For which shell.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// Where to put the pages.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// A folder that gets one page for each command, made if missing; without it the program's own page goes to stdout
    dir: Option<PathBuf>,
}

/// Prints a script that completes this program's command lines.
pub fn completions(args: &CompletionsArgs, out: Out<'_>) -> Result<ExitCode, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "siltstone", &mut script);
    out.write_all(&script)?;
    Ok(ExitCode::Ok)
}

/// Prints or writes manual pages.
pub fn man(args: &ManArgs, out: Out<'_>) -> Result<ExitCode, CliError> {
    let Some(dir) = &args.dir else {
        let mut page = Vec::new();
        Man::new(Cli::command()).render(&mut page)?;
        out.write_all(&page)?;
        return Ok(ExitCode::Ok);
    };
    let failed = |path: &Path, error| CliError::File { path: path.display().to_string(), error };
    create(dir).map_err(|error| failed(dir, error))?;
    for (name, command) in every_command(Cli::command()) {
        let path = dir.join(format!("{name}.1"));
        let mut page = Vec::new();
        Man::new(command).title(name).render(&mut page)?;
        write(&path, &page).map_err(|error| failed(&path, error))?;
        writeln!(out, "{}", path.display())?;
    }
    Ok(ExitCode::Ok)
}

#[expect(clippy::disallowed_methods, reason = "a folder that the user named, no part of a store")]
fn create(dir: &Path) -> io::Result<()> {
    std::fs::create_dir_all(dir)
}

#[expect(clippy::disallowed_methods, reason = "a file in a folder that the user named, no part of a store")]
fn write(path: &Path, page: &[u8]) -> io::Result<()> {
    std::fs::write(path, page)
}

/// The program and each command below it with the name of its page (`siltstone-log-verify`), parents first.
pub fn every_command(root: Command) -> Vec<(String, Command)> {
    // It adds `help` commands, which would document every command a second time.
    let mut root = root.disable_help_subcommand(true);
    root.build();
    let mut found = Vec::new();
    walk("", &root, &mut found);
    found
}

fn walk(parent: &str, command: &Command, found: &mut Vec<(String, Command)>) {
    // The pages' headings and usage lines show the whole command.
    let whole = format!("{parent} {}", command.get_name()).trim_start().to_owned();
    found.push((whole.replace(' ', "-"), command.clone().bin_name(whole.clone())));
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        walk(&whole, below, found);
    }
}
