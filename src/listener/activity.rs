//! What an HTTP/2 connection is doing, which the library does not watch: a client that keeps one without using it, or
//! that grants no window for the answers it asked for.

use super::progress::Progress;
use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The largest piece of an answer that HTTP/2 is given at once: what a client takes of a larger one could not be seen.
const PIECE_BYTES: usize = 32 * 1024;
/// How often connections are looked at.
const TICK: Duration = Duration::from_secs(1);

/// What is to be done about a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing was asked for too long: no new requests.
    Idle,
    /// An answer is not taken.
    Stalled,
}

/// An answer that is being sent.
#[derive(Default)]
struct Answer {
    progress: Progress,
    /// Since when the client holds us up, and how many bytes we wait for it to take.
    held: Option<(Instant, usize)>,
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

    /// Done once something is to be done about the connection.
    pub(super) async fn verdict(&self, idle: Duration) -> Verdict {
        loop {
            sleep(TICK.min(idle)).await;
            if let Some(verdict) = self.judge(idle) {
                return verdict;
            }
        }
    }

    fn judge(&self, idle: Duration) -> Option<Verdict> {
        let state = self.lock();
        let stalled = |answer: &Answer| {
            answer.held.is_some_and(|(since, _)| since.elapsed() >= answer.progress.patience())
        };
        if state.answers.values().any(stalled) {
            return Some(Verdict::Stalled);
        }
        let quiet = state.waiting == 0 && state.answers.is_empty() && state.idle_since.elapsed() >= idle;
        quiet.then_some(Verdict::Idle)
    }
}

/// A request that is being worked on.
pub(super) struct Request(Arc<Activity>);

impl Request {
    /// Its answer, watched.
    pub(super) fn answer<B>(self, body: B) -> Watched<B> {
        let mut state = self.0.lock();
        state.next += 1;
        let id = state.next;
        state.answers.insert(id, Answer::default());
        drop(state);
        Watched { inner: Box::pin(body), rest: Bytes::new(), activity: self.0.clone(), id }
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.waiting -= 1;
        state.idle_since = Instant::now();
    }
}

/// An answer's body, in pieces whose way can be watched.
pub(super) struct Watched<B> {
    inner: Pin<Box<B>>,
    rest: Bytes,
    activity: Arc<Activity>,
    id: u64,
}

impl<B> Watched<B> {
    /// Notes that the client holds us up from now on, or no longer.
    fn hold(&self, bytes: Option<usize>) {
        let mut state = self.activity.lock();
        if let Some(answer) = state.answers.get_mut(&self.id) {
            if let Some((since, bytes)) = answer.held.take() {
                answer.progress.moved(bytes, since.elapsed());
            }
            answer.held = bytes.map(|bytes| (Instant::now(), bytes));
        }
    }

    fn piece(&mut self, mut data: Bytes) -> Frame<Bytes> {
        let piece = data.split_to(data.len().min(PIECE_BYTES));
        self.rest = data;
        self.hold(Some(piece.len()));
        Frame::data(piece)
    }
}

impl<B: Body<Data = Bytes>> Body for Watched<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        self.hold(None);
        let data = std::mem::take(&mut self.rest);
        if !data.is_empty() {
            return Poll::Ready(Some(Ok(self.piece(data))));
        }
        match self.inner.as_mut().poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => Poll::Ready(Some(Ok(match frame.into_data() {
                Ok(data) => self.piece(data),
                Err(other) => other,
            }))),
            other => other,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.inner.is_end_stream()
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

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_requests_is_idle_and_one_with_a_slow_handler_is_not() {
        let activity = Activity::new();
        assert_eq!(activity.verdict(IDLE).await, Verdict::Idle);
        let request = activity.request();
        let working = tokio::time::timeout(Duration::from_hours(1), activity.verdict(IDLE)).await;
        assert!(working.is_err());
        drop(request);
        let began = Instant::now();
        assert_eq!(activity.verdict(IDLE).await, Verdict::Idle);
        assert!(began.elapsed() >= IDLE);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_not_taken_stalls_its_connection_after_a_minute() {
        let activity = Activity::new();
        let mut body = activity.request().answer(Full::new(Bytes::from(vec![7; 100_000])));
        assert_eq!(body.size_hint().exact(), Some(100_000));
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!((first.len(), body.size_hint().exact()), (PIECE_BYTES, Some(100_000 - 32 * 1024)));
        let began = Instant::now();
        assert_eq!(activity.verdict(IDLE).await, Verdict::Stalled);
        assert!((59..63).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_taken_at_two_kibibytes_a_second_is_whole_and_never_stalls() {
        let activity = Activity::new();
        let mut body = activity.request().answer(Full::new(Bytes::from(vec![7; 1 << 20])));
        let mut taken = 0;
        let reading = async {
            while let Some(frame) = body.frame().await {
                taken += frame.unwrap().into_data().unwrap().len();
                sleep(Duration::from_secs(16)).await;
            }
        };
        tokio::select! {
            biased;
            () = reading => {}
            verdict = activity.verdict(IDLE) => panic!("{verdict:?} after {taken}"),
        }
        assert_eq!(taken, 1 << 20);
    }
}
