//! A store in memory: for tests, the simulator, and the comparison of a live store with a rebuilt one.

use crate::changes::Batch;
use crate::overlay::is_empty_range;
use crate::store::{RowIter, Rows, Space, Store, StoreError, meta};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock};

type Map = Arc<BTreeMap<Vec<u8>, Bytes>>;

/// A store in memory. A snapshot shares the rows until the next commit copies them.
#[derive(Debug, Default)]
pub struct MemStore {
    spaces: RwLock<[Map; 2]>,
}

impl MemStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn view(&self) -> MemSnapshot {
        MemSnapshot { spaces: self.spaces.read().unwrap_or_else(PoisonError::into_inner).clone() }
    }
}

impl Rows for MemStore {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        Ok(space.pick(&self.spaces.read().unwrap_or_else(PoisonError::into_inner)).get(key).cloned())
    }

    fn range(&self, space: Space, from: Bound<Vec<u8>>, to: Bound<Vec<u8>>) -> RowIter<'_> {
        let view = self.view();
        walk(space.pick(&view.spaces).clone(), from, to)
    }
}

impl Store for MemStore {
    fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        let space = batch.space();
        let writes = batch.into_writes(&meta(self, space)?)?;
        let mut spaces = self.spaces.write().unwrap_or_else(PoisonError::into_inner);
        let rows = Arc::make_mut(space.pick_mut(&mut spaces));
        for (key, after) in writes {
            match after {
                Some(after) => rows.insert(key, after),
                None => rows.remove(&key),
            };
        }
        Ok(())
    }

    fn ingest(&self, batch: Batch) -> Result<(), StoreError> {
        self.commit(batch)
    }

    fn snapshot(&self) -> Box<dyn Rows + Send + Sync> {
        Box::new(self.view())
    }

    fn sync(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

#[derive(Debug, Clone)]
struct MemSnapshot {
    spaces: [Map; 2],
}

impl Rows for MemSnapshot {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        Ok(space.pick(&self.spaces).get(key).cloned())
    }

    fn range(&self, space: Space, from: Bound<Vec<u8>>, to: Bound<Vec<u8>>) -> RowIter<'_> {
        walk(space.pick(&self.spaces).clone(), from, to)
    }
}

/// Walks rows that the iterator itself keeps alive, one look-up a step.
fn walk(rows: Map, mut from: Bound<Vec<u8>>, to: Bound<Vec<u8>>) -> RowIter<'static> {
    Box::new(std::iter::from_fn(move || {
        if is_empty_range(&from, &to) {
            return None;
        }
        let (key, row) = rows.range::<[u8], _>((as_slice(&from), as_slice(&to))).next()?;
        from = Bound::Excluded(key.clone());
        Some(Ok((Bytes::copy_from_slice(key), row.clone())))
    }))
}

fn as_slice(bound: &Bound<Vec<u8>>) -> Bound<&[u8]> {
    match bound {
        Bound::Included(key) => Bound::Included(key),
        Bound::Excluded(key) => Bound::Excluded(key),
        Bound::Unbounded => Bound::Unbounded,
    }
}
