//! `GetBucketVersioning` and `PutBucketVersioning`.

use crate::engine::Need;
use crate::engine::command::SetVersioning;
use crate::s3::error::{S3Error, S3ErrorCode};
use crate::s3::operations::Operations;
use crate::s3::request::S3Request;
use crate::s3::response::S3Response;
use crate::s3::xml::MAX_DOCUMENT_BYTES;
use crate::s3::xml::versions::{VersioningConfiguration, versioning_configuration};
use http::StatusCode;

pub(in crate::s3) fn get_versioning(request: &S3Request) -> Result<S3Response, S3Error> {
    Ok(S3Response::xml(versioning_configuration(request.open_bucket()?.versioning)))
}

pub(in crate::s3) async fn put_versioning(
    operations: &Operations,
    request: S3Request,
) -> Result<S3Response, S3Error> {
    let stream = request.open_bucket()?.stream;
    let actor = request.context.actor();
    let (document, permit) =
        operations.admit_document(request.body, MAX_DOCUMENT_BYTES, Need::Store { bytes: 0 }).await?;
    let wanted = VersioningConfiguration::parse(&document)?;
    if wanted.mfa_delete {
        // Accepted and not enforced, it would promise that nobody deletes a version without a second factor.
        return Err(S3Error::with_message(S3ErrorCode::NotImplemented, "MfaDelete is not implemented"));
    }
    let Some(versioning) = wanted.status else {
        return Err(S3ErrorCode::IllegalVersioningConfigurationException.into());
    };
    operations.submit(actor, SetVersioning { stream, versioning }, permit).await?;
    Ok(S3Response::empty(StatusCode::OK))
}
