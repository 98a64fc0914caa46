//! A secret's file, as the configuration's variables (`…_FILE`) and the command line name it.

use std::io::{Error, ErrorKind, Read, Result};
use std::path::Path;
use zeroize::Zeroizing;

/// The most bytes that a secret's file may have, with its newline: a mistaken name must not fill the memory.
const MAX_BYTES: u16 = 4096;

/// The secret in a file, without its last newline.
///
/// # Errors
/// The system's, or [`ErrorKind::InvalidData`] for what is no UTF-8 or longer than any secret may be.
#[expect(clippy::disallowed_methods, reason = "a file that the user named, no part of a store")]
pub fn read_file(path: &Path) -> Result<Zeroizing<String>> {
    read(std::fs::File::open(path)?)
}

/// The same from any source.
///
/// # Errors
/// As [`read_file`].
pub fn read(source: impl Read) -> Result<Zeroizing<String>> {
    // As large as it may become: a vector that grows leaves copies of the secret behind.
    let mut text = Zeroizing::new(String::with_capacity(usize::from(MAX_BYTES) + 1));
    if source.take(u64::from(MAX_BYTES) + 1).read_to_string(&mut text)? > usize::from(MAX_BYTES) {
        return Err(Error::new(ErrorKind::InvalidData, "it is longer than a secret may be"));
    }
    let secret = text.trim_end_matches(['\r', '\n']).len();
    text.truncate(secret);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_newline_is_no_part_of_a_secret_and_its_length_is_bounded() {
        for (source, secret) in
            [("hunter22\n", "hunter22"), ("hunter22\r\n", "hunter22"), (" a b", " a b"), ("", "")]
        {
            assert_eq!(**read(source.as_bytes()).unwrap(), *secret);
        }
        assert_eq!(read(std::io::repeat(b'x')).unwrap_err().kind(), ErrorKind::InvalidData);
        assert_eq!(read(&b"\xff"[..]).unwrap_err().kind(), ErrorKind::InvalidData);
        assert_eq!(read("x".repeat(4096).as_bytes()).unwrap().len(), 4096);
    }
}
