//! The S3 listener.
//!
//! Next hop: [`super::handle`].

use super::{S3State, handle};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
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
/// The largest piece of a body that is read at once.
const READ_BUFFER_BYTES: usize = 256 * 1024;
/// How long to rest when the system refuses another connection, for example for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Limits of the listener.
#[derive(Debug, Clone, Copy)]
pub struct ServerLimits {
    /// The most connections at once; further ones wait in the system's queue.
    pub connections: usize,
    /// How long a client may take for its headers, and may be idle between requests.
    pub header_timeout: Duration,
    /// How long requests under way may take once the server shuts down.
    pub drain: Duration,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self { connections: 10_000, header_timeout: Duration::from_secs(10), drain: Duration::from_secs(30) }
    }
}

/// Serves until `shutdown` is done, then takes no more connections and lets the requests under way finish. True if all
/// of them did.
pub async fn serve(
    listener: TcpListener,
    state: Arc<S3State>,
    limits: ServerLimits,
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
        let connection = connection(stream, address, &state, limits);
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

fn connection(
    stream: TcpStream,
    address: IpAddr,
    state: &Arc<S3State>,
    limits: ServerLimits,
) -> impl hyper_util::server::graceful::GracefulConnection<Error = hyper::Error, Output = Result<(), hyper::Error>>
+ Send
+ use<> {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY could not be set");
    }
    let state = state.clone();
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let state = state.clone();
        async move {
            let (parts, body) = request.into_parts();
            let source = body.map_err(Into::into).boxed_unsync();
            Ok::<_, Infallible>(handle(&state, parts, source, address.to_canonical()).await)
        }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_header_size(MAX_HEADER_BYTES)
        .max_headers(MAX_HEADERS)
        .max_buf_size(READ_BUFFER_BYTES)
        .serve_connection(TokioIo::new(stream), service)
}

#[cfg(test)]
mod tests;
