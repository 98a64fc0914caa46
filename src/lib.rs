//! The server: doors, the one write path, wiring.

pub mod auth;
pub mod engine;
pub mod s3;
