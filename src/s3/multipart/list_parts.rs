//! `ListParts`.

use super::upload::find_upload;
use crate::s3::error::S3Error;
use crate::s3::list_params::ListPartsParams;
use crate::s3::operations::Operations;
use crate::s3::request::S3Request;
use crate::s3::response::S3Response;
use crate::s3::xml::multipart::{ListedPart, PartsPage};
use siltstone_projections::multipart;

pub(in crate::s3) async fn list_parts(
    operations: &Operations,
    request: S3Request,
) -> Result<S3Response, S3Error> {
    let params = ListPartsParams::parse(&request.query)?;
    let bucket = operations.open_bucket(&request)?;
    let (upload, row) = find_upload(operations, &request, bucket.stream)?;
    let owner = operations.owner(bucket.row.owner)?;
    // No part has a greater number, so nothing is behind a greater marker.
    let after = u16::try_from(params.part_number_marker).unwrap_or(u16::MAX);
    let limit = usize::try_from(params.max_parts).unwrap_or(usize::MAX);
    let stream = bucket.stream;
    let page = operations.scan(move |rows| Ok(multipart::parts(rows, stream, upload, after, limit)?));
    let page = page.await?;
    let parts = page.parts.into_iter().map(|(number, part)| ListedPart {
        number,
        modified: part.at.hlc,
        etag: part.etag,
        size: part.size,
        checksums: part.checksums,
    });
    let page = PartsPage {
        bucket: bucket.name.as_str(),
        key: request.key()?.as_str(),
        upload,
        params,
        owner: &owner,
        checksum: row.checksum,
        parts: parts.collect(),
        truncated: page.next.is_some(),
    };
    Ok(S3Response::xml(page.render()))
}
