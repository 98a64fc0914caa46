//! Which request comes next.

use serde::Serialize;
use siltstone_log::host::Clock;
use siltstone_log::host::real::RealClock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The kinds of load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// New objects.
    Put,
    /// Objects that were put before, scattered.
    Get,
    /// Seven reads to three overwrites.
    Mixed,
    /// Pages of up to a thousand keys.
    List,
    /// Each object that was put before, once.
    Delete,
}

impl Operation {
    /// Whether objects must be there before.
    pub fn needs_objects(self) -> bool {
        self != Self::Put
    }
}

/// When a load ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// After so many seconds.
    Seconds(u64),
    /// After so many requests.
    Requests(u64),
}

/// One request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    HeadBucket,
    CreateBucket,
    DeleteBucket,
    List,
    Put(u64),
    Get(u64),
    Delete(u64),
}

/// Deals out the steps of a load.
pub(super) struct Work {
    operation: Operation,
    limit: Limit,
    /// Objects that are there: those of the first numbers.
    objects: u64,
    clock: RealClock,
    dealt: AtomicU64,
}

impl Work {
    /// Begins now.
    pub(super) fn new(operation: Operation, limit: Limit, objects: u64) -> Self {
        Self { operation, limit, objects, clock: RealClock::default(), dealt: AtomicU64::new(0) }
    }

    pub(super) fn next(&self) -> Option<Step> {
        let over = match self.limit {
            Limit::Seconds(seconds) => self.elapsed_nanos() >= seconds.saturating_mul(1_000_000_000),
            Limit::Requests(most) => self.dealt.load(Ordering::Relaxed) >= most,
        };
        if over {
            return None;
        }
        let number = self.dealt.fetch_add(1, Ordering::Relaxed);
        let within = match self.limit {
            Limit::Seconds(_) => true,
            Limit::Requests(most) => number < most,
        };
        within.then(|| self.step(number)).flatten()
    }

    fn step(&self, number: u64) -> Option<Step> {
        let one = scatter(number) % self.objects.max(1);
        match self.operation {
            Operation::Put => Some(Step::Put(number)),
            Operation::Get => Some(Step::Get(one)),
            Operation::Mixed if number % 10 < 7 => Some(Step::Get(one)),
            Operation::Mixed => Some(Step::Put(one)),
            Operation::List => Some(Step::List),
            Operation::Delete => (number < self.objects).then_some(Step::Delete(number)),
        }
    }

    pub(super) fn elapsed_nanos(&self) -> u64 {
        self.clock.monotonic_nanos()
    }

    /// Objects that may be there when it is over.
    pub(super) fn objects(&self) -> u64 {
        match self.operation {
            Operation::Put => self.dealt.load(Ordering::Relaxed),
            Operation::Get | Operation::Mixed | Operation::List | Operation::Delete => self.objects,
        }
    }
}

/// Spreads consecutive numbers evenly: each number of 32 bits has another one as its picture.
pub(super) fn scatter(number: u64) -> u64 {
    number.wrapping_mul(0x9e37_79b1) & 0xffff_ffff
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn steps(operation: Operation, requests: u64, objects: u64) -> Vec<Step> {
        let work = Work::new(operation, Limit::Requests(requests), objects);
        std::iter::from_fn(|| work.next()).collect()
    }

    #[test]
    fn every_object_is_put_and_deleted_once_and_reads_find_what_was_put() {
        let puts = steps(Operation::Put, 100, 0);
        assert_eq!(puts.len(), 100);
        assert_eq!(puts.last(), Some(&Step::Put(99)));
        let deletes = steps(Operation::Delete, 1000, 100);
        assert_eq!(deletes, (0..100).map(Step::Delete).collect::<Vec<_>>());
        let mixed = steps(Operation::Mixed, 1000, 10);
        let reads = mixed.iter().filter(|step| matches!(step, Step::Get(number) if *number < 10)).count();
        let writes = mixed.iter().filter(|step| matches!(step, Step::Put(number) if *number < 10)).count();
        assert_eq!((reads, writes), (700, 300));
    }

    #[test]
    fn a_time_that_is_over_ends_the_load() {
        assert_eq!(Work::new(Operation::Put, Limit::Seconds(0), 0).next(), None);
    }

    #[test]
    fn scattered_numbers_stay_apart() {
        let pictures: BTreeSet<u64> = (0..100_000).map(scatter).collect();
        assert_eq!(pictures.len(), 100_000);
    }
}
