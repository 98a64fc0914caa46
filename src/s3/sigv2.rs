//! AWS Signature Version 2, which old clients and boto3's default links to other endpoints than AWS's use.
//!
//! It covers less than Version 4: not the host, not the body, and of the parameters only those it knows. What it leaves
//! open and would change what is done is refused by [`check_coverage`]. Previous hop: [`crate::auth::Authenticator`].

use super::operation::is_subresource;
use super::request::{Query, RequestHead};
use super::sigv4::{Form, Payload, Timestamp, encode_path};
use crate::auth::{AuthError, Secret};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::header::{AUTHORIZATION, CONTENT_TYPE, DATE};
use percent_encoding::percent_decode_str;
use siltstone_log::id::Hash;
use std::collections::BTreeMap;
use subtle::ConstantTimeEq;

/// How far a request's time may be from ours.
const MAX_SKEW_SECONDS: i64 = 15 * 60;
/// The longest that a link may still live.
const MAX_EXPIRES_SECONDS: i64 = 7 * 24 * 3600;
const SIGNATURE_BYTES: usize = 20;

/// The parameters that the signature covers.
const COVERED: [&str; 35] = [
    "accelerate",
    "acl",
    "analytics",
    "cors",
    "defaultObjectAcl",
    "delete",
    "inventory",
    "lifecycle",
    "location",
    "logging",
    "metrics",
    "notification",
    "object-lock",
    "partNumber",
    "policy",
    "replication",
    "requestPayment",
    "response-cache-control",
    "response-content-disposition",
    "response-content-encoding",
    "response-content-language",
    "response-content-type",
    "response-expires",
    "restore",
    "select",
    "select-type",
    "storageClass",
    "tagging",
    "torrent",
    "uploadId",
    "uploads",
    "versionId",
    "versioning",
    "versions",
    "website",
];

/// When a claim holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    /// Of a header: it was made then.
    MadeAt(i64),
    /// Of a link: until then.
    Until(i64),
}

/// What a client claims: a key, a time, a signature.
#[derive(Debug)]
pub struct Claim {
    access_key: String,
    signature: [u8; SIGNATURE_BYTES],
    /// The line of the string to sign that holds the time.
    date: String,
    life: Life,
}

/// Names and raw values of the query.
fn raw_pairs(head: &RequestHead) -> impl Iterator<Item = (&str, Option<&str>)> {
    let pairs = head.raw_query.split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| pair.split_once('=').map_or((pair, None), |(name, value)| (name, Some(value))))
}

/// Whether a request has a signature of this version in its query, or means to.
pub fn is_link(head: &RequestHead) -> bool {
    raw_pairs(head).any(|(name, _)| matches!(name, "Signature" | "AWSAccessKeyId"))
}

impl Claim {
    /// Reads the claim of a link.
    pub fn from_link(head: &RequestHead) -> Result<Self, AuthError> {
        let field = |name: &str| {
            let mut found = raw_pairs(head).filter(|(found, _)| *found == name);
            let incomplete = AuthError::UnusableLink(
                "Query-string authentication requires the Signature, Expires and AWSAccessKeyId parameters",
            );
            match (found.next(), found.next()) {
                (Some((_, value)), None) => {
                    let value = percent_decode_str(value.unwrap_or_default()).decode_utf8();
                    value.map_err(|_| AuthError::malformed(Form::Query, "a value is no UTF-8"))
                }
                (None, _) => Err(incomplete),
                (Some(_), Some(_)) => Err(AuthError::malformed(Form::Query, "a parameter stands twice")),
            }
        };
        let date = field("Expires")?.into_owned();
        let wrong = AuthError::UnusableLink("Invalid date (should be seconds since epoch)");
        let expires = if date.bytes().all(|byte| byte.is_ascii_digit()) { date.parse().ok() } else { None };
        let expires = expires.ok_or(wrong)?;
        Ok(Self {
            access_key: field("AWSAccessKeyId")?.into_owned(),
            signature: parse_signature(&field("Signature")?)?,
            date,
            life: Life::Until(expires),
        })
    }

    /// Reads the claim of an `Authorization` header.
    pub fn from_header(head: &RequestHead) -> Result<Self, AuthError> {
        let value = head.header(AUTHORIZATION.as_str()).and_then(|value| value.strip_prefix("AWS "));
        let value = value.ok_or(AuthError::UnsupportedMechanism)?;
        // The key itself may contain colons; base64 does not.
        let fields = value.trim().rsplit_once(':');
        let (access_key, signature) =
            fields.ok_or(AuthError::malformed(Form::Header, "expecting \"AWS <key>:<signature>\""))?;
        let amz_date = head.header("x-amz-date");
        let date = amz_date.or_else(|| head.header(DATE.as_str())).ok_or(AuthError::MissingDate)?;
        let made = Timestamp::parse_date_header(date).ok_or(AuthError::MissingDate)?;
        Ok(Self {
            access_key: access_key.to_owned(),
            signature: parse_signature(signature)?,
            // As one of the x-amz- headers it is covered there.
            date: if amz_date.is_some() { String::new() } else { date.trim().to_owned() },
            life: Life::MadeAt(made.seconds()),
        })
    }

    /// Whether it stands in the query.
    pub fn is_link(&self) -> bool {
        matches!(self.life, Life::Until(_))
    }

    /// The access key that is claimed.
    pub fn access_key(&self) -> &str {
        &self.access_key
    }

    /// Refuses a time too far from ours, a link whose time is over, and one made for longer than a week.
    pub fn check_time(&self, now_seconds: i64) -> Result<(), AuthError> {
        match self.life {
            Life::MadeAt(made) if now_seconds.abs_diff(made) > MAX_SKEW_SECONDS.unsigned_abs() => {
                Err(AuthError::TooSkewed { request: self.date.clone(), server_seconds: now_seconds })
            }
            Life::Until(expires) if now_seconds > expires => Err(AuthError::Expired),
            Life::Until(expires) if expires.saturating_sub(now_seconds) > MAX_EXPIRES_SECONDS => {
                Err(AuthError::UnusableLink("A link may live for at most a week"))
            }
            Life::MadeAt(_) | Life::Until(_) => Ok(()),
        }
    }

    /// Whether the signature is the one that this secret makes over this request, compared in constant time.
    pub fn matches(&self, head: &RequestHead, secret: &Secret) -> Result<bool, AuthError> {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.expose().as_bytes());
        let strict = encode_path(&head.raw_path);
        let sent = (strict != head.raw_path).then_some(head.raw_path.as_str());
        // botocore signs a bucket in path style as `/bucket/`, whichever of the two it sends; both name the same bucket.
        let is_bucket = head.host_bucket.is_none() && strict.len() > 1 && strict.rfind('/') == Some(0);
        let slashed = is_bucket.then(|| format!("{strict}/"));
        for path in std::iter::once(strict.as_str()).chain(sent).chain(slashed.as_deref()) {
            let tag = hmac::sign(&key, &self.string_to_sign(head, path)?);
            if tag.as_ref().ct_eq(&self.signature).into() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn string_to_sign(&self, head: &RequestHead, path: &str) -> Result<Vec<u8>, AuthError> {
        let query = Query::parse(&head.raw_query);
        let query = query.map_err(|_| AuthError::malformed(Form::Query, "a parameter is no UTF-8"))?;
        let of_link = |name: &str| {
            let mut found =
                query.iter().filter(|(found, _)| self.is_link() && found.eq_ignore_ascii_case(name));
            found.next().map(|(_, value)| value.as_bytes())
        };
        let mut out = Vec::with_capacity(512);
        let standard = |name: &str| {
            let header = head.headers.get(name).map(|value| value.as_bytes().trim_ascii());
            header.or_else(|| of_link(name)).unwrap_or_default()
        };
        for line in [
            head.method.as_str().as_bytes(),
            standard("content-md5"),
            standard(CONTENT_TYPE.as_str()),
            self.date.as_bytes(),
        ] {
            out.extend_from_slice(line);
            out.push(b'\n');
        }
        for (name, value) in self.amz_headers(head, &query)? {
            out.extend_from_slice(name.as_bytes());
            out.push(b':');
            out.extend_from_slice(&value);
            out.push(b'\n');
        }
        if let Some(bucket) = &head.host_bucket {
            out.push(b'/');
            out.extend_from_slice(bucket.as_bytes());
        }
        out.extend_from_slice(path.as_bytes());
        push_resource(&mut out, head);
        Ok(out)
    }

    /// The `x-amz-*` headers, and those parameters of a link that stand for some.
    fn amz_headers(&self, head: &RequestHead, query: &Query) -> Result<BTreeMap<String, Vec<u8>>, AuthError> {
        let mut found: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for name in
            head.headers.keys().map(http::HeaderName::as_str).filter(|name| name.starts_with("x-amz-"))
        {
            let values = head.headers.get_all(name).iter().map(|value| value.as_bytes().trim_ascii());
            found.insert(name.to_owned(), values.collect::<Vec<_>>().join(&b','));
        }
        let parameters = query.iter().filter(|_| self.is_link());
        let parameters = parameters.map(|(name, value)| (name.to_ascii_lowercase(), value));
        let mut seen = std::collections::BTreeSet::new();
        for (name, value) in parameters.filter(|(name, _)| name.starts_with("x-amz-")) {
            let same = found.get(&name).is_none_or(|header| header == value.as_bytes());
            if !same || !seen.insert(name.clone()) {
                return Err(AuthError::malformed(Form::Query, "a parameter stands twice"));
            }
            found.insert(name, value.as_bytes().to_vec());
        }
        Ok(found)
    }
}

/// The covered parameters with their raw values, sorted by name.
fn covered_pairs(head: &RequestHead) -> Vec<(&str, Option<&str>)> {
    let mut covered = raw_pairs(head).filter(|(name, _)| COVERED.contains(name)).collect::<Vec<_>>();
    covered.sort_by_key(|(name, _)| *name);
    covered
}

/// The covered parameters, their values decoded.
fn push_resource(out: &mut Vec<u8>, head: &RequestHead) {
    for (index, (name, value)) in covered_pairs(head).into_iter().enumerate() {
        out.push(if index == 0 { b'?' } else { b'&' });
        out.extend_from_slice(name.as_bytes());
        if let Some(value) = value {
            out.push(b'=');
            out.extend(percent_decode_str(value));
        }
    }
}

/// Refuses a request with a parameter that would make another operation or answer of it and is not signed.
pub fn check_coverage(head: &RequestHead) -> Result<(), AuthError> {
    let names = Query::parse(&head.raw_query);
    let names = names.map_err(|_| AuthError::malformed(Form::Query, "a parameter is no UTF-8"))?;
    // As the router will read them, which sees more than a signer who compares raw names.
    for ((name, _), (raw, _)) in names.iter().zip(raw_pairs(head)) {
        let covered = name == raw && COVERED.contains(&raw);
        if !covered && (is_subresource(name) || COVERED.contains(&name)) {
            return Err(AuthError::ParameterNotSigned(name.to_owned()));
        }
    }
    check_reading(head)
}

/// Refuses parameters that are not what their signed text says. Values are signed decoded, so that the text of one that
/// holds `&` and a covered name is also the text of two, and whoever gives an application part of a value to sign could
/// add a parameter to its link. The text has one reading here: parameters begin at a `&` outside of quoted strings. In a
/// header's value (RFC 9110 5.6.6) `=` stands outside of quotes only once in each parameter, so what an application
/// signed is cut in two only within quotes, which leaves them open. Without `=`, nothing would show it.
fn check_reading(head: &RequestHead) -> Result<(), AuthError> {
    let form = if is_link(head) { Form::Query } else { Form::Header };
    let ambiguous = Err(AuthError::malformed(form, "a signed value can be read as several parameters"));
    let covered = covered_pairs(head);
    for (index, (name, value)) in covered.iter().enumerate() {
        let value: Vec<u8> = percent_decode_str(value.unwrap_or_default()).collect();
        let quote = quote_at_end(&value);
        let next = covered.get(index + 1);
        let hides = next.is_some_and(|(_, next)| next.is_none() && name.starts_with("response-"));
        if quote.is_none() || hides || (quote == Some(true) && next.is_some()) {
            return ambiguous;
        }
    }
    Ok(())
}

/// Whether a value ends within a quoted string; `None` where another covered parameter stands in it outside of one.
fn quote_at_end(value: &[u8]) -> Option<bool> {
    let (mut quoted, mut escaped) = (false, false);
    for (index, byte) in value.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'&' if !quoted => {
                let rest = value.get(index + 1..).unwrap_or_default();
                let end = rest.iter().position(|byte| matches!(byte, b'=' | b'&')).unwrap_or(rest.len());
                let name = rest.get(..end).unwrap_or_default();
                if COVERED.iter().any(|covered| covered.as_bytes() == name) {
                    return None;
                }
            }
            _ => {}
        }
    }
    Some(quoted)
}

/// What the request says of its body, which this version does not cover.
pub fn payload(head: &RequestHead) -> Result<Payload, AuthError> {
    match head.header("x-amz-content-sha256") {
        None | Some("UNSIGNED-PAYLOAD") => Ok(Payload::Unsigned),
        Some("STREAMING-UNSIGNED-PAYLOAD-TRAILER") => Ok(Payload::UnsignedChunks),
        Some(hash) => {
            Hash::parse(hash).map(|hash| Payload::Sha256(hash.0)).map_err(|_| AuthError::PayloadHashInvalid)
        }
    }
}

fn parse_signature(text: &str) -> Result<[u8; SIGNATURE_BYTES], AuthError> {
    let bytes = BASE64.decode(text).ok();
    bytes.and_then(|bytes| bytes.try_into().ok()).ok_or(AuthError::Mismatch)
}

#[cfg(test)]
mod tests;
