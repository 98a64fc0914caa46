//! The other direction: signs a request of our own, as `siltstone admin` sends it.

use super::canonical::{CanonicalTarget, canonical_request, string_to_sign};
use super::key::SigningKey;
use super::timestamp::Timestamp;
use super::{ALGORITHM, Scope, sha256};
use crate::auth::Secret;
use crate::hex::hex;
use crate::s3::request::RequestHead;
use http::header::{AUTHORIZATION, HOST, HeaderValue};

/// A request that cannot be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// It has no `Host`, which every signature covers.
    #[error("the request has no host")]
    NoHost,
    /// A time that no four-digit year can show, or an access key that no header can carry.
    #[error("the time or the access key cannot be written into a header")]
    Unwritable,
}

/// The SHA-256 of a body, as a signature names it.
#[derive(Debug, Clone)]
pub struct PayloadHash(String);

impl PayloadHash {
    /// Of a body that is at hand as a whole.
    pub fn of(body: &[u8]) -> Self {
        Self(hex(&sha256(body)))
    }
}

/// Adds `x-amz-date`, `x-amz-content-sha256` and `Authorization` to a request whose body has this hash. Covers
/// `host` and every `x-amz-*` header.
pub fn sign(
    head: &mut RequestHead,
    access_key: &str,
    secret: &Secret,
    scope: &Scope,
    unix_seconds: i64,
    PayloadHash(payload_hash): &PayloadHash,
) -> Result<(), SignError> {
    if !head.headers.contains_key(HOST) {
        return Err(SignError::NoHost);
    }
    let timestamp = Timestamp::from_seconds(unix_seconds).ok_or(SignError::Unwritable)?;
    let unwritable = |_| SignError::Unwritable;
    let date = HeaderValue::from_str(timestamp.as_str()).map_err(unwritable)?;
    head.headers.insert("x-amz-date", date);
    head.headers.insert("x-amz-content-sha256", HeaderValue::from_str(payload_hash).map_err(unwritable)?);
    let mut names: Vec<&str> = head.headers.keys().map(http::HeaderName::as_str).collect();
    names.retain(|name| *name == "host" || name.starts_with("x-amz-"));
    names.sort_unstable();
    let signed_headers = names.join(";");
    let key = SigningKey::derive(secret, timestamp.day(), scope);
    let scope = format!("{}/{}/{}/aws4_request", timestamp.day(), scope.region, scope.service);
    let target = CanonicalTarget::candidates(head, None).into_iter().next().ok_or(SignError::Unwritable)?;
    let hash = sha256(&canonical_request(head, &target, &signed_headers, payload_hash));
    let signature = hex(&key.sign(&string_to_sign(ALGORITHM, timestamp.as_str(), &scope, &[&hash])));
    let authorization = format!(
        "{ALGORITHM} Credential={access_key}/{scope}, SignedHeaders={signed_headers}, Signature={signature}"
    );
    head.headers.insert(AUTHORIZATION, HeaderValue::from_str(&authorization).map_err(unwritable)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::Claim;
    use super::*;
    use http::{HeaderMap, Method};
    use proptest::prelude::*;

    fn head(path: &str, query: &str) -> RequestHead {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_static("127.0.0.1:8081"));
        headers.insert("x-amz-meta-a", HeaderValue::from_static(" b  c "));
        let address = std::net::Ipv4Addr::LOCALHOST.into();
        let (raw_path, raw_query) = (path.to_owned(), query.to_owned());
        RequestHead { method: Method::POST, raw_path, raw_query, headers, address, host_bucket: None }
    }

    proptest! {
        #[test]
        fn what_is_signed_here_is_accepted_by_our_own_verification(
            path in "(/[a-z%~@ é0-9]{0,8}){1,4}", query in "[a-z&=+0-9]{0,20}", body: Vec<u8>, other in "[a-z]{8,20}",
        ) {
            let path = path.replace('%', "%25");
            let secret = Secret::new("the secret");
            let mut head = head(&path, &query);
            let scope = Scope::console("us-east-1");
            sign(&mut head, "AKID", &secret, &scope, 1_700_000_000, &PayloadHash::of(&body)).unwrap();
            let claim = Claim::read(&head, &scope).unwrap();
            prop_assert!(Claim::read(&head, &Scope::s3("us-east-1")).is_err(), "worth nothing at the other door");
            claim.check_time(1_700_000_000).unwrap();
            claim.check_headers(&head).unwrap();
            let key = |secret: &Secret| SigningKey::derive(secret, claim.day(), &scope);
            prop_assert!(claim.matches(&head, &key(&secret)));
            prop_assert!(!claim.matches(&head, &key(&Secret::new(other))));
        }
    }

    #[test]
    fn a_request_without_a_host_is_not_signed() {
        let mut head = head("/", "");
        head.headers.remove(HOST);
        let signed = sign(
            &mut head,
            "AKID",
            &Secret::new("s"),
            &Scope::console("us-east-1"),
            0,
            &PayloadHash::of(b""),
        );
        assert_eq!(signed, Err(SignError::NoHost));
    }
}
