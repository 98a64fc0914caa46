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
async fn a_client_that_is_refused_in_mid_body_sees_why_and_may_send_the_rest() {
    let running = start(ServerLimits::default()).await;
    let mut stream = connect(&running).await;
    let head = request("PUT", "/foreign/k", "UNSIGNED-PAYLOAD", "Content-Length: 900000\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&vec![b'x'; 300_000]).await.unwrap();
    let answer = read_until(&mut stream, "</Error>").await;
    assert!(answer.contains("AccessDenied") && answer.contains("connection: close"), "{answer}");
    stream.write_all(&vec![b'x'; 600_000]).await.unwrap();
    assert_eq!(read_to_close(&mut stream).await, "");
}

#[tokio::test]
async fn a_refused_client_that_sends_no_body_is_answered_at_once() {
    let running = start(ServerLimits::default()).await;
    let mut stream = connect(&running).await;
    let began = tokio::time::Instant::now();
    let head = request("PUT", "/foreign/k", "UNSIGNED-PAYLOAD", "Content-Length: 5\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let answer = read_until(&mut stream, "</Error>").await;
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert!(answer.contains("connection: close"), "{answer}");
    assert_eq!(read_to_close(&mut stream).await, "");
}

#[tokio::test]
async fn a_refused_request_whose_body_came_with_it_keeps_its_connection() {
    let running = start(ServerLimits::default()).await;
    let mut stream = connect(&running).await;
    let refused = request("PUT", "/foreign/k", "UNSIGNED-PAYLOAD", "Content-Length: 5\r\n") + "hello";
    stream.write_all(refused.as_bytes()).await.unwrap();
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
async fn heads_that_are_too_large_or_no_http_are_refused_in_the_words_of_s3() {
    let running = start(ServerLimits::default()).await;
    let large = format!("x-large: {}\r\n", "a".repeat(40_000));
    let many = (0..200).map(|number| format!("a-{number}: 1\r\n")).collect::<Vec<_>>().concat();
    let with = |more: &str| request("PUT", "/bucket/k", EMPTY, more);
    let cases = [
        (with(&large), "RequestHeaderSectionTooLarge"),
        (with(&many), "RequestHeaderSectionTooLarge"),
        (with("content-length: 1\r\ncontent-length: 2\r\n"), "BadRequest"),
        (with("content-length: -1\r\n"), "BadRequest"),
        (with("transfer-encoding: gzip\r\n"), "BadRequest"),
        ("GET /bucket HTTP/1.1\r\nbad header\r\n\r\n".to_owned(), "BadRequest"),
        ("GET / HTTP/1.1\r\na: b\r\n c: d\r\n\r\n".to_owned(), "BadRequest"),
        ("GET / HTTP/1.1\r\na: b\r\n\r\n".to_owned(), "BadRequest"),
        ("\u{0}\r\n\r\n".to_owned(), "BadRequest"),
    ];
    let refused = cases.len();
    for (bytes, code) in cases {
        // Alone, and behind a request that was answered on the same connection.
        for before in [false, true] {
            let mut stream = connect(&running).await;
            if before {
                stream.write_all(request("GET", "/bucket/k", EMPTY, "").as_bytes()).await.unwrap();
                read_until(&mut stream, "GetObject bucket k").await;
            }
            stream.write_all(bytes.as_bytes()).await.unwrap();
            let answer = read_until(&mut stream, "</Error>").await;
            assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
            assert!(answer.contains(&format!("<Error><Code>{code}</Code>")), "{answer}");
            let (head, document) = answer.split_once("\r\n\r\n").unwrap();
            let id = head.lines().find_map(|line| line.strip_prefix("x-amz-request-id: ")).unwrap();
            assert!(document.contains(&format!("<RequestId>{id}</RequestId><HostId>")), "{answer}");
            assert!(head.contains(&format!("content-length: {}", document.len())), "{answer}");
            assert!(head.contains("connection: close") && head.contains("\r\ndate: "), "{answer}");
        }
    }
    let observed = running.recorder.observed.lock().unwrap();
    assert_eq!(observed.iter().filter(|seen| seen.operation.is_empty()).count(), 2 * refused);
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

mod http2;
