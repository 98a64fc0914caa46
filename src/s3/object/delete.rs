//! `DeleteObject`.

use super::version::{DELETE_MARKER, version_id};
use crate::engine::command::{DeleteObject, KeyDeletion};
use crate::engine::{Need, Outcome};
use crate::s3::conditional::delete_conditions;
use crate::s3::error::{S3Error, S3ErrorCode};
use crate::s3::headers::put_version;
use crate::s3::operations::Operations;
use crate::s3::request::S3Request;
use crate::s3::response::S3Response;
use http::{HeaderValue, StatusCode};

pub(in crate::s3) async fn delete(
    operations: &Operations,
    request: S3Request,
) -> Result<S3Response, S3Error> {
    let version = version_id(&request.query)?;
    let conditions = delete_conditions(&request.headers, version.is_some())?;
    let stream = request.open_bucket()?.stream;
    let permit = operations.engine().admit(Need::Manage)?;
    let (key, marker) = (request.key()?.clone(), operations.fresh_version());
    let deletion = KeyDeletion { key, version, marker, conditions };
    let action = DeleteObject { stream, deletion };
    let receipt = operations.submit(request.context.actor(), action, permit).await?;
    let Outcome::Deleted(deleted) = receipt.outcome else { return Err(S3ErrorCode::InternalError.into()) };
    let mut response = S3Response::empty(StatusCode::NO_CONTENT);
    put_version(deleted.version, &mut response.headers);
    if deleted.marker {
        response.headers.insert(DELETE_MARKER, HeaderValue::from_static("true"));
    }
    Ok(response)
}
