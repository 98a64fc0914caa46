//! Whether the server lives, and whether it should be sent requests.

use serde::Serialize;
use std::sync::{Arc, Mutex, PoisonError};

/// Where the server is in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// Reads the log and brings the projections up to date.
    Starting {
        /// What it is doing.
        step: &'static str,
        /// Log positions done and to be done, once known.
        progress: Option<(u64, u64)>,
    },
    /// Serves.
    Serving,
    /// Finishes what is under way, takes nothing new.
    Draining,
    /// The disk failed; the process ends.
    Failed,
}

/// One condition of being ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Its name.
    pub name: &'static str,
    /// Whether it holds.
    pub ok: bool,
    /// What was found.
    pub detail: String,
}

/// The answer to `/readyz`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Readiness {
    /// Whether the server should be sent requests.
    pub ready: bool,
    /// `starting`, `serving`, `draining` or `failed`.
    pub phase: &'static str,
    /// What it is doing, while it starts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<&'static str>,
    /// How far it is with that, from 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress_ratio: Option<f64>,
    /// Every condition, where asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checks: Option<Vec<Check>>,
}

/// The server's phase, shared by everyone who tells or asks.
#[derive(Debug, Clone)]
pub struct Health(Arc<Mutex<Phase>>);

impl Default for Health {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Phase::Starting { step: "start", progress: None })))
    }
}

impl Health {
    /// Enters a phase. A failure is final, and a drain is left only by failing.
    pub fn enter(&self, next: Phase) {
        let mut phase = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let allowed = match (&*phase, &next) {
            (Phase::Failed, _) => false,
            (Phase::Draining, next) => *next == Phase::Failed,
            (Phase::Starting { .. } | Phase::Serving, _) => true,
        };
        if allowed {
            *phase = next;
        }
    }

    /// The phase now.
    pub fn phase(&self) -> Phase {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts phase and conditions together.
    pub fn readiness(&self, checks: Vec<Check>, verbose: bool) -> Readiness {
        let phase = self.phase();
        let (name, step, progress) = match &phase {
            Phase::Starting { step, progress } => ("starting", Some(*step), *progress),
            Phase::Serving => ("serving", None, None),
            Phase::Draining => ("draining", None, None),
            Phase::Failed => ("failed", None, None),
        };
        Readiness {
            ready: phase == Phase::Serving && checks.iter().all(|check| check.ok),
            phase: name,
            step,
            progress_ratio: progress.map(|(done, of)| ratio(done, of)),
            checks: verbose.then_some(checks),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a ratio for people to look at")]
fn ratio(done: u64, of: u64) -> f64 {
    if of == 0 { 1.0 } else { (done.min(of) as f64) / (of as f64) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(ok: bool) -> Check {
        Check { name: "disk_space", ok, detail: "12 GiB free".to_owned() }
    }

    #[test]
    fn ready_means_serving_with_every_condition_met() {
        let health = Health::default();
        assert!(!health.readiness(vec![], false).ready);
        health.enter(Phase::Serving);
        assert!(health.readiness(vec![check(true)], false).ready);
        assert!(!health.readiness(vec![check(true), check(false)], false).ready);
        health.enter(Phase::Draining);
        assert!(!health.readiness(vec![], false).ready);
    }

    #[test]
    fn a_failure_is_final_and_a_drain_does_not_go_back() {
        let health = Health::default();
        health.enter(Phase::Draining);
        health.enter(Phase::Serving);
        assert_eq!(health.phase(), Phase::Draining);
        health.enter(Phase::Failed);
        health.enter(Phase::Draining);
        assert_eq!(health.phase(), Phase::Failed);
    }

    #[test]
    fn progress_is_shown_while_starting_and_checks_only_when_asked_for() {
        let health = Health::default();
        health.enter(Phase::Starting { step: "replay", progress: Some((1, 4)) });
        let plain = serde_json::to_value(health.readiness(vec![check(true)], false)).unwrap();
        let expected = serde_json::json!(
            { "ready": false, "phase": "starting", "step": "replay", "progress_ratio": 0.25 }
        );
        assert_eq!(plain, expected);
        let verbose = serde_json::to_value(health.readiness(vec![check(true)], true)).unwrap();
        assert_eq!(verbose["checks"][0]["name"], "disk_space");
    }
}
