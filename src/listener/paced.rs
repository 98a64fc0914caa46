//! A connection that gives up on a client which does not read: no answer may hold its memory for ever.

use super::progress::Progress;
use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// A stream whose writes fail once the other side takes less than 1 KiB/s over 60 s. Counted is only the time in which
/// there was something to send and the system would not take it; what the system holds already counts as taken.
pub(super) struct Paced<T> {
    inner: T,
    progress: Progress,
    stalled: Option<Stall>,
}

struct Stall {
    began: Instant,
    patience: Pin<Box<Sleep>>,
}

impl<T> Paced<T> {
    pub(super) fn new(inner: T) -> Self {
        Self { inner, progress: Progress::default(), stalled: None }
    }

    /// What a write came to: its bytes are counted, or its waiting is.
    fn paced(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(written) => {
                let waited = self.stalled.take().map(|stall| stall.began.elapsed());
                if let Ok(bytes) = &written {
                    self.progress.moved(*bytes, waited.unwrap_or_default());
                }
                Poll::Ready(written)
            }
            Poll::Pending => {
                let patience = self.progress.patience();
                let stall = self.stalled.get_or_insert_with(|| Stall {
                    began: Instant::now(),
                    patience: Box::pin(sleep(patience)),
                });
                ready!(stall.patience.as_mut().poll(cx));
                Poll::Ready(Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "the client does not read its answer",
                )))
            }
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Paced<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_read(cx, buf)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Paced<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.inner).poll_write(cx, buf);
        this.paced(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.inner).poll_write_vectored(cx, bufs);
        this.paced(cx, written)
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
    use std::time::Duration;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    /// Writes a megabyte to a reader that takes `bytes` every `pause`; how long that lasted and how it ended.
    async fn write_to(bytes: usize, pause: Duration) -> (Duration, io::Result<()>) {
        let (near, mut far) = duplex(1024);
        let reader = tokio::spawn(async move {
            let mut piece = vec![0; bytes];
            while far.read_exact(&mut piece).await.is_ok() {
                sleep(pause).await;
            }
        });
        let began = Instant::now();
        let mut paced = Paced::new(near);
        let written = paced.write_all(&vec![7; 1 << 20]).await;
        let lasted = began.elapsed();
        drop(paced);
        reader.abort();
        (lasted, written)
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_is_given_up_after_a_minute() {
        let (lasted, written) = write_to(100, Duration::from_hours(1)).await;
        assert_eq!(written.map_err(|error| error.kind()), Err(io::ErrorKind::TimedOut));
        assert!((59..62).contains(&lasted.as_secs()), "{lasted:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_below_a_kibibyte_a_second_is_given_up_and_one_above_is_not() {
        let (lasted, written) = write_to(900, Duration::from_secs(1)).await;
        assert_eq!(written.map_err(|error| error.kind()), Err(io::ErrorKind::TimedOut));
        assert!(lasted < Duration::from_secs(130), "{lasted:?}");
        let (lasted, written) = write_to(1100, Duration::from_secs(1)).await;
        assert!(written.is_ok() && lasted > Duration::from_mins(15), "{lasted:?}");
    }
}
