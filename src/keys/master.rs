//! The master key: seals users' secret keys with AES-256-GCM, so that the log holds them only sealed.

use super::files::{self, KeyStoreError};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use siltstone_log::event::SealedSecret;
use siltstone_log::host::real::RealDisk;
use siltstone_log::host::{Entropy, draw};
use std::fmt;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

const FILE: &str = "master.key";
const KEY_LEN: usize = 32;

/// `keys/master.key`: every version stays, because secrets in the log were sealed under each.
#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
struct File {
    format: u32,
    current: u32,
    keys: Vec<FileKey>,
}

#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
struct FileKey {
    version: u32,
    key: String,
}

struct Version {
    version: u32,
    key: LessSafeKey,
}

/// The master key in all its versions; the current one seals.
pub struct MasterKey {
    current: Version,
    others: Vec<Version>,
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MasterKey").field("version", &self.current.version).finish_non_exhaustive()
    }
}

/// A secret could not be sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the secret could not be sealed")]
pub struct SealError;

/// A sealed secret could not be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// It was sealed under a version that `keys/master.key` does not hold.
    #[error("master key version {0} is not in keys/master.key")]
    UnknownVersion(u32),
    /// It was changed, or belongs to another access key.
    #[error("the sealed secret does not belong to this access key or was changed")]
    NotAuthentic,
}

fn malformed(reason: &str) -> KeyStoreError {
    KeyStoreError::Malformed { name: FILE, reason: reason.to_owned() }
}

impl MasterKey {
    /// Reads `keys/master.key`, or makes one at the first start.
    pub fn open_or_create(disk: &RealDisk, entropy: &dyn Entropy) -> Result<Self, KeyStoreError> {
        if let Some(bytes) = files::read(disk, FILE)? {
            return Self::parse(&bytes);
        }
        let key = Zeroizing::new(draw::<KEY_LEN>(entropy));
        // Drawn, not counted: if this file is ever lost and made anew, what was sealed before names a version that is
        // not here, instead of looking like a secret that somebody changed.
        let version = u32::from_le_bytes(draw(entropy));
        let keys = vec![FileKey { version, key: BASE64.encode(*key) }];
        let file = File { format: 1, current: version, keys };
        let text = Zeroizing::new(serde_json::to_vec(&file).map_err(|error| malformed(&error.to_string()))?);
        files::create(disk, FILE, &text)?;
        Self::parse(&text)
    }

    fn parse(bytes: &[u8]) -> Result<Self, KeyStoreError> {
        // The parser's own message could quote the key.
        let file: File =
            serde_json::from_slice(bytes).map_err(|_| malformed("it is not the expected JSON"))?;
        if file.format != 1 {
            return Err(malformed("its format is newer than this version"));
        }
        let mut versions = Vec::with_capacity(file.keys.len());
        for entry in &file.keys {
            let key =
                BASE64.decode(&entry.key).map(Zeroizing::new).map_err(|_| malformed("a key is no base64"))?;
            let key = UnboundKey::new(&AES_256_GCM, &key).map_err(|_| malformed("a key has not 256 bits"))?;
            versions.push(Version { version: entry.version, key: LessSafeKey::new(key) });
        }
        let current = versions.iter().position(|entry| entry.version == file.current);
        let current = current.ok_or_else(|| malformed("it does not hold its current key"))?;
        let current = versions.swap_remove(current);
        Ok(Self { current, others: versions })
    }

    /// Seals an access key's secret. The id is authenticated with it, so that a sealed secret moved to another id
    /// does not open.
    pub fn seal(
        &self,
        access_key: &str,
        secret: &str,
        entropy: &dyn Entropy,
    ) -> Result<SealedSecret, SealError> {
        // 2^32 random nonces under one key are safe (NIST SP 800-38D); nobody makes that many access keys.
        let nonce = draw::<NONCE_LEN>(entropy);
        let mut ciphertext = secret.as_bytes().to_vec();
        let aad = Aad::from(access_key.as_bytes());
        let sealed = Nonce::assume_unique_for_key(nonce);
        self.current.key.seal_in_place_append_tag(sealed, aad, &mut ciphertext).map_err(|_| SealError)?;
        Ok(SealedSecret { key_version: self.current.version, nonce, ciphertext })
    }

    /// Opens the secret of an access key.
    pub fn open(&self, access_key: &str, sealed: &SealedSecret) -> Result<Zeroizing<String>, OpenError> {
        let mut versions = self.others.iter().chain([&self.current]);
        let found = versions.find(|entry| entry.version == sealed.key_version);
        let version = found.ok_or(OpenError::UnknownVersion(sealed.key_version))?;
        let mut buffer = Zeroizing::new(sealed.ciphertext.clone());
        let aad = Aad::from(access_key.as_bytes());
        let nonce = Nonce::assume_unique_for_key(sealed.nonce);
        let opened =
            version.key.open_in_place(nonce, aad, &mut buffer).map_err(|_| OpenError::NotAuthentic)?;
        let text = std::str::from_utf8(opened).map_err(|_| OpenError::NotAuthentic)?;
        Ok(Zeroizing::new(text.to_owned()))
    }
}
