//! One connection: signs requests with the program's own signer, sends them, and takes the answers in.

use super::work::{Step, scatter};
use super::{BenchError, Listing, LoadOptions};
use crate::auth::Secret;
use crate::s3::request::RequestHead;
use crate::s3::sigv4::{PayloadHash, Scope, sign};
use bytes::Bytes;
use http::header::{HOST, HeaderValue};
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use siltstone_log::host::Clock;
use siltstone_log::host::real::RealClock;
use std::net::Ipv4Addr;
use std::sync::Arc;
use tokio::net::TcpStream;

/// Keys on a page of a listing.
pub(in crate::bench) const PAGE_KEYS: u64 = 1000;
/// The most of an error's body that is looked at.
const MAX_ERROR_BYTES: usize = 64 * 1024;

/// What all connections share.
pub(super) struct Target {
    authority: String,
    host: HeaderValue,
    region: String,
    access_key: String,
    secret: Secret,
    bucket: String,
    /// What the keys of this run begin with: runs side by side do not meet.
    prefix: String,
    /// The query of a listing.
    list: String,
    body: Bytes,
    /// Hashed once: every body is the same, and the processors are to be the server's.
    hash: PayloadHash,
    empty: PayloadHash,
    clock: RealClock,
}

impl Target {
    pub(super) fn new(options: &LoadOptions, run: u32) -> Result<Self, BenchError> {
        let wrong = || BenchError::Target(options.endpoint.to_string());
        let authority = options.endpoint.authority().ok_or_else(wrong)?;
        let body = Bytes::from(vec![0x5a; options.size]);
        let port = authority.port_u16().unwrap_or(80);
        let prefix = format!("bench-{run:08x}-");
        let list = match options.listing {
            Listing::Own => format!("list-type=2&max-keys={PAGE_KEYS}&prefix={prefix}"),
            Listing::First => format!("list-type=2&max-keys={PAGE_KEYS}"),
            Listing::Prefixes => format!("delimiter=%2F&list-type=2&max-keys={PAGE_KEYS}"),
        };
        Ok(Self {
            authority: format!("{}:{port}", authority.host()),
            host: HeaderValue::from_str(authority.as_str()).map_err(|_| wrong())?,
            region: options.region.clone(),
            access_key: options.access_key.clone(),
            secret: options.secret.clone(),
            bucket: options.bucket.clone(),
            prefix,
            list,
            hash: PayloadHash::of(&body),
            empty: PayloadHash::of(&[]),
            body,
            clock: RealClock::default(),
        })
    }

    fn key(&self, number: u64) -> String {
        format!("/{}/{}{:08x}", self.bucket, self.prefix, scatter(number))
    }

    fn line(&self, step: &Step) -> (Method, String, String, Bytes) {
        let none = String::new;
        let bucket = || format!("/{}", self.bucket);
        match step {
            Step::HeadBucket => (Method::HEAD, bucket(), none(), Bytes::new()),
            Step::CreateBucket => (Method::PUT, bucket(), none(), Bytes::new()),
            Step::DeleteBucket => (Method::DELETE, bucket(), none(), Bytes::new()),
            Step::List => (Method::GET, bucket(), self.list.clone(), Bytes::new()),
            Step::Put(number) => (Method::PUT, self.key(*number), none(), self.body.clone()),
            Step::Get(number) => (Method::GET, self.key(*number), none(), Bytes::new()),
            Step::Delete(number) => (Method::DELETE, self.key(*number), none(), Bytes::new()),
        }
    }

    fn sign(&self, step: &Step) -> Result<Request<Full<Bytes>>, BenchError> {
        let (method, raw_path, raw_query, body) = self.line(step);
        let mut headers = HeaderMap::with_capacity(5);
        headers.insert(HOST, self.host.clone());
        let address = Ipv4Addr::UNSPECIFIED.into();
        let mut head = RequestHead { method, raw_path, raw_query, headers, address, host_bucket: None };
        let now = i64::try_from(self.clock.wall_millis() / 1000).unwrap_or_default();
        let hash = if body.is_empty() { &self.empty } else { &self.hash };
        sign(&mut head, &self.access_key, &self.secret, &Scope::s3(self.region.as_str()), now, hash)?;
        let mut target = head.raw_path;
        if !head.raw_query.is_empty() {
            target.push('?');
            target.push_str(&head.raw_query);
        }
        let uri = target.parse().map_err(|_| BenchError::Target(target.clone()))?;
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = head.method;
        *request.uri_mut() = uri;
        *request.headers_mut() = head.headers;
        Ok(request)
    }
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// The error's code, or its status where there is none; none for a success.
    pub(super) error: Option<String>,
    /// Body bytes, sent or received.
    pub(super) bytes: u64,
}

impl Answer {
    /// No answer at all.
    fn none(error: &dyn std::error::Error) -> Self {
        tracing::debug!(%error, "no answer");
        Self { status: 0, error: Some("ConnectionError".to_owned()), bytes: 0 }
    }

    /// Insists on a success.
    pub(super) fn must(self, step: &str) -> Result<(), BenchError> {
        match self.error {
            None => Ok(()),
            Some(answer) => Err(BenchError::Prepare { step: step.to_owned(), answer }),
        }
    }
}

/// A connection, opened when it is needed and again after it broke.
pub(super) struct Connection {
    target: Arc<Target>,
    open: Option<SendRequest<Full<Bytes>>>,
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

impl Connection {
    pub(super) fn new(target: Arc<Target>) -> Self {
        Self { target, open: None }
    }

    pub(super) fn sign(&self, step: &Step) -> Result<Request<Full<Bytes>>, BenchError> {
        self.target.sign(step)
    }

    /// Signs and sends.
    pub(super) async fn exchange(&mut self, step: &Step) -> Result<Answer, BenchError> {
        let request = self.sign(step)?;
        Ok(self.send(request).await)
    }

    /// Sends a request. An error of the connection is an answer too: load goes on.
    pub(super) async fn send(&mut self, request: Request<Full<Bytes>>) -> Answer {
        let mut open = match self.open.take().filter(|open| !open.is_closed()) {
            Some(open) => open,
            None => match connect(&self.target.authority).await {
                Ok(open) => open,
                Err(error) => return Answer::none(&*error),
            },
        };
        match answer(&mut open, request).await {
            Ok(answer) => {
                self.open = Some(open);
                answer
            }
            Err(error) => Answer::none(&*error),
        }
    }
}

async fn connect(authority: &str) -> Result<SendRequest<Full<Bytes>>, Failure> {
    let stream = TcpStream::connect(authority).await?;
    stream.set_nodelay(true)?;
    let (open, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(open)
}

async fn answer(
    open: &mut SendRequest<Full<Bytes>>,
    request: Request<Full<Bytes>>,
) -> Result<Answer, Failure> {
    open.ready().await?;
    let sent = hyper::body::Body::size_hint(request.body()).lower();
    let (head, mut body) = open.send_request(request).await?.into_parts();
    let (mut received, mut text) = (0u64, Vec::new());
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        received += data.len() as u64;
        if !head.status.is_success() && text.len() + data.len() <= MAX_ERROR_BYTES {
            text.extend_from_slice(&data);
        }
    }
    let error =
        (!head.status.is_success()).then(|| code(&text).unwrap_or_else(|| head.status.as_str().to_owned()));
    Ok(Answer { status: head.status.as_u16(), error, bytes: sent + received })
}

/// The code in an error document.
fn code(text: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(text).ok()?;
    let (code, _) = text.split_once("<Code>")?.1.split_once("</Code>")?;
    let plain = code.len() <= 64 && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
    plain.then(|| code.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_code_of_an_error_document_is_found() {
        assert_eq!(code(b"<Error><Code>SlowDown</Code></Error>").as_deref(), Some("SlowDown"));
        for none in [&b""[..], b"<Code>", b"<Code>a b</Code>", b"\xff<Code>A</Code>", b"</Code><Code>"] {
            assert_eq!(code(none), None);
        }
    }

    proptest! {
        #[test]
        fn no_error_document_is_too_odd(bytes: Vec<u8>) {
            if let Some(code) = code(&bytes) {
                prop_assert!(code.len() <= 64);
            }
        }
    }
}
