//! Confirmation of what destroys.

use std::io::{self, BufRead, IsTerminal, Write};

/// Whether to go on: `--yes` was given, or a person at a terminal says so. A script without `--yes` is refused.
pub fn confirmed(yes: bool, question: &str) -> io::Result<bool> {
    if yes {
        return Ok(true);
    }
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return Ok(false);
    }
    write!(io::stderr(), "{question} [y/N] ")?;
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
