//! The targets as a coverage-guided engine calls them (`make fuzz-coverage`): this file takes the place of `mod.rs` where
//! `cfg(fuzzing)` is set. A target then gets one input at a time, chosen by the engine, which watches memory itself.

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
pub(crate) fn check(target: &str, _bound: Bound, parse: impl Fn(&[u8]) -> bool) {
    WANTED.with_borrow(|(wanted, input)| {
        if wanted == target {
            MET.set(true);
            parse(input);
        }
    });
}

/// Corpora are written and compared by tests.
#[allow(dead_code, reason = "not every crate has binary formats")]
pub(crate) fn bless(_target: &str, _name: &str, _bytes: &[u8]) {}

/// Gives one input to a target that one of these functions checks. Says whether there is such a target; a process asks
/// for one only, whose function is looked for once.
pub(crate) fn one(functions: &[fn()], target: &str, input: &[u8]) -> bool {
    static FUNCTION: OnceLock<Option<usize>> = OnceLock::new();
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
    match FUNCTION.get() {
        Some(found) => found.and_then(|index| functions.get(index)).is_some_and(meets),
        None => FUNCTION.get_or_init(|| functions.iter().position(meets)).is_some(),
    }
}
