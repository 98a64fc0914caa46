use super::authenticate::AuthError;
use super::credentials::Secret;
use crate::s3::body::checksum::names_value;
use crate::s3::request::{Query, RequestHead};
use crate::s3::sigv4::{Form, KeyCache, Payload, Scope};
use crate::s3::{sigv2, sigv4};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};

/// What a client claims, in either version of signatures. Nothing of it is believed before [`verify`](Self::verify).
#[derive(Debug)]
pub enum Claim {
    /// Signature Version 2.
    V2(sigv2::Claim),
    /// Signature Version 4.
    V4(sigv4::Claim),
}

impl Claim {
    /// Reads the claim of a request; one without any is anonymous, one with two kinds is refused.
    pub fn read(head: &RequestHead, scope: &Scope) -> Result<Self, AuthError> {
        let link = sigv2::is_link(head);
        let mut authorizations = head.headers.get_all(AUTHORIZATION).iter();
        let header =
            scope.sigv2_headers() && authorizations.any(|value| value.as_bytes().starts_with(b"AWS "));
        if !(link || header) {
            return sigv4::Claim::read(head, scope).map(Self::V4);
        }
        let authorizations = head.headers.get_all(AUTHORIZATION).iter().count();
        if authorizations + usize::from(link) + usize::from(sigv4::is_link(head)) > 1 {
            return Err(AuthError::SeveralMechanisms);
        }
        if link && !scope.sigv2_links() {
            return Err(AuthError::UnsupportedMechanism);
        }
        let claim = if link { sigv2::Claim::from_link(head) } else { sigv2::Claim::from_header(head) };
        claim.map(Self::V2)
    }

    /// The access key that is claimed.
    pub fn access_key(&self) -> &str {
        match self {
            Self::V2(claim) => claim.access_key(),
            Self::V4(claim) => claim.access_key(),
        }
    }

    /// Refuses a time too far from ours, and a link before or after its life.
    pub fn check_time(&self, now_seconds: i64) -> Result<(), AuthError> {
        match self {
            Self::V2(claim) => claim.check_time(now_seconds),
            Self::V4(claim) => claim.check_time(now_seconds),
        }
    }

    /// Refuses a request of which something that says what to do is not signed.
    pub fn check_coverage(&self, head: &RequestHead) -> Result<(), AuthError> {
        match self {
            Self::V2(_) => sigv2::check_coverage(head),
            Self::V4(claim) => claim.check_headers(head),
        }
    }

    /// Compares the signature with the one that this secret makes, in constant time; gives what it says of the body.
    pub fn verify(
        &self,
        head: &RequestHead,
        secret: &Secret,
        keys: &KeyCache,
        scope: &Scope,
    ) -> Result<Payload, AuthError> {
        match self {
            Self::V2(claim) => {
                if claim.matches(head, secret)? {
                    sigv2::payload(head)
                } else {
                    Err(AuthError::Mismatch)
                }
            }
            Self::V4(claim) => {
                let key = keys.get(claim.access_key(), secret, claim.day(), scope);
                if claim.matches(head, &key) { claim.payload(&key) } else { Err(AuthError::Mismatch) }
            }
        }
    }

    /// The parameters of a link that stand for headers: SDKs put there what a browser would not send. Checksums are left
    /// out, as S3 leaves them: signers compute them over a body that they do not have yet.
    pub fn headers_of_link(&self, head: &RequestHead) -> Result<Vec<(HeaderName, HeaderValue)>, AuthError> {
        let also: &[HeaderName] = match self {
            Self::V2(claim) if claim.is_link() => &[CONTENT_TYPE, HeaderName::from_static("content-md5")],
            Self::V4(claim) if claim.is_link() => &[],
            Self::V2(_) | Self::V4(_) => return Ok(Vec::new()),
        };
        let malformed = |message| AuthError::malformed(Form::Query, message);
        let query = Query::parse(&head.raw_query).map_err(|_| malformed("a parameter is no UTF-8"))?;
        let mut headers = Vec::new();
        for (name, value) in query.iter() {
            let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else { continue };
            if stands_for_header(&name) || also.contains(&name) {
                let value = HeaderValue::from_bytes(value.as_bytes());
                headers.push((name, value.map_err(|_| malformed("a value cannot be a header's"))?));
            }
        }
        Ok(headers)
    }
}

fn stands_for_header(name: &HeaderName) -> bool {
    const NOT: [&str; 11] = [
        "x-amz-algorithm",
        "x-amz-credential",
        "x-amz-date",
        "x-amz-expires",
        "x-amz-signedheaders",
        "x-amz-signature",
        "x-amz-security-token",
        "x-amz-content-sha256",
        "x-amz-decoded-content-length",
        "x-amz-trailer",
        "x-amz-sdk-checksum-algorithm",
    ];
    name.as_str().starts_with("x-amz-") && !NOT.contains(&name.as_str()) && !names_value(name.as_str())
}
