//! Projections take from the log what they do not have yet: at a start, and for the commands that work on a store
//! whose server is stopped.
//!
//! What cannot be read is passed over, so that what follows it is seen. Rows that were built past it lack records: to
//! decide upon them could free bytes that a lost record still refers to, which a repair may bring back, or give a name
//! twice. So their streams go into quarantine first, and take no writes until a repair.

use super::damage::FoundDamage;
use siltstone_log::host::DiskError;
use siltstone_log::host::real::RealDisk;
use siltstone_log::id::{Head, LogId, Position, Seq, StreamId};
use siltstone_log::reader::{ReadError, ReadItem, Replay, Unreadable};
use siltstone_log::recovery::Recovered;
use siltstone_log::witness::{QuarantinedRange, Touched};
use siltstone_projections::follower::AcceptedLoss;
use siltstone_projections::rebuild::{Rebuild, RebuildError};
use siltstone_projections::store::StoreError;
use siltstone_projections::{Cursor, Pace, Rows, Space, Store};
use std::collections::{BTreeMap, BTreeSet};
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
    /// nobody has given up, with what was applied before it.
    pub fn run(
        self,
        mut progress: impl FnMut(&ReadItem),
        mut note: impl FnMut(Unreadable, &Rebuild<'_>) -> Result<(), CatchUpError>,
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
                        if !range.accepted {
                            unreadable += range.last.get().saturating_sub(range.first.get()) + 1;
                            note(range, &rebuild)?;
                        }
                        losses.push((range.first, range.last));
                        rebuild.pass_over((range.first, range.last))?;
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
        let mut noted: Vec<AcceptedLoss> = Vec::new();
        let passed = pass.run(progress, |range, rebuild| {
            if !noted.iter().any(|(first, last)| *first <= range.first && range.last <= *last) {
                noted.extend(self.note(range, rebuild.cursors())?);
            }
            Ok(())
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
    ) -> Result<Vec<AcceptedLoss>, CatchUpError> {
        let Some(damage) = self.damage else { return Ok(vec![(met.first, met.last)]) };
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
        let noted = ranges.iter().map(|range| (range.first, range.last)).collect();
        for range in ranges {
            damage.add(range);
        }
        damage.write_down(self.disk)?;
        Ok(noted)
    }
}

/// Finds out which streams have records in ranges that cannot be read: those that go on with a gap, and those that end
/// before their head.
struct Lacking {
    /// The last record of each stream, and where it was; at zero where it was applied earlier.
    last: BTreeMap<StreamId, (Seq, Position)>,
    ranges: Vec<(Position, Position, BTreeSet<StreamId>)>,
}

impl Lacking {
    /// Begins behind the records that were applied last.
    fn new(applied: impl Iterator<Item = (StreamId, Cursor)>) -> Self {
        Self {
            last: applied.map(|(stream, cursor)| (stream, (cursor.seq, Position(0)))).collect(),
            ranges: Vec::new(),
        }
    }

    fn lost(&mut self, first: Position, last: Position) {
        self.ranges.push((first, last, BTreeSet::new()));
    }

    fn record(&mut self, stream: StreamId, seq: Seq, position: Position) {
        let (last, after) = self.last.get(&stream).copied().unwrap_or_default();
        if seq > last {
            if seq != last.next() {
                self.touch(stream, after);
            }
            self.last.insert(stream, (seq, position));
        }
    }

    fn touch(&mut self, stream: StreamId, after: Position) {
        for (_, _, streams) in self.ranges.iter_mut().filter(|(first, ..)| *first > after) {
            streams.insert(stream);
        }
    }

    fn finish(mut self, heads: &BTreeMap<StreamId, Head>) -> Vec<QuarantinedRange> {
        // No row rests on evidence and telemetry.
        for (stream, head) in heads.iter().filter(|(stream, _)| Space::of(**stream).is_some()) {
            let (last, after) = self.last.get(stream).copied().unwrap_or_default();
            if last < head.seq {
                self.touch(*stream, after);
            }
        }
        let of_rows = |stream: &StreamId| Space::of(*stream).is_some();
        let ranges = self.ranges.into_iter().map(|(first, last, streams)| QuarantinedRange {
            first,
            last,
            touched: Touched::Only(streams.into_iter().filter(of_rows).collect()),
            reason: "the records cannot be read, and the projections were built without them".to_owned(),
        });
        ranges.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use siltstone_log::id::Hash;

    #[test]
    fn streams_with_a_gap_or_an_end_before_their_head_lack_records_and_others_do_not() {
        let [gap, cut, whole, later] = [1, 2, 3, 4].map(|n| StreamId([n; 16]));
        let mut lacking = Lacking::new(std::iter::empty());
        let mut record = |stream, seq, at| lacking.record(stream, Seq(seq), Position(at));
        for (stream, at) in [(gap, 1), (cut, 2), (whole, 3), (StreamId::ACCESS, 4)] {
            record(stream, 1, at);
        }
        lacking.lost(Position(5), Position(6));
        let mut record = |stream, seq, at| lacking.record(stream, Seq(seq), Position(at));
        record(gap, 3, 7);
        record(whole, 2, 8);
        record(StreamId::ACCESS, 3, 9);
        lacking.lost(Position(10), Position(10));
        let heads = [(gap, 3), (cut, 2), (whole, 2), (later, 1), (StreamId::ACCESS, 4)];
        let heads = heads.map(|(stream, seq)| (stream, Head { seq: Seq(seq), hash: Hash::default() }));
        let found = lacking.finish(&heads.into());
        let found: Vec<_> = found.into_iter().map(|range| (range.first, range.last, range.touched)).collect();
        let only = |streams: &[StreamId]| Touched::Only(streams.iter().copied().collect());
        let expected = [
            (Position(5), Position(6), only(&[gap, cut, later])),
            (Position(10), Position(10), only(&[cut, later])),
        ];
        assert_eq!(found, expected);
    }
}
