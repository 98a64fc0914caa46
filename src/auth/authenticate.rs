use super::credentials::{Credentials, CredentialsError, Identity};
use crate::s3::sigv4::Payload;
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
}

/// Why a caller is not let in. Each door has one map from this to its own errors.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// No authentication at all.
    #[error("the request is not signed")]
    Anonymous,
    /// The identities could not be read.
    #[error(transparent)]
    Unavailable(#[from] CredentialsError),
}

/// Verifies signed requests.
pub struct Authenticator {
    credentials: Arc<dyn Credentials>,
    clock: Arc<dyn Clock>,
    region: String,
}

impl Authenticator {
    /// An authenticator for one region, which scopes must name.
    pub fn new(credentials: Arc<dyn Credentials>, clock: Arc<dyn Clock>, region: impl Into<String>) -> Self {
        Self { credentials, clock, region: region.into() }
    }
}
