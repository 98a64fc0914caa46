use super::*;
use crate::s3::error::S3ErrorCode;
use proptest::prelude::*;
use siltstone_log::id::{VersionId, VersionRef};
use siltstone_log::name::ObjectKey;
use siltstone_projections::versions::VersionMarker;

fn key(key: &str) -> After {
    After::Key(key.to_owned())
}

fn prefix(prefix: &str) -> After {
    After::Prefix(prefix.to_owned())
}

fn query(raw: &str) -> Query {
    Query::parse(raw).unwrap()
}

#[test]
fn the_first_version_is_read_with_its_defaults() {
    let plain = ListObjectsParams {
        prefix: String::new(),
        delimiter: None,
        max_keys: 1000,
        url_encoding: false,
        version: ListVersion::V1 { marker: None },
    };
    assert_eq!(ListObjectsParams::parse_v1(&query("delimiter=&max-keys=")), Ok(plain));
    let raw = "prefix=a%2Fb&delimiter=/&max-keys=2000&encoding-type=url&marker=m";
    let full = ListObjectsParams {
        prefix: "a/b".into(),
        delimiter: Some("/".into()),
        max_keys: 1000,
        url_encoding: true,
        version: ListVersion::V1 { marker: Some("m".into()) },
    };
    let parsed = ListObjectsParams::parse_v1(&query(raw)).unwrap();
    assert_eq!(parsed, full);
    assert_eq!(parsed.after(), Some(key("m")));
}

#[test]
fn a_marker_that_is_a_common_prefix_stands_for_all_its_keys() {
    let after = |raw| ListObjectsParams::parse_v1(&query(raw)).unwrap().after();
    assert_eq!(after("delimiter=/&marker=a/"), Some(prefix("a/")));
    assert_eq!(after("delimiter=/&prefix=a/&marker=a/b/"), Some(prefix("a/b/")));
    assert_eq!(after("delimiter=/&marker=a/b/"), Some(key("a/b/")));
    assert_eq!(after("delimiter=/&prefix=a/&marker=a/"), Some(key("a/")));
    assert_eq!(after("delimiter=/&prefix=b/&marker=a/"), Some(key("a/")));
    assert_eq!(after("marker=a/"), Some(key("a/")));
    assert_eq!(after("marker="), None);
}

#[test]
fn a_token_goes_before_start_after() {
    let token = make_token(&prefix("k/"));
    let raw = format!("start-after=a&continuation-token={token}&fetch-owner=true&max-keys=0");
    let parsed = ListObjectsParams::parse_v2(&query(&raw)).unwrap();
    assert_eq!((parsed.after(), parsed.max_keys), (Some(prefix("k/")), 0));
    let parsed = ListObjectsParams::parse_v2(&query("start-after=a&continuation-token=")).unwrap();
    assert_eq!(parsed.after(), Some(key("a")));
    assert_eq!(ListObjectsParams::parse_v2(&query("start-after=")).unwrap().after(), None);
}

#[test]
fn wrong_values_are_refused() {
    let changed = {
        let mut token = make_token(&key("key")).into_bytes();
        let last = token.last_mut().unwrap();
        *last = if *last == b'A' { b'B' } else { b'A' };
        String::from_utf8(token).unwrap()
    };
    let refused = |raw: String| {
        let error = ListObjectsParams::parse_v2(&query(&raw)).unwrap_err();
        assert_eq!(error.code, S3ErrorCode::InvalidArgument, "{raw}");
    };
    for raw in [
        "max-keys=x",
        "max-keys=-1",
        "max-keys=2147483648",
        "max-keys=1.5",
        "encoding-type=base64",
        "continuation-token=garbage",
        "continuation-token=%00",
    ] {
        refused(raw.to_owned());
    }
    refused(format!("continuation-token={changed}"));
    assert!(ListObjectsParams::parse_v2(&query("max-keys=2147483647")).is_ok());
}

#[test]
fn uploads_parts_and_buckets_are_read() {
    let id = UploadId([7; 16]);
    let parsed =
        ListUploadsParams::parse(&query(&format!("key-marker=k&upload-id-marker={id}&max-uploads=3")));
    let parsed = parsed.unwrap();
    assert_eq!((parsed.key_marker.as_deref(), parsed.upload_id_marker), (Some("k"), Some(id)));
    assert_eq!(parsed.max_uploads, 3);
    assert_eq!(parsed.after(), Some(UploadMarker::Upload("k".into(), id)));
    let after = |raw| ListUploadsParams::parse(&query(raw)).unwrap().after();
    assert_eq!(after("key-marker=k"), Some(UploadMarker::Key("k".into())));
    assert_eq!(after("key-marker=k/&delimiter=/"), Some(UploadMarker::Prefix("k/".into())));
    assert_eq!(ListUploadsParams::parse(&query("upload-id-marker=x")).unwrap().upload_id_marker, None);
    assert!(ListUploadsParams::parse(&query("key-marker=k&upload-id-marker=x")).is_err());
    let parts = ListPartsParams { part_number_marker: 5, max_parts: 1000, url_encoding: false };
    assert_eq!(ListPartsParams::parse(&query("part-number-marker=5")), Ok(parts));
    let raw = format!("prefix=p&max-buckets=7&continuation-token={}&bucket-region=eu", make_token(&key("b")));
    let buckets = ListBucketsParams {
        prefix: Some("p".into()),
        region: Some("eu".into()),
        after: Some("b".into()),
        max_buckets: 7,
    };
    assert_eq!(ListBucketsParams::parse(&query(&raw)), Ok(buckets));
    for raw in ["max-buckets=0", "max-buckets=10001", "continuation-token=x"] {
        assert!(ListBucketsParams::parse(&query(raw)).is_err(), "{raw}");
    }
}

#[test]
fn keys_are_encoded_as_s3_encodes_them() {
    assert_eq!(encode_key("a b+c/d\u{1}*ä~", true), "a%20b%2Bc/d%01%2A%C3%A4~");
    assert_eq!(encode_key("a b", false), "a b");
}

proptest! {
    #[test]
    fn a_token_is_read_back_and_nothing_else_is(
        after in ".{0,40}".prop_flat_map(|text| prop_oneof![Just(key(&text)), Just(prefix(&text))]),
        garbage in "[A-Za-z0-9_-]{0,40}",
    ) {
        prop_assert_eq!(parse_token(&make_token(&after)), Ok(after));
        prop_assert!(parse_token(&garbage).is_err());
    }

    #[test]
    fn an_encoded_key_is_decoded_to_itself(key in ".{0,40}") {
        let encoded = encode_key(&key, true).into_owned();
        let decoded = percent_encoding::percent_decode_str(&encoded).decode_utf8().unwrap();
        prop_assert_eq!(decoded, key);
    }
}

#[test]
fn a_version_marker_belongs_to_a_key_marker() {
    let parse = |raw: &str| ListVersionsParams::parse(&query(raw));
    let after = |raw: &str| parse(raw).unwrap().after();
    let id = VersionId([7; 16]);
    let raw = format!("key-marker=k&version-id-marker={id}&max-keys=0");
    let marked = parse(&raw).unwrap();
    let k = ObjectKey::parse("k").unwrap();
    assert_eq!(marked.after(), Some(VersionMarker::Version(k.clone(), VersionRef::Id(id))));
    assert_eq!(marked.max_keys, 0);
    assert_eq!(
        after("key-marker=k&version-id-marker=null"),
        Some(VersionMarker::Version(k, VersionRef::Null))
    );
    assert_eq!(after("key-marker=k"), Some(VersionMarker::Key("k".into())));
    assert_eq!(after("key-marker=k/&delimiter=/"), Some(VersionMarker::Prefix("k/".into())));
    assert_eq!(after("key-marker="), None);
    for raw in [
        "version-id-marker=null",
        "key-marker=&version-id-marker=null",
        "key-marker=k&version-id-marker=",
        "key-marker=k&version-id-marker=x",
        "max-keys=-1",
        "encoding-type=x",
    ] {
        assert_eq!(parse(raw).unwrap_err().code, S3ErrorCode::InvalidArgument, "{raw}");
    }
}
