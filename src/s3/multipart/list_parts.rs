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
    // No part has a greater number, so nothing is behind a greater marker.
    let after = u16::try_from(params.part_number_marker).unwrap_or(u16::MAX);
    let limit = usize::try_from(params.max_parts).unwrap_or(usize::MAX);
    let page = operations.scan(move |rows| {
        let (upload, row) = find_upload(rows, &request)?;
        let page = multipart::parts(rows, request.open_bucket()?.stream, upload, after, limit)?;
        Ok((request, upload, row, page))
    });
    let (request, upload, row, page) = page.await?;
    let bucket = request.open_bucket()?;
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
        owner: &bucket.shown,
        checksum: row.checksum,
        parts: parts.collect(),
        truncated: page.next.is_some(),
    };
    Ok(S3Response::xml(page.render()))
}
