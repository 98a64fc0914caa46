//! Multipart uploads through the door.

use super::{Door, MIB, Reply, pattern};
use base64::Engine as _;
use std::fmt::Write as _;

/// Uploads parts to a key and completes them.
async fn upload(door: &Door, target: &str, host: &str, parts: &[Vec<u8>]) -> Reply {
    let id = door.send("POST", &format!("{target}?uploads="), &[("host", host)], "").await.expect(200);
    let id = id.one("UploadId").to_owned();
    let mut named = String::new();
    for (number, bytes) in (1..).zip(parts) {
        let part = format!("{target}?partNumber={number}&uploadId={id}");
        let part = door.send("PUT", &part, &[("host", host)], bytes.clone()).await.expect(200);
        let etag = part.header("etag");
        write!(named, "<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>").unwrap();
    }
    let body = format!("<CompleteMultipartUpload>{named}</CompleteMultipartUpload>");
    door.send("POST", &format!("{target}?uploadId={id}"), &[("host", host)], body).await.expect(200)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_asks_for_no_checksum_has_the_one_of_all_its_bytes() {
    let door = Door::open();
    door.put("/bkt", "").await.expect(200);
    let parts = [pattern(5 * MIB), pattern(1000)];
    let done = upload(&door, "/bkt/k", "s3.test", &parts).await;
    let whole = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, &parts.concat());
    let whole = base64::engine::general_purpose::STANDARD.encode(whole.to_be_bytes());
    assert_eq!((done.one("ChecksumCRC64NVME"), done.one("ChecksumType")), (whole.as_str(), "FULL_OBJECT"));
    let head = door.send("HEAD", "/bkt/k", &[("x-amz-checksum-mode", "ENABLED")], "").await.expect(200);
    let shown = (head.header("x-amz-checksum-crc64nvme"), head.header("x-amz-checksum-type"));
    assert_eq!(shown, (whole.as_str(), "FULL_OBJECT"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finished_upload_says_where_it_is_in_the_style_that_it_was_sent_in() {
    let door = Door::open();
    door.put("/bkt", "").await.expect(200);
    let parts = [pattern(10)];
    let path_style = upload(&door, "/bkt/a%20b", "s3.test", &parts).await;
    assert_eq!(path_style.one("Location"), "https://s3.test/bkt/a%20b");
    let host_style = upload(&door, "/a%20b", "bkt.s3.test:8443", &parts).await;
    assert_eq!(host_style.one("Location"), "https://bkt.s3.test:8443/a%20b");
}

/// What a completion says of its only part.
fn one_part(etag: &str, checksum: &str) -> String {
    let part = format!("<PartNumber>1</PartNumber><ETag>{etag}</ETag>{checksum}");
    format!("<CompleteMultipartUpload><Part>{part}</Part></CompleteMultipartUpload>")
}

/// Measured on S3 (floci-io/floci, pull request 3093, scenarios 22 and 23).
#[tokio::test(flavor = "multi_thread")]
async fn a_composite_upload_is_told_the_checksum_of_each_part_twice() {
    let door = Door::open();
    door.put("/bkt", "").await.expect(200);
    let asked = [("x-amz-checksum-algorithm", "CRC32")];
    let id = door.send("POST", "/bkt/k?uploads=", &asked, "").await.expect(200);
    let id = id.one("UploadId").to_owned();
    let part = format!("/bkt/k?partNumber=1&uploadId={id}");
    let refused = door.put(&part, "hello").await.refused(400, "InvalidRequest");
    let message =
        "Checksum Type mismatch occurred, expected checksum Type: crc32, actual checksum Type: null";
    assert_eq!(refused.one("Message"), message);
    let listed = door.get(&format!("/bkt/k?uploadId={id}")).await.expect(200);
    assert!(listed.all("PartNumber").is_empty(), "a refusal stores nothing");
    let given = [("x-amz-checksum-crc32", "NhCmhg==")];
    let etag = door.send("PUT", &part, &given, "hello").await.expect(200).header("etag").to_owned();
    let complete = format!("/bkt/k?uploadId={id}");
    let refused = door.send("POST", &complete, &[], one_part(&etag, "")).await;
    let message = "The upload was created using a crc32 checksum. The complete request must include the \
                   checksum for each part. It was missing for part 1 in the request.";
    assert_eq!(refused.refused(400, "InvalidRequest").one("Message"), message);
    let wrong = one_part(&etag, "<ChecksumCRC32>AAAAAA==</ChecksumCRC32>");
    door.send("POST", &complete, &[], wrong).await.refused(400, "InvalidPart");
    let right = one_part(&etag, "<ChecksumCRC32>NhCmhg==</ChecksumCRC32>");
    let done = door.send("POST", &complete, &[], right).await.expect(200);
    assert_eq!(done.one("ChecksumType"), "COMPOSITE");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checksum_over_the_whole_object_needs_none_of_its_parts() {
    let door = Door::open();
    door.put("/bkt", "").await.expect(200);
    let asked = [("x-amz-checksum-algorithm", "CRC32"), ("x-amz-checksum-type", "FULL_OBJECT")];
    let id = door.send("POST", "/bkt/k?uploads=", &asked, "").await.expect(200);
    let id = id.one("UploadId").to_owned();
    let part = door.put(&format!("/bkt/k?partNumber=1&uploadId={id}"), "hello").await.expect(200);
    let body = one_part(part.header("etag"), "");
    let done = door.send("POST", &format!("/bkt/k?uploadId={id}"), &[], body).await.expect(200);
    assert_eq!((done.one("ChecksumCRC32"), done.one("ChecksumType")), ("NhCmhg==", "FULL_OBJECT"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_with_copied_parts_has_the_checksum_that_every_object_has() {
    let door = Door::open();
    door.put("/bkt", "").await.expect(200);
    let source = pattern(6 * MIB);
    // Its own checksum is another one, so that nothing is known of the bytes that are shared.
    let sha =
        base64::engine::general_purpose::STANDARD.encode(<sha2::Sha256 as sha2::Digest>::digest(&source));
    door.send("PUT", "/bkt/source", &[("x-amz-checksum-sha256", &sha)], source.clone()).await.expect(200);
    let id = door.send("POST", "/bkt/k?uploads=", &[], "").await.expect(200).one("UploadId").to_owned();
    let part = |number| format!("/bkt/k?partNumber={number}&uploadId={id}");
    let copy = [("x-amz-copy-source", "/bkt/source")];
    let whole = door.send("PUT", &part(1), &copy, "").await.expect(200).one("ETag").to_owned();
    let range = [copy[0], ("x-amz-copy-source-range", "bytes=10-99")];
    let piece = door.send("PUT", &part(2), &range, "").await.expect(200).one("ETag").to_owned();
    let named = [(1, whole), (2, piece)]
        .map(|(number, etag)| format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"));
    let body = format!("<CompleteMultipartUpload>{}</CompleteMultipartUpload>", named.concat());
    let done = door.send("POST", &format!("/bkt/k?uploadId={id}"), &[], body).await.expect(200);
    let bytes = [&source[..], &source[10..100]].concat();
    let whole = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, &bytes);
    let whole = base64::engine::general_purpose::STANDARD.encode(whole.to_be_bytes());
    assert_eq!((done.one("ChecksumCRC64NVME"), done.one("ChecksumType")), (whole.as_str(), "FULL_OBJECT"));
}
