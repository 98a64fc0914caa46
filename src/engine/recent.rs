//! What was read of the `system` stream's rows, remembered for as long as no later record has changed any of them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// How often names or identities have changed, as far as reads show it.
#[derive(Debug, Clone, Default)]
pub struct ChangeCount(Arc<AtomicU64>);

impl ChangeCount {
    /// The count. To be read before the rows are: what is remembered under it is then never younger than it says.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    /// Something changed, and reads show it.
    pub fn note(&self) {
        self.0.fetch_add(1, Ordering::Release);
    }
}

/// Values by name, each good for as long as nothing has changed since it was read.
#[derive(Debug)]
pub struct Recent<V> {
    changes: ChangeCount,
    values: Mutex<BTreeMap<String, (u64, V)>>,
}

impl<V: Clone> Recent<V> {
    /// The most values kept. Beyond it everything is forgotten, which costs a read each.
    const CAPACITY: usize = 4096;

    /// Remembers nothing yet.
    pub fn new(changes: ChangeCount) -> Self {
        Self { changes, values: Mutex::new(BTreeMap::new()) }
    }

    /// The value, if it was read since the last change.
    pub fn get(&self, name: &str) -> Option<V> {
        let now = self.changes.get();
        let values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        values.get(name).filter(|(then, _)| *then == now).map(|(_, value)| value.clone())
    }

    /// Reads a value and remembers it, if there is one.
    pub fn read<E>(&self, name: &str, read: impl FnOnce() -> Result<Option<V>, E>) -> Result<Option<V>, E> {
        // ORDER: counted before it is read. The other way round an old value would pass for a new one.
        let then = self.changes.get();
        let value = read()?;
        if let Some(value) = &value {
            let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
            if values.len() >= Self::CAPACITY && !values.contains_key(name) {
                values.clear();
            }
            values.insert(name.to_owned(), (then, value.clone()));
        }
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(recent: &Recent<u32>, name: &str, value: Option<u32>) {
        let read = recent.read::<()>(name, || Ok(value));
        assert_eq!(read, Ok(value));
    }

    #[test]
    fn a_value_is_good_until_the_next_change() {
        let changes = ChangeCount::default();
        let recent = Recent::new(changes.clone());
        reading(&recent, "a", Some(1));
        reading(&recent, "b", None);
        assert_eq!((recent.get("a"), recent.get("b")), (Some(1), None));
        changes.note();
        assert_eq!(recent.get("a"), None);
        reading(&recent, "a", Some(2));
        assert_eq!(recent.get("a"), Some(2));
    }

    #[test]
    fn a_value_read_while_it_changes_is_not_taken_for_the_new_one() {
        let changes = ChangeCount::default();
        let recent = Recent::new(changes.clone());
        let read = recent.read::<()>("a", || {
            changes.note();
            Ok(Some(1))
        });
        assert_eq!((read, recent.get("a")), (Ok(Some(1)), None));
    }

    #[test]
    fn no_more_than_the_capacity_is_kept() {
        let recent = Recent::new(ChangeCount::default());
        for name in 0..=Recent::<u32>::CAPACITY {
            reading(&recent, &name.to_string(), Some(0));
        }
        assert_eq!(recent.values.lock().unwrap().len(), 1);
    }
}
