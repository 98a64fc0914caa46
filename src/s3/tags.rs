//! Tags of objects and buckets: from the `x-amz-tagging` header or a `Tagging` document, within AWS's limits.

use super::error::{S3Error, S3ErrorCode};
use super::request::Query;
use super::xml::{XmlError, tagging};
use http::HeaderMap;
use std::collections::BTreeSet;

/// The header that gives an object tags while it is stored.
pub const HEADER: &str = "x-amz-tagging";
/// The most characters of a tag's key.
const MAX_KEY_CHARS: usize = 128;
/// The most characters of a tag's value.
const MAX_VALUE_CHARS: usize = 256;

/// Names and values, in the order they came.
pub type Tags = Vec<(String, String)>;

/// What bears tags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bearer {
    /// An object, or a version of one.
    Object,
    /// A bucket.
    Bucket,
}

impl Bearer {
    /// The most tags it bears.
    pub fn max(self) -> usize {
        match self {
            Self::Object => 10,
            Self::Bucket => 50,
        }
    }

    fn too_many(self) -> S3Error {
        let message = match self {
            Self::Object => "Object tags cannot be greater than 10",
            Self::Bucket => "Bucket tag count cannot be greater than 50",
        };
        S3Error::with_message(S3ErrorCode::BadRequest, message)
    }
}

/// The tags that a write's headers give to its object.
pub fn from_headers(headers: &HeaderMap) -> Result<Tags, S3Error> {
    let mut values = headers.get_all(HEADER).iter();
    let Some(value) = values.next() else { return Ok(Vec::new()) };
    let text = String::from_utf8_lossy(value.as_bytes());
    let malformed = || {
        let message = "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters \
                       without tag name duplicates.";
        S3Error::invalid_argument(HEADER, &*text, message)
    };
    let query = if values.next().is_some() { None } else { Query::parse(&text).ok() };
    let query = query.ok_or_else(malformed)?;
    let tags = query.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect::<Tags>();
    let mut seen = BTreeSet::new();
    let written = |text: &str| text.chars().all(is_allowed);
    if !tags.iter().all(|(key, value)| seen.insert(key) && written(key) && written(value)) {
        return Err(malformed());
    }
    check(&tags, Bearer::Object)?;
    Ok(tags)
}

/// The tags of a document.
pub fn from_document(body: &[u8], bearer: Bearer) -> Result<Tags, S3Error> {
    let tags = tagging::parse(body, bearer.max()).map_err(|error| match error {
        XmlError::TooMany => bearer.too_many(),
        other => other.into(),
    })?;
    check(&tags, bearer)?;
    Ok(tags)
}

/// Refuses tags that AWS would not take.
pub fn check(tags: &[(String, String)], bearer: Bearer) -> Result<(), S3Error> {
    if tags.len() > bearer.max() {
        return Err(bearer.too_many());
    }
    let mut seen = BTreeSet::new();
    for (key, value) in tags {
        let refusal = |message: &'static str| {
            Err(S3Error::with_message(S3ErrorCode::InvalidTag, message).extra("TagKey", key.as_str()))
        };
        if !seen.insert(key) {
            return refusal("Cannot provide multiple Tags with the same key");
        }
        if key.starts_with("aws:") {
            return refusal("System tags cannot be added/updated by requester");
        }
        if key.is_empty() || !is_valid(key, MAX_KEY_CHARS) {
            return refusal("The TagKey you have provided is invalid");
        }
        if !is_valid(value, MAX_VALUE_CHARS) {
            return refusal("The TagValue you have provided is invalid");
        }
    }
    Ok(())
}

fn is_valid(text: &str, max_chars: usize) -> bool {
    text.chars().count() <= max_chars && text.chars().all(is_allowed)
}

/// Letters, numbers and spaces of any script, and `_ . : / = + - @`.
fn is_allowed(c: char) -> bool {
    let space = c.is_whitespace() && !c.is_control();
    c.is_alphanumeric() || space || matches!(c, '_' | '.' | ':' | '/' | '=' | '+' | '-' | '@')
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    use proptest::prelude::*;

    fn header(value: &str) -> Result<Tags, S3ErrorCode> {
        let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
        from_headers(&HeaderMap::from_iter([(http::HeaderName::from_static(HEADER), value)]))
            .map_err(|error| error.code)
    }

    fn tags(tags: &[(&str, &str)]) -> Tags {
        tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn document(pairs: &[(&str, &str)], bearer: Bearer) -> Result<usize, S3ErrorCode> {
        let read = from_document(&tagging::tagging(&tags(pairs)), bearer);
        read.map(|tags| tags.len()).map_err(|error| error.code)
    }

    #[test]
    fn the_header_is_a_query_with_unique_names() {
        assert_eq!(from_headers(&HeaderMap::new()), Ok(vec![]));
        assert_eq!(header(""), Ok(vec![]));
        assert_eq!(
            header("b=2&a=x%20y+z&c&d="),
            Ok(tags(&[("b", "2"), ("a", "x y z"), ("c", ""), ("d", "")]))
        );
        assert_eq!(header("%C3%A4=%2B"), Ok(tags(&[("ä", "+")])));
        for malformed in ["a=1&a=2", "a=%FF", "a=%2", "a=<", "a=b%0Ac", "a%23=b"] {
            assert_eq!(header(malformed), Err(S3ErrorCode::InvalidArgument), "{malformed}");
        }
        let mut headers = HeaderMap::new();
        for value in ["a=1", "b=2"] {
            headers.append(HEADER, HeaderValue::from_static(value));
        }
        assert_eq!(from_headers(&headers).unwrap_err().code, S3ErrorCode::InvalidArgument);
    }

    #[test]
    fn the_limits_are_those_of_aws_for_objects_and_for_buckets() {
        let many = |count: usize| (0..count).map(|n| n.to_string()).collect::<Vec<_>>();
        for (bearer, max) in [(Bearer::Object, 10), (Bearer::Bucket, 50)] {
            let names = many(max + 1);
            let pairs = names.iter().map(|name| (name.as_str(), "")).collect::<Vec<_>>();
            assert_eq!(document(&pairs[..max], bearer), Ok(max));
            assert_eq!(document(&pairs, bearer), Err(S3ErrorCode::BadRequest));
        }
        assert_eq!(header(&many(10).join("&")).map(|tags| tags.len()), Ok(10));
        assert_eq!(header(&many(11).join("&")), Err(S3ErrorCode::BadRequest));
        let long = |chars: usize| "ä".repeat(chars);
        for (key, value, expected) in [
            (long(128), long(256), Ok(1)),
            (long(129), String::new(), Err(S3ErrorCode::InvalidTag)),
            ("k".to_owned(), long(257), Err(S3ErrorCode::InvalidTag)),
            (String::new(), String::new(), Err(S3ErrorCode::InvalidTag)),
            ("aws:x".to_owned(), String::new(), Err(S3ErrorCode::InvalidTag)),
            ("k<".to_owned(), String::new(), Err(S3ErrorCode::InvalidTag)),
            ("k".to_owned(), "a,b".to_owned(), Err(S3ErrorCode::InvalidTag)),
            ("k _.:/=+-@ключ9".to_owned(), "k _.:/=+-@ключ9".to_owned(), Ok(1)),
        ] {
            assert_eq!(document(&[(&key, &value)], Bearer::Object), expected, "{key} {value}");
        }
        assert_eq!(document(&[("a", "1"), ("a", "1")], Bearer::Bucket), Err(S3ErrorCode::InvalidTag));
        let read = |body: &[u8]| from_document(body, Bearer::Object).map_err(|error| error.code);
        assert_eq!(read(b"<Tagging>"), Err(S3ErrorCode::MalformedXML));
    }

    proptest! {
        #[test]
        fn what_is_accepted_from_a_header_is_what_was_sent_and_within_the_limits(
            pairs in prop::collection::btree_map("[a-zA-Zäж0-9 _.:/=+@-]{1,20}", "[a-zA-Zäж0-9 _.:/=+@-]{0,20}", 0..12),
        ) {
            let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
            let sent = pairs.iter().map(|(key, value)| format!("{}={}", encode(key), encode(value)));
            let found = header(&sent.collect::<Vec<_>>().join("&"));
            let expected = pairs.into_iter().collect::<Tags>();
            if expected.len() > 10 {
                prop_assert_eq!(found, Err(S3ErrorCode::BadRequest));
            } else if expected.iter().any(|(key, _)| key.starts_with("aws:")) {
                prop_assert_eq!(found, Err(S3ErrorCode::InvalidTag));
            } else {
                prop_assert_eq!(found, Ok(expected));
            }
        }

        #[test]
        fn any_header_and_any_document_is_read_or_refused_without_a_panic(text in "[ -~ä]{0,60}", body: Vec<u8>) {
            if let Ok(tags) = header(&text) {
                prop_assert!(tags.len() <= 10 && tags.iter().all(|(key, _)| !key.is_empty()));
            }
            prop_assert!(from_document(&body, Bearer::Bucket).is_err());
        }
    }
}
