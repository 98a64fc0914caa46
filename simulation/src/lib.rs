//! Deterministic simulation of one node: the product's own state machines on a simulated disk and clock.

pub mod audit;
mod audited;
pub mod exhaustive;
pub mod fault;
pub mod invariants;
#[cfg(feature = "mutants")]
pub mod mutants;
pub mod oracle;
pub mod scenario;
pub mod sometimes;
pub mod trace;
pub mod workload;
pub mod world;
