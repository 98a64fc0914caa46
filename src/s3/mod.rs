//! Door 1: S3 over HTTP.
//!
//! Raw request → authenticate → [`operation`] → authorize → [`Handler`] → answer.

pub mod body;
mod bucket;
pub mod conditional;
pub mod copy_source;
pub mod date;
mod dispatch;
pub mod domains;
mod engine_error;
pub mod error;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod headers;
mod keep_alive;
pub mod list_params;
mod multipart;
mod object;
pub mod operation;
pub mod operations;
mod parameters;
mod permission;
pub mod range;
mod refusal;
pub mod request;
pub mod response;
pub mod server;
mod service;
pub mod sigv2;
pub mod sigv4;
pub mod tags;
#[cfg(any(test, fuzzing))]
#[cfg_attr(fuzzing, allow(dead_code, reason = "the targets need a part of it"))]
pub(crate) mod testing;
mod transfer;
mod unread;
pub mod xml;

use crate::auth::Authenticator;
use domains::Domains;
use error::S3Error;
use request::S3Request;
use response::S3Response;
use siltstone_log::event::{AccessDenied, Actor, Versioning};
use siltstone_log::host::{Clock, Entropy};
use siltstone_log::id::{AccountId, StreamId};
use siltstone_log::name::BucketName;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use xml::Owner;

pub use dispatch::handle;

/// A handler's answer in the making.
pub type Answer<'a> = Pin<Box<dyn Future<Output = Result<S3Response, S3Error>> + Send + 'a>>;

/// A look-up of a bucket.
pub type Finding<'a> = Pin<Box<dyn Future<Output = Result<Option<Arc<OpenBucket>>, S3Error>> + Send + 'a>>;

/// A bucket that exists: what of it is not its objects'.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenBucket {
    /// Its name.
    pub name: BucketName,
    /// Its stream. Another bucket of the same name has another, so what is done by it is never done to that one.
    pub stream: StreamId,
    /// Whose it is.
    pub owner: AccountId,
    /// The owner as S3 shows it.
    pub shown: Owner,
    /// Its region; empty for the server's own.
    pub location: String,
    /// Whether it keeps versions.
    pub versioning: Versioning,
}

impl OpenBucket {
    /// Whether clients are told of versions: it keeps them, or did.
    pub fn is_versioned(&self) -> bool {
        self.versioning != Versioning::Unversioned
    }
}

/// What stands behind this door: the handlers of all operations.
pub trait Handler: Send + Sync + 'static {
    /// The bucket that bears a name; `None` where there is no such bucket. Looked up once for each request: what is
    /// authorised is what is acted upon.
    fn find_bucket<'a>(&'a self, name: &'a BucketName) -> Finding<'a>;

    /// Carries out an authenticated and authorised request.
    fn call(&self, request: S3Request) -> Answer<'_>;
}

/// What a finished request is reported as, once its answer is sent or given up.
#[derive(Debug, Clone, Copy)]
pub struct Observation {
    /// The operation's name; empty where the request asks for none.
    pub operation: &'static str,
    /// The status answered.
    pub status: u16,
    /// The error code answered; empty for success.
    pub code: &'static str,
    /// From the request's head to the answer's head.
    pub nanos: u64,
    /// Bytes of body received, decoded.
    pub received: u64,
    /// Bytes of body sent.
    pub sent: u64,
}

/// Who is told of requests: metrics, and the log of refused attempts.
pub trait Observer: Send + Sync + 'static {
    /// A request was answered.
    fn observe(&self, observation: Observation);
    /// A request was refused because of who sent it. Must not block.
    fn note_denied(&self, actor: Actor, denied: AccessDenied);
}

/// Everything the S3 listener works with.
pub struct S3State {
    /// Finds out who is calling.
    pub authenticator: Authenticator,
    /// The operations.
    pub handler: Arc<dyn Handler>,
    /// Metrics and evidence.
    pub observer: Arc<dyn Observer>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where request ids come from.
    pub entropy: Arc<dyn Entropy>,
    /// Names below which a host names a bucket.
    pub domains: Domains,
    /// How clients reach it: `http` or `https`.
    pub scheme: &'static str,
}
