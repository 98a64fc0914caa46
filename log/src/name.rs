//! Names that come from outside, parsed once at the edge and never bare strings afterwards.
//!
//! Next hop: [`crate::event`], whose bodies carry these types.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Why a bucket name was refused (rules: AWS "General purpose bucket naming rules").
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BucketNameError {
    /// Not 3 to 63 bytes long.
    #[error("a bucket name has 3 to 63 characters")]
    Length,
    /// A byte other than a-z, 0-9, `.` and `-`.
    #[error("a bucket name has only lower-case letters, digits, dots and hyphens")]
    Character,
    /// Begins or ends with something other than a letter or digit.
    #[error("a bucket name begins and ends with a letter or digit")]
    Edge,
    /// Two dots in a row.
    #[error("a bucket name has no two adjacent dots")]
    AdjacentDots,
    /// A dot beside a hyphen.
    #[error("a bucket name has no hyphen beside a dot")]
    HyphenBesideDot,
    /// Formatted like an IPv4 address.
    #[error("a bucket name is not formatted like an IP address")]
    IpAddress,
    /// A prefix or suffix that AWS reserves, or our own `.at.` form (the past over S3).
    #[error("this form of bucket name is reserved")]
    Reserved,
}

/// A bucket's name by AWS's rules for new buckets: 3 to 63 bytes of `a-z0-9.-`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BucketName(String);

impl BucketName {
    /// Parses a name.
    pub fn parse(name: &str) -> Result<Self, BucketNameError> {
        let bytes = name.as_bytes();
        if !(3..=63).contains(&bytes.len()) {
            return Err(BucketNameError::Length);
        }
        if !bytes.iter().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-')) {
            return Err(BucketNameError::Character);
        }
        let edge = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
        if !edge(bytes.first()) || !edge(bytes.last()) {
            return Err(BucketNameError::Edge);
        }
        if name.contains("..") {
            return Err(BucketNameError::AdjacentDots);
        }
        if name.split('.').count() == 4 && name.split('.').all(|part| part.parse::<u8>().is_ok()) {
            return Err(BucketNameError::IpAddress);
        }
        let reserved = ["xn--", "sthree-", "amzn-s3-demo-"].iter().any(|p| name.starts_with(p))
            || ["-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"].iter().any(|s| name.ends_with(s))
            || name.contains(".at.");
        if reserved {
            return Err(BucketNameError::Reserved);
        }
        Ok(Self(name.to_owned()))
    }

    /// Refuses what a new bucket may not be called, though older ones are: logs and clients go on to name those.
    pub fn check_new(&self) -> Result<(), BucketNameError> {
        if self.0.contains(".-") || self.0.contains("-.") {
            return Err(BucketNameError::HyphenBesideDot);
        }
        Ok(())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for BucketName {
    type Error = BucketNameError;
    fn try_from(name: String) -> Result<Self, Self::Error> {
        Self::parse(&name)
    }
}

impl From<BucketName> for String {
    fn from(name: BucketName) -> Self {
        name.0
    }
}

impl fmt::Display for BucketName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why an object key was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ObjectKeyError {
    /// No bytes at all.
    #[error("an object key has at least one byte")]
    Empty,
    /// More than 1,024 bytes of UTF-8.
    #[error("an object key has at most 1,024 bytes")]
    TooLong,
}

/// An object's key: 1 to 1,024 bytes of UTF-8. `..`, `//`, a leading or trailing `/` and control characters are
/// ordinary: a key never becomes a file name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ObjectKey(String);

impl ObjectKey {
    /// The most bytes a key may have.
    pub const MAX_BYTES: usize = 1024;

    /// Checks a key's length.
    pub fn parse(key: impl Into<String>) -> Result<Self, ObjectKeyError> {
        let key = key.into();
        match key.len() {
            0 => Err(ObjectKeyError::Empty),
            1..=Self::MAX_BYTES => Ok(Self(key)),
            _ => Err(ObjectKeyError::TooLong),
        }
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The key's UTF-8 bytes, whose order is the listing order.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl TryFrom<String> for ObjectKey {
    type Error = ObjectKeyError;
    fn try_from(key: String) -> Result<Self, Self::Error> {
        Self::parse(key)
    }
}

impl From<ObjectKey> for String {
    fn from(key: ObjectKey) -> Self {
        key.0
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_names_follow_the_rules_of_aws() {
        for good in ["abc", "my-bucket.2", "0ab", "a.b", &"a".repeat(63), "1.2.3.400"] {
            assert_eq!(BucketName::parse(good).map(|n| n.to_string()), Ok(good.to_owned()));
        }
        let refused = [
            ("ab", BucketNameError::Length),
            (&*"a".repeat(64), BucketNameError::Length),
            ("Abc", BucketNameError::Character),
            ("a_b", BucketNameError::Character),
            ("-ab", BucketNameError::Edge),
            ("ab.", BucketNameError::Edge),
            ("a..b", BucketNameError::AdjacentDots),
            ("192.168.5.4", BucketNameError::IpAddress),
            ("xn--abc", BucketNameError::Reserved),
            ("abc-s3alias", BucketNameError::Reserved),
            ("abc.at.20261122t080000z", BucketNameError::Reserved),
        ];
        for (name, error) in refused {
            assert_eq!(BucketName::parse(name), Err(error), "{name}");
        }
    }

    #[test]
    fn a_hyphen_beside_a_dot_is_for_older_buckets_only() {
        for name in ["a.-b", "a-.b", "ab-.-c"] {
            let older = BucketName::parse(name).unwrap();
            assert_eq!(older.check_new(), Err(BucketNameError::HyphenBesideDot), "{name}");
        }
        for name in ["a-b.c", "a.b-c", "a--b"] {
            assert_eq!(BucketName::parse(name).unwrap().check_new(), Ok(()), "{name}");
        }
    }

    #[test]
    fn object_keys_are_limited_only_in_length() {
        for good in ["..", "//", "/a", "a/", "\u{1}", "ключ", &"k".repeat(1024)] {
            assert_eq!(ObjectKey::parse(good).map(|k| k.to_string()), Ok(good.to_owned()));
        }
        assert_eq!(ObjectKey::parse(""), Err(ObjectKeyError::Empty));
        assert_eq!(ObjectKey::parse("k".repeat(1025)), Err(ObjectKeyError::TooLong));
    }
}
