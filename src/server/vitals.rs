//! What the engine and the doors report, gathered for health and metrics.

use crate::engine::{self, Engine, ExpiryReason};
use crate::s3;
use crate::telemetry::health::{Check, Health, Phase, Readiness};
use crate::telemetry::metrics::{BatchObservation, Metrics, S3Observation, Sample};
use siltstone_log::event::{AccessDenied, Actor};
use siltstone_log::host::real::RealDisk;
use siltstone_log::host::{DiskOp, DiskReply, Folder};
use siltstone_log::writer::BatchTiming;
use siltstone_projections::Space;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Durable records that reads may lag behind before the server says that it is not ready.
const MAX_LAG: u64 = 100_000;

/// Health and metrics, from the first moment on; the engine joins when it is open.
pub struct Vitals {
    health: Health,
    metrics: Arc<Metrics>,
    disk: RealDisk,
    started: u64,
    engine: OnceLock<Engine>,
}

impl Vitals {
    /// Before there is an engine. `started` is in Unix seconds.
    pub fn new(health: Health, metrics: Arc<Metrics>, disk: RealDisk, started: u64) -> Self {
        Self { health, metrics, disk, started, engine: OnceLock::new() }
    }

    /// From now on the engine's state is part of the answers.
    pub fn engine_opened(&self, engine: Engine) {
        // A second one would be a second server in this process; the first keeps its place.
        let _ = self.engine.set(engine);
    }

    /// The answer to `/readyz`.
    pub fn readiness(&self, verbose: bool) -> Readiness {
        self.health.readiness(self.checks(), verbose)
    }

    fn checks(&self) -> Vec<Check> {
        let Some(engine) = self.engine.get() else {
            return vec![Check { name: "log", ok: false, detail: "not open yet".to_owned() }];
        };
        let status = engine.status();
        let failure = status.failure.as_ref().map(ToString::to_string);
        let lag = status.durable.get().saturating_sub(status.applied.get());
        let stuck = status.projections_stuck.as_ref().map(ToString::to_string);
        vec![
            Check {
                name: "log",
                ok: failure.is_none(),
                detail: failure.unwrap_or_else(|| format!("durable up to position {}", status.durable)),
            },
            Check {
                name: "projections",
                ok: stuck.is_none() && lag <= MAX_LAG,
                detail: stuck.unwrap_or_else(|| format!("{lag} records behind")),
            },
            Check {
                name: "disk_space",
                ok: status.has_space,
                detail: format!("{} bytes free", status.free.content.min(status.free.rows)),
            },
        ]
    }

    /// The page of `/metrics`. Reads files: not for an async thread.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        let mut sample = Sample { started: self.started, segments: self.segments(), ..Sample::default() };
        if let Some(engine) = self.engine.get() {
            let status = engine.status();
            sample.disk_free = Some(status.free.content.min(status.free.rows));
            sample.log_head = Some(status.durable.get());
            sample.s3_inflight = status.in_flight_requests;
            if let Some(usage) = status.history {
                let kinds = [
                    ("live", usage.live_bytes),
                    ("history", usage.history_bytes),
                    ("uploads", usage.upload_bytes),
                ];
                sample.content = kinds.to_vec();
                let now = engine.clock().wall_millis();
                sample.history_oldest =
                    usage.oldest.map_or(0, |oldest| now.saturating_sub(oldest.millis()) / 1000);
            }
            sample.unreadable = status.unreadable_ranges;
            sample.projections_stuck = status.projections_stuck.is_some();
            sample.projections = Space::ALL.map(|space| (space.name(), status.applied.get())).to_vec();
        }
        self.metrics.render(&sample)
    }

    /// Segment files: active, sealed, bytes of both. The newest one is the active one.
    fn segments(&self) -> Option<(u64, u64, u64)> {
        let Ok(DiskReply::Files(files)) = self.disk.execute(&DiskOp::List { folder: Folder::Log }) else {
            return None;
        };
        let segments = files.iter().filter(|(name, _)| name.ends_with(".seg"));
        let (count, bytes) = segments.fold((0u64, 0u64), |(count, sum), (_, bytes)| (count + 1, sum + bytes));
        let active = count.min(1);
        Some((active, count - active, bytes))
    }
}

impl engine::Observer for Vitals {
    fn starting(&self, step: &'static str, progress: Option<(u64, u64)>) {
        self.health.enter(Phase::Starting { step, progress });
    }

    fn committed(&self, timing: &BatchTiming, records: usize) {
        let nanos = timing.queued_nanos.saturating_add(timing.write_nanos).saturating_add(timing.sync_nanos);
        self.metrics.observe_log_batch(BatchObservation {
            records,
            append: Duration::from_nanos(nanos),
            sync: Duration::from_nanos(timing.sync_nanos),
        });
    }

    fn expired(&self, reason: ExpiryReason, versions: u64, bytes: u64) {
        self.metrics.observe_expired(reason.name(), versions, bytes);
    }

    fn window_shortened(&self, reason: ExpiryReason) {
        self.metrics.observe_window_shortened(reason.name());
    }

    fn content_missing(&self, blobs: u64) {
        self.metrics.observe_content_missing(blobs);
    }

    fn swept(&self, blobs: u64, bytes: u64) {
        self.metrics.observe_swept(blobs, bytes);
    }

    fn sweep_ended(&self, complete: bool) {
        self.metrics.observe_sweep_ended(complete);
    }
}

impl s3::Observer for Vitals {
    fn observe(&self, seen: s3::Observation) {
        self.metrics.observe_s3_request(S3Observation {
            operation: seen.operation,
            status: seen.status,
            duration: Duration::from_nanos(seen.nanos),
            received: seen.received,
            sent: seen.sent,
        });
    }

    fn note_denied(&self, actor: Actor, denied: AccessDenied) {
        self.metrics.observe_auth_failure(&denied.code);
        if let Some(engine) = self.engine.get() {
            engine.note_denied(actor, denied);
        }
    }
}
