//! The program `siltstone`: everything is behind [`siltstone::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    siltstone::cli::run(std::env::args_os()).into()
}
