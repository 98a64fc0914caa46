//! `ListObjectVersions`.

use crate::s3::OpenBucket;
use crate::s3::error::S3Error;
use crate::s3::headers::check_optional_attributes;
use crate::s3::list_params::ListVersionsParams;
use crate::s3::operations::Operations;
use crate::s3::request::S3Request;
use crate::s3::response::S3Response;
use crate::s3::xml::versions::VersionsPage;
use siltstone_projections::versions::{self, VersionQuery};

pub(in crate::s3) async fn list_versions(
    operations: &Operations,
    request: S3Request,
) -> Result<S3Response, S3Error> {
    let params = ListVersionsParams::parse(&request.query)?;
    check_optional_attributes(&request.headers)?;
    request.open_bucket()?;
    let query = VersionQuery {
        prefix: params.prefix.clone(),
        delimiter: params.delimiter.clone(),
        after: params.after(),
        limit: usize::try_from(params.max_keys).unwrap_or(usize::MAX),
    };
    let document = operations.scan(move |rows| {
        let OpenBucket { name, stream, shown: owner, .. } = request.open_bucket()?;
        let page = versions::list(rows, *stream, &query)?;
        Ok(VersionsPage { bucket: name.as_str(), params: &params, owner, page: &page }.render())
    });
    Ok(S3Response::xml(document.await?))
}
