//! `ListObjects` and `ListObjectsV2`.

use crate::s3::OpenBucket;
use crate::s3::error::S3Error;
use crate::s3::headers::check_optional_attributes;
use crate::s3::list_params::ListObjectsParams;
use crate::s3::operations::Operations;
use crate::s3::request::S3Request;
use crate::s3::response::S3Response;
use crate::s3::xml::list::{ListPage, ListedObject};
use siltstone_projections::objects::{self, ListEntry, ListQuery};

pub(in crate::s3) async fn list(operations: &Operations, request: S3Request) -> Result<S3Response, S3Error> {
    let params = ListObjectsParams::parse_v1(&request.query)?;
    answer(operations, request, params).await
}

pub(in crate::s3) async fn list_v2(
    operations: &Operations,
    request: S3Request,
) -> Result<S3Response, S3Error> {
    let params = ListObjectsParams::parse_v2(&request.query)?;
    answer(operations, request, params).await
}

async fn answer(
    operations: &Operations,
    request: S3Request,
    params: ListObjectsParams,
) -> Result<S3Response, S3Error> {
    check_optional_attributes(&request.headers)?;
    request.open_bucket()?;
    let query = ListQuery {
        prefix: params.prefix.clone(),
        delimiter: params.delimiter.clone(),
        after: params.after(),
        limit: usize::try_from(params.max_keys).unwrap_or(usize::MAX),
    };
    let document = operations.scan(move |rows| {
        let OpenBucket { name, stream, shown: owner, .. } = request.open_bucket()?;
        let page = objects::list(rows, *stream, &query)?;
        let (mut objects, mut common_prefixes) = (Vec::with_capacity(page.entries.len()), Vec::new());
        for entry in &page.entries {
            match entry {
                ListEntry::Prefix(prefix) => common_prefixes.push(prefix.as_str()),
                ListEntry::Object { key, object } => objects.push(ListedObject {
                    key,
                    modified: object.hlc,
                    etag: &object.etag,
                    size: object.size,
                    checksums: &object.checksums,
                }),
            }
        }
        let next = page.next.as_ref();
        Ok(ListPage { bucket: name.as_str(), params: &params, owner, objects, common_prefixes, next }
            .render())
    });
    Ok(S3Response::xml(document.await?))
}
