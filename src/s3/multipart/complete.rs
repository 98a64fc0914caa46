//! `CompleteMultipartUpload`.

use super::upload::upload_id;
use crate::engine::command::{CompleteMultipart, NamedPart};
use crate::engine::{Need, Outcome};
use crate::s3::body::checksum::{ALGORITHMS, header_name};
use crate::s3::conditional::write_conditions;
use crate::s3::error::{S3Error, S3ErrorCode};
use crate::s3::headers::{parse_checksum, parse_checksum_kind, put_version};
use crate::s3::keep_alive::{Finished, Subject, keep_alive};
use crate::s3::list_params::encode_key;
use crate::s3::operations::Operations;
use crate::s3::request::S3Request;
use crate::s3::response::S3Response;
use crate::s3::xml::MAX_COMPLETE_BYTES;
use crate::s3::xml::multipart::{CompletedPart, complete_result, parse_complete};
use bytes::Bytes;
use http::HeaderMap;
use siltstone_log::event::ChecksumAlgorithm;

pub(in crate::s3) async fn complete(
    operations: &Operations,
    request: S3Request,
) -> Result<S3Response, S3Error> {
    let conditions = write_conditions(&request.headers)?;
    let checksum = expected_checksum(&request.headers)?;
    let checksum_kind = match request.header("x-amz-checksum-type")? {
        None => None,
        Some(name) => Some(parse_checksum_kind(name).ok_or_else(|| {
            S3Error::with_message(
                S3ErrorCode::InvalidRequest,
                "Value for x-amz-checksum-type header is invalid.",
            )
        })?),
    };
    let size = expected_size(request.header("x-amz-mp-object-size")?)?;
    let bucket = request.open_bucket()?.clone();
    let upload = upload_id(&request.query)?;
    let key = request.key()?.clone();
    let location = format!("{}/{}", request.context.bucket_url, encode_key(key.as_str(), true));
    let actor = request.context.actor();
    let subject = Subject::of(&request)?;
    let (document, permit) =
        operations.admit_document(request.body, MAX_COMPLETE_BYTES, Need::Store { bytes: 0 }).await?;
    let parts = parse_complete(&document)?.into_iter().map(named).collect();
    drop(document);
    let action = CompleteMultipart {
        stream: bucket.stream,
        key: key.clone(),
        upload,
        parts,
        size,
        checksum,
        checksum_kind,
        version: operations.fresh_version(),
        conditions,
    };
    let operations = operations.clone();
    keep_alive(subject, async move {
        let receipt = operations.submit(actor, action, permit).await?;
        let Outcome::MultipartCompleted(object) = receipt.outcome else {
            return Err(S3ErrorCode::InternalError.into());
        };
        let checksums = (object.checksums.as_slice(), object.parts);
        let document =
            complete_result(&location, bucket.name.as_str(), key.as_str(), &object.etag, checksums);
        let mut headers = HeaderMap::new();
        put_version(object.version, &mut headers);
        Ok(Finished { document, headers })
    })
    .await
}

/// A number that no part can have stays one: the engine refuses it.
fn named(part: CompletedPart) -> NamedPart {
    let CompletedPart { number, etag, checksums } = part;
    NamedPart { number: u16::try_from(number).unwrap_or(u16::MAX), etag, checksums }
}

fn expected_size(header: Option<&str>) -> Result<Option<u64>, S3Error> {
    let Some(text) = header else { return Ok(None) };
    let size = text.parse().map_err(|_| {
        let message = "Value for x-amz-mp-object-size header is invalid.";
        S3Error::with_message(S3ErrorCode::InvalidRequest, message)
    });
    size.map(Some)
}

/// The checksum that the finished object is expected to have.
fn expected_checksum(headers: &HeaderMap) -> Result<Option<(ChecksumAlgorithm, Bytes)>, S3Error> {
    let invalid = |message: String| S3Error::with_message(S3ErrorCode::InvalidRequest, message);
    let mut found = None;
    for algorithm in ALGORITHMS {
        let name = header_name(algorithm);
        let Some(value) = headers.get(name) else { continue };
        let value = value.to_str().ok().and_then(|text| parse_checksum(algorithm, text));
        let value = value.ok_or_else(|| invalid(format!("Value for {name} header is invalid.")))?;
        if found.replace((algorithm, Bytes::from(value))).is_some() {
            let message =
                "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.";
            return Err(invalid(message.to_owned()));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn one_checksum_of_the_object_may_be_expected() {
        let expected = |pairs: &[(&'static str, &'static str)]| {
            let pairs = pairs
                .iter()
                .map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_static(value)));
            expected_checksum(&pairs.collect()).map_err(|error| error.code)
        };
        let crc = Ok(Some((ChecksumAlgorithm::Crc32, Bytes::from_static(&[0, 0, 0, 1]))));
        assert_eq!(expected(&[]), Ok(None));
        assert_eq!(expected(&[("x-amz-checksum-crc32", "AAAAAQ==")]), crc);
        assert_eq!(expected(&[("x-amz-checksum-crc32", "AAAAAQ==-2")]), crc);
        let refused = Err(S3ErrorCode::InvalidRequest);
        assert_eq!(expected(&[("x-amz-checksum-crc32", "AAAA")]), refused);
        let two = [("x-amz-checksum-crc32", "AAAAAQ=="), ("x-amz-checksum-crc32c", "AAAAAQ==")];
        assert_eq!(expected(&two), refused);
    }

    #[test]
    fn an_expected_size_is_a_number() {
        assert_eq!(expected_size(None), Ok(None));
        assert_eq!(expected_size(Some("12")), Ok(Some(12)));
        for text in ["", "-1", "1.5", "99999999999999999999"] {
            assert_eq!(
                expected_size(Some(text)).map_err(|error| error.code),
                Err(S3ErrorCode::InvalidRequest)
            );
        }
    }
}
