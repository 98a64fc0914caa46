//! Answers: status, headers and a body that is either at hand or pulled chunk by chunk.

use super::error::{S3Error, S3ErrorCode};
use super::request::{RequestHead, RequestId};
use super::xml::writer::DECLARATION;
use super::{Observation, Observer};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};
use hyper::body::{Body, Frame, SizeHint};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// Why a body could not be sent to its end. The connection is cut: the status is long gone.
pub type BodyFailure = Box<dyn std::error::Error + Send + Sync>;

/// Something that yields an answer's bytes on demand, so that no more is read ahead than the client takes.
pub trait ChunkSource: Send + 'static {
    /// The next bytes, or `None` at the end.
    fn next_chunk(&mut self) -> impl Future<Output = Result<Option<Bytes>, BodyFailure>> + Send;
}

type Pulled = (Option<Bytes>, Option<Box<dyn ErasedSource>>);

trait ErasedSource: Send {
    fn pull(self: Box<Self>) -> Pin<Box<dyn Future<Output = Result<Pulled, BodyFailure>> + Send>>;
}

impl<S: ChunkSource> ErasedSource for S {
    fn pull(mut self: Box<Self>) -> Pin<Box<dyn Future<Output = Result<Pulled, BodyFailure>> + Send>> {
        Box::pin(async move {
            let chunk = self.next_chunk().await?;
            let rest = chunk.is_some().then_some(self as Box<dyn ErasedSource>);
            Ok((chunk, rest))
        })
    }
}

enum State {
    Idle(Box<dyn ErasedSource>),
    Pulling(Pin<Box<dyn Future<Output = Result<Pulled, BodyFailure>> + Send>>),
    Ready(Bytes),
    Done,
}

/// An answer's body.
pub struct ResponseBody {
    state: State,
    remaining: Option<u64>,
    report: Option<Report>,
}

/// Tells an observer once the body is sent, or given up.
pub(super) struct Report {
    pub(super) observer: Arc<dyn Observer>,
    pub(super) observation: Observation,
}

impl Drop for Report {
    fn drop(&mut self) {
        self.observer.observe(self.observation);
    }
}

impl ResponseBody {
    /// No bytes.
    pub fn empty() -> Self {
        Self { state: State::Done, remaining: Some(0), report: None }
    }

    /// Bytes at hand.
    pub fn bytes(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let remaining = Some(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        if bytes.is_empty() {
            Self::empty()
        } else {
            Self { state: State::Ready(bytes), remaining, report: None }
        }
    }

    /// Bytes pulled from a source. With a length the answer has a `Content-Length`, and a source that yields another
    /// number of bytes cuts the connection; without one it is sent in chunks.
    pub fn pulled(length: Option<u64>, source: impl ChunkSource) -> Self {
        Self { state: State::Idle(Box::new(source)), remaining: length, report: None }
    }

    /// How many bytes are left to send, where that is known.
    pub fn remaining(&self) -> Option<u64> {
        self.remaining
    }

    pub(super) fn report(&mut self, report: Report) {
        self.report = Some(report);
    }

    fn account(&mut self, bytes: Bytes) -> Result<Frame<Bytes>, BodyFailure> {
        if let Some(report) = &mut self.report {
            report.observation.sent += bytes.len() as u64;
        }
        if let Some(remaining) = &mut self.remaining {
            let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            *remaining = remaining.checked_sub(len).ok_or("the body is longer than announced")?;
        }
        Ok(Frame::data(bytes))
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyFailure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFailure>>> {
        loop {
            match std::mem::replace(&mut self.state, State::Done) {
                State::Done => return Poll::Ready(None),
                State::Ready(bytes) => return Poll::Ready(Some(self.account(bytes))),
                State::Idle(source) => self.state = State::Pulling(source.pull()),
                State::Pulling(mut pull) => {
                    let Poll::Ready(pulled) = pull.as_mut().poll(cx) else {
                        self.state = State::Pulling(pull);
                        return Poll::Pending;
                    };
                    match pulled {
                        Err(error) => return Poll::Ready(Some(Err(error))),
                        Ok((None, _)) if self.remaining.is_some_and(|left| left > 0) => {
                            return Poll::Ready(Some(Err("the body is shorter than announced".into())));
                        }
                        Ok((chunk, rest)) => {
                            self.state = rest.map_or(State::Done, State::Idle);
                            if let Some(bytes) = chunk.filter(|bytes| !bytes.is_empty()) {
                                return Poll::Ready(Some(self.account(bytes)));
                            }
                        }
                    }
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.state, State::Done)
    }

    fn size_hint(&self) -> SizeHint {
        self.remaining.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// What a handler answers. The dispatcher adds the request ids and, for HEAD, drops the body.
pub struct S3Response {
    /// The status.
    pub status: StatusCode,
    /// The headers. `Content-Length` comes from the body; only an answer to HEAD sets its own.
    pub headers: HeaderMap,
    /// The body.
    pub body: ResponseBody,
}

impl S3Response {
    /// A status without a body.
    pub fn empty(status: StatusCode) -> Self {
        Self { status, headers: HeaderMap::new(), body: ResponseBody::empty() }
    }

    /// 200 with an XML document.
    pub fn xml(document: impl Into<Bytes>) -> Self {
        Self::empty(StatusCode::OK)
            .header(CONTENT_TYPE, HeaderValue::from_static("application/xml"))
            .body(ResponseBody::bytes(document))
    }

    /// Sets a header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: ResponseBody) -> Self {
        self.body = body;
        self
    }

    /// The answer to a request that was refused or failed.
    pub fn from_error(error: S3Error, head: &RequestHead, ids: &RequestId) -> Self {
        let mut answer = Self::empty(error.code.status());
        if error.code != S3ErrorCode::NotModified {
            let document = error_document(&error, &head.raw_path, ids);
            answer = answer
                .header(CONTENT_TYPE, HeaderValue::from_static("application/xml"))
                .body(ResponseBody::bytes(document));
        }
        answer.headers.extend(error.headers);
        answer
    }
}

/// The document that says what went wrong; `about` is what it is about where the error itself does not say.
pub(super) fn error_document(error: &S3Error, about: &str, ids: &RequestId) -> String {
    let mut out = String::with_capacity(512);
    out.push_str(DECLARATION);
    out.push_str("<Error>");
    let resource = error.resource.as_deref().unwrap_or(about);
    let first = [("Code", error.code.as_str()), ("Message", &error.message)];
    let extra = error.extra.iter().map(|(name, value)| (*name, value.as_str()));
    let last = [("Resource", resource), ("RequestId", &ids.id), ("HostId", &ids.host_id)];
    for (name, value) in first.into_iter().chain(extra).chain(last) {
        out.push('<');
        out.push_str(name);
        out.push('>');
        value.chars().for_each(|letter| push_escaped(&mut out, letter));
        out.push_str("</");
        out.push_str(name);
        out.push('>');
    }
    out.push_str("</Error>");
    out
}

/// XML 1.0 cannot carry most control characters, not even escaped.
fn push_escaped(out: &mut String, letter: char) {
    match letter {
        '&' => out.push_str("&amp;"),
        '<' => out.push_str("&lt;"),
        '>' => out.push_str("&gt;"),
        '"' => out.push_str("&quot;"),
        '\t' | '\n' => out.push(letter),
        '\r' => out.push_str("&#13;"),
        '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
        _ => out.push(letter),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::testing::{CountingEntropy, head};
    use http_body_util::BodyExt as _;
    use std::collections::VecDeque;

    struct Pieces(VecDeque<Result<&'static str, &'static str>>);

    impl ChunkSource for Pieces {
        async fn next_chunk(&mut self) -> Result<Option<Bytes>, BodyFailure> {
            self.0.pop_front().transpose().map(|piece| piece.map(Bytes::from)).map_err(Into::into)
        }
    }

    async fn collect(
        length: Option<u64>,
        pieces: &[Result<&'static str, &'static str>],
    ) -> Result<Bytes, String> {
        let body = ResponseBody::pulled(length, Pieces(pieces.iter().copied().collect()));
        body.collect().await.map(http_body_util::Collected::to_bytes).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn a_pulled_body_is_exactly_as_long_as_announced_or_cut() {
        let pieces = [Ok("ab"), Ok(""), Ok("c")];
        assert_eq!(collect(Some(3), &pieces).await, Ok(Bytes::from("abc")));
        assert_eq!(collect(None, &pieces).await, Ok(Bytes::from("abc")));
        assert_eq!(collect(Some(0), &[]).await, Ok(Bytes::new()));
        assert_eq!(collect(Some(2), &pieces).await, Err("the body is longer than announced".to_owned()));
        assert_eq!(collect(Some(4), &pieces).await, Err("the body is shorter than announced".to_owned()));
        assert_eq!(collect(Some(3), &[Ok("ab"), Err("rot")]).await, Err("rot".to_owned()));
    }

    #[tokio::test]
    async fn an_error_document_escapes_what_xml_cannot_carry() {
        let error = S3Error::with_message(S3ErrorCode::InvalidArgument, "a<b>&\"\r\u{1}")
            .extra("ArgumentName", "n")
            .resource("/r");
        let ids = RequestId::draw(&CountingEntropy::default());
        let answer = S3Response::from_error(error, &head("GET", "/x", &[]), &ids);
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        let text = answer.body.collect().await.unwrap().to_bytes();
        let text = std::str::from_utf8(&text).unwrap();
        let expected = "<Code>InvalidArgument</Code><Message>a&lt;b&gt;&amp;&quot;&#13;\u{fffd}</Message>\
                        <ArgumentName>n</ArgumentName><Resource>/r</Resource>";
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn not_modified_has_headers_and_no_body() {
        let etag = HeaderValue::from_static("\"e\"");
        let error = S3Error::new(S3ErrorCode::NotModified).header(http::header::ETAG, etag.clone());
        let ids = RequestId::draw(&CountingEntropy::default());
        let answer = S3Response::from_error(error, &head("GET", "/x", &[]), &ids);
        assert_eq!(answer.status, StatusCode::NOT_MODIFIED);
        assert_eq!(answer.headers.get(http::header::ETAG), Some(&etag));
        assert_eq!(answer.body.remaining(), Some(0));
        assert!(!answer.headers.contains_key(CONTENT_TYPE));
    }
}
