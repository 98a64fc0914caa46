//! Headers that are stored with an object and come back with it, and headers that promise something this server does
//! not do, which are refused.

use super::body::checksum::{decode_value, header_name, parse_wire_name};
use super::error::{S3Error, S3ErrorCode};
use super::refusal::unsupported;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::HeaderMap;
use http::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_TYPE, EXPIRES,
    HeaderName, HeaderValue,
};
use siltstone_log::event::{Checksum, ChecksumAlgorithm, ChecksumKind, ContentHeaders};
use siltstone_log::id::VersionRef;
use std::borrow::Cow;

/// What user metadata begins with.
pub const METADATA_PREFIX: &str = "x-amz-meta-";
/// The most bytes of user metadata: names without their prefix, and values, in UTF-8.
pub const MAX_METADATA_BYTES: usize = 2048;
/// The type of an object that was stored without one.
pub const DEFAULT_CONTENT_TYPE: &str = "binary/octet-stream";

/// A header's bytes as text: UTF-8, or Latin-1 where they are none.
fn text(value: &HeaderValue) -> Cow<'_, str> {
    match std::str::from_utf8(value.as_bytes()) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(value.as_bytes().iter().copied().map(char::from).collect()),
    }
}

/// The standard headers that are kept with an object.
pub fn content_headers(headers: &HeaderMap) -> ContentHeaders {
    let get =
        |name| headers.get(name).map(|value| text(value).into_owned()).filter(|value| !value.is_empty());
    ContentHeaders {
        content_type: get(CONTENT_TYPE),
        cache_control: get(CACHE_CONTROL),
        content_disposition: get(CONTENT_DISPOSITION),
        content_encoding: content_encoding(headers),
        content_language: get(CONTENT_LANGUAGE),
        expires: get(EXPIRES),
    }
}

/// The object's own encodings, as they were sent: `aws-chunked` says how the request travelled and is not one of them.
fn content_encoding(headers: &HeaderMap) -> Option<String> {
    let values = headers.get_all(CONTENT_ENCODING).iter().map(text).collect::<Vec<_>>().join(",");
    let travels = |coding: &&str| coding.trim().eq_ignore_ascii_case("aws-chunked");
    let own = if values.split(',').any(|coding| travels(&coding)) {
        let own = values.split(',').filter(|coding| !travels(coding)).collect::<Vec<_>>().join(",");
        own.trim().to_owned()
    } else {
        values
    };
    (!own.is_empty()).then_some(own)
}

/// Writes the standard headers back.
pub fn put_content_headers(stored: &ContentHeaders, out: &mut HeaderMap) {
    let ContentHeaders {
        content_type,
        cache_control,
        content_disposition,
        content_encoding,
        content_language,
        expires,
    } = stored;
    let content_type = content_type.as_deref().or(Some(DEFAULT_CONTENT_TYPE));
    let pairs = [
        (CONTENT_TYPE, content_type),
        (CACHE_CONTROL, cache_control.as_deref()),
        (CONTENT_DISPOSITION, content_disposition.as_deref()),
        (CONTENT_ENCODING, content_encoding.as_deref()),
        (CONTENT_LANGUAGE, content_language.as_deref()),
        (EXPIRES, expires.as_deref()),
    ];
    for (name, value) in pairs {
        // What came in a header fits into one; a value that does not came through another door and is left out.
        if let Some(value) = value.and_then(|value| HeaderValue::from_bytes(value.as_bytes()).ok()) {
            out.insert(name, value);
        }
    }
}

/// User metadata: names in lower case without their prefix, values decoded from RFC 2047 where they use it.
pub fn metadata(headers: &HeaderMap) -> Result<Vec<(String, String)>, S3Error> {
    let mut found: Vec<(String, String)> = Vec::new();
    let mut bytes = 0;
    for (name, value) in headers {
        let Some(name) = name.as_str().strip_prefix(METADATA_PREFIX) else { continue };
        if name.is_empty() {
            return Err(S3Error::invalid_argument(
                "x-amz-meta-",
                "",
                "A metadata header has a name behind its prefix",
            ));
        }
        let value = decode_words(&text(value));
        bytes += value.len();
        match found.last_mut() {
            // The values of a repeated header come one after the other.
            Some((last, all)) if last == name => {
                all.push(',');
                all.push_str(&value);
            }
            _ => {
                bytes += name.len();
                found.push((name.to_owned(), value));
            }
        }
    }
    if bytes > MAX_METADATA_BYTES {
        return Err(S3Error::new(S3ErrorCode::MetadataTooLarge)
            .extra("Size", bytes.to_string())
            .extra("MaxSizeAllowed", MAX_METADATA_BYTES.to_string()));
    }
    Ok(found)
}

/// Writes user metadata back. What a header cannot carry as it is goes out as an RFC 2047 word; a name that no header
/// can have is counted in `x-amz-missing-meta`.
pub fn put_metadata(metadata: &[(String, String)], out: &mut HeaderMap) {
    let mut missing = 0_u64;
    for (name, value) in metadata {
        let name = HeaderName::try_from(format!("{METADATA_PREFIX}{name}"));
        let Some((name, value)) = name.ok().zip(HeaderValue::from_str(&encode_words(value)).ok()) else {
            missing += 1;
            continue;
        };
        out.insert(name, value);
    }
    if missing > 0 {
        out.insert("x-amz-missing-meta", HeaderValue::from(missing));
    }
}

fn printable(value: &str) -> bool {
    value.bytes().all(|b| matches!(b, b' '..=b'~' | b'\t'))
}

fn encode_words(value: &str) -> Cow<'_, str> {
    if printable(value) {
        Cow::Borrowed(value)
    } else {
        Cow::Owned(format!("=?UTF-8?B?{}?=", BASE64.encode(value)))
    }
}

/// Decodes RFC 2047 words. A value without any, or whose words hold nothing but ASCII, is kept as it came.
fn decode_words(value: &str) -> String {
    if !value.contains("=?") {
        return value.to_owned();
    }
    let mut decoded = String::with_capacity(value.len());
    let mut rest = value;
    let mut after_word = false;
    while let Some(at) = rest.find("=?") {
        let (before, tail) = rest.split_at(at);
        let Some((word, tail)) = decode_word(tail) else {
            decoded.push_str(before);
            decoded.push_str("=?");
            rest = tail.strip_prefix("=?").unwrap_or_default();
            after_word = false;
            continue;
        };
        // White space between two words is none.
        if !after_word || !before.trim().is_empty() {
            decoded.push_str(before);
        }
        decoded.push_str(&word);
        rest = tail;
        after_word = true;
    }
    decoded.push_str(rest);
    if decoded.is_ascii() { value.to_owned() } else { decoded }
}

/// Decodes the word at the beginning of `text`, and gives what follows it.
fn decode_word(text: &str) -> Option<(String, &str)> {
    let (charset, rest) = text.strip_prefix("=?")?.split_once('?')?;
    let (encoding, rest) = rest.split_once('?')?;
    let (payload, rest) = rest.split_once("?=")?;
    let bytes = match encoding {
        "B" | "b" => BASE64.decode(payload).ok()?,
        "Q" | "q" => decode_q(payload)?,
        _ => return None,
    };
    let decoded = if charset.eq_ignore_ascii_case("utf-8") || charset.eq_ignore_ascii_case("us-ascii") {
        String::from_utf8(bytes).ok()?
    } else if charset.eq_ignore_ascii_case("iso-8859-1") {
        bytes.into_iter().map(char::from).collect()
    } else {
        return None;
    };
    Some((decoded, rest))
}

fn decode_q(payload: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(payload.len());
    let mut rest = payload.bytes();
    let digit = |b: Option<u8>| char::from(b?).to_digit(16).and_then(|d| u8::try_from(d).ok());
    while let Some(b) = rest.next() {
        bytes.push(match b {
            b'_' => b' ',
            b'=' => digit(rest.next())? << 4 | digit(rest.next())?,
            other => other,
        });
    }
    Some(bytes)
}

/// The element that shows a checksum in XML.
pub fn checksum_element(algorithm: ChecksumAlgorithm) -> &'static str {
    match algorithm {
        ChecksumAlgorithm::Crc32 => "ChecksumCRC32",
        ChecksumAlgorithm::Crc32c => "ChecksumCRC32C",
        ChecksumAlgorithm::Crc64nvme => "ChecksumCRC64NVME",
        ChecksumAlgorithm::Sha1 => "ChecksumSHA1",
        ChecksumAlgorithm::Sha256 => "ChecksumSHA256",
    }
}

/// What a checksum covers, in headers and XML.
pub fn checksum_kind_name(kind: ChecksumKind) -> &'static str {
    match kind {
        ChecksumKind::FullObject => "FULL_OBJECT",
        ChecksumKind::Composite => "COMPOSITE",
    }
}

/// Reads what a checksum covers.
pub fn parse_checksum_kind(name: &str) -> Option<ChecksumKind> {
    let kinds = [ChecksumKind::FullObject, ChecksumKind::Composite];
    kinds.into_iter().find(|kind| checksum_kind_name(*kind).eq_ignore_ascii_case(name))
}

/// Reads the algorithm that `x-amz-checksum-algorithm` asks for.
pub fn checksum_algorithm(name: &str) -> Result<ChecksumAlgorithm, S3Error> {
    parse_wire_name(name).ok_or_else(|| {
        let message = "Checksum algorithm provided is unsupported. Please try again with any of the valid types: \
                       [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]";
        S3Error::with_message(S3ErrorCode::InvalidRequest, message)
    })
}

/// A checksum as text: base64, and for one over parts their number behind it.
pub fn checksum_text(checksum: &Checksum, parts: usize) -> String {
    let mut text = BASE64.encode(&checksum.value);
    if checksum.kind == ChecksumKind::Composite {
        text.push('-');
        text.push_str(&parts.to_string());
    }
    text
}

/// Reads a checksum's text: base64, with or without the number of parts behind it.
pub fn parse_checksum(algorithm: ChecksumAlgorithm, text: &str) -> Option<Vec<u8>> {
    // Base64 has no hyphen in this alphabet.
    decode_value(algorithm, text.split_once('-').map_or(text, |(value, _)| value))
}

/// Writes checksums as headers, with the type that they all have.
pub fn put_checksums(checksums: &[Checksum], parts: usize, out: &mut HeaderMap) {
    for checksum in checksums {
        if let Ok(value) = HeaderValue::try_from(checksum_text(checksum, parts)) {
            out.insert(header_name(checksum.algorithm), value);
        }
    }
    if let Some(checksum) = checksums.first() {
        out.insert("x-amz-checksum-type", HeaderValue::from_static(checksum_kind_name(checksum.kind)));
    }
}

/// An ETag as a header's value: in quotes.
pub fn etag_value(etag: &str) -> HeaderValue {
    // ETags are hex digits and `-N`; the fallback is never a client's text.
    HeaderValue::try_from(format!("\"{etag}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

/// Refuses what a write's headers ask for and this server does not do. To store the object and ignore them would
/// promise something: that it is encrypted, locked, public, or cheap.
pub fn refuse_unsupported(headers: &HeaderMap) -> Result<(), S3Error> {
    refuse_acl(headers)?;
    for name in headers.keys().map(HeaderName::as_str) {
        let refused = name.starts_with("x-amz-server-side-encryption")
            || name.starts_with("x-amz-object-lock-")
            || matches!(name, "x-amz-website-redirect-location" | "x-amz-write-offset-bytes" | "x-amz-mfa");
        if refused {
            return Err(unsupported(name));
        }
    }
    match headers.get("x-amz-storage-class") {
        Some(class) if class != "STANDARD" => {
            Err(S3Error::new(S3ErrorCode::InvalidStorageClass).extra("StorageClassRequested", text(class)))
        }
        _ => Ok(()),
    }
}

/// Refuses the keys that a client holds for an encrypted object: none is encrypted.
pub fn refuse_customer_keys(headers: &HeaderMap) -> Result<(), S3Error> {
    let keys = [
        "x-amz-server-side-encryption-customer-algorithm",
        "x-amz-copy-source-server-side-encryption-customer-algorithm",
    ];
    if keys.iter().any(|name| headers.contains_key(*name)) {
        let message = "The encryption parameters are not applicable to this object.";
        return Err(S3Error::with_message(S3ErrorCode::InvalidRequest, message));
    }
    Ok(())
}

/// Reads what a listing is to tell beside what it always tells (AWS's API reference, ListObjectsV2): the state of
/// restoration, which no object here has. Another attribute is refused, since it would be missed.
pub fn check_optional_attributes(headers: &HeaderMap) -> Result<(), S3Error> {
    let name = "x-amz-optional-object-attributes";
    for value in headers.get_all(name) {
        let value = text(value);
        if value.split(',').any(|attribute| attribute.trim() != "RestoreStatus") {
            let message = "Invalid attribute name specified";
            return Err(S3Error::invalid_argument(name, value, message));
        }
    }
    Ok(())
}

/// Accepts the canned ACLs that say what holds anyway, the owner's full control; refuses every other grant.
pub fn refuse_acl(headers: &HeaderMap) -> Result<(), S3Error> {
    const CANNED: [&str; 8] = [
        "private",
        "bucket-owner-full-control",
        "bucket-owner-read",
        "public-read",
        "public-read-write",
        "authenticated-read",
        "aws-exec-read",
        "log-delivery-write",
    ];
    if headers.keys().any(|name| name.as_str().starts_with("x-amz-grant-")) {
        return Err(S3ErrorCode::AccessControlListNotSupported.into());
    }
    let Some(acl) = headers.get("x-amz-acl") else { return Ok(()) };
    match text(acl).as_ref() {
        "private" | "bucket-owner-full-control" => Ok(()),
        known if CANNED.contains(&known) => Err(S3ErrorCode::AccessControlListNotSupported.into()),
        unknown => Err(S3Error::invalid_argument("x-amz-acl", unknown, "The canned ACL is not known")),
    }
}

/// Tells of a version, where there is one to tell of.
pub(super) fn put_version(version: Option<VersionRef>, out: &mut HeaderMap) {
    if let Some(value) = version.and_then(|version| HeaderValue::try_from(version.to_string()).ok()) {
        out.insert(HeaderName::from_static("x-amz-version-id"), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn headers(pairs: &[(&'static str, &[u8])]) -> HeaderMap {
        pairs.iter().fold(HeaderMap::new(), |mut map, (name, value)| {
            map.append(*name, HeaderValue::from_bytes(value).unwrap());
            map
        })
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn content_headers_come_back_as_they_were_sent() {
        let sent = headers(&[
            ("content-type", b"text/plain; charset=utf-8"),
            ("content-disposition", "attachment; filename=\"ключ\"".as_bytes()),
            ("content-encoding", b"aws-chunked, gzip"),
            ("expires", b"whenever"),
            ("cache-control", b"no-cache"),
            ("content-language", b"de"),
        ]);
        let stored = content_headers(&sent);
        assert_eq!(stored.content_encoding.as_deref(), Some("gzip"));
        let mut out = HeaderMap::new();
        put_content_headers(&stored, &mut out);
        let mut expected = sent.clone();
        expected.insert("content-encoding", HeaderValue::from_static("gzip"));
        assert_eq!(out, expected);
        for (sent, kept) in [
            ("gzip, br", "gzip, br"),
            ("gzip,,br", "gzip,,br"),
            ("AWS-Chunked,gzip , br", "gzip , br"),
            ("gzip, aws-chunked, br", "gzip, br"),
            ("gzip,aws-chunked", "gzip"),
        ] {
            let stored = content_headers(&headers(&[("content-encoding", sent.as_bytes())]));
            assert_eq!(stored.content_encoding.as_deref(), Some(kept), "{sent}");
        }
        let bare = content_headers(&headers(&[("content-encoding", b"aws-chunked")]));
        assert_eq!(bare, ContentHeaders::default());
        let mut out = HeaderMap::new();
        put_content_headers(&bare, &mut out);
        assert_eq!(out, headers(&[("content-type", b"binary/octet-stream")]));
    }

    #[test]
    fn metadata_is_kept_in_order_and_decoded() {
        let sent = headers(&[
            ("x-amz-meta-mtime", b"1.5"),
            ("x-amz-meta-utf8", "Ä".as_bytes()),
            ("x-amz-meta-latin", b"\xc4"),
            ("x-amz-meta-q", b"=?UTF-8?Q?=C3=84_b?= =?utf-8?b?w4Q=?= c"),
            ("x-amz-meta-ascii-word", b"=?UTF-8?Q?abc?="),
            ("x-amz-meta-broken", b"=?UTF-8?Q?=C3?= =?x=?"),
            ("x-amz-meta-twice", b"a"),
            ("x-amz-meta-twice", b"b"),
            ("x-amz-metadata", b"other"),
        ]);
        let expected = pairs(&[
            ("mtime", "1.5"),
            ("utf8", "Ä"),
            ("latin", "Ä"),
            ("q", "Ä bÄ c"),
            ("ascii-word", "=?UTF-8?Q?abc?="),
            ("broken", "=?UTF-8?Q?=C3?= =?x=?"),
            ("twice", "a,b"),
        ]);
        assert_eq!(metadata(&sent), Ok(expected));
    }

    #[test]
    fn metadata_is_limited_in_bytes() {
        let value = |len: usize| metadata(&headers(&[("x-amz-meta-name", "v".repeat(len).as_bytes())]));
        assert!(value(MAX_METADATA_BYTES - 4).is_ok());
        assert_eq!(value(MAX_METADATA_BYTES - 3).unwrap_err().code, S3ErrorCode::MetadataTooLarge);
        let empty = metadata(&headers(&[("x-amz-meta-", b"v")]));
        assert_eq!(empty.unwrap_err().code, S3ErrorCode::InvalidArgument);
    }

    #[test]
    fn metadata_that_no_header_can_carry_is_encoded_or_counted() {
        let mut out = HeaderMap::new();
        put_metadata(&pairs(&[("a", "Ä"), ("b", "x\n"), ("c", "plain"), ("not a name", "v")]), &mut out);
        let expected = headers(&[
            ("x-amz-meta-a", b"=?UTF-8?B?w4Q=?="),
            ("x-amz-meta-b", b"=?UTF-8?B?eAo=?="),
            ("x-amz-meta-c", b"plain"),
            ("x-amz-missing-meta", b"1"),
        ]);
        assert_eq!(out, expected);
    }

    #[test]
    fn what_would_promise_too_much_is_refused() {
        let accepted: [(&'static str, &[u8]); 4] = [
            ("x-amz-acl", b"private"),
            ("x-amz-acl", b"bucket-owner-full-control"),
            ("x-amz-storage-class", b"STANDARD"),
            ("x-amz-meta-object-lock", b"x"),
        ];
        for pair in accepted {
            assert_eq!(refuse_unsupported(&headers(&[pair])), Ok(()), "{}", pair.0);
        }
        let refused: [(&'static str, &[u8], _); 10] = [
            ("x-amz-acl", b"public-read", S3ErrorCode::AccessControlListNotSupported),
            ("x-amz-acl", b"everyone", S3ErrorCode::InvalidArgument),
            ("x-amz-grant-read", b"id=x", S3ErrorCode::AccessControlListNotSupported),
            ("x-amz-server-side-encryption", b"AES256", S3ErrorCode::NotImplemented),
            ("x-amz-server-side-encryption-customer-algorithm", b"AES256", S3ErrorCode::NotImplemented),
            ("x-amz-object-lock-mode", b"GOVERNANCE", S3ErrorCode::NotImplemented),
            ("x-amz-object-lock-legal-hold", b"ON", S3ErrorCode::NotImplemented),
            ("x-amz-website-redirect-location", b"/", S3ErrorCode::NotImplemented),
            ("x-amz-write-offset-bytes", b"0", S3ErrorCode::NotImplemented),
            ("x-amz-storage-class", b"GLACIER", S3ErrorCode::InvalidStorageClass),
        ];
        for (name, value, code) in refused {
            assert_eq!(refuse_unsupported(&headers(&[(name, value)])).unwrap_err().code, code, "{name}");
        }
    }

    #[test]
    fn a_composite_checksum_shows_its_parts() {
        let checksum = |kind| Checksum { algorithm: ChecksumAlgorithm::Crc32, kind, value: vec![0, 0, 0, 1] };
        assert_eq!(checksum_text(&checksum(ChecksumKind::FullObject), 2), "AAAAAQ==");
        assert_eq!(checksum_text(&checksum(ChecksumKind::Composite), 2), "AAAAAQ==-2");
        for text in ["AAAAAQ==", "AAAAAQ==-2"] {
            assert_eq!(parse_checksum(ChecksumAlgorithm::Crc32, text), Some(vec![0, 0, 0, 1]));
        }
        for text in ["", "AAAA", "AAAAAQ==AAAA", "????"] {
            assert_eq!(parse_checksum(ChecksumAlgorithm::Crc32, text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn metadata_survives_its_way_out_and_in(value in "[^=]{0,40}") {
            let sent = vec![("k".to_owned(), value.trim().to_owned())];
            let mut out = HeaderMap::new();
            put_metadata(&sent, &mut out);
            let back = metadata(&out).unwrap();
            // Control characters alone are ASCII: their word is not decoded, so that ASCII always comes back as sent.
            prop_assert!(back == sent || sent.iter().any(|(_, value)| value.is_ascii() && !printable(value)));
        }

        #[test]
        fn any_value_is_decoded_without_a_panic(value in "(=\\?(UTF-8|x)\\?[QBq]\\?[=A-F0-9a]{0,6}\\?=| |.){0,6}") {
            let decoded = decode_words(&value);
            prop_assert!(decoded.len() <= value.len() * 2);
        }
    }
}
