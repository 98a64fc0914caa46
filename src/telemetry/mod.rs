//! What the server tells about itself: metrics, log lines, health.

pub mod health;
pub mod metrics;
pub mod process;
pub mod trace;
