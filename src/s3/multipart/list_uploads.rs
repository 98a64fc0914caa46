//! `ListMultipartUploads`.

use crate::s3::error::S3Error;
use crate::s3::list_params::ListUploadsParams;
use crate::s3::operations::Operations;
use crate::s3::request::S3Request;
use crate::s3::response::S3Response;
use crate::s3::xml::multipart::{ListedUpload, UploadsPage};
use siltstone_projections::multipart::{self, UploadEntry, UploadQuery};

pub(in crate::s3) async fn list_uploads(
    operations: &Operations,
    request: S3Request,
) -> Result<S3Response, S3Error> {
    let params = ListUploadsParams::parse(&request.query)?;
    let bucket = request.open_bucket()?;
    let query = UploadQuery {
        prefix: params.prefix.clone(),
        delimiter: params.delimiter.clone(),
        after: params.after(),
        limit: usize::try_from(params.max_uploads).unwrap_or(usize::MAX),
    };
    let stream = bucket.stream;
    let page = operations.scan(move |rows| Ok(multipart::list(rows, stream, &query)?)).await?;
    let (mut uploads, mut common_prefixes) = (Vec::with_capacity(page.entries.len()), Vec::new());
    for entry in page.entries {
        match entry {
            UploadEntry::Prefix(prefix) => common_prefixes.push(prefix),
            UploadEntry::Upload { key, upload, row } => {
                uploads.push(ListedUpload { key, upload, initiated: row.at.hlc, checksum: row.checksum });
            }
        }
    }
    let page = UploadsPage {
        bucket: bucket.name.as_str(),
        params: &params,
        owner: &bucket.shown,
        uploads,
        common_prefixes,
        next: page.next,
    };
    Ok(S3Response::xml(page.render()))
}
