//! `DeleteObject`.

use super::version::check_version;
use crate::engine::Need;
use crate::engine::command::DeleteObject;
use crate::s3::conditional::write_conditions;
use crate::s3::error::S3Error;
use crate::s3::operations::Operations;
use crate::s3::request::S3Request;
use crate::s3::response::S3Response;
use http::StatusCode;

pub(in crate::s3) async fn delete(
    operations: &Operations,
    request: S3Request,
) -> Result<S3Response, S3Error> {
    check_version(&request.query)?;
    let conditions = write_conditions(&request.headers)?;
    let stream = request.open_bucket()?.stream;
    let permit = operations.engine().admit(Need::Manage)?;
    let action = DeleteObject { stream, key: request.key()?.clone(), conditions };
    operations.submit(request.context.actor(), action, permit).await?;
    Ok(S3Response::empty(StatusCode::NO_CONTENT))
}
