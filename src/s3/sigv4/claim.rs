use super::canonical::{CanonicalTarget, canonical_request, string_to_sign};
use super::chunk::ChunkSeed;
use super::key::SigningKey;
use super::timestamp::Timestamp;
use super::{ALGORITHM, Scope, sha256};
use crate::auth::AuthError;
use crate::s3::request::RequestHead;
use http::header::{AUTHORIZATION, DATE};
use percent_encoding::percent_decode_str;
use siltstone_log::id::Hash;
use std::collections::BTreeMap;
use subtle::ConstantTimeEq;

/// How far a request's time may be from ours.
const MAX_SKEW_SECONDS: i64 = 15 * 60;
/// The longest life of a presigned link: seven days.
const MAX_EXPIRES_SECONDS: i64 = 7 * 24 * 3600;
/// Signature Version 4A, over several regions: one that AWS knows and this server does not.
const ASYMMETRIC: &str = "AWS4-ECDSA-P256-SHA256";
/// More signed headers than any client has; bounds the work for a stranger.
const MAX_SIGNED_HEADERS: usize = 128;

/// Where the signature stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// In the `Authorization` header.
    Header,
    /// In the query: a presigned link.
    Query,
}

/// What the signature says of the body.
#[derive(Debug, Clone)]
pub enum Payload {
    /// The body is not covered.
    Unsigned,
    /// The SHA-256 of the body.
    Sha256([u8; 32]),
    /// aws-chunked, each chunk signed in a chain that begins with the request's signature.
    SignedChunks {
        /// What the chain begins with.
        seed: ChunkSeed,
        /// Whether a signed trailer follows the last chunk.
        trailer: bool,
    },
    /// aws-chunked without signatures, with a trailer.
    UnsignedChunks,
}

/// What a client claims: a key, a time, and a signature over some headers. Nothing of it is believed before
/// [`matches`](Self::matches).
#[derive(Debug)]
pub struct Claim {
    form: Form,
    access_key: String,
    scope: String,
    signed_headers: String,
    signature: [u8; 32],
    timestamp: Timestamp,
    payload_hash: String,
    /// Of a presigned link: seconds it lives.
    expires: Option<i64>,
}

impl Claim {
    /// Reads the claim of a request; one without any is anonymous, one with two kinds is refused.
    pub fn read(head: &RequestHead, scope: &Scope) -> Result<Self, AuthError> {
        let query = auth_parameters(head)?;
        let mut authorizations = head.headers.get_all(AUTHORIZATION).iter();
        let authorization = authorizations.next();
        if authorizations.next().is_some() || (authorization.is_some() && !query.is_empty()) {
            return Err(AuthError::SeveralMechanisms);
        }
        match authorization {
            Some(value) => {
                let value = value.to_str().map_err(|_| AuthError::UnknownScheme)?;
                Self::from_header(head, value, scope)
            }
            None if query.is_empty() => Err(AuthError::Anonymous),
            None if !scope.links => Err(AuthError::LinksRefused),
            None => Self::from_query(head, &query, scope),
        }
    }

    fn from_header(head: &RequestHead, value: &str, scope: &Scope) -> Result<Self, AuthError> {
        let malformed = |message: &'static str| AuthError::malformed(Form::Header, message);
        let (algorithm, fields) = value.trim().split_once(' ').unwrap_or((value, ""));
        match algorithm {
            ALGORITHM => {}
            // Signature Version 2, whose switch is off, or version 4 of another kind.
            "AWS" | ASYMMETRIC => return Err(AuthError::UnsupportedMechanism),
            _ => return Err(AuthError::UnknownScheme),
        }
        let mut parts: BTreeMap<&str, &str> = BTreeMap::new();
        for field in fields.split(',') {
            let (name, value) =
                field.trim().split_once('=').ok_or_else(|| malformed("a field has no value"))?;
            if !["Credential", "SignedHeaders", "Signature"].contains(&name) {
                return Err(malformed("an unknown field"));
            }
            if parts.insert(name, value).is_some() {
                return Err(malformed("a field stands twice"));
            }
        }
        let field = |name: &str, message| parts.get(name).copied().ok_or_else(|| malformed(message));
        let timestamp = match head.header("x-amz-date") {
            Some(text) => Timestamp::parse_basic(text),
            None => {
                head.headers.get(DATE).and_then(|value| Timestamp::parse_date_header(value.to_str().ok()?))
            }
        };
        let timestamp = timestamp.ok_or(AuthError::MissingDate)?;
        let payload_hash = head.header("x-amz-content-sha256").ok_or(AuthError::PayloadHashMissing)?;
        let credential = field("Credential", "the Credential field is missing")?;
        let (access_key, scope) = split_credential(Form::Header, credential, &timestamp, scope)?;
        Ok(Self {
            form: Form::Header,
            access_key,
            scope,
            signed_headers: field("SignedHeaders", "the SignedHeaders field is missing")?.to_owned(),
            signature: parse_signature(field("Signature", "the Signature field is missing")?)?,
            timestamp,
            payload_hash: payload_hash.to_owned(),
            expires: None,
        })
    }

    fn from_query(
        head: &RequestHead,
        query: &BTreeMap<String, String>,
        scope: &Scope,
    ) -> Result<Self, AuthError> {
        let malformed = |message: &'static str| AuthError::malformed(Form::Query, message);
        let field = |name: &str| {
            let missing = "X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders and \
                           X-Amz-Expires are needed";
            query.get(name).map(String::as_str).ok_or_else(|| malformed(missing))
        };
        if field("X-Amz-Algorithm")? != ALGORITHM {
            return Err(malformed("X-Amz-Algorithm only supports AWS4-HMAC-SHA256"));
        }
        let timestamp = Timestamp::parse_basic(field("X-Amz-Date")?)
            .ok_or_else(|| malformed("X-Amz-Date must be in the form yyyyMMddTHHmmssZ"))?;
        let expires: i64 =
            field("X-Amz-Expires")?.parse().map_err(|_| malformed("X-Amz-Expires should be a number"))?;
        if !(1..=MAX_EXPIRES_SECONDS).contains(&expires) {
            return Err(malformed("X-Amz-Expires must be from 1 second to one week"));
        }
        let (access_key, scope) =
            split_credential(Form::Query, field("X-Amz-Credential")?, &timestamp, scope)?;
        let in_query = query.get("X-Amz-Content-Sha256").map(String::as_str);
        let payload_hash = in_query.or(head.header("x-amz-content-sha256")).unwrap_or("UNSIGNED-PAYLOAD");
        Ok(Self {
            form: Form::Query,
            access_key,
            scope,
            signed_headers: field("X-Amz-SignedHeaders")?.to_owned(),
            signature: parse_signature(field("X-Amz-Signature")?)?,
            timestamp,
            payload_hash: payload_hash.to_owned(),
            expires: Some(expires),
        })
    }

    /// The access key that is claimed.
    pub fn access_key(&self) -> &str {
        &self.access_key
    }

    /// Whether it stands in the query.
    pub fn is_link(&self) -> bool {
        self.form == Form::Query
    }

    /// The day of the scope, for which the signing key is derived.
    pub fn day(&self) -> &str {
        self.timestamp.day()
    }

    /// Refuses a time too far from ours, and a link before or after its life.
    pub fn check_time(&self, now_seconds: i64) -> Result<(), AuthError> {
        let age = now_seconds - self.timestamp.seconds();
        match self.expires {
            None if age.abs() > MAX_SKEW_SECONDS => Err(AuthError::TooSkewed {
                request: self.timestamp.as_str().to_owned(),
                server_seconds: now_seconds,
            }),
            Some(_) if age < -MAX_SKEW_SECONDS => Err(AuthError::NotYetValid),
            Some(expires) if age > expires => Err(AuthError::Expired),
            None | Some(_) => Ok(()),
        }
    }

    /// Refuses a list of signed headers that leaves open what must be covered: `host` and every `x-amz-*`. Each header
    /// on the list must be there.
    pub fn check_headers(&self, head: &RequestHead) -> Result<(), AuthError> {
        let malformed = |message: &'static str| AuthError::malformed(self.form, message);
        let mut signed: Vec<&str> = self.signed_headers.split(';').collect();
        if signed.len() > MAX_SIGNED_HEADERS {
            return Err(malformed("too many signed headers"));
        }
        let lower = |name: &&str| !name.is_empty() && !name.bytes().any(|byte| byte.is_ascii_uppercase());
        if !signed.iter().all(lower) {
            return Err(malformed("the signed headers are names in lower case"));
        }
        signed.sort_unstable();
        if signed.windows(2).any(|pair| pair.first() == pair.last()) {
            return Err(malformed("a signed header is listed twice"));
        }
        if !signed.contains(&"host") {
            return Err(AuthError::HeaderNotSigned("host".to_owned()));
        }
        if let Some(absent) = signed.iter().find(|name| !head.headers.contains_key(**name)) {
            return Err(AuthError::SignedHeaderAbsent((*absent).to_owned()));
        }
        let open = head.headers.keys().map(http::HeaderName::as_str);
        let mut open = open.filter(|name| name.starts_with("x-amz-") && signed.binary_search(name).is_err());
        open.next().map_or(Ok(()), |name| Err(AuthError::HeaderNotSigned(name.to_owned())))
    }

    /// Whether the signature is the one that this key makes over this request, compared in constant time.
    pub fn matches(&self, head: &RequestHead, key: &SigningKey) -> bool {
        let leave_out = match self.form {
            Form::Header => None,
            Form::Query => Some("X-Amz-Signature"),
        };
        CanonicalTarget::candidates(head, leave_out).iter().any(|target| {
            let request = canonical_request(head, target, &self.signed_headers, &self.payload_hash);
            let hash = sha256(&request);
            let message = string_to_sign(ALGORITHM, self.timestamp.as_str(), &self.scope, &[&hash]);
            key.sign(&message).ct_eq(&self.signature).into()
        })
    }

    /// What the claim says of the body.
    pub fn payload(&self, key: &SigningKey) -> Result<Payload, AuthError> {
        let seed = || ChunkSeed {
            key: key.clone(),
            timestamp: self.timestamp.as_str().to_owned(),
            scope: self.scope.clone(),
            signature: self.signature,
        };
        match self.payload_hash.as_str() {
            "UNSIGNED-PAYLOAD" => Ok(Payload::Unsigned),
            "STREAMING-UNSIGNED-PAYLOAD-TRAILER" => Ok(Payload::UnsignedChunks),
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" => {
                Ok(Payload::SignedChunks { seed: seed(), trailer: false })
            }
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER" => {
                Ok(Payload::SignedChunks { seed: seed(), trailer: true })
            }
            hash => {
                let hash = Hash::parse(hash).map_err(|_| AuthError::PayloadHashInvalid)?;
                Ok(Payload::Sha256(hash.0))
            }
        }
    }
}

/// The parameters that make a query a signed one.
const CLAIM: [&str; 3] = ["X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature"];

/// Whether a request has a signature in its query, or means to.
pub fn is_link(head: &RequestHead) -> bool {
    let mut names = head.raw_query.split('&').map(|pair| pair.split_once('=').map_or(pair, |(name, _)| name));
    names.any(|name| CLAIM.contains(&name))
}

/// The parameters that authenticate, decoded; one that stands twice is refused.
fn auth_parameters(head: &RequestHead) -> Result<BTreeMap<String, String>, AuthError> {
    const MORE: [&str; 4] = ["X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders", "X-Amz-Content-Sha256"];
    let mut found = BTreeMap::new();
    for pair in head.raw_query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if name == "X-Amz-Security-Token" {
            return Err(AuthError::TokenUnsupported);
        }
        if !CLAIM.contains(&name) && !MORE.contains(&name) {
            continue;
        }
        let value = percent_decode_str(value).decode_utf8();
        let value = value.map_err(|_| AuthError::malformed(Form::Query, "a value is no UTF-8"))?;
        if found.insert(name.to_owned(), value.into_owned()).is_some() {
            return Err(AuthError::malformed(Form::Query, "a parameter stands twice"));
        }
    }
    if !CLAIM.iter().any(|name| found.contains_key(*name)) {
        found.clear();
    }
    Ok(found)
}

fn parse_signature(text: &str) -> Result<[u8; 32], AuthError> {
    Hash::parse(text).map(|hash| hash.0).map_err(|_| AuthError::Mismatch)
}

/// Splits `key/day/region/service/aws4_request` and checks all but the key. The key itself may contain slashes.
fn split_credential(
    form: Form,
    credential: &str,
    timestamp: &Timestamp,
    scope: &Scope,
) -> Result<(String, String), AuthError> {
    let mut parts = credential.rsplitn(5, '/');
    let mut part = || {
        let message =
            "the Credential is mal-formed; expecting \"<key>/YYYYMMDD/REGION/SERVICE/aws4_request\"";
        parts.next().ok_or_else(|| AuthError::malformed(form, message))
    };
    let (terminal, service, found_region, day, access_key) = (part()?, part()?, part()?, part()?, part()?);
    if terminal != "aws4_request" {
        return Err(AuthError::malformed(form, "the Credential must end with \"aws4_request\""));
    }
    if service != scope.service {
        return Err(AuthError::malformed(form, scope.wrong_service));
    }
    if day != timestamp.day() {
        return Err(AuthError::malformed(form, "the credential's date is not the date of the request"));
    }
    if found_region != scope.region {
        return Err(AuthError::WrongRegion {
            form,
            found: found_region.to_owned(),
            expected: scope.region.clone(),
        });
    }
    Ok((access_key.to_owned(), format!("{day}/{found_region}/{service}/{terminal}")))
}
