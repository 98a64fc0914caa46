use super::claim::Claim;
use super::credentials::{Credential, Credentials, CredentialsError, Identity};
use crate::s3::request::RequestHead;
use crate::s3::sigv4::{Form, KeyCache, Payload, Scope};
use http::header::{HeaderName, HeaderValue};
use siltstone_log::event::Status;
use siltstone_log::host::Clock;
use std::sync::Arc;

/// A caller whose signature was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authenticated {
    /// Who the key stands for.
    pub identity: Identity,
    /// The access key's id.
    pub access_key: String,
}

/// A verified request: who sent it, and how its body proves itself.
#[derive(Debug)]
pub struct Verified {
    /// The caller.
    pub caller: Authenticated,
    /// What the signature says of the body.
    pub payload: Payload,
    /// What a link carries in its query in place of headers, for where those are absent.
    pub from_link: Vec<(HeaderName, HeaderValue)>,
}

/// Why a caller is not let in. Each door has one map from this to its own errors. None of them says what the right
/// signature would have been.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// No authentication at all.
    #[error("the request is not signed")]
    Anonymous,
    /// An `Authorization` header and a signed query, or several headers.
    #[error("only one authentication mechanism is allowed")]
    SeveralMechanisms,
    /// Something other than Signature Version 4 with HMAC-SHA256.
    #[error("the authorization mechanism is not supported; use AWS4-HMAC-SHA256")]
    UnsupportedMechanism,
    /// An `Authorization` of a scheme that is no signature of AWS's.
    #[error("unsupported authorization type")]
    UnknownScheme,
    /// A signature in the query, where no links are made.
    #[error("a signed query is not accepted here; sign in the Authorization header")]
    LinksRefused,
    /// A session token: there are no sessions here that could have made one.
    #[error("the session token is not valid")]
    TokenUnsupported,
    /// The claim cannot be read.
    #[error("{message}")]
    Malformed {
        /// Where it stands.
        form: Form,
        /// What is wrong.
        message: &'static str,
    },
    /// The scope names another region.
    #[error("the region '{found}' is wrong; expecting '{expected}'")]
    WrongRegion {
        /// Where it stands.
        form: Form,
        /// What the scope names.
        found: String,
        /// What it should name.
        expected: String,
    },
    /// Neither `x-amz-date` nor `Date`, or no date in them.
    #[error("AWS authentication requires a valid Date or x-amz-date header")]
    MissingDate,
    /// The request's time is more than 15 minutes from ours.
    #[error("the difference between the request time and the server's time is too large")]
    TooSkewed {
        /// The request's time, as sent.
        request: String,
        /// Ours, in seconds since the Unix epoch.
        server_seconds: i64,
    },
    /// A presigned link from the future.
    #[error("request is not valid yet")]
    NotYetValid,
    /// A presigned link whose time is over.
    #[error("request has expired")]
    Expired,
    /// A link of Signature Version 2 that lacks something or is made for too long.
    #[error("{0}")]
    UnusableLink(&'static str),
    /// A parameter that says what is to be done, which Signature Version 2 does not cover.
    #[error("there was a parameter present in the request which was not signed: {0}")]
    ParameterNotSigned(String),
    /// `host` or an `x-amz-*` header is not covered by the signature.
    #[error("there were headers present in the request which were not signed: {0}")]
    HeaderNotSigned(String),
    /// The signature is said to cover a header that is not there.
    #[error("the signed header {0} is absent")]
    SignedHeaderAbsent(String),
    /// No `x-amz-content-sha256`.
    #[error("missing required header for this request: x-amz-content-sha256")]
    PayloadHashMissing,
    /// An `x-amz-content-sha256` that is neither a hash nor a known mode.
    #[error("x-amz-content-sha256 must be UNSIGNED-PAYLOAD, a known STREAMING mode or a valid sha256 value")]
    PayloadHashInvalid,
    /// No such access key.
    #[error("the access key does not exist in our records")]
    UnknownKey,
    /// The access key or its user is suspended. Clients are told the same as of an unknown one.
    #[error("the access key does not exist in our records")]
    SuspendedKey,
    /// The signature is not the right one.
    #[error("the signature does not match")]
    Mismatch,
    /// The identities could not be read.
    #[error(transparent)]
    Unavailable(#[from] CredentialsError),
}

impl AuthError {
    pub(crate) fn malformed(form: Form, message: &'static str) -> Self {
        Self::Malformed { form, message }
    }
}

/// Verifies signed requests.
pub struct Authenticator {
    credentials: Arc<dyn Credentials>,
    clock: Arc<dyn Clock>,
    scope: Scope,
    keys: KeyCache,
}

impl Authenticator {
    /// An authenticator for one door.
    pub fn new(credentials: Arc<dyn Credentials>, clock: Arc<dyn Clock>, scope: Scope) -> Self {
        Self { credentials, clock, scope, keys: KeyCache::default() }
    }

    /// The scope that signatures must name.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Finds out who sent a request. Everything that needs no key is checked before the key is looked up, and only a
    /// key that is not known yet is looked for on another thread.
    pub async fn authenticate(&self, head: &RequestHead) -> Result<Verified, AuthError> {
        let claim = self.read_claim(head)?;
        let mut credential = self.credentials.recall(claim.access_key());
        if credential.is_none() {
            let (credentials, access_key) = (self.credentials.clone(), claim.access_key().to_owned());
            let found = tokio::task::spawn_blocking(move || credentials.find(&access_key)).await;
            credential = found.map_err(|error| CredentialsError(error.into()))??;
        }
        self.verify(head, &claim, credential)
    }

    fn read_claim(&self, head: &RequestHead) -> Result<Claim, AuthError> {
        let claim = Claim::read(head, &self.scope)?;
        if head.headers.contains_key("x-amz-security-token") {
            return Err(AuthError::TokenUnsupported);
        }
        let now = i64::try_from(self.clock.wall_millis() / 1000).unwrap_or(i64::MAX);
        claim.check_time(now)?;
        claim.check_coverage(head)?;
        Ok(claim)
    }

    fn verify(
        &self,
        head: &RequestHead,
        claim: &Claim,
        credential: Option<Credential>,
    ) -> Result<Verified, AuthError> {
        let credential = credential.ok_or(AuthError::UnknownKey)?;
        if credential.status != Status::Active {
            return Err(AuthError::SuspendedKey);
        }
        let payload = claim.verify(head, &credential.secret, &self.keys, &self.scope)?;
        let access_key = claim.access_key().to_owned();
        let caller = Authenticated { identity: credential.identity, access_key };
        Ok(Verified { caller, payload, from_link: claim.headers_of_link(head)? })
    }

    /// The access key that a refused request claimed, as evidence; empty where it may not be kept. A key that is none of
    /// ours is kept only if it has the form of an id: who mixes up the two parts of a credential sends the secret in its
    /// place, which would stay in the log for ever.
    pub fn evident_key(&self, head: &RequestHead, error: &AuthError) -> String {
        let may_keep = |key: &str| match error {
            AuthError::Mismatch | AuthError::SuspendedKey => true,
            AuthError::UnknownKey => is_id(key),
            _ => false,
        };
        let claim = Claim::read(head, &self.scope).ok();
        let key = claim.as_ref().map(Claim::access_key).filter(|key| may_keep(key));
        key.unwrap_or_default().to_owned()
    }

    /// [`Self::authenticate`] for tests without a runtime.
    #[cfg(test)]
    pub(crate) fn authenticate_now(&self, head: &RequestHead) -> Result<Verified, AuthError> {
        let claim = self.read_claim(head)?;
        let credential = self.credentials.find(claim.access_key())?;
        self.verify(head, &claim, credential)
    }
}

/// Whether a text has the form of the ids that AWS gives to access keys, and this server too: upper-case letters and
/// digits. A secret of either is longer.
fn is_id(key: &str) -> bool {
    (16..=32).contains(&key.len())
        && key.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
}
