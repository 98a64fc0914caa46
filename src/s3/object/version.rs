//! `versionId` where buckets have no versions yet: only the null version is there, and it is the current one.

use crate::s3::error::{S3Error, S3ErrorCode};
use crate::s3::operations::{OpenBucket, Operations};
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

/// The object a request names.
pub(super) fn current(
    operations: &Operations,
    request: &S3Request,
) -> Result<(OpenBucket, ObjectRow), S3Error> {
    check_version(&request.query)?;
    let bucket = operations.open_bucket(request)?;
    let key = request.key()?;
    match objects::current(&operations.view(), bucket.stream, key)? {
        Some(row) => Ok((bucket, row)),
        None => Err(S3Error::new(S3ErrorCode::NoSuchKey).extra("Key", key.as_str())),
    }
}
