//! The durable truth: an append-only log of records in hash-chained streams, and packs for large content.
//!
//! **Contract.** A position is published as durable only after `fdatasync` returned for the bytes of its record, in a
//! file whose name was made durable before. Nothing that may have been acknowledged is ever truncated or rewritten:
//! recovery tells a torn tail from rot, and rot is quarantined. After a failed sync nothing is acknowledged any more.
//!
//! **Vocabulary**: [`name`], [`id`], [`hlc`], [`event`], [`record`]. **Outside world**: [`host`], [`script`].
//! **Formats**: [`frame`] (records), [`batch`], [`segment`], [`chain`], [`witness`]. **Work**: [`writer`] (group commit),
//! [`recovery`], [`reader`], [`repair`], [`driver`] (the real thread), [`pack`] (large content), [`layout`] (the data directory).
//!
//! This crate depends on no other of the workspace.

pub mod batch;
#[cfg(test)]
#[path = "../../tests/bless/mod.rs"]
mod bless;
mod catalogue;
pub mod chain;
mod codec;
pub mod driver;
pub mod event;
pub mod frame;
#[cfg(any(test, fuzzing))]
#[cfg_attr(not(fuzzing), path = "../../tests/fuzz/mod.rs")]
#[cfg_attr(fuzzing, path = "../../tests/fuzz/coverage.rs")]
mod fuzz;
#[cfg(any(test, fuzzing))]
pub mod fuzz_targets;
pub mod hlc;
pub mod host;
pub mod id;
pub mod layout;
pub mod mutants;
pub mod name;
pub mod pack;
pub mod reader;
pub mod record;
pub mod recovery;
pub mod repair;
mod scan;
pub mod script;
pub mod segment;
#[cfg(any(test, fuzzing))]
#[cfg_attr(fuzzing, allow(dead_code, reason = "the targets need a part of it"))]
mod testing;
pub mod witness;
pub mod writer;
