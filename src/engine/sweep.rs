//! Gives back what a crash or a stop left in packs although nothing names it: blobs that were complete before their record
//! was, blobs whose last holder had gone and whose space was not back yet, and what is left of blobs given back by half.
//!
//! A thread walks the index of blobs and the rows of blobs in use side by side, both in the order of ids, a page at a
//! time. What the index has and no row has is an orphan.
//!
//! **Why an orphan can go.** Only blobs that lie in packs older than this start are looked at. The number of the first
//! pack that this start may write is fixed before anything can be staged and never changes, and no pack of an earlier start
//! is written again: so whatever this process stages lies behind that line, named or not, and no race can move it. To a
//! blob before the line a record can refer in one way only, by sharing the bytes of a version or part that has it, and
//! that is decided upon rows that hold everything decided before. The rows are those of the log as recovered before the walk
//! begins, so a blob without a row has none ever again. So it does not matter which of index and rows is read first, nor
//! what is named and freed meanwhile: a row that goes between the two reads takes the last name along, and a blob that is
//! freed twice is given back once ([`PackWriter`]). A reader of such a blob is waited for, as for any other
//! ([`BlobKeeper`]).
//!
//! **When nothing goes.** A record that cannot be read may name a blob that no row does, and a repair may bring it back.
//! While any is known, nothing is swept; the walk then waits for a start without. Records that a repair has given up are
//! gone, and what they alone named goes.
//!
//! [`PackWriter`]: siltstone_log::pack::PackWriter
//! [`BlobKeeper`]: super::content::BlobKeeper

#[cfg(test)]
mod tests;

use super::inventory::{self, Inventory};
use super::{Engine, Shared};
use crossbeam_channel::{Receiver, RecvTimeoutError};
use siltstone_log::id::BlobId;
use siltstone_log::mutants::{Mutant, active};
use siltstone_log::pack::recovery::RecoveredPacks;
use siltstone_log::pack::{BlobIndex, BlobIndexError, BlobPlace};
use siltstone_projections::Rows;
use siltstone_projections::buckets::blobs_in_use;
use siltstone_projections::store::StoreError;
use std::sync::Weak;
use std::time::Duration;

/// Between two pages. With them ten million blobs take minutes, and little of a processor.
pub(super) const PAUSE: Duration = Duration::from_millis(20);
/// Blobs of the index that one page has.
pub const PAGE: usize = 1_000;
/// Bytes after which a turn gives no more back: uploads have files made by the thread that punches the holes.
const TURN_BYTES: u64 = 64 << 20;

/// Why a walk ended early. The next start begins it again.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// The index of blobs cannot be read.
    #[error(transparent)]
    Index(#[from] BlobIndexError),
    /// The rows cannot be read.
    #[error(transparent)]
    Rows(#[from] StoreError),
}

/// What a turn depends on besides rows and index.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings {
    /// Whether any record is known to be unreadable.
    pub unreadable: bool,
    /// Bytes of freed blobs whose space is not back yet.
    pub giving_back: u64,
}

/// What a turn comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    /// What went before is still on its way back.
    Wait,
    /// A page was looked at. These can go, after their last reader; mostly there are none.
    Free(Vec<(BlobId, BlobPlace)>),
    /// Every blob was looked at.
    Done,
    /// Records cannot be read.
    Refused,
}

/// The walk: a state machine, of which the caller frees what it names.
#[derive(Debug)]
pub struct Sweeper {
    /// The first pack that this start may write.
    first_own_pack: u32,
    /// Blobs of the index that one page has.
    page: usize,
    /// What is left of blobs that lack extents; the index does not have them.
    remains: Vec<(BlobId, BlobPlace)>,
    /// The last blob of the index that was looked at.
    after: Option<BlobId>,
    /// Whether that was the last one of all.
    walked: bool,
}

impl Sweeper {
    /// Begins with what this start found, `page` blobs a turn. The rows have what the log has that was recovered.
    pub fn new(packs: &RecoveredPacks, page: usize) -> Self {
        let remains = packs.incomplete.clone();
        Self { first_own_pack: packs.next_pack, page, remains, after: None, walked: false }
    }

    /// Looks at one page.
    pub fn turn(
        &mut self,
        rows: &dyn Rows,
        index: &dyn BlobIndex,
        around: Surroundings,
    ) -> Result<Turn, SweepError> {
        if around.unreadable {
            return Ok(Turn::Refused);
        }
        if around.giving_back > 0 {
            return Ok(Turn::Wait);
        }
        if active(Mutant::SweepNothing) || (self.walked && self.remains.is_empty()) {
            return Ok(Turn::Done);
        }
        let found = if self.walked { self.half_freed(rows)? } else { self.page(rows, index)? };
        Ok(Turn::Free(found))
    }

    /// What can go of the next blobs of the index.
    fn page(
        &mut self,
        rows: &dyn Rows,
        index: &dyn BlobIndex,
    ) -> Result<Vec<(BlobId, BlobPlace)>, SweepError> {
        let mut found = Vec::new();
        let page = index.list(self.after, self.page)?;
        let (Some(&first), Some(&last)) = (page.first(), page.last()) else {
            self.walked = true;
            return Ok(found);
        };
        let mut bytes = 0_u64;
        for blob in orphans(page, blobs_in_use(rows, first))? {
            // Gone meanwhile, or behind the line.
            if let Some(place) = index.get(blob)?.filter(|place| self.is_older(place)) {
                bytes = bytes.saturating_add(place.len);
                found.push((blob, place));
            }
            self.after = Some(blob);
            if bytes >= TURN_BYTES {
                return Ok(found);
            }
        }
        self.after = Some(last);
        Ok(found)
    }

    /// Whether all of a blob was written before this start.
    fn is_older(&self, place: &BlobPlace) -> bool {
        active(Mutant::SweepStaged) || place.extents.iter().all(|extent| extent.pack < self.first_own_pack)
    }

    /// What is left of the next blob that lacks extents, if no row has it.
    fn half_freed(&mut self, rows: &dyn Rows) -> Result<Vec<(BlobId, BlobPlace)>, SweepError> {
        let Some((blob, place)) = self.remains.pop() else { return Ok(Vec::new()) };
        let unnamed = !orphans(vec![blob], blobs_in_use(rows, blob))?.is_empty();
        Ok(if unnamed && !active(Mutant::KeepRemains) { vec![(blob, place)] } else { Vec::new() })
    }
}

/// Looks whether all content is there, then runs a walk until it ends, the other side of `stop` is dropped, or the engine
/// is.
pub(super) fn run(mut sweeper: Sweeper, inventory: Inventory, engine: &Weak<Shared>, stop: &Receiver<()>) {
    if !inventory::run(inventory, engine, stop) {
        return;
    }
    let (mut blobs, mut bytes) = (0, 0);
    while stop.recv_timeout(PAUSE) == Err(RecvTimeoutError::Timeout) {
        let Some(shared) = engine.upgrade() else { return };
        let engine = Engine { shared };
        let complete = match engine.sweep(&mut sweeper) {
            Ok(Turn::Wait) => continue,
            Ok(Turn::Free(found)) => {
                let of_page = found.iter().fold(0, |sum: u64, (_, place)| sum.saturating_add(place.len));
                let count = found.len() as u64;
                if count > 0 {
                    engine.shared.observer.swept(count, of_page);
                }
                (blobs, bytes) = (blobs + count, bytes + of_page);
                continue;
            }
            Ok(Turn::Done) => true,
            Ok(Turn::Refused) => {
                tracing::warn!("content that nothing names is kept while records cannot be read");
                false
            }
            Err(error) => {
                tracing::warn!(%error, "cannot look for content that nothing names");
                false
            }
        };
        if blobs > 0 {
            tracing::info!(blobs, bytes, "content that a crash or a stop left without a name is given back");
        }
        return engine.shared.observer.sweep_ended(complete);
    }
}

impl Engine {
    /// One turn of a walk: what can go is given back.
    pub(super) fn sweep(&self, sweeper: &mut Sweeper) -> Result<Turn, SweepError> {
        let keeper = &self.shared.blobs;
        let around =
            Surroundings { unreadable: self.shared.damage.count() > 0, giving_back: keeper.giving_back() };
        let turn = sweeper.turn(&self.view(), keeper.index(), around)?;
        if let Turn::Free(found) = &turn {
            for (blob, place) in found {
                keeper.free_at(*blob, place.clone());
            }
        }
        Ok(turn)
    }
}

/// Those of `blobs` that are not in use. Both are in the order of ids, `in_use` from the first of `blobs` on; it may have
/// an id more than once.
fn orphans(
    blobs: Vec<BlobId>,
    mut in_use: impl Iterator<Item = Result<BlobId, StoreError>>,
) -> Result<Vec<BlobId>, StoreError> {
    let mut found = Vec::new();
    let mut used = in_use.next().transpose()?;
    for blob in blobs {
        while used.is_some_and(|used| used < blob) {
            used = in_use.next().transpose()?;
        }
        if used != Some(blob) {
            found.push(blob);
        }
    }
    Ok(found)
}
