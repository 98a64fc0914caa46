use crate::id::AccountId;
use serde::{Deserialize, Serialize};

/// Whether a user or key may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// May be used.
    Active,
    /// Refused at every door.
    Suspended,
}

/// A secret sealed with AES-256-GCM under a master key that lies in `keys/` and never in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedSecret {
    /// Which master key.
    pub key_version: u32,
    /// The 96-bit nonce.
    pub nonce: [u8; 12],
    /// Ciphertext and 16-byte tag; the access key's id is the associated data.
    #[serde(with = "serde_bytes")]
    pub ciphertext: Vec<u8>,
}

/// A tenant was made (`system` stream).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantCreated {
    /// Its name, unique on the node; `default` exists from the start.
    pub tenant: String,
}

/// An account was made (`system` stream). The first one is root's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountCreated {
    /// The tenant it belongs to.
    pub tenant: String,
    /// The account.
    pub account: AccountId,
    /// The id S3 shows as owner, unique on the node.
    pub canonical_id: String,
    /// The name S3 shows as owner.
    pub display_name: String,
    /// A contact address; may be empty.
    pub email: String,
}

/// A user was made (`system` stream).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserCreated {
    /// The account it acts for.
    pub account: AccountId,
    /// Its name, unique on the node.
    pub user: String,
}

/// A user was removed with its keys (`system` stream).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserDeleted {
    /// The user.
    pub user: String,
}

/// A user was suspended or let in again (`system` stream).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserStatusChanged {
    /// The user.
    pub user: String,
    /// From now on.
    pub status: Status,
}

/// A user got an access key (`system` stream).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessKeyCreated {
    /// The user.
    pub user: String,
    /// The key's public id, unique on the node.
    pub access_key: String,
    /// Its secret.
    pub secret: SealedSecret,
}

/// An access key was removed (`system` stream).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessKeyDeleted {
    /// The key's public id.
    pub access_key: String,
}

/// An access key was suspended or let in again (`system` stream).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessKeyStatusChanged {
    /// The key's public id.
    pub access_key: String,
    /// From now on.
    pub status: Status,
}

/// A user got a policy (`system` stream).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyAttached {
    /// The user.
    pub user: String,
    /// The policy's name.
    pub policy: String,
}

/// A user lost a policy (`system` stream).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyDetached {
    /// The user.
    pub user: String,
    /// The policy's name.
    pub policy: String,
}
