//! The server: doors, the one write path, wiring.

pub mod auth;
pub mod s3;
