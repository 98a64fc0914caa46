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

pub(super) use canonical::encode_path;
pub use chunk::{ChunkChain, ChunkSeed};
pub use claim::{Claim, Form, Payload, is_link};
pub use key::{KeyCache, SigningKey};
pub use sign::{PayloadHash, SignError, sign};
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
    /// Whether signatures of version 2 may stand in the query, and in the header.
    sigv2: (bool, bool),
    wrong_service: &'static str,
}

impl Scope {
    /// Of the S3 API, with links of either version.
    pub fn s3(region: impl Into<String>) -> Self {
        let wrong_service = "incorrect service; this endpoint belongs to \"s3\"";
        Self { region: region.into(), service: "s3", links: true, sigv2: (true, false), wrong_service }
    }

    /// Of the console API. Nobody makes links to it.
    pub fn console(region: impl Into<String>) -> Self {
        let wrong_service = "incorrect service; this endpoint belongs to \"siltstone\"";
        Self {
            region: region.into(),
            service: "siltstone",
            links: false,
            sigv2: (false, false),
            wrong_service,
        }
    }

    /// Says where Signature Version 2 is accepted.
    #[must_use]
    pub fn accepting_sigv2(self, links: bool, headers: bool) -> Self {
        Self { sigv2: (links, headers), ..self }
    }

    /// Whether links of Signature Version 2 are accepted.
    pub fn sigv2_links(&self) -> bool {
        self.sigv2.0
    }

    /// Whether Signature Version 2 is accepted in the header.
    pub fn sigv2_headers(&self) -> bool {
        self.sigv2.1
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
mod oracle;
#[cfg(test)]
mod tests;
