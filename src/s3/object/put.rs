//! `PutObject`: the first hop of a write.
//!
//! Checks everything that the headers say before the body is read, streams the body into staged content, and submits
//! the command. Next hop: `src/engine/stream_task.rs`.

use crate::engine::command::{MAX_PUT_SIZE, PutObject};
use crate::engine::{Need, Outcome, Placement};
use crate::hex::hex;
use crate::s3::conditional::write_conditions;
use crate::s3::error::S3Error;
use crate::s3::headers::{
    content_headers, etag_value, metadata, put_checksums, put_version, refuse_unsupported,
};
use crate::s3::operations::Operations;
use crate::s3::refusal::check_size;
use crate::s3::request::S3Request;
use crate::s3::response::S3Response;
use crate::s3::tags;
use http::StatusCode;
use http::header::ETAG;
use siltstone_log::event::ChecksumAlgorithm;

pub(in crate::s3) async fn put(operations: &Operations, request: S3Request) -> Result<S3Response, S3Error> {
    let size = request.body.declared_len()?;
    check_size(size, MAX_PUT_SIZE)?;
    refuse_unsupported(&request.headers)?;
    let conditions = write_conditions(&request.headers)?;
    let metadata = metadata(&request.headers)?;
    let tags = tags::from_headers(&request.headers)?;
    let headers = content_headers(&request.headers);
    let stream = request.open_bucket()?.stream;
    let key = request.key()?.clone();
    let actor = request.context.actor();
    let permit = operations.engine().admit(Need::Store { bytes: size })?;
    let mut body = request.body;
    if body.declared_checksum().is_none() {
        // S3 keeps this one for every object whose client gave none.
        body.also_compute(ChecksumAlgorithm::Crc64nvme);
    }
    let (content, summary) = operations.receive(body, Placement::InlineIfSmall, &permit).await?;
    let etag = hex(&summary.md5);
    let mut response = S3Response::empty(StatusCode::OK).header(ETAG, etag_value(&etag));
    put_checksums(&summary.checksums, 0, &mut response.headers);
    let checksums = summary.checksums;
    let action = PutObject {
        stream,
        key,
        content,
        etag,
        checksums,
        headers,
        metadata,
        tags,
        version: operations.fresh_version(),
        copied_from: None,
        conditions,
    };
    let receipt = operations.submit(actor, action, permit).await?;
    if let Outcome::Stored { version } = receipt.outcome {
        put_version(version, &mut response.headers);
    }
    Ok(response)
}
