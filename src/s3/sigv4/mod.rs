//! AWS Signature Version 4, from the raw request.
//!
//! A request is verified exactly once, before anything is routed: [`Claim::read`] parses what the client claims,
//! [`Claim::check_headers`] refuses what a signature does not cover, [`Claim::matches`] compares in constant time. The
//! signature that would have been right is never kept, shown or logged.
//!
//! Previous hop: the listener. Next hop: [`crate::auth::Authenticator`], which also knows the keys.

mod canonical;
mod chunk;
mod claim;
mod key;
mod sign;
mod timestamp;

pub use chunk::{ChunkChain, ChunkSeed};
pub use claim::{Claim, Form, Payload};
pub use key::{KeyCache, SigningKey};
pub use sign::{SignError, sign};
pub use timestamp::Timestamp;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;

/// What the signatures of one door name and may look like. Each door has a service name of its own, so that a request
/// signed for one is worth nothing at another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    region: String,
    service: &'static str,
    /// Whether a signature may stand in the query.
    links: bool,
    wrong_service: &'static str,
}

impl Scope {
    /// Of the S3 API.
    pub fn s3(region: impl Into<String>) -> Self {
        let wrong_service = "incorrect service; this endpoint belongs to \"s3\"";
        Self { region: region.into(), service: "s3", links: true, wrong_service }
    }

    /// Of the console API. Nobody makes links to it.
    pub fn console(region: impl Into<String>) -> Self {
        let wrong_service = "incorrect service; this endpoint belongs to \"siltstone\"";
        Self { region: region.into(), service: "siltstone", links: false, wrong_service }
    }
}

/// The one algorithm that is accepted.
pub const ALGORITHM: &str = "AWS4-HMAC-SHA256";

fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message);
    fixed(tag.as_ref())
}

fn sha256(message: &[u8]) -> [u8; 32] {
    fixed(digest(&SHA256, message).as_ref())
}

fn fixed(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(bytes);
    out
}

fn push_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        out.push(DIGITS[usize::from(byte >> 4)]);
        out.push(DIGITS[usize::from(byte & 15)]);
    }
}

#[cfg(test)]
mod tests;
