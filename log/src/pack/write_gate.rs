//! Who may write content: everyone until the store stops, then nobody.
//!
//! Content is written by its uploads, not by the pack writer. A stop gives their space back and seals the packs, so it
//! must come after the last of those writes: one that landed later would fill space that was given back, or find its
//! pack removed and take that for a failed disk.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

#[derive(Debug, Default)]
struct State {
    closed: bool,
    inside: usize,
}

/// Counts the writes under way.
#[derive(Debug, Default)]
pub(super) struct WriteGate {
    state: Mutex<State>,
    left: Condvar,
}

impl WriteGate {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a write begin; `None` once the gate is closed.
    pub(super) fn enter(&self) -> Option<Inside<'_>> {
        let mut state = self.state();
        (!state.closed).then(|| {
            state.inside += 1;
            Inside(self)
        })
    }

    /// Lets no write begin any more, and waits for those that have.
    pub(super) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        while state.inside > 0 {
            state = self.left.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// A write under way.
pub(super) struct Inside<'a>(&'a WriteGate);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.state().inside -= 1;
        self.0.left.notify_all();
    }
}
