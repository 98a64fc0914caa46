//! Secrets come from files or stdin: an argument would be in the list of processes and in the shell's history.

use super::CliError;
use crate::config::secret;
use std::path::Path;
use zeroize::Zeroizing;

/// The secret in a file, `-` for stdin, without its last newline.
pub fn read_secret(path: &Path) -> Result<Zeroizing<String>, CliError> {
    let read =
        if path == Path::new("-") { secret::read(std::io::stdin().lock()) } else { secret::read_file(path) };
    read.map_err(|error| CliError::File { path: path.display().to_string(), error })
}
