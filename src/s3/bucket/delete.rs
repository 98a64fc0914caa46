//! `DeleteBucket`.

use crate::engine::Need;
use crate::engine::command::DeleteBucket;
use crate::s3::error::S3Error;
use crate::s3::operations::Operations;
use crate::s3::request::S3Request;
use crate::s3::response::S3Response;
use http::StatusCode;

pub(in crate::s3) async fn delete(
    operations: &Operations,
    request: S3Request,
) -> Result<S3Response, S3Error> {
    let bucket = request.open_bucket()?;
    let permit = operations.engine().admit(Need::Manage)?;
    let action = DeleteBucket { name: bucket.name.clone(), stream: bucket.stream };
    operations.submit(request.context.actor(), action, permit).await?;
    Ok(S3Response::empty(StatusCode::NO_CONTENT))
}
