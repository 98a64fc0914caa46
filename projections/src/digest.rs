//! The digest of a space: a sum over its rows that does not depend on the order they came in.
//!
//! Each row counts as `blake3(space ‖ key length u32 ‖ key ‖ logical bytes)`, read as a 256-bit little-endian number;
//! the digest is the sum modulo 2^256. Adding a row and taking one away cost one hash each, so `digest(live) ==
//! digest(rebuilt)` is a comparison of 32 bytes. Local parts (places, positions) do not count.

use crate::rows;
use crate::store::{KeyRange, Rows, Space, StoreError};
use serde::{Deserialize, Serialize};
use siltstone_log::id::Hash;
use std::fmt;
use std::ops::Bound;

/// A 256-bit sum over rows.
#[derive(Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "Hash", into = "Hash")]
pub struct Digest([u64; 4]);

impl Digest {
    /// What one row contributes.
    fn of_row(space: Space, key: &[u8], stored: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&[space.tag()]);
        hasher.update(&u32::try_from(key.len()).unwrap_or(u32::MAX).to_le_bytes());
        hasher.update(key);
        hasher.update(rows::logical(stored));
        Self::from(Hash(*hasher.finalize().as_bytes()))
    }

    /// Counts a row.
    pub fn add_row(&mut self, space: Space, key: &[u8], stored: &[u8]) {
        self.add(Self::of_row(space, key, stored));
    }

    /// Counts a row no longer.
    pub fn subtract_row(&mut self, space: Space, key: &[u8], stored: &[u8]) {
        self.subtract(&Self::of_row(space, key, stored));
    }

    /// Takes another sum away.
    pub(crate) fn subtract(&mut self, other: &Self) {
        self.add(other.negated());
    }

    fn add(&mut self, other: Self) {
        let mut carry = false;
        for (limb, other) in self.0.iter_mut().zip(other.0) {
            let (sum, first) = limb.overflowing_add(other);
            let (sum, second) = sum.overflowing_add(u64::from(carry));
            (*limb, carry) = (sum, first || second);
        }
    }

    fn negated(self) -> Self {
        let mut negated = Self(self.0.map(|limb| !limb));
        negated.add(Self([1, 0, 0, 0]));
        negated
    }

    /// The digest of the rows that are there now, by reading all of them.
    pub fn recompute(rows: &dyn Rows, space: Space) -> Result<Self, StoreError> {
        let mut digest = Self::default();
        let (from, to) = counted_rows();
        for row in rows.range(space, from, to) {
            let (key, stored) = row?;
            digest.add_row(space, &key, &stored);
        }
        Ok(digest)
    }
}

/// The keys that a digest counts: everything but cursors and the space's own records.
pub(crate) fn counted_rows() -> KeyRange {
    (Bound::Included(vec![crate::key::FIRST_COUNTED]), Bound::Unbounded)
}

impl From<Hash> for Digest {
    fn from(hash: Hash) -> Self {
        let mut limbs = [0; 4];
        for (limb, bytes) in limbs.iter_mut().zip(hash.0.chunks_exact(8)) {
            *limb = bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte));
        }
        Self(limbs)
    }
}

impl From<Digest> for Hash {
    fn from(digest: Digest) -> Self {
        let mut hash = Self::default();
        for (bytes, limb) in hash.0.chunks_exact_mut(8).zip(digest.0) {
            bytes.copy_from_slice(&limb.to_le_bytes());
        }
        hash
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hash::from(*self).fmt(f)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_digest_survives_its_byte_form(bytes: [u8; 32]) {
            prop_assert_eq!(Hash::from(Digest::from(Hash(bytes))), Hash(bytes));
        }

        #[test]
        fn the_order_of_rows_does_not_matter_and_what_leaves_counts_no_longer(
            rows in prop::collection::vec((any::<Vec<u8>>(), any::<Vec<u8>>()), 1..12), extra: Vec<u8>,
        ) {
            let stored = |logical: &[u8]| [&[0], logical].concat();
            let sum = |order: &mut dyn Iterator<Item = &(Vec<u8>, Vec<u8>)>| {
                let mut digest = Digest::default();
                order.for_each(|(key, value)| digest.add_row(Space::State, key, &stored(value)));
                digest
            };
            let forward = sum(&mut rows.iter());
            let mut backward = sum(&mut rows.iter().rev());
            prop_assert_eq!(forward, backward);
            backward.add_row(Space::State, &extra, &stored(b"x"));
            prop_assert_ne!(forward, backward);
            backward.subtract_row(Space::State, &extra, &stored(b"x"));
            prop_assert_eq!(forward, backward);
        }
    }
}
