//! Hybrid logical time: 48 bits of Unix milliseconds and a 16-bit counter (Kulkarni et al., "Logical Physical
//! Clocks", 2014). A record's time is also its S3 `LastModified`.

use crate::mutants::{Mutant, active};
use serde::{Deserialize, Serialize};
use std::fmt;

/// One instant of the node's hybrid clock. Monotone over the whole log of a node, restarts included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Hlc(pub u64);

impl Hlc {
    const COUNTER_BITS: u32 = 16;

    /// The first instant of a millisecond.
    pub fn from_millis(millis: u64) -> Self {
        Self(millis << Self::COUNTER_BITS)
    }

    /// Milliseconds since the Unix epoch.
    pub fn millis(self) -> u64 {
        self.0 >> Self::COUNTER_BITS
    }

    /// The instant's number within its millisecond.
    pub fn counter(self) -> u16 {
        u16::try_from(self.0 & 0xffff).unwrap_or(u16::MAX)
    }
}

impl fmt::Display for Hlc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.millis(), self.counter())
    }
}

/// Gives out instants that never go back, whatever the wall clock does.
#[derive(Debug, Clone, Copy, Default)]
pub struct HlcClock {
    last: Hlc,
}

impl HlcClock {
    /// Continues after the newest instant found in the log.
    pub fn starting_after(last: Hlc) -> Self {
        Self { last }
    }

    /// The next instant, given what the wall clock shows in Unix milliseconds. A wall clock that went back
    /// advances the counter only (mutant M17: following it back breaks the order of versions).
    pub fn tick(&mut self, wall_millis: u64) -> Hlc {
        let wall = Hlc::from_millis(wall_millis);
        let follows = if active(Mutant::FollowClockBack) { wall } else { Hlc(self.last.0.saturating_add(1)) };
        self.last = wall.max(follows);
        self.last
    }

    /// The newest instant given out.
    pub fn last(&self) -> Hlc {
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn time_never_goes_back(start in 0u64..1 << 47, walls in prop::collection::vec(0u64..1 << 47, 1..50)) {
            let mut clock = HlcClock::starting_after(Hlc::from_millis(start));
            let mut last = clock.last();
            for wall in walls {
                let now = clock.tick(wall);
                prop_assert!(now > last && now.millis() >= wall);
                last = now;
            }
        }
    }
}
