//! Identifiers and counters. A type for each, so that a position is never passed where a sequence number belongs.

use serde::{Deserialize, Serialize};
use std::fmt;

/// An identifier or hash written as text had the wrong length or a byte that is no hex digit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected} hexadecimal digits")]
pub struct ParseHexError {
    /// How many digits the type has.
    pub expected: usize,
}

fn parse_hex<const N: usize>(text: &str) -> Result<[u8; N], ParseHexError> {
    let wrong = ParseHexError { expected: N * 2 };
    let digits = text.as_bytes();
    if digits.len() != N * 2 {
        return Err(wrong);
    }
    let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let mut out = [0; N];
    for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = *pair else { return Err(wrong) };
        *byte = digit(high).zip(digit(low)).map(|(h, l)| h << 4 | l).ok_or(wrong)?;
    }
    Ok(out)
}

macro_rules! bytes_type {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// Bytes of the binary form.
            pub const LEN: usize = $len;

            /// Parses the lower- or upper-case hexadecimal form.
            pub fn parse(text: &str) -> Result<Self, ParseHexError> {
                parse_hex(text).map(Self)
            }

            /// The binary form.
            pub fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serde_bytes::Bytes::new(&self.0).serialize(serializer)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                serde_bytes::ByteArray::<$len>::deserialize(deserializer).map(|bytes| Self(bytes.into_array()))
            }
        }
    };
}

bytes_type!(
    /// Names one incarnation of a logical stream: a bucket that is deleted and made again has a new one.
    StreamId, 16);
bytes_type!(
    /// Names one node's physical log for as long as its data directory lives.
    LogId, 16);
bytes_type!(
    /// Names a node.
    NodeId, 16);
bytes_type!(
    /// Names bytes that lie in packs. Chosen by the door before the first byte arrives.
    BlobId, 16);
bytes_type!(
    /// Names an account (an owner of buckets); its S3 canonical id is a separate, changeable fact.
    AccountId, 16);
bytes_type!(
    /// Names an object version, where the bucket is versioned; the null version has none.
    VersionId, 16);
bytes_type!(
    /// Names a multipart upload.
    UploadId, 16);
bytes_type!(
    /// Random bytes in front of a body or content, so that its hash cannot be guessed back once it is destroyed.
    Salt, 16);
bytes_type!(
    /// A BLAKE3 hash.
    Hash, 32);
bytes_type!(
    /// The first 16 bytes of the BLAKE3 hash of a batch: frame, table and records.
    BatchDigest, 16);

/// Which version of a key: the null version, or one by its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum VersionRef {
    /// The one that writes make where versioning is not on.
    Null,
    /// One that was made while versioning was on.
    Id(VersionId),
}

impl VersionRef {
    /// Parses the form that clients see: `null`, or the id.
    pub fn parse(text: &str) -> Result<Self, ParseHexError> {
        if text == "null" { Ok(Self::Null) } else { VersionId::parse(text).map(Self::Id) }
    }

    /// The id; none for the null version.
    pub fn id(self) -> Option<VersionId> {
        match self {
            Self::Null => None,
            Self::Id(id) => Some(id),
        }
    }
}

impl From<Option<VersionId>> for VersionRef {
    fn from(id: Option<VersionId>) -> Self {
        id.map_or(Self::Null, Self::Id)
    }
}

impl fmt::Display for VersionRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Id(id) => id.fmt(f),
        }
    }
}

/// A range of positions as people read it.
#[derive(Debug, Clone, Copy)]
pub struct Span(pub Position, pub Position);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(first, last) = self;
        if first == last { write!(f, "position {first}") } else { write!(f, "positions {first} to {last}") }
    }
}

impl StreamId {
    /// Names, tenants, users, keys, policies, settings, jobs and cluster state.
    pub const SYSTEM: Self = Self(*b"siltstone/system");
    /// Denied and failed attempts of this node: evidence, not state.
    pub const ACCESS: Self = Self(*b"siltstone/access");
    /// Metrics history and link hits.
    pub const TELEMETRY: Self = Self(*b"siltstone/telem.");

    /// Whether this is one of the fixed streams, which belong to no bucket.
    pub fn is_fixed(self) -> bool {
        [Self::SYSTEM, Self::ACCESS, Self::TELEMETRY].contains(&self)
    }
}

macro_rules! counter_type {
    ($(#[$doc:meta])* $name:ident, $int:ty) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $int);

        impl $name {
            /// The one that follows. Saturates: a log ends long before 2^64 records.
            #[must_use]
            pub fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }

            /// The number itself.
            pub fn get(self) -> $int {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

counter_type!(
    /// A record's number in its stream, dense from 1; 0 means "none yet".
    Seq, u64);
counter_type!(
    /// A record's number in the node's physical log, dense from 1; 0 means "none yet".
    Position, u64);
counter_type!(
    /// A batch's number in the node's physical log, dense from 1.
    BatchSeq, u64);
counter_type!(
    /// The reign under which a record was written: it rises when another node becomes primary.
    Epoch, u32);

/// The last record of a stream and the chain's hash over everything up to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Head {
    /// The record's number in the stream.
    pub seq: Seq,
    /// The chain's head hash after that record; all zero before the first.
    pub hash: Hash,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_identifier_survives_its_text_form(bytes: [u8; 16]) {
            prop_assert_eq!(StreamId::parse(&StreamId(bytes).to_string()), Ok(StreamId(bytes)));
        }

        #[test]
        fn any_text_is_parsed_or_refused_without_a_panic(text in ".{0,40}") {
            let _ = StreamId::parse(&text).map(|id| assert_eq!(id.to_string(), text.to_lowercase()));
        }
    }
}
