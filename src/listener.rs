//! A listener for HTTP/1.1: bounded connections, header deadlines, TCP_NODELAY, a deadline for clients that do not
//! read, and an orderly end.

mod paced;
pub(crate) mod progress;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use paced::Paced;
use std::convert::Infallible;
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

/// The most bytes of request line and headers; more is answered with 431.
const MAX_HEADER_BYTES: usize = 32 * 1024;
/// The most headers.
const MAX_HEADERS: usize = 128;
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
    type Body: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static;

    /// Answers a request from an address.
    fn call(
        self: &Arc<Self>,
        address: IpAddr,
        request: Request<Incoming>,
    ) -> impl Future<Output = Response<Self::Body>> + Send;
}

/// Serves until `shutdown` is done, then takes no more connections and lets the requests under way finish. True if all
/// of them did.
pub async fn serve<S: Service>(
    listener: TcpListener,
    service: Arc<S>,
    limits: Limits,
    shutdown: impl Future<Output = ()>,
) -> bool {
    let permits = Arc::new(Semaphore::new(limits.connections.clamp(1, Semaphore::MAX_PERMITS)));
    let graceful = GracefulShutdown::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let (stream, address, permit) = tokio::select! {
            biased;
            () = &mut shutdown => break,
            accepted = accept(&listener, &permits) => accepted,
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY could not be set");
        }
        let service = service.clone();
        let answer = service_fn(move |request| {
            let service = service.clone();
            async move { Ok::<_, Infallible>(service.call(address.to_canonical(), request).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            // A client that has sent all it wants to send may say so and still wait for its answer.
            .half_close(true)
            .header_read_timeout(limits.header_timeout)
            .max_header_size(MAX_HEADER_BYTES)
            .max_headers(MAX_HEADERS)
            .max_buf_size(limits.read_buffer)
            .serve_connection(TokioIo::new(Paced::new(stream)), answer);
        let watched = graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = watched.await {
                tracing::debug!(%address, %error, "a connection ended early");
            }
            drop(permit);
        });
    }
    drop(listener);
    timeout(limits.drain, graceful.shutdown()).await.is_ok()
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
