//! The HTTP library's own answers to heads that it cannot read, put into the words of the door: hyper answers these itself,
//! bare, and has no hook for them.
//!
//! They are known for certain, not by how they look: while no request is under way, and the end of the last answer has
//! left the library, nothing but such an answer is written. Where a client sends the broken head before it took all of
//! the answer to the request ahead of it, that is not so, and the bare answer stays.

use bytes::{Buf as _, Bytes};
use http::{Response, StatusCode};
use hyper::body::{Body, Frame, SizeHint};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// No request is under way, and all that was answered has left the library.
const QUIET: u8 = 0;
/// A request is under way.
const BUSY: u8 = 1;
/// The last answer is complete, but the library may still hold the end of it.
const SETTLING: u8 = 2;

/// How far a connection is with its requests, of which HTTP/1 has one at a time.
#[derive(Clone, Default)]
pub(super) struct Exchange(Arc<AtomicU8>);

impl Exchange {
    /// A request arrived. It is under way until what this gives is dropped.
    pub(super) fn begin(&self) -> UnderWay {
        self.0.store(BUSY, Ordering::Relaxed);
        UnderWay(self.clone())
    }

    /// The library has written all that it had.
    fn settle(&self) {
        let _ = self.0.compare_exchange(SETTLING, QUIET, Ordering::Relaxed, Ordering::Relaxed);
    }

    fn is_quiet(&self) -> bool {
        self.0.load(Ordering::Relaxed) == QUIET
    }
}

/// A request under way.
pub(super) struct UnderWay(Exchange);

impl UnderWay {
    /// It is until its answer's body has ended.
    pub(super) fn answer<B>(self, body: B) -> Answering<B> {
        Answering { body, _under_way: self }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.0.store(SETTLING, Ordering::Relaxed);
    }
}

/// An answer's body.
pub(super) struct Answering<B> {
    body: B,
    _under_way: UnderWay,
}

impl<B: Body + Unpin> Body for Answering<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A stream that puts the library's own answers into words.
pub(super) struct Worded<T, W> {
    inner: T,
    exchange: Exchange,
    words: W,
    /// What is sent in place of the library's answer. That was the last thing on this connection.
    answer: Option<Bytes>,
}

impl<T, W: Fn(StatusCode) -> Response<Bytes>> Worded<T, W> {
    pub(super) fn new(inner: T, exchange: Exchange, words: W) -> Self {
        Self { inner, exchange, words, answer: None }
    }

    /// Whether the library writes an answer of its own; ours takes its place then.
    fn takes(&mut self, written: &[u8]) -> bool {
        if self.answer.is_none() && self.exchange.is_quiet() {
            let status = written.get(9..12).filter(|_| written.starts_with(b"HTTP/1."));
            let status = status.and_then(|digits| StatusCode::from_bytes(digits).ok());
            let answer = status.filter(StatusCode::is_client_error).map(|status| (self.words)(status));
            self.answer = answer.map(|answer| on_the_wire(&answer));
        }
        self.answer.is_some()
    }
}

impl<T: AsyncWrite + Unpin, W> Worded<T, W> {
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.answer.as_mut().filter(|rest| !rest.is_empty()) {
            let written = ready!(Pin::new(&mut self.inner).poll_write(cx, rest))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            rest.advance(written);
        }
        Poll::Ready(Ok(()))
    }
}

/// An answer as HTTP/1.1 sends it. The connection ends with it.
fn on_the_wire(answer: &Response<Bytes>) -> Bytes {
    let reason = answer.status().canonical_reason().unwrap_or_default();
    let mut wire = format!("HTTP/1.1 {} {reason}\r\n", answer.status().as_u16()).into_bytes();
    for (name, value) in answer.headers() {
        wire.extend_from_slice(name.as_str().as_bytes());
        wire.extend_from_slice(b": ");
        wire.extend_from_slice(value.as_bytes());
        wire.extend_from_slice(b"\r\n");
    }
    let end = format!("content-length: {}\r\nconnection: close\r\n\r\n", answer.body().len());
    wire.extend_from_slice(end.as_bytes());
    wire.extend_from_slice(answer.body());
    wire.into()
}

impl<T: AsyncRead + Unpin, W: Unpin> AsyncRead for Worded<T, W> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_read(cx, buf)
    }
}

impl<T: AsyncWrite + Unpin, W: Fn(StatusCode) -> Response<Bytes> + Unpin> AsyncWrite for Worded<T, W> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.takes(buf) {
            return Poll::Ready(Ok(buf.len()));
        }
        Pin::new(&mut this.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let first = bufs.iter().find(|buf| !buf.is_empty());
        if this.takes(first.map_or(&[][..], |buf| &**buf)) {
            return Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()));
        }
        Pin::new(&mut this.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // The library flushes only once it has nothing left to write.
        this.exchange.settle();
        ready!(this.poll_answer(cx))?;
        Pin::new(&mut this.inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_answer(cx))?;
        Pin::new(&mut this.inner).poll_shutdown(cx)
    }
}
