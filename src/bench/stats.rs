//! Small sums over rounds and latencies.

use hdrhistogram::Histogram;
use serde::Serialize;
use std::fmt;

/// The longest latency that is told apart from longer ones, in microseconds.
const LONGEST: u64 = 600_000_000;

/// The middle one of some figures; 0 where there are none.
pub(super) fn median(figures: impl IntoIterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.into_iter().collect();
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or_default()
}

/// A count as a figure.
#[expect(clippy::cast_precision_loss, reason = "figures are shown with three digits")]
pub(super) fn figure(count: u64) -> f64 {
    count as f64
}

/// Latencies of one kind of request.
pub(super) struct Latencies(Histogram<u64>);

impl Latencies {
    pub(super) fn new() -> Self {
        Self(Histogram::new_with_bounds(1, LONGEST, 3).expect("the bounds are constants that it takes"))
    }

    pub(super) fn note(&mut self, nanos: u64) {
        self.0.saturating_record(nanos / 1000);
    }

    pub(super) fn add(&mut self, other: &Self) {
        // Both have the same bounds.
        let _ = self.0.add(&other.0);
    }

    pub(super) fn len(&self) -> u64 {
        self.0.len()
    }

    pub(super) fn summary(&self) -> LatencySummary {
        let millis = |micros: u64| figure(micros) / 1000.0;
        let at = |quantile| millis(self.0.value_at_quantile(quantile));
        LatencySummary {
            mean: self.0.mean() / 1000.0,
            p50: at(0.5),
            p95: at(0.95),
            p99: at(0.99),
            p999: at(0.999),
            max: millis(self.0.max()),
        }
    }

    /// Counts by doubling latencies, the first and last with any.
    pub(super) fn bars(&self) -> Vec<Bar> {
        let bars = self.0.iter_log(16, 2.0).map(|step| Bar {
            up_to_ms: figure(step.value_iterated_to() + 1) / 1000.0,
            requests: step.count_since_last_iteration(),
        });
        let mut bars: Vec<Bar> = bars.skip_while(|bar| bar.requests == 0).collect();
        while bars.pop_if(|bar| bar.requests == 0).is_some() {}
        bars
    }
}

/// Latencies in milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LatencySummary {
    pub mean: f64,
    pub p50: f64,
    pub p95: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

/// One bar of the plot: requests that took longer than the bar before says, and up to this long.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Bar {
    /// Milliseconds.
    pub up_to_ms: f64,
    /// How many.
    pub requests: u64,
}

/// Draws bars, the longest 50 characters.
pub(super) fn plot(bars: &[Bar], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let most = bars.iter().map(|bar| bar.requests).max().unwrap_or_default().max(1);
    for Bar { up_to_ms, requests } in bars {
        let width = usize::try_from(requests * 50 / most).unwrap_or_default();
        writeln!(f, "  <= {up_to_ms:>10.3} ms {requests:>10} {}", "#".repeat(width))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_median_does_not_see_what_lies_far_out() {
        assert!((median([3.0, 1000.0, 1.0]) - 3.0).abs() < f64::EPSILON);
        assert!(median([]).abs() < f64::EPSILON);
    }

    proptest! {
        #[test]
        fn every_latency_is_in_one_bar_and_the_quantiles_are_in_order(
            nanos in proptest::collection::vec(0u64..2_000_000_000_000, 1..200),
        ) {
            let (mut first, mut second) = (Latencies::new(), Latencies::new());
            for (index, nanos) in nanos.iter().enumerate() {
                if index % 2 == 0 { first.note(*nanos) } else { second.note(*nanos) }
            }
            first.add(&second);
            prop_assert_eq!(first.len(), nanos.len() as u64);
            let in_bars: u64 = first.bars().iter().map(|bar| bar.requests).sum();
            prop_assert_eq!(in_bars, nanos.len() as u64);
            let LatencySummary { p50, p95, p99, p999, max, .. } = first.summary();
            prop_assert!(p50 <= p95 && p95 <= p99 && p99 <= p999 && p999 <= max);
        }
    }
}
