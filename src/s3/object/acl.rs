//! `GetObjectAcl` and `PutObjectAcl`: an object is the bucket owner's alone.

use super::version::check_exists;
use crate::s3::bucket::accept_private;
use crate::s3::error::S3Error;
use crate::s3::operations::Operations;
use crate::s3::request::S3Request;
use crate::s3::response::S3Response;
use crate::s3::xml::bucket;
use http::StatusCode;

pub(in crate::s3) async fn get_acl(
    operations: &Operations,
    request: S3Request,
) -> Result<S3Response, S3Error> {
    let request = check_exists(operations, request).await?;
    Ok(S3Response::xml(bucket::owner_full_control(&request.open_bucket()?.shown)))
}

pub(in crate::s3) async fn put_acl(
    operations: &Operations,
    request: S3Request,
) -> Result<S3Response, S3Error> {
    let request = check_exists(operations, request).await?;
    let owner = request.open_bucket()?.shown.clone();
    accept_private(operations, request, &owner).await?;
    Ok(S3Response::empty(StatusCode::OK))
}
