//! The console API's client: one signed request, one JSON answer.

use super::exit::ExitCode;
use crate::auth::Secret;
use crate::config::Environment;
use crate::config::environment::SecretError;
use crate::s3::request::RequestHead;
use crate::s3::sigv4::{PayloadHash, Scope, SignError, sign};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, HeaderValue};
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use siltstone_log::host::Clock;
use siltstone_log::host::real::RealClock;
use std::net::Ipv4Addr;
use std::time::Duration;

/// The most bytes of an answer.
const MAX_ANSWER_BYTES: usize = 64 << 20;
/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_mins(1);

/// What stays bare in a path segment: the unreserved characters of RFC 3986.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Encodes a name for use as one segment of a path or as a query's value.
pub fn segment(name: &str) -> String {
    utf8_percent_encode(name, SEGMENT).to_string()
}

/// Why there is no good answer.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// Not a plain `http://host:port` or `https://host:port`.
    #[error("`{0}` is no endpoint; write for example http://127.0.0.1:8081")]
    Endpoint(String),
    /// No credentials.
    #[error(
        "no credentials: set SILTSTONE_ACCESS_KEY and SILTSTONE_SECRET_KEY (or the AWS or root variables)"
    )]
    NoCredentials,
    /// The request cannot be signed.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// Nobody answers.
    #[error("{endpoint} does not answer: {reason}")]
    Unreachable {
        /// Who was asked.
        endpoint: String,
        /// What the system said.
        reason: String,
    },
    /// The server refused.
    #[error("{detail} ({code}, request {request_id})")]
    Refused {
        /// The HTTP status.
        status: StatusCode,
        /// The kind of problem.
        code: String,
        /// What the server said.
        detail: String,
        /// What its log and records call the request.
        request_id: String,
    },
    /// Something that is not this API answered.
    #[error("{endpoint} answered {status} with something that is not the console API's")]
    Foreign {
        /// Who was asked.
        endpoint: String,
        /// The HTTP status.
        status: StatusCode,
    },
}

impl ApiError {
    /// The exit code for it.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Endpoint(_) | Self::Sign(_) => ExitCode::Usage,
            Self::NoCredentials => ExitCode::Denied,
            Self::Unreachable { .. } => ExitCode::Unavailable,
            Self::Refused { status, .. } => code_of(*status),
            Self::Foreign { .. } => ExitCode::Failed,
        }
    }
}

fn code_of(status: StatusCode) -> ExitCode {
    match status {
        StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE => ExitCode::Usage,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => ExitCode::Denied,
        StatusCode::NOT_FOUND => ExitCode::NotFound,
        StatusCode::CONFLICT | StatusCode::PRECONDITION_FAILED => ExitCode::Conflict,
        StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::INSUFFICIENT_STORAGE
        | StatusCode::TOO_MANY_REQUESTS => ExitCode::Unavailable,
        _ => ExitCode::Failed,
    }
}

/// Who signs.
pub struct ClientCredentials {
    access_key: String,
    secret: Secret,
}

/// The environment's credentials, by name, the most specific first.
const CREDENTIALS: [(&str, &str); 3] = [
    ("SILTSTONE_ACCESS_KEY", "SILTSTONE_SECRET_KEY"),
    ("SILTSTONE_ROOT_ACCESS_KEY", "SILTSTONE_ROOT_SECRET_KEY"),
    ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
];

impl ClientCredentials {
    /// A pair.
    pub fn new(access_key: String, secret: Secret) -> Self {
        Self { access_key, secret }
    }

    /// The access key's id and its secret.
    pub fn into_parts(self) -> (String, Secret) {
        (self.access_key, self.secret)
    }

    /// Finds a pair in the environment.
    pub fn from_environment(env: &Environment) -> Result<Option<Self>, SecretError> {
        for (access_key, secret) in CREDENTIALS {
            if let (Some(access_key), Some(secret)) = (env.secret(access_key)?, env.secret(secret)?) {
                let (access_key, secret) = (access_key.to_string(), Secret::new(secret.as_str()));
                return Ok(Some(Self { access_key, secret }));
            }
        }
        Ok(None)
    }
}

/// A server's console API.
pub struct ApiClient {
    endpoint: Uri,
    region: String,
    credentials: ClientCredentials,
}

impl ApiClient {
    /// Talks to an endpoint such as `http://127.0.0.1:8081`.
    pub fn new(endpoint: &str, region: &str, credentials: ClientCredentials) -> Result<Self, ApiError> {
        Ok(Self { endpoint: parse_endpoint(endpoint)?, region: region.to_owned(), credentials })
    }

    /// Sends a signed request; `path` is encoded already.
    pub async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, ApiError> {
        let body = body.map(|value| Bytes::from(value.to_string())).unwrap_or_default();
        let (raw_path, raw_query) = path.split_once('?').unwrap_or((path, ""));
        let host = self.endpoint.authority().map(ToString::to_string).unwrap_or_default();
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_str(&host).map_err(|_| ApiError::Endpoint(host.clone()))?);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(
            http::header::USER_AGENT,
            HeaderValue::from_static(concat!("siltstone/", env!("CARGO_PKG_VERSION"))),
        );
        let (raw_path, raw_query) = (raw_path.to_owned(), raw_query.to_owned());
        let address = Ipv4Addr::UNSPECIFIED.into();
        let mut head = RequestHead { method, raw_path, raw_query, headers, address, host_bucket: None };
        let now = i64::try_from(RealClock::default().wall_millis() / 1000).unwrap_or_default();
        let ClientCredentials { access_key, secret } = &self.credentials;
        sign(
            &mut head,
            access_key,
            secret,
            &Scope::console(self.region.as_str()),
            now,
            &PayloadHash::of(&body),
        )?;
        let (status, answer) = send(&self.endpoint, path, head, body).await?;
        let endpoint = self.endpoint.to_string();
        let value: Value =
            serde_json::from_slice(&answer).map_err(|_| ApiError::Foreign { endpoint, status })?;
        if status.is_success() { Ok(value) } else { Err(refused(status, &value)) }
    }
}

fn refused(status: StatusCode, problem: &Value) -> ApiError {
    let field = |name: &str| problem[name].as_str().unwrap_or("unknown").to_owned();
    ApiError::Refused {
        status,
        code: field("code"),
        detail: field("detail"),
        request_id: field("request_id"),
    }
}

/// Reads an endpoint such as `http://127.0.0.1:8080`.
pub fn parse_endpoint(endpoint: &str) -> Result<Uri, ApiError> {
    let wrong = || ApiError::Endpoint(endpoint.to_owned());
    let uri: Uri = endpoint.trim_end_matches('/').parse().map_err(|_| wrong())?;
    let known = matches!(uri.scheme_str(), Some("http" | "https"));
    let plain = known && uri.authority().is_some() && uri.path().len() <= 1;
    if plain { Ok(uri) } else { Err(wrong()) }
}

async fn send(
    endpoint: &Uri,
    path: &str,
    head: RequestHead,
    body: Bytes,
) -> Result<(StatusCode, Bytes), ApiError> {
    let unreachable = |reason: String| ApiError::Unreachable { endpoint: endpoint.to_string(), reason };
    let mut parts = endpoint.clone().into_parts();
    parts.path_and_query =
        Some(PathAndQuery::try_from(path).map_err(|error| unreachable(error.to_string()))?);
    let uri = Uri::from_parts(parts).map_err(|error| unreachable(error.to_string()))?;
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = head.method;
    *request.uri_mut() = uri;
    *request.headers_mut() = head.headers;
    let exchange = async {
        let builder = Client::builder(TokioExecutor::new());
        let answered = if request.uri().scheme() == Some(&Scheme::HTTPS) {
            // The system's certificates, or those of the file that SSL_CERT_FILE names.
            let connector = HttpsConnectorBuilder::new().with_native_roots();
            let connector = connector.map_err(|error| unreachable(error.to_string()))?.https_only();
            builder.build(connector.enable_http1().build()).request(request).await
        } else {
            builder.build_http().request(request).await
        };
        let response = answered.map_err(|error| unreachable(causes(&error)))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await;
        body.map(|body| (status, body.to_bytes())).map_err(|error| unreachable(error.to_string()))
    };
    let timeout = || unreachable(format!("no answer after {} s", TIMEOUT.as_secs()));
    tokio::time::timeout(TIMEOUT, exchange).await.map_err(|_| timeout())?
}

/// An unsigned GET, for health.
pub async fn get(endpoint: &str, path: &str) -> Result<(StatusCode, Bytes), ApiError> {
    let uri = parse_endpoint(endpoint)?;
    let (method, headers) = (Method::GET, HeaderMap::new());
    let (raw_path, raw_query) = (path.to_owned(), String::new());
    let address = Ipv4Addr::UNSPECIFIED.into();
    send(
        &uri,
        path,
        RequestHead { method, raw_path, raw_query, headers, address, host_bucket: None },
        Bytes::new(),
    )
    .await
}

/// An error with its causes, since the outermost one often says only "client error".
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_endpoints_are_taken() {
        for good in ["http://127.0.0.1:8081", "http://localhost:1/", "http://[::1]:8081", "https://a:1"] {
            assert!(parse_endpoint(good).is_ok(), "{good}");
        }
        for bad in ["", "127.0.0.1:8081", "https://a/b", "http://a/b", "http://", "ftp://a"] {
            assert!(parse_endpoint(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn statuses_become_the_exit_codes_that_scripts_know() {
        let table =
            [(400, 2), (401, 4), (403, 4), (404, 3), (409, 5), (503, 7), (507, 7), (500, 1), (418, 1)];
        for (status, code) in table {
            let status = StatusCode::from_u16(status).unwrap();
            let error = refused(status, &serde_json::json!({"code": "X", "detail": "d"}));
            assert_eq!(error.exit_code() as u8, code, "{status}");
        }
        let nobody = ApiError::Unreachable { endpoint: String::new(), reason: String::new() };
        assert_eq!(nobody.exit_code(), ExitCode::Unavailable);
    }

    #[test]
    fn credentials_come_from_the_most_specific_pair_that_is_whole() {
        let find =
            |env: Environment| ClientCredentials::from_environment(&env).unwrap().map(|c| c.access_key);
        let aws = [("AWS_ACCESS_KEY_ID", "A"), ("AWS_SECRET_ACCESS_KEY", "s")];
        let half = [aws[0], aws[1], ("SILTSTONE_ACCESS_KEY", "B")];
        let both = [aws[0], aws[1], ("SILTSTONE_ACCESS_KEY", "B"), ("SILTSTONE_SECRET_KEY", "s")];
        assert_eq!(find(aws.into()).as_deref(), Some("A"));
        assert_eq!(find(half.into()).as_deref(), Some("A"));
        assert_eq!(find(both.into()).as_deref(), Some("B"));
        assert_eq!(find([].into()), None);
    }

    #[test]
    fn names_become_one_segment() {
        assert_eq!(segment("a/b c%ä"), "a%2Fb%20c%25%C3%A4");
    }
}
