//! Shipping streams between nodes.
//!
//! So far the vocabulary only: the messages ([`protocol`]) that carry the node-independent part of records, so that
//! a replica appends the same bytes and reaches the same chain head. Sessions, modes and cursors build on it.
//! Depends on `siltstone-log` alone: topology arrives as a value.

#[cfg(test)]
#[path = "../../tests/bless/mod.rs"]
mod bless;
#[cfg(any(test, fuzzing))]
#[cfg_attr(not(fuzzing), path = "../../tests/fuzz/mod.rs")]
#[cfg_attr(fuzzing, path = "../../tests/fuzz/coverage.rs")]
mod fuzz;
#[cfg(any(test, fuzzing))]
pub mod fuzz_targets;
pub mod protocol;
#[cfg(any(test, fuzzing))]
#[cfg_attr(fuzzing, allow(dead_code, reason = "the targets need a part of it"))]
mod testing;
