//! The simulated world.

pub mod clock;
pub mod disk;
pub mod random;
