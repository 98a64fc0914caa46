//! `GetObject` and `HeadObject`: the same answer, with and without the bytes.
//!
//! The row that was read first names the content that is sent, whatever happens to the key meanwhile.

use super::part::select;
use super::version::{FoundObject, find_object};
use crate::engine::{ContentReader, EngineError};
use crate::s3::conditional::{ReadConditions, ReadRefusal};
use crate::s3::date::HttpDate;
use crate::s3::error::{S3Error, S3ErrorCode};
use crate::s3::headers::{etag_value, put_content_headers, put_metadata, put_version, refuse_customer_keys};
use crate::s3::operations::Operations;
use crate::s3::request::{Query, S3Request};
use crate::s3::response::{BodyFailure, ChunkSource, ResponseBody, S3Response};
use bytes::Bytes;
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH,
    CONTENT_TYPE, ETAG, EXPIRES, HeaderName, HeaderValue, LAST_MODIFIED,
};
use http::{HeaderMap, StatusCode};
use siltstone_projections::rows::ObjectRow;
use siltstone_projections::store::Rows;

/// An answer under way: the rest of it, and its first bytes.
type Began = (ContentReader, Option<Bytes>);

/// What is to be sent.
struct Found {
    row: ObjectRow,
    /// The first byte that is sent, and how many.
    span: (u64, u64),
    /// Status and headers.
    response: S3Response,
}

pub(in crate::s3) async fn get(operations: &Operations, request: S3Request) -> Result<S3Response, S3Error> {
    // What is in memory is here sooner than another thread could be woken.
    let (Found { row, span: (first, length), response }, began) =
        match operations.view().in_memory(|rows| find(rows, &request)) {
            Some(found) => (found?, None),
            None => operations.off_thread(move |operations| begin(operations, &request)).await?,
        };
    if length == 0 || response.status == StatusCode::NOT_MODIFIED {
        return Ok(response);
    }
    let (reader, bytes) = if let Some(began) = began {
        began
    } else {
        let permit = operations.engine().admit_read(length).await.map_err(EngineError::from)?;
        let mut reader = operations.engine().read_content(&row, first..first + length, permit);
        let bytes = reader.next().await?;
        (reader, bytes)
    };
    let bytes = bytes.ok_or(S3ErrorCode::InternalError)?;
    if bytes.len() as u64 == length {
        return Ok(response.body(ResponseBody::bytes(bytes)));
    }
    Ok(response.body(ResponseBody::pulled(Some(length), Content { first: Some(bytes), reader })))
}

/// Finds the object and reads its first bytes, where there is room for them at once: one way to the other thread for
/// both. They are read before the status is sent: damage that shows there is answered as an error.
fn begin(operations: &Operations, request: &S3Request) -> Result<(Found, Option<Began>), S3Error> {
    let found = find(&operations.view(), request)?;
    let (first, length) = found.span;
    if length == 0 || found.response.status == StatusCode::NOT_MODIFIED {
        return Ok((found, None));
    }
    let Some(permit) = operations.engine().try_admit_read(length) else { return Ok((found, None)) };
    let mut reader = operations.engine().read_content(&found.row, first..first + length, permit);
    let bytes = reader.read_first()?;
    Ok((found, Some((reader, bytes))))
}

pub(in crate::s3) async fn head(operations: &Operations, request: S3Request) -> Result<S3Response, S3Error> {
    let (_, Found { span: (_, length), response, .. }) = operations.look_up(request, find).await?;
    if response.status == StatusCode::NOT_MODIFIED {
        return Ok(response);
    }
    Ok(response.header(CONTENT_LENGTH, HeaderValue::from(length)))
}

/// Finds the object and decides what of it is sent: all, a range, or (304) nothing.
fn find(rows: &dyn Rows, request: &S3Request) -> Result<Found, S3Error> {
    refuse_customer_keys(&request.headers)?;
    let conditions = ReadConditions::parse(&request.headers)?;
    let FoundObject { row, version } = find_object(rows, request)?;
    let mut response = S3Response::empty(StatusCode::OK)
        .header(ETAG, etag_value(&row.etag))
        .header(LAST_MODIFIED, shown(HttpDate(row.hlc)))
        .header(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    put_content_headers(&row.headers, &mut response.headers);
    put_version(version, &mut response.headers);
    if !row.tags.is_empty() {
        let count = HeaderValue::from(row.tags.len());
        response.headers.insert(HeaderName::from_static("x-amz-tagging-count"), count);
    }
    match conditions.check(&row.etag, row.hlc) {
        Ok(()) => {}
        Err(ReadRefusal::NotModified) => {
            response.status = StatusCode::NOT_MODIFIED;
            return Ok(Found { row, span: (0, 0), response });
        }
        Err(ReadRefusal::PreconditionFailed(condition)) => {
            return Err(S3Error::new(S3ErrorCode::PreconditionFailed).extra("Condition", condition));
        }
    }
    put_metadata(&row.metadata, &mut response.headers);
    override_headers(&request.query, &mut response.headers)?;
    let span =
        select(request, &conditions, &row)?.put(&row, wants_checksums(&request.headers), &mut response);
    Ok(Found { row, span, response })
}

/// Whether the client asks for checksums.
fn wants_checksums(headers: &HeaderMap) -> bool {
    headers.get("x-amz-checksum-mode").is_some_and(|mode| mode.as_bytes().eq_ignore_ascii_case(b"enabled"))
}

/// `response-content-type` and its like: the client asks for other headers than were stored. Only signed requests come
/// this far, so whoever made the link chose them.
fn override_headers(query: &Query, out: &mut HeaderMap) -> Result<(), S3Error> {
    const OVERRIDES: [(&str, HeaderName); 6] = [
        ("response-content-type", CONTENT_TYPE),
        ("response-content-language", CONTENT_LANGUAGE),
        ("response-expires", EXPIRES),
        ("response-cache-control", CACHE_CONTROL),
        ("response-content-disposition", CONTENT_DISPOSITION),
        ("response-content-encoding", CONTENT_ENCODING),
    ];
    for (parameter, header) in OVERRIDES {
        if let Some(value) = query.get(parameter).filter(|value| !value.is_empty()) {
            let refusal =
                || S3Error::invalid_argument(parameter, value, "The value cannot be sent as a header");
            out.insert(header, HeaderValue::from_bytes(value.as_bytes()).map_err(|_| refusal())?);
        }
    }
    Ok(())
}

/// Something whose text is always a header's value: dates, ranges, numbers.
pub(super) fn shown(value: impl std::fmt::Display) -> HeaderValue {
    HeaderValue::try_from(value.to_string()).unwrap_or(HeaderValue::from_static(""))
}

struct Content {
    first: Option<Bytes>,
    reader: ContentReader,
}

impl ChunkSource for Content {
    async fn next_chunk(&mut self) -> Result<Option<Bytes>, BodyFailure> {
        match self.first.take() {
            Some(first) => Ok(Some(first)),
            None => Ok(self.reader.next().await?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_may_ask_for_other_headers() {
        let mut out = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("text/plain"))]);
        let query = Query::parse("response-content-type=a%2Fb&response-expires=&x=y").unwrap();
        override_headers(&query, &mut out).unwrap();
        assert_eq!(out, HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("a/b"))]));
        let split = Query::parse("response-content-type=a%0D%0Ax-evil:%20b").unwrap();
        assert_eq!(override_headers(&split, &mut out).unwrap_err().code, S3ErrorCode::InvalidArgument);
    }
}
