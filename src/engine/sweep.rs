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
//! that is decided upon rows that hold everything decided before. Once the rows are those of the log as recovered,
//! a blob without a row has none ever again. So it does not matter which of index and rows is read first, nor
//! what is named and freed meanwhile: a row that goes between the two reads takes the last name along, and a blob that is
//! freed twice is given back once ([`PackClient::free`]). A reader of such a blob is waited for, as for any other
//! ([`BlobKeeper`]).
//!
//! **When nothing goes.** A record that cannot be read may name a blob that no row does, and a repair may bring it back.
//! While any is known, nothing is swept; the walk then waits for a start without. Records that a repair has given up are
//! gone, and what they alone named goes.
//!
//! [`PackClient::free`]: siltstone_log::pack::PackClient::free

#[cfg(test)]
mod tests;

use super::content::BlobKeeper;
use super::{Engine, Shared};
use crossbeam_channel::{Receiver, RecvTimeoutError};
use siltstone_log::id::{BlobId, Position};
use siltstone_log::pack::recovery::RecoveredPacks;
use siltstone_log::pack::{BlobIndexError, BlobPlace};
use siltstone_log::recovery::Recovered;
use siltstone_projections::buckets::blobs_in_use;
use siltstone_projections::store::StoreError;
use std::sync::Weak;
use std::time::Duration;

/// Between two pages. With them ten million blobs take minutes, and little of a processor.
const PAUSE: Duration = Duration::from_millis(20);
/// Blobs of the index that one page has.
const PAGE: usize = 1_000;
/// Bytes after which a turn gives no more back: uploads have files made by the thread that punches the holes.
const TURN_BYTES: u64 = 64 << 20;

/// Why a walk ended early. The next start begins it again.
#[derive(Debug, thiserror::Error)]
pub(super) enum SweepError {
    #[error(transparent)]
    Index(#[from] BlobIndexError),
    #[error(transparent)]
    Rows(#[from] StoreError),
}

/// What a turn leaves to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    More,
    /// Every blob was looked at.
    Done,
    /// Records cannot be read.
    Refused,
}

/// What the walk knows from one turn to the next.
pub(super) struct Sweeper {
    /// The first pack that this start may write.
    first_own_pack: u32,
    /// The end of the log as recovered.
    recovered: Position,
    /// What is left of blobs that lack extents; the index does not have them.
    remains: Vec<(BlobId, BlobPlace)>,
    /// The last blob of the index that was looked at.
    after: Option<BlobId>,
    /// Whether that was the last one of all.
    walked: bool,
    blobs: u64,
    bytes: u64,
}

impl Sweeper {
    /// Begins with what this start found.
    pub(super) fn new(log: &Recovered, packs: &RecoveredPacks) -> Self {
        Self {
            first_own_pack: packs.next_pack,
            recovered: Position(log.next_position.get().saturating_sub(1)),
            remains: packs.incomplete.clone(),
            after: None,
            walked: false,
            blobs: 0,
            bytes: 0,
        }
    }

    /// Runs until all is swept, the other side of `stop` is dropped, or the engine is.
    pub(super) fn run(mut self, engine: &Weak<Shared>, stop: &Receiver<()>) {
        while stop.recv_timeout(PAUSE) == Err(RecvTimeoutError::Timeout) {
            let Some(shared) = engine.upgrade() else { return };
            let engine = Engine { shared };
            let complete = match self.turn(&engine) {
                Ok(Turn::More) => continue,
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
            if self.blobs > 0 {
                let (blobs, bytes) = (self.blobs, self.bytes);
                tracing::info!(blobs, bytes, "gave back content that a crash or a stop left without a name");
            }
            return engine.shared.observer.sweep_ended(complete);
        }
    }

    /// Looks at one page, unless what went before is still on its way back.
    pub(super) fn turn(&mut self, engine: &Engine) -> Result<Turn, SweepError> {
        let keeper = &engine.shared.blobs;
        if engine.shared.damage.count() > 0 {
            return Ok(Turn::Refused);
        }
        if keeper.giving_back() > 0 || engine.status().applied < self.recovered {
            return Ok(Turn::More);
        }
        if self.walked && self.remains.is_empty() {
            return Ok(Turn::Done);
        }
        let (blobs, bytes) = (self.blobs, self.bytes);
        let turn = if self.walked { self.finish_half_freed(engine) } else { self.page(engine) };
        if self.blobs > blobs {
            engine.shared.observer.swept(self.blobs - blobs, self.bytes - bytes);
        }
        turn.map(|()| Turn::More)
    }

    /// Looks at the next blobs of the index.
    fn page(&mut self, engine: &Engine) -> Result<(), SweepError> {
        let (keeper, view) = (&engine.shared.blobs, engine.view());
        let page = keeper.list(self.after, PAGE)?;
        let (Some(&first), Some(&last)) = (page.first(), page.last()) else {
            self.walked = true;
            return Ok(());
        };
        let began = self.bytes;
        for blob in orphans(page, blobs_in_use(&view, first))? {
            // Gone meanwhile, or behind the line.
            if let Some(place) = keeper.find(blob)?.filter(|place| self.is_older(place)) {
                self.free(keeper, blob, place);
            }
            self.after = Some(blob);
            if self.bytes.saturating_sub(began) >= TURN_BYTES {
                return Ok(());
            }
        }
        self.after = Some(last);
        Ok(())
    }

    /// Whether all of a blob was written before this start.
    fn is_older(&self, place: &BlobPlace) -> bool {
        place.extents.iter().all(|extent| extent.pack < self.first_own_pack)
    }

    /// Gives back what is left of the next blob that lacks extents, if no row has it.
    fn finish_half_freed(&mut self, engine: &Engine) -> Result<(), SweepError> {
        let Some((blob, place)) = self.remains.pop() else { return Ok(()) };
        if !orphans(vec![blob], blobs_in_use(&engine.view(), blob))?.is_empty() {
            self.free(&engine.shared.blobs, blob, place);
        }
        Ok(())
    }

    fn free(&mut self, keeper: &BlobKeeper, blob: BlobId, place: BlobPlace) {
        self.blobs += 1;
        self.bytes = self.bytes.saturating_add(place.len);
        keeper.free_at(blob, place);
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
