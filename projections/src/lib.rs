//! Projections: what the log's events come to, as rows that can be read.
//!
//! **Contract.** Rows are derived and disposable. They hold durable records only; a space's rows, cursors and digest
//! change in one step; the same log gives the same digest whatever path led there (live, replay, rebuild,
//! redelivery from any older position). A fold is pure and reads rows of its own space only. An error here never
//! stops the server and never touches the log.
//!
//! **A record's way**: [`follower`] (skips, batches) → [`fold`] (what it changes) → [`changes`] → [`store`] (commit).
//! **Reads**: [`names`], [`buckets`], [`objects`], [`multipart`], [`identity`] over any [`Rows`]: a store, a
//! snapshot, or an [`Overlay`] of pending rows. **Formats**: [`key`], [`rows`], [`digest`].

#![warn(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[cfg(test)]
#[path = "../../tests/bless/mod.rs"]
mod bless;
pub mod buckets;
pub mod changes;
pub mod digest;
pub mod fold;
pub mod follower;
#[cfg(any(test, fuzzing))]
#[cfg_attr(not(fuzzing), path = "../../tests/fuzz/mod.rs")]
#[cfg_attr(fuzzing, path = "../../tests/fuzz/coverage.rs")]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code"
)]
mod fuzz;
#[cfg(any(test, fuzzing))]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code"
)]
pub mod fuzz_targets;
pub mod identity;
pub mod key;
pub mod lacking;
mod list;
pub mod multipart;
pub mod names;
pub mod objects;
pub mod overlay;
pub mod rebuild;
pub mod rows;
pub mod store;
#[cfg(test)]
mod testing;
pub mod versions;

pub use changes::{Batch, Changes, Cursor, SpaceMeta};
pub use digest::Digest;
pub use fold::{FoldError, Origin};
pub use follower::{Follower, FollowerEffect, FollowerInput, Pace, Status, Stuck};
pub use overlay::{Overlay, PendingRows};
pub use rows::SCHEMA;
pub use store::{RowIter, Rows, Space, Store, StoreError};
