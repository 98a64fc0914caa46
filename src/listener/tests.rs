//! Connections over pipes in memory, where time stands still.

use super::*;
use crate::s3::testing::{Signer, identity, state};
use http_body_util::{BodyExt as _, Empty as NoBody, Full};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::TokioExecutor;
use tokio::io::duplex;
use tokio::time::Instant;

const LIMITS: Limits = Limits {
    connections: 1,
    header_timeout: Duration::from_hours(1),
    read_buffer: 256 * 1024,
    drain: Duration::from_secs(1),
};

/// Answers with as many bytes as the path says, and holds something for as long as these are there.
struct Sized(Arc<()>);

struct Held(Vec<u8>, #[expect(dead_code, reason = "its count is looked at")] Arc<()>);

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Service for Sized {
    type Body = Full<Bytes>;

    async fn call(self: &Arc<Self>, _: IpAddr, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let len = request.uri().path().trim_start_matches('/').parse().unwrap();
        Response::new(Full::new(Bytes::from_owner(Held(vec![7; len], self.0.clone()))))
    }
}

/// A connection of HTTP/2 to a service whose client takes so many bytes of each answer unasked.
async fn connect<S: Service, B>(service: Arc<S>, window: u32) -> SendRequest<B>
where
    B: Body<Data: Send, Error: Into<BoxError>> + Send + Unpin + 'static,
{
    let (near, far) = duplex(1 << 20);
    let (stop, stopped) = watch::channel(());
    let door = Door { service, address: IpAddr::from([127, 0, 0, 1]), limits: LIMITS, stopped };
    tokio::spawn(async move {
        let ended = door.serve(near, true).await;
        drop(stop);
        ended
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder.initial_stream_window_size(window);
    let (sender, connection) = builder.handshake(TokioIo::new(far)).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn get(path: &str) -> Request<NoBody<Bytes>> {
    Request::get(format!("http://localhost{path}")).body(NoBody::new()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_stream_whose_answer_is_not_taken_is_reset_alone_and_gives_back_what_it_held() {
    let held = Arc::new(());
    let mut sender = connect(Arc::new(Sized(held.clone())), 100).await;
    let stalled = [get("/200"), get("/100000")].map(|request| sender.send_request(request));
    let [last_piece, many_pieces] = stalled;
    let (last_piece, many_pieces) = (last_piece.await.unwrap(), many_pieces.await.unwrap());
    tokio::time::sleep(Duration::from_secs(50)).await;
    assert_eq!(Arc::strong_count(&held), 4);
    let whole = sender.send_request(get("/50")).await.unwrap();
    assert_eq!(whole.into_body().collect().await.unwrap().to_bytes().len(), 50);
    tokio::time::sleep(Duration::from_secs(15)).await;
    assert_eq!(Arc::strong_count(&held), 2);
    for answer in [last_piece, many_pieces] {
        assert!(answer.into_body().collect().await.is_err());
    }
    let after = sender.send_request(get("/50")).await.unwrap();
    assert_eq!(after.into_body().collect().await.unwrap().to_bytes().len(), 50);
}

#[tokio::test(start_paused = true)]
async fn a_request_over_http2_says_at_most_one_host_that_can_be_read() {
    let mut sender = connect(Arc::new(Sized(Arc::new(()))), 65_535).await;
    for (target, hosts, status) in [
        ("http://localhost/5", &[][..], 200),
        ("http://localhost/5", &["a", "b"], 200),
        ("/5", &[], 200),
        ("/5", &["a"], 200),
        ("/5", &["a", "b"], 400),
        ("/5", &["a", "a"], 400),
        ("/5", &["a b"], 400),
    ] {
        let mut request = Request::get(target).body(NoBody::<Bytes>::new()).unwrap();
        for host in hosts {
            request.headers_mut().append(HOST, HeaderValue::from_static(host));
        }
        let answer = sender.send_request(request).await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{target} {hosts:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_larger_than_all_windows_arrives_whole() {
    let mut sender = connect(Arc::new(Sized(Arc::new(()))), 40_000).await;
    for len in [0, 1, 32 * 1024, 3_000_000] {
        let answer = sender.send_request(get(&format!("/{len}"))).await.unwrap();
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes().len(), len);
    }
}

/// A body that never comes.
struct Silent;

impl Body for Silent {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, Self::Error>>> {
        std::task::Poll::Pending
    }
}

#[tokio::test(start_paused = true)]
async fn a_sender_over_http2_is_cut_for_lack_of_progress() {
    let mut sender = connect(state(identity(1, true, &[])).0, 65_535).await;
    let head = Signer::default().signed("PUT", "/bucket/k", "UNSIGNED-PAYLOAD", &[("content-length", "5")]);
    let mut request = Request::put("http://localhost/bucket/k").body(Silent).unwrap();
    *request.headers_mut() = head.headers;
    request.headers_mut().remove(HOST);
    let began = Instant::now();
    let answer = sender.send_request(request).await.unwrap();
    let text = answer.into_body().collect().await.unwrap().to_bytes();
    assert!(String::from_utf8_lossy(&text).contains("<Code>RequestTimeout</Code>"), "{text:?}");
    assert!((59..63).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
}
