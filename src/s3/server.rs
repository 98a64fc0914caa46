//! The S3 listener.
//!
//! Next hop: [`super::handle`].

use super::response::ResponseBody;
use super::{S3State, handle, unread};
use crate::listener::{self, Limits, Service, Tls};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

/// The largest piece of a body that is read at once.
const READ_BUFFER_BYTES: usize = 256 * 1024;

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

impl Service for S3State {
    type Body = ResponseBody;

    async fn call(self: &Arc<Self>, address: IpAddr, request: Request<Incoming>) -> Response<ResponseBody> {
        let (parts, body) = request.into_parts();
        let source = body.map_err(Into::into).boxed_unsync();
        handle(self, parts, source, address).await
    }

    fn refuse(&self, address: IpAddr, status: StatusCode) -> Response<Bytes> {
        unread::refuse(self, address, status)
    }
}

/// Serves until `shutdown` is done, then takes no more connections and lets the requests under way finish. True if all
/// of them did.
pub async fn serve(
    listener: TcpListener,
    state: Arc<S3State>,
    limits: ServerLimits,
    tls: Option<Arc<Tls>>,
    shutdown: impl Future<Output = ()>,
) -> bool {
    let ServerLimits { connections, header_timeout, drain } = limits;
    let limits = Limits { connections, header_timeout, drain, read_buffer: READ_BUFFER_BYTES };
    listener::serve(listener, state, limits, tls, shutdown).await
}

#[cfg(test)]
mod tests;
