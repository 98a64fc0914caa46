use siltstone_log::event::Status;
use siltstone_log::id::AccountId;
use std::fmt;
use zeroize::Zeroizing;

/// A secret access key: wiped when dropped, never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes over a secret.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(Zeroizing::new(secret.into()))
    }

    /// The secret itself, for key derivation only.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

/// Who an access key stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The account it acts for, which owns the buckets it makes.
    pub account: AccountId,
    /// The user's name.
    pub user: String,
    /// Whether this is the account's root, which may do everything in its account without a policy.
    pub root: bool,
    /// The names of the attached policies.
    pub policies: Vec<String>,
}

/// An access key as the server knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// The secret that signs.
    pub secret: Secret,
    /// Who it stands for.
    pub identity: Identity,
    /// `Suspended` where the key or its user is.
    pub status: Status,
}

/// The identities could not be read. Not the caller's fault: answered as an internal error, never as a refusal.
#[derive(Debug, thiserror::Error)]
#[error("the identities cannot be read: {0}")]
pub struct CredentialsError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// Where access keys are looked up.
pub trait Credentials: Send + Sync {
    /// The access key, as far as it is known without waiting for anything. Called for each request, on an async thread.
    fn recall(&self, access_key: &str) -> Option<Credential>;

    /// Finds an access key by its id; `None` where there is none. Called where [`Self::recall`] knew nothing, on a thread
    /// that may wait.
    fn find(&self, access_key: &str) -> Result<Option<Credential>, CredentialsError>;
}
