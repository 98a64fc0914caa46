//! `GetBucketLocation`.

use crate::s3::error::S3Error;
use crate::s3::operations::Operations;
use crate::s3::request::S3Request;
use crate::s3::response::S3Response;
use crate::s3::xml::bucket;

pub(in crate::s3) fn location(operations: &Operations, request: &S3Request) -> Result<S3Response, S3Error> {
    let found = request.open_bucket()?;
    Ok(S3Response::xml(bucket::location_constraint(operations.region_of(&found.location))))
}
