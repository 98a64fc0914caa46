//! Evidence of refused requests, limited so that an attacker cannot fill the log with it.
//!
//! Each address has a share of records in a minute, and all of them together have one. What does not fit is counted and
//! recorded as one summary for each address when the minute is over. An IPv6 client has a whole /64 of addresses, which
//! count as one. The table is bounded: when it is full, new addresses share one entry.

use siltstone_log::event::AccessSuppressed;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

/// Records of one address in a minute.
const PER_MINUTE: u32 = 20;
/// Records of all addresses together in a minute.
const PER_MINUTE_IN_ALL: u32 = 600;
/// Addresses told apart at once, and so the most summaries in a minute.
const MAX_ADDRESSES: usize = 256;
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
    /// When the minute of all together began, and what was recorded in it.
    in_all: (u64, u32),
}

/// What an address counts as.
fn source(address: &str) -> String {
    match address.parse().map(|address: IpAddr| address.to_canonical()) {
        Ok(IpAddr::V6(address)) => format!("{}/64", Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        Ok(IpAddr::V4(_)) | Err(_) => address.to_owned(),
    }
}

impl AccessLimiter {
    /// Notes a refused request: whether it is recorded by itself.
    pub fn note(&mut self, address: &str, monotonic_nanos: u64) -> bool {
        let address = &*source(address);
        if monotonic_nanos.saturating_sub(self.in_all.0) >= MINUTE_NANOS {
            self.in_all = (monotonic_nanos, 0);
        }
        // An empty address stands for all that the table has no room for.
        let known = self.addresses.contains_key(address) || self.addresses.len() < MAX_ADDRESSES;
        let address = if known { address } else { "" };
        let fresh = Window { began: monotonic_nanos, recorded: 0, suppressed: 0 };
        let window = match self.addresses.get_mut(address) {
            Some(window) => window,
            None => self.addresses.entry(address.to_owned()).or_insert(fresh),
        };
        if window.recorded < PER_MINUTE && self.in_all.1 < PER_MINUTE_IN_ALL {
            window.recorded += 1;
            self.in_all.1 += 1;
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
    fn addresses_beyond_the_table_share_one_window_and_all_share_one_limit() {
        let mut limiter = AccessLimiter::default();
        let recorded = (0..5000).filter(|i| limiter.note(&format!("address {i}"), 0)).count();
        assert_eq!(recorded, MAX_ADDRESSES + PER_MINUTE as usize);
        let again = (0..5000).filter(|i| limiter.note(&format!("address {}", i % 200), 0)).count();
        assert_eq!(recorded + again, PER_MINUTE_IN_ALL as usize);
        let summaries = limiter.take_summaries(MINUTE_NANOS);
        assert!(summaries.len() <= MAX_ADDRESSES + 1, "{}", summaries.len());
        let counted: u64 = summaries.iter().map(|summary| summary.count).sum();
        assert_eq!(counted, 10_000 - u64::from(PER_MINUTE_IN_ALL), "nothing is lost");
        assert!(limiter.note("1.2.3.4", MINUTE_NANOS));
    }

    #[test]
    fn a_prefix_of_ipv6_counts_as_one_address() {
        let mut limiter = AccessLimiter::default();
        let recorded = (0..1000).filter(|i| limiter.note(&format!("2001:db8:1:2::{i:x}"), 0)).count();
        assert_eq!(recorded, PER_MINUTE as usize);
        assert!(limiter.note("2001:db8:1:3::1", 0));
        let summaries = limiter.take_summaries(MINUTE_NANOS);
        assert_eq!(summaries, [AccessSuppressed { address: "2001:db8:1:2::/64".to_owned(), count: 980 }]);
        assert_eq!(source("::ffff:1.2.3.4"), "::ffff:1.2.3.4");
    }
}
