//! `UploadPart`. The part's bytes always go to packs: completion refers to them where they lie.

use super::upload::find_upload;
use crate::engine::command::{MAX_PARTS, MAX_PUT_SIZE, UploadPart};
use crate::engine::{Need, Placement};
use crate::hex::hex;
use crate::s3::body::checksum::wire_name;
use crate::s3::error::{S3Error, S3ErrorCode};
use crate::s3::headers::{etag_value, put_checksums, refuse_unsupported};
use crate::s3::operations::Operations;
use crate::s3::refusal::check_size;
use crate::s3::request::{Query, S3Request};
use crate::s3::response::S3Response;
use http::StatusCode;
use http::header::ETAG;
use siltstone_log::event::{ChecksumAlgorithm, ChecksumKind};

pub(in crate::s3) async fn upload_part(
    operations: &Operations,
    request: S3Request,
) -> Result<S3Response, S3Error> {
    let number = part_number(&request.query)?;
    let size = request.body.declared_len()?;
    check_size(size, MAX_PUT_SIZE)?;
    refuse_unsupported(&request.headers)?;
    let stream = request.open_bucket()?.stream;
    // Looked up before the body is read; the engine decides it again.
    let (request, (upload, row)) = operations.look_up(request, find_upload).await?;
    let key = request.key()?.clone();
    let actor = request.context.actor();
    let mut body = request.body;
    match (row.checksum, body.declared_checksum()) {
        (Some((expected, _)), Some(given)) if expected != given => {
            return Err(other_checksum(expected, Some(given)));
        }
        // As S3 does (measured: floci-io/floci, pull request 3093, scenario 22), though its reference does not say so.
        (Some((expected, ChecksumKind::Composite)), None) => return Err(other_checksum(expected, None)),
        // The object's checksum is computed from the parts', so a part has one even where its client gave none.
        (Some((expected, ChecksumKind::FullObject)), None) => body.also_compute(expected),
        // S3 computes this one of every object whose upload asks for none.
        (None, given) if given != Some(ChecksumAlgorithm::Crc64nvme) => {
            body.also_compute(ChecksumAlgorithm::Crc64nvme);
        }
        (Some(_) | None, _) => {}
    }
    let permit = operations.engine().admit(Need::Store { bytes: size })?;
    let (content, summary) = operations.receive(body, Placement::Packs, &permit).await?;
    let etag = hex(&summary.md5);
    let mut response = S3Response::empty(StatusCode::OK).header(ETAG, etag_value(&etag));
    put_checksums(&summary.checksums, 0, &mut response.headers);
    response.headers.remove("x-amz-checksum-type");
    let checksums = summary.checksums;
    let copied_from = None;
    let action = UploadPart { stream, key, upload, number, content, etag, checksums, copied_from };
    operations.submit(actor, action, permit).await?;
    Ok(response)
}

/// Refuses a part that brings another checksum than its upload asks for, or none.
fn other_checksum(expected: ChecksumAlgorithm, given: Option<ChecksumAlgorithm>) -> S3Error {
    let [expected, given] = [Some(expected), given].map(|algorithm| {
        algorithm.map_or("null".to_owned(), |algorithm| wire_name(algorithm).to_lowercase())
    });
    let message = format!(
        "Checksum Type mismatch occurred, expected checksum Type: {expected}, actual checksum Type: {given}"
    );
    S3Error::with_message(S3ErrorCode::InvalidRequest, message)
}

/// The number that a request names a part by.
pub(in crate::s3) fn part_number(query: &Query) -> Result<u16, S3Error> {
    let text = query.get("partNumber").unwrap_or_default();
    let number = text.parse::<u16>().ok().filter(|number| (1..=MAX_PARTS).contains(number));
    number.ok_or_else(|| {
        let message = "Part number must be an integer between 1 and 10000, inclusive";
        S3Error::invalid_argument("partNumber", text, message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn part_numbers_are_one_to_ten_thousand() {
        let number = |raw: &str| part_number(&Query::parse(raw).unwrap()).map_err(|error| error.code);
        assert_eq!(number("partNumber=1"), Ok(1));
        assert_eq!(number("partNumber=10000"), Ok(10_000));
        for raw in [
            "",
            "partNumber=",
            "partNumber=0",
            "partNumber=10001",
            "partNumber=-1",
            "partNumber=99999999999",
            "partNumber=x",
        ] {
            assert_eq!(number(raw), Err(S3ErrorCode::InvalidArgument), "{raw}");
        }
    }
}
