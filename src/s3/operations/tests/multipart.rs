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
