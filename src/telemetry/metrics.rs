//! The metrics: each one's name, help, labels and buckets stand here, and it is observed through one function here.
//!
//! `docs/metrics.md` is generated from the same table. Labels never carry a key, a user or an address.

use super::process;
use prometheus::{
    Encoder as _, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry, TextEncoder,
};
use std::fmt::Write as _;
use std::time::Duration;

/// What kind of number a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only rises.
    Counter,
    /// Goes both ways.
    Gauge,
    /// A distribution.
    Histogram,
}

/// One metric, for the generated page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetricInfo {
    /// Its full name.
    pub name: &'static str,
    /// What kind of number it is.
    pub kind: Kind,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it counts.
    pub help: &'static str,
}

/// From half a millisecond to half a minute.
const REQUEST_BUCKETS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// From a battery-backed cache to a disk in trouble.
const DISK_BUCKETS: &[f64] =
    &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];
const BATCH_BUCKETS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0];

macro_rules! kind {
    (IntCounter) => {
        Kind::Counter
    };
    (IntCounterVec) => {
        Kind::Counter
    };
    (IntGauge) => {
        Kind::Gauge
    };
    (IntGaugeVec) => {
        Kind::Gauge
    };
    (Histogram) => {
        Kind::Histogram
    };
    (HistogramVec) => {
        Kind::Histogram
    };
}

macro_rules! make {
    (IntCounter, $name:expr, $help:expr, $labels:expr, $buckets:expr) => {
        IntCounter::with_opts(Opts::new($name, $help))
    };
    (IntCounterVec, $name:expr, $help:expr, $labels:expr, $buckets:expr) => {
        IntCounterVec::new(Opts::new($name, $help), $labels)
    };
    (IntGauge, $name:expr, $help:expr, $labels:expr, $buckets:expr) => {
        IntGauge::with_opts(Opts::new($name, $help))
    };
    (IntGaugeVec, $name:expr, $help:expr, $labels:expr, $buckets:expr) => {
        IntGaugeVec::new(Opts::new($name, $help), $labels)
    };
    (Histogram, $name:expr, $help:expr, $labels:expr, $buckets:expr) => {
        Histogram::with_opts(HistogramOpts::new($name, $help).buckets($buckets.to_vec()))
    };
    (HistogramVec, $name:expr, $help:expr, $labels:expr, $buckets:expr) => {
        HistogramVec::new(HistogramOpts::new($name, $help).buckets($buckets.to_vec()), $labels)
    };
}

macro_rules! metrics {
    ($($field:ident: $type:ident = $name:literal, [$($label:literal),*], $help:literal $(, $buckets:expr)?;)+) => {
        /// Every metric of the server.
        pub struct Metrics {
            registry: Registry,
            $($field: $type,)+
        }

        const OWN: &[MetricInfo] = &[$(MetricInfo {
            name: concat!("siltstone_", $name),
            kind: kind!($type),
            labels: &[$($label),*],
            help: $help,
        },)+];

        impl Metrics {
            /// All metrics at zero.
            pub fn new() -> Result<Self, prometheus::Error> {
                let registry = Registry::new();
                $(
                    #[allow(unused_variables, reason = "only histograms have buckets")]
                    let buckets: &[f64] = &[];
                    $(let buckets = $buckets;)?
                    let $field = make!($type, concat!("siltstone_", $name), $help, &[$($label),*], buckets)?;
                    registry.register(Box::new($field.clone()))?;
                )+
                Ok(Self { registry, $($field,)+ })
            }
        }
    };
}

metrics! {
    build_info: IntGaugeVec = "build_info", ["version"], "Always 1; the label says which version runs.";
    s3_requests: IntCounterVec = "s3_requests_total", ["op", "code"], "S3 requests answered, by operation and HTTP status.";
    s3_duration: HistogramVec = "s3_request_duration_seconds", ["op"],
        "Time from an S3 request's head to its answer's head.", REQUEST_BUCKETS;
    s3_bytes: IntCounterVec = "s3_request_bytes_total", ["dir"], "Bytes of S3 bodies, received (in) and sent (out).";
    s3_inflight: IntGauge = "s3_inflight_requests", [], "S3 requests being worked on.";
    log_head: IntGauge = "log_head_position", [], "The last durable position of the log.";
    log_append: Histogram = "log_append_duration_seconds", [],
        "Time of a group commit, from the oldest record's arrival to its durability.", DISK_BUCKETS;
    log_fsync: Histogram = "log_fsync_duration_seconds", [], "Time of the log's fdatasync.", DISK_BUCKETS;
    log_batch: Histogram = "log_batch_records", [], "Records that one group commit made durable.", BATCH_BUCKETS;
    log_bytes: IntGauge = "log_bytes", [], "Bytes that the log's segment files take.";
    log_segments: IntGaugeVec = "log_segments", ["state"], "Segment files of the log, active and sealed.";
    log_unreadable: IntGauge = "log_unreadable_ranges", [], "Ranges of the log that are known to be unreadable.";
    projection_position: IntGaugeVec = "projection_position", ["name"], "The log position a projection has applied.";
    projection_lag: IntGauge = "projection_lag_events", [], "Durable records that the slowest projection has not applied.";
    projection_errors: IntCounter = "projection_apply_errors_total", [], "Records that a projection could not apply.";
    content_bytes: IntGaugeVec = "content_bytes", ["kind"],
        "Bytes of content: live versions, history (deleted or replaced, inside the window) and uploads under way.";
    history_oldest: IntGauge = "history_oldest_seconds", [], "Age of the oldest deletion or replacement whose version is kept.";
    history_expired: IntCounterVec = "history_expired_versions_total", ["reason"],
        "Versions that left the history: by the window's days, the limit of bytes, or for want of space.";
    history_expired_bytes: IntCounterVec = "history_expired_bytes_total", ["reason"], "Bytes given back by versions that left the history.";
    history_shortened: IntCounterVec = "history_window_shortened_total", ["reason"],
        "Times that versions left before the window's days had passed.";
    content_missing: IntGauge = "content_missing_blobs", [],
        "Blobs in use that the search after the start found neither in the index nor in a pack that is there.";
    swept_blobs: IntCounter = "swept_blobs_total", [], "Blobs found after the start that nothing names; their space is given back.";
    swept_bytes: IntCounter = "swept_bytes_total", [], "Bytes of blobs found after the start that nothing names.";
    sweep_complete: IntGauge = "sweep_complete", [],
        "1 once every blob of earlier starts was looked at; it stays 0 while records of the log cannot be read.";
    disk_free: IntGauge = "disk_free_bytes", [], "Free bytes for content, or for the projections where those lie on a volume with less.";
    auth_failures: IntCounterVec = "auth_failures_total", ["reason"], "Requests refused because of who sent them, by error code.";
}

/// A finished S3 request.
#[derive(Debug, Clone, Copy)]
pub struct S3Observation<'a> {
    /// The operation's name; empty where it was refused before it was known.
    pub operation: &'a str,
    /// The HTTP status answered.
    pub status: u16,
    /// From the request's head to the answer's head.
    pub duration: Duration,
    /// Bytes of body received.
    pub received: u64,
    /// Bytes of body sent.
    pub sent: u64,
}

/// A finished group commit.
#[derive(Debug, Clone, Copy)]
pub struct BatchObservation {
    /// Its records.
    pub records: usize,
    /// From the oldest record's arrival to its durability.
    pub append: Duration,
    /// Its fdatasync.
    pub sync: Duration,
}

/// What is looked up when a scrape asks; `None` where it is not known yet, which shows no number rather than a zero.
#[derive(Debug, Clone, Default)]
pub struct Sample {
    /// Free bytes on the data directory's volume.
    pub disk_free: Option<u64>,
    /// The last durable position.
    pub log_head: Option<u64>,
    /// Segment files: active, sealed, bytes of both.
    pub segments: Option<(u64, u64, u64)>,
    /// Ranges of the log that are known to be unreadable.
    pub unreadable: u64,
    /// S3 requests under way.
    pub s3_inflight: u64,
    /// Whether the projections have stopped at a record that they cannot apply.
    pub projections_stuck: bool,
    /// Bytes of content by kind.
    pub content: Vec<(&'static str, u64)>,
    /// Age of the oldest kept past version in seconds.
    pub history_oldest: u64,
    /// Each projection's position.
    pub projections: Vec<(&'static str, u64)>,
    /// When the process started, in Unix seconds.
    pub started: u64,
}

fn clamp(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

impl Metrics {
    /// An S3 request was answered.
    pub fn observe_s3_request(&self, seen: S3Observation<'_>) {
        let operation = if seen.operation.is_empty() { "Unknown" } else { seen.operation };
        let mut digits = [0; 5];
        self.s3_requests.with_label_values(&[operation, status_text(seen.status, &mut digits)]).inc();
        self.s3_duration.with_label_values(&[operation]).observe(seen.duration.as_secs_f64());
        self.s3_bytes.with_label_values(&["in"]).inc_by(seen.received);
        self.s3_bytes.with_label_values(&["out"]).inc_by(seen.sent);
    }

    /// A group commit is durable.
    pub fn observe_log_batch(&self, seen: BatchObservation) {
        self.log_append.observe(seen.append.as_secs_f64());
        self.log_fsync.observe(seen.sync.as_secs_f64());
        // Exact: a batch has far fewer than 2^32 records.
        self.log_batch.observe(f64::from(u32::try_from(seen.records).unwrap_or(u32::MAX)));
    }

    /// A request was refused because of who sent it.
    pub fn observe_auth_failure(&self, reason: &str) {
        self.auth_failures.with_label_values(&[reason]).inc();
    }

    /// Versions left the history.
    pub fn observe_expired(&self, reason: &str, versions: u64, bytes: u64) {
        self.history_expired.with_label_values(&[reason]).inc_by(versions);
        self.history_expired_bytes.with_label_values(&[reason]).inc_by(bytes);
    }

    /// The history window was shortened.
    pub fn observe_window_shortened(&self, reason: &str) {
        self.history_shortened.with_label_values(&[reason]).inc();
    }

    /// Blobs that nothing names are given back.
    pub fn observe_content_missing(&self, blobs: u64) {
        self.content_missing.set(clamp(blobs));
    }

    /// The sweep found blobs that nothing names.
    pub fn observe_swept(&self, blobs: u64, bytes: u64) {
        self.swept_blobs.inc_by(blobs);
        self.swept_bytes.inc_by(bytes);
    }

    /// The search for blobs that nothing names has ended.
    pub fn observe_sweep_ended(&self, complete: bool) {
        self.sweep_complete.set(i64::from(complete));
    }

    /// The page that Prometheus reads.
    pub fn render(&self, sample: &Sample) -> Result<String, prometheus::Error> {
        self.build_info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        if let Some(free) = sample.disk_free {
            self.disk_free.set(clamp(free));
        }
        if let Some(head) = sample.log_head {
            self.log_head.set(clamp(head));
        }
        if let Some((active, sealed, bytes)) = sample.segments {
            self.log_bytes.set(clamp(bytes));
            self.log_segments.with_label_values(&["active"]).set(clamp(active));
            self.log_segments.with_label_values(&["sealed"]).set(clamp(sealed));
        }
        self.s3_inflight.set(clamp(sample.s3_inflight));
        self.log_unreadable.set(clamp(sample.unreadable));
        self.history_oldest.set(clamp(sample.history_oldest));
        for (kind, bytes) in &sample.content {
            self.content_bytes.with_label_values(&[kind]).set(clamp(*bytes));
        }
        // They stop at the first record that fails, so there is never more than one before a restart.
        if sample.projections_stuck && self.projection_errors.get() == 0 {
            self.projection_errors.inc();
        }
        for (name, position) in &sample.projections {
            self.projection_position.with_label_values(&[name]).set(clamp(*position));
        }
        if let (Some(head), Some(slowest)) =
            (sample.log_head, sample.projections.iter().map(|(_, position)| *position).min())
        {
            self.projection_lag.set(clamp(head.saturating_sub(slowest)));
        }
        let mut page = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut page)?;
        let mut page = String::from_utf8_lossy(&page).into_owned();
        render_process(&mut page, sample.started);
        Ok(page)
    }
}

fn status_text(status: u16, digits: &mut [u8; 5]) -> &str {
    let mut rest = status;
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(rest % 10).unwrap_or_default();
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    std::str::from_utf8(&digits[at..]).unwrap_or_default()
}

fn render_process(page: &mut String, started: u64) {
    let seen = process::sample();
    let whole = |value: Option<u64>| value.map(|value| value.to_string());
    let values = [
        whole(seen.resident_bytes),
        seen.cpu_seconds.map(|seconds| format!("{seconds:.2}")),
        whole(seen.open_fds),
        whole(seen.max_fds),
        Some(started.to_string()),
    ];
    for (info, value) in process::INFOS.iter().zip(values) {
        if let Some(value) = value {
            let (name, kind) = (info.name, info.kind.name());
            let _ = writeln!(page, "# HELP {name} {}\n# TYPE {name} {kind}\n{name} {value}", info.help);
        }
    }
}

impl Kind {
    /// Prometheus's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// Every metric there is.
pub fn catalogue() -> impl Iterator<Item = &'static MetricInfo> {
    OWN.iter().chain(&process::INFOS)
}

/// `docs/metrics.md`.
pub fn reference() -> String {
    let mut page = String::from(
        "# Metrics\nGenerated from `src/telemetry/metrics.rs`; `SILTSTONE_BLESS=1 cargo test metrics` writes it again.\n\
         Prometheus reads them at `/metrics` on the metrics listener. Labels never carry a key, a user or an address.\n\n\
         | metric | kind | labels | meaning |\n|---|---|---|---|\n",
    );
    for info in catalogue() {
        let labels: Vec<String> = info.labels.iter().map(|label| format!("`{label}`")).collect();
        let (name, kind) = (info.name, info.kind.name());
        let _ = writeln!(page, "| `{name}` | {kind} | {} | {} |", labels.join(", "), info.help);
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observed() -> Metrics {
        let metrics = Metrics::new().unwrap();
        let duration = Duration::from_millis(2);
        metrics.observe_s3_request(S3Observation {
            operation: "PutObject",
            status: 200,
            duration,
            received: 7,
            sent: 5,
        });
        metrics.observe_s3_request(S3Observation {
            operation: "",
            status: 403,
            duration,
            received: 0,
            sent: 0,
        });
        metrics.observe_log_batch(BatchObservation { records: 3, append: duration, sync: duration });
        metrics.observe_auth_failure("SignatureDoesNotMatch");
        metrics.observe_expired("bytes", 3, 70);
        metrics.observe_window_shortened("bytes");
        metrics.observe_content_missing(3);
        metrics.observe_swept(2, 60);
        metrics.observe_sweep_ended(true);
        metrics
    }

    #[test]
    fn the_page_shows_what_was_observed_and_sampled() {
        let sample = Sample {
            disk_free: Some(77),
            log_head: Some(9),
            segments: Some((1, 4, 4096)),
            unreadable: 1,
            s3_inflight: 2,
            projections_stuck: true,
            content: vec![("history", 5)],
            history_oldest: 8,
            projections: vec![("state", 9), ("system", 6)],
            started: 1_700_000_000,
        };
        let page = observed().render(&sample).unwrap();
        for line in [
            "siltstone_s3_requests_total{code=\"200\",op=\"PutObject\"} 1",
            "siltstone_s3_requests_total{code=\"403\",op=\"Unknown\"} 1",
            "siltstone_s3_request_bytes_total{dir=\"in\"} 7",
            "siltstone_s3_request_bytes_total{dir=\"out\"} 5",
            "siltstone_s3_request_duration_seconds_bucket{op=\"PutObject\",le=\"0.0025\"} 1",
            "siltstone_s3_request_duration_seconds_bucket{op=\"PutObject\",le=\"0.001\"} 0",
            "siltstone_log_batch_records_sum 3",
            "siltstone_log_segments{state=\"sealed\"} 4",
            "siltstone_log_bytes 4096",
            "siltstone_s3_inflight_requests 2",
            "siltstone_log_unreadable_ranges 1",
            "siltstone_projection_apply_errors_total 1",
            "siltstone_projection_position{name=\"system\"} 6",
            "siltstone_projection_lag_events 3",
            "siltstone_disk_free_bytes 77",
            "siltstone_content_bytes{kind=\"history\"} 5",
            "siltstone_history_oldest_seconds 8",
            "siltstone_history_expired_versions_total{reason=\"bytes\"} 3",
            "siltstone_history_expired_bytes_total{reason=\"bytes\"} 70",
            "siltstone_history_window_shortened_total{reason=\"bytes\"} 1",
            "siltstone_content_missing_blobs 3",
            "siltstone_swept_blobs_total 2",
            "siltstone_swept_bytes_total 60",
            "siltstone_sweep_complete 1",
            "siltstone_auth_failures_total{reason=\"SignatureDoesNotMatch\"} 1",
            "process_start_time_seconds 1700000000",
        ] {
            assert!(page.lines().any(|found| found == line), "{line} is missing in\n{page}");
        }
    }

    #[test]
    fn every_metric_on_the_page_is_in_the_catalogue_and_the_other_way_round() {
        let sample = Sample {
            segments: Some((1, 0, 1)),
            projections: vec![("state", 1)],
            content: vec![("live", 1)],
            ..Sample::default()
        };
        let page = observed().render(&sample).unwrap();
        let shown = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let mut shown: Vec<String> = shown.map(str::to_owned).collect();
        let mut known: Vec<String> =
            catalogue().map(|info| format!("{} {}", info.name, info.kind.name())).collect();
        shown.sort();
        known.sort();
        assert_eq!(shown, known);
    }

    #[test]
    fn statuses_are_written_without_allocation_as_they_read() {
        let mut digits = [0; 5];
        for status in [0, 7, 200, 507, u16::MAX] {
            assert_eq!(status_text(status, &mut digits), status.to_string());
        }
    }

    #[test]
    fn the_reference_page_is_up_to_date() {
        crate::bless::bless_or_compare("docs/metrics.md", reference());
    }
}
