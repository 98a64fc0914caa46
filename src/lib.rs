//! The server: doors, the one write path, wiring.

pub mod bench;
