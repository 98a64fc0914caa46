//! What the console and metrics listeners answer: health on both, the API on one, metrics on the other.

use super::vitals::Vitals;
use crate::console::problem::Problem;
use crate::console::route::RouteError;
use crate::console::{Backend, Console, Submitted};
use crate::engine::{Action, Command, Engine, EngineError};
use crate::listener::Service;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use siltstone_log::event::{AccessDenied, Actor};
use siltstone_projections::Rows;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

type Answer = Response<Full<Bytes>>;

/// The console listener.
pub struct ConsoleDoor {
    vitals: Arc<Vitals>,
    console: OnceLock<Console>,
}

impl ConsoleDoor {
    /// Answers health only, until the API opens.
    pub fn new(vitals: Arc<Vitals>) -> Self {
        Self { vitals, console: OnceLock::new() }
    }

    /// Opens the API.
    pub fn open(&self, console: Console) {
        // Set once, by the start.
        let _ = self.console.set(console);
    }
}

impl Service for ConsoleDoor {
    type Body = Full<Bytes>;

    async fn call(self: &Arc<Self>, address: IpAddr, request: Request<Incoming>) -> Answer {
        if is_probe(request.uri().path()) {
            let (parts, _) = request.into_parts();
            // Anybody may ask whether; why is for those who may administer.
            let details = match self.console.get() {
                Some(console) => console.is_administrator(address, parts.clone()).await,
                None => false,
            };
            return probe(&parts, &self.vitals, details);
        }
        if let Some(console) = self.console.get() {
            return console.handle(address, request).await;
        }
        let detail = "The server is still starting; /readyz says how far it is.";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "Starting", detail).into_response("")
    }
}

/// The metrics listener.
pub struct MetricsDoor {
    vitals: Arc<Vitals>,
}

impl MetricsDoor {
    /// Answers from the start on.
    pub fn new(vitals: Arc<Vitals>) -> Self {
        Self { vitals }
    }
}

impl Service for MetricsDoor {
    type Body = Full<Bytes>;

    async fn call(self: &Arc<Self>, _address: IpAddr, request: Request<Incoming>) -> Answer {
        if request.uri().path() != "/metrics" {
            let (parts, _) = request.into_parts();
            let known = is_probe(parts.uri.path());
            // Whoever reaches the metrics may read as much there.
            return if known { probe(&parts, &self.vitals, true) } else { nothing_here() };
        }
        if !is_read(request.method()) {
            return method_not_allowed();
        }
        let vitals = self.vitals.clone();
        match tokio::task::spawn_blocking(move || vitals.render()).await {
            Ok(Ok(page)) => plain(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", page),
            Ok(Err(error)) => {
                tracing::error!(%error, "metrics cannot be shown");
                Problem::internal().into_response("")
            }
            Err(error) => {
                tracing::error!(%error, "metrics cannot be shown");
                Problem::internal().into_response("")
            }
        }
    }
}

fn is_probe(path: &str) -> bool {
    matches!(path, "/healthz" | "/readyz")
}

/// The answer to a health probe.
fn probe(parts: &Parts, vitals: &Vitals, details: bool) -> Answer {
    if !is_read(&parts.method) {
        return method_not_allowed();
    }
    if parts.uri.path() == "/healthz" {
        return plain(StatusCode::OK, "text/plain", "ok\n");
    }
    let query = parts.uri.query().unwrap_or_default();
    let verbose = query.split('&').any(|pair| pair.split('=').next() == Some("verbose"));
    let readiness = vitals.readiness(verbose && details);
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = serde_json::to_string(&readiness).unwrap_or_default();
    plain(status, "application/json", body + "\n")
}

fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

fn plain(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

fn method_not_allowed() -> Answer {
    Problem::from(RouteError::MethodNotAllowed { allow: "GET, HEAD" }).into_response("")
}

fn nothing_here() -> Answer {
    Problem::from(RouteError::NotFound).into_response("")
}

impl Backend for Engine {
    fn submit(&self, command: Command) -> Submitted<'_> {
        Box::pin(Self::submit(self, command))
    }

    fn preview(&self, action: Action) -> Result<(), EngineError> {
        Self::preview(self, action)
    }

    fn rows(&self) -> Arc<dyn Rows + Send + Sync> {
        Arc::new(self.view())
    }

    fn note_denied(&self, actor: Actor, denied: AccessDenied) {
        Self::note_denied(self, actor, denied);
    }
}
