//! The targets as a coverage-guided engine calls them (`make fuzz-coverage`): this file takes the place of `mod.rs` where
//! `cfg(fuzzing)` is set. A target then gets one input at a time, chosen by the engine. What it panics on, and what it
//! holds more memory for than its bound, ends the process, and the engine keeps the input.

/// The targets of a module, as in `mod.rs`.
macro_rules! targets {
    ($($function:ident),+ $(,)?) => {
        /// Gives one input to a target, for a coverage-guided engine. Says whether there is a target of this name; a
        /// process asks for one name only.
        pub fn one(target: &str, input: &[u8]) -> bool {
            static FOUND: std::sync::OnceLock<Option<fn()>> = std::sync::OnceLock::new();
            crate::fuzz::one(&FOUND, &[$($function),+], target, input)
        }
    };
}
pub(crate) use targets;

#[path = "bound.rs"]
mod bound;

pub(crate) use bound::Bound;

use std::cell::{Cell, RefCell};
use std::sync::OnceLock;

thread_local! {
    /// The target that is wanted, and its input.
    static WANTED: RefCell<(String, Vec<u8>)> = const { RefCell::new((String::new(), Vec::new())) };
    /// Whether it was met.
    static MET: Cell<bool> = const { Cell::new(false) };
}

/// Runs the target if it is the one that is wanted.
pub(crate) fn check(target: &str, bound: Bound, parse: impl Fn(&[u8]) -> bool) {
    WANTED.with_borrow(|(wanted, input)| {
        if wanted != target {
            return;
        }
        MET.set(true);
        let memory = allocation_counter::measure(|| {
            parse(input);
        });
        let limit = bound.limit(input);
        assert!(memory.bytes_max <= limit, "{target} held {} bytes, more than {limit}", memory.bytes_max);
    });
}

/// Corpora are written and compared by tests.
#[allow(dead_code, reason = "not every crate has binary formats")]
pub(crate) fn bless(_target: &str, _name: &str, _bytes: &[u8]) {}

/// Gives one input to the function that checks this target, which is looked for once.
pub(crate) fn one(found: &OnceLock<Option<fn()>>, functions: &[fn()], target: &str, input: &[u8]) -> bool {
    WANTED.with_borrow_mut(|wanted| {
        wanted.0.clear();
        wanted.0.push_str(target);
        wanted.1.clear();
        wanted.1.extend_from_slice(input);
    });
    let meets = |function: &fn()| {
        MET.set(false);
        function();
        MET.get()
    };
    match found.get() {
        Some(found) => found.as_ref().is_some_and(meets),
        None => found.get_or_init(|| functions.iter().copied().find(meets)).is_some(),
    }
}
