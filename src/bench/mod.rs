//! `siltstone bench`: figures of this machine beside its own limits, measured in one run.
//!
//! - [`log`]: group commit, a fixed number of writers against the bare file with the same batching.
//! - [`load`]: signed requests against any S3 endpoint, with latencies, and the server's CPU where it runs here.
//! - [`memory_server`]: the limit that a server is compared with: it parses HTTP, stores nothing, answers from memory.
//! - `machine`: what the processor hashes and the disk writes in sequence.
//! - [`ratios`]: starts both servers and puts [`load`]'s figures of one beside the other's.
//! - [`fill`]: makes a store with very many objects; [`large`] measures how little that costs.
//! - [`rebuild`]: how fast the projections are built from the log.
//!
//! What is compared alternates in short rounds, because a virtual machine's disk and processors change their speed with
//! its neighbours; the figure is the median of the rounds' ratios.

mod child;
mod error;
pub mod fill;
pub mod large;
pub mod load;
pub mod log;
mod machine;
pub mod memory_server;
pub mod ratios;
pub mod rebuild;
mod scratch;
mod stats;
mod writing;

pub use error::BenchError;
