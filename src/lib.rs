//! The server: doors, the one write path, wiring.
//! placeholder
