//! Simulated time: a monotonic clock that only the event queue advances, and a wall clock that may jump either way.

use siltstone_log::host::Clock;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// 2026-11-22T08:00:00Z: where every run begins.
const EPOCH_MILLIS: u64 = 1_795_334_400_000;

/// One nanosecond count and one offset, shared by everything in the world.
#[derive(Debug, Clone, Default)]
pub struct SimClock {
    nanos: Arc<AtomicU64>,
    wall_offset_millis: Arc<AtomicI64>,
}

impl SimClock {
    /// Moves the clocks on to an instant; never back.
    pub fn advance_to(&self, nanos: u64) {
        self.nanos.fetch_max(nanos, Ordering::Relaxed);
    }

    /// Sets the wall clock forward or back, as an administrator or a broken NTP server does.
    pub fn jump(&self, millis: i64) {
        self.wall_offset_millis.fetch_add(millis, Ordering::Relaxed);
    }
}

impl SimClock {
    /// Clocks of their own that show the same time.
    #[must_use]
    pub fn apart(&self) -> Self {
        let apart = Self::default();
        apart.advance_to(self.nanos.load(Ordering::Relaxed));
        apart.jump(self.wall_offset_millis.load(Ordering::Relaxed));
        apart
    }
}

impl Clock for SimClock {
    fn wall_millis(&self) -> u64 {
        let elapsed = self.nanos.load(Ordering::Relaxed) / 1_000_000;
        (EPOCH_MILLIS + elapsed).saturating_add_signed(self.wall_offset_millis.load(Ordering::Relaxed))
    }

    fn monotonic_nanos(&self) -> u64 {
        self.nanos.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_moves_the_wall_clock_only() {
        let clock = SimClock::default();
        clock.advance_to(5_000_000);
        clock.jump(-3_600_000);
        assert_eq!(clock.wall_millis(), EPOCH_MILLIS + 5 - 3_600_000);
        clock.advance_to(1);
        assert_eq!(clock.monotonic_nanos(), 5_000_000);
    }
}
