//! The limit: a server on the same listener that takes any request, drops what it is sent, and answers GETs from
//! memory.

use crate::listener::{Limits, Service, serve};
use bytes::Bytes;
use http::header::{ETAG, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

/// As the S3 listener has it.
const LIMITS: Limits = Limits {
    connections: 10_000,
    header_timeout: Duration::from_secs(10),
    read_buffer: 256 * 1024,
    drain: Duration::ZERO,
};

struct Memory {
    answer: Bytes,
}

impl Service for Memory {
    type Body = Full<Bytes>;

    async fn call(self: &Arc<Self>, _: IpAddr, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let get = request.method() == Method::GET;
        let mut body = request.into_body();
        while let Some(Ok(_)) = body.frame().await {}
        let content = if get { self.answer.clone() } else { Bytes::new() };
        let mut response = Response::new(Full::new(content));
        *response.status_mut() = StatusCode::OK;
        response.headers_mut().insert(ETAG, HeaderValue::from_static("\"d41d8cd98f00b204e9800998ecf8427e\""));
        response
    }
}

/// Serves until the process ends; `ready` is told the address first.
pub fn run(listen: SocketAddr, answer_bytes: usize, ready: impl FnOnce(SocketAddr)) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("async").build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(listen).await?;
        ready(listener.local_addr()?);
        let memory = Arc::new(Memory { answer: Bytes::from(vec![0x5a; answer_bytes]) });
        serve(listener, memory, LIMITS, None, std::future::pending()).await;
        Ok(())
    })
}
