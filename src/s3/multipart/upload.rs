//! The upload a request names.

use crate::s3::error::{S3Error, S3ErrorCode};
use crate::s3::operations::Operations;
use crate::s3::request::{Query, S3Request};
use siltstone_log::id::{StreamId, UploadId};
use siltstone_projections::multipart;
use siltstone_projections::rows::UploadRow;

/// The id; one that this server cannot have given names no upload.
pub(super) fn upload_id(query: &Query) -> Result<UploadId, S3Error> {
    let id = query.get("uploadId").unwrap_or_default();
    UploadId::parse(id).map_err(|_| no_such_upload(id))
}

/// The upload, if it is under way and for the key that the request names.
pub(super) fn find_upload(
    operations: &Operations,
    request: &S3Request,
    stream: StreamId,
) -> Result<(UploadId, UploadRow), S3Error> {
    let id = upload_id(&request.query)?;
    match multipart::upload(&operations.view(), stream, id)? {
        Some((key, row)) if key == *request.key()? => Ok((id, row)),
        Some(_) | None => Err(no_such_upload(&id.to_string())),
    }
}

fn no_such_upload(id: &str) -> S3Error {
    S3Error::new(S3ErrorCode::NoSuchUpload).extra("UploadId", id)
}
