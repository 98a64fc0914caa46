//! The command line.

mod confirm;
pub mod exit;
pub mod output;
