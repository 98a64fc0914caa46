//! `x-amz-copy-source`: what a copy reads. Parsed once; the value that is authorised is the value that is read.
//!
//! Previous hop: [`super::dispatch`], which parses and authorises it. Next hop: [`super::transfer`].

use super::OpenBucket;
use super::error::{S3Error, S3ErrorCode};
use super::range::ByteRange;
use super::request::decode;
use siltstone_log::id::VersionRef;
use siltstone_log::name::{BucketName, ObjectKey};
use std::sync::Arc;

/// The header that names the source.
pub const COPY_SOURCE: &str = "x-amz-copy-source";
/// The header that names a range of it.
pub const COPY_SOURCE_RANGE: &str = "x-amz-copy-source-range";

/// An object, or one of its versions, that a copy reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopySource {
    /// Its bucket.
    pub bucket: BucketName,
    /// Its key.
    pub key: ObjectKey,
    /// The version; none for what the key holds.
    pub version: Option<VersionRef>,
}

/// A source that the caller may read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorisedSource {
    /// What is read.
    pub source: CopySource,
    /// Its bucket as it was authorised, if there is one.
    pub found: Option<Arc<OpenBucket>>,
}

impl CopySource {
    /// Reads the header's value: `[/]bucket/key[?versionId=id]`, encoded as a query is. What is behind `?versionId=`
    /// is never part of the key: a `?` there has to be encoded.
    pub fn parse(value: &[u8]) -> Result<Self, S3Error> {
        let refuse = |message: &'static str| {
            S3Error::invalid_argument(COPY_SOURCE, String::from_utf8_lossy(value), message)
        };
        let text = std::str::from_utf8(value).map_err(|_| refuse("Invalid copy source encoding."))?;
        let (path, version) = match text.split_once("?versionId=") {
            Some((path, version)) => (path, Some(version)),
            None => (text, None),
        };
        let path = decoded(path).ok_or_else(|| refuse("Invalid copy source encoding."))?;
        let path = path.strip_prefix('/').unwrap_or(&path);
        if path.starts_with("arn:") {
            let message = "Access points and their ARNs are not implemented as a copy source";
            return Err(
                S3Error::with_message(S3ErrorCode::NotImplemented, message).extra("Header", COPY_SOURCE)
            );
        }
        let (bucket, key) = path.split_once('/').ok_or_else(|| {
            refuse("Copy Source must mention the source bucket and key: sourcebucket/sourcekey")
        })?;
        let bucket = BucketName::parse(bucket).map_err(|_| refuse("Invalid copy source bucket name"))?;
        let key = ObjectKey::parse(key).map_err(|_| refuse("Invalid copy source object key"))?;
        let version = match version {
            None => None,
            Some(version) => {
                let decoded = decoded(version).and_then(|version| VersionRef::parse(&version).ok());
                let invalid =
                    || S3Error::invalid_argument("versionId", version, "Invalid version id specified");
                Some(decoded.ok_or_else(invalid)?)
            }
        };
        Ok(Self { bucket, key, version })
    }
}

/// S3 takes a plus sign for a space here, as in a query.
fn decoded(text: &str) -> Option<String> {
    decode(&text.replace('+', " ")).ok()
}

/// Reads `x-amz-copy-source-range`: both ends, and both inside the source. Unlike `Range` it is never ignored or cut,
/// since the part would silently be another one.
pub fn parse_copy_range(value: &str, size: u64) -> Result<ByteRange, S3Error> {
    let refuse = |message: String| S3Error::invalid_argument(COPY_SOURCE_RANGE, value, message);
    let digits = |text: &str| {
        let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if plain { text.parse::<u64>().ok() } else { None }
    };
    let ends = value.strip_prefix("bytes=").and_then(|ends| ends.split_once('-'));
    let ends = ends.and_then(|(first, last)| digits(first).zip(digits(last)));
    let (first, last) = ends.filter(|(first, last)| first <= last).ok_or_else(|| {
        refuse(
            "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the \
             zero-based offsets of the first and last bytes to copy"
                .to_owned(),
        )
    })?;
    if last >= size {
        return Err(refuse(format!("Range specified is not valid for source object of size: {size}")));
    }
    Ok(ByteRange { first, length: last - first + 1, size })
}

#[cfg(test)]
mod tests {
    use super::*;
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    use proptest::prelude::*;
    use siltstone_log::id::VersionId;

    fn source(bucket: &str, key: &str, version: Option<VersionRef>) -> CopySource {
        let (bucket, key) = (BucketName::parse(bucket).unwrap(), ObjectKey::parse(key).unwrap());
        CopySource { bucket, key, version }
    }

    #[test]
    fn a_source_is_decoded_once() {
        let id = VersionRef::Id(VersionId([7; 16]));
        for (value, expected) in [
            ("bucket/key", source("bucket", "key", None)),
            ("/bucket/key", source("bucket", "key", None)),
            ("bucket%2Fkey", source("bucket", "key", None)),
            ("%2Fbucket%2Fkey", source("bucket", "key", None)),
            ("bucket/a%20b+c%2Bd", source("bucket", "a b c+d", None)),
            ("bucket/%252F", source("bucket", "%2F", None)),
            ("bucket//", source("bucket", "/", None)),
            ("bucket/../k", source("bucket", "../k", None)),
            ("bucket/k?x=1", source("bucket", "k?x=1", None)),
            ("bucket/k%3FversionId=null", source("bucket", "k?versionId=null", None)),
            ("bucket/€", source("bucket", "€", None)),
            ("bucket/k?versionId=null", source("bucket", "k", Some(VersionRef::Null))),
            (&format!("/bucket/k?versionId={id}"), source("bucket", "k", Some(id))),
        ] {
            assert_eq!(CopySource::parse(value.as_bytes()), Ok(expected), "{value}");
        }
    }

    #[test]
    fn what_names_no_object_is_refused() {
        let long = format!("bucket/{}", "k".repeat(1025));
        for (value, code) in [
            ("", S3ErrorCode::InvalidArgument),
            ("bucket", S3ErrorCode::InvalidArgument),
            ("/bucket", S3ErrorCode::InvalidArgument),
            ("bucket/", S3ErrorCode::InvalidArgument),
            ("//bucket/key", S3ErrorCode::InvalidArgument),
            ("Bu/key", S3ErrorCode::InvalidArgument),
            ("bucket/%zz", S3ErrorCode::InvalidArgument),
            ("bucket/%FF", S3ErrorCode::InvalidArgument),
            (&long, S3ErrorCode::InvalidArgument),
            ("bucket/k?versionId=", S3ErrorCode::InvalidArgument),
            ("bucket/k?versionId=../x", S3ErrorCode::InvalidArgument),
            ("arn:aws:s3:us-west-2:123456789012:accesspoint/a/object/k", S3ErrorCode::NotImplemented),
            ("arn%3Aaws:s3:::bucket/k", S3ErrorCode::NotImplemented),
        ] {
            assert_eq!(CopySource::parse(value.as_bytes()).map_err(|error| error.code), Err(code), "{value}");
        }
        assert!(CopySource::parse(b"bucket/\xff").is_err());
    }

    #[test]
    fn a_range_of_a_source_has_both_ends_inside_it() {
        let range = |value: &str| parse_copy_range(value, 10).map(|range| (range.first, range.length));
        assert_eq!(range("bytes=0-9"), Ok((0, 10)));
        assert_eq!(range("bytes=3-3"), Ok((3, 1)));
        for value in [
            "",
            "bytes=",
            "0-1",
            "bytes=-3",
            "bytes=3-",
            "bytes=5-4",
            "bytes=0-10",
            "bytes= 0-1",
            "bytes=0-1,3-4",
            "Bytes=0-1",
            "bytes=+0-1",
            "bytes=0-99999999999999999999999",
        ] {
            assert_eq!(
                range(value).map_err(|error| error.code),
                Err(S3ErrorCode::InvalidArgument),
                "{value}"
            );
        }
        assert!(parse_copy_range("bytes=0-0", 0).is_err());
        assert!(parse_copy_range("bytes=0-18446744073709551615", u64::MAX).is_err());
    }

    proptest! {
        #[test]
        fn any_source_is_read_or_refused_without_a_panic(
            value in proptest::collection::vec(any::<u8>(), 0..40),
            text in "(/|bucket|%2F|%|\\?versionId=|arn:|null|\\PC){0,8}",
        ) {
            for value in [value.as_slice(), text.as_bytes()] {
                if let Ok(source) = CopySource::parse(value) {
                    prop_assert!(!source.key.as_str().is_empty());
                }
            }
        }

        #[test]
        fn any_key_that_a_client_encodes_is_read_as_it_was(key in "\\PC{1,40}|[\\x00-\\x1f/.%+?]{1,20}") {
            let value = format!("bucket/{}", utf8_percent_encode(&key, NON_ALPHANUMERIC));
            prop_assert_eq!(CopySource::parse(value.as_bytes()), Ok(source("bucket", &key, None)));
        }

        #[test]
        fn any_range_is_inside_its_source_or_refused(value in "(bytes=)?[0-9]{0,21}-?[0-9]{0,21}|.{0,20}", size: u64) {
            if let Ok(range) = parse_copy_range(&value, size) {
                prop_assert!(range.length > 0 && range.first < size && range.length <= size - range.first);
            }
        }
    }
}
