//! Door 2: the console API under `/api/v1`, which `siltstone admin` uses and the web console will.
//!
//! Raw request → [`route`] → authenticate → authorize → body, against the hash that was signed → `identity` → answer.
//! Errors are RFC 9457 problems ([`problem`]); every mutation goes through the engine as it does from the S3 door.

#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod identity;
mod input;
pub mod openapi;
pub mod problem;
pub mod route;

pub use input::status_name;

use crate::auth::{Action, Authenticated, Authenticator, Class, authorize};
use crate::engine::{self, Command, EngineError, Receipt};
use crate::keys::Keys;
use crate::s3::request::{Query, RequestHead, RequestId};
use crate::s3::sigv4::Payload;
use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, USER_AGENT};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Body;
use problem::Problem;
use route::Route;
use serde_json::Value;
use siltstone_log::event::{AccessDenied, Actor, Door};
use siltstone_log::host::Entropy;
use siltstone_projections::Rows;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use subtle::ConstantTimeEq;

/// The most bytes of a request's body.
const MAX_BODY_BYTES: usize = 1 << 20;
/// How long a client may take for its body.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// The most bytes of `User-Agent` that are kept.
const MAX_AGENT_BYTES: usize = 256;

/// Seeing why the server is not ready.
const READ_HEALTH: Action = Action { name: "admin:ReadHealth", class: Class::Administer };

/// A command's receipt in the making.
pub type Submitted<'a> = Pin<Box<dyn Future<Output = Result<Receipt, EngineError>> + Send + 'a>>;

/// What stands behind this door.
pub trait Backend: Send + Sync + 'static {
    /// Hands a command to the engine.
    fn submit(&self, command: Command) -> Submitted<'_>;
    /// Decides what a command would come to, and changes nothing. May wait for the disk.
    fn preview(&self, action: engine::Action) -> Result<(), EngineError>;
    /// Durable rows, as of now.
    fn rows(&self) -> Arc<dyn Rows + Send + Sync>;
    /// Keeps evidence of a refused request. Must not block.
    fn note_denied(&self, actor: Actor, denied: AccessDenied);
}

/// Everything this door works with.
pub struct Console {
    /// The engine.
    pub backend: Arc<dyn Backend>,
    /// Finds out who is calling.
    pub authenticator: Authenticator,
    /// Seals new secrets; knows root's key id, which nobody else can take.
    pub keys: Arc<Keys>,
    /// Where ids, salts and new keys come from.
    pub entropy: Arc<dyn Entropy>,
}

/// An authenticated and authorised request.
struct Call<'a> {
    console: &'a Console,
    route: Route,
    query: Query,
    body: Bytes,
    actor: Actor,
    /// Whether to say what would be done instead of doing it.
    dry_run: bool,
}

/// What a handler answers: a status and a JSON value.
type Answer = Result<(StatusCode, Value), Problem>;

/// A request refused before it reached its handler, and who sent it as far as that is known.
struct Refusal {
    problem: Problem,
    caller: Option<Authenticated>,
    /// The access key that a caller claimed who is not known, where it may be kept.
    claimed: String,
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self { problem, caller: None, claimed: String::new() }
    }
}

impl Console {
    /// Answers a request.
    pub async fn handle<B>(&self, address: IpAddr, request: Request<B>) -> Response<Full<Bytes>>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let request_id = RequestId::draw(&*self.entropy).id;
        let (parts, body) = request.into_parts();
        let head = head_of(parts, address);
        // For anybody: it says what this program can do, as its documentation does, and nothing of this store.
        if head.raw_path == openapi::PATH && head.method == Method::GET {
            return json(StatusCode::OK, &openapi::DOCUMENT, &request_id);
        }
        let answer = match Route::parse(&head.method, &head.raw_path) {
            Ok(route) => self.answer(route, &head, body, &request_id).await,
            Err(error) => Err(error.into()),
        };
        let status = answer.as_ref().map_or_else(|problem| problem.status, |(status, _)| *status);
        tracing::debug!(%request_id, method = %head.method, status = status.as_u16(), "console request");
        match answer {
            Ok((status, value)) => json(status, &value, &request_id),
            Err(problem) => problem.into_response(&request_id),
        }
    }

    /// Whether a request to a path of its own (details of health) is signed by someone who may administer.
    pub async fn is_administrator(&self, address: IpAddr, parts: Parts) -> bool {
        let verified = self.authenticator.authenticate(&head_of(parts, address)).await;
        verified.is_ok_and(|verified| authorize(&verified.caller, READ_HEALTH, None).is_allowed())
    }

    async fn answer<B>(&self, route: Route, head: &RequestHead, body: B, request_id: &str) -> Answer
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let operation = route.action().name;
        match self.admit(route, head, body, request_id).await {
            Ok(call) => identity::carry_out(call).await,
            Err(refusal) => {
                self.note(head, operation, &refusal, request_id);
                Err(refusal.problem)
            }
        }
    }

    /// Who is calling, may they, and is the body the one that they signed.
    async fn admit<B>(
        &self,
        route: Route,
        head: &RequestHead,
        body: B,
        request_id: &str,
    ) -> Result<Call<'_>, Refusal>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let verified = self.authenticator.authenticate(head).await.map_err(|error| {
            let claimed = self.authenticator.evident_key(head, &error);
            Refusal { claimed, ..Problem::from(error).into() }
        })?;
        let caller = verified.caller;
        if !authorize(&caller, route.action(), None).is_allowed() {
            let detail = format!("This needs the right to {}.", route.action().name);
            let problem = Problem::new(StatusCode::FORBIDDEN, "AccessDenied", detail);
            return Err(Refusal { caller: Some(caller), ..problem.into() });
        }
        let Payload::Sha256(expected) = verified.payload else {
            let detail = "The signature must cover the body: send its SHA-256 in x-amz-content-sha256.";
            return Err(Problem::new(StatusCode::BAD_REQUEST, "BodyNotSigned", detail).into());
        };
        let body = read_body(body).await?;
        if !bool::from(digest(&SHA256, &body).as_ref().ct_eq(&expected)) {
            let detail = "The body is not the one that was signed.";
            return Err(Problem::new(StatusCode::BAD_REQUEST, "BodyMismatch", detail).into());
        }
        let actor = actor(Some(&caller), head, request_id);
        let query =
            Query::parse(&head.raw_query).map_err(|_| Problem::field("query", "is not valid UTF-8"))?;
        let dry_run = if head.method == Method::GET { false } else { dry_run(&query)? };
        Ok(Call { console: self, route, query, body, actor, dry_run })
    }

    fn note(&self, head: &RequestHead, operation: &str, refusal: &Refusal, request_id: &str) {
        if !matches!(refusal.problem.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            return;
        }
        let denied = AccessDenied {
            operation: operation.to_owned(),
            bucket: String::new(),
            key: String::new(),
            code: refusal.problem.code.to_owned(),
        };
        let mut actor = actor(refusal.caller.as_ref(), head, request_id);
        if refusal.caller.is_none() {
            actor.access_key.clone_from(&refusal.claimed);
        }
        self.backend.note_denied(actor, denied);
    }
}

/// Whether a change is only to be tried. Whoever misspells it must not change anything, so nothing else is taken.
fn dry_run(query: &Query) -> Result<bool, Problem> {
    let mut parameters = query.iter();
    match (parameters.next(), parameters.next()) {
        (None, _) | (Some(("dry_run", "false")), None) => Ok(false),
        (Some(("dry_run", "true")), None) => Ok(true),
        _ => Err(Problem::field("query", "a change takes nothing but dry_run=true or dry_run=false, once")),
    }
}

fn head_of(parts: Parts, address: IpAddr) -> RequestHead {
    RequestHead {
        method: parts.method,
        raw_path: parts.uri.path().to_owned(),
        raw_query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: parts.headers,
        address,
        host_bucket: None,
    }
}

async fn read_body<B>(body: B) -> Result<Bytes, Problem>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let limited = std::pin::pin!(Limited::new(body, MAX_BODY_BYTES));
    let Ok(collected) = tokio::time::timeout(BODY_TIMEOUT, limited.collect()).await else {
        let detail = "The body did not arrive in time.";
        return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "RequestTimeout", detail));
    };
    match collected {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            let detail = format!("A body has at most {MAX_BODY_BYTES} bytes.");
            Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "TooLarge", detail))
        }
        Err(_) => Err(Problem::new(StatusCode::BAD_REQUEST, "IncompleteBody", "The body ended early.")),
    }
}

fn actor(caller: Option<&Authenticated>, head: &RequestHead, request_id: &str) -> Actor {
    let agent = head.headers.get(USER_AGENT).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let mut agent = agent.unwrap_or_default().into_owned();
    agent.truncate(agent.floor_char_boundary(MAX_AGENT_BYTES));
    Actor {
        account: caller.map(|caller| caller.identity.account),
        user: caller.map(|caller| caller.identity.user.clone()).unwrap_or_default(),
        access_key: caller.map(|caller| caller.access_key.clone()).unwrap_or_default(),
        address: head.address.to_string(),
        agent,
        door: Door::Console,
        request_id: request_id.to_owned(),
    }
}

fn json(status: StatusCode, value: &Value, request_id: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(value.to_string().into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert("x-request-id", id);
    }
    response
}

#[cfg(test)]
mod tests;
