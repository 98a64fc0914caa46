//! The upload a request names.

use crate::s3::error::{S3Error, S3ErrorCode};
use crate::s3::request::{Query, S3Request};
use siltstone_log::id::UploadId;
use siltstone_projections::multipart;
use siltstone_projections::rows::UploadRow;
use siltstone_projections::store::Rows;

/// The id; one that this server cannot have given names no upload.
pub(super) fn upload_id(query: &Query) -> Result<UploadId, S3Error> {
    let id = query.get("uploadId").unwrap_or_default();
    UploadId::parse(id).map_err(|_| no_such_upload(id))
}

/// The upload, if it is under way and for the key that the request names. Reads its row.
pub(super) fn find_upload(rows: &dyn Rows, request: &S3Request) -> Result<(UploadId, UploadRow), S3Error> {
    let id = upload_id(&request.query)?;
    match multipart::upload(rows, request.open_bucket()?.stream, id)? {
        Some((key, row)) if key == *request.key()? => Ok((id, row)),
        Some(_) | None => Err(no_such_upload(&id.to_string())),
    }
}

fn no_such_upload(id: &str) -> S3Error {
    S3Error::new(S3ErrorCode::NoSuchUpload).extra("UploadId", id)
}
