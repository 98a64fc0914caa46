//! Admission: what is not let in is refused before its body is read, so that memory and disk stay bounded.

use super::outcome::Unavailable;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

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
    /// The most requests under way.
    pub requests: u64,
    /// Memory that one request holds at most, whatever its size.
    pub per_request: u64,
    /// Below this many free bytes nothing that stores is let in.
    pub free_floor: u64,
}

/// Counts what is under way.
#[derive(Debug)]
pub struct Admission {
    limits: Limits,
    bytes: AtomicU64,
    requests: AtomicU64,
    /// Free bytes as the poller saw them, less what was written since.
    free: AtomicU64,
    /// Bytes that requests under way were promised room for. ORDER: raised before the check, so that two requests cannot
    /// both be promised the last room.
    promised: AtomicU64,
    closed: AtomicBool,
}

impl Admission {
    /// Starts with nothing under way and the given free bytes on the disk.
    pub fn new(limits: Limits, free: u64) -> Arc<Self> {
        Arc::new(Self {
            limits,
            bytes: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            free: AtomicU64::new(free),
            promised: AtomicU64::new(0),
            closed: AtomicBool::new(false),
        })
    }

    /// Lets a request in, or says why not.
    pub fn admit(self: &Arc<Self>, need: Need) -> Result<Permit, Unavailable> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Unavailable::ShuttingDown);
        }
        let mut permit = Permit { admission: self.clone(), bytes: 0, promised: 0, counted: false };
        let wanted = match need {
            Need::Store { bytes } => {
                permit.promised = bytes;
                let promised = self.promised.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
                if self.free().saturating_sub(promised) < self.limits.free_floor {
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
        permit.counted = true;
        if self.bytes.fetch_add(wanted, Ordering::Relaxed).saturating_add(wanted) > self.limits.bytes {
            self.bytes.fetch_sub(wanted, Ordering::Relaxed);
            return Err(Unavailable::SlowDown);
        }
        permit.bytes = wanted;
        Ok(permit)
    }

    /// What the poller saw on the disk.
    pub fn set_free(&self, bytes: u64) {
        self.free.store(bytes, Ordering::Relaxed);
    }

    /// Free bytes at the last look.
    pub fn free(&self) -> u64 {
        self.free.load(Ordering::Relaxed)
    }

    /// Whether the disk has room for what stores bytes.
    pub fn has_space(&self) -> bool {
        self.free() >= self.limits.free_floor
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

/// A request's share of what may be under way, given back when dropped.
#[derive(Debug)]
#[must_use = "dropping it gives the share back"]
pub struct Permit {
    admission: Arc<Admission>,
    bytes: u64,
    promised: u64,
    counted: bool,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.admission.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.admission.requests.fetch_sub(u64::from(self.counted), Ordering::Relaxed);
        if self.counted {
            // What was promised is written, as far as anyone knows before the poller's next look.
            let less = |free: u64| Some(free.saturating_sub(self.promised));
            let _ = self.admission.free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        }
        self.admission.promised.fetch_sub(self.promised, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission() -> Arc<Admission> {
        Admission::new(Limits { bytes: 100, requests: 3, per_request: 60, free_floor: 1000 }, 5000)
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
        let limits = Limits { bytes: 1 << 20, requests: 9, per_request: 1, free_floor: 1000 };
        let admission = Admission::new(limits, 5000);
        let first = admission.admit(Need::Store { bytes: 3000 }).unwrap();
        assert_eq!(admission.admit(Need::Store { bytes: 1001 }).unwrap_err(), Unavailable::NoSpace);
        let second = admission.admit(Need::Store { bytes: 1000 }).unwrap();
        drop(first);
        assert_eq!(admission.admit(Need::Store { bytes: 1 }).unwrap_err(), Unavailable::NoSpace);
        drop(second);
        assert_eq!(admission.free(), 1000, "a refusal takes nothing away");
        admission.set_free(5000);
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
        admission.set_free(999);
        assert!(!admission.has_space());
        assert_eq!(admission.admit(Need::Store { bytes: 0 }).unwrap_err(), Unavailable::NoSpace);
        assert_eq!(admission.admit(Need::Manage).map(drop), Ok(()));
        admission.close();
        assert_eq!(admission.admit(Need::Manage).unwrap_err(), Unavailable::ShuttingDown);
    }
}
