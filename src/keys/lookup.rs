//! Access keys as both doors look them up: root's from `keys/`, all others from the identity rows.

use super::Keys;
use crate::auth::{Credential, Credentials, CredentialsError, Identity, Secret};
use crate::engine::{ChangeCount, ROOT_ACCOUNT, ROOT_USER, Recent};
use siltstone_log::event::Status;
use siltstone_projections::{Rows, identity};
use std::sync::Arc;

/// Looks access keys up in the rows as they are now: what is remembered of them ends with the next change of any, so a
/// suspended or deleted key or user is refused from the moment its change is answered.
pub struct StoredCredentials {
    keys: Arc<Keys>,
    rows: Arc<dyn Rows + Send + Sync>,
    recent: Recent<Credential>,
}

impl StoredCredentials {
    /// Root's credentials and the sealed secrets behind `rows`, which must show what is durable and applied.
    /// `changes` counts the changes of theirs.
    pub fn new(keys: Arc<Keys>, rows: Arc<dyn Rows + Send + Sync>, changes: ChangeCount) -> Self {
        Self { keys, rows, recent: Recent::new(changes) }
    }

    fn root(&self) -> Credential {
        let identity =
            Identity { account: ROOT_ACCOUNT, user: ROOT_USER.to_owned(), root: true, policies: Vec::new() };
        let secret = Secret::new(self.keys.root.secret_key().as_str());
        Credential { secret, identity, status: Status::Active }
    }
}

fn unreadable(error: impl std::error::Error + Send + Sync + 'static) -> CredentialsError {
    CredentialsError(Box::new(error))
}

impl Credentials for StoredCredentials {
    fn recall(&self, access_key: &str) -> Option<Credential> {
        // Root's id was checked to be nobody else's when other keys were made, unless the environment changed since:
        // then root wins.
        if self.keys.root.is_root(access_key) {
            return Some(self.root());
        }
        self.recent.get(access_key)
    }

    fn find(&self, access_key: &str) -> Result<Option<Credential>, CredentialsError> {
        self.recent.read(access_key, || self.stored(access_key))
    }
}

impl StoredCredentials {
    fn stored(&self, access_key: &str) -> Result<Option<Credential>, CredentialsError> {
        let rows = &*self.rows;
        let Some(key) = identity::access_key(rows, access_key).map_err(unreadable)? else { return Ok(None) };
        let Some(user) = identity::user(rows, &key.user).map_err(unreadable)? else { return Ok(None) };
        let secret = self.keys.master.open(access_key, &key.secret).map_err(unreadable)?;
        let policies = identity::policies_of(rows, &key.user).map_err(unreadable)?;
        let status = match (key.status, user.status) {
            (Status::Active, Status::Active) => Status::Active,
            (Status::Suspended, _) | (_, Status::Suspended) => Status::Suspended,
        };
        let identity = Identity { account: user.account, user: key.user, root: false, policies };
        Ok(Some(Credential { secret: Secret::new(secret.as_str()), identity, status }))
    }
}
