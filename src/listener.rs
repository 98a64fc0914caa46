//! A listener for HTTP/1.1 and HTTP/2, in clear text or over TLS: bounded connections, deadlines for headers and idle
//! connections, TCP_NODELAY, a deadline for clients that do not read, and an orderly end.

mod activity;
mod paced;
pub(crate) mod progress;
mod sniff;
mod tls;
mod worded;

pub use tls::{Tls, TlsError};

use activity::{Activity, Streams, Watched};
use bytes::Bytes;
use http::header::{CONNECTION, HOST, HeaderValue};
use http::uri::Authority;
use http::{Request, Response, StatusCode, Version};
use http_body_util::{Either, Full};
use hyper::body::{Body, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use paced::Paced;
use sniff::Sniffed;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use worded::{Exchange, Worded};

/// The most bytes of request line and headers; more is refused.
const MAX_HEADER_BYTES: u16 = 32 * 1024;
/// The most headers.
const MAX_HEADERS: usize = 128;
/// Requests that one HTTP/2 connection may have under way.
const MAX_STREAMS: u32 = 64;
/// Streams that a client may open and reset before we have seen them; one more ends the connection.
const MAX_RESET_STREAMS: usize = 20;
/// What a client may send on an HTTP/2 stream, and on all of a connection, before it is read.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// How long to rest when the system refuses another connection, for example for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Limits of a listener.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The most connections at once; further ones wait in the system's queue.
    pub connections: usize,
    /// How long a client may take for its headers, and may be idle between requests.
    pub header_timeout: Duration,
    /// The largest piece of a body that is read at once, in bytes.
    pub read_buffer: usize,
    /// How long requests under way may take once the server shuts down.
    pub drain: Duration,
}

/// Something that answers requests.
pub trait Service: Send + Sync + 'static {
    /// The answers' bodies.
    type Body: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>
        + Send
        + Unpin
        + 'static;

    /// Answers a request from an address.
    fn call(
        self: &Arc<Self>,
        address: IpAddr,
        request: Request<Incoming>,
    ) -> impl Future<Output = Response<Self::Body>> + Send;

    /// Answers a head that never becomes a request, in place of the HTTP library's bare status. Sets no header about the
    /// connection or the length.
    fn refuse(&self, _address: IpAddr, status: StatusCode) -> Response<Bytes> {
        let mut answer = Response::new(Bytes::new());
        *answer.status_mut() = status;
        answer
    }
}

/// Serves until `shutdown` is done, then takes no more connections and lets the requests under way finish. True if all
/// of them did.
pub async fn serve<S: Service>(
    listener: TcpListener,
    service: Arc<S>,
    limits: Limits,
    tls: Option<Arc<Tls>>,
    shutdown: impl Future<Output = ()>,
) -> bool {
    let permits = Arc::new(Semaphore::new(limits.connections.clamp(1, Semaphore::MAX_PERMITS)));
    // Each connection holds a receiver as long as it lives.
    let (stop, stopped) = watch::channel(());
    let mut shutdown = pin!(shutdown);
    loop {
        let (stream, address, permit) = tokio::select! {
            biased;
            () = &mut shutdown => break,
            accepted = accept(&listener, &permits) => accepted,
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY could not be set");
        }
        let door = Door {
            service: service.clone(),
            address: address.to_canonical(),
            limits,
            stopped: stopped.clone(),
        };
        let acceptor = tls.as_ref().map(|tls| tls.acceptor());
        tokio::spawn(async move {
            if let Err(error) = door.open(Paced::new(stream), acceptor).await {
                tracing::debug!(%address, %error, "a connection ended early");
            }
            drop(permit);
        });
    }
    drop((listener, stopped));
    let _ = stop.send(());
    timeout(limits.drain, stop.closed()).await.is_ok()
}

/// One connection's way to the service.
struct Door<S> {
    service: Arc<S>,
    address: IpAddr,
    limits: Limits,
    stopped: watch::Receiver<()>,
}

impl<S: Service> Door<S> {
    async fn open(self, stream: Paced<TcpStream>, acceptor: Option<TlsAcceptor>) -> Result<(), BoxError> {
        if let Some(acceptor) = acceptor {
            let Some(stream) = self.greeted(acceptor.accept(stream)).await? else { return Ok(()) };
            let http2 = stream.get_ref().1.alpn_protocol() == Some(tls::HTTP2);
            return self.serve(stream, http2).await;
        }
        let Some((http2, stream)) = self.greeted(Sniffed::sniff(stream)).await? else { return Ok(()) };
        self.serve(stream, http2).await
    }

    /// What a client says first, or none when the server stops before it said it. One that says nothing is not kept.
    async fn greeted<T>(&self, greeting: impl Future<Output = io::Result<T>>) -> Result<Option<T>, BoxError> {
        let mut stopped = self.stopped.clone();
        tokio::select! {
            greeted = timeout(self.limits.header_timeout, greeting) => Ok(Some(greeted??)),
            _ = stopped.changed() => Ok(None),
        }
    }

    async fn serve(
        self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        http2: bool,
    ) -> Result<(), BoxError> {
        let Self { service, address, limits, stopped } = self;
        let idle = limits.header_timeout;
        if http2 {
            let activity = Activity::new();
            let watched = activity.clone();
            let answer = service_fn(move |request| {
                let (service, activity) = (service.clone(), watched.clone());
                async move { Ok::<_, Infallible>(respond(&service, &activity, address, request).await) }
            });
            let connection = http2_builder(&limits).serve_connection(TokioIo::new(stream), answer);
            attend(connection, stopped, async move { activity.idle(idle).await }, idle).await
        } else {
            let exchange = Exchange::default();
            let refusing = service.clone();
            let words = move |status| refusing.refuse(address, status);
            let stream = TokioIo::new(Worded::new(stream, exchange.clone(), words));
            let answer = service_fn(move |request| {
                let (service, under_way) = (service.clone(), exchange.begin());
                async move {
                    let answer = respond_alone(&service, address, request).await;
                    Ok::<_, Infallible>(answer.map(|body| under_way.answer(body)))
                }
            });
            let connection = http1_builder(&limits).serve_connection(stream, answer);
            // The library watches headers and idleness itself, and the transport shows what is not read.
            attend(connection, stopped, std::future::pending(), idle).await
        }
    }
}

/// Sees a connection through: to its own end, to the server's stop, or until it is idle.
async fn attend<C: GracefulConnection<Error: Into<BoxError>>>(
    connection: C,
    mut stopped: watch::Receiver<()>,
    is_idle: impl Future<Output = ()>,
    farewell: Duration,
) -> Result<(), BoxError> {
    let mut connection = pin!(connection);
    let mut is_idle = pin!(is_idle);
    tokio::select! {
        ended = &mut connection => return ended.map_err(Into::into),
        () = &mut is_idle => {}
        _ = stopped.changed() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = &mut connection => return ended.map_err(Into::into),
                () = &mut is_idle => {}
            }
        }
    }
    connection.as_mut().graceful_shutdown();
    // A client that does not even take the farewell is left.
    timeout(farewell, connection).await?.map_err(Into::into)
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Answers a request over HTTP/1.
async fn respond_alone<S: Service>(
    service: &Arc<S>,
    address: IpAddr,
    request: Request<Incoming>,
) -> Response<Either<S::Body, Full<Bytes>>> {
    if has_one_host(&request) {
        return service.call(address, request).await.map(Either::Left);
    }
    let mut refused = service.refuse(address, StatusCode::BAD_REQUEST);
    refused.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    refused.map(|body| Either::Right(Full::new(body)))
}

/// Answers one of the requests of a connection over HTTP/2.
async fn respond<S: Service>(
    service: &Arc<S>,
    activity: &Arc<Activity>,
    address: IpAddr,
    mut request: Request<Incoming>,
) -> Response<Either<Watched<S::Body>, Full<Bytes>>> {
    let under_way = activity.request();
    let refused = |status| service.refuse(address, status).map(|body| Either::Right(Full::new(body)));
    if request.headers().len() > MAX_HEADERS {
        return refused(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    }
    // Signatures cover `Host`, which HTTP/2 calls `:authority`; where both are given, that is the one that counts.
    let authority = request.uri().authority().map(|authority| HeaderValue::from_str(authority.as_str()));
    if let Some(Ok(host)) = authority {
        request.headers_mut().insert(HOST, host);
    } else if !has_one_host(&request) {
        return refused(StatusCode::BAD_REQUEST);
    }
    let mut response = service.call(address, request).await;
    // Of one stream among many it says nothing, and the protocol forbids it.
    response.headers_mut().remove(CONNECTION);
    response.map(|body| Either::Left(under_way.answer(body)))
}

/// Whether a request says once which host it is for (RFC 9112, 3.2; HTTP/1.0 need not say it, nor HTTP/2 where there is no
/// authority: RFC 9113, 8.3.1). Which of two a signature or a bucket's name would be taken from is no question to ask.
fn has_one_host<B>(request: &Request<B>) -> bool {
    let mut hosts = request.headers().get_all(HOST).iter();
    let Some(host) = hosts.next() else { return request.version() != Version::HTTP_11 };
    let authority = Authority::try_from(host.as_bytes());
    let target = request.uri().authority();
    hosts.next().is_none()
        && authority.is_ok_and(|authority| target.is_none_or(|target| *target == authority))
}

fn http1_builder(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        // A client that has sent all it wants to send may say so and still wait for its answer.
        .half_close(true)
        .header_read_timeout(limits.header_timeout)
        .max_header_size(MAX_HEADER_BYTES.into())
        .max_headers(MAX_HEADERS)
        .max_buf_size(limits.read_buffer);
    builder
}

fn http2_builder(limits: &Limits) -> http2::Builder<Streams> {
    let mut builder = http2::Builder::new(Streams);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_pending_accept_reset_streams(MAX_RESET_STREAMS)
        .max_header_list_size(MAX_HEADER_BYTES.into())
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(limits.read_buffer);
    builder
}

async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> (TcpStream, IpAddr, Option<OwnedSemaphorePermit>) {
    // The semaphore is never closed, so there is always a permit in the end.
    let permit = permits.clone().acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => return (stream, peer.ip(), permit),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests;
