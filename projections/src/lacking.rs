//! What rows lack: records that could not be read when the rows were built past them.
//!
//! To decide upon such rows could free bytes that a lost record still refers to, or give a name twice. So their streams
//! are set apart: they take no writes, and nothing is swept, until a repair has decided and the rows are built anew.
//! [`Lacking`] finds out which streams these are; the rows themselves remember it ([`LackingRow`]), in the very batch
//! that first says something from behind the gap. Rows that lack records and do not say so can therefore not come to
//! be, whatever becomes of `log/QUARANTINE`, which is deletable.

use crate::changes::stream_of_key;
use crate::follower::AcceptedLoss;
use crate::key;
use crate::rows::Row;
use crate::store::{Rows, Space, StoreError, prefix_range};
use serde::{Deserialize, Serialize};
use siltstone_log::id::{Head, Position, Seq, StreamId};
use siltstone_log::witness::{QuarantinedRange, Touched};
use std::collections::{BTreeMap, BTreeSet};

/// What is said of a range that rows were built without.
const REASON: &str = "the records cannot be read, and the projections were built without them";

/// The ranges that a stream's row remembers one by one.
const MOST_RANGES: usize = 16;

/// The ranges in which a stream has, or may have, records that the rows were built without: `03 [stream]`. Local to the
/// node, outside the digest: another node may have read them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LackingRow(Vec<AcceptedLoss>);

impl Row for LackingRow {
    const NAME: &'static str = "lacking";
}

impl LackingRow {
    /// Adds a range. Of more than sixteen the last ones become one that spans them: what counts is that there are some.
    pub(crate) fn add(&mut self, (first, last): AcceptedLoss) {
        if self.0.iter().any(|known| known.0 <= first && last <= known.1) {
            return;
        }
        self.0.push((first, last));
        self.0.sort_unstable();
        if self.0.len() > MOST_RANGES
            && let Some((_, last)) = self.0.pop()
            && let Some(widened) = self.0.last_mut()
        {
            widened.1 = widened.1.max(last);
        }
    }
}

/// The streams of a space whose rows lack records, each with where.
pub(crate) fn rows_of(
    rows: &dyn Rows,
    space: Space,
) -> impl Iterator<Item = Result<(StreamId, LackingRow), StoreError>> {
    let (from, to) = prefix_range(vec![key::LACKING]);
    rows.range(space, from, to).map(|row| {
        let (key, stored) = row?;
        Ok((stream_of_key(key::LACKING, &key)?, LackingRow::from_stored(&stored)?))
    })
}

/// What rows remember to lack and `known` does not say of the same stream: to be set apart by whoever goes on from them.
pub fn not_in(rows: &dyn Rows, known: &[QuarantinedRange]) -> Result<Vec<QuarantinedRange>, StoreError> {
    let mut found: BTreeMap<AcceptedLoss, BTreeSet<StreamId>> = BTreeMap::new();
    for space in Space::ALL {
        for row in rows_of(rows, space) {
            let (stream, row) = row?;
            for (first, last) in row.0 {
                let is_known = known.iter().any(|range| {
                    range.first <= last && first <= range.last && range.touched.contains(stream)
                });
                if !is_known {
                    found.entry((first, last)).or_default().insert(stream);
                }
            }
        }
    }
    Ok(found.into_iter().map(|(range, streams)| lacked(range, streams)).collect())
}

/// The streams that lack records somewhere in a range, of what [`Lacking::finish`] returned.
pub fn for_range(lacked: &[QuarantinedRange], (first, last): AcceptedLoss) -> BTreeSet<StreamId> {
    let within = lacked.iter().filter(|range| range.first <= last && first <= range.last);
    let streams = within.filter_map(|range| match &range.touched {
        Touched::Only(streams) => Some(streams),
        Touched::AllExcept(_) => None,
    });
    streams.flatten().copied().collect()
}

fn lacked((first, last): AcceptedLoss, streams: BTreeSet<StreamId>) -> QuarantinedRange {
    QuarantinedRange { first, last, touched: Touched::Only(streams), reason: REASON.to_owned() }
}

/// Finds out which streams have records in ranges that cannot be read: those that go on with a gap, and those that end
/// before their head.
pub struct Lacking {
    /// The last record of each stream, and where it was; at zero where it was applied earlier.
    last: BTreeMap<StreamId, (Seq, Position)>,
    ranges: Vec<(AcceptedLoss, BTreeSet<StreamId>)>,
}

impl Lacking {
    /// Begins behind the records of each stream that were applied last.
    pub fn new(applied: impl Iterator<Item = (StreamId, Head)>) -> Self {
        Self {
            last: applied.map(|(stream, cursor)| (stream, (cursor.seq, Position(0)))).collect(),
            ranges: Vec::new(),
        }
    }

    /// A range follows that cannot be read and that nobody has given up.
    pub fn lost(&mut self, first: Position, last: Position) {
        self.ranges.push(((first, last), BTreeSet::new()));
    }

    /// A record follows.
    pub fn record(&mut self, stream: StreamId, seq: Seq, position: Position) {
        let (last, after) = self.last.get(&stream).copied().unwrap_or_default();
        if seq > last {
            if seq != last.next() {
                self.touch(stream, after);
            }
            self.last.insert(stream, (seq, position));
        }
    }

    fn touch(&mut self, stream: StreamId, after: Position) {
        for (_, streams) in self.ranges.iter_mut().filter(|((first, _), _)| *first > after) {
            streams.insert(stream);
        }
    }

    /// That was the end of the log, whose streams have these heads. Returns each range with the streams that lack
    /// records for it.
    pub fn finish(mut self, heads: &BTreeMap<StreamId, Head>) -> Vec<QuarantinedRange> {
        // No row rests on evidence and telemetry.
        for (stream, head) in heads.iter().filter(|(stream, _)| Space::of(**stream).is_some()) {
            let (last, after) = self.last.get(stream).copied().unwrap_or_default();
            if last < head.seq {
                self.touch(*stream, after);
            }
        }
        let of_rows = |stream: &StreamId| Space::of(*stream).is_some();
        let ranges = self.ranges.into_iter();
        ranges.map(|(range, streams)| lacked(range, streams.into_iter().filter(of_rows).collect())).collect()
    }
}

#[cfg(test)]
mod tests;
