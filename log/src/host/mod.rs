//! The world outside: disk, clock and dice, as traits.
//!
//! Nothing in this workspace's core (log, projections, replication, engine) touches `std::fs`, the system time or
//! the operating system's randomness directly; `clippy.toml` bans them. [`real`] is the one real implementation,
//! the simulator brings its own.

mod buffers;
mod disk;
pub mod mem;
pub mod real;

pub(crate) use disk::unless_lost;
pub use disk::{
    Completion, Disk, DiskError, DiskErrorKind, DiskOp, DiskReply, DiskResult, FilePath, Folder, Ticket,
};

/// What time it is.
pub trait Clock: Send + Sync {
    /// Wall-clock milliseconds since the Unix epoch. May jump either way.
    fn wall_millis(&self) -> u64;
    /// Nanoseconds since some fixed instant of this process. Never goes back.
    fn monotonic_nanos(&self) -> u64;
    /// Both clocks at once.
    fn now(&self) -> Now {
        Now { wall_millis: self.wall_millis(), monotonic_nanos: self.monotonic_nanos() }
    }
}

/// What a driver knows of the time when it calls a state machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// Wall-clock milliseconds since the Unix epoch.
    pub wall_millis: u64,
    /// Nanoseconds of the monotonic clock.
    pub monotonic_nanos: u64,
}

/// Where identifiers, salts and keys come from.
pub trait Entropy: Send + Sync {
    /// Fills the buffer with unpredictable bytes.
    fn fill(&self, buffer: &mut [u8]);
}

/// Draws a fixed-size array, for identifiers and salts.
pub fn draw<const N: usize>(entropy: &dyn Entropy) -> [u8; N] {
    let mut bytes = [0; N];
    entropy.fill(&mut bytes);
    bytes
}
