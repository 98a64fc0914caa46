//! Errors as RFC 9457 problem details, and the one map from everything that can go wrong to them.

use super::route::RouteError;
use crate::auth::AuthError;
use crate::engine::{EngineError, Rejection, Unavailable};
use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;

/// A field of the request and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// Its name.
    pub field: &'static str,
    /// What is wrong.
    pub message: String,
}

/// Why a request was not carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The HTTP status.
    pub status: StatusCode,
    /// The kind, for programs: stable.
    pub code: &'static str,
    /// What happened, for people.
    pub detail: String,
    /// The fields that are wrong.
    pub fields: Vec<FieldError>,
    /// For 405: the methods there are.
    pub allow: Option<&'static str>,
}

#[derive(Serialize)]
struct Shape<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    code: &'a str,
    detail: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    request_id: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldError],
}

impl Problem {
    /// A problem without fields.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), fields: Vec::new(), allow: None }
    }

    /// A field that breaks its rule.
    pub fn field(field: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        let detail = format!("{field}: {message}");
        let fields = vec![FieldError { field, message }];
        Self { fields, ..Self::new(StatusCode::BAD_REQUEST, "InvalidField", detail) }
    }

    /// The answer. A probe has no request id.
    pub fn into_response(self, request_id: &str) -> Response<Full<Bytes>> {
        let shape = Shape {
            r#type: format!("urn:siltstone:problem:{}", self.code),
            title: self.status.canonical_reason().unwrap_or_default(),
            status: self.status.as_u16(),
            code: self.code,
            detail: &self.detail,
            request_id,
            errors: &self.fields,
        };
        let body = serde_json::to_vec(&shape).unwrap_or_default();
        let mut response = Response::new(Full::new(body.into()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("AWS4-HMAC-SHA256"));
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if let Some(allow) = self.allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        response
    }
}

impl From<RouteError> for Problem {
    fn from(error: RouteError) -> Self {
        match error {
            RouteError::NotFound => {
                Self::new(StatusCode::NOT_FOUND, "NoSuchRoute", "There is nothing at this path.")
            }
            RouteError::MethodNotAllowed { allow } => {
                let detail = format!("This path takes {allow}.");
                let problem = Self::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", detail);
                Self { allow: Some(allow), ..problem }
            }
        }
    }
}

impl From<AuthError> for Problem {
    fn from(error: AuthError) -> Self {
        let code = match &error {
            AuthError::Anonymous => "NotSigned",
            AuthError::UnknownKey | AuthError::SuspendedKey => "InvalidAccessKey",
            AuthError::Mismatch => "SignatureDoesNotMatch",
            AuthError::TooSkewed { .. } => "ClockSkewed",
            AuthError::Unavailable(error) => {
                tracing::error!(%error, "identities cannot be read");
                return Self::internal();
            }
            AuthError::SeveralMechanisms
            | AuthError::UnsupportedMechanism
            | AuthError::UnknownScheme
            | AuthError::LinksRefused
            | AuthError::TokenUnsupported
            | AuthError::Malformed { .. }
            | AuthError::WrongRegion { .. }
            | AuthError::MissingDate
            | AuthError::NotYetValid
            | AuthError::Expired
            | AuthError::UnusableLink(_)
            | AuthError::ParameterNotSigned(_)
            | AuthError::HeaderNotSigned(_)
            | AuthError::SignedHeaderAbsent(_)
            | AuthError::PayloadHashMissing
            | AuthError::PayloadHashInvalid => "InvalidSignature",
        };
        Self::new(StatusCode::UNAUTHORIZED, code, sentence(&error.to_string()))
    }
}

impl From<Rejection> for Problem {
    fn from(rejection: Rejection) -> Self {
        use Rejection as R;
        let (status, code) = match &rejection {
            R::TenantExists => (StatusCode::CONFLICT, "TenantExists"),
            R::AccountExists => (StatusCode::CONFLICT, "AccountExists"),
            R::UserExists => (StatusCode::CONFLICT, "UserExists"),
            R::AccessKeyExists => (StatusCode::CONFLICT, "AccessKeyExists"),
            R::NoSuchTenant => (StatusCode::NOT_FOUND, "NoSuchTenant"),
            R::NoSuchAccount => (StatusCode::NOT_FOUND, "NoSuchAccount"),
            R::NoSuchUser => (StatusCode::NOT_FOUND, "NoSuchUser"),
            R::NoSuchAccessKey => (StatusCode::NOT_FOUND, "NoSuchAccessKey"),
            R::NoSuchPolicy => (StatusCode::NOT_FOUND, "NoSuchPolicy"),
            R::PolicyNotAttached => (StatusCode::NOT_FOUND, "PolicyNotAttached"),
            R::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "TooLarge"),
            R::NoSuchBucket => (StatusCode::NOT_FOUND, "NoSuchBucket"),
            R::NoSuchKey => (StatusCode::NOT_FOUND, "NoSuchKey"),
            R::NoSuchVersion => (StatusCode::NOT_FOUND, "NoSuchVersion"),
            R::IsDeleteMarker => (StatusCode::NOT_FOUND, "IsDeleteMarker"),
            R::SourceChanged => (StatusCode::CONFLICT, "SourceChanged"),
            R::VersioningNotUndone => (StatusCode::CONFLICT, "VersioningNotUndone"),
            R::NoSuchUpload => (StatusCode::NOT_FOUND, "NoSuchUpload"),
            R::BucketAlreadyExists | R::BucketAlreadyOwnedByYou => (StatusCode::CONFLICT, "BucketExists"),
            R::BucketNotEmpty => (StatusCode::CONFLICT, "BucketNotEmpty"),
            R::PreconditionFailed(_) => (StatusCode::PRECONDITION_FAILED, "PreconditionFailed"),
            R::InvalidPartNumber { .. }
            | R::NoParts
            | R::InvalidPartOrder
            | R::InvalidPart { .. }
            | R::EntityTooSmall { .. }
            | R::EntityTooLarge { .. }
            | R::BadDigest
            | R::InvalidRequest(_) => (StatusCode::BAD_REQUEST, "InvalidRequest"),
        };
        Self::new(status, code, sentence(&rejection.to_string()))
    }
}

impl From<EngineError> for Problem {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Rejected(rejection) => rejection.into(),
            EngineError::Unavailable(unavailable) => {
                let (status, code) = match unavailable {
                    Unavailable::SlowDown => (StatusCode::SERVICE_UNAVAILABLE, "SlowDown"),
                    Unavailable::NoSpace => (StatusCode::INSUFFICIENT_STORAGE, "NoSpace"),
                    Unavailable::Quarantined => (StatusCode::SERVICE_UNAVAILABLE, "Quarantined"),
                    Unavailable::ShuttingDown => (StatusCode::SERVICE_UNAVAILABLE, "ShuttingDown"),
                };
                Self::new(status, code, sentence(&unavailable.to_string()))
            }
            EngineError::Fault(fault) => {
                tracing::error!(%fault, "a command's outcome is unknown");
                let detail =
                    "Something broke. Whether the change took effect is unknown: look before you repeat it.";
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "OutcomeUnknown", detail)
            }
        }
    }
}

impl Problem {
    /// Something of ours failed before anything was changed.
    pub fn internal() -> Self {
        let detail = "The server could not do this; its log says why.";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", detail)
    }
}

/// An error's text as a sentence.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", letters.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;
    use serde_json::json;

    async fn shape(problem: Problem) -> (StatusCode, serde_json::Value) {
        let response = problem.into_response("REQ1");
        assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn a_problem_has_the_shape_of_the_rfc_with_code_request_id_and_fields() {
        let (status, body) = shape(Problem::field("status", "is neither `active` nor `suspended`")).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        let expected = json!({
            "type": "urn:siltstone:problem:InvalidField",
            "title": "Bad Request",
            "status": 400,
            "code": "InvalidField",
            "detail": "status: is neither `active` nor `suspended`",
            "request_id": "REQ1",
            "errors": [{ "field": "status", "message": "is neither `active` nor `suspended`" }],
        });
        assert_eq!(body, expected);
    }

    #[tokio::test]
    async fn refusals_have_statuses_that_clients_can_act_on() {
        let table: [(Problem, u16, &str); 6] = [
            (EngineError::from(Rejection::UserExists).into(), 409, "UserExists"),
            (EngineError::from(Rejection::NoSuchPolicy).into(), 404, "NoSuchPolicy"),
            (EngineError::from(Unavailable::SlowDown).into(), 503, "SlowDown"),
            (EngineError::from(Unavailable::NoSpace).into(), 507, "NoSpace"),
            (AuthError::Anonymous.into(), 401, "NotSigned"),
            (RouteError::MethodNotAllowed { allow: "GET" }.into(), 405, "MethodNotAllowed"),
        ];
        for (problem, status, code) in table {
            let (found, body) = shape(problem).await;
            assert_eq!((found.as_u16(), body["code"].as_str()), (status, Some(code)));
            assert!(body.get("errors").is_none());
        }
    }

    #[test]
    fn answers_say_how_to_go_on() {
        let anonymous = Problem::from(AuthError::Anonymous).into_response("R");
        assert_eq!(anonymous.headers()[WWW_AUTHENTICATE], "AWS4-HMAC-SHA256");
        let method = Problem::from(RouteError::MethodNotAllowed { allow: "GET, POST" }).into_response("R");
        assert_eq!(method.headers()[ALLOW], "GET, POST");
    }
}
