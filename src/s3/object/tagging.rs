//! `GetObjectTagging`, `PutObjectTagging` and `DeleteObjectTagging`, of what a key holds or of one of its versions.

use super::version::{FoundObject, check_exists, find_object, version_id};
use crate::engine::command::TagObject;
use crate::engine::{Need, Outcome, Permit};
use crate::s3::error::{S3Error, S3ErrorCode};
use crate::s3::headers::put_version;
use crate::s3::operations::Operations;
use crate::s3::request::S3Request;
use crate::s3::response::S3Response;
use crate::s3::tags::{Bearer, from_document};
use crate::s3::xml::{MAX_DOCUMENT_BYTES, tagging};
use http::StatusCode;
use siltstone_log::event::Actor;

pub(in crate::s3) async fn get_tagging(
    operations: &Operations,
    request: S3Request,
) -> Result<S3Response, S3Error> {
    let (_, FoundObject { row, version }) = operations.look_up(request, find_object).await?;
    let mut response = S3Response::xml(tagging::tagging(&row.tags));
    put_version(version, &mut response.headers);
    Ok(response)
}

pub(in crate::s3) async fn put_tagging(
    operations: &Operations,
    request: S3Request,
) -> Result<S3Response, S3Error> {
    let request = check_exists(operations, request).await?;
    let target = target(&request)?;
    let actor = request.context.actor();
    let (document, permit) =
        operations.admit_document(request.body, MAX_DOCUMENT_BYTES, Need::Store { bytes: 0 }).await?;
    let action = TagObject { tags: from_document(&document, Bearer::Object)?, ..target };
    answer(operations, actor, action, permit, StatusCode::OK).await
}

pub(in crate::s3) async fn delete_tagging(
    operations: &Operations,
    request: S3Request,
) -> Result<S3Response, S3Error> {
    let request = check_exists(operations, request).await?;
    let action = target(&request)?;
    let permit = operations.engine().admit(Need::Store { bytes: 0 })?;
    answer(operations, request.context.actor(), action, permit, StatusCode::NO_CONTENT).await
}

/// The command that takes all tags from what a request names.
fn target(request: &S3Request) -> Result<TagObject, S3Error> {
    let version = version_id(&request.query)?;
    let (stream, key) = (request.open_bucket()?.stream, request.key()?.clone());
    Ok(TagObject { stream, key, version, tags: Vec::new() })
}

async fn answer(
    operations: &Operations,
    actor: Actor,
    action: TagObject,
    permit: Permit,
    status: StatusCode,
) -> Result<S3Response, S3Error> {
    let receipt = operations.submit(actor, action, permit).await?;
    let Outcome::Tagged { version } = receipt.outcome else { return Err(S3ErrorCode::InternalError.into()) };
    let mut response = S3Response::empty(status);
    put_version(version, &mut response.headers);
    Ok(response)
}
