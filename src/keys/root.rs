//! The root credentials: from the environment, or made at the first start and kept in `keys/root.json`.

use super::files::{self, KeyStoreError};
use super::{CredentialRuleError, check_credentials, new_access_key, new_secret_key};
use crate::config::Environment;
use crate::config::environment::SecretError;
use serde::{Deserialize, Serialize};
use siltstone_log::host::Entropy;
use siltstone_log::host::real::RealDisk;
use std::fmt;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

const FILE: &str = "root.json";
const ACCESS_KEY: &str = "SILTSTONE_ROOT_ACCESS_KEY";
const SECRET_KEY: &str = "SILTSTONE_ROOT_SECRET_KEY";

#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
struct File {
    access_key: String,
    secret_key: String,
}

/// Where the root credentials came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RootOrigin {
    /// The environment; they are stored nowhere.
    Environment,
    /// `keys/root.json`, from an earlier start.
    Stored,
    /// Made just now: shown once.
    Created,
}

/// Who may do everything.
pub struct RootCredentials {
    access_key: String,
    secret_key: Zeroizing<String>,
    origin: RootOrigin,
}

impl fmt::Debug for RootCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RootCredentials").field("origin", &self.origin).finish_non_exhaustive()
    }
}

/// The root credentials of the environment cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// Only one of the two is set.
    #[error("{ACCESS_KEY} and {SECRET_KEY} must be set together")]
    Half,
    /// One breaks the rules.
    #[error("{ACCESS_KEY}, {SECRET_KEY}: {0}")]
    Rule(#[from] CredentialRuleError),
    /// One cannot be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
}

impl RootCredentials {
    /// Takes the credentials of the environment, if it has any.
    pub fn from_environment(env: &Environment) -> Result<Option<Self>, RootError> {
        match (env.secret(ACCESS_KEY)?, env.secret(SECRET_KEY)?) {
            (Some(access_key), Some(secret_key)) => {
                check_credentials(&access_key, &secret_key)?;
                let access_key = access_key.to_string();
                Ok(Some(Self { access_key, secret_key, origin: RootOrigin::Environment }))
            }
            (None, None) => Ok(None),
            (Some(_), None) | (None, Some(_)) => Err(RootError::Half),
        }
    }

    /// Reads `keys/root.json`, or makes new credentials at the first start.
    pub fn open_or_create(disk: &RealDisk, entropy: &dyn Entropy) -> Result<Self, KeyStoreError> {
        if let Some(bytes) = files::read(disk, FILE)? {
            return Self::parse(&bytes);
        }
        let (access_key, secret_key) = (new_access_key(entropy), new_secret_key(entropy));
        let file = File { access_key: access_key.clone(), secret_key: secret_key.to_string() };
        let text = serde_json::to_vec(&file).map(Zeroizing::new);
        let text =
            text.map_err(|error| KeyStoreError::Malformed { name: FILE, reason: error.to_string() })?;
        files::create(disk, FILE, &text)?;
        Ok(Self { access_key, secret_key, origin: RootOrigin::Created })
    }

    fn parse(bytes: &[u8]) -> Result<Self, KeyStoreError> {
        let malformed = |reason: &str| KeyStoreError::Malformed { name: FILE, reason: reason.to_owned() };
        // The parser's own message could quote the secret.
        let file: File =
            serde_json::from_slice(bytes).map_err(|_| malformed("it is not the expected JSON"))?;
        check_credentials(&file.access_key, &file.secret_key)
            .map_err(|error| malformed(&error.to_string()))?;
        Ok(Self {
            access_key: file.access_key.clone(),
            secret_key: Zeroizing::new(file.secret_key.clone()),
            origin: RootOrigin::Stored,
        })
    }

    /// The access key's id.
    pub fn access_key(&self) -> &str {
        &self.access_key
    }

    /// The secret key.
    pub fn secret_key(&self) -> &Zeroizing<String> {
        &self.secret_key
    }

    /// Where they came from.
    pub fn origin(&self) -> RootOrigin {
        self.origin
    }

    /// Whether an access key's id is root's, in a time that does not depend on how much of it is right.
    pub fn is_root(&self, access_key: &str) -> bool {
        self.access_key.as_bytes().ct_eq(access_key.as_bytes()).into()
    }
}
