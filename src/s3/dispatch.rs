//! One request from its head to its answer: authenticate, recognise, authorise, call, render.
//!
//! Previous hop: [`super::server`]. Next hop: the [`Handler`](super::Handler).

use super::body::{BodySource, BodyStream, BodyWatch};
use super::copy_source::{AuthorisedSource, COPY_SOURCE, CopySource};
use super::date::HttpDate;
use super::domains::Domains;
use super::error::{S3Error, S3ErrorCode};
use super::operation::{Operation, Scope};
use super::request::{Query, RequestContext, RequestHead, RequestId, S3Request, Target};
use super::response::{Report, ResponseBody, S3Response};
use super::{Observation, OpenBucket, S3State, permission};
use crate::auth::{AuthError, Authenticated, Verified};
use http::header::{
    ACCESS_CONTROL_REQUEST_METHOD, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, DATE, EXPECT, HOST, HeaderName,
    HeaderValue, ORIGIN, TRANSFER_ENCODING, USER_AGENT,
};
use http::request::Parts;
use http::{Method, Response, Version};
use siltstone_log::event::{AccessDenied, Actor, Door};
use siltstone_log::hlc::Hlc;
use siltstone_log::name::{BucketName, ObjectKey, ObjectKeyError};
use std::net::IpAddr;
use std::sync::Arc;
use tracing::Instrument as _;

/// The longest `User-Agent` that records keep.
const MAX_AGENT_BYTES: usize = 256;
/// The longest bucket, key or access key that evidence of a refused request keeps.
const MAX_EVIDENCE_BYTES: usize = 1024;

/// What became known of a request on its way; kept outside so that a refusal can still be reported.
#[derive(Default)]
struct Known {
    operation: Option<Operation>,
    caller: Option<Authenticated>,
    /// The access key that a refused caller claimed, where it may be kept.
    claimed: String,
    /// Refused because of who sent it.
    denied: bool,
}

impl Known {
    fn asks_for(&mut self, operation: Operation) {
        self.operation = Some(operation);
        tracing::Span::current().record("operation", operation.name());
    }
}

/// Answers one request. Never fails: what goes wrong becomes an error document.
pub async fn handle(
    state: &Arc<S3State>,
    parts: Parts,
    source: BodySource,
    address: IpAddr,
) -> Response<ResponseBody> {
    let began = state.clock.monotonic_nanos();
    let ids = RequestId::draw(state.entropy.as_ref());
    // The library asks for a body over HTTP/1 only: over HTTP/2 it comes unasked, `Expect` or not.
    let waits = parts.headers.contains_key(EXPECT) && parts.version != Version::HTTP_2;
    let mut head = head_of(parts, address, &state.domains);
    let agent = agent_of(&head);
    let sent_in_chunks = head.headers.contains_key(TRANSFER_ENCODING);
    let span = tracing::info_span!("s3", request_id = %ids.id, operation = tracing::field::Empty);
    let mut known = Known::default();
    let watch = BodyWatch::default();
    let result =
        run(state, &mut head, source, &ids, &agent, &watch, &mut known).instrument(span.clone()).await;
    let (answer, code) = match result {
        Ok(answer) => (answer, None),
        Err(error) => {
            span.in_scope(
                || tracing::debug!(code = error.code.as_str(), message = %error.message, "refused"),
            );
            // A chunk's signature is found wrong only while the body is read, and what a document asks for is known then.
            let late = matches!(error.code, S3ErrorCode::SignatureDoesNotMatch | S3ErrorCode::AccessDenied);
            if known.denied || late {
                state
                    .observer
                    .note_denied(actor_of(&head, &ids, agent, &known), evidence(&head, &known, error.code));
            }
            let code = error.code;
            (S3Response::from_error(error, &head, &ids), Some(code))
        }
    };
    // A client that announced its body and waits for our word will not send it now; any other may be sending still.
    let sends_unasked = !waits || watch.was_polled();
    let emptied = if sends_unasked { watch.discard_rest().await } else { watch.is_finished() };
    let observation = Observation {
        operation: known.operation.map_or("", Operation::name),
        status: answer.status.as_u16(),
        code: code.map_or("", S3ErrorCode::as_str),
        nanos: state.clock.monotonic_nanos().saturating_sub(began),
        received: watch.received(),
        sent: 0,
    };
    // As the console's line; what a client quotes of a failure is in it, and nothing that could be a secret.
    tracing::debug!(
        request_id = %ids.id,
        address = %head.address,
        method = %head.method,
        operation = observation.operation,
        bucket = Target::of(&head).ok().and_then(|target| target.bucket).map(|bucket| cut(&bucket, MAX_EVIDENCE_BYTES)),
        status = observation.status,
        code = observation.code,
        duration_ms = observation.nanos / 1_000_000,
        "S3 request"
    );
    let mut response = finish(answer, &head, &ids, HttpDate(Hlc::from_millis(state.clock.wall_millis())));
    // Two lengths in one head are the start of request smuggling; hyper lets chunked win, so nothing may follow it.
    if !emptied || sent_in_chunks {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response.body_mut().report(Report { observer: state.observer.clone(), observation });
    response
}

fn head_of(parts: Parts, address: IpAddr, domains: &Domains) -> RequestHead {
    // HTTP/2 has the authority in its place.
    let host = parts.headers.get(HOST).and_then(|host| host.to_str().ok());
    let host = host.or(parts.uri.authority().map(http::uri::Authority::as_str));
    RequestHead {
        host_bucket: host.and_then(|host| domains.bucket_of(host)),
        method: parts.method,
        raw_path: parts.uri.path().to_owned(),
        raw_query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: parts.headers,
        address,
    }
}

/// The way to the handler, which takes the headers out of the head; they are still there where it is not reached.
async fn run(
    state: &Arc<S3State>,
    head: &mut RequestHead,
    source: BodySource,
    ids: &RequestId,
    agent: &str,
    watch: &BodyWatch,
    known: &mut Known,
) -> Result<S3Response, S3Error> {
    if head.method == Method::OPTIONS {
        watch.keep(source);
        return Err(preflight(head));
    }
    let verified = state.authenticator.authenticate(head).await.map_err(|error| {
        known.denied = !matches!(error, AuthError::Unavailable(_));
        known.claimed = state.authenticator.evident_key(head, &error);
        if let AuthError::Unavailable(fault) = &error {
            tracing::error!(error = %fault, "the identities cannot be read");
        }
        told(head, error, &known.claimed)
    });
    let verified = match verified {
        Ok(verified) => verified,
        Err(error) => {
            watch.keep(source);
            // Evidence and log name what was asked for. Nothing is decided by it.
            if let Ok(asked) = Asked::of(head) {
                known.asks_for(asked.operation);
            }
            return Err(error);
        }
    };
    let Verified { caller, payload, from_link } = verified;
    known.caller = Some(caller.clone());
    for (name, value) in from_link {
        head.headers.entry(name).or_insert(value);
    }
    let admitted = admit(state, head, known, &caller).await;
    let Admitted { operation, bucket, found, key, source: copied, query } = match admitted {
        Ok(admitted) => admitted,
        Err(error) => {
            watch.keep(source);
            return Err(error);
        }
    };
    let bucket_url = bucket_url(state.scheme, head, bucket.as_ref());
    let mut body = BodyStream::new(source, operation, &head.headers, payload, watch)?;
    if !operation.reads_body() {
        // The handler will not look at it, but its hash was signed all the same.
        body.verify_unused().await?;
    }
    let request = S3Request {
        operation,
        method: head.method.clone(),
        bucket,
        found,
        key,
        source: copied,
        query,
        headers: std::mem::take(&mut head.headers),
        context: RequestContext {
            caller,
            request_id: ids.clone(),
            address: head.address,
            agent: agent.to_owned(),
            bucket_url,
        },
        body,
    };
    state.handler.call(request).await
}

/// What a refused caller is told of the claim. An access key that may not be kept, because it could be a secret, is not
/// repeated either. A scheme that nobody here knows is, as AWS does; it is kept nowhere.
fn told(head: &RequestHead, error: AuthError, claimed: &str) -> S3Error {
    let unknown_scheme = matches!(error, AuthError::UnknownScheme);
    let error = S3Error::from(error);
    match head.headers.get(AUTHORIZATION).filter(|_| unknown_scheme) {
        Some(value) => error.extra("ArgumentValue", String::from_utf8_lossy(value.as_bytes())),
        None if claimed.is_empty() => error,
        None => error.extra("AWSAccessKeyId", claimed),
    }
}

/// What a browser that asks whether it may send a request hears: no bucket has CORS rules yet. Preflights are never
/// signed, and are answered without a look at the bucket. Messages are AWS's.
fn preflight(head: &RequestHead) -> S3Error {
    let bad = |message: &'static str| S3Error::with_message(S3ErrorCode::BadRequest, message);
    if !head.headers.contains_key(ORIGIN) {
        return bad("Insufficient information. Origin request header needed.");
    }
    let Some(method) = head.header(ACCESS_CONTROL_REQUEST_METHOD.as_str()) else {
        return bad("Invalid Access-Control-Request-Method: null");
    };
    let resource = Target::of(head).map_or("SERVICE", |target| match target.scope() {
        Scope::Service => "SERVICE",
        Scope::Bucket => "BUCKET",
        Scope::Object => "OBJECT",
    });
    S3Error::new(S3ErrorCode::AccessForbidden).extra("Method", method).extra("ResourceType", resource)
}

/// The one expectation that HTTP knows (RFC 9110, 10.1.1); another cannot be met.
fn check_expectation(head: &RequestHead) -> Result<(), S3Error> {
    let mut expected = head.headers.get_all(EXPECT).iter();
    if expected.all(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
        return Ok(());
    }
    Err(S3ErrorCode::ExpectationFailed.into())
}

/// Where a bucket is for whoever sent this request, in the style that they use.
fn bucket_url(scheme: &str, head: &RequestHead, bucket: Option<&BucketName>) -> String {
    let host = head.header(HOST.as_str()).unwrap_or_default();
    match bucket.filter(|_| head.host_bucket.is_none()) {
        Some(bucket) => format!("{scheme}://{host}/{bucket}"),
        None => format!("{scheme}://{host}"),
    }
}

/// What a request asks for, whoever sent it.
struct Asked {
    target: Target,
    query: Query,
    operation: Operation,
}

impl Asked {
    fn of(head: &RequestHead) -> Result<Self, S3Error> {
        let target = Target::of(head)?;
        let query = Query::parse(&head.raw_query)?;
        let operation = Operation::recognise(&head.method, target.scope(), &query, &head.headers)?;
        Ok(Self { target, query, operation })
    }
}

/// What a request that may be carried out asks for.
struct Admitted {
    operation: Operation,
    bucket: Option<BucketName>,
    found: Option<Arc<OpenBucket>>,
    key: Option<ObjectKey>,
    source: Option<AuthorisedSource>,
    query: Query,
}

/// Everything between "who" and the body: what is asked for, of what, and whether they may.
async fn admit(
    state: &S3State,
    head: &RequestHead,
    known: &mut Known,
    caller: &Authenticated,
) -> Result<Admitted, S3Error> {
    let Asked { target, query, operation } = Asked::of(head)?;
    known.asks_for(operation);
    check_expectation(head)?;
    if operation == Operation::WriteGetObjectResponse {
        // Its path is no bucket's.
        return Err(S3ErrorCode::NotImplemented.into());
    }
    let bucket = target.bucket.map(|name| {
        BucketName::parse(&name)
            .map_err(|_| S3Error::new(S3ErrorCode::InvalidBucketName).extra("BucketName", name))
    });
    let bucket = bucket.transpose()?;
    let found = match (&bucket, operation) {
        // A name that another account has is answered as taken, which needs no permission on it.
        (None, _) | (Some(_), Operation::CreateBucket) => None,
        (Some(bucket), _) => state.handler.find_bucket(bucket).await?,
    };
    let owner = found.as_ref().map(|found| found.owner);
    let names_version = query.contains("versionId");
    permission::check(caller, &permission::of_request(operation, names_version, &head.headers), owner)?;
    let key = target.key.map(|key| {
        let size = key.len();
        ObjectKey::parse(key).map_err(|error| match error {
            ObjectKeyError::TooLong => S3Error::new(S3ErrorCode::KeyTooLongError)
                .extra("Size", size.to_string())
                .extra("MaxSizeAllowed", ObjectKey::MAX_BYTES.to_string()),
            ObjectKeyError::Empty => S3ErrorCode::InvalidURI.into(),
        })
    });
    let key = key.transpose()?;
    let source =
        if operation.copies() { Some(admit_source(state, head, caller, operation).await?) } else { None };
    Ok(Admitted { operation, bucket, found, key, source, query })
}

/// What a copy reads: whoever copies has to be allowed to read it.
async fn admit_source(
    state: &S3State,
    head: &RequestHead,
    caller: &Authenticated,
    operation: Operation,
) -> Result<AuthorisedSource, S3Error> {
    let mut values = head.headers.get_all(COPY_SOURCE).iter();
    let source = CopySource::parse(values.next().map(HeaderValue::as_bytes).unwrap_or_default())?;
    if values.next().is_some() {
        return Err(S3Error::invalid_argument(COPY_SOURCE, "", "A copy has one source"));
    }
    let found = state.handler.find_bucket(&source.bucket).await?;
    let owner = found.as_ref().map(|found| found.owner);
    let replaces_tags = head.headers.get("x-amz-tagging-directive").is_some_and(|value| value == "REPLACE");
    let needed = permission::of_source(operation, source.version.is_some(), replaces_tags);
    permission::check(caller, &needed, owner)?;
    Ok(AuthorisedSource { source, found })
}

fn agent_of(head: &RequestHead) -> String {
    let agent = head.headers.get(USER_AGENT).map(|value| String::from_utf8_lossy(value.as_bytes()));
    agent.map_or_else(String::new, |agent| cut(&agent, MAX_AGENT_BYTES))
}

fn cut(text: &str, max: usize) -> String {
    text.get(..text.floor_char_boundary(max)).unwrap_or_default().to_owned()
}

/// Whom a refused request names. An access key that was only claimed is evidence too, its account is not.
fn actor_of(head: &RequestHead, ids: &RequestId, agent: String, known: &Known) -> Actor {
    let caller = known.caller.as_ref();
    Actor {
        account: caller.map(|caller| caller.identity.account),
        user: caller.map_or_else(String::new, |caller| caller.identity.user.clone()),
        access_key: caller.map_or_else(|| known.claimed.clone(), |caller| caller.access_key.clone()),
        address: head.address.to_string(),
        agent,
        door: Door::S3,
        request_id: ids.id.clone(),
    }
}

fn evidence(head: &RequestHead, known: &Known, code: S3ErrorCode) -> AccessDenied {
    let target = Target::of(head).ok();
    let text = |part: Option<String>| part.map_or_else(String::new, |part| cut(&part, MAX_EVIDENCE_BYTES));
    let (bucket, key) = target.map_or((None, None), |target| (target.bucket, target.key));
    AccessDenied {
        operation: known.operation.map_or("", Operation::name).to_owned(),
        bucket: text(bucket),
        key: text(key),
        code: code.as_str().to_owned(),
    }
}

fn finish(
    mut answer: S3Response,
    head: &RequestHead,
    ids: &RequestId,
    now: HttpDate,
) -> Response<ResponseBody> {
    if head.method == Method::HEAD {
        let body = std::mem::replace(&mut answer.body, ResponseBody::empty());
        if let (Some(len @ 1..), false) = (body.remaining(), answer.headers.contains_key(CONTENT_LENGTH)) {
            answer.headers.insert(CONTENT_LENGTH, len.into());
        }
    }
    let mut response = Response::new(answer.body);
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    // The HTTP library's own date stands still when the wall clock goes back, and SDKs correct their clocks by it.
    if let Ok(now) = HeaderValue::from_str(&now.to_string()) {
        response.headers_mut().insert(DATE, now);
    }
    for (name, value) in [("x-amz-request-id", &ids.id), ("x-amz-id-2", &ids.host_id)] {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
    }
    response
}

#[cfg(test)]
mod tests;
