//! Answers to what never became a request: heads that the HTTP library or the listener refuses.
//!
//! Previous hop: [`crate::listener`].

use super::date::HttpDate;
use super::error::{S3Error, S3ErrorCode};
use super::request::RequestId;
use super::response::error_document;
use super::{Observation, S3State};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, DATE, HeaderValue};
use http::{Response, StatusCode};
use siltstone_log::hlc::Hlc;
use std::net::IpAddr;

/// The error document for a head that was refused with a status; counted and logged as every other request is.
pub(super) fn refuse(state: &S3State, address: IpAddr, status: StatusCode) -> Response<Bytes> {
    let error = error_of(status);
    let ids = RequestId::draw(state.entropy.as_ref());
    let document = error_document(&error, "", &ids);
    let observation = Observation {
        operation: "",
        status: error.code.status_number(),
        code: error.code.as_str(),
        nanos: 0,
        received: 0,
        sent: document.len() as u64,
    };
    state.observer.observe(observation);
    tracing::debug!(request_id = %ids.id, %address, status = observation.status, code = observation.code, "no S3 request");
    let mut answer = Response::new(Bytes::from(document));
    *answer.status_mut() = error.code.status();
    let now = HttpDate(Hlc::from_millis(state.clock.wall_millis())).to_string();
    let values = [
        (DATE, HeaderValue::try_from(now)),
        (http::HeaderName::from_static("x-amz-request-id"), HeaderValue::try_from(ids.id)),
        (http::HeaderName::from_static("x-amz-id-2"), HeaderValue::try_from(ids.host_id)),
        (CONTENT_TYPE, Ok(HeaderValue::from_static("application/xml"))),
    ];
    answer.headers_mut().extend(values.into_iter().filter_map(|(name, value)| Some((name, value.ok()?))));
    answer
}

fn error_of(status: StatusCode) -> S3Error {
    match status {
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => S3ErrorCode::RequestHeaderSectionTooLarge.into(),
        StatusCode::URI_TOO_LONG => S3ErrorCode::InvalidURI.into(),
        _ => {
            S3Error::with_message(S3ErrorCode::BadRequest, "An error occurred when parsing the HTTP request.")
        }
    }
}
