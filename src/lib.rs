//! The server: doors, the one write path, wiring.

pub mod config;
pub mod engine;
pub mod keys;
pub mod telemetry;
