//! `versionId` where buckets have no versions yet: only the null version is there, and it is the current one.

use crate::s3::error::{S3Error, S3ErrorCode};
use crate::s3::operations::Operations;
use crate::s3::request::{Query, S3Request};
use siltstone_log::id::VersionId;
use siltstone_projections::objects;
use siltstone_projections::rows::ObjectRow;

/// Refuses every version but the null version.
pub(super) fn check_version(query: &Query) -> Result<(), S3Error> {
    match query.get("versionId") {
        None | Some("null") => Ok(()),
        Some(id) if VersionId::parse(id).is_ok() => {
            Err(S3Error::new(S3ErrorCode::NoSuchVersion).extra("VersionId", id))
        }
        Some(other) => Err(S3Error::invalid_argument("versionId", other, "Invalid version id specified")),
    }
}

/// Refuses a request for an object that is not there.
pub(super) async fn check_exists(operations: &Operations, request: S3Request) -> Result<S3Request, S3Error> {
    operations.off_thread(move |operations| current(operations, &request).map(|_| request)).await
}

/// The object a request names. Reads its row.
pub(super) fn current(operations: &Operations, request: &S3Request) -> Result<ObjectRow, S3Error> {
    check_version(&request.query)?;
    let bucket = request.open_bucket()?;
    let key = request.key()?;
    match objects::current(&operations.view(), bucket.stream, key)? {
        Some(row) => Ok(row),
        None => Err(S3Error::new(S3ErrorCode::NoSuchKey).extra("Key", key.as_str())),
    }
}
