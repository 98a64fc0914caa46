//! The `keys/` folder: the master key that seals users' secrets, and the root credentials.
//!
//! Nothing in this folder is ever in the log, in a projection or in an answer. Losing `master.key` loses every user's
//! secret key (not one object): a user is then given a new key.

mod files;
mod lookup;
mod master;
mod root;

pub use files::KeyStoreError;
pub use lookup::StoredCredentials;
pub use master::{MasterKey, OpenError, SealError};
pub use root::{RootCredentials, RootError, RootOrigin};

use crate::config::Environment;
use siltstone_log::host::Entropy;
use siltstone_log::host::real::RealDisk;

/// Everything secret that the server holds.
#[derive(Debug)]
pub struct Keys {
    /// Seals and opens users' secret keys.
    pub master: MasterKey,
    /// Who may do everything.
    pub root: RootCredentials,
}

/// The keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// A file of `keys/`.
    #[error(transparent)]
    Store(#[from] KeyStoreError),
    /// The root credentials.
    #[error(transparent)]
    Root(#[from] RootError),
}

impl Keys {
    /// Reads the keys, and makes what is missing: the caller holds the lock of the data directory.
    pub fn open(disk: &RealDisk, env: &Environment, entropy: &dyn Entropy) -> Result<Self, KeysError> {
        files::prepare_folder(disk)?;
        let master = MasterKey::open_or_create(disk, entropy)?;
        let root = RootCredentials::from_environment(env)?;
        let root = match root {
            Some(root) => root,
            None => RootCredentials::open_or_create(disk, entropy)?,
        };
        Ok(Self { master, root })
    }
}

/// Random letters and digits without those that look alike, for keys that people copy.
fn random_text<const N: usize>(entropy: &dyn Entropy) -> String {
    // 32 letters: each byte's low five bits pick one, so all are equally likely.
    const ALPHABET: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";
    let drawn = siltstone_log::host::draw::<N>(entropy);
    drawn.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect()
}

/// A new access key's id: 20 characters.
pub fn new_access_key(entropy: &dyn Entropy) -> String {
    format!("SK{}", random_text::<18>(entropy))
}

/// A new secret key: 40 characters, 200 bits.
pub fn new_secret_key(entropy: &dyn Entropy) -> zeroize::Zeroizing<String> {
    zeroize::Zeroizing::new(random_text::<40>(entropy))
}

/// An access key's id or secret that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CredentialRuleError {
    /// The id.
    #[error("an access key has 3 to 128 printable ASCII characters without spaces and commas")]
    AccessKey,
    /// The secret.
    #[error("a secret key has 8 to 128 characters, none of them a control character")]
    SecretKey,
}

/// Checks a pair that somebody chose. A comma ends `Credential=…` in a signed request, hence none in an id.
pub fn check_credentials(access_key: &str, secret_key: &str) -> Result<(), CredentialRuleError> {
    let id_byte = |b: u8| b.is_ascii_graphic() && b != b',';
    if !(3..=128).contains(&access_key.len()) || !access_key.bytes().all(id_byte) {
        return Err(CredentialRuleError::AccessKey);
    }
    if !(8..=128).contains(&secret_key.chars().count()) || secret_key.chars().any(char::is_control) {
        return Err(CredentialRuleError::SecretKey);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
