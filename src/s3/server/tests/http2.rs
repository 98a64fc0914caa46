//! The listener's ways with HTTP/2.

use super::{Running, ServerLimits, connect, read_to_close, start};
use crate::s3::testing::{EMPTY, Signer, sha256_hex};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

type H2 = hyper::client::conn::http2::SendRequest<Full<Bytes>>;

/// A connection in clear text that speaks HTTP/2 without asking.
async fn connect_http2(running: &Running) -> H2 {
    let stream = hyper_util::rt::TokioIo::new(connect(running).await);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (sender, connection) = hyper::client::conn::http2::handshake(executor, stream).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn http2_request(
    method: &str,
    target: &str,
    payload: &str,
    body: &'static [u8],
) -> http::Request<Full<Bytes>> {
    let head = Signer::default().signed(method, target, payload, &[]);
    let mut request = http::Request::new(Full::new(Bytes::from_static(body)));
    *request.method_mut() = head.method;
    // The signer's host is the authority here, as no client of HTTP/2 sends the header.
    *request.uri_mut() = format!("http://localhost{target}").parse().unwrap();
    *request.headers_mut() = head.headers;
    request.headers_mut().remove(http::header::HOST);
    request
}

#[tokio::test]
async fn http2_is_spoken_where_the_client_begins_with_it_and_the_authority_is_the_signed_host() {
    let running = start(ServerLimits::default()).await;
    let mut sender = connect_http2(&running).await;
    let put = http2_request("PUT", "/bucket/k", &sha256_hex(b"hello"), b"hello");
    let answer = sender.send_request(put).await.unwrap();
    assert_eq!((answer.version(), answer.status().as_u16()), (http::Version::HTTP_2, 200));
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    assert!(body.starts_with(b"PutObject bucket k 5"), "{body:?}");
    let refused = sender.send_request(http2_request("HEAD", "/foreign/k", EMPTY, b"")).await.unwrap();
    assert_eq!(refused.status().as_u16(), 403);
    assert!(refused.into_body().collect().await.unwrap().to_bytes().is_empty());
}

#[tokio::test]
async fn http2_bounds_the_number_and_the_bytes_of_headers() {
    let running = start(ServerLimits::default()).await;
    let mut sender = connect_http2(&running).await;
    let mut many = http2_request("GET", "/bucket/k", EMPTY, b"");
    for number in 0..200 {
        let name = http::HeaderName::try_from(format!("a-{number}")).unwrap();
        many.headers_mut().insert(name, http::HeaderValue::from_static("1"));
    }
    let refused = sender.send_request(many).await.unwrap();
    assert!(refused.headers().contains_key("x-amz-request-id"));
    let document = refused.into_body().collect().await.unwrap().to_bytes();
    assert!(String::from_utf8_lossy(&document).contains("<Code>RequestHeaderSectionTooLarge</Code>"));
    let mut large = http2_request("GET", "/bucket/k", EMPTY, b"");
    let value = http::HeaderValue::try_from("a".repeat(40_000)).unwrap();
    large.headers_mut().insert("x-large", value);
    let answer = sender.send_request(large).await;
    assert!(answer.is_err() || answer.is_ok_and(|answer| answer.status().as_u16() == 431));
    let after =
        connect_http2(&running).await.send_request(http2_request("GET", "/bucket/k", EMPTY, b"")).await;
    assert_eq!(after.unwrap().status().as_u16(), 200);
}

#[tokio::test]
async fn a_client_that_resets_every_stream_at_once_is_cut() {
    let running = start(ServerLimits::default()).await;
    let mut stream = connect(&running).await;
    // The preface and empty settings; then streams opened (`GET http://a/` in static table entries) and reset at once.
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    for id in (1u32..4001).step_by(2) {
        bytes.extend([0, 0, 3, 1, 5]);
        bytes.extend(id.to_be_bytes());
        bytes.extend([0x82, 0x86, 0x84]);
        bytes.extend([0, 0, 4, 3, 0]);
        bytes.extend(id.to_be_bytes());
        bytes.extend(8u32.to_be_bytes());
    }
    // The server may close before it has read everything.
    let _ = stream.write_all(&bytes).await;
    let mut all = Vec::new();
    let _ = timeout(Duration::from_secs(20), stream.read_to_end(&mut all)).await.expect("a close in time");
    let goaway = all.windows(5).any(|window| window[3] == 7 && window[4] == 0 && window[0] == 0);
    assert!(goaway, "{all:?}");
}

#[tokio::test]
async fn silent_and_idle_connections_are_closed_in_either_version() {
    let limits = ServerLimits { header_timeout: Duration::from_millis(50), ..ServerLimits::default() };
    let running = start(limits).await;
    let mut silent = connect(&running).await;
    assert_eq!(read_to_close(&mut silent).await, "");
    let mut sender = connect_http2(&running).await;
    let answer = sender.send_request(http2_request("GET", "/bucket/k", EMPTY, b"")).await.unwrap();
    drop(answer);
    let closed = timeout(Duration::from_secs(20), async {
        while sender.ready().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    closed.await.expect("a close in time");
}
