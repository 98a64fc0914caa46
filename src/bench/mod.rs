//! `siltstone bench`: figures of this machine beside its own limits, measured in one run.
//!
//! `bench log` measures group commit: a fixed number of writers, each with one record under way, against the bare
//! file with the same batching: the same bytes a batch, written and synced in a loop. Rounds alternate, because a
//! virtual machine's disk changes its speed with its neighbours.

mod log;

pub use log::{BenchError, LogBench, LogBenchOptions, run};
