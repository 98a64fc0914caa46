//! The history window: how long what was deleted or replaced is kept, and what ends it.
//!
//! Pure: what is to be forgotten, given rows and numbers. `worker` (a thread) looks at clock and disk and submits the
//! commands. Forgetting is an event like any other ([`ExpireVersions`]); the space comes back when it is visible.
//!
//! The longest removed goes first, over all buckets, for one of three reasons ([`Reason`]). Only the first keeps the
//! promise of so many days; the other two shorten the window, which is logged and counted. For want of space only those
//! go that give some back: small versions lie in the log, which keeps its space.
//!
//! **Bytes** are those that history alone holds. What a past version shares with a live one, or with another past one,
//! comes back with the last of them, and is counted with that one.
//!
//! **Where a look begins.** The queue of removals is walked from a cursor in memory and not from its first key, where
//! the store keeps the traces of what went before, and where the versions of streams may lie that take no records.
//!
//! **Time.** Records bear hybrid time, which follows the wall clock, and a wall clock can be wrong. So the window's end
//! ([`WindowEnd`]) is never taken from the wall clock alone: it begins where the log says that it was, and moves at most
//! twice as fast as the monotonic clock. A wall clock that is years ahead for an hour costs two hours of history and
//! not all of it; days that a node was switched off are caught up within as many days.

mod worker;

pub use worker::HistoryUsage;
pub(super) use worker::{HistoryState, HistoryWorker};

use super::command::ExpireVersions;
use siltstone_log::event::Content;
use siltstone_log::hlc::Hlc;
use siltstone_log::host::Now;
use siltstone_log::id::{BlobId, Seq, StreamId};
use siltstone_log::mutants::{Mutant, active};
use siltstone_log::name::ObjectKey;
use siltstone_projections::buckets::{self, blobs_of};
use siltstone_projections::objects::{self, Expiring, Removal};
use siltstone_projections::rows::{BlobRow, VersionKeyRow};
use siltstone_projections::store::{Rows, StoreError};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

/// Versions that one record forgets at most.
const BATCH: usize = 1_000;
/// Versions that one look forgets at most.
const MAX_VERSIONS: usize = 16_000;
/// Buckets that one look goes to at most: each costs a record.
const MAX_STREAMS: usize = 64;
/// Rows that one look passes at most, but for what goes with the last of them.
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
pub struct WindowEnd {
    millis: u64,
    looked_at: u64,
}

impl WindowEnd {
    /// Where it begins: never after what the wall clock or the newest record at the start say, nor after the oldest
    /// version that is still there, because the window had not passed that one yet.
    pub fn starting(window: u64, now: Now, newest: Hlc, oldest: Option<Hlc>) -> Self {
        // A log without records has no history whose end could come too early.
        let newest = if newest == Hlc::default() { now.wall_millis } else { newest.millis() };
        let end = now.wall_millis.min(newest).saturating_sub(window);
        let millis = oldest.map_or(end, |oldest| end.min(oldest.millis()));
        Self { millis, looked_at: now.monotonic_nanos }
    }

    /// Follows the wall clock, at most twice as fast as time passes. A wall clock that goes back takes it along.
    pub fn advance(&mut self, window: u64, now: Now) {
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
}

/// Where a look begins in the queue of removals. What was removed earlier is gone, or is none of the look's business.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Begin {
    /// Before here only streams that take no records have versions.
    queue: Removal,
    /// Before here no version gives space back, unless one that comes later does so too.
    space: Removal,
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
    /// Whether the look ended before the demand was met and before the queue did.
    more: bool,
    /// The next look's [`Begin::space`].
    space: Removal,
}

/// A version that is to be forgotten, and the bytes that are given back with it.
struct Taken {
    key: ObjectKey,
    seq: Seq,
    reason: Reason,
    bytes: u64,
}

/// One look.
struct Planning<'a> {
    rows: &'a dyn Rows,
    versions: BTreeMap<StreamId, Vec<Taken>>,
    taken: BTreeSet<(StreamId, Seq)>,
    /// Blobs of what was taken, and how many of their holders were.
    blobs: BTreeMap<(StreamId, BlobId), (BlobRow, u32)>,
    looked_at: usize,
    /// Bytes of history that are given back, and how many of them are on the disk.
    bytes: u64,
    space: u64,
}

impl<'a> Planning<'a> {
    fn new(rows: &'a dyn Rows) -> Self {
        let (versions, taken, blobs) = Default::default();
        Self { rows, versions, taken, blobs, looked_at: 0, bytes: 0, space: 0 }
    }

    fn take(&mut self, stream: StreamId, key: ObjectKey, seq: Seq, reason: Reason) -> Result<(), StoreError> {
        if !self.taken.insert((stream, seq)) {
            return Ok(());
        }
        let (inline, blobs) = match self.content(stream, &key, seq)? {
            Some((Content::Inline, size)) => (size, BTreeMap::new()),
            Some((content, _)) => (0, blobs_of(&content)),
            None => (0, BTreeMap::new()),
        };
        let mut space = 0_u64;
        for blob in blobs.into_keys() {
            let (row, taken) = self.hold(stream, blob)?;
            *taken += 1;
            if row.live == 0 && row.past == *taken {
                space = space.saturating_add(row.bytes);
            }
        }
        let bytes = inline.saturating_add(space);
        self.space = self.space.saturating_add(space);
        self.bytes = self.bytes.saturating_add(bytes);
        self.versions.entry(stream).or_default().push(Taken { key, seq, reason, bytes });
        Ok(())
    }

    /// Takes a version, and all that has to go with it for its bytes to come back; nothing where they would not. Tells
    /// whether there was room for all of it.
    fn take_for_space(&mut self, row: &Expiring) -> Result<bool, StoreError> {
        let Removal { stream, seq, .. } = row.at;
        let Some((content, _)) = self.content(stream, &row.key, seq)? else { return Ok(true) };
        for blob in blobs_of(&content).into_keys() {
            if self.hold(stream, blob)?.0.live > 0 {
                continue;
            }
            for holder in buckets::holders(self.rows, stream, blob) {
                if self.taken.len() >= MAX_VERSIONS {
                    return Ok(false);
                }
                let seq = holder?;
                if let Some(VersionKeyRow { key, .. }) = objects::by_seq(self.rows, stream, seq)? {
                    self.take(stream, key, seq, Reason::Space)?;
                }
            }
        }
        Ok(true)
    }

    fn content(
        &mut self,
        stream: StreamId,
        key: &ObjectKey,
        seq: Seq,
    ) -> Result<Option<(Content, u64)>, StoreError> {
        self.looked_at += 1;
        let past = objects::past_version(self.rows, stream, key, seq)?;
        Ok(past.and_then(|past| past.version.into_object()).map(|object| (object.content, object.size)))
    }

    fn hold(&mut self, stream: StreamId, blob: BlobId) -> Result<&mut (BlobRow, u32), StoreError> {
        match self.blobs.entry((stream, blob)) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(new) => {
                self.looked_at += 1;
                let row = buckets::blob(self.rows, stream, blob)?.unwrap_or_default();
                Ok(new.insert((row, 0)))
            }
        }
    }

    fn is_full(&self) -> bool {
        self.looked_at >= MAX_SCANNED
            || self.taken.len() >= MAX_VERSIONS
            || self.versions.len() >= MAX_STREAMS
    }

    fn steps(self) -> Vec<Step> {
        let mut steps = Vec::new();
        for (stream, versions) in self.versions {
            for batch in versions.chunks(BATCH) {
                let mut counts: BTreeMap<Reason, Count> = BTreeMap::new();
                for Taken { reason, bytes, .. } in batch {
                    counts.entry(*reason).or_default().add(Count { versions: 1, bytes: *bytes });
                }
                let mut versions: Vec<_> = batch.iter().map(|taken| (taken.key.clone(), taken.seq)).collect();
                if active(Mutant::HashOrder) {
                    versions = in_hash_order(versions);
                }
                steps.push(Step { action: ExpireVersions { stream, versions }, counts });
            }
        }
        steps
    }
}

/// The planted bug: an order that differs between two runs.
#[expect(clippy::disallowed_types, reason = "the bug that the rule is against")]
fn in_hash_order<T: Eq + std::hash::Hash>(items: Vec<T>) -> Vec<T> {
    items.into_iter().collect::<std::collections::HashSet<T>>().into_iter().collect()
}

/// What one look submits that asks for no more than the window's end: the worker's plan, for drivers without its thread.
pub fn beyond_window(
    rows: &dyn Rows,
    end: WindowEnd,
    refuses: &dyn Fn(StreamId) -> bool,
) -> Result<Vec<ExpireVersions>, StoreError> {
    let demand = Demand { end: end.millis, ..Demand::default() };
    let plan = plan(rows, Begin::default(), &demand, refuses)?;
    Ok(plan.steps.into_iter().map(|step| step.action).collect())
}

/// Decides what is to be forgotten now: the longest removed first, no more than the demand asks for, and within the
/// bounds of one look. Streams that `refuses` names take no records.
fn plan(
    rows: &dyn Rows,
    begin: Begin,
    demand: &Demand,
    refuses: &dyn Fn(StreamId) -> bool,
) -> Result<Plan, StoreError> {
    let mut planning = Planning::new(rows);
    for row in objects::expiring(rows, begin.queue) {
        if planning.is_full() {
            return Ok(Plan { more: true, steps: planning.steps(), space: begin.space });
        }
        let Expiring { at: Removal { removed, stream, seq }, key, .. } = row?;
        planning.looked_at += 1;
        if refuses(stream) {
            continue;
        }
        let early = if active(Mutant::ExpireEarly) { 1_000 } else { 0 };
        let reason = if removed.millis() < demand.end.saturating_add(early) {
            Reason::Window
        } else if planning.bytes < demand.excess {
            Reason::Bytes
        } else {
            break;
        };
        planning.take(stream, key, seq, reason)?;
    }
    let (more, space) = plan_for_space(&mut planning, begin.space.max(begin.queue), demand, refuses)?;
    Ok(Plan { more, steps: planning.steps(), space })
}

/// Goes on until enough space is given back. Tells whether there may be more that gives some, and where the next look is
/// to begin: at the first version taken, whose record may be refused, else where this one ended.
fn plan_for_space(
    planning: &mut Planning<'_>,
    begin: Removal,
    demand: &Demand,
    refuses: &dyn Fn(StreamId) -> bool,
) -> Result<(bool, Removal), StoreError> {
    let (mut next, mut stays) = (begin, false);
    if planning.space >= demand.shortage {
        return Ok((false, next));
    }
    for row in objects::expiring(planning.rows, begin) {
        let row = row?;
        if !stays {
            next = row.at;
        }
        if planning.is_full() {
            return Ok((true, next));
        }
        planning.looked_at += 1;
        if row.in_packs && !refuses(row.at.stream) {
            if !planning.take_for_space(&row)? {
                return Ok((true, next));
            }
            stays |= planning.taken.contains(&(row.at.stream, row.at.seq));
            if planning.space >= demand.shortage {
                break;
            }
        }
    }
    Ok((false, next))
}

/// What the queue begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Head {
    /// A version that was removed then, of a stream that takes records.
    Found(Removal),
    /// Many of streams that take none; the next look goes on from here.
    Further(Removal),
    /// Nothing of streams that take records.
    None,
}

/// Looks for the longest removed version whose stream takes records.
fn head(rows: &dyn Rows, from: Removal, refuses: &dyn Fn(StreamId) -> bool) -> Result<Head, StoreError> {
    for (row, passed) in objects::expiring(rows, from).zip(1..) {
        let row = row?;
        if !refuses(row.at.stream) {
            return Ok(Head::Found(row.at));
        }
        if passed >= MAX_SCANNED {
            return Ok(Head::Further(row.at));
        }
    }
    Ok(Head::None)
}

#[cfg(test)]
mod tests;
