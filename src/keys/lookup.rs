//! Access keys as both doors look them up: root's from `keys/`, all others from the identity rows.

use super::Keys;
use crate::auth::{Credential, Credentials, CredentialsError, Identity, Secret};
use crate::engine::{ROOT_ACCOUNT, ROOT_USER};
use siltstone_log::event::Status;
use siltstone_projections::{Rows, identity};
use std::sync::Arc;

/// Looks access keys up in the rows as they are now, at every request: a suspended or deleted key or user is refused
/// from the moment its change is answered, without a cache that would have to hear of it.
pub struct StoredCredentials {
    keys: Arc<Keys>,
    rows: Arc<dyn Rows + Send + Sync>,
}

impl StoredCredentials {
    /// Root's credentials and the sealed secrets behind `rows`, which must show what is durable and applied.
    pub fn new(keys: Arc<Keys>, rows: Arc<dyn Rows + Send + Sync>) -> Self {
        Self { keys, rows }
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
    fn find(&self, access_key: &str) -> Result<Option<Credential>, CredentialsError> {
        // Root's id was checked to be nobody else's when other keys were made, unless the environment changed since:
        // then root wins.
        if self.keys.root.is_root(access_key) {
            return Ok(Some(self.root()));
        }
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
