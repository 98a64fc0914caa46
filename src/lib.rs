//! The server: doors, the one write path, wiring.

pub mod auth;
pub mod bench;
#[cfg(test)]
#[path = "../tests/bless/mod.rs"]
mod bless;
pub mod cli;
pub mod config;
pub mod console;
pub mod engine;
#[cfg(any(test, fuzzing))]
#[cfg_attr(not(fuzzing), path = "../tests/fuzz/mod.rs")]
#[cfg_attr(fuzzing, path = "../tests/fuzz/coverage.rs")]
mod fuzz;
mod hex;
pub mod keys;
pub mod listener;
pub mod s3;
pub mod server;
pub mod telemetry;
