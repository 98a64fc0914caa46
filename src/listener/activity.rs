//! What an HTTP/2 connection is doing, which the library does not watch: a client that keeps one without using it, or
//! that grants no window for the answers it asked for.

use super::progress::Progress;
use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use hyper::rt::Executor;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

/// The largest piece of an answer that HTTP/2 is given at once: what a client takes of a larger one could not be seen.
const PIECE_BYTES: usize = 32 * 1024;
/// How often connections are looked at.
const TICK: Duration = Duration::from_secs(1);

tokio::task_local! {
    /// Ends the stream that the running task serves.
    static CUT: Arc<Notify>;
}

/// Runs each stream of a connection on a task that its watch can end. The library resets a stream whose task ended
/// before its answer, and drops what it had queued for it; the connection's other streams go on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Streams;

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        let cut = Arc::new(Notify::new());
        tokio::spawn(CUT.scope(cut.clone(), async move {
            tokio::select! {
                () = stream => {}
                () = cut.notified() => tracing::debug!("a stream was reset: the client does not read its answer"),
            }
        }));
    }
}

/// An answer that is being sent.
struct Answer {
    cut: Arc<Notify>,
    progress: Progress,
    /// Pieces that were handed over and that the client has not taken.
    pieces: usize,
    /// Since when we wait for the client to take the first of them.
    since: Instant,
    /// Waits for the last of them.
    last: Option<Waker>,
}

struct State {
    idle_since: Instant,
    /// Requests whose answer has not begun, and answers under way.
    waiting: usize,
    answers: BTreeMap<u64, Answer>,
    next: u64,
}

/// Shared by a connection, its requests and their answers.
pub(super) struct Activity(Mutex<State>);

impl Activity {
    pub(super) fn new() -> Arc<Self> {
        let (idle_since, answers) = (Instant::now(), BTreeMap::new());
        Arc::new(Self(Mutex::new(State { idle_since, waiting: 0, answers, next: 0 })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request came.
    pub(super) fn request(self: &Arc<Self>) -> Request {
        let mut state = self.lock();
        state.waiting += 1;
        Request(self.clone())
    }

    /// Resets streams whose answers are not taken; done once nothing was asked for on the connection for so long.
    pub(super) async fn idle(&self, idle: Duration) {
        loop {
            sleep(TICK.min(idle)).await;
            let state = self.lock();
            let stalled =
                |answer: &&Answer| answer.pieces > 0 && answer.since.elapsed() >= answer.progress.patience();
            state.answers.values().filter(stalled).for_each(|answer| answer.cut.notify_one());
            if state.waiting == 0 && state.answers.is_empty() && state.idle_since.elapsed() >= idle {
                return;
            }
        }
    }
}

/// A request that is being worked on.
pub(super) struct Request(Arc<Activity>);

impl Request {
    /// Its answer, watched.
    pub(super) fn answer<B>(self, body: B) -> Watched<B> {
        let answer = Answer {
            // Outside of a connection, as in a test, there is nothing to end.
            cut: CUT.try_with(Arc::clone).unwrap_or_default(),
            progress: Progress::default(),
            pieces: 0,
            since: Instant::now(),
            last: None,
        };
        let mut state = self.0.lock();
        state.next += 1;
        let id = state.next;
        state.answers.insert(id, answer);
        drop(state);
        Watched { inner: Box::pin(body), ended: false, rest: Bytes::new(), activity: self.0.clone(), id }
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.waiting -= 1;
        state.idle_since = Instant::now();
    }
}

/// A piece of an answer, which the library drops when it was written to the connection, or never will be.
struct Piece {
    bytes: Bytes,
    activity: Arc<Activity>,
    id: u64,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        let mut state = self.activity.lock();
        let Some(answer) = state.answers.get_mut(&self.id) else { return };
        answer.pieces -= 1;
        answer.progress.moved(self.bytes.len(), answer.since.elapsed());
        answer.since = Instant::now();
        let last = if answer.pieces == 0 { answer.last.take() } else { None };
        drop(state);
        if let Some(last) = last {
            last.wake();
        }
    }
}

/// An answer's body, in pieces whose way can be watched. It ends when its last piece was taken, not before: what was
/// handed over with the stream's end could not be reset any more.
pub(super) struct Watched<B> {
    inner: Pin<Box<B>>,
    /// Whether it said that it ended.
    ended: bool,
    rest: Bytes,
    activity: Arc<Activity>,
    id: u64,
}

impl<B> Watched<B> {
    fn piece(&mut self, mut data: Bytes) -> Frame<Bytes> {
        let bytes = data.split_to(data.len().min(PIECE_BYTES));
        self.rest = data;
        if let Some(answer) = self.activity.lock().answers.get_mut(&self.id) {
            if answer.pieces == 0 {
                answer.since = Instant::now();
            }
            answer.pieces += 1;
        }
        let piece = Piece { bytes, activity: self.activity.clone(), id: self.id };
        Frame::data(Bytes::from_owner(piece))
    }

    /// Whether every piece was taken; whoever asks is woken when it was.
    fn is_taken(&self, waker: Option<&Waker>) -> bool {
        let mut state = self.activity.lock();
        let Some(answer) = state.answers.get_mut(&self.id) else { return true };
        if waker.is_some() {
            answer.last = waker.cloned();
        }
        answer.pieces == 0
    }
}

impl<B: Body<Data = Bytes>> Body for Watched<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let data = std::mem::take(&mut self.rest);
        if !data.is_empty() {
            return Poll::Ready(Some(Ok(self.piece(data))));
        }
        if !self.ended {
            match self.inner.as_mut().poll_frame(cx) {
                Poll::Ready(None) => self.ended = true,
                Poll::Ready(Some(Ok(frame))) => {
                    return Poll::Ready(Some(Ok(match frame.into_data() {
                        Ok(data) => self.piece(data),
                        Err(other) => other,
                    })));
                }
                other => return other,
            }
        }
        if self.is_taken(Some(cx.waker())) { Poll::Ready(None) } else { Poll::Pending }
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && (self.ended || self.inner.is_end_stream()) && self.is_taken(None)
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, hint) = (self.rest.len() as u64, self.inner.size_hint());
        let mut whole = SizeHint::new();
        whole.set_lower(hint.lower().saturating_add(rest));
        if let Some(upper) = hint.upper() {
            whole.set_upper(upper.saturating_add(rest));
        }
        whole
    }
}

impl<B> Drop for Watched<B> {
    fn drop(&mut self) {
        let mut state = self.activity.lock();
        state.answers.remove(&self.id);
        state.idle_since = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::{BodyExt as _, Full};

    const IDLE: Duration = Duration::from_secs(10);

    /// An answer of zeros on a stream that is cut by what is returned with it.
    async fn answer(activity: &Arc<Activity>, len: usize) -> (Watched<Full<Bytes>>, Arc<Notify>) {
        let cut = Arc::new(Notify::new());
        let body = Full::new(Bytes::from(vec![0; len]));
        (CUT.scope(cut.clone(), async { activity.request().answer(body) }).await, cut)
    }

    async fn piece(body: &mut Watched<Full<Bytes>>) -> Bytes {
        body.frame().await.unwrap().unwrap().into_data().unwrap()
    }

    /// Waits until the stream is cut, while its connection is watched.
    async fn cut_after(activity: &Activity, cut: &Notify) -> Duration {
        let began = Instant::now();
        tokio::select! {
            biased;
            () = cut.notified() => began.elapsed(),
            () = activity.idle(IDLE) => panic!("idle with an answer under way"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_requests_is_idle_and_one_with_a_slow_handler_is_not() {
        let activity = Activity::new();
        activity.idle(IDLE).await;
        let request = activity.request();
        let working = tokio::time::timeout(Duration::from_hours(1), activity.idle(IDLE)).await;
        assert!(working.is_err());
        drop(request);
        let began = Instant::now();
        activity.idle(IDLE).await;
        assert!(began.elapsed() >= IDLE);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_not_taken_is_cut_after_a_minute_and_so_is_its_last_piece() {
        let activity = Activity::new();
        let (mut body, cut) = answer(&activity, 100_000).await;
        assert_eq!(body.size_hint().exact(), Some(100_000));
        let first = piece(&mut body).await;
        assert_eq!((first.len(), body.size_hint().exact()), (PIECE_BYTES, Some(100_000 - 32 * 1024)));
        let lasted = cut_after(&activity, &cut).await;
        assert!((59..63).contains(&lasted.as_secs()), "{lasted:?}");
        let (mut body, cut) = answer(&activity, 10).await;
        let last = piece(&mut body).await;
        assert!(!body.is_end_stream());
        let lasted = cut_after(&activity, &cut).await;
        assert!((59..63).contains(&lasted.as_secs()), "{lasted:?}");
        drop(last);
        assert!(body.is_end_stream() && body.frame().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_ends_once_its_last_piece_is_taken() {
        let activity = Activity::new();
        let (mut body, _) = answer(&activity, 10).await;
        let last = piece(&mut body).await;
        let taken = async {
            sleep(Duration::from_secs(30)).await;
            drop(last);
        };
        let began = Instant::now();
        let (end, ()) = tokio::join!(body.frame(), taken);
        assert!(end.is_none() && began.elapsed() >= Duration::from_secs(30));
        let mut empty = activity.request().answer(Full::new(Bytes::new()));
        assert!(empty.is_end_stream() && empty.frame().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_taken_at_two_kibibytes_a_second_is_whole_and_never_cut() {
        let activity = Activity::new();
        let (mut body, cut) = answer(&activity, 1 << 20).await;
        let mut taken = 0;
        let reading = async {
            while let Some(frame) = body.frame().await {
                sleep(Duration::from_secs(16)).await;
                taken += frame.unwrap().into_data().unwrap().len();
            }
        };
        tokio::select! {
            biased;
            () = reading => {}
            lasted = cut_after(&activity, &cut) => panic!("cut after {lasted:?}"),
        }
        assert_eq!(taken, 1 << 20);
    }
}
