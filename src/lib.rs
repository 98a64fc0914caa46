//! The server: doors, the one write path, wiring.

pub mod auth;
pub mod bench;
pub mod cli;
pub mod config;
pub mod console;
pub mod engine;
pub mod keys;
pub mod listener;
pub mod s3;
pub mod server;
pub mod telemetry;
