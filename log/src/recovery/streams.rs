//! Follows the streams' heads through the log, and finds out which streams a damaged range can have touched.

use crate::batch::BatchContents;
use crate::id::{Hash, Head, Position, Seq, StreamId};
use crate::segment::StreamEntry;
use crate::witness::{QuarantinedRange, Touched};
use std::collections::{BTreeMap, BTreeSet};

/// A range of positions that cannot be read.
struct Loss {
    first: Position,
    last: Position,
    reason: String,
    /// Given up by an administrator: it excuses a gap and quarantines nothing.
    accepted: bool,
    /// The streams that can be in it, where something says so.
    scope: Option<BTreeSet<StreamId>>,
    /// Streams whose next record follows their last one before the range: they have nothing in it.
    untouched: BTreeSet<StreamId>,
    /// Streams that go on with a gap.
    touched: BTreeSet<StreamId>,
}

impl Loss {
    fn is_undecided(&self, stream: StreamId) -> bool {
        self.scope.as_ref().is_none_or(|scope| scope.contains(&stream))
            && !self.untouched.contains(&stream)
            && !self.touched.contains(&stream)
    }
}

/// The streams' heads as far as the log has been read.
#[derive(Default)]
pub(crate) struct Streams {
    heads: BTreeMap<StreamId, Head>,
    losses: Vec<Loss>,
    damaged: Vec<QuarantinedRange>,
}

impl Streams {
    pub fn heads(&self) -> &BTreeMap<StreamId, Head> {
        &self.heads
    }

    /// Notes positions that cannot be read. `scope` are the streams that can be in them, where that is known.
    pub fn lost(&mut self, first: Position, last: Position, scope: Option<BTreeSet<StreamId>>, reason: &str) {
        self.push(first, last, scope, reason.to_owned(), false);
    }

    /// Notes positions that an administrator gave up.
    pub fn accepted(&mut self, first: Position, last: Position) {
        self.push(first, last, None, String::new(), true);
    }

    fn push(
        &mut self,
        first: Position,
        last: Position,
        scope: Option<BTreeSet<StreamId>>,
        reason: String,
        accepted: bool,
    ) {
        if first <= last {
            let (untouched, touched) = (BTreeSet::new(), BTreeSet::new());
            self.losses.push(Loss { first, last, reason, accepted, scope, untouched, touched });
        }
    }

    /// A stream goes on with a record. Says whether that follows from what is known: a gap does after a loss only.
    fn goes_on(&mut self, stream: StreamId, first: Seq, prev_head: Option<Hash>) -> bool {
        let head = self.heads.get(&stream).copied().unwrap_or_default();
        let continuous = head.seq.next() == first && prev_head.is_none_or(|hash| hash == head.hash);
        let mut excused = false;
        for loss in self.losses.iter_mut().filter(|loss| loss.is_undecided(stream)) {
            excused = true;
            if continuous {
                loss.untouched.insert(stream)
            } else {
                loss.touched.insert(stream)
            };
        }
        continuous || excused
    }

    /// Takes a sealed segment's own word for its streams.
    pub fn sealed(&mut self, entries: &[StreamEntry]) {
        for entry in entries {
            self.goes_on(entry.stream, entry.first, None);
            self.heads.insert(entry.stream, Head { seq: entry.last, hash: entry.head });
        }
    }

    /// Follows a batch. Says whether everything in it can be read and follows.
    pub fn batch(&mut self, batch: &BatchContents) -> bool {
        let (first, last) = (batch.frame.first, batch.frame.last());
        let Some(table) = &batch.table else {
            self.batch_without_table(batch);
            return false;
        };
        let mut sound = batch.is_sound();
        for entry in table {
            if !self.goes_on(entry.stream, entry.first, Some(entry.prev_head)) {
                let scope = Some(BTreeSet::from([entry.stream]));
                self.lost(first, last, scope, "a stream does not go on from its last record");
                sound = false;
            }
        }
        for slot in &batch.slots {
            let record = &slot.record;
            self.heads.insert(record.stream, Head { seq: record.seq, hash: record.head });
            if slot.damage.any() {
                let part = if slot.damage.body { "body" } else { "content" };
                self.damaged.push(QuarantinedRange {
                    first: record.place.position,
                    last: record.place.position,
                    touched: Touched::Only(BTreeSet::from([record.stream])),
                    reason: format!("the record's {part} does not match its checksum"),
                });
            }
        }
        let scope = || Some(table.iter().map(|entry| entry.stream).collect());
        if let Some(unreached) = batch.unreached {
            self.lost(unreached, last, scope(), "a record's header is damaged");
        } else if !batch.chained {
            self.lost(first, last, scope(), "records of one stream do not follow each other");
        }
        sound
    }

    /// The records are there, but what came before them has to be known from elsewhere.
    fn batch_without_table(&mut self, batch: &BatchContents) {
        let (first, last) = (batch.frame.first, batch.frame.last());
        let reason = "the batch's table of streams is damaged";
        if batch.unreached.is_some() {
            return self.lost(first, last, None, reason);
        }
        let mut scope = BTreeSet::new();
        for slot in &batch.slots {
            let leaf = &slot.header.leaf;
            scope.insert(leaf.stream);
            let head = self.heads.entry(leaf.stream).or_default();
            if head.seq.next() == leaf.seq {
                *head = leaf.extend(head.hash);
            }
        }
        self.lost(first, last, Some(scope), reason);
    }

    /// How much has been found damaged so far, for [`Self::found_since`].
    pub fn found(&self) -> (usize, usize) {
        (self.losses.len(), self.damaged.len())
    }

    /// What has been found damaged since: first position and reason.
    pub fn found_since(&self, (losses, damaged): (usize, usize)) -> Vec<(Position, String)> {
        let losses = self.losses.iter().skip(losses).map(|loss| (loss.first, loss.reason.clone()));
        let damaged = self.damaged.iter().skip(damaged).map(|range| (range.first, range.reason.clone()));
        losses.chain(damaged).collect()
    }

    /// The ranges that stay in quarantine, now that everything behind them has been seen.
    pub fn quarantine(&self) -> Vec<QuarantinedRange> {
        let ranges = self.losses.iter().filter(|loss| !loss.accepted).map(|loss| QuarantinedRange {
            first: loss.first,
            last: loss.last,
            touched: match &loss.scope {
                Some(scope) => Touched::Only(scope.clone()),
                None => Touched::AllExcept(loss.untouched.clone()),
            },
            reason: loss.reason.clone(),
        });
        let mut ranges: Vec<_> = ranges.chain(self.damaged.iter().cloned()).collect();
        ranges.sort_by_key(|range| (range.first, range.last));
        ranges
    }
}
