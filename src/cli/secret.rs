//! Secrets come from files or stdin: an argument would be in the list of processes and in the shell's history.

use super::CliError;
use std::io::Read;
use std::path::Path;
use zeroize::Zeroizing;

/// The most bytes that a file with a secret key may have.
const MAX_SECRET_FILE: u64 = 4096;

/// The secret in a file, `-` for stdin, without its last newline.
pub fn read_secret(path: &Path) -> Result<Zeroizing<String>, CliError> {
    let failed = |error| CliError::File { path: path.display().to_string(), error };
    let mut text = Zeroizing::new(String::new());
    if path == Path::new("-") {
        std::io::stdin().lock().take(MAX_SECRET_FILE).read_to_string(&mut text).map_err(failed)?;
    } else {
        text = Zeroizing::new(std::fs::read_to_string(path).map_err(failed)?);
    }
    Ok(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()))
}
