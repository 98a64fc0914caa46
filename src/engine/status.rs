//! How far the node is, and whether it is well.

use super::admission::FreeSpace;
use super::history::HistoryUsage;
use super::outcome::Fault;
use super::recent::ChangeCount;
use siltstone_log::id::Position;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use tokio::sync::watch;

/// What threads report and doors ask for.
#[derive(Debug)]
pub(super) struct Progress {
    durable: AtomicU64,
    applied: AtomicU64,
    /// Of names and identities.
    pub(super) changes: ChangeCount,
    stuck: Mutex<Option<Fault>>,
    failure: watch::Sender<Option<Fault>>,
}

impl Progress {
    pub(super) fn new(durable: Position, applied: Position) -> Self {
        Self {
            durable: AtomicU64::new(durable.get()),
            applied: AtomicU64::new(applied.get()),
            changes: ChangeCount::default(),
            stuck: Mutex::new(None),
            failure: watch::channel(None).0,
        }
    }

    pub(super) fn durable(&self, position: Position) {
        self.durable.fetch_max(position.get(), Ordering::Relaxed);
    }

    pub(super) fn applied(&self, position: Position) {
        self.applied.fetch_max(position.get(), Ordering::Relaxed);
    }

    pub(super) fn stuck(&self, fault: Fault) {
        *self.stuck.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault);
    }

    /// A write or sync of the log or of content failed. The first failure is the one to be told.
    pub(super) fn failed(&self, fault: Fault) {
        self.failure.send_if_modified(|failure| {
            let first = failure.is_none();
            if first {
                *failure = Some(fault);
            }
            first
        });
    }

    pub(super) fn failure(&self) -> Option<Fault> {
        self.failure.borrow().clone()
    }

    pub(super) fn watch_failure(&self) -> watch::Receiver<Option<Fault>> {
        self.failure.subscribe()
    }

    pub(super) fn read(&self) -> (Position, Position, Option<Fault>) {
        let stuck = self.stuck.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let load = |value: &AtomicU64| Position(value.load(Ordering::Relaxed));
        (load(&self.durable), load(&self.applied), stuck)
    }
}

/// How far the node is, and whether it is well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineStatus {
    /// The last durable position.
    pub durable: Position,
    /// The last position that reads show.
    pub applied: Position,
    /// Body bytes of requests under way, as far as they are held in memory.
    pub in_flight_bytes: u64,
    /// Requests under way.
    pub in_flight_requests: u64,
    /// Free bytes on the volumes.
    pub free: FreeSpace,
    /// Whether the disk has room for what stores bytes.
    pub has_space: bool,
    /// What all buckets hold, live and past, as it was last counted.
    pub history: Option<HistoryUsage>,
    /// Why nothing becomes visible any more, if so. Reads go on.
    pub projections_stuck: Option<Fault>,
    /// Ranges of the log that are known to be unreadable.
    pub unreadable_ranges: u64,
    /// The disk failure after which nothing is acknowledged any more, if there was one.
    pub failure: Option<Fault>,
}
