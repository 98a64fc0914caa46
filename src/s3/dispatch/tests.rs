use super::handle;
use crate::auth::Identity;
use crate::s3::S3State;
use crate::s3::body::BodySource;
use crate::s3::request::RequestHead;
use crate::s3::testing::{
    ACCESS_KEY, EMPTY, FixedClock, NOW_SECONDS, Recorder, Signer, head, identity, sha256_hex, state, state_of,
};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use siltstone_log::event::Status;
use siltstone_log::id::AccountId;
use std::sync::Arc;

struct Answered {
    status: StatusCode,
    headers: http::HeaderMap,
    text: String,
}

fn body(bytes: &'static [u8]) -> BodySource {
    Full::new(Bytes::from_static(bytes)).map_err(|never| match never {}).boxed_unsync()
}

async fn send(identity: Identity, head: RequestHead, bytes: &'static [u8]) -> (Answered, Arc<Recorder>) {
    let (state, recorder) = state(identity);
    (send_to(&state, head, bytes).await, recorder)
}

async fn send_to(state: &Arc<S3State>, head: RequestHead, bytes: &'static [u8]) -> Answered {
    let target = if head.raw_query.is_empty() {
        head.raw_path.clone()
    } else {
        format!("{}?{}", head.raw_path, head.raw_query)
    };
    let mut request = Request::new(());
    *request.method_mut() = head.method;
    *request.uri_mut() = target.parse().unwrap();
    *request.headers_mut() = head.headers;
    let (parts, ()) = request.into_parts();
    let response = handle(state, parts, body(bytes), head.address).await;
    let (parts, body) = response.into_parts();
    let text = body.collect().await.unwrap().to_bytes();
    let text = String::from_utf8(text.to_vec()).unwrap();
    Answered { status: parts.status, headers: parts.headers, text }
}

fn root() -> Identity {
    identity(1, true, &[])
}

fn signed(method: &str, target: &str) -> RequestHead {
    Signer::default().signed(method, target, EMPTY, &[])
}

#[tokio::test]
async fn a_signed_request_reaches_its_handler_and_is_observed_once() {
    let hash = sha256_hex(b"hello");
    let put = Signer::default().signed("PUT", "/bucket/a%2F/b", &hash, &[("content-length", "5")]);
    let (answer, recorder) = send(root(), put, b"hello").await;
    assert_eq!((answer.status, answer.text.as_str()), (StatusCode::OK, "PutObject bucket a//b 5"));
    assert_eq!(answer.headers["x-amz-request-id"].len(), 16);
    assert!(answer.headers.contains_key("x-amz-id-2"));
    assert!(!answer.headers.contains_key("connection"));
    let observed = recorder.observed.lock().unwrap();
    let [observation] = observed.as_slice() else { panic!("observed {} times", observed.len()) };
    assert_eq!((observation.operation, observation.status, observation.code), ("PutObject", 200, ""));
    assert_eq!((observation.received, observation.sent), (5, 23));
    assert!(recorder.denied.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_refused_caller_gets_an_error_document_and_is_noted() {
    let (answer, recorder) = send(root(), head("GET", "/bucket/k%3C&?x=1", &[("host", "h")]), b"").await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    let id = answer.headers["x-amz-request-id"].to_str().unwrap();
    let host = answer.headers["x-amz-id-2"].to_str().unwrap();
    assert_eq!(
        answer.text,
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>AccessDenied</Code><Message>Access \
             Denied</Message><Resource>/bucket/k%3C&amp;</Resource><RequestId>{id}</RequestId>\
             <HostId>{host}</HostId></Error>"
        )
    );
    assert_eq!(answer.headers["content-type"], "application/xml");
    let denied = recorder.denied.lock().unwrap();
    let (actor, evidence) = denied.first().unwrap();
    assert_eq!((actor.account, actor.access_key.as_str(), actor.request_id.as_str()), (None, "", id));
    assert_eq!((evidence.bucket.as_str(), evidence.key.as_str()), ("bucket", "k<&"));
    assert_eq!((evidence.operation.as_str(), evidence.code.as_str()), ("GetObject", "AccessDenied"));
    let observed = recorder.observed.lock().unwrap();
    assert_eq!((observed[0].operation, observed[0].code), ("GetObject", "AccessDenied"));
}

#[tokio::test]
async fn what_is_refused_before_it_is_authenticated_is_noted_by_the_operation_that_it_asked_for() {
    let copy = [("host", "h"), ("x-amz-copy-source", "/a/b")];
    for (method, target, headers, operation) in [
        ("GET", "/", &copy[..1], "ListBuckets"),
        ("DELETE", "/bucket/k?versionId=1", &copy[..1], "DeleteObject"),
        ("POST", "/bucket?delete", &copy[..1], "DeleteObjects"),
        ("PUT", "/bucket/k", &copy[..], "CopyObject"),
        ("GET", "/bucket/k", &[("host", "other.s3.example.org")][..], "GetObject"),
        ("GET", "/", &[("host", "other.s3.example.org")][..], "ListObjects"),
        // What is no operation has no name; why it is refused is still that nobody signed it.
        ("PATCH", "/bucket/k", &copy[..1], ""),
        ("GET", "/bucket?acl&policy", &copy[..1], ""),
        ("GET", "/bucket?prefix=%FF", &copy[..1], ""),
    ] {
        let (answer, recorder) = send(root(), head(method, target, headers), b"").await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{method} {target}");
        let denied = recorder.denied.lock().unwrap();
        let [(_, evidence)] = denied.as_slice() else { panic!("noted {} times", denied.len()) };
        assert_eq!(evidence.operation, operation, "{method} {target}");
        assert_eq!(recorder.observed.lock().unwrap()[0].operation, operation, "{method} {target}");
    }
}

#[tokio::test]
async fn a_wrong_signature_is_noted_with_the_key_that_was_claimed_and_tells_nothing_of_the_right_one() {
    let mut wrong = signed("GET", "/bucket/k");
    wrong.raw_path = "/bucket/other".to_owned();
    let right = crate::s3::testing::signature_of(&signed("GET", "/bucket/other"));
    let (answer, recorder) = send(root(), wrong, b"").await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert!(answer.text.contains("<Code>SignatureDoesNotMatch</Code>"));
    assert!(!answer.text.contains(&right));
    let denied = recorder.denied.lock().unwrap();
    let (actor, _) = denied.first().unwrap();
    assert_eq!((actor.account, actor.access_key.as_str()), (None, ACCESS_KEY));
}

#[tokio::test]
async fn a_copy_needs_permission_to_read_its_source_too() {
    let writer = || identity(1, false, &["writeonly"]);
    for (identity, source, status) in [
        (root(), "/bucket/k", 200),
        (root(), "/missing/k", 200),
        (root(), "/foreign/k", 403),
        (root(), "%2Fforeign%2Fk", 403),
        (root(), "/bucket", 400),
        (root(), "arn:aws:s3:::foreign/k", 501),
        (writer(), "/bucket/k", 403),
    ] {
        for target in ["/bucket/copy", "/bucket/copy?partNumber=1&uploadId=u"] {
            let head = Signer::default().signed("PUT", target, EMPTY, &[("x-amz-copy-source", source)]);
            let (answer, recorder) = send(identity.clone(), head, b"").await;
            assert_eq!(answer.status.as_u16(), status, "{source}");
            let denied = recorder.denied.lock().unwrap().len();
            assert_eq!(denied, usize::from(status == 403), "{source}");
        }
    }
}

#[tokio::test]
async fn permission_is_asked_for_the_operation_and_the_owner_of_the_bucket() {
    let reader = || identity(1, false, &["readonly"]);
    for (identity, method, target, status) in [
        (reader(), "GET", "/bucket/k", 200),
        (reader(), "PUT", "/bucket", 403),
        (reader(), "DELETE", "/bucket/k", 403),
        (reader(), "GET", "/missing/k", 200),
        (root(), "GET", "/foreign/k", 403),
        (root(), "PUT", "/foreign", 200),
        (root(), "DELETE", "/foreign", 403),
        (identity(1, false, &[]), "GET", "/", 403),
        (reader(), "GET", "/", 200),
    ] {
        let (answer, recorder) = send(identity, signed(method, target), b"").await;
        assert_eq!(answer.status.as_u16(), status, "{method} {target}");
        let denied = recorder.denied.lock().unwrap();
        assert_eq!(denied.len(), usize::from(status == 403), "{method} {target}");
        for (actor, evidence) in denied.iter() {
            assert_eq!(actor.account, Some(AccountId([1; 16])));
            assert_ne!(evidence.operation, "");
        }
    }
}

#[tokio::test]
async fn an_answer_is_dated_by_the_clock_even_after_it_went_back() {
    let (mut state, _) = state(root());
    for (seconds, shown) in
        [(NOW_SECONDS, "00:00:00"), (NOW_SECONDS + 600, "00:10:00"), (NOW_SECONDS + 60, "00:01:00")]
    {
        Arc::get_mut(&mut state).unwrap().clock = Arc::new(FixedClock((seconds * 1000).into()));
        let answer = send_to(&state, signed("GET", "/bucket/k"), b"").await;
        assert_eq!(answer.headers["date"], format!("Fri, 24 May 2013 {shown} GMT"));
    }
}

#[tokio::test]
async fn names_that_cannot_be_are_refused_with_their_own_codes() {
    let long = format!("/bucket/{}", "k".repeat(1025));
    for (method, target, code) in [
        ("GET", "/ab", "InvalidBucketName"),
        ("GET", "/Bucket/k", "InvalidBucketName"),
        ("PUT", "//k", "InvalidBucketName"),
        ("GET", "/bucket/%FF", "InvalidURI"),
        ("GET", "/bucket?prefix=%FF", "InvalidURI"),
        ("PUT", &long, "KeyTooLongError"),
        ("DELETE", "/bucket?location=", "MethodNotAllowed"),
    ] {
        let (answer, recorder) = send(root(), signed(method, target), b"").await;
        assert!(answer.text.contains(&format!("<Code>{code}</Code>")), "{method} {target}: {}", answer.text);
        assert!(recorder.denied.lock().unwrap().is_empty(), "{method} {target}");
    }
}

#[tokio::test]
async fn a_host_below_a_domain_of_the_server_names_the_bucket() {
    for (host, target, echoed) in [
        ("bkt.s3.example.org", "/a/b", "GetObject bkt a/b"),
        ("BKT.s3.example.org:8080", "/", "ListObjects bkt"),
        ("s3.example.org", "/bkt/k", "GetObject bkt k"),
        ("elsewhere.example.com", "/bkt/k", "GetObject bkt k"),
    ] {
        let signer = Signer::default();
        let headers = [("host", host), ("x-amz-content-sha256", EMPTY), ("x-amz-date", &signer.date)];
        let authorization = signer.authorization("GET", target, &headers);
        let request = |host| {
            let mut headers = headers.to_vec();
            headers[0].1 = host;
            headers.push(("authorization", &authorization));
            head("GET", target, &headers)
        };
        let (answer, _) = send(root(), request(host), b"").await;
        assert_eq!((answer.status, answer.text.as_str()), (StatusCode::OK, echoed), "{host}{target}");
        let (answer, _) = send(root(), request("other.s3.example.org"), b"").await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "the host is signed: {host}");
    }
    let signer = Signer::default();
    let headers =
        [("host", "a_b.s3.example.org"), ("x-amz-content-sha256", EMPTY), ("x-amz-date", &signer.date)];
    let authorization = signer.authorization("GET", "/k", &headers);
    let headers = headers.into_iter().chain([("authorization", authorization.as_str())]).collect::<Vec<_>>();
    let (answer, _) = send(root(), head("GET", "/k", &headers), b"").await;
    assert!(answer.text.contains("<Code>InvalidBucketName</Code>"), "{}", answer.text);
}

#[tokio::test]
async fn head_has_the_length_and_no_body_even_for_errors() {
    let (answer, recorder) = send(root(), signed("HEAD", "/bucket/k"), b"").await;
    assert_eq!((answer.status, answer.text.as_str()), (StatusCode::OK, ""));
    assert_eq!(answer.headers["content-length"], "HeadObject bucket k".len().to_string());
    assert_eq!(recorder.observed.lock().unwrap().first().unwrap().sent, 0);
    let (answer, _) = send(root(), signed("HEAD", "/foreign"), b"").await;
    assert_eq!((answer.status, answer.text.as_str()), (StatusCode::FORBIDDEN, ""));
}

#[tokio::test]
async fn body_errors_reach_the_client_and_leave_the_connection_usable() {
    let hash = sha256_hex(b"other");
    let put = Signer::default().signed("PUT", "/bucket/k", &hash, &[("content-length", "5")]);
    let (answer, recorder) = send(root(), put, b"hello").await;
    assert!(answer.text.contains("<Code>XAmzContentSHA256Mismatch</Code>"));
    assert!(!answer.headers.contains_key("connection"));
    assert_eq!(recorder.observed.lock().unwrap().first().unwrap().received, 5);
    let put = Signer::default().signed("PUT", "/bucket/k", "UNSIGNED-PAYLOAD", &[("content-md5", "x")]);
    let (answer, _) = send(root(), put, b"").await;
    assert!(answer.text.contains("<Code>InvalidDigest</Code>"));
}

#[tokio::test]
async fn a_wrong_chunk_signature_is_evidence_too() {
    let mode = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD";
    let put = Signer::default().signed("PUT", "/bucket/k", mode, &[("x-amz-decoded-content-length", "0")]);
    let zero = b"0;chunk-signature=0000000000000000000000000000000000000000000000000000000000000000\r\n\r\n";
    let (answer, recorder) = send(root(), put, zero).await;
    assert!(answer.text.contains("<Code>SignatureDoesNotMatch</Code>"), "{}", answer.text);
    assert_eq!(recorder.denied.lock().unwrap().len(), 1);
}

/// What is kept of the key that a refused request claimed.
async fn kept_of(access_key: &str, status: Status) -> String {
    let (state, recorder) = state_of(crate::s3::testing::keys_of(root(), status));
    let mut head = signed("GET", "/bucket/k");
    let authorization = head.headers["authorization"].to_str().unwrap().replace(ACCESS_KEY, access_key);
    head.headers.insert("authorization", authorization.parse().unwrap());
    let answer = send_to(&state, head, b"").await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert!(answer.text.contains("<Code>InvalidAccessKeyId</Code>"), "{}", answer.text);
    let denied = recorder.denied.lock().unwrap();
    let (actor, _) = denied.first().unwrap();
    assert_eq!(actor.account, None);
    actor.access_key.clone()
}

#[tokio::test]
async fn a_suspended_key_is_kept_as_evidence_and_an_unknown_one_where_it_is_no_secret() {
    assert_eq!(kept_of(ACCESS_KEY, Status::Suspended).await, ACCESS_KEY);
    assert_eq!(kept_of("AKIAUNKNOWN234567890", Status::Active).await, "AKIAUNKNOWN234567890");
    for key in ["wJalrXUtnFEMI-K7MDENG-bPxRfiCYEXAMPLEKEY", "SHORT", &"A".repeat(40)] {
        assert_eq!(kept_of(key, Status::Active).await, "", "{key}");
    }
}
