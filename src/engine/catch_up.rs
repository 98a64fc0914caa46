//! Projections take from the log what they do not have yet: at a start, and for the commands that work on a store
//! whose server is stopped.
//!
//! What cannot be read is passed over, so that what follows it is seen. Rows that were built past it lack records: to
//! decide upon them could free bytes that a lost record still refers to, which a repair may bring back, or give a name
//! twice. So their streams go into quarantine first, and take no writes until a repair. The rows themselves remember
//! it (`projections/src/lacking.rs`), so that the quarantine outlives its file.

use super::damage::FoundDamage;
use siltstone_log::host::DiskError;
use siltstone_log::host::real::RealDisk;
use siltstone_log::id::{LogId, Position, StreamId};
use siltstone_log::reader::{ReadError, ReadItem, Replay, Unreadable};
use siltstone_log::recovery::Recovered;
use siltstone_log::witness::QuarantinedRange;
use siltstone_projections::follower::AcceptedLoss;
use siltstone_projections::lacking::{self, Lacking};
use siltstone_projections::rebuild::{Rebuild, RebuildError};
use siltstone_projections::store::StoreError;
use siltstone_projections::{Cursor, Pace, Rows, Store};
use std::collections::BTreeSet;
use std::io;

/// Why projections could not be brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum CatchUpError {
    /// The log cannot be read.
    #[error("log: {0}")]
    Read(#[from] ReadError),
    /// The projections cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The projections cannot follow the log.
    #[error(transparent)]
    Rebuild(#[from] RebuildError),
    /// What was found damaged cannot be written down.
    #[error("cannot write down what is damaged: {0}")]
    Quarantine(#[from] DiskError),
    /// A thread could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] io::Error),
}

/// One pass over a log, into a store that may have some of it already.
pub(crate) struct Pass<'a> {
    /// The log's files.
    pub disk: &'a RealDisk,
    /// The log.
    pub log_id: LogId,
    /// The store.
    pub store: &'a dyn Store,
    /// Ranges that are known to be missing before it begins.
    pub losses: Vec<AcceptedLoss>,
    /// Another store that it shall not get ahead of, so that the two can be compared.
    pub no_further_than: Option<&'a dyn Rows>,
    /// The last position that is applied.
    pub until: Position,
}

/// What a [`Pass`] did.
pub(crate) struct Passed {
    /// The ranges that a follower has to pass over.
    pub losses: Vec<AcceptedLoss>,
    /// The last position that was applied.
    pub position: Position,
    /// Records that were read.
    pub records: u64,
    /// Positions that could not be read and that nobody has given up.
    pub unreadable: u64,
}

impl Pass<'_> {
    /// Does it. `progress` hears of each item before it is applied; `note` of each range that cannot be read and that
    /// nobody has given up, with what was applied before it, and says of which streams the rows lack records for it.
    pub fn run(
        self,
        mut progress: impl FnMut(&ReadItem),
        mut note: impl FnMut(Unreadable, &Rebuild<'_>) -> Result<BTreeSet<StreamId>, CatchUpError>,
    ) -> Result<Passed, CatchUpError> {
        let mut losses = self.losses;
        let mut rebuild = Rebuild::new(self.store, self.log_id, losses.clone(), Pace::REBUILD)?;
        if let Some(other) = self.no_further_than {
            rebuild.no_further_than(other)?;
        }
        let (mut records_read, mut unreadable) = (0, 0);
        if rebuild.resume_from() <= self.until {
            for item in Replay::open(self.disk.clone(), rebuild.resume_from())?.read_ahead()? {
                let item = item?;
                progress(&item);
                match item {
                    ReadItem::Records(mut records) => {
                        let all = records.len();
                        records.retain(|record| record.place.position <= self.until);
                        records_read += records.len() as u64;
                        let over = records.len() < all;
                        rebuild.push(records)?;
                        if over {
                            break;
                        }
                    }
                    ReadItem::Unreadable(range) if range.first > self.until => break,
                    ReadItem::Unreadable(range) => {
                        let mut lacking = BTreeSet::new();
                        if !range.accepted {
                            unreadable += range.last.get().saturating_sub(range.first.get()) + 1;
                            lacking = note(range, &rebuild)?;
                        }
                        losses.push((range.first, range.last));
                        rebuild.pass_over((range.first, range.last), lacking)?;
                    }
                }
            }
        }
        let position = rebuild.finish()?;
        Ok(Passed { losses, position, records: records_read, unreadable })
    }
}

/// A store that is to have what a recovered log has.
pub(crate) struct CatchUp<'a> {
    /// The log's files.
    pub disk: &'a RealDisk,
    /// The log as recovery found it.
    pub recovered: &'a Recovered,
    /// The store.
    pub store: &'a dyn Store,
    /// Where damage is written down; none for a store that nobody will decide upon.
    pub damage: Option<&'a FoundDamage>,
    /// Another store that it shall not get ahead of, so that the two can be compared.
    pub no_further_than: Option<&'a dyn Rows>,
}

impl CatchUp<'_> {
    /// Does it. `progress` hears of each item before it is applied. Returns the ranges that a follower has to pass over.
    pub fn run(&self, progress: impl FnMut(&ReadItem)) -> Result<Vec<AcceptedLoss>, CatchUpError> {
        let ranges = self.recovered.quarantine.iter();
        let pass = Pass {
            disk: self.disk,
            log_id: self.recovered.log_id,
            store: self.store,
            losses: ranges.map(|range| (range.first, range.last)).collect(),
            no_further_than: self.no_further_than,
            until: Position(self.recovered.next_position.get().saturating_sub(1)),
        };
        let mut noted = Vec::new();
        let passed = pass.run(progress, |met, rebuild| {
            let is_noted = |noted: &[QuarantinedRange]| {
                noted.iter().any(|range| range.first <= met.first && met.last <= range.last)
            };
            if !is_noted(&noted) {
                noted.extend(self.note(met, rebuild.cursors())?);
            }
            Ok(lacking::for_range(&noted, (met.first, met.last)))
        });
        Ok(passed?.losses)
    }

    /// Writes down a range that could not be read, and what cannot be read behind it, with the streams that lack
    /// records for it, given the last record of each stream that was applied before it. Returns the ranges.
    ///
    /// ORDER: durable before anything behind it is applied, because a later start does not come past it again.
    pub(super) fn note(
        &self,
        met: Unreadable,
        applied: impl Iterator<Item = (StreamId, Cursor)>,
    ) -> Result<Vec<QuarantinedRange>, CatchUpError> {
        let Some(damage) = self.damage else { return Ok(Vec::new()) };
        let mut lacking = Lacking::new(applied);
        // What could not be read once is passed over, so it counts as lost even if the disk gives it now.
        lacking.lost(met.first, met.last);
        for item in Replay::open(self.disk.clone(), met.last.next())?.read_ahead()? {
            match item? {
                ReadItem::Records(records) => {
                    for record in records {
                        lacking.record(record.stream, record.seq, record.place.position);
                    }
                }
                ReadItem::Unreadable(range) if !range.accepted => lacking.lost(range.first, range.last),
                ReadItem::Unreadable(_) => {}
            }
        }
        let ranges = lacking.finish(&self.recovered.heads);
        for range in &ranges {
            damage.add(range.clone());
        }
        damage.write_down(self.disk)?;
        Ok(ranges)
    }
}

/// Begins from rows that are there: what they remember to lack goes into quarantine, and into its file where that has
/// lost it, before anything is decided upon them.
pub(crate) fn set_apart(
    disk: &RealDisk,
    recovered: &mut Recovered,
    rows: &dyn Rows,
) -> Result<FoundDamage, CatchUpError> {
    let damage = FoundDamage::new(recovered.log_id, &recovered.quarantine);
    for range in lacking::not_in(rows, &recovered.quarantine)? {
        damage.add(range);
    }
    damage.write_down(disk)?;
    recovered.quarantine = damage.ranges();
    Ok(damage)
}
