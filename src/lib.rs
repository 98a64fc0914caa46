//! The server: doors, the one write path, wiring.

pub mod auth;
pub mod config;
pub mod engine;
pub mod keys;
pub mod s3;
pub mod telemetry;
