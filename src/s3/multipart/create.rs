//! `CreateMultipartUpload`.

use crate::engine::Need;
use crate::engine::command::CreateMultipart;
use crate::s3::body::checksum::wire_name;
use crate::s3::error::{S3Error, S3ErrorCode};
use crate::s3::headers::{
    checksum_algorithm, checksum_kind_name, content_headers, metadata, parse_checksum_kind,
    refuse_unsupported,
};
use crate::s3::operations::Operations;
use crate::s3::request::S3Request;
use crate::s3::response::S3Response;
use crate::s3::tags;
use crate::s3::xml::multipart::initiate_result;
use http::header::{HeaderName, HeaderValue};
use siltstone_log::event::{ChecksumAlgorithm, ChecksumKind};
use siltstone_log::host::draw;
use siltstone_log::id::UploadId;

pub(in crate::s3) async fn create(
    operations: &Operations,
    request: S3Request,
) -> Result<S3Response, S3Error> {
    refuse_unsupported(&request.headers)?;
    let checksum =
        wanted_checksum(request.header("x-amz-checksum-algorithm")?, request.header("x-amz-checksum-type")?)?;
    let metadata = metadata(&request.headers)?;
    let tags = tags::from_headers(&request.headers)?;
    let headers = content_headers(&request.headers);
    let bucket = request.open_bucket()?;
    let key = request.key()?.clone();
    let permit = operations.engine().admit(Need::Store { bytes: 0 })?;
    let upload = UploadId(draw(operations.engine().entropy()));
    let mut response = S3Response::xml(initiate_result(bucket.name.as_str(), key.as_str(), upload));
    if let Some((algorithm, kind)) = checksum {
        let text = HeaderValue::from_static;
        response = response
            .header(HeaderName::from_static("x-amz-checksum-algorithm"), text(wire_name(algorithm)))
            .header(HeaderName::from_static("x-amz-checksum-type"), text(checksum_kind_name(kind)));
    }
    let action = CreateMultipart { stream: bucket.stream, upload, key, headers, metadata, checksum, tags };
    operations.submit(request.context.actor(), action, permit).await?;
    Ok(response)
}

/// Which checksum the parts will carry, and what the object's will cover. Not every pair can be computed from parts.
fn wanted_checksum(
    algorithm: Option<&str>,
    kind: Option<&str>,
) -> Result<Option<(ChecksumAlgorithm, ChecksumKind)>, S3Error> {
    use ChecksumKind::{Composite, FullObject};
    let invalid = |message: String| S3Error::with_message(S3ErrorCode::InvalidRequest, message);
    let kind = match kind {
        None => None,
        Some(name) => Some(
            parse_checksum_kind(name)
                .ok_or_else(|| invalid("Value for x-amz-checksum-type header is invalid.".to_owned()))?,
        ),
    };
    let Some(name) = algorithm else {
        return match kind {
            None => Ok(None),
            Some(_) => Err(invalid(
                "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header."
                    .to_owned(),
            )),
        };
    };
    let algorithm = checksum_algorithm(name)?;
    let kind = match (algorithm, kind) {
        (ChecksumAlgorithm::Crc32 | ChecksumAlgorithm::Crc32c, kind) => kind.unwrap_or(Composite),
        (ChecksumAlgorithm::Crc64nvme, None | Some(FullObject)) => FullObject,
        (ChecksumAlgorithm::Sha1 | ChecksumAlgorithm::Sha256, None | Some(Composite)) => Composite,
        (ChecksumAlgorithm::Crc64nvme, Some(Composite))
        | (ChecksumAlgorithm::Sha1 | ChecksumAlgorithm::Sha256, Some(FullObject)) => {
            let kind = if kind == Some(Composite) { "COMPOSITE" } else { "FULL_OBJECT" };
            let name = wire_name(algorithm).to_ascii_lowercase();
            return Err(invalid(format!(
                "The {kind} checksum type cannot be used with the {name} checksum algorithm."
            )));
        }
    };
    Ok(Some((algorithm, kind)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_checksums_that_parts_can_give_are_accepted() {
        use ChecksumAlgorithm::{Crc32, Crc64nvme, Sha256};
        use ChecksumKind::{Composite, FullObject};
        let code = |algorithm, kind| wanted_checksum(algorithm, kind).map_err(|error| error.code);
        let cases = [
            (None, None, Ok(None)),
            (Some("CRC32"), None, Ok(Some((Crc32, Composite)))),
            (Some("crc32"), Some("FULL_OBJECT"), Ok(Some((Crc32, FullObject)))),
            (Some("CRC64NVME"), None, Ok(Some((Crc64nvme, FullObject)))),
            (Some("SHA256"), None, Ok(Some((Sha256, Composite)))),
            (Some("SHA256"), Some("FULL_OBJECT"), Err(S3ErrorCode::InvalidRequest)),
            (Some("CRC64NVME"), Some("COMPOSITE"), Err(S3ErrorCode::InvalidRequest)),
            (Some("MD5"), None, Err(S3ErrorCode::InvalidRequest)),
            (Some("CRC32"), Some("HALF"), Err(S3ErrorCode::InvalidRequest)),
            (None, Some("COMPOSITE"), Err(S3ErrorCode::InvalidRequest)),
        ];
        for (algorithm, kind, expected) in cases {
            assert_eq!(code(algorithm, kind), expected, "{algorithm:?} {kind:?}");
        }
    }
}
