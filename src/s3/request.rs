//! The request as it came: raw path and query for the signature, and what they mean, decoded exactly once.

use super::OpenBucket;
use super::body::BodyStream;
use super::copy_source::{AuthorisedSource, CopySource};
use super::error::{S3Error, S3ErrorCode};
use super::operation::{Operation, Scope};
use crate::auth::Authenticated;
use http::{HeaderMap, Method};
use percent_encoding::percent_decode_str;
use siltstone_log::event::{Actor, Door};
use siltstone_log::host::{Entropy, draw};
use siltstone_log::name::{BucketName, ObjectKey};
use std::net::IpAddr;
use std::sync::Arc;

/// Method, target and headers exactly as the client sent them.
#[derive(Debug, Clone)]
pub struct RequestHead {
    /// The method.
    pub method: Method,
    /// The path as sent, percent-encoding included.
    pub raw_path: String,
    /// The query as sent, without its question mark; empty where there is none.
    pub raw_query: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The client's address.
    pub address: IpAddr,
    /// The bucket that the host names, where that is a name below one of the server's domains.
    pub host_bucket: Option<String>,
}

impl RequestHead {
    /// The value of a header that is readable text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// The parameters of a query in the order they came, decoded once: `%XX` to bytes, `+` to a space.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

/// Decodes a part of the target. A `%` that begins no escape and bytes that are no UTF-8 are refused: taken as they
/// stand, two different targets would name one key.
pub(super) fn decode(text: &str) -> Result<String, S3Error> {
    let mut escapes = text.split('%').skip(1).map(|rest| rest.as_bytes().first_chunk::<2>());
    if !escapes.all(|digits| digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))) {
        return Err(S3Error::new(S3ErrorCode::InvalidURI));
    }
    let decoded = percent_decode_str(text).decode_utf8().map(std::borrow::Cow::into_owned);
    decoded.map_err(|_| S3Error::new(S3ErrorCode::InvalidURI))
}

impl Query {
    /// Decodes a raw query. Bytes that are no UTF-8 are refused.
    pub fn parse(raw: &str) -> Result<Self, S3Error> {
        let decode = |text: &str| decode(&text.replace('+', " "));
        let pairs = raw.split('&').filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(name)?, decode(value)?))
        });
        pairs.collect::<Result<_, S3Error>>().map(Self)
    }

    /// The first value of a parameter; empty for one without a value.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(found, _)| *found == name).map(|(_, value)| value)
    }

    /// Whether a parameter is there, with or without a value.
    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Names and values in the order they came.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// What a request addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The bucket's name, not yet checked; `None` for `/`.
    pub bucket: Option<String>,
    /// The key, not empty.
    pub key: Option<String>,
}

impl Target {
    /// What host and path address.
    pub fn of(head: &RequestHead) -> Result<Self, S3Error> {
        let Some(bucket) = &head.host_bucket else { return Self::parse(&head.raw_path) };
        let key = head.raw_path.strip_prefix('/').ok_or_else(|| S3Error::new(S3ErrorCode::InvalidURI))?;
        let key = if key.is_empty() { None } else { Some(decode(key)?) };
        Ok(Self { bucket: Some(bucket.clone()), key })
    }

    /// Splits and decodes a path-style path. Only the first `/` after the bucket separates; everything behind it, doubled
    /// slashes and dots included, is the key.
    pub fn parse(raw_path: &str) -> Result<Self, S3Error> {
        let path = raw_path.strip_prefix('/').ok_or_else(|| S3Error::new(S3ErrorCode::InvalidURI))?;
        if path.is_empty() {
            return Ok(Self { bucket: None, key: None });
        }
        let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
        let key = if key.is_empty() { None } else { Some(decode(key)?) };
        Ok(Self { bucket: Some(decode(bucket)?), key })
    }

    /// What it addresses.
    pub fn scope(&self) -> Scope {
        match (&self.bucket, &self.key) {
            (None, _) => Scope::Service,
            (Some(_), None) => Scope::Bucket,
            (Some(_), Some(_)) => Scope::Object,
        }
    }
}

/// The ids that an answer, the log lines and the records of a request share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId {
    /// `x-amz-request-id`: 16 upper-case hexadecimal digits.
    pub id: String,
    /// `x-amz-id-2`, which S3 calls the host id.
    pub host_id: String,
}

impl RequestId {
    /// Draws new ids.
    pub fn draw(entropy: &dyn Entropy) -> Self {
        use base64::Engine as _;
        let bytes: [u8; 32] = draw(entropy);
        let (id, host) = bytes.split_at(8);
        let id = id.iter().fold(String::with_capacity(16), |mut text, byte| {
            use std::fmt::Write as _;
            let _ = write!(text, "{byte:02X}");
            text
        });
        Self { id, host_id: base64::engine::general_purpose::STANDARD.encode(host) }
    }
}

/// Who sent a request, and what names it in logs and records.
#[derive(Debug, Clone)]
pub struct RequestContext {
    /// The verified caller.
    pub caller: Authenticated,
    /// The request's ids.
    pub request_id: RequestId,
    /// The client's address.
    pub address: IpAddr,
    /// The client's `User-Agent`, cut to 256 bytes.
    pub agent: String,
    /// Where the bucket is for this client: scheme, host and, in path style, the bucket.
    pub bucket_url: String,
}

impl RequestContext {
    /// The actor that every record of this request names.
    pub fn actor(&self) -> Actor {
        Actor {
            account: Some(self.caller.identity.account),
            user: self.caller.identity.user.clone(),
            access_key: self.caller.access_key.clone(),
            address: self.address.to_string(),
            agent: self.agent.clone(),
            door: Door::S3,
            request_id: self.request_id.id.clone(),
        }
    }
}

/// An authenticated and authorised request, as a handler gets it.
pub struct S3Request {
    /// What is asked for.
    pub operation: Operation,
    /// The HTTP method.
    pub method: Method,
    /// The bucket's name; there for every operation but `ListBuckets`.
    pub bucket: Option<BucketName>,
    /// The bucket that was authorised, if it exists; not looked up for `CreateBucket`.
    pub found: Option<Arc<OpenBucket>>,
    /// The key; there for every operation on objects.
    pub key: Option<ObjectKey>,
    /// What a copy reads; there for every copy.
    pub source: Option<AuthorisedSource>,
    /// The decoded query.
    pub query: Query,
    /// The headers.
    pub headers: HeaderMap,
    /// Who, from where.
    pub context: RequestContext,
    /// The body, verified while it is read.
    pub body: BodyStream,
}

impl S3Request {
    /// The bucket of an operation that has one.
    pub fn bucket(&self) -> Result<&BucketName, S3Error> {
        self.bucket.as_ref().ok_or_else(|| S3ErrorCode::InvalidBucketName.into())
    }

    /// The bucket that a request was authorised for, if it exists and belongs to whom the client expects.
    pub fn open_bucket(&self) -> Result<&OpenBucket, S3Error> {
        let name = self.bucket()?;
        expected_bucket(name, self.found.as_deref(), self.header("x-amz-expected-bucket-owner")?)
    }

    /// What a copy reads, and its bucket, if that exists and belongs to whom the client expects.
    pub fn copy_source(&self) -> Result<(&CopySource, &OpenBucket), S3Error> {
        // The dispatcher parsed and authorised it for every operation that copies.
        let AuthorisedSource { source, found } = self.source.as_ref().ok_or(S3ErrorCode::InternalError)?;
        let expected = self.header("x-amz-source-expected-bucket-owner")?;
        Ok((source, expected_bucket(&source.bucket, found.as_deref(), expected)?))
    }

    /// The key of an operation that has one.
    pub fn key(&self) -> Result<&ObjectKey, S3Error> {
        self.key.as_ref().ok_or_else(|| S3ErrorCode::InvalidURI.into())
    }

    /// The value of a header that is readable text; one that is not is refused.
    pub fn header(&self, name: &'static str) -> Result<Option<&str>, S3Error> {
        let Some(value) = self.headers.get(name) else { return Ok(None) };
        let refusal = || S3Error::invalid_argument(name, "", "The header's value is not readable text");
        std::str::from_utf8(value.as_bytes()).map(Some).map_err(|_| refusal())
    }
}

fn expected_bucket<'a>(
    name: &BucketName,
    found: Option<&'a OpenBucket>,
    expected: Option<&str>,
) -> Result<&'a OpenBucket, S3Error> {
    let Some(found) = found else {
        return Err(S3Error::new(S3ErrorCode::NoSuchBucket).extra("BucketName", name.as_str()));
    };
    match expected {
        Some(expected) if expected != found.shown.id && expected != found.owner.to_string() => {
            Err(S3ErrorCode::AccessDenied.into())
        }
        Some(_) | None => Ok(found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::testing::CountingEntropy;
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    use proptest::prelude::*;

    #[test]
    fn odd_keys_survive_exactly() {
        for (path, bucket, key) in [
            ("/", None, None),
            ("/b", Some("b"), None),
            ("/b/", Some("b"), None),
            ("/b//", Some("b"), Some("/")),
            ("/b//k", Some("b"), Some("/k")),
            ("/b/..", Some("b"), Some("..")),
            ("/b/../c/./", Some("b"), Some("../c/./")),
            ("/b/a%2Fb", Some("b"), Some("a/b")),
            ("/b/%2F", Some("b"), Some("/")),
            ("/b/a+b%2Bc%20d", Some("b"), Some("a+b+c d")),
            ("/b/%252F", Some("b"), Some("%2F")),
            ("/b/%01%7F", Some("b"), Some("\u{1}\u{7f}")),
            ("/b/%00", Some("b"), Some("\0")),
            ("/b/%E2%82%AC", Some("b"), Some("€")),
            ("/b/€", Some("b"), Some("€")),
            ("//k", Some(""), Some("k")),
        ] {
            let target = Target { bucket: bucket.map(str::to_owned), key: key.map(str::to_owned) };
            assert_eq!(Target::parse(path), Ok(target), "{path}");
        }
        for path in ["/b/%FF", "/b/%", "/b/%2", "/b/%zz", "/b/%+1", "/b/%C3%28", "/%FF/k", "*", ""] {
            assert_eq!(
                Target::parse(path).map_err(|error| error.code),
                Err(S3ErrorCode::InvalidURI),
                "{path}"
            );
        }
    }

    #[test]
    fn a_host_that_names_the_bucket_leaves_the_whole_path_to_the_key() {
        for (path, key) in [("/", None), ("/k", Some("k")), ("//", Some("/")), ("/a%2Fb/", Some("a/b/"))] {
            let mut head = crate::s3::testing::head("GET", path, &[]);
            head.host_bucket = Some("bkt".to_owned());
            let target = Target { bucket: Some("bkt".into()), key: key.map(str::to_owned) };
            assert_eq!(Target::of(&head), Ok(target), "{path}");
        }
    }

    #[test]
    fn queries_keep_order_and_decode_once() {
        let query = Query::parse("b=2&a&a=3&c=x%2By+z&=e&&d==").unwrap();
        let pairs: Vec<_> = query.iter().collect();
        assert_eq!(pairs, [("b", "2"), ("a", ""), ("a", "3"), ("c", "x+y z"), ("", "e"), ("d", "=")]);
        assert_eq!((query.get("a"), query.get("none"), query.contains("a")), (Some(""), None, true));
        assert!(Query::parse("a=%FF").is_err() && Query::parse("a=%g0").is_err());
    }

    #[test]
    fn request_ids_look_like_those_of_s3_and_differ() {
        let entropy = CountingEntropy::default();
        let (first, second) = (RequestId::draw(&entropy), RequestId::draw(&entropy));
        assert_eq!(first.id.len(), 16);
        assert!(first.id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'A'..=b'F')));
        assert_ne!(first, second);
    }

    proptest! {
        #[test]
        fn any_key_that_a_client_encodes_comes_back(bucket in "[a-z0-9.-]{3,10}", key in "\\PC{1,40}|[\\x00-\\x1f/.%+]{1,20}") {
            let path = format!("/{bucket}/{}", utf8_percent_encode(&key, NON_ALPHANUMERIC));
            prop_assert_eq!(Target::parse(&path), Ok(Target { bucket: Some(bucket), key: Some(key) }));
        }

        #[test]
        fn any_target_is_parsed_or_refused_without_a_panic(path in ".{0,60}", query in ".{0,60}") {
            if let Ok(target) = Target::parse(&path) {
                prop_assert_eq!(target.bucket.is_none(), path == "/");
            }
            let _: Result<Query, S3Error> = Query::parse(&query);
        }
    }
}
