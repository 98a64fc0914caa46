//! The history window: how long what was deleted or replaced is kept, and what ends it.
//!
//! Pure: what is to be forgotten, given rows and numbers. `worker` (a thread) looks at clock and disk and submits the
//! commands. Forgetting is an event like any other ([`ExpireVersions`]); the space comes back when it is visible.
//!
//! The longest removed goes first, over all buckets, for one of three reasons ([`Reason`]). Only the first keeps the
//! promise of so many days; the other two shorten the window, which is logged and counted.
//!
//! **Time.** Records bear hybrid time, which follows the wall clock, and a wall clock can be wrong. So the window's end
//! ([`WindowEnd`]) is never taken from the wall clock alone: it begins where the log says that it was, and moves at most
//! twice as fast as the monotonic clock. A wall clock that is years ahead for an hour costs two hours of history and
//! not all of it; days that a node was switched off are caught up within as many days.

mod worker;

pub use worker::HistoryUsage;
pub(super) use worker::{HistoryState, HistoryWorker};

use super::command::ExpireVersions;
use siltstone_log::hlc::Hlc;
use siltstone_log::host::Now;
use siltstone_log::id::{Seq, StreamId};
use siltstone_log::name::ObjectKey;
use siltstone_projections::objects::{self, Expiring};
use siltstone_projections::store::{Rows, StoreError};
use std::collections::{BTreeMap, BTreeSet};

/// Versions that one record forgets at most.
const BATCH: usize = 1_000;
/// Versions that one look forgets at most.
const MAX_VERSIONS: usize = 16_000;
/// Buckets that one look goes to at most: each costs a record.
const MAX_STREAMS: usize = 64;
/// Rows that one look passes at most.
const MAX_SCANNED: usize = 64_000;

/// How much history is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryConfig {
    /// How long what was deleted or replaced is kept, in milliseconds.
    pub window_millis: u64,
    /// The most bytes of it; none: the lesser of a fifth of the volume and half of what would be free without it.
    pub max_bytes: Option<u64>,
}

impl Default for HistoryConfig {
    fn default() -> Self {
        Self { window_millis: 7 * 24 * 3_600_000, max_bytes: None }
    }
}

impl HistoryConfig {
    /// The most bytes of history on a volume of `total` bytes of which `free` are free while `held` bytes of history
    /// lie on it. History held counts as free, or each start would allow less than the one before.
    fn limit(&self, total: u64, free: u64, held: u64) -> u64 {
        self.max_bytes.unwrap_or_else(|| (total / 5).min(free.saturating_add(held) / 2))
    }
}

/// Why a version is forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// It was removed before the window's end.
    Window,
    /// There is more history than is allowed.
    Bytes,
    /// The disk is nearly full, and writes would be refused soon.
    Space,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 3] = [Self::Window, Self::Bytes, Self::Space];

    /// Its name, for logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Window => "window",
            Self::Bytes => "bytes",
            Self::Space => "space",
        }
    }
}

/// The instant before which removed versions have left the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct WindowEnd {
    millis: u64,
    looked_at: u64,
}

impl WindowEnd {
    /// Where it begins: never after what the wall clock or the newest record at the start say, nor after the oldest
    /// version that is still there, because the window had not passed that one yet.
    fn starting(window: u64, now: Now, newest: Hlc, oldest: Option<Hlc>) -> Self {
        // A log without records has no history whose end could come too early.
        let newest = if newest == Hlc::default() { now.wall_millis } else { newest.millis() };
        let end = now.wall_millis.min(newest).saturating_sub(window);
        let millis = oldest.map_or(end, |oldest| end.min(oldest.millis()));
        Self { millis, looked_at: now.monotonic_nanos }
    }

    /// Follows the wall clock, at most twice as fast as time passes. A wall clock that goes back takes it along.
    fn advance(&mut self, window: u64, now: Now) {
        let passed = now.monotonic_nanos.saturating_sub(self.looked_at) / 1_000_000;
        // What is less than a millisecond counts at the next look.
        self.looked_at = self.looked_at.saturating_add(passed.saturating_mul(1_000_000));
        let reach = self.millis.saturating_add(passed.saturating_mul(2));
        self.millis = now.wall_millis.saturating_sub(window).min(reach);
    }
}

/// What asks for an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Demand {
    /// Versions removed before this instant (Unix milliseconds) go.
    end: u64,
    /// Bytes of history beyond what is allowed.
    excess: u64,
    /// Bytes of disk that are wanted.
    shortage: u64,
    /// Content of more than this many bytes lies in packs: only it gives space back.
    inline_max: u64,
}

/// Versions and their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Count {
    versions: u64,
    bytes: u64,
}

impl Count {
    fn add(&mut self, other: Self) {
        self.versions = self.versions.saturating_add(other.versions);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

/// A record that forgets versions, and how many for which reason.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Step {
    action: ExpireVersions,
    counts: BTreeMap<Reason, Count>,
}

/// What one look found to be forgotten.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Plan {
    steps: Vec<Step>,
    /// Whether the look ended before the demand was met.
    more: bool,
}

#[derive(Default)]
struct Planning {
    versions: BTreeMap<StreamId, Vec<(ObjectKey, Seq, Reason, u64)>>,
    taken: usize,
    bytes: u64,
    space: u64,
}

impl Planning {
    fn take(&mut self, row: Expiring, reason: Reason, inline_max: u64) {
        self.taken += 1;
        self.bytes = self.bytes.saturating_add(row.bytes);
        if row.bytes > inline_max {
            self.space = self.space.saturating_add(row.bytes);
        }
        self.versions.entry(row.stream).or_default().push((row.key, row.seq, reason, row.bytes));
    }

    fn is_full(&self) -> bool {
        self.taken >= MAX_VERSIONS || self.versions.len() >= MAX_STREAMS
    }

    fn steps(self) -> Vec<Step> {
        let mut steps = Vec::new();
        for (stream, versions) in self.versions {
            for batch in versions.chunks(BATCH) {
                let mut counts: BTreeMap<Reason, Count> = BTreeMap::new();
                for (_, _, reason, bytes) in batch {
                    counts.entry(*reason).or_default().add(Count { versions: 1, bytes: *bytes });
                }
                let versions = batch.iter().map(|(key, seq, ..)| (key.clone(), *seq)).collect();
                steps.push(Step { action: ExpireVersions { stream, versions }, counts });
            }
        }
        steps
    }
}

/// Decides what is to be forgotten now: the longest removed first, no more than the demand asks for, and within the
/// bounds of one look. Streams in `refused` take no records at the moment.
fn plan(rows: &dyn Rows, demand: &Demand, refused: &BTreeSet<StreamId>) -> Result<Plan, StoreError> {
    let (mut planning, mut more) = (Planning::default(), false);
    // Small versions that would go for want of space: worth it only where a large one follows that gives some back.
    let mut small: Vec<Expiring> = Vec::new();
    for (row, scanned) in objects::expiring(rows).zip(0usize..) {
        if scanned >= MAX_SCANNED || planning.taken + small.len() >= MAX_VERSIONS || planning.is_full() {
            more = true;
            break;
        }
        let row = row?;
        if refused.contains(&row.stream) {
            continue;
        }
        if row.removed.millis() < demand.end {
            planning.take(row, Reason::Window, demand.inline_max);
        } else if planning.bytes < demand.excess {
            planning.take(row, Reason::Bytes, demand.inline_max);
        } else if planning.space < demand.shortage {
            let gives_space = row.bytes > demand.inline_max;
            small.push(row);
            if gives_space {
                for row in small.drain(..) {
                    planning.take(row, Reason::Space, demand.inline_max);
                }
            }
        } else {
            break;
        }
    }
    Ok(Plan { more: more && planning.taken > 0, steps: planning.steps() })
}

#[cfg(test)]
mod tests;
