//! Shipping streams between nodes.
//!
//! So far the vocabulary only: the messages ([`protocol`]) that carry the node-independent part of records, so that
//! a replica appends the same bytes and reaches the same chain head. Sessions, modes and cursors build on it.
//! Depends on `siltstone-log` alone: topology arrives as a value.

#[cfg(test)]
#[path = "../../tests/bless/mod.rs"]
mod bless;
#[cfg(test)]
#[path = "../../tests/fuzz/mod.rs"]
mod fuzz;
pub mod protocol;
