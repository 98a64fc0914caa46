//! What tests of this door share: a clock that stands still, known keys, and a signer that shares no code with the
//! verifier.

use super::domains::Domains;
use super::operation::Operation;
use super::request::{RequestHead, S3Request};
use super::response::{ResponseBody, S3Response};
use super::sigv4::Scope;
use super::xml::Owner;
use super::{Answer, Finding, Handler, Observation, Observer, OpenBucket, S3State};
use crate::auth::{Authenticator, Credential, Credentials, CredentialsError, Identity, Secret};
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use sha2::{Digest as _, Sha256};
use siltstone_log::event::Versioning;
use siltstone_log::event::{AccessDenied, Actor, Status};
use siltstone_log::host::{Clock, Entropy};
use siltstone_log::id::{AccountId, StreamId};
use siltstone_log::name::BucketName;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// AWS's own example key.
pub(crate) const ACCESS_KEY: &str = "AKIAIOSFODNN7EXAMPLE";
/// AWS's own example secret.
pub(crate) const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
/// The time of AWS's examples, 2013-05-24T00:00:00Z.
pub(crate) const NOW_SECONDS: u64 = 1_369_353_600;
/// The SHA-256 of nothing.
pub(crate) const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// A clock that is set by hand.
pub(crate) struct FixedClock(pub(crate) AtomicU64);

impl Clock for FixedClock {
    fn wall_millis(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
    fn monotonic_nanos(&self) -> u64 {
        0
    }
}

/// Counts up, so that ids differ.
#[derive(Default)]
pub(crate) struct CountingEntropy(AtomicU64);

impl Entropy for CountingEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        for byte in buffer {
            *byte = self.0.fetch_add(1, Ordering::Relaxed).to_le_bytes()[0];
        }
    }
}

/// Access keys in memory.
#[derive(Default)]
pub(crate) struct Keys(pub(crate) BTreeMap<String, Credential>);

impl Credentials for Keys {
    fn recall(&self, _access_key: &str) -> Option<Credential> {
        None
    }
    fn find(&self, access_key: &str) -> Result<Option<Credential>, CredentialsError> {
        Ok(self.0.get(access_key).cloned())
    }
}

pub(crate) fn identity(account: u8, root: bool, policies: &[&str]) -> Identity {
    Identity {
        account: AccountId([account; 16]),
        user: format!("user-{account}"),
        root,
        policies: policies.iter().map(|name| (*name).to_owned()).collect(),
    }
}

pub(crate) fn keys(identity: Identity) -> Keys {
    keys_of(identity, Status::Active)
}

pub(crate) fn keys_of(identity: Identity, status: Status) -> Keys {
    let credential = Credential { secret: Secret::new(SECRET), identity, status };
    Keys(BTreeMap::from([(ACCESS_KEY.to_owned(), credential)]))
}

pub(crate) fn clock() -> Arc<FixedClock> {
    Arc::new(FixedClock(AtomicU64::new(NOW_SECONDS * 1000)))
}

/// An authenticator that knows AWS's example key as a root key, at the time of AWS's examples.
pub(crate) fn authenticator() -> Authenticator {
    Authenticator::new(Arc::new(keys(identity(1, true, &[]))), clock(), Scope::s3("us-east-1"))
}

/// A request as the listener hands it on.
pub(crate) fn head(method: &str, target: &str, headers: &[(&str, &str)]) -> RequestHead {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        map.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    RequestHead {
        method: Method::from_bytes(method.as_bytes()).unwrap(),
        raw_path: path.to_owned(),
        raw_query: query.to_owned(),
        headers: map,
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        host_bucket: None,
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    let digits: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    digits.concat()
}

pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}

/// Signs strings for one day and region.
#[derive(Clone)]
pub(crate) struct Signer {
    pub(crate) secret: String,
    pub(crate) date: String,
    pub(crate) scope_day: String,
    pub(crate) region: String,
    pub(crate) service: String,
}

impl Default for Signer {
    fn default() -> Self {
        Self {
            secret: SECRET.to_owned(),
            date: "20130524T000000Z".to_owned(),
            scope_day: "20130524".to_owned(),
            region: "us-east-1".to_owned(),
            service: "s3".to_owned(),
        }
    }
}

impl Signer {
    pub(crate) fn scope(&self) -> String {
        format!("{}/{}/{}/aws4_request", self.scope_day, self.region, self.service)
    }

    pub(crate) fn sign(&self, message: &str) -> String {
        let mut key = format!("AWS4{}", self.secret).into_bytes();
        for part in [self.scope_day.as_str(), &self.region, &self.service, "aws4_request"] {
            key = hmac(&key, part.as_bytes());
        }
        hex(&hmac(&key, message.as_bytes()))
    }

    /// The `Authorization` header over a canonical path and query, and over all headers given.
    pub(crate) fn authorization(
        &self,
        method: &str,
        canonical_target: &str,
        headers: &[(&str, &str)],
    ) -> String {
        let (path, query) = canonical_target.split_once('?').unwrap_or((canonical_target, ""));
        let mut sorted: Vec<(String, &str)> =
            headers.iter().map(|(name, value)| (name.to_lowercase(), *value)).collect();
        sorted.sort();
        let names: Vec<&str> = sorted.iter().map(|(name, _)| name.as_str()).collect();
        let lines: Vec<String> = sorted.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        let lines = lines.concat();
        let payload =
            sorted.iter().find(|(name, _)| name == "x-amz-content-sha256").map_or(EMPTY, |(_, v)| v);
        let names = names.join(";");
        let request = format!("{method}\n{path}\n{query}\n{lines}\n{names}\n{payload}");
        let message =
            format!("AWS4-HMAC-SHA256\n{}\n{}\n{}", self.date, self.scope(), sha256_hex(request.as_bytes()));
        let signature = self.sign(&message);
        format!(
            "AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/{}, SignedHeaders={names}, Signature={signature}",
            self.scope()
        )
    }

    /// A request whose every header is signed.
    pub(crate) fn signed(
        &self,
        method: &str,
        target: &str,
        payload: &str,
        more: &[(&str, &str)],
    ) -> RequestHead {
        let mut headers = vec![("x-amz-content-sha256", payload), ("x-amz-date", &self.date)];
        headers.extend_from_slice(more);
        if !more.iter().any(|(name, _)| *name == "host") {
            headers.push(("host", "localhost"));
        }
        let authorization = self.authorization(method, target, &headers);
        headers.push(("authorization", &authorization));
        head(method, target, &headers)
    }

    /// The signature of one chunk.
    pub(crate) fn chunk(&self, previous: &str, data: &[u8]) -> String {
        let message = format!(
            "AWS4-HMAC-SHA256-PAYLOAD\n{}\n{}\n{previous}\n{EMPTY}\n{}",
            self.date,
            self.scope(),
            sha256_hex(data)
        );
        self.sign(&message)
    }

    /// The signature of a trailer.
    pub(crate) fn trailer(&self, previous: &str, lines: &str) -> String {
        let message = format!(
            "AWS4-HMAC-SHA256-TRAILER\n{}\n{}\n{previous}\n{}",
            self.date,
            self.scope(),
            sha256_hex(lines.as_bytes())
        );
        self.sign(&message)
    }
}

/// The signature in a request's `Authorization` header.
pub(crate) fn signature_of(head: &RequestHead) -> String {
    let value = head.header("authorization").unwrap();
    value.rsplit_once("Signature=").unwrap().1.to_owned()
}

/// A handler that answers with what it was asked: operation, bucket and key, and the body's size.
pub(crate) struct Echo;

impl Handler for Echo {
    fn find_bucket<'a>(&'a self, name: &'a BucketName) -> Finding<'a> {
        let owner = match name.as_str() {
            "foreign" => Some(AccountId([2; 16])),
            "missing" => None,
            _ => Some(AccountId([1; 16])),
        };
        let found = owner.map(|owner| {
            let shown = Owner { id: owner.to_string(), display_name: String::new() };
            let location = String::new();
            let (name, versioning) = (name.clone(), Versioning::Unversioned);
            Arc::new(OpenBucket { name, stream: StreamId([9; 16]), owner, shown, location, versioning })
        });
        Box::pin(async move { Ok(found) })
    }

    fn call(&self, request: S3Request) -> Answer<'_> {
        Box::pin(async move {
            let mut text = request.operation.name().to_owned();
            for part in
                [request.bucket.map(String::from), request.key.map(String::from)].into_iter().flatten()
            {
                text.push(' ');
                text.push_str(&part);
            }
            let mut body = request.body;
            if request.operation == Operation::PutObject {
                while body.next().await?.is_some() {}
                text = format!("{text} {}", body.into_summary()?.size);
            }
            Ok(S3Response::empty(http::StatusCode::OK).body(ResponseBody::bytes(text)))
        })
    }
}

/// Remembers what it was told.
#[derive(Default)]
pub(crate) struct Recorder {
    pub(crate) observed: Mutex<Vec<Observation>>,
    pub(crate) denied: Mutex<Vec<(Actor, AccessDenied)>>,
}

impl Observer for Recorder {
    fn observe(&self, observation: Observation) {
        self.observed.lock().unwrap().push(observation);
    }
    fn note_denied(&self, actor: Actor, denied: AccessDenied) {
        self.denied.lock().unwrap().push((actor, denied));
    }
}

/// Everything a listener needs, around [`Echo`].
pub(crate) fn state(identity: Identity) -> (Arc<S3State>, Arc<Recorder>) {
    state_of(keys(identity))
}

pub(crate) fn state_of(keys: Keys) -> (Arc<S3State>, Arc<Recorder>) {
    let recorder = Arc::new(Recorder::default());
    let state = S3State {
        authenticator: Authenticator::new(Arc::new(keys), clock(), Scope::s3("us-east-1")),
        handler: Arc::new(Echo),
        observer: recorder.clone(),
        clock: clock(),
        entropy: Arc::new(CountingEntropy::default()),
        domains: Domains::new(vec!["s3.example.org".to_owned()]),
        scheme: "http",
    };
    (Arc::new(state), recorder)
}
