use super::{ServerLimits, serve};
use crate::s3::testing::{EMPTY, Recorder, Signer, identity, sha256_hex, state};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

struct Running {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    server: JoinHandle<bool>,
    recorder: Arc<Recorder>,
}

async fn start(limits: ServerLimits) -> Running {
    let (state, recorder) = state(identity(1, true, &[]));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let server = tokio::spawn(serve(listener, state, limits, None, async move {
        let _ = stopped.await;
    }));
    Running { address, stop, server, recorder }
}

/// A request's head as bytes, every header signed and `more` added unsigned.
fn request(method: &str, target: &str, payload: &str, more: &str) -> String {
    let head = Signer::default().signed(method, target, payload, &[]);
    let headers = head.headers.iter();
    let lines: Vec<String> =
        headers.map(|(name, value)| format!("{name}: {}\r\n", value.to_str().unwrap())).collect();
    let lines = lines.concat();
    format!("{method} {target} HTTP/1.1\r\n{lines}{more}\r\n")
}

async fn connect(running: &Running) -> TcpStream {
    TcpStream::connect(running.address).await.unwrap()
}

/// Reads until the text is there; panics if it does not come.
async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut all = String::new();
    let mut buffer = [0; 4096];
    while !all.contains(end) {
        let read = timeout(Duration::from_secs(20), stream.read(&mut buffer)).await;
        let len = read.expect("an answer in time").unwrap();
        assert!(len > 0, "closed after {all:?}");
        all.push_str(std::str::from_utf8(&buffer[..len]).unwrap());
    }
    all
}

async fn read_to_close(stream: &mut TcpStream) -> String {
    let mut all = Vec::new();
    timeout(Duration::from_secs(20), stream.read_to_end(&mut all)).await.expect("a close in time").unwrap();
    String::from_utf8(all).unwrap()
}

#[tokio::test]
async fn requests_follow_each_other_on_one_connection() {
    let running = start(ServerLimits::default()).await;
    let mut stream = connect(&running).await;
    for key in ["one", "two"] {
        let hash = sha256_hex(b"hello");
        let head = request("PUT", &format!("/bucket/{key}"), &hash, "Content-Length: 5\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(b"hello").await.unwrap();
        let answer = read_until(&mut stream, &format!("PutObject bucket {key} 5")).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    }
}

#[tokio::test]
async fn a_body_is_asked_for_only_from_a_caller_who_may_send_it() {
    let running = start(ServerLimits::default()).await;
    let expecting = "Content-Length: 5\r\nExpect: 100-continue\r\n";
    let mut stream = connect(&running).await;
    stream.write_all(request("PUT", "/bucket/k", "UNSIGNED-PAYLOAD", expecting).as_bytes()).await.unwrap();
    assert_eq!(read_until(&mut stream, "\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"hello").await.unwrap();
    assert!(read_until(&mut stream, "PutObject bucket k 5").await.starts_with("HTTP/1.1 200 OK"));
    for (target, payload) in [("/foreign/k", "UNSIGNED-PAYLOAD"), ("/bucket/k", "wrong")] {
        let mut stream = connect(&running).await;
        stream.write_all(request("PUT", target, payload, expecting).as_bytes()).await.unwrap();
        let answer = read_to_close(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
        assert!(!answer.contains("100 Continue"), "{answer}");
    }
}

#[tokio::test]
async fn a_client_that_is_refused_in_mid_body_sees_why() {
    let running = start(ServerLimits::default()).await;
    let mut stream = connect(&running).await;
    let head = request("PUT", "/foreign/k", "UNSIGNED-PAYLOAD", "Content-Length: 300000\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&vec![b'x'; 300_000]).await.unwrap();
    assert!(read_until(&mut stream, "</Error>").await.contains("AccessDenied"));
    stream.write_all(request("GET", "/bucket/k", EMPTY, "").as_bytes()).await.unwrap();
    assert!(read_until(&mut stream, "GetObject bucket k").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_client_that_stops_in_mid_body_changes_nothing() {
    let running = start(ServerLimits::default()).await;
    let mut stream = connect(&running).await;
    let head = request("PUT", "/bucket/k", "UNSIGNED-PAYLOAD", "Content-Length: 9\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(b"hel").await.unwrap();
    stream.shutdown().await.unwrap();
    let answer = read_to_close(&mut stream).await;
    assert!(answer.is_empty() || answer.contains("IncompleteBody"), "{answer}");
    assert!(!answer.contains("200 OK"));
}

#[tokio::test]
async fn two_lengths_in_one_head_do_not_smuggle_a_second_request() {
    let running = start(ServerLimits::default()).await;
    let mut stream = connect(&running).await;
    let lengths = "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n";
    stream.write_all(request("GET", "/bucket/k", EMPTY, lengths).as_bytes()).await.unwrap();
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    stream.write_all(request("GET", "/bucket/smuggled", EMPTY, "").as_bytes()).await.unwrap();
    let answer = read_to_close(&mut stream).await;
    assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
    assert!(answer.to_lowercase().contains("connection: close"), "{answer}");
}

#[tokio::test]
async fn heads_that_are_too_large_or_no_http_are_refused() {
    let running = start(ServerLimits::default()).await;
    let large = format!("x-large: {}\r\n", "a".repeat(40_000));
    for (bytes, status) in [
        (request("GET", "/bucket/k", EMPTY, &large), "HTTP/1.1 431"),
        ("GET /bucket HTTP/1.1\r\nbad header\r\n\r\n".to_owned(), "HTTP/1.1 400"),
        ("GET / HTTP/1.1\r\na: b\r\n c: d\r\n\r\n".to_owned(), "HTTP/1.1 400"),
        ("\u{0}\r\n\r\n".to_owned(), "HTTP/1.1 400"),
    ] {
        let mut stream = connect(&running).await;
        stream.write_all(bytes.as_bytes()).await.unwrap();
        let answer = read_until(&mut stream, "\r\n").await;
        assert!(answer.starts_with(status), "{answer}");
    }
}

#[tokio::test]
async fn a_client_that_never_finishes_its_head_is_cut() {
    let limits = ServerLimits { header_timeout: Duration::from_millis(50), ..ServerLimits::default() };
    let running = start(limits).await;
    let mut stream = connect(&running).await;
    stream.write_all(b"GET /bucket HTTP/1.1\r\nx-slow").await.unwrap();
    assert!(!read_to_close(&mut stream).await.contains("200"));
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_for_a_place() {
    let running = start(ServerLimits { connections: 1, ..ServerLimits::default() }).await;
    let mut first = connect(&running).await;
    first.write_all(request("GET", "/bucket/one", EMPTY, "").as_bytes()).await.unwrap();
    read_until(&mut first, "GetObject bucket one").await;
    let mut second = connect(&running).await;
    second.write_all(request("GET", "/bucket/two", EMPTY, "").as_bytes()).await.unwrap();
    let mut byte = [0; 1];
    assert!(timeout(Duration::from_millis(100), second.read(&mut byte)).await.is_err());
    drop(first);
    read_until(&mut second, "GetObject bucket two").await;
}

#[tokio::test]
async fn a_shutdown_lets_requests_finish_and_closes_idle_connections() {
    let running = start(ServerLimits::default()).await;
    let mut idle = connect(&running).await;
    idle.write_all(request("GET", "/bucket/k", EMPTY, "").as_bytes()).await.unwrap();
    read_until(&mut idle, "GetObject bucket k").await;
    let mut busy = connect(&running).await;
    let expecting = "Content-Length: 5\r\nExpect: 100-continue\r\n";
    busy.write_all(request("PUT", "/bucket/k", "UNSIGNED-PAYLOAD", expecting).as_bytes()).await.unwrap();
    read_until(&mut busy, "100 Continue").await;
    running.stop.send(()).unwrap();
    assert_eq!(read_to_close(&mut idle).await, "");
    assert!(TcpStream::connect(running.address).await.is_err());
    busy.write_all(b"hello").await.unwrap();
    assert!(read_to_close(&mut busy).await.contains("PutObject bucket k 5"));
    assert!(running.server.await.unwrap());
    assert_eq!(running.recorder.observed.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn a_drain_that_takes_too_long_is_given_up() {
    let running = start(ServerLimits { drain: Duration::from_millis(50), ..ServerLimits::default() }).await;
    let mut busy = connect(&running).await;
    let expecting = "Content-Length: 5\r\nExpect: 100-continue\r\n";
    busy.write_all(request("PUT", "/bucket/k", "UNSIGNED-PAYLOAD", expecting).as_bytes()).await.unwrap();
    read_until(&mut busy, "100 Continue").await;
    running.stop.send(()).unwrap();
    assert!(!running.server.await.unwrap());
}

type H2 = hyper::client::conn::http2::SendRequest<http_body_util::Full<bytes::Bytes>>;

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
) -> http::Request<http_body_util::Full<bytes::Bytes>> {
    let head = Signer::default().signed(method, target, payload, &[]);
    let mut request = http::Request::new(http_body_util::Full::new(bytes::Bytes::from_static(body)));
    *request.method_mut() = head.method;
    // The signer's host is the authority here, as no client of HTTP/2 sends the header.
    *request.uri_mut() = format!("http://localhost{target}").parse().unwrap();
    *request.headers_mut() = head.headers;
    request.headers_mut().remove(http::header::HOST);
    request
}

#[tokio::test]
async fn http2_is_spoken_where_the_client_begins_with_it_and_the_authority_is_the_signed_host() {
    use http_body_util::BodyExt as _;
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
    assert_eq!(sender.send_request(many).await.unwrap().status().as_u16(), 431);
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
