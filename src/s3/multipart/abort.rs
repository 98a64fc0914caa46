//! `AbortMultipartUpload`.

use super::upload::find_upload;
use crate::engine::Need;
use crate::engine::command::AbortMultipart;
use crate::s3::conditional::check_initiated;
use crate::s3::error::S3Error;
use crate::s3::operations::Operations;
use crate::s3::request::S3Request;
use crate::s3::response::S3Response;
use http::StatusCode;

pub(in crate::s3) async fn abort(operations: &Operations, request: S3Request) -> Result<S3Response, S3Error> {
    let (request, (upload, row)) = operations.look_up(request, find_upload).await?;
    check_initiated(&request.headers, row.at.hlc)?;
    let stream = request.open_bucket()?.stream;
    let permit = operations.engine().admit(Need::Manage)?;
    let action = AbortMultipart { stream, key: request.key()?.clone(), upload };
    operations.submit(request.context.actor(), action, permit).await?;
    Ok(S3Response::empty(StatusCode::NO_CONTENT))
}
