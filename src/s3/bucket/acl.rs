//! `GetBucketAcl` and `PutBucketAcl`: a bucket is its owner's alone, and nothing else can be said of it.

use crate::engine::Need;
use crate::s3::error::{S3Error, S3ErrorCode};
use crate::s3::headers::refuse_acl;
use crate::s3::operations::Operations;
use crate::s3::request::S3Request;
use crate::s3::response::S3Response;
use crate::s3::xml::{MAX_DOCUMENT_BYTES, Owner, bucket};
use http::StatusCode;

pub(in crate::s3) fn get_acl(request: &S3Request) -> Result<S3Response, S3Error> {
    Ok(S3Response::xml(bucket::owner_full_control(&request.open_bucket()?.shown)))
}

pub(in crate::s3) async fn put_acl(
    operations: &Operations,
    request: S3Request,
) -> Result<S3Response, S3Error> {
    let owner = request.open_bucket()?.shown.clone();
    accept_private(operations, request, &owner).await?;
    Ok(S3Response::empty(StatusCode::OK))
}

/// Accepts an access control list that changes nothing: `private` in the header, or a body that grants the owner full
/// control and nobody anything. Refuses every other, which would not be obeyed.
pub(in crate::s3) async fn accept_private(
    operations: &Operations,
    request: S3Request,
    owner: &Owner,
) -> Result<(), S3Error> {
    refuse_acl(&request.headers)?;
    let (document, _permit) =
        operations.admit_document(request.body, MAX_DOCUMENT_BYTES, Need::Manage).await?;
    match (request.headers.contains_key("x-amz-acl"), document.is_empty()) {
        (true, true) => Ok(()),
        (true, false) => Err(S3ErrorCode::UnexpectedContent.into()),
        (false, true) => Err(S3ErrorCode::MissingRequestBodyError.into()),
        (false, false) => match bucket::is_owner_full_control(&document, owner) {
            Ok(true) => Ok(()),
            Ok(false) => Err(S3ErrorCode::AccessControlListNotSupported.into()),
            Err(_) => Err(S3ErrorCode::MalformedACLError.into()),
        },
    }
}
