//! The whole door over a real engine in a temporary folder: signed requests in, answers out, no socket.

mod copies;

use super::Operations;
use crate::auth::{Authenticator, Identity};
use crate::engine::{Command, Engine, EngineConfig, EngineError, Need, ROOT_ACCOUNT, ROOT_USER, Rejection};
use crate::s3::domains::Domains;
use crate::s3::sigv4::Scope;
use crate::s3::testing::{CountingEntropy, Recorder, Signer, clock, keys};
use crate::s3::{S3State, handle};
use base64::Engine as _;
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use md5::{Digest as _, Md5};
use siltstone_log::pack::PackConfig;
use siltstone_log::writer::WriterConfig;
use std::sync::Arc;
use tempfile::TempDir;

mod listing;
mod multipart;
mod reading;
mod tags;
mod versions;

const MIB: usize = 1 << 20;
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

struct Door {
    state: Arc<S3State>,
    engine: Engine,
    _dir: TempDir,
}

impl Drop for Door {
    fn drop(&mut self) {
        self.engine.shutdown();
    }
}

struct Reply {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
}

impl Reply {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The text of every element of this name.
    fn all(&self, name: &str) -> Vec<&str> {
        let (open, close) = (format!("<{name}>"), format!("</{name}>"));
        let pieces = self.text().split(open.as_str()).skip(1);
        pieces.map(|piece| piece.split_once(close.as_str()).unwrap().0).collect()
    }

    fn one(&self, name: &str) -> &str {
        let all = self.all(name);
        assert_eq!(all.len(), 1, "{name} in {}", self.text());
        all[0]
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    #[track_caller]
    fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        self
    }

    #[track_caller]
    fn refused(self, status: u16, code: &str) -> Self {
        let reply = self.expect(status);
        assert_eq!(reply.one("Code"), code);
        reply
    }
}

impl Door {
    fn open() -> Self {
        Self::with(|_| {})
    }

    fn with(configure: impl FnOnce(&mut EngineConfig)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = EngineConfig::new(dir.path());
        config.writer = WriterConfig { segment_bytes: 4 << 20, ..config.writer };
        config.packs = PackConfig { pack_bytes: 16 << 20, ..config.packs };
        config.limits.free_floor = 0;
        configure(&mut config);
        let engine = Engine::open(config).unwrap();
        let root = Identity { account: ROOT_ACCOUNT, user: ROOT_USER.into(), root: true, policies: vec![] };
        let state = S3State {
            authenticator: Authenticator::new(Arc::new(keys(root)), clock(), Scope::s3("us-east-1")),
            handler: Arc::new(Operations::new(engine.clone(), "us-east-1")),
            observer: Arc::new(Recorder::default()),
            clock: clock(),
            entropy: Arc::new(CountingEntropy::default()),
            domains: Domains::new(vec!["s3.test".to_owned()]),
            scheme: "https",
        };
        Self { state: Arc::new(state), engine, _dir: dir }
    }

    async fn send(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Reply {
        self.send_hashed(method, target, headers, body, UNSIGNED).await
    }

    async fn send_hashed(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
        hash: &str,
    ) -> Reply {
        let body = body.into();
        let length = body.len().to_string();
        let mut headers = headers.to_vec();
        headers.push(("content-length", &length));
        let head = Signer::default().signed(method, target, hash, &headers);
        let mut request = Request::new(());
        *request.method_mut() = head.method;
        *request.uri_mut() = target.parse().unwrap();
        *request.headers_mut() = head.headers;
        let (parts, ()) = request.into_parts();
        let source = Full::new(body).map_err(|never| match never {}).boxed_unsync();
        let (parts, body) = handle(&self.state, parts, source, head.address).await.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Reply { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    async fn get(&self, target: &str) -> Reply {
        self.send("GET", target, &[], "").await
    }

    async fn put(&self, target: &str, body: impl Into<Bytes>) -> Reply {
        self.send("PUT", target, &[], body).await
    }

    async fn delete(&self, target: &str) -> Reply {
        self.send("DELETE", target, &[], "").await
    }
}

/// Bytes that repeat nowhere nearby, so that a piece in the wrong place shows.
fn pattern(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let step = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..len).map(step).collect()
}

fn md5_hex(bytes: &[u8]) -> String {
    crate::hex::hex(&Md5::digest(bytes))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_lives_from_its_creation_to_its_deletion() {
    let door = Door::open();
    door.send("HEAD", "/bkt", &[], "").await.expect(404);
    let created = door.put("/bkt", "").await.expect(200);
    assert_eq!(created.header("location"), "/bkt");
    door.put("/bkt", "").await.refused(409, "BucketAlreadyOwnedByYou");
    assert_eq!(
        door.send("HEAD", "/bkt", &[], "").await.expect(200).header("x-amz-bucket-region"),
        "us-east-1"
    );
    assert!(door.get("/bkt?location=").await.expect(200).text().ends_with("></LocationConstraint>"));
    let elsewhere = "<CreateBucketConfiguration><LocationConstraint>eu-west-1</LocationConstraint>\
                     </CreateBucketConfiguration>";
    door.put("/other", elsewhere).await.refused(400, "IllegalLocationConstraintException");
    door.put("/other", "<Nonsense/>").await.refused(400, "MalformedXML");
    door.put("/other", "").await.expect(200);
    assert_eq!(door.get("/").await.expect(200).all("Name"), ["bkt", "other"]);
    let page = door.get("/?max-buckets=1").await.expect(200);
    assert_eq!(page.all("Name"), ["bkt"]);
    let next =
        door.get(&format!("/?continuation-token={}&max-buckets=1", page.one("ContinuationToken"))).await;
    assert_eq!(next.expect(200).all("Name"), ["other"]);
    door.put("/bkt/key", "x").await.expect(200);
    door.delete("/bkt").await.refused(409, "BucketNotEmpty");
    door.delete("/bkt/key").await.expect(204);
    door.delete("/bkt").await.expect(204);
    door.get("/bkt").await.refused(404, "NoSuchBucket");
    door.put("/bkt/key", "x").await.refused(404, "NoSuchBucket");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_made_anew_is_another_one_for_who_was_authorised_for_the_old() {
    let door = Door::open();
    door.put("/bkt", "").await.expect(200);
    let name = siltstone_log::name::BucketName::parse("bkt").unwrap();
    let found = door.state.handler.find_bucket(&name).await.unwrap().unwrap();
    assert_eq!(door.state.handler.find_bucket(&name).await.unwrap(), Some(found.clone()), "remembered");
    door.delete("/bkt").await.expect(204);
    assert_eq!(door.state.handler.find_bucket(&name).await.unwrap(), None, "and forgotten");
    door.put("/bkt", "").await.expect(200);
    door.put("/bkt/key", "new").await.expect(200);
    let again = door.state.handler.find_bucket(&name).await.unwrap().unwrap();
    assert_ne!(again.stream, found.stream);
    let actor = siltstone_log::event::Actor::server(siltstone_log::event::Door::S3);
    let delete = crate::engine::command::DeleteObject {
        stream: found.stream,
        deletion: crate::engine::command::KeyDeletion {
            key: siltstone_log::name::ObjectKey::parse("key").unwrap(),
            version: None,
            marker: siltstone_log::id::VersionId::default(),
            conditions: crate::engine::command::Conditions::default(),
        },
    };
    let late = door.engine.submit(Command::new(actor, delete, door.engine.entropy())).await;
    assert_eq!(late.map(drop), Err(EngineError::Rejected(Rejection::NoSuchBucket)));
    assert_eq!(door.get("/bkt/key").await.expect(200).body, "new");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_nobody_asked_for_is_what_was_signed_or_nothing_happens() {
    let door = Door::open();
    door.put("/bkt", "").await.expect(200);
    door.put("/bkt/key", "x").await.expect(200);
    let wrong = crate::s3::testing::sha256_hex(b"another body");
    door.send_hashed("DELETE", "/bkt/key", &[], "a body", &wrong)
        .await
        .refused(400, "XAmzContentSHA256Mismatch");
    door.get("/bkt/key").await.expect(200);
    let large = vec![b'x'; 65 * 1024];
    door.send("DELETE", "/bkt/key", &[], large).await.refused(400, "MaxMessageLengthExceeded");
    let right = crate::s3::testing::sha256_hex(b"a body");
    door.send_hashed("DELETE", "/bkt/key", &[], "a body", &right).await.expect(204);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_is_charged_with_its_copies_before_it_is_read() {
    let door = Door::with(|config| config.limits.bytes = 100_000);
    door.put("/bkt", "").await.expect(200);
    let held = door.engine.admit(Need::Store { bytes: 50_000 }).unwrap();
    let keys = format!("<Delete><Object><Key>{}</Key></Object></Delete>", "k".repeat(1000));
    let padded = format!("{keys}{}", " ".repeat(20_000));
    let md5 = base64::engine::general_purpose::STANDARD.encode(Md5::digest(&padded));
    let headers = [("content-md5", md5.as_str())];
    door.send("POST", "/bkt?delete=", &headers, padded.clone()).await.refused(503, "SlowDown");
    drop(held);
    door.send("POST", "/bkt?delete=", &headers, padded).await.expect(200);
    assert_eq!(door.engine.status().in_flight_bytes, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_comes_back_as_it_was_stored_whatever_its_size() {
    let door = Door::open();
    door.put("/bkt", "").await.expect(200);
    for size in [0, 1, 64 * 1024, 64 * 1024 + 1, 5 * MIB + 17] {
        let bytes = pattern(size);
        let etag = format!("\"{}\"", md5_hex(&bytes));
        let headers =
            [("content-type", "text/plain"), ("x-amz-meta-mtime", "1.5"), ("content-encoding", "gzip")];
        let stored = door.send("PUT", "/bkt/a/../b", &headers, bytes.clone()).await.expect(200);
        assert_eq!(stored.header("etag"), etag);
        assert_eq!(stored.header("x-amz-checksum-type"), "FULL_OBJECT");
        let read =
            door.send("GET", "/bkt/a/../b", &[("x-amz-checksum-mode", "ENABLED")], "").await.expect(200);
        assert!(read.body == bytes, "{size} bytes");
        let head = door.send("HEAD", "/bkt/a/../b", &[], "").await.expect(200);
        assert_eq!(head.header("content-length"), size.to_string());
        for reply in [&read, &head] {
            assert_eq!(reply.header("etag"), etag);
            assert_eq!(reply.header("content-type"), "text/plain");
            assert_eq!(reply.header("content-encoding"), "gzip");
            assert_eq!(reply.header("x-amz-meta-mtime"), "1.5");
            assert!(reply.header("last-modified").ends_with(" GMT"));
        }
        assert_eq!(read.header("x-amz-checksum-crc64nvme"), stored.header("x-amz-checksum-crc64nvme"));
        assert_eq!(
            head.header("x-amz-checksum-crc64nvme"),
            "",
            "checksums are shown where they are asked for"
        );
    }
    door.delete("/bkt/a/../b").await.expect(204);
    door.delete("/bkt/a/../b").await.expect(204);
    door.get("/bkt/a/../b").await.refused(404, "NoSuchKey");
    door.send("HEAD", "/bkt/a/../b", &[], "").await.expect(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_and_conditions_are_answered_as_s3_answers_them() {
    let door = Door::open();
    door.put("/bkt", "").await.expect(200);
    let bytes = pattern(5 * MIB);
    let etag = door.put("/bkt/k", bytes.clone()).await.expect(200).header("etag").to_owned();
    for (range, first, last) in [
        ("bytes=0-0", 0, 0),
        ("bytes=4194300-4194310", 4_194_300, 4_194_310),
        ("bytes=-9", 5 * MIB - 9, 5 * MIB - 1),
    ] {
        let reply = door.send("GET", "/bkt/k", &[("range", range)], "").await.expect(206);
        assert!(reply.body == bytes[first..=last], "{range}");
        assert_eq!(reply.header("content-range"), format!("bytes {first}-{last}/{}", bytes.len()));
        assert_eq!(
            reply.header("content-length"),
            "",
            "the listener writes the length of a body that it sends"
        );
    }
    let reply =
        door.send("GET", "/bkt/k", &[("range", "bytes=5242880-")], "").await.refused(416, "InvalidRange");
    assert_eq!(reply.header("content-range"), "bytes */5242880");
    assert_eq!(reply.one("ActualObjectSize"), "5242880");
    let whole = door.send("GET", "/bkt/k", &[("range", "bytes=0-1,5-6")], "").await.expect(200);
    assert_eq!(whole.body.len(), bytes.len());
    let same = door.send("GET", "/bkt/k", &[("if-none-match", &etag)], "").await.expect(304);
    assert_eq!((same.header("etag"), same.body.len()), (etag.as_str(), 0));
    door.send("GET", "/bkt/k", &[("if-match", "\"other\"")], "").await.refused(412, "PreconditionFailed");
    door.send("HEAD", "/bkt/k", &[("if-match", "\"other\"")], "").await.expect(412);
    door.get("/bkt/k?versionId=null").await.expect(200);
    door.get("/bkt/k?versionId=nonsense").await.refused(400, "InvalidArgument");
    let named = door.get("/bkt/k?response-content-disposition=attachment").await.expect(200);
    assert_eq!(named.header("content-disposition"), "attachment");
}

#[tokio::test(flavor = "multi_thread")]
async fn conditional_writes_hold_or_change_nothing() {
    let door = Door::open();
    door.put("/bkt", "").await.expect(200);
    let if_absent = [("if-none-match", "*")];
    let etag = door.send("PUT", "/bkt/k", &if_absent, "one").await.expect(200).header("etag").to_owned();
    let refused = door.send("PUT", "/bkt/k", &if_absent, "two").await.refused(412, "PreconditionFailed");
    assert_eq!(refused.one("Condition"), "If-None-Match");
    door.send("PUT", "/bkt/k", &[("if-match", "\"0\"")], "two").await.refused(412, "PreconditionFailed");
    door.send("PUT", "/bkt/absent", &[("if-match", &etag)], "two").await.refused(404, "NoSuchKey");
    assert_eq!(door.get("/bkt/k").await.expect(200).text(), "one");
    door.send("PUT", "/bkt/k", &[("if-match", &etag)], "two").await.expect(200);
    door.send("DELETE", "/bkt/k", &[("if-match", &etag)], "").await.refused(412, "PreconditionFailed");
    assert_eq!(door.get("/bkt/k").await.expect(200).text(), "two");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_is_paged_and_rolled_up() {
    let door = Door::open();
    door.put("/bkt", "").await.expect(200);
    for key in ["a", "b%20c", "d/1", "d/2", "e"] {
        door.put(&format!("/bkt/{key}"), "x").await.expect(200);
    }
    let all = door.get("/bkt?list-type=2").await.expect(200);
    assert_eq!(all.all("Key"), ["a", "b c", "d/1", "d/2", "e"]);
    assert_eq!((all.one("IsTruncated"), all.one("KeyCount")), ("false", "5"));
    let mut seen: Vec<String> = Vec::new();
    let mut token = String::new();
    loop {
        let target = format!("/bkt?{token}delimiter=%2F&encoding-type=url&list-type=2&max-keys=1");
        let page = door.get(&target).await.expect(200);
        let entries = page.all("Key").into_iter().chain(page.all("CommonPrefixes"));
        seen.extend(entries.map(str::to_owned));
        if page.one("IsTruncated") == "false" {
            break;
        }
        token = format!("continuation-token={}&", page.one("NextContinuationToken"));
    }
    assert_eq!(seen, ["a", "b%20c", "<Prefix>d/</Prefix>", "e"]);
    let first = door.get("/bkt?delimiter=%2F&marker=a&max-keys=2").await.expect(200);
    assert_eq!((first.all("Key"), first.one("NextMarker")), (vec!["b c"], "d/"));
    let rest = door.get("/bkt?delimiter=%2F&marker=d%2F").await.expect(200);
    assert_eq!((rest.all("Key"), rest.all("CommonPrefixes").len()), (vec!["e"], 0));
    let none = door.get("/bkt?list-type=2&max-keys=0").await.expect(200);
    assert_eq!((none.one("IsTruncated"), none.one("KeyCount")), ("false", "0"));
    door.get("/bkt?list-type=2&max-keys=x").await.refused(400, "InvalidArgument");
    door.get("/bkt?continuation-token=x&list-type=2").await.refused(400, "InvalidArgument");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_keys_are_deleted_each_for_itself() {
    let door = Door::open();
    door.put("/bkt", "").await.expect(200);
    for key in ["a", "b"] {
        door.put(&format!("/bkt/{key}"), "x").await.expect(200);
    }
    let long = "k".repeat(1025);
    let body = format!(
        "<Delete><Object><Key>a</Key></Object><Object><Key>{long}</Key></Object>\
         <Object><Key>absent</Key></Object><Object><Key>b</Key><ETag>0</ETag></Object></Delete>"
    );
    door.send("POST", "/bkt?delete=", &[], body.clone()).await.refused(400, "InvalidRequest");
    let md5 = base64::engine::general_purpose::STANDARD.encode(Md5::digest(&body));
    let reply = door.send("POST", "/bkt?delete=", &[("content-md5", &md5)], body).await.expect(200);
    assert_eq!(reply.all("Key"), ["a", &long, "absent", "b"]);
    assert_eq!(reply.all("Code"), ["KeyTooLongError", "PreconditionFailed"]);
    assert_eq!(door.get("/bkt").await.expect(200).all("Key"), ["b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_in_parts_becomes_an_object() {
    let door = Door::open();
    door.put("/bkt", "").await.expect(200);
    let headers = [("x-amz-checksum-algorithm", "CRC32"), ("x-amz-meta-a", "b")];
    let begun = door.send("POST", "/bkt/k?uploads=", &headers, "").await.expect(200);
    assert_eq!(begun.header("x-amz-checksum-type"), "COMPOSITE");
    let id = begun.one("UploadId").to_owned();
    let parts = [pattern(5 * MIB), pattern(100)];
    let mut named = String::new();
    for (number, bytes) in (1..).zip(&parts) {
        let target = format!("/bkt/k?partNumber={number}&uploadId={id}");
        let crc = copies::crc32(bytes);
        let given = [("x-amz-checksum-crc32", crc.as_str())];
        let reply = door.send("PUT", &target, &given, bytes.clone()).await.expect(200);
        let etag = reply.header("etag");
        let part = format!(
            "<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag><ChecksumCRC32>{crc}</ChecksumCRC32></Part>"
        );
        named.push_str(&part);
    }
    door.put(&format!("/bkt/k?partNumber=0&uploadId={id}"), "x").await.refused(400, "InvalidArgument");
    door.put(&format!("/bkt/other?partNumber=1&uploadId={id}"), "x").await.refused(404, "NoSuchUpload");
    let listed = door.get(&format!("/bkt/k?max-parts=1&uploadId={id}")).await.expect(200);
    assert_eq!((listed.all("PartNumber"), listed.one("IsTruncated")), (vec!["1"], "true"));
    assert_eq!(door.get("/bkt?uploads=").await.expect(200).one("UploadId"), id);
    door.get("/bkt/k").await.refused(404, "NoSuchKey");
    let complete = format!("/bkt/k?uploadId={id}");
    door.send("POST", &complete, &[], "<CompleteMultipartUpload/>").await.refused(400, "MalformedXML");
    let body = format!("<CompleteMultipartUpload>{named}</CompleteMultipartUpload>");
    let done = door.send("POST", &complete, &[], body).await.expect(200);
    assert!(done.one("ETag").ends_with("-2&quot;"), "{}", done.text());
    assert!(done.one("ChecksumCRC32").ends_with("-2"), "{}", done.text());
    assert_eq!(done.one("Location"), "https://localhost/bkt/k");
    let read = door.send("GET", "/bkt/k", &[("x-amz-checksum-mode", "ENABLED")], "").await.expect(200);
    assert!(read.body == parts.concat());
    assert_eq!(read.header("x-amz-checksum-crc32"), done.one("ChecksumCRC32"));
    assert_eq!(read.header("x-amz-meta-a"), "b");
    let across = door.send("GET", "/bkt/k", &[("range", "bytes=5242870-5242889")], "").await.expect(206);
    assert!(across.body == parts.concat()[5_242_870..5_242_890]);
    door.delete(&complete).await.refused(404, "NoSuchUpload");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aborted_upload_leaves_nothing() {
    let door = Door::open();
    door.put("/bkt", "").await.expect(200);
    let id = door.send("POST", "/bkt/k?uploads=", &[], "").await.expect(200).one("UploadId").to_owned();
    door.put(&format!("/bkt/k?partNumber=1&uploadId={id}"), pattern(MIB)).await.expect(200);
    door.delete(&format!("/bkt/k?uploadId={id}")).await.expect(204);
    door.get(&format!("/bkt/k?uploadId={id}")).await.refused(404, "NoSuchUpload");
    door.put(&format!("/bkt/k?partNumber=2&uploadId={id}"), "x").await.refused(404, "NoSuchUpload");
    assert_eq!(door.get("/bkt?uploads=").await.expect(200).all("UploadId"), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_done_is_refused_and_what_is_not_set_is_none() {
    let door = Door::open();
    door.put("/bkt", "").await.expect(200);
    for (name, value, code) in [
        ("x-amz-server-side-encryption", "AES256", "NotImplemented"),
        ("x-amz-acl", "public-read", "AccessControlListNotSupported"),
        ("x-amz-storage-class", "GLACIER", "InvalidStorageClass"),
        ("if-unmodified-since", "Mon, 12 Oct 2009 17:50:30 GMT", "NotImplemented"),
    ] {
        let reply = door.send("PUT", "/bkt/k", &[(name, value)], "x").await;
        assert_eq!(reply.one("Code"), code, "{name}");
    }
    let meta = "v".repeat(2048);
    door.send("PUT", "/bkt/k", &[("x-amz-meta-a", &meta)], "x").await.refused(400, "MetadataTooLarge");
    door.send("PUT", "/bkt/k", &[("x-amz-expected-bucket-owner", "123456789012")], "x")
        .await
        .refused(403, "AccessDenied");
    door.get("/bkt/k").await.refused(404, "NoSuchKey");
    door.send("PUT", "/bkt/k", &[("x-amz-acl", "private")], "x").await.expect(200);
    for (subresource, code) in
        [("policy", "NoSuchBucketPolicy"), ("lifecycle", "NoSuchLifecycleConfiguration")]
    {
        door.get(&format!("/bkt?{subresource}=")).await.refused(404, code);
        door.put(&format!("/bkt?{subresource}="), "{}").await.refused(501, "NotImplemented");
    }
    assert!(door.get("/bkt?versioning=").await.expect(200).text().contains("<VersioningConfiguration"));
    assert!(door.get("/bkt/k?tagging=").await.expect(200).text().contains("<TagSet></TagSet>"));
    for target in ["/bkt?acl=", "/bkt/k?acl="] {
        let acl = door.get(target).await.expect(200);
        assert_eq!(acl.one("Permission"), "FULL_CONTROL");
        door.send("PUT", target, &[("x-amz-acl", "private")], "").await.expect(200);
        door.put(target, acl.body.clone()).await.expect(200);
        door.send("PUT", target, &[("x-amz-acl", "public-read")], "")
            .await
            .refused(400, "AccessControlListNotSupported");
    }
    assert_eq!(StatusCode::OK, door.get("/bkt/k").await.status);
}
