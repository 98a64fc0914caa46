//! `GetObjectAcl` and `PutObjectAcl`: an object is the bucket owner's alone.

use super::version::find_object;
use crate::s3::bucket::accept_private;
use crate::s3::error::S3Error;
use crate::s3::operations::Operations;
use crate::s3::request::S3Request;
use crate::s3::response::S3Response;
use crate::s3::xml::bucket;
use http::StatusCode;

pub(in crate::s3) fn get_acl(operations: &Operations, request: &S3Request) -> Result<S3Response, S3Error> {
    let found = find_object(operations, request)?.bucket;
    let owner = operations.owner(found.row.owner)?;
    Ok(S3Response::xml(bucket::owner_full_control(&owner)))
}

pub(in crate::s3) async fn put_acl(
    operations: &Operations,
    request: S3Request,
) -> Result<S3Response, S3Error> {
    let found = find_object(operations, &request)?.bucket;
    let owner = operations.owner(found.row.owner)?;
    accept_private(&request.headers, request.body, &owner).await?;
    Ok(S3Response::empty(StatusCode::OK))
}
