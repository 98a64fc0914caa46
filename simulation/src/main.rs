//! `siltstone-sim`: runs the simulation from seeds.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
