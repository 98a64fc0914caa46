//! Which version of HTTP a client speaks in clear text, seen from the first bytes it sends.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

/// How HTTP/2 begins, and no request of HTTP/1 does.
const HTTP2: [u8; 3] = *b"PRI";

/// A stream whose first bytes have been looked at.
pub(super) struct Sniffed<T> {
    inner: T,
    head: [u8; HTTP2.len()],
    read: usize,
    given: usize,
}

impl<T: AsyncRead + Unpin> Sniffed<T> {
    /// Looks at as many bytes as it takes. True for HTTP/2.
    pub(super) async fn sniff(mut inner: T) -> io::Result<(bool, Self)> {
        let mut head = [0; HTTP2.len()];
        let mut read = 0;
        loop {
            let rest = head.get_mut(read..).unwrap_or_default();
            let more = inner.read(rest).await?;
            read += more;
            let same = head.get(..read) == HTTP2.get(..read);
            if !same || more == 0 || read == HTTP2.len() {
                let http2 = same && read == HTTP2.len();
                return Ok((http2, Self { inner, head, read, given: 0 }));
            }
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Sniffed<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let head = this.head.get(this.given..this.read).unwrap_or_default();
        if head.is_empty() {
            return Pin::new(&mut this.inner).poll_read(cx, buf);
        }
        let (now, _) = head.split_at(head.len().min(buf.remaining()));
        buf.put_slice(now);
        this.given += now.len();
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Sniffed<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncWriteExt as _, duplex};

    #[tokio::test]
    async fn only_the_preface_is_http2_and_no_byte_is_lost_however_they_come() {
        for (sent, expected) in [
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", true),
            ("PUT /b/k HTTP/1.1\r\n\r\n", false),
            ("GET / HTTP/1.1\r\n\r\n", false),
            ("PR", false),
            ("", false),
        ] {
            for piece in [1, 2, 100] {
                let (near, mut far) = duplex(64);
                let writer = tokio::spawn(async move {
                    for bytes in sent.as_bytes().chunks(piece) {
                        far.write_all(bytes).await.unwrap();
                        tokio::task::yield_now().await;
                    }
                });
                let (http2, mut stream) = Sniffed::sniff(near).await.unwrap();
                let mut all = String::new();
                stream.read_to_string(&mut all).await.unwrap();
                writer.await.unwrap();
                assert_eq!((http2, all.as_str()), (expected, sent));
            }
        }
    }
}
