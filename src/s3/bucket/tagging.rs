//! `GetBucketTagging`, `PutBucketTagging` and `DeleteBucketTagging`.

use crate::engine::Need;
use crate::engine::command::TagBucket;
use crate::s3::error::{S3Error, S3ErrorCode};
use crate::s3::operations::Operations;
use crate::s3::request::S3Request;
use crate::s3::response::S3Response;
use crate::s3::tags::{Bearer, from_document};
use crate::s3::xml::{MAX_DOCUMENT_BYTES, tagging};
use http::StatusCode;
use siltstone_projections::buckets;
use siltstone_projections::store::Rows;

pub(in crate::s3) async fn get_tagging(
    operations: &Operations,
    request: S3Request,
) -> Result<S3Response, S3Error> {
    let row = |rows: &dyn Rows, request: &S3Request| Ok(buckets::get(rows, request.open_bucket()?.stream)?);
    let (_, row) = operations.look_up(request, row).await?;
    match row {
        Some(row) if row.is_open() && !row.tags.is_empty() => {
            Ok(S3Response::xml(tagging::tagging(&row.tags)))
        }
        Some(row) if row.is_open() => {
            Err(S3Error::new(S3ErrorCode::NoSuchTagSet).extra("BucketName", row.name.as_str()))
        }
        Some(_) | None => Err(S3ErrorCode::NoSuchBucket.into()),
    }
}

pub(in crate::s3) async fn put_tagging(
    operations: &Operations,
    request: S3Request,
) -> Result<S3Response, S3Error> {
    let stream = request.open_bucket()?.stream;
    let actor = request.context.actor();
    let (document, permit) =
        operations.admit_document(request.body, MAX_DOCUMENT_BYTES, Need::Store { bytes: 0 }).await?;
    let tags = from_document(&document, Bearer::Bucket)?;
    operations.submit(actor, TagBucket { stream, tags }, permit).await?;
    Ok(S3Response::empty(StatusCode::NO_CONTENT))
}

pub(in crate::s3) async fn delete_tagging(
    operations: &Operations,
    request: S3Request,
) -> Result<S3Response, S3Error> {
    let stream = request.open_bucket()?.stream;
    let permit = operations.engine().admit(Need::Store { bytes: 0 })?;
    let action = TagBucket { stream, tags: Vec::new() };
    operations.submit(request.context.actor(), action, permit).await?;
    Ok(S3Response::empty(StatusCode::NO_CONTENT))
}
