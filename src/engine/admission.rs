//! Admission: what is not let in is refused before its body is read, so that memory and disk stay bounded.
//!
//! A permit goes where the bytes go: into the command, the write under way, the answer's chunks. What was admitted is
//! given back when the last of them is gone, and not when the client is.

use super::outcome::Unavailable;
use bytes::Bytes;
use siltstone_log::mutants::{Mutant, active};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// What an answer holds at most: one piece on its way to the client, one read ahead.
const READ_BYTES: u64 = 512 * 1024;
/// What the smallest answer counts for.
const LEAST_READ_BYTES: u64 = 4 * 1024;
/// The unit in which room for answers is counted.
const READ_UNIT: u64 = 1024;
/// How long an answer waits for room before its client is told to come again.
const READ_PATIENCE: Duration = Duration::from_secs(10);

/// What a request is going to need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// It stores bytes; as many as its headers announce.
    Store {
        /// Body bytes.
        bytes: u64,
    },
    /// It frees space, or administers: let in while the disk is nearly full.
    Manage,
}

/// Limits of what may be under way at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most bytes of buffers that requests under way may hold together.
    pub bytes: u64,
    /// The most bytes of content that answers under way may hold together.
    pub read_bytes: u64,
    /// The most requests under way.
    pub requests: u64,
    /// Memory that one request holds at most, whatever its size.
    pub per_request: u64,
    /// Below this many free bytes nothing that stores is let in.
    pub free_floor: u64,
}

/// Free bytes of the volumes of a data directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FreeSpace {
    /// Where content goes: the lesser of what log and packs have.
    pub content: u64,
    /// Where rows go. Their store does not survive a full volume: it writes nothing more before a restart.
    pub rows: u64,
}

impl FreeSpace {
    /// The system does not say: then nothing is refused for it.
    pub const UNKNOWN: Self = Self { content: u64::MAX, rows: u64::MAX };
}

/// Counts what is under way.
#[derive(Debug)]
pub struct Admission {
    limits: Limits,
    bytes: AtomicU64,
    requests: AtomicU64,
    /// Free bytes for content as the poller saw them, less what was written since.
    content_free: AtomicU64,
    /// Free bytes for rows as the poller saw them.
    rows_free: AtomicU64,
    /// Bytes that requests under way were promised room for. ORDER: raised before the check, so that two requests cannot
    /// both be promised the last room.
    promised: AtomicU64,
    closed: AtomicBool,
    reads: Arc<Semaphore>,
}

impl Admission {
    /// Starts with nothing under way and the given free bytes on the disk.
    pub fn new(limits: Limits, free: FreeSpace) -> Arc<Self> {
        Arc::new(Self {
            limits,
            bytes: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            content_free: AtomicU64::new(free.content),
            rows_free: AtomicU64::new(free.rows),
            promised: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            reads: Arc::new(Semaphore::new(
                usize::try_from(limits.read_bytes / READ_UNIT)
                    .unwrap_or(usize::MAX)
                    .min(Semaphore::MAX_PERMITS),
            )),
        })
    }

    /// Lets a request in, or says why not.
    pub fn admit(self: &Arc<Self>, need: Need) -> Result<Permit, Unavailable> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Unavailable::ShuttingDown);
        }
        let mut promise = Promise { admission: self.clone(), bytes: 0, kept: AtomicBool::new(false) };
        let wanted = match need {
            Need::Store { bytes } => {
                promise.bytes = bytes;
                let promised = self.promised.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
                let FreeSpace { content, rows } = self.free();
                if content.saturating_sub(promised).min(rows) < self.limits.free_floor {
                    return Err(Unavailable::NoSpace);
                }
                bytes.min(self.limits.per_request)
            }
            Need::Manage => 0,
        };
        if self.requests.fetch_add(1, Ordering::Relaxed) >= self.limits.requests {
            self.requests.fetch_sub(1, Ordering::Relaxed);
            return Err(Unavailable::SlowDown);
        }
        let share = Share { admission: self.clone(), bytes: AtomicU64::new(0), promise };
        let permit = Permit(Arc::new(share));
        permit.charge(wanted)?;
        permit.0.promise.kept.store(true, Ordering::Relaxed);
        Ok(permit)
    }

    /// Room for an answer of this many bytes, if there is some at once.
    pub fn try_read(&self, bytes: u64) -> Option<ReadPermit> {
        self.reads.clone().try_acquire_many_owned(self.read_units(bytes)).ok().map(ReadPermit::new)
    }

    /// Room for an answer of this many bytes; waits a while where there is none.
    pub async fn read(&self, bytes: u64) -> Result<ReadPermit, Unavailable> {
        let acquired = timeout(READ_PATIENCE, self.reads.clone().acquire_many_owned(self.read_units(bytes)));
        // The semaphore is never closed.
        acquired.await.ok().and_then(Result::ok).map(ReadPermit::new).ok_or(Unavailable::SlowDown)
    }

    fn read_units(&self, bytes: u64) -> u32 {
        // A single answer always fits.
        let most = READ_BYTES.min(self.limits.read_bytes).max(LEAST_READ_BYTES);
        u32::try_from(bytes.clamp(LEAST_READ_BYTES, most) / READ_UNIT).unwrap_or(u32::MAX)
    }

    /// What the poller saw on the disk.
    pub fn set_free(&self, free: FreeSpace) {
        self.content_free.store(free.content, Ordering::Relaxed);
        self.rows_free.store(free.rows, Ordering::Relaxed);
    }

    /// Free bytes at the last look.
    pub fn free(&self) -> FreeSpace {
        let read = |free: &AtomicU64| free.load(Ordering::Relaxed);
        FreeSpace { content: read(&self.content_free), rows: read(&self.rows_free) }
    }

    /// Whether the disk has room for what stores bytes.
    pub fn has_space(&self) -> bool {
        let FreeSpace { content, rows } = self.free();
        content.min(rows) >= self.limits.free_floor
    }

    /// Lets nothing in any more.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// Whether [`Self::close`] was called.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Bytes and requests under way.
    pub fn in_flight(&self) -> (u64, u64) {
        (self.bytes.load(Ordering::Relaxed), self.requests.load(Ordering::Relaxed))
    }
}

/// A request's share of what may be under way, given back when its last clone is dropped.
#[derive(Debug, Clone)]
#[must_use = "dropping it gives the share back"]
pub struct Permit(Arc<Share>);

#[derive(Debug)]
struct Share {
    admission: Arc<Admission>,
    bytes: AtomicU64,
    promise: Promise,
}

/// Room on the disk that a request was promised.
#[derive(Debug)]
struct Promise {
    admission: Arc<Admission>,
    bytes: u64,
    /// Whether the request was let in.
    kept: AtomicBool,
}

impl Drop for Promise {
    fn drop(&mut self) {
        if *self.kept.get_mut() {
            // What was promised is written, as far as anyone knows before the poller's next look.
            let less = |free: u64| Some(free.saturating_sub(self.bytes));
            let _ = self.admission.content_free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        }
        self.admission.promised.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Permit {
    /// Charges the request for more memory: what is read into it whole. What alone exceeds the limit counts as all
    /// of it, so that it can be served at all.
    pub fn charge(&self, bytes: u64) -> Result<(), Unavailable> {
        let admission = &self.0.admission;
        let wanted = bytes.min(admission.limits.bytes);
        if admission.bytes.fetch_add(wanted, Ordering::Relaxed).saturating_add(wanted)
            > admission.limits.bytes
        {
            admission.bytes.fetch_sub(wanted, Ordering::Relaxed);
            return Err(Unavailable::SlowDown);
        }
        self.0.bytes.fetch_add(wanted, Ordering::Relaxed);
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.admission.bytes.fetch_sub(*self.bytes.get_mut(), Ordering::Relaxed);
        if !active(Mutant::KeepPermit) {
            self.admission.requests.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// An answer's room, given back when its last clone is dropped.
#[derive(Debug, Clone)]
#[must_use = "dropping it gives the room back"]
pub struct ReadPermit(#[expect(dead_code, reason = "held, not read")] Arc<OwnedSemaphorePermit>);

impl ReadPermit {
    fn new(permit: OwnedSemaphorePermit) -> Self {
        Self(Arc::new(permit))
    }

    /// Bytes that hold the room for as long as anybody holds them: until they are handed to the system.
    pub fn bind(&self, bytes: Bytes) -> Bytes {
        struct Bound(Bytes, #[expect(dead_code, reason = "held, not read")] ReadPermit);
        impl AsRef<[u8]> for Bound {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }
        Bytes::from_owner(Bound(bytes, self.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission() -> Arc<Admission> {
        Admission::new(
            Limits { bytes: 100, read_bytes: 1 << 20, requests: 3, per_request: 60, free_floor: 1000 },
            free(5000),
        )
    }

    fn free(content: u64) -> FreeSpace {
        FreeSpace { content, rows: u64::MAX }
    }

    #[test]
    fn bytes_under_way_are_bounded_and_given_back() {
        let admission = admission();
        let first = admission.admit(Need::Store { bytes: 3000 }).unwrap();
        assert_eq!(admission.in_flight(), (60, 1), "a large body holds no more than its buffers");
        assert_eq!(admission.admit(Need::Store { bytes: 41 }).unwrap_err(), Unavailable::SlowDown);
        assert_eq!(admission.in_flight(), (60, 1), "a refusal holds nothing");
        let second = admission.admit(Need::Store { bytes: 40 }).unwrap();
        drop((first, second));
        assert_eq!(admission.in_flight(), (0, 0));
    }

    #[test]
    fn room_is_promised_once_and_what_was_written_counts_until_the_disk_is_looked_at_again() {
        let limits =
            Limits { bytes: 1 << 20, requests: 9, per_request: 1, free_floor: 1000, read_bytes: 1 << 20 };
        let admission = Admission::new(limits, free(5000));
        let first = admission.admit(Need::Store { bytes: 3000 }).unwrap();
        assert_eq!(admission.admit(Need::Store { bytes: 1001 }).unwrap_err(), Unavailable::NoSpace);
        let second = admission.admit(Need::Store { bytes: 1000 }).unwrap();
        drop(first);
        assert_eq!(admission.admit(Need::Store { bytes: 1 }).unwrap_err(), Unavailable::NoSpace);
        drop(second);
        assert_eq!(admission.free(), free(1000), "a refusal takes nothing away");
        admission.set_free(free(5000));
        assert_eq!(admission.admit(Need::Store { bytes: 4000 }).map(drop), Ok(()));
    }

    #[test]
    fn requests_under_way_are_bounded() {
        let admission = admission();
        let held: Vec<_> = (0..3).map(|_| admission.admit(Need::Manage).unwrap()).collect();
        assert_eq!(admission.admit(Need::Manage).unwrap_err(), Unavailable::SlowDown);
        drop(held);
        assert_eq!(admission.admit(Need::Manage).map(drop), Ok(()));
    }

    #[test]
    fn a_nearly_full_disk_refuses_what_stores_and_lets_the_rest_in() {
        let admission = admission();
        assert_eq!(admission.admit(Need::Store { bytes: 4001 }).unwrap_err(), Unavailable::NoSpace);
        admission.set_free(free(999));
        assert!(!admission.has_space());
        assert_eq!(admission.admit(Need::Store { bytes: 0 }).unwrap_err(), Unavailable::NoSpace);
        assert_eq!(admission.admit(Need::Manage).map(drop), Ok(()));
        admission.set_free(FreeSpace { content: 5000, rows: 1000 });
        assert_eq!(
            admission.admit(Need::Store { bytes: 4000 }).map(drop),
            Ok(()),
            "content takes no room of rows"
        );
        admission.set_free(FreeSpace { content: 5000, rows: 999 });
        assert!(!admission.has_space());
        assert_eq!(admission.admit(Need::Store { bytes: 0 }).unwrap_err(), Unavailable::NoSpace);
        admission.close();
        assert_eq!(admission.admit(Need::Manage).unwrap_err(), Unavailable::ShuttingDown);
    }

    #[test]
    fn a_share_grows_with_what_is_read_whole_and_lives_as_long_as_its_clones() {
        let admission = admission();
        let permit = admission.admit(Need::Store { bytes: 10 }).unwrap();
        permit.charge(80).unwrap();
        assert_eq!(permit.charge(20), Err(Unavailable::SlowDown));
        assert_eq!(admission.in_flight(), (90, 1));
        let held_by_a_write = permit.clone();
        drop(permit);
        assert_eq!(admission.in_flight(), (90, 1));
        drop(held_by_a_write);
        assert_eq!(admission.in_flight(), (0, 0));
        admission.admit(Need::Manage).unwrap().charge(1000).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn answers_wait_for_room_and_hold_it_as_long_as_their_bytes() {
        let admission = admission();
        let first = admission.try_read(u64::MAX).unwrap();
        let second = admission.read(READ_BYTES).await.unwrap();
        assert!(admission.try_read(1).is_none());
        let bytes = second.bind(Bytes::from_static(b"abc"));
        let slice = bytes.slice(1..);
        drop((second, bytes));
        assert_eq!(admission.read(1).await.map(drop), Err(Unavailable::SlowDown));
        assert_eq!(slice, "bc");
        let (waited, ()) = tokio::join!(admission.read(READ_BYTES), async { drop(slice) });
        assert!(waited.is_ok());
        drop(first);
    }
}
