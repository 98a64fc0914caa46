//! The canonical request. S3 signs the path as it is addressed: no `..` is resolved and no `//` merged, and it is
//! encoded once.
//!
//! Clients differ in what they send bare: one sends `@` and signs `%40`, another sends and signs `@`. Both forms decode to
//! the same name, so a signature over either covers what is done; hence two candidates, which are mostly equal.

use super::push_hex;
use crate::s3::request::RequestHead;
use percent_encoding::percent_decode_str;

/// Path and query as a signer may have written them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CanonicalTarget {
    path: String,
    query: String,
}

impl CanonicalTarget {
    /// The candidates: strictly encoded, and as sent where that differs. `leave_out` names the parameter that holds the
    /// signature itself.
    pub(super) fn candidates(head: &RequestHead, leave_out: Option<&str>) -> Vec<Self> {
        let pairs: Vec<(&str, &str)> = head
            .raw_query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .filter(|(name, _)| leave_out != Some(*name))
            .collect();
        let strict = Self {
            path: encode_path(&head.raw_path),
            query: join(pairs.iter().map(|(name, value)| (recode(name), recode(value))).collect()),
        };
        let sent = Self {
            path: head.raw_path.clone(),
            query: join(
                pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            ),
        };
        if sent == strict { vec![strict] } else { vec![strict, sent] }
    }
}

fn join(mut pairs: Vec<(String, String)>) -> String {
    pairs.sort_unstable();
    let joined: Vec<String> = pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    joined.join("&")
}

fn recode(text: &str) -> String {
    let spaced = text.replace('+', " ");
    encode(&percent_decode_str(&spaced).collect::<Vec<u8>>(), false)
}

/// A path in the form that is strictly encoded.
pub(in crate::s3) fn encode_path(raw: &str) -> String {
    encode(&percent_decode_str(raw).collect::<Vec<u8>>(), true)
}

fn encode(bytes: &[u8], keep_slash: bool) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = String::with_capacity(bytes.len());
    for &byte in bytes {
        let bare = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        if bare || (keep_slash && byte == b'/') {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(DIGITS[usize::from(byte >> 4)]));
            out.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
    out
}

/// The canonical request's bytes. `signed_headers` is the client's own list, in its order.
pub(super) fn canonical_request(
    head: &RequestHead,
    target: &CanonicalTarget,
    signed_headers: &str,
    payload_hash: &str,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    for line in [head.method.as_str(), &target.path, &target.query] {
        out.extend_from_slice(line.as_bytes());
        out.push(b'\n');
    }
    for name in signed_headers.split(';') {
        out.extend_from_slice(name.as_bytes());
        out.push(b':');
        for (index, value) in head.headers.get_all(name).iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            push_trimmed(&mut out, value.as_bytes());
        }
        out.push(b'\n');
    }
    for line in ["", signed_headers] {
        out.extend_from_slice(line.as_bytes());
        out.push(b'\n');
    }
    out.extend_from_slice(payload_hash.as_bytes());
    out
}

/// A header's value without spaces around it, and runs of spaces inside it as one.
fn push_trimmed(out: &mut Vec<u8>, value: &[u8]) {
    let words = value.split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty());
    for (index, word) in words.enumerate() {
        if index > 0 {
            out.push(b' ');
        }
        out.extend_from_slice(word);
    }
}

/// The string to sign: algorithm, time, scope, then the last parts as hexadecimal lines.
pub(super) fn string_to_sign(algorithm: &str, timestamp: &str, scope: &str, hashes: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::with_capacity(320);
    for line in [algorithm, timestamp, scope] {
        out.extend_from_slice(line.as_bytes());
        out.push(b'\n');
    }
    for (index, hash) in hashes.iter().enumerate() {
        if index > 0 {
            out.push(b'\n');
        }
        push_hex(&mut out, hash);
    }
    out
}
