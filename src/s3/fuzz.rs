//! The parsers of this door, each on its corpus and mutations of it.

use super::body::checksum::Promises;
use super::body::chunked::{ChunkDecoder, Framing, FramingError, Item};
use super::conditional::{ReadConditions, write_conditions};
use super::copy_source::{CopySource, parse_copy_range};
use super::date::parse_http_date;
use super::domains::Domains;
use super::headers::{content_headers, metadata, refuse_acl, refuse_unsupported};
use super::list_params::{
    ListBucketsParams, ListObjectsParams, ListPartsParams, ListUploadsParams, ListVersionsParams,
};
use super::operation::Operation;
use super::range::RangeRequest;
use super::request::{Query, RequestHead, Target};
use super::sigv2;
use super::sigv4::{Claim, Payload, Scope, SigningKey, Timestamp};
use super::tags::{self, Bearer};
use super::testing::{NOW_SECONDS, SECRET};
use super::xml::bucket::{CreateBucketConfiguration, is_owner_full_control};
use super::xml::delete::DeleteRequest;
use super::xml::multipart::parse_complete;
use super::xml::versions::VersioningConfiguration;
use super::xml::{Owner, XmlError};
use crate::auth::Secret;
use crate::fuzz::{Bound, check, targets};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use std::net::{IpAddr, Ipv4Addr};

targets![
    documents,
    chunked_bodies,
    signatures,
    version_2,
    hosts_and_targets,
    list_parameters,
    version_list_parameters,
    headers,
    copies
];

/// A head as hyper would hand it on: a first line `METHOD target`, then headers. `None` for what hyper refuses.
fn head(input: &[u8]) -> Option<RequestHead> {
    let mut lines = input.split(|byte| *byte == b'\n');
    let (method, target) = std::str::from_utf8(lines.next()?).ok()?.split_once(' ')?;
    let (raw_path, raw_query) = target.split_once('?').unwrap_or((target, ""));
    let mut headers = HeaderMap::new();
    for line in lines.filter(|line| !line.is_empty()).take(100) {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_bytes(&line[..colon]).ok()?;
        headers.append(name, HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?);
    }
    Some(RequestHead {
        method: Method::from_bytes(method.as_bytes()).ok()?,
        raw_path: raw_path.to_owned(),
        raw_query: raw_query.to_owned(),
        headers,
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        host_bucket: None,
    })
}

fn text(input: &[u8]) -> Option<&str> {
    std::str::from_utf8(input).ok()
}

fn documents() {
    let owner = Owner { id: "owner".into(), display_name: "o".into() };
    check("xml-complete", Bound::USUAL, |input| {
        parse_complete(input).is_ok_and(|parts| {
            assert!((1..=10_000).contains(&parts.len()));
            true
        })
    });
    check("xml-delete", Bound::USUAL, |input| {
        DeleteRequest::parse(input).is_ok_and(|request| {
            assert!((1..=1000).contains(&request.objects.len()));
            true
        })
    });
    check("xml-create-bucket", Bound::USUAL, |input| CreateBucketConfiguration::parse(input).is_ok());
    check("xml-tagging", Bound::USUAL, |input| {
        tags::from_document(input, Bearer::Bucket).is_ok_and(|tags| {
            assert!(tags.len() <= 50);
            true
        })
    });
    check("xml-versioning", Bound::USUAL, |input| VersioningConfiguration::parse(input).is_ok());
    check("xml-acl", Bound::USUAL, |input| {
        let accepted: Result<bool, XmlError> = is_owner_full_control(input, &owner);
        accepted.is_ok()
    });
}

/// Decodes a body that comes in pieces of this size: its content, and how it ended.
fn decode(framing: Framing, body: &[u8], piece: usize) -> (Vec<u8>, Result<bool, FramingError>) {
    let (mut decoder, mut content, mut ended) = (ChunkDecoder::new(framing), Vec::new(), false);
    for piece in body.chunks(piece.max(1)) {
        let mut input = Bytes::copy_from_slice(piece);
        loop {
            match decoder.decode(&mut input) {
                Err(error) => return (content, Err(error)),
                Ok(None) => break,
                Ok(Some(Item::Data(data))) => content.extend_from_slice(&data),
                Ok(Some(Item::ChunkEnd { .. })) => {}
                Ok(Some(Item::End { .. })) => ended = true,
            }
        }
    }
    let finished = decoder.finish().map(|()| ended);
    (content, finished)
}

fn chunked_bodies() {
    check("aws-chunked", Bound::USUAL, |input| {
        let Some(end) = input.iter().position(|byte| *byte == b'\n') else { return false };
        let (kind, body) = (text(&input[..end]).unwrap_or_default(), &input[end + 1..]);
        let (kind, decoded) = kind.split_once(' ').unwrap_or((kind, "0"));
        let (signed, trailer) = (kind.starts_with("signed"), kind.ends_with("trailer"));
        let framing = Framing { signed, trailer, decoded_len: decoded.parse().unwrap_or(9) };
        let whole = decode(framing, body, body.len());
        // How the bytes are cut on their way must make no difference.
        assert_eq!(decode(framing, body, 7), whole);
        if whole.1 == Ok(true) {
            assert_eq!(whole.0.len() as u64, framing.decoded_len);
        }
        whole.1 == Ok(true)
    });
}

/// Everything that is asked of a signature, but for its being right.
fn claim(input: &[u8], key: &SigningKey) -> bool {
    let Some(head) = head(input) else { return false };
    let Ok(claim) = Claim::read(&head, &Scope::s3("us-east-1")) else { return false };
    let accepted = claim.check_time(i64::try_from(NOW_SECONDS).unwrap()).is_ok()
        && claim.check_headers(&head).is_ok()
        && claim.payload(key).is_ok();
    assert!(!claim.matches(&head, key), "a signature out of thin air");
    accepted
}

fn signatures() {
    let key = SigningKey::derive(&Secret::new(SECRET), "20130524", &Scope::s3("us-east-1"));
    for target in ["authorization", "query-signature"] {
        check(target, Bound::USUAL, |input| claim(input, &key));
    }
    check("amz-date", Bound::USUAL, |input| text(input).and_then(Timestamp::parse_basic).is_some());
}

fn version_2() {
    let secret = Secret::new(SECRET);
    check("query-signature-v2", Bound::USUAL, |input| {
        let Some(head) = head(input) else { return false };
        let Ok(claim) = sigv2::Claim::from_link(&head) else { return false };
        let accepted = claim.check_time(i64::try_from(NOW_SECONDS).unwrap()).is_ok()
            && sigv2::check_coverage(&head).is_ok();
        assert!(!claim.matches(&head, &secret).unwrap_or(false), "a signature out of thin air");
        accepted
    });
    check("authorization-v2", Bound::USUAL, |input| {
        let Some(head) = head(input) else { return false };
        let Ok(claim) = sigv2::Claim::from_header(&head) else { return false };
        assert!(!claim.matches(&head, &secret).unwrap_or(false), "a signature out of thin air");
        claim.check_time(i64::try_from(NOW_SECONDS).unwrap()).is_ok() && sigv2::check_coverage(&head).is_ok()
    });
}

fn copies() {
    check("copy-source", Bound::USUAL, |input| CopySource::parse(input).is_ok());
    check("copy-source-range", Bound::USUAL, |input| {
        let Some(range) = text(input) else { return false };
        let size = u64::MAX;
        let range = parse_copy_range(range, size);
        range.is_ok_and(|range| {
            assert!(range.length > 0 && range.first + (range.length - 1) < size);
            true
        })
    });
    check("copy-source-conditions", Bound::USUAL, |input| {
        let Some(head) = head(input) else { return false };
        ReadConditions::of_copy_source(&head.headers).is_ok()
    });
}

fn hosts_and_targets() {
    let domains = Domains::new(vec!["s3.test".into(), "eu.s3.test".into()]);
    check("host", Bound::USUAL, |input| {
        let Some(bucket) = text(input).and_then(|host| domains.bucket_of(host)) else { return false };
        assert!(input.to_ascii_lowercase().starts_with(bucket.as_bytes()));
        true
    });
    check("target", Bound::USUAL, |input| {
        let Some(head) = head(input) else { return false };
        let (target, query) = (Target::parse(&head.raw_path), Query::parse(&head.raw_query));
        let (Ok(target), Ok(query)) = (target, query) else { return false };
        Operation::recognise(&head.method, target.scope(), &query, &head.headers).is_ok()
    });
}

fn list_parameters() {
    check("list-parameters", Bound::USUAL, |input| {
        let Some(Ok(query)) = text(input).map(Query::parse) else { return false };
        let (v1, v2) = (ListObjectsParams::parse_v1(&query), ListObjectsParams::parse_v2(&query));
        let (uploads, parts) = (ListUploadsParams::parse(&query), ListPartsParams::parse(&query));
        let buckets = ListBucketsParams::parse(&query);
        for list in [&v1, &v2].into_iter().flatten() {
            assert!(list.max_keys <= 1000);
            let _ = list.after();
        }
        v1.is_ok() && v2.is_ok() && uploads.is_ok() && parts.is_ok() && buckets.is_ok()
    });
}

fn version_list_parameters() {
    check("version-list-parameters", Bound::USUAL, |input| {
        let Some(Ok(query)) = text(input).map(Query::parse) else { return false };
        ListVersionsParams::parse(&query).is_ok_and(|list| {
            assert!(list.max_keys <= 1000);
            let _ = list.after();
            true
        })
    });
}

fn headers() {
    check("range", Bound::USUAL, |input| {
        let Some(range) = text(input).and_then(RangeRequest::parse) else { return false };
        for size in [0, 1, 10, u64::MAX] {
            if let Ok(range) = range.of(size) {
                assert!(range.length > 0 && range.first + (range.length - 1) < size);
            }
        }
        true
    });
    check("http-date", Bound::USUAL, |input| text(input).and_then(parse_http_date).is_some());
    check("tagging-header", Bound::USUAL, |input| {
        let Ok(value) = HeaderValue::from_bytes(input) else { return false };
        let headers = HeaderMap::from_iter([(HeaderName::from_static(tags::HEADER), value)]);
        tags::from_headers(&headers).is_ok_and(|tags| {
            assert!(tags.len() <= 10);
            true
        })
    });
    check("request-headers", Bound::USUAL, |input| {
        let Some(RequestHead { method, headers, .. }) = head(input) else { return false };
        let _ = content_headers(&headers);
        let reads = ReadConditions::parse(&headers).is_ok();
        let writes = [
            write_conditions(&headers).is_ok(),
            metadata(&headers).is_ok(),
            refuse_unsupported(&headers).is_ok(),
            refuse_acl(&headers).is_ok(),
            Promises::read(Operation::PutObject, &headers, &Payload::UnsignedChunks).is_ok(),
        ];
        if method == Method::GET { reads } else { !writes.contains(&false) }
    });
}

#[test]
#[should_panic(expected = "held")]
fn a_parser_that_takes_too_much_memory_is_caught() {
    check("range", Bound { fixed: 0, per_byte: 2 }, |input| {
        let taken = vec![0_u8; input.len() * 3];
        taken.len() == input.len() * 3
    });
}

#[test]
#[should_panic(expected = "panicked")]
fn a_parser_that_panics_on_a_mutation_is_caught() {
    check("range", Bound::USUAL, |input| {
        let range = text(input).and_then(RangeRequest::parse);
        // No file of the corpus asks for another length.
        assert!(matches!(
            range,
            None | Some(RangeRequest::Bytes { .. } | RangeRequest::Suffix { length: 5 })
        ));
        range.is_some()
    });
}
