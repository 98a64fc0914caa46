//! `GetObject` and `HeadObject`: the same answer, with and without the bytes.
//!
//! The row that was read first names the content that is sent, whatever happens to the key meanwhile.

use super::part::select;
use super::version::{FoundObject, find_object};
use crate::engine::{ContentReader, EngineError, Fault, ReadPermit};
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
type Began = (ContentReader, Result<Option<Bytes>, Fault>);

/// What is to be sent.
struct Found {
    row: ObjectRow,
    /// The first byte that is sent, and how many.
    span: (u64, u64),
    /// Status and headers.
    response: S3Response,
}

impl Found {
    fn has_body(&self) -> bool {
        self.span.1 > 0 && self.response.status != StatusCode::NOT_MODIFIED
    }

    fn reader(&self, operations: &Operations, room: ReadPermit) -> ContentReader {
        let (first, length) = self.span;
        operations.engine().read_content(&self.row, first..first + length, room)
    }

    /// The answer with its body, of which the first bytes are there.
    fn answer(self, reader: ContentReader, bytes: Bytes) -> S3Response {
        let (_, length) = self.span;
        let body = if bytes.len() as u64 == length {
            ResponseBody::bytes(bytes)
        } else {
            ResponseBody::pulled(Some(length), Content { first: Some(bytes), reader })
        };
        self.response.body(body)
    }
}

pub(in crate::s3) async fn get(operations: &Operations, request: S3Request) -> Result<S3Response, S3Error> {
    let (request, answer) = attempt(operations, request).await?;
    let answer = match answer {
        // The version may have left the history window while its reader waited for room: then what is there now is the
        // answer. What is damaged is found so again.
        Err(Fault::Content(_)) => attempt(operations, request).await?.1,
        answer => answer,
    };
    Ok(answer?)
}

/// Looks the object up and begins to read it, and gives the request back for another attempt.
async fn attempt(
    operations: &Operations,
    request: S3Request,
) -> Result<(S3Request, Result<S3Response, Fault>), S3Error> {
    // What is in memory is here sooner than another thread could be woken.
    let recalled = operations.view().in_memory(|rows| find(rows, &request));
    let (request, found, began) = if let Some(found) = recalled {
        (request, found?, None)
    } else {
        let begun = operations.off_thread(move |operations| {
            let (found, began) = begin(operations, &request)?;
            Ok((request, found, began))
        });
        begun.await?
    };
    if !found.has_body() {
        return Ok((request, Ok(found.response)));
    }
    let (reader, bytes) = if let Some(began) = began {
        began
    } else {
        let room = operations.engine().admit_read(found.span.1).await.map_err(EngineError::from)?;
        let mut reader = found.reader(operations, room);
        let bytes = reader.next().await;
        (reader, bytes)
    };
    let missing = || Fault::Content("an object has no bytes where its row has some".to_owned());
    let bytes = bytes.and_then(|bytes| bytes.ok_or_else(missing));
    Ok((request, bytes.map(|bytes| found.answer(reader, bytes))))
}

/// Finds the object and reads its first bytes, where there is room for them at once: one way to the other thread for
/// both. They are read before the status is sent: damage that shows there is answered as an error.
fn begin(operations: &Operations, request: &S3Request) -> Result<(Found, Option<Began>), S3Error> {
    let found = find(&operations.view(), request)?;
    if !found.has_body() {
        return Ok((found, None));
    }
    let Some(room) = operations.engine().try_admit_read(found.span.1) else { return Ok((found, None)) };
    let mut reader = found.reader(operations, room);
    let bytes = reader.read_first();
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
