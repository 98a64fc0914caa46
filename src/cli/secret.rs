//! Secrets come from files or stdin: an argument would be in the list of processes and in the shell's history.

use super::CliError;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;
use zeroize::Zeroizing;

/// The most bytes that a secret key may have, with its newline.
const MAX_SECRET: u64 = 4096;

/// The secret in a file, `-` for stdin, without its last newline.
#[expect(clippy::disallowed_methods, reason = "a file that the user named, no part of a store")]
pub fn read_secret(path: &Path) -> Result<Zeroizing<String>, CliError> {
    let failed = |error| CliError::File { path: path.display().to_string(), error };
    let mut text = Zeroizing::new(String::new());
    let read = if path == Path::new("-") {
        std::io::stdin().lock().take(MAX_SECRET + 1).read_to_string(&mut text)
    } else {
        File::open(path).and_then(|file| file.take(MAX_SECRET + 1).read_to_string(&mut text))
    };
    if read.map_err(failed)? as u64 > MAX_SECRET {
        let long = std::io::Error::new(ErrorKind::InvalidData, "it is longer than a secret key may be");
        return Err(failed(long));
    }
    Ok(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()))
}
