//! Rows in memory over rows elsewhere, read as one.
//!
//! The engine decides against [`PendingRows`] over the store: what is submitted and not yet applied. The follower
//! folds through the [`Batch`] that it is still collecting.

use crate::changes::{Batch, Changes, Layered, PendingRow};
use crate::store::{RowIter, Rows, Space, StoreError};
use bytes::Bytes;
use siltstone_log::id::{Seq, StreamId};
use std::collections::BTreeMap;
use std::iter::Peekable;
use std::ops::Bound;

#[derive(Debug, Clone)]
struct TaggedRow {
    after: Option<Bytes>,
    by: (StreamId, Seq),
}

type RowKey = (Space, Vec<u8>);

/// Rows that records will make which are not applied to the store yet, each tagged with the record that last
/// changed it.
#[derive(Debug, Clone, Default)]
pub struct PendingRows {
    rows: [BTreeMap<Vec<u8>, TaggedRow>; 2],
    by_record: BTreeMap<(StreamId, Seq), Vec<RowKey>>,
}

impl PendingRows {
    /// No pending rows.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds what a record changes.
    pub fn add(&mut self, space: Space, stream: StreamId, seq: Seq, changes: Changes) {
        let by = (stream, seq);
        let keys = self.by_record.entry(by).or_default();
        let rows = space.pick_mut(&mut self.rows);
        for (key, change) in changes.into_rows() {
            keys.push((space, key.clone()));
            rows.insert(key, TaggedRow { after: change.after, by });
        }
    }

    /// Forgets what the stream's records up to this one changed: the store shows it now. A row that a later record
    /// changed again stays.
    pub fn drop_through(&mut self, stream: StreamId, seq: Seq) {
        while let Some((by, keys)) = self.first_through(stream, seq) {
            for (space, key) in keys {
                let rows = space.pick_mut(&mut self.rows);
                if rows.get(&key).is_some_and(|row| row.by == by) {
                    rows.remove(&key);
                }
            }
        }
    }

    fn first_through(&mut self, stream: StreamId, seq: Seq) -> Option<((StreamId, Seq), Vec<RowKey>)> {
        let by = *self.by_record.range((stream, Seq(0))..=(stream, seq)).next()?.0;
        self.by_record.remove_entry(&by)
    }

    /// The newest record of a stream that is not applied yet.
    pub fn last_seq(&self, stream: StreamId) -> Option<Seq> {
        self.by_record.range((stream, Seq(0))..=(stream, Seq(u64::MAX))).next_back().map(|((_, seq), _)| *seq)
    }

    /// Whether every record is applied.
    pub fn is_empty(&self) -> bool {
        self.by_record.is_empty()
    }

    /// Records that are not applied yet.
    pub fn records(&self) -> usize {
        self.by_record.len()
    }
}

/// The row that a layer has for a key, if the layer says anything of it.
trait LayeredRow {
    fn after(&self) -> Option<&Bytes>;
}

impl LayeredRow for TaggedRow {
    fn after(&self) -> Option<&Bytes> {
        self.after.as_ref()
    }
}

impl LayeredRow for PendingRow {
    fn after(&self) -> Option<&Bytes> {
        self.after.as_ref()
    }
}

type LayerIter<'a> = Box<dyn Iterator<Item = (&'a [u8], Option<&'a Bytes>)> + 'a>;

trait Layer {
    fn row(&self, key: &[u8]) -> Layered<'_>;
    fn rows(&self, from: Bound<Vec<u8>>, to: Bound<Vec<u8>>) -> LayerIter<'_>;
}

impl<T: LayeredRow> Layer for BTreeMap<Vec<u8>, T> {
    fn row(&self, key: &[u8]) -> Layered<'_> {
        self.get(key).map_or(Layered::Untouched, |row| Layered::of(row.after()))
    }

    fn rows(&self, from: Bound<Vec<u8>>, to: Bound<Vec<u8>>) -> LayerIter<'_> {
        Box::new(self.range((from, to)).map(|(key, row)| (key.as_slice(), row.after())))
    }
}

/// A base with rows over it.
#[derive(Clone, Copy)]
pub struct Overlay<'a> {
    base: &'a dyn Rows,
    layers: [&'a dyn Layer; 2],
}

impl<'a> Overlay<'a> {
    /// Pending rows over a base. The base must be at least as new as what was dropped from the pending rows.
    pub fn new(base: &'a dyn Rows, pending: &'a PendingRows) -> Self {
        let [system, state] = &pending.rows;
        Self { base, layers: [system, state] }
    }

    /// What two batches will make of a base.
    pub(crate) fn over_batches(base: &'a dyn Rows, system: &'a Batch, state: &'a Batch) -> Self {
        Self { base, layers: [system.rows(), state.rows()] }
    }
}

impl Rows for Overlay<'_> {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        match space.pick(&self.layers).row(key) {
            Layered::Row(row) => Ok(Some(row.clone())),
            Layered::Removed => Ok(None),
            Layered::Untouched => self.base.get(space, key),
        }
    }

    fn range(&self, space: Space, from: Bound<Vec<u8>>, to: Bound<Vec<u8>>) -> RowIter<'_> {
        if is_empty_range(&from, &to) {
            return Box::new(std::iter::empty());
        }
        let layer = space.pick(&self.layers).rows(from.clone(), to.clone()).peekable();
        let base = self.base.range(space, from, to).peekable();
        Box::new(Merged { base, layer })
    }
}

/// Whether no key can lie between the bounds. Ordered maps panic on such a range.
pub(crate) fn is_empty_range(from: &Bound<Vec<u8>>, to: &Bound<Vec<u8>>) -> bool {
    match (from, to) {
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        (Bound::Included(from), Bound::Included(to)) => from > to,
        (Bound::Included(from) | Bound::Excluded(from), Bound::Included(to) | Bound::Excluded(to)) => {
            from >= to
        }
    }
}

struct Merged<'a> {
    base: Peekable<RowIter<'a>>,
    layer: Peekable<LayerIter<'a>>,
}

impl Iterator for Merged<'_> {
    type Item = Result<(Bytes, Bytes), StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Some((layered, _)) = self.layer.peek() else { return self.base.next() };
            match self.base.peek() {
                Some(Err(_)) => return self.base.next(),
                Some(Ok((key, _))) if key.as_ref() < *layered => return self.base.next(),
                Some(Ok((key, _))) if key.as_ref() == *layered => {
                    self.base.next();
                }
                Some(Ok(_)) | None => {}
            }
            if let Some((key, Some(after))) = self.layer.next() {
                return Some(Ok((Bytes::copy_from_slice(key), after.clone())));
            }
        }
    }
}

#[cfg(test)]
mod tests;
