//! Evidence of refused requests, limited so that an attacker cannot fill the log with it.
//!
//! Each address has a token bucket. What does not fit is counted and recorded as one summary when the minute is
//! over. The table is bounded: when it is full, new addresses share one bucket.

use siltstone_log::event::AccessSuppressed;
use std::collections::BTreeMap;

/// Records of one address in a minute.
const PER_MINUTE: u32 = 20;
/// Addresses told apart at once.
const MAX_ADDRESSES: usize = 1024;
const MINUTE_NANOS: u64 = 60_000_000_000;

#[derive(Debug, Clone, Copy)]
struct Window {
    began: u64,
    recorded: u32,
    suppressed: u64,
}

/// Counts refused requests by address.
#[derive(Debug, Default)]
pub struct AccessLimiter {
    addresses: BTreeMap<String, Window>,
}

impl AccessLimiter {
    /// Notes a refused request: whether it is recorded by itself.
    pub fn note(&mut self, address: &str, monotonic_nanos: u64) -> bool {
        // An empty address stands for all that the table has no room for.
        let known = self.addresses.contains_key(address) || self.addresses.len() < MAX_ADDRESSES;
        let address = if known { address } else { "" };
        let fresh = Window { began: monotonic_nanos, recorded: 0, suppressed: 0 };
        let window = match self.addresses.get_mut(address) {
            Some(window) => window,
            None => self.addresses.entry(address.to_owned()).or_insert(fresh),
        };
        if window.recorded < PER_MINUTE {
            window.recorded += 1;
            true
        } else {
            window.suppressed += 1;
            false
        }
    }

    /// Ends the minutes that are over: a summary for each address that went beyond its share.
    pub fn take_summaries(&mut self, monotonic_nanos: u64) -> Vec<AccessSuppressed> {
        let mut summaries = Vec::new();
        self.addresses.retain(|address, window| {
            let over = monotonic_nanos.saturating_sub(window.began) >= MINUTE_NANOS;
            if over && window.suppressed > 0 {
                summaries.push(AccessSuppressed { address: address.clone(), count: window.suppressed });
            }
            !over
        });
        summaries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_beyond_its_share_is_summed_up_once_a_minute() {
        let mut limiter = AccessLimiter::default();
        let recorded = (0..100).filter(|_| limiter.note("1.2.3.4", 5)).count();
        assert_eq!(recorded, 20);
        assert!(limiter.note("5.6.7.8", 5), "another address has a share of its own");
        assert_eq!(limiter.take_summaries(MINUTE_NANOS), []);
        let summary = AccessSuppressed { address: "1.2.3.4".to_owned(), count: 80 };
        assert_eq!(limiter.take_summaries(MINUTE_NANOS + 5), [summary]);
        assert!(limiter.note("1.2.3.4", MINUTE_NANOS + 6), "a new minute, a new share");
    }

    #[test]
    fn addresses_beyond_the_table_share_one_window() {
        let mut limiter = AccessLimiter::default();
        let recorded = (0..5000).filter(|i| limiter.note(&format!("address {i}"), 0)).count();
        assert_eq!(recorded, MAX_ADDRESSES + PER_MINUTE as usize);
        let summaries = limiter.take_summaries(MINUTE_NANOS);
        let rest = 5000 - MAX_ADDRESSES as u64 - u64::from(PER_MINUTE);
        assert_eq!(summaries, [AccessSuppressed { address: String::new(), count: rest }]);
    }
}
