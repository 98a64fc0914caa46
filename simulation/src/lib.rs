//! Deterministic simulation of one node: the product's own state machines on a simulated disk and clock.

pub mod world;
