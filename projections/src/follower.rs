//! The follower: committed records in, batches of rows out. The same machine follows the live log, catches up after
//! a start, and rebuilds from zero; only its pace differs.
//!
//! It takes records in log order, from any position at or before [`Follower::resume_from`]: what a space's cursors
//! say it has is skipped. A record that cannot be applied stops it there ([`Status::Stuck`]): the server stays up and
//! reads go on, of the state before that record. It never skips.
//!
//! Next hop: [`crate::fold`] for one record, [`crate::store::Store::commit`] for what comes out.

use crate::changes::{Batch, Changes, Cursor, CursorRow, stream_of_key};
use crate::fold::{self, FoldError, Origin};
use crate::key;
use crate::lacking::{self, LackingRow};
use crate::overlay::Overlay;
use crate::rows::Row;
use crate::store::{Rows, Space, StoreError, meta, prefix_range};
use siltstone_log::chain::Leaf;
use siltstone_log::event::{DecodeError, Event};
use siltstone_log::id::{LogId, Position, Seq, StreamId};
use siltstone_log::mutants::{Mutant, active};
use siltstone_log::record::Record;
use std::collections::{BTreeMap, BTreeSet};

/// Positions applied since a space's last commit after which it is told, though none of its rows changed. Until then
/// a restart reads them again.
const QUIET_LAG: u64 = 16_384;

/// Positions that were given up, the first and the last one: records missing there are no gap.
pub type AcceptedLoss = (Position, Position);

/// When the follower lets go of what it has collected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// With each input: readers wait for it.
    Live,
    /// When a space has collected this much: nobody waits.
    Bulk {
        /// Rows.
        rows: usize,
        /// Bytes, about.
        bytes: usize,
    },
}

impl Pace {
    /// The pace of a rebuild: about 1 M rows or 128 MiB at a time.
    pub const REBUILD: Self = Self::Bulk { rows: 1_000_000, bytes: 128 << 20 };
}

/// What a follower is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FollowerInput {
    /// Committed records in log order, following those before without a gap in position.
    Records(Vec<Record>),
    /// Positions that cannot be read follow: records that are missing there are no gap. Of these streams the rows lack
    /// records for it, and remember that with whatever they say from behind it; of none where it was given up.
    PassOver(AcceptedLoss, BTreeSet<StreamId>),
    /// Let go of everything that was collected, and note the position in every space: before a stop.
    Flush,
    /// A commit it asked for has failed.
    CommitFailed(StoreError),
}

/// What a follower asks for, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FollowerEffect {
    /// Commit this batch before the next input.
    Commit(Batch),
    /// ORDER: after the commits. Every record up to here is visible to readers; receipts that wait for it may go out.
    Applied(Position),
    /// It has stopped. Nothing more comes out.
    Stuck(Stuck),
}

/// Where and why a follower stopped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("projections stopped at position {position} ({event}, record {seq} of stream {stream}): {error}")]
pub struct Stuck {
    /// The record's position, or the last one applied where a commit failed.
    pub position: Position,
    /// The record's stream.
    pub stream: StreamId,
    /// Its number there.
    pub seq: Seq,
    /// Its event, or `commit`.
    pub event: String,
    /// What went wrong.
    pub error: FoldError,
}

/// Whether the follower follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// It does.
    Following,
    /// It has stopped for good; the next start tries again.
    Stuck(Stuck),
}

#[derive(Debug, Clone, Copy)]
struct Progress {
    cursor: Cursor,
    /// Where the stream's last record was; zero where that was before this start.
    position: Position,
}

impl Progress {
    /// Whether the first record after a start does not follow what the rows were computed from. Between records of
    /// one start the log itself vouches for the chain.
    fn is_forked_by(&self, record: &Record) -> bool {
        let leaf = Leaf {
            stream: record.stream,
            seq: record.seq,
            hlc: record.hlc,
            epoch: record.epoch,
            kind: record.kind,
            body_hash: record.body_hash,
            content_hash: record.content_hash,
        };
        let follows = record.seq == self.cursor.seq.next();
        self.position == Position(0) && follows && leaf.extend(self.cursor.hash).hash != record.head
    }
}

/// The state machine.
#[derive(Debug)]
pub struct Follower {
    log_id: LogId,
    pace: Pace,
    status: Status,
    losses: Vec<AcceptedLoss>,
    streams: BTreeMap<StreamId, Progress>,
    /// What the rows of each stream were built without.
    lacking: BTreeMap<StreamId, LackingRow>,
    applied: Position,
    /// What each space has been told of, and nothing after this is folded into it.
    spaces: [SpaceProgress; 2],
}

#[derive(Debug)]
struct SpaceProgress {
    batch: Batch,
    committed: Position,
    until: Position,
}

impl Follower {
    /// Continues where the rows say they are.
    pub fn new(
        rows: &dyn Rows,
        log_id: LogId,
        losses: Vec<AcceptedLoss>,
        pace: Pace,
    ) -> Result<Self, StoreError> {
        let (mut streams, mut lacking) = (BTreeMap::new(), BTreeMap::new());
        for space in Space::ALL {
            for cursor in cursors(rows, space) {
                let (stream, cursor) = cursor?;
                streams.insert(stream, Progress { cursor, position: Position(0) });
            }
            for row in lacking::rows_of(rows, space) {
                let (stream, row) = row?;
                lacking.insert(stream, row);
            }
        }
        let progress = |space| -> Result<SpaceProgress, StoreError> {
            let committed = meta(rows, space)?.applied;
            Ok(SpaceProgress { batch: Batch::new(space, log_id), committed, until: Position(u64::MAX) })
        };
        let spaces = [progress(Space::System)?, progress(Space::State)?];
        let applied = spaces.iter().map(|space| space.committed).min().unwrap_or_default();
        Ok(Self { log_id, pace, status: Status::Following, losses, streams, lacking, applied, spaces })
    }

    /// Folds nothing into a space that lies after this position: to compare with a store that has not got further.
    pub fn stop_after(&mut self, space: Space, position: Position) {
        space.pick_mut(&mut self.spaces).until = position;
    }

    /// The first position it has to be given.
    pub fn resume_from(&self) -> Position {
        self.applied.next()
    }

    /// The last position it was given and has applied; visible once the commits it asked for are done.
    pub fn applied(&self) -> Position {
        self.applied
    }

    /// The last record of each stream that it has applied, whether that is committed or not.
    pub fn cursors(&self) -> impl Iterator<Item = (StreamId, Cursor)> {
        self.streams.iter().map(|(stream, progress)| (*stream, progress.cursor))
    }

    /// Whether it follows.
    pub fn status(&self) -> &Status {
        &self.status
    }

    /// Takes an input. `rows` are those of the store that the batches are committed to.
    pub fn handle(&mut self, rows: &dyn Rows, input: FollowerInput, out: &mut Vec<FollowerEffect>) {
        if self.status != Status::Following {
            return;
        }
        match input {
            FollowerInput::Records(records) => {
                let failed = records.iter().find_map(|record| {
                    let error = self.apply(rows, record).err()?;
                    Some(stuck(record, error))
                });
                // What came before the record that failed is good, and is seen.
                if failed.is_some() || self.is_due() {
                    self.release(false, out);
                }
                if let Some(stuck) = failed {
                    self.stop(stuck, out);
                }
            }
            FollowerInput::PassOver(loss, streams) => self.pass_over(loss, streams),
            FollowerInput::Flush => self.release(true, out),
            FollowerInput::CommitFailed(error) => {
                let stuck = Stuck {
                    position: self.applied,
                    stream: StreamId::default(),
                    seq: Seq(0),
                    event: "commit".to_owned(),
                    error: error.into(),
                };
                self.stop(stuck, out);
            }
        }
    }

    fn pass_over(&mut self, loss: AcceptedLoss, streams: BTreeSet<StreamId>) {
        self.losses.push(loss);
        for stream in streams {
            if let Some(space) = Space::of(stream).filter(|_| !active(Mutant::ForgetLacking)) {
                let lacking = self.lacking.entry(stream).or_default();
                lacking.add(loss);
                space.pick_mut(&mut self.spaces).batch.lack(stream, lacking.clone());
            }
        }
    }

    fn stop(&mut self, stuck: Stuck, out: &mut Vec<FollowerEffect>) {
        self.status = Status::Stuck(stuck.clone());
        out.push(FollowerEffect::Stuck(stuck));
    }

    fn is_due(&self) -> bool {
        match self.pace {
            Pace::Live => true,
            Pace::Bulk { rows, bytes } => self
                .spaces
                .iter()
                .any(|space| space.batch.row_count() >= rows || space.batch.bytes() >= bytes),
        }
    }

    fn release(&mut self, everything: bool, out: &mut Vec<FollowerEffect>) {
        for space in Space::ALL {
            let progress = space.pick_mut(&mut self.spaces);
            let lag = self.applied.get().saturating_sub(progress.committed.get());
            if progress.batch.is_empty() && lag < if everything { 1 } else { QUIET_LAG } {
                continue;
            }
            let mut batch = std::mem::replace(&mut progress.batch, Batch::new(space, self.log_id));
            progress.committed = self.applied.min(progress.until);
            batch.set_applied(progress.committed);
            if active(Mutant::SeparatePosition) {
                out.push(FollowerEffect::Commit(batch.take_position()));
            }
            out.push(FollowerEffect::Commit(batch));
        }
        out.push(FollowerEffect::Applied(self.applied));
    }

    fn apply(&mut self, rows: &dyn Rows, record: &Record) -> Result<(), FoldError> {
        if let Some(space) = Space::of(record.stream)
            && record.place.position <= space.pick(&self.spaces).until
        {
            self.apply_to(space, rows, record)?;
        }
        self.applied = self.applied.max(record.place.position);
        Ok(())
    }

    fn apply_to(&mut self, space: Space, rows: &dyn Rows, record: &Record) -> Result<(), FoldError> {
        let before = self.streams.get(&record.stream);
        let last = before.map(|progress| progress.cursor.seq).unwrap_or_default();
        let again = active(Mutant::ApplyAgain) && record.seq == last;
        if record.seq <= last && !again {
            return Ok(());
        }
        let after = before.map(|progress| progress.position).unwrap_or_default();
        if record.seq != last.next() && !again && !self.was_given_up(after, record.place.position) {
            return Err(FoldError::Gap { stream: record.stream, expected: last.next(), found: record.seq });
        }
        if !again && before.is_some_and(|progress| progress.is_forked_by(record)) {
            return Err(FoldError::Forked { stream: record.stream, seq: record.seq });
        }
        let mut changes = Changes::new();
        match record.decode() {
            Some(Ok(body)) => {
                let [system, state] = &self.spaces;
                let rows = Overlay::over_batches(rows, &system.batch, &state.batch);
                fold::apply(space, &rows, &Origin::from(record), &body, &mut changes)?;
            }
            Some(Err(DecodeError::UnknownType(_))) if record.ignorable => {}
            Some(Err(error)) => return Err(error.into()),
            // Erased: its place in the stream stays, and that is all.
            None => {}
        }
        let cursor = Cursor { seq: record.seq, hash: record.head };
        let batch = &mut space.pick_mut(&mut self.spaces).batch;
        batch.merge(changes);
        batch.advance(record.stream, cursor);
        self.streams.insert(record.stream, Progress { cursor, position: record.place.position });
        Ok(())
    }

    fn was_given_up(&self, after: Position, before: Position) -> bool {
        self.losses.iter().any(|(first, last)| *first > after && *last < before)
    }
}

fn stuck(record: &Record, error: FoldError) -> Stuck {
    let known = Event::CATALOGUE.iter().find(|(number, ..)| *number == record.kind.event_type);
    Stuck {
        position: record.place.position,
        stream: record.stream,
        seq: record.seq,
        event: known
            .map_or_else(|| format!("type {:#06x}", record.kind.event_type), |(.., name)| (*name).into()),
        error,
    }
}

/// The cursors of a space: which record of each stream it has applied last.
pub fn cursors(
    rows: &dyn Rows,
    space: Space,
) -> impl Iterator<Item = Result<(StreamId, Cursor), StoreError>> {
    let (from, to) = prefix_range(vec![key::CURSOR]);
    rows.range(space, from, to).map(|row| {
        let (key, stored) = row?;
        Ok((stream_of_key(key::CURSOR, &key)?, CursorRow::from_stored(&stored)?.0))
    })
}

#[cfg(test)]
mod tests;
