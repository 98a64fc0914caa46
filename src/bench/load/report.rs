//! What came of a load.

use super::client::{Answer, PAGE_KEYS};
use super::{LoadOptions, Operation};
use crate::bench::stats::{Bar, Latencies, LatencySummary, figure, plot};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// Figures while they come in.
pub(super) struct Tally {
    latencies: Latencies,
    errors: BTreeMap<String, u64>,
    bytes: u64,
    pub(super) nanos: u64,
}

impl Tally {
    pub(super) fn new() -> Self {
        Self { latencies: Latencies::new(), errors: BTreeMap::new(), bytes: 0, nanos: 0 }
    }

    /// Notes an answer. The latencies are those of successes: a refusal is quick, and would flatter.
    pub(super) fn note(&mut self, answer: Answer, nanos: u64) {
        if let Some(code) = answer.error {
            *self.errors.entry(code).or_default() += 1;
        } else {
            self.latencies.note(nanos);
            self.bytes += answer.bytes;
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.latencies.add(&other.latencies);
        for (code, count) in &other.errors {
            *self.errors.entry(code.clone()).or_default() += count;
        }
        self.bytes += other.bytes;
    }

    pub(super) fn first_error(&self) -> Option<String> {
        self.errors.keys().next().cloned()
    }
}

/// The result, for people and (by serde) for programs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LoadReport {
    /// The requests.
    pub operation: Operation,
    /// Clients, each with one request under way.
    pub clients: usize,
    /// Bytes of an object.
    pub size_bytes: usize,
    /// Keys on a page, where pages were asked for.
    pub keys_per_page: Option<u64>,
    /// How long it took.
    pub seconds: f64,
    /// Requests that succeeded.
    pub requests: u64,
    /// Requests that did not, by the error's code.
    pub errors: BTreeMap<String, u64>,
    /// Successes a second.
    pub requests_per_second: f64,
    /// Body bytes a second, in MB.
    pub megabytes_per_second: f64,
    /// Latencies of the successes.
    pub latency_ms: LatencySummary,
    /// Their distribution.
    pub distribution: Vec<Bar>,
    /// The server's CPU time for each request, where its process was named.
    pub server_cpu_micros_per_request: Option<f64>,
}

impl LoadReport {
    pub(super) fn new(options: &LoadOptions, tally: &Tally, cpu_seconds: Option<f64>) -> Self {
        let requests = tally.latencies.len();
        let seconds = figure(tally.nanos) / 1e9;
        let all = requests + tally.errors.values().sum::<u64>();
        let listing = options.operation == Operation::List;
        Self {
            operation: options.operation,
            clients: options.clients,
            size_bytes: options.size,
            keys_per_page: listing.then(|| options.objects.min(PAGE_KEYS)),
            seconds,
            requests,
            errors: tally.errors.clone(),
            requests_per_second: figure(requests) / seconds,
            megabytes_per_second: figure(tally.bytes) / 1e6 / seconds,
            latency_ms: tally.latencies.summary(),
            distribution: tally.latencies.bars(),
            server_cpu_micros_per_request: cpu_seconds.map(|cpu| cpu * 1e6 / figure(all.max(1))),
        }
    }

    /// Whether every request succeeded.
    pub fn is_clean(&self) -> bool {
        self.errors.is_empty()
    }
}

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { clients, size_bytes, seconds, requests, latency_ms: latency, .. } = self;
        writeln!(
            f,
            "{:?}, {clients} clients, {size_bytes} B: {requests} requests in {seconds:.1} s",
            self.operation
        )?;
        writeln!(f, "  {:.0} requests/s, {:.1} MB/s", self.requests_per_second, self.megabytes_per_second)?;
        let LatencySummary { mean, p50, p95, p99, p999, max } = latency;
        writeln!(
            f,
            "  ms: mean {mean:.2}, p50 {p50:.2}, p95 {p95:.2}, p99 {p99:.2}, p99.9 {p999:.2}, max {max:.2}"
        )?;
        if let Some(cpu) = self.server_cpu_micros_per_request {
            writeln!(f, "  server CPU {cpu:.1} µs a request")?;
        }
        for (code, count) in &self.errors {
            writeln!(f, "  {code}: {count}")?;
        }
        plot(&self.distribution, f)
    }
}
