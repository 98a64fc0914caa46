//! Which bytes of an object a read wants: all, those of a `Range`, or those of the part that `partNumber` names.

use super::get::shown;
use crate::s3::conditional::ReadConditions;
use crate::s3::error::{S3Error, S3ErrorCode};
use crate::s3::headers::{checksum_kind_name, put_checksums};
use crate::s3::multipart::part_number;
use crate::s3::range::{ByteRange, RangeRequest, Unsatisfiable};
use crate::s3::request::S3Request;
use crate::s3::response::S3Response;
use http::StatusCode;
use http::header::{CONTENT_RANGE, HeaderName, HeaderValue, RANGE};
use siltstone_log::event::Checksum;
use siltstone_projections::rows::ObjectRow;

/// The bytes that a read wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Selection<'a> {
    /// All.
    Whole,
    /// Those of a `Range`.
    Range(ByteRange),
    /// Those of a part.
    Part {
        first: u64,
        length: u64,
        checksums: &'a [Checksum],
        /// How many the object has; none where it was not made of parts.
        count: Option<usize>,
    },
}

/// Reads `Range` and `partNumber`.
pub(super) fn select<'a>(
    request: &S3Request,
    conditions: &ReadConditions,
    row: &'a ObjectRow,
) -> Result<Selection<'a>, S3Error> {
    let range = request.headers.get(RANGE);
    if request.query.contains("partNumber") {
        if range.is_some() {
            let message = "Cannot specify both Range header and partNumber query parameter";
            return Err(S3Error::with_message(S3ErrorCode::InvalidRequest, message));
        }
        return select_part(part_number(&request.query)?, row);
    }
    let Some(header) = range.and_then(|value| value.to_str().ok()) else { return Ok(Selection::Whole) };
    let asked = RangeRequest::parse(header).filter(|_| conditions.range_applies(&row.etag, row.hlc));
    let Some(asked) = asked else { return Ok(Selection::Whole) };
    asked.of(row.size).map(Selection::Range).map_err(|Unsatisfiable { size }| {
        S3Error::new(S3ErrorCode::InvalidRange)
            .extra("RangeRequested", header)
            .extra("ActualObjectSize", size.to_string())
            .header(CONTENT_RANGE, shown(format_args!("bytes */{size}")))
    })
}

/// A part by the number it was uploaded under. An object that was not made of parts is its own first one.
fn select_part(number: u16, row: &ObjectRow) -> Result<Selection<'_>, S3Error> {
    if row.parts.is_empty() && number == 1 {
        return Ok(Selection::Part { first: 0, length: row.size, checksums: &row.checksums, count: None });
    }
    let mut first = 0_u64;
    for part in &row.parts {
        if part.number == number {
            let (length, count) = (part.size, Some(row.parts.len()));
            return Ok(Selection::Part { first, length, checksums: &part.checksums, count });
        }
        first = first.saturating_add(part.size);
    }
    Err(S3Error::new(S3ErrorCode::InvalidPartNumber)
        .extra("PartNumberRequested", number.to_string())
        .extra("ActualPartCount", row.parts.len().max(1).to_string()))
}

impl Selection<'_> {
    /// Says in an answer what it sends; gives its first byte, and how many.
    pub(super) fn put(self, row: &ObjectRow, checksums: bool, response: &mut S3Response) -> (u64, u64) {
        match self {
            Self::Whole => {
                if checksums {
                    put_checksums(&row.checksums, row.parts.len(), &mut response.headers);
                }
                (0, row.size)
            }
            // A checksum covers the whole object; beside a range of it clients would compare the wrong bytes.
            Self::Range(range) => {
                put_range(range, response);
                (range.first, range.length)
            }
            Self::Part { first, length, checksums: of_part, count } => {
                // No range has no bytes.
                if length > 0 {
                    put_range(ByteRange { first, length, size: row.size }, response);
                }
                if let Some(count) = count {
                    let name = HeaderName::from_static("x-amz-mp-parts-count");
                    response.headers.insert(name, HeaderValue::from(count));
                }
                if checksums {
                    put_part_checksums(of_part, row, response);
                }
                (first, length)
            }
        }
    }
}

fn put_range(range: ByteRange, response: &mut S3Response) {
    response.status = StatusCode::PARTIAL_CONTENT;
    response.headers.insert(CONTENT_RANGE, shown(range));
}

/// A part's own checksums, with the type of the object's.
fn put_part_checksums(checksums: &[Checksum], row: &ObjectRow, response: &mut S3Response) {
    let Some(of_object) = row.checksums.first() else { return };
    let of_algorithm: Vec<_> =
        checksums.iter().filter(|checksum| checksum.algorithm == of_object.algorithm).cloned().collect();
    put_checksums(&of_algorithm, 0, &mut response.headers);
    if !of_algorithm.is_empty() {
        let kind = HeaderValue::from_static(checksum_kind_name(of_object.kind));
        response.headers.insert("x-amz-checksum-type", kind);
    }
}
