//! Copies, reads by part and attributes, through the whole door.

use super::{Door, MIB, Reply, md5_hex, pattern};
use crate::engine::Command;
use crate::engine::command::SetVersioning;
use siltstone_log::event::{Actor, Content, Versioning};
use siltstone_log::name::{BucketName, ObjectKey};
use siltstone_projections::objects;
use siltstone_projections::rows::ObjectRow;
use std::fmt::Write as _;

const COPY_SOURCE: &str = "x-amz-copy-source";
const PART: usize = 5 * MIB + 3;

async fn door() -> Door {
    let door = Door::open();
    door.put("/bkt", "").await.expect(200);
    door.put("/other", "").await.expect(200);
    door
}

pub(super) async fn copy(door: &Door, source: &str, target: &str, headers: &[(&str, &str)]) -> Reply {
    let mut all = vec![(COPY_SOURCE, source)];
    all.extend_from_slice(headers);
    door.send("PUT", target, &all, "").await
}

pub(super) fn row(door: &Door, bucket: &str, key: &str) -> ObjectRow {
    let view = door.engine.view();
    let (found, _) = view.bucket(&BucketName::parse(bucket).unwrap()).unwrap().unwrap();
    objects::current(&view, found.stream, &ObjectKey::parse(key).unwrap()).unwrap().unwrap()
}

async fn keep_versions(door: &Door, bucket: &str) {
    let (found, _) = door.engine.view().bucket(&BucketName::parse(bucket).unwrap()).unwrap().unwrap();
    let action = SetVersioning { stream: found.stream, versioning: Versioning::Enabled };
    let actor = Actor::server(siltstone_log::event::Door::S3);
    door.engine.submit(Command::new(actor, action, door.engine.entropy())).await.unwrap();
}

/// The CRC-32 of these bytes, as headers carry it.
pub(super) fn crc32(bytes: &[u8]) -> String {
    let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32IsoHdlc, bytes);
    let crc = u32::try_from(crc).unwrap().to_be_bytes();
    base64::Engine::encode(&base64::engine::general_purpose::STANDARD, crc)
}

/// Adds a part to those that a completion names.
fn name_part(named: &mut String, number: u16, etag: &str, crc: &str) {
    let checksum = format!("<ChecksumCRC32>{crc}</ChecksumCRC32>");
    write!(named, "<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag>{checksum}</Part>").unwrap();
}

/// Uploads an object of two parts, with the numbers 2 and 7, and CRC-32s.
async fn upload(door: &Door, target: &str, kind: &str) -> Vec<u8> {
    let headers = [("x-amz-checksum-algorithm", "CRC32"), ("x-amz-checksum-type", kind)];
    let created = door.send("POST", &format!("{target}?uploads="), &headers, "").await.expect(200);
    let id = created.one("UploadId");
    let bytes = pattern(PART + 1000);
    let mut named = String::new();
    for (number, part) in [(2, &bytes[..PART]), (7, &bytes[PART..])] {
        let (crc, target) = (crc32(part), format!("{target}?partNumber={number}&uploadId={id}"));
        let part = door.send("PUT", &target, &[("x-amz-checksum-crc32", &crc)], part.to_vec()).await;
        let part = part.expect(200);
        name_part(&mut named, number, part.header("etag"), &crc);
    }
    let body = format!("<CompleteMultipartUpload>{named}</CompleteMultipartUpload>");
    door.send("POST", &format!("{target}?uploadId={id}"), &[], body).await.expect(200);
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_has_the_bytes_and_the_description_of_its_source() {
    let door = door().await;
    for size in [0, 1, 64 * 1024, 64 * 1024 + 1, 5 * MIB + 17] {
        let bytes = pattern(size);
        let headers = [
            ("content-type", "text/plain"),
            ("x-amz-meta-m", "1"),
            ("x-amz-tagging", "a=b"),
            ("x-amz-checksum-algorithm", "SHA1"),
        ];
        door.send("PUT", "/bkt/source", &headers, bytes.clone()).await.expect(200);
        for target in ["/bkt/copy", "/other/copy"] {
            let copied = copy(&door, "/bkt/source", target, &[]).await.expect(200);
            let etag = format!("&quot;{}&quot;", md5_hex(&bytes));
            assert_eq!(copied.one("ETag"), etag);
            assert_eq!(copied.one("ChecksumType"), "FULL_OBJECT");
            assert_eq!(copied.all("ChecksumCRC64NVME").len(), 1);
            let got = door.send("GET", target, &[("x-amz-checksum-mode", "ENABLED")], "").await.expect(200);
            assert!(got.body == bytes, "{size} bytes in {target}");
            assert_eq!((got.header("content-type"), got.header("x-amz-meta-m")), ("text/plain", "1"));
            assert_eq!(got.header("x-amz-tagging-count"), "1");
            assert_eq!(got.header("x-amz-checksum-crc64nvme"), copied.one("ChecksumCRC64NVME"));
        }
        let from = row(&door, "bkt", "copy");
        let shares = from.content == row(&door, "bkt", "source").content;
        assert_eq!(shares && from.content != Content::Inline, size == 0 || size > 64 * 1024, "{size} bytes");
        assert!(
            size == 0
                || from.content == Content::Inline
                || row(&door, "other", "copy").content != from.content
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn directives_replace_metadata_and_tags() {
    let door = door().await;
    let headers = [("content-type", "text/plain"), ("x-amz-meta-m", "1"), ("x-amz-tagging", "a=b&c=d")];
    door.send("PUT", "/bkt/source", &headers, "x").await.expect(200);
    let replaced = [
        ("x-amz-metadata-directive", "REPLACE"),
        ("x-amz-tagging-directive", "REPLACE"),
        ("x-amz-tagging", "e=f"),
        ("x-amz-meta-n", "2"),
    ];
    copy(&door, "bkt/source", "/bkt/copy", &replaced).await.expect(200);
    let got = door.get("/bkt/copy").await.expect(200);
    assert_eq!((got.header("x-amz-meta-m"), got.header("x-amz-meta-n")), ("", "2"));
    assert_eq!((got.header("content-type"), got.header("x-amz-tagging-count")), ("binary/octet-stream", "1"));
    copy(&door, "bkt/source", "/bkt/source", &replaced).await.expect(200);
    assert_eq!(door.get("/bkt/source").await.expect(200).header("x-amz-meta-n"), "2");
    for (header, value) in [("x-amz-metadata-directive", "replace"), ("x-amz-tagging-directive", "X")] {
        copy(&door, "bkt/source", "/bkt/copy", &[(header, value)]).await.refused(400, "InvalidArgument");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_that_cannot_be_made_are_refused() {
    let door = door().await;
    door.put("/bkt/k", "x").await.expect(200);
    door.put("/bkt/there", "x").await.expect(200);
    for (source, status, code) in [
        ("bkt/none", 404, "NoSuchKey"),
        ("nobucket/k", 404, "NoSuchBucket"),
        ("bkt", 400, "InvalidArgument"),
        ("bkt/%zz", 400, "InvalidArgument"),
        ("bkt/k?versionId=nonsense", 400, "InvalidArgument"),
        ("bkt/k?versionId=0123456789abcdef0123456789abcdef", 404, "NoSuchVersion"),
        ("arn:aws:s3:us-east-1:1:accesspoint/a/object/k", 501, "NotImplemented"),
    ] {
        copy(&door, source, "/bkt/copy", &[]).await.refused(status, code);
    }
    copy(&door, "bkt/k", "/nobucket/copy", &[]).await.refused(404, "NoSuchBucket");
    copy(&door, "bkt/k", "/bkt/k", &[]).await.refused(400, "InvalidRequest");
    copy(&door, "bkt/k?versionId=null", "/bkt/k", &[]).await.refused(400, "InvalidRequest");
    let old = "Mon, 12 Oct 2009 17:50:30 GMT";
    for (header, value, status, code) in [
        ("x-amz-copy-source-if-match", "\"x\"", 412, "PreconditionFailed"),
        ("x-amz-copy-source-if-none-match", "*", 412, "PreconditionFailed"),
        ("x-amz-copy-source-if-unmodified-since", old, 412, "PreconditionFailed"),
        ("x-amz-copy-source-range", "bytes=0-0", 501, "NotImplemented"),
        ("x-amz-copy-source-server-side-encryption-customer-algorithm", "AES256", 400, "InvalidRequest"),
        ("x-amz-checksum-algorithm", "MD4", 400, "InvalidRequest"),
        ("x-amz-source-expected-bucket-owner", "nobody", 403, "AccessDenied"),
        ("x-amz-storage-class", "COLD", 400, "InvalidStorageClass"),
        ("if-match", "\"x\"", 404, "NoSuchKey"),
    ] {
        copy(&door, "bkt/k", "/bkt/copy", &[(header, value)]).await.refused(status, code);
    }
    copy(&door, "bkt/k", "/bkt/there", &[("if-none-match", "*")]).await.refused(412, "PreconditionFailed");
    door.get("/bkt/copy").await.refused(404, "NoSuchKey");
    door.send("PUT", "/bkt/copy", &[("x-amz-write-offset-bytes", "0")], "x")
        .await
        .refused(501, "NotImplemented");
    let rename = [("x-amz-rename-source", "/bkt/k")];
    door.send("PUT", "/bkt/copy?renameObject=", &rename, "").await.refused(501, "NotImplemented");
    door.get("/bkt/copy").await.refused(404, "NoSuchKey");
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_are_copied_and_named() {
    let door = door().await;
    keep_versions(&door, "bkt").await;
    let first = door.put("/bkt/k", "first").await.expect(200);
    let first = first.header("x-amz-version-id");
    let second = door.put("/bkt/k", "second").await.expect(200);
    let copied = copy(&door, "bkt/k", "/other/copy", &[]).await.expect(200);
    assert_eq!(copied.header("x-amz-copy-source-version-id"), second.header("x-amz-version-id"));
    assert_eq!(copied.header("x-amz-version-id"), "");
    let restored = copy(&door, &format!("bkt/k?versionId={first}"), "/bkt/k", &[]).await.expect(200);
    assert_eq!(restored.header("x-amz-copy-source-version-id"), first);
    assert!(![first, second.header("x-amz-version-id"), ""].contains(&restored.header("x-amz-version-id")));
    assert_eq!(door.get("/bkt/k").await.expect(200).body, "first");
    let deleted = door.delete("/bkt/k").await.expect(204);
    let marker = format!("bkt/k?versionId={}", deleted.header("x-amz-version-id"));
    copy(&door, &marker, "/other/copy", &[]).await.refused(400, "InvalidRequest");
    copy(&door, "bkt/k", "/other/copy", &[]).await.refused(404, "NoSuchKey");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copied_upload_shares_its_bytes_and_has_an_md5_and_full_checksums_of_its_own() {
    let door = door().await;
    let bytes = upload(&door, "/bkt/big", "COMPOSITE").await;
    for target in ["/bkt/copy", "/other/copy"] {
        let copied = copy(&door, "bkt/big", target, &[]).await.expect(200);
        assert_eq!(copied.one("ETag"), format!("&quot;{}&quot;", md5_hex(&bytes)));
        assert_eq!(copied.one("ChecksumType"), "FULL_OBJECT");
        assert_eq!(copied.one("ChecksumCRC32"), crc32(&bytes), "{target}");
        assert!(door.get(target).await.expect(200).body == bytes, "{target}");
    }
    assert_eq!(row(&door, "bkt", "copy").content, row(&door, "bkt", "big").content);
    let copied =
        copy(&door, "bkt/big", "/bkt/sha", &[("x-amz-checksum-algorithm", "SHA256")]).await.expect(200);
    assert_eq!((copied.all("ChecksumSHA256").len(), copied.all("ChecksumCRC32").len()), (1, 0));
    door.delete("/bkt/big").await.expect(204);
    assert!(door.get("/bkt/copy").await.expect(200).body == bytes, "it outlives its source");
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_are_copied_from_ranges_and_whole_objects() {
    let door = door().await;
    let bytes = upload(&door, "/bkt/big", "FULL_OBJECT").await;
    door.put("/bkt/small", "small").await.expect(200);
    let created = door.send("POST", "/bkt/new?uploads=", &[("x-amz-checksum-algorithm", "CRC32")], "").await;
    let id = created.expect(200).one("UploadId").to_owned();
    let target = |number| format!("/bkt/new?partNumber={number}&uploadId={id}");
    let range = [("x-amz-copy-source-range", "bytes=100-5243300")];
    let sources = [
        ("bkt/big", &range[..], &bytes[100..5_243_301]),
        ("bkt/big", &[], &bytes),
        ("bkt/small", &[], b"small"),
    ];
    let (mut expected, mut named) = (Vec::new(), String::new());
    for (number, (source, headers, part)) in (1..).zip(sources) {
        let copied = copy(&door, source, &target(number), headers).await.expect(200);
        let etag = md5_hex(part);
        assert_eq!(copied.one("ETag"), format!("&quot;{etag}&quot;"));
        assert_eq!(copied.one("ChecksumCRC32"), crc32(part));
        name_part(&mut named, number, &etag, copied.one("ChecksumCRC32"));
        expected.extend_from_slice(part);
    }
    for (source, headers, status, code) in [
        ("bkt/small", [("x-amz-copy-source-range", "bytes=0-5")], 400, "InvalidArgument"),
        ("bkt/small", [("x-amz-copy-source-range", "bytes=0-")], 400, "InvalidArgument"),
        ("bkt/none", [("x-amz-copy-source-range", "bytes=0-1")], 404, "NoSuchKey"),
        ("bkt/small", [("x-amz-copy-source-if-match", "x")], 412, "PreconditionFailed"),
    ] {
        copy(&door, source, &target(4), &headers).await.refused(status, code);
    }
    copy(&door, "bkt/small", &target(0), &[]).await.refused(400, "InvalidArgument");
    let elsewhere = format!("/bkt/another?partNumber=1&uploadId={id}");
    copy(&door, "bkt/small", &elsewhere, &[]).await.refused(404, "NoSuchUpload");
    let body = format!("<CompleteMultipartUpload>{named}</CompleteMultipartUpload>");
    door.send("POST", &format!("/bkt/new?uploadId={id}"), &[], body).await.expect(200);
    door.delete("/bkt/big").await.expect(204);
    assert!(door.get("/bkt/new").await.expect(200).body == expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_is_read_by_its_number_with_its_own_checksum() {
    let door = door().await;
    let bytes = upload(&door, "/bkt/big", "COMPOSITE").await;
    let size = bytes.len();
    let checked = [("x-amz-checksum-mode", "ENABLED")];
    for (number, first, last) in [(2, 0, PART), (7, PART, size)] {
        let target = format!("/bkt/big?partNumber={number}");
        for method in ["GET", "HEAD"] {
            let got = door.send(method, &target, &checked, "").await.expect(206);
            assert_eq!(got.header("content-range"), format!("bytes {first}-{}/{size}", last - 1));
            assert_eq!(got.header("x-amz-mp-parts-count"), "2");
            let crc = got.header("x-amz-checksum-crc32");
            assert!(crc.len() == 8 && got.header("x-amz-checksum-type") == "COMPOSITE", "{crc}");
            assert!(method == "HEAD" || got.body == bytes[first..last]);
        }
        assert_eq!(door.get(&target).await.expect(206).header("x-amz-checksum-crc32"), "");
    }
    door.get("/bkt/big?partNumber=1").await.refused(416, "InvalidPartNumber");
    door.get("/bkt/big?partNumber=0").await.refused(400, "InvalidArgument");
    door.send("GET", "/bkt/big?partNumber=2", &[("range", "bytes=0-1")], "")
        .await
        .refused(400, "InvalidRequest");
    door.put("/bkt/plain", "plain").await.expect(200);
    let plain = door.get("/bkt/plain?partNumber=1").await.expect(206);
    assert_eq!((&plain.body[..], plain.header("x-amz-mp-parts-count")), (&b"plain"[..], ""));
    assert_eq!(plain.header("content-range"), "bytes 0-4/5");
    door.get("/bkt/plain?partNumber=2").await.refused(416, "InvalidPartNumber");
    door.put("/bkt/empty", "").await.expect(200);
    assert_eq!(door.get("/bkt/empty?partNumber=1").await.expect(200).body, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn attributes_are_those_asked_for_and_parts_come_in_pages() {
    let door = door().await;
    let bytes = upload(&door, "/bkt/big", "COMPOSITE").await;
    let all = ("x-amz-object-attributes", "ETag,Checksum,ObjectParts,StorageClass,ObjectSize");
    let answer = door.send("GET", "/bkt/big?attributes=", &[all], "").await.expect(200);
    assert!(answer.one("ETag").ends_with("-2") && !answer.one("ETag").contains("quot"));
    assert_eq!(answer.one("ObjectSize"), bytes.len().to_string());
    assert_eq!((answer.one("PartsCount"), answer.one("StorageClass")), ("2", "STANDARD"));
    assert_eq!((answer.all("PartNumber"), answer.one("IsTruncated")), (vec!["2", "7"], "false"));
    assert_eq!(answer.all("ChecksumCRC32").len(), 3);
    assert!(answer.one("Checksum").contains("-2</ChecksumCRC32>"));
    assert!(!answer.header("last-modified").is_empty());
    let page = [all, ("x-amz-max-parts", "1")];
    let first = door.send("GET", "/bkt/big?attributes=", &page, "").await.expect(200);
    assert_eq!((first.all("PartNumber"), first.one("IsTruncated")), (vec!["2"], "true"));
    let page = [all, ("x-amz-part-number-marker", first.one("NextPartNumberMarker"))];
    let second = door.send("GET", "/bkt/big?attributes=", &page, "").await.expect(200);
    assert_eq!((second.all("PartNumber"), second.one("IsTruncated")), (vec!["7"], "false"));
    door.put("/bkt/plain", "plain").await.expect(200);
    let plain = door.send("GET", "/bkt/plain?attributes=", &[all], "").await.expect(200);
    assert_eq!((plain.all("ObjectParts").len(), plain.one("ObjectSize")), (0, "5"));
    for (headers, status, code) in [
        (&[][..], 400, "InvalidRequest"),
        (&[("x-amz-object-attributes", "Colour")], 400, "InvalidArgument"),
        (&[all, ("x-amz-max-parts", "-1")], 400, "InvalidArgument"),
        (&[all, ("x-amz-part-number-marker", "x")], 400, "InvalidArgument"),
    ] {
        door.send("GET", "/bkt/plain?attributes=", headers, "").await.refused(status, code);
    }
    door.send("GET", "/bkt/none?attributes=", &[all], "").await.refused(404, "NoSuchKey");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_onto_itself_needs_a_change_and_a_named_storage_class_is_one() {
    let door = door().await;
    door.put("/bkt/k", "x").await.expect(200);
    copy(&door, "/bkt/k", "/bkt/k", &[]).await.refused(400, "InvalidRequest");
    copy(&door, "/bkt/k", "/bkt/k", &[("x-amz-storage-class", "STANDARD")]).await.expect(200);
    copy(&door, "/bkt/k", "/bkt/k", &[("x-amz-storage-class", "GLACIER")])
        .await
        .refused(400, "InvalidStorageClass");
    assert_eq!(door.get("/bkt/k").await.expect(200).text(), "x");
}
