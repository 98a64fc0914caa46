//! What readers see.

use super::recent::ChangeCount;
use bytes::Bytes;
use siltstone_log::name::BucketName;
use siltstone_projections::names;
use siltstone_projections::rows::{BucketRow, NameRow};
use siltstone_projections::store::{RowIter, Rows, Space, Store, StoreError};
use std::cell::Cell;
use std::ops::Bound;
use std::sync::Arc;

/// Reads of what is durable and applied: for the typed reads of [`siltstone_projections`].
#[derive(Clone)]
pub struct View {
    store: Arc<dyn Store>,
    changes: ChangeCount,
}

impl View {
    pub(super) fn new(store: Arc<dyn Store>, changes: ChangeCount) -> Self {
        Self { store, changes }
    }

    /// Counts the changes of names and identities.
    pub fn changes(&self) -> ChangeCount {
        self.changes.clone()
    }

    /// The bucket that bears a name, with its stream; none while it is half made or half deleted.
    pub fn bucket(&self, name: &BucketName) -> Result<Option<(NameRow, BucketRow)>, StoreError> {
        names::resolve(self, name)
    }

    /// Reads what is in memory, without ever waiting for the disk; none where a row was asked for that is not there. For
    /// threads that others wait for. What is not there for sure counts as not in memory.
    pub fn in_memory<T>(&self, read: impl FnOnce(&dyn Rows) -> T) -> Option<T> {
        let rows = InMemory { store: &*self.store, missed: Cell::new(false) };
        let read = read(&rows);
        (!rows.missed.get()).then_some(read)
    }

    /// A view that later writes do not change, for reads that must agree with one another.
    pub fn snapshot(&self) -> Box<dyn Rows + Send + Sync> {
        self.store.snapshot()
    }
}

impl Rows for View {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.store.get(space, key)
    }

    fn range(&self, space: Space, from: Bound<Vec<u8>>, to: Bound<Vec<u8>>) -> RowIter<'_> {
        self.store.range(space, from, to)
    }
}

/// The rows that can be had without waiting, and whether another one was asked for.
struct InMemory<'a> {
    store: &'a dyn Store,
    missed: Cell<bool>,
}

impl InMemory<'_> {
    fn miss(&self) -> StoreError {
        self.missed.set(true);
        StoreError::NotInMemory
    }
}

impl Rows for InMemory<'_> {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.store.recall(space, key).map(Some).ok_or_else(|| self.miss())
    }

    fn range(&self, _space: Space, _from: Bound<Vec<u8>>, _to: Bound<Vec<u8>>) -> RowIter<'_> {
        Box::new(std::iter::once(Err(self.miss())))
    }
}
