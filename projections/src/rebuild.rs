//! Rebuilding projections from zero, and comparing them with others.

use crate::changes::Cursor;
use crate::digest::{Digest, counted_rows};
use crate::follower::{AcceptedLoss, Follower, FollowerEffect, FollowerInput, Pace, Stuck};
use crate::key::{StateKey, SystemKey};
use crate::rows;
use crate::store::{RowIter, Rows, Space, Store, StoreError, meta};
use bytes::Bytes;
use siltstone_log::id::{LogId, Position, StreamId};
use siltstone_log::record::Record;
use std::collections::BTreeSet;

/// Rows from which on a batch goes in by ingestion: below, its tables would be too small.
const INGEST_FROM: usize = 10_000;

/// A rebuild could not be finished.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RebuildError {
    /// A record could not be applied.
    #[error(transparent)]
    Stuck(#[from] Stuck),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Fills a store from the log's first record on, in large sorted batches.
pub struct Rebuild<'a> {
    store: &'a dyn Store,
    follower: Follower,
    effects: Vec<FollowerEffect>,
}

impl<'a> Rebuild<'a> {
    /// Begins with what the store has: usually nothing.
    pub fn new(
        store: &'a dyn Store,
        log_id: LogId,
        losses: Vec<AcceptedLoss>,
        pace: Pace,
    ) -> Result<Self, StoreError> {
        let follower = Follower::new(store, log_id, losses, pace)?;
        Ok(Self { store, follower, effects: Vec::new() })
    }

    /// Goes only as far in each space as another store has got, so that the two can be compared.
    pub fn no_further_than(&mut self, other: &dyn Rows) -> Result<(), StoreError> {
        for space in Space::ALL {
            self.follower.stop_after(space, meta(other, space)?.applied);
        }
        Ok(())
    }

    /// The first position to give to [`Rebuild::push`].
    pub fn resume_from(&self) -> Position {
        self.follower.resume_from()
    }

    /// Takes records in log order.
    pub fn push(&mut self, records: Vec<Record>) -> Result<(), RebuildError> {
        self.step(FollowerInput::Records(records))
    }

    /// Passes over positions that cannot be read and come next, of which the rows lack these streams' records.
    pub fn pass_over(&mut self, loss: AcceptedLoss, lacking: BTreeSet<StreamId>) -> Result<(), RebuildError> {
        self.step(FollowerInput::PassOver(loss, lacking))
    }

    /// The last record of each stream that was taken, whether that is stored or not.
    pub fn cursors(&self) -> impl Iterator<Item = (StreamId, Cursor)> {
        self.follower.cursors()
    }

    /// Stores the rest and makes it durable. Returns the last position.
    pub fn finish(mut self) -> Result<Position, RebuildError> {
        self.step(FollowerInput::Flush)?;
        self.store.sync()?;
        Ok(self.follower.applied())
    }

    fn step(&mut self, input: FollowerInput) -> Result<(), RebuildError> {
        self.follower.handle(self.store, input, &mut self.effects);
        for effect in self.effects.drain(..) {
            match effect {
                FollowerEffect::Commit(batch) if batch.row_count() >= INGEST_FROM => {
                    self.store.ingest(batch)?;
                }
                FollowerEffect::Commit(batch) => self.store.commit(batch)?,
                FollowerEffect::Applied(_) => {}
                FollowerEffect::Stuck(stuck) => return Err(stuck.into()),
            }
        }
        Ok(())
    }
}

/// A row that two stores do not agree on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Its space.
    pub space: Space,
    /// Its key, stored form.
    pub key: Vec<u8>,
    /// The logical bytes the first store has, if it has the row.
    pub left: Option<Vec<u8>>,
    /// The logical bytes the second store has, if it has the row.
    pub right: Option<Vec<u8>>,
}

impl Difference {
    /// The key in words.
    pub fn describe(&self) -> String {
        let key = match self.space {
            Space::System => SystemKey::decode(&self.key).map(|key| format!("{key:?}")),
            Space::State => StateKey::decode(&self.key).map(|key| format!("{key:?}")),
        };
        key.unwrap_or_else(|error| error.to_string())
    }
}

/// What a comparison of two stores found in a space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// The space.
    pub space: Space,
    /// The digests that the stores keep.
    pub kept: [Digest; 2],
    /// The digests of the rows that are really there.
    pub found: [Digest; 2],
    /// How many rows differ.
    pub different: u64,
    /// The first of them.
    pub first: Vec<Difference>,
}

impl Comparison {
    /// Whether rows and digests all agree.
    pub fn is_equal(&self) -> bool {
        let [left, right] = self.kept;
        left == right && self.found == self.kept && self.different == 0
    }
}

/// Reads two stores side by side, all rows of a space, and returns up to `limit` differences with the count.
pub fn compare(
    left: &dyn Rows,
    right: &dyn Rows,
    space: Space,
    limit: usize,
) -> Result<Comparison, StoreError> {
    let mut comparison = Comparison {
        space,
        kept: [meta(left, space)?.digest, meta(right, space)?.digest],
        found: [Digest::default(); 2],
        different: 0,
        first: Vec::new(),
    };
    let all = |rows| -> std::iter::Peekable<RowIter<'_>> {
        let (from, to) = counted_rows();
        Rows::range(rows, space, from, to).peekable()
    };
    let (mut left, mut right): (_, _) = (all(left), all(right));
    loop {
        let order = match (left.peek(), right.peek()) {
            (None, None) => return Ok(comparison),
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some(Ok((left, _))), Some(Ok((right, _)))) => left.cmp(right),
            (Some(Err(error)), Some(_)) | (Some(Ok(_)), Some(Err(error))) => return Err(error.clone()),
        };
        let left = if order.is_le() { left.next().transpose()? } else { None };
        let right = if order.is_ge() { right.next().transpose()? } else { None };
        comparison.note(left.as_ref(), right.as_ref(), limit);
    }
}

impl Comparison {
    fn note(&mut self, left: Option<&(Bytes, Bytes)>, right: Option<&(Bytes, Bytes)>, limit: usize) {
        let [found_left, found_right] = &mut self.found;
        for (row, found) in [(left, found_left), (right, found_right)] {
            if let Some((key, stored)) = row {
                found.add_row(self.space, key, stored);
            }
        }
        let part = |row: Option<&(Bytes, Bytes)>| row.map(|(_, stored)| rows::logical(stored).to_vec());
        if part(left) == part(right) {
            return;
        }
        self.different += 1;
        let key = left.or(right).map(|(key, _)| key.to_vec());
        if let Some(key) = key.filter(|_| self.first.len() < limit) {
            let difference = Difference { space: self.space, key, left: part(left), right: part(right) };
            self.first.push(difference);
        }
    }
}

#[cfg(test)]
mod tests;
