//! The durable truth: an append-only log of records in hash-chained streams, and packs for large content.
//!
//! **Contract.** A position is published as durable only after `fdatasync` returned for the bytes of its record, in a
//! file whose name was made durable before. Nothing that may have been acknowledged is ever truncated or rewritten:
//! recovery tells a torn tail from rot, and rot is quarantined. After a failed sync nothing is acknowledged any more.
//!
//! **Vocabulary**: [`name`], [`id`], [`hlc`], [`event`], [`record`]. **Outside world**: [`host`], [`script`].
//!
//! This crate depends on no other of the workspace.

pub mod event;
pub mod hlc;
pub mod host;
pub mod id;
pub mod name;
pub mod pack;
pub mod record;
pub mod script;
