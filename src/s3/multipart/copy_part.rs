//! `UploadPartCopy`: a part whose bytes are another object's, or a range of them.

use super::upload::find_upload;
use super::upload_part::part_number;
use crate::engine::Placement;
use crate::engine::command::UploadPart;
use crate::s3::copy_source::{COPY_SOURCE_RANGE, parse_copy_range};
use crate::s3::error::S3Error;
use crate::s3::headers::{refuse_customer_keys, refuse_unsupported};
use crate::s3::keep_alive::{Finished, Subject, keep_alive};
use crate::s3::operations::Operations;
use crate::s3::request::S3Request;
use crate::s3::response::S3Response;
use crate::s3::transfer::{CopyError, Sharing, SourceRequest, Transfer, Transferred, shared_or_copied};
use crate::s3::xml::object::copy_part_result;
use http::HeaderMap;
use siltstone_log::event::{Actor, ChecksumAlgorithm};
use siltstone_log::id::{StreamId, UploadId};
use siltstone_log::name::ObjectKey;

/// A part as the request describes it.
struct CopyPart {
    actor: Actor,
    stream: StreamId,
    key: ObjectKey,
    upload: UploadId,
    number: u16,
    source: SourceRequest,
    /// As it was sent: what it means depends on the source's size.
    range: Option<String>,
    /// What the upload asks of its parts, or else the one that S3 computes of every object.
    checksum: ChecksumAlgorithm,
}

pub(in crate::s3) async fn copy_part(
    operations: &Operations,
    request: S3Request,
) -> Result<S3Response, S3Error> {
    let number = part_number(&request.query)?;
    refuse_customer_keys(&request.headers)?;
    refuse_unsupported(&request.headers)?;
    let stream = request.open_bucket()?.stream;
    let source = SourceRequest::parse(&request)?;
    let range = request.header(COPY_SOURCE_RANGE)?.map(str::to_owned);
    let subject = Subject::of(&request)?;
    let (request, (upload, row)) = operations.look_up(request, find_upload).await?;
    let copy = CopyPart {
        actor: request.context.actor(),
        stream,
        key: request.key()?.clone(),
        upload,
        number,
        source,
        range,
        checksum: row.checksum.map_or(ChecksumAlgorithm::Crc64nvme, |(algorithm, _)| algorithm),
    };
    let operations = operations.clone();
    keep_alive(subject, async move { shared_or_copied(|sharing| copy.attempt(&operations, sharing)).await })
        .await
}

impl CopyPart {
    async fn attempt(&self, operations: &Operations, sharing: Sharing) -> Result<Finished, CopyError> {
        let found = self.source.clone().find(operations).await?;
        let range = match &self.range {
            None => 0..found.row.size,
            Some(range) => {
                let range = parse_copy_range(range, found.row.size)?;
                range.first..range.first + range.length
            }
        };
        let transfer = Transfer {
            stream: self.stream,
            range,
            checksums: &[self.checksum],
            placement: Placement::Packs,
            sharing,
        };
        let Transferred { content, etag, checksums, permit } = found.transfer(operations, transfer).await?;
        let action = UploadPart {
            stream: self.stream,
            key: self.key.clone(),
            upload: self.upload,
            number: self.number,
            content,
            etag: etag.clone(),
            checksums: checksums.clone(),
            copied_from: Some(found.copied_from()),
        };
        let receipt = operations.try_submit(self.actor.clone(), action, permit).await?;
        let mut headers = HeaderMap::new();
        found.put_version(&mut headers);
        Ok(Finished { document: copy_part_result(receipt.hlc, &etag, &checksums), headers })
    }
}
