use super::{Scope, hmac_sha256};
use crate::auth::Secret;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// The key that signs one day's requests in one scope.
#[derive(Clone)]
pub struct SigningKey(Zeroizing<[u8; 32]>);

impl SigningKey {
    /// Derives the key for a day (`20130524`) and scope.
    pub fn derive(secret: &Secret, day: &str, scope: &Scope) -> Self {
        let secret = Zeroizing::new(format!("AWS4{}", secret.expose()));
        let day = Zeroizing::new(hmac_sha256(secret.as_bytes(), day.as_bytes()));
        let region = Zeroizing::new(hmac_sha256(&*day, scope.region.as_bytes()));
        let service = Zeroizing::new(hmac_sha256(&*region, scope.service.as_bytes()));
        Self(Zeroizing::new(hmac_sha256(&*service, b"aws4_request")))
    }

    /// Signs.
    pub fn sign(&self, message: &[u8]) -> [u8; 32] {
        hmac_sha256(&*self.0, message)
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningKey(redacted)")
    }
}

struct Entry {
    /// Tells whether the access key still has the secret that the signing key came from.
    secret: blake3::Hash,
    key: SigningKey,
}

/// Signing keys of one scope by access key and day: four HMACs less for each request.
#[derive(Default)]
pub struct KeyCache(Mutex<BTreeMap<(String, String), Entry>>);

impl KeyCache {
    /// The most keys kept. Beyond it the cache begins anew, which costs a derivation each.
    const CAPACITY: usize = 4096;

    /// The signing key, from the cache where it is there for this very secret.
    pub fn get(&self, access_key: &str, secret: &Secret, day: &str, scope: &Scope) -> SigningKey {
        let fingerprint = blake3::hash(secret.expose().as_bytes());
        let name = (access_key.to_owned(), day.to_owned());
        {
            let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let entry = entries.get(&name);
            if let Some(entry) =
                entry.filter(|entry| entry.secret.as_bytes().ct_eq(fingerprint.as_bytes()).into())
            {
                return entry.key.clone();
            }
        }
        let key = SigningKey::derive(secret, day, scope);
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= Self::CAPACITY {
            entries.clear();
        }
        entries.insert(name, Entry { secret: fingerprint, key: key.clone() });
        key
    }
}
