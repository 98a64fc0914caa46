//! Where a blob lies on this node. Never part of a digest: another node has it elsewhere.

use super::{BLOCK, MAX_EXTENT, PAGE, pages};
use crate::id::{Hash, Salt};

/// A run of a blob's bytes in one pack: a header page, then the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ExtentPlace {
    /// The pack's number.
    pub pack: u32,
    /// Byte offset of the header in the pack; the data follows one page later.
    pub offset: u64,
    /// Content bytes it holds; where the extent is only reserved, the most it may hold.
    pub data_len: u32,
}

impl ExtentPlace {
    /// Byte offset of the first content byte.
    pub fn data_offset(self) -> u64 {
        self.offset.saturating_add(PAGE)
    }

    /// Bytes it takes in the pack, header and padding included.
    pub fn footprint(self) -> u64 {
        PAGE + pages(u64::from(self.data_len))
    }

    /// The first byte after it.
    pub fn end(self) -> u64 {
        self.offset.saturating_add(self.footprint())
    }

    /// How many checksummed blocks its data has.
    pub fn blocks(self) -> u32 {
        self.data_len.div_ceil(BLOCK)
    }
}

/// A whole blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobPlace {
    /// Content bytes, without the salt.
    pub len: u64,
    /// What was hashed before the content.
    pub salt: Salt,
    /// `blake3(salt ‖ content)`.
    pub hash: Hash,
    /// Its extents in order of content. At least one, even for an empty blob.
    pub extents: Vec<ExtentPlace>,
}

/// Bytes that are no [`BlobPlace`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an encoded blob place")]
pub struct DecodePlaceError;

const PLACE_VERSION: u8 = 1;

impl BlobPlace {
    /// The highest number of a pack that it lies in.
    pub fn highest_pack(&self) -> u32 {
        self.extents.iter().map(|extent| extent.pack).max().unwrap_or_default()
    }

    /// The form an index stores: version u8, len u64, salt, hash, then for each extent pack u32, offset u64, data_len u32.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(1 + 8 + Salt::LEN + Hash::LEN + self.extents.len() * 16);
        out.push(PLACE_VERSION);
        out.extend_from_slice(&self.len.to_le_bytes());
        out.extend_from_slice(&self.salt.0);
        out.extend_from_slice(&self.hash.0);
        for extent in &self.extents {
            out.extend_from_slice(&extent.pack.to_le_bytes());
            out.extend_from_slice(&extent.offset.to_le_bytes());
            out.extend_from_slice(&extent.data_len.to_le_bytes());
        }
        out
    }

    /// Reads the stored form. Refuses places whose extents do not add up to the blob's length.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodePlaceError> {
        Self::parse(bytes).ok_or(DecodePlaceError)
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (&version, rest) = bytes.split_first()?;
        let (len, rest) = rest.split_first_chunk()?;
        let (salt, rest) = rest.split_first_chunk()?;
        let (hash, rest) = rest.split_first_chunk()?;
        let (extents, []) = rest.as_chunks::<16>() else { return None };
        let extents: Vec<_> = extents.iter().map(decode_extent).collect::<Option<_>>()?;
        let place = Self { len: u64::from_le_bytes(*len), salt: Salt(*salt), hash: Hash(*hash), extents };
        (version == PLACE_VERSION && place.adds_up()).then_some(place)
    }

    fn adds_up(&self) -> bool {
        let sum: u64 = self.extents.iter().map(|extent| u64::from(extent.data_len)).sum();
        !self.extents.is_empty() && sum == self.len
    }
}

fn decode_extent(bytes: &[u8; 16]) -> Option<ExtentPlace> {
    let (pack, rest) = bytes.split_first_chunk()?;
    let (offset, rest) = rest.split_first_chunk()?;
    let (data_len, _) = rest.split_first_chunk()?;
    let place = ExtentPlace {
        pack: u32::from_le_bytes(*pack),
        offset: u64::from_le_bytes(*offset),
        data_len: u32::from_le_bytes(*data_len),
    };
    (place.data_len <= MAX_EXTENT && place.offset.is_multiple_of(PAGE)).then_some(place)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn place() -> impl Strategy<Value = BlobPlace> {
        let extent = (any::<u32>(), 0..1u64 << 40, 0..=MAX_EXTENT)
            .prop_map(|(pack, page, data_len)| ExtentPlace { pack, offset: page * PAGE, data_len });
        (any::<[u8; 16]>(), any::<[u8; 32]>(), prop::collection::vec(extent, 1..9)).prop_map(
            |(salt, hash, extents)| {
                let len = extents.iter().map(|e| u64::from(e.data_len)).sum();
                BlobPlace { len, salt: Salt(salt), hash: Hash(hash), extents }
            },
        )
    }

    proptest! {
        #[test]
        fn a_place_survives_its_stored_form(place in place()) {
            prop_assert_eq!(BlobPlace::decode(&place.encode()), Ok(place));
        }

        #[test]
        fn a_cut_place_is_refused(place in place(), cut in 1usize..200) {
            let stored = place.encode();
            let cut = stored.len().saturating_sub(cut);
            // Fewer extents no longer add up, unless those cut off were empty.
            let decoded = BlobPlace::decode(&stored[..cut]);
            prop_assert!(decoded.is_err() || place.extents[decoded.unwrap().extents.len()..].iter().all(|e| e.data_len == 0));
        }

        #[test]
        fn any_bytes_are_decoded_or_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            if let Ok(place) = BlobPlace::decode(&bytes) {
                prop_assert_eq!(place.encode(), bytes);
            }
        }
    }
}
