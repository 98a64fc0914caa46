//! `ListBuckets`: the caller's own.

use crate::s3::error::S3Error;
use crate::s3::list_params::{ListBucketsParams, make_token};
use crate::s3::operations::{Operations, owner};
use crate::s3::request::S3Request;
use crate::s3::response::S3Response;
use crate::s3::xml::bucket::{self, ListedBucket};
use siltstone_projections::names::{self, NameQuery};
use siltstone_projections::objects::After;

pub(in crate::s3) async fn list_buckets(
    operations: &Operations,
    request: S3Request,
) -> Result<S3Response, S3Error> {
    let params = ListBucketsParams::parse(&request.query)?;
    let account = request.context.caller.identity.account;
    let query = NameQuery {
        owner: Some(account),
        prefix: params.prefix.clone().unwrap_or_default(),
        after: params.after,
        limit: usize::try_from(params.max_buckets).unwrap_or(usize::MAX),
    };
    let read = operations.scan(move |rows| Ok((names::list(rows, &query)?, owner(rows, account)?)));
    let (page, owner) = read.await?;
    let buckets = page.entries.into_iter().map(|entry| ListedBucket {
        name: entry.name.to_string(),
        created: entry.bucket.created,
        region: operations.region_of(&entry.bucket.location).to_owned(),
    });
    let wanted = |bucket: &ListedBucket| params.region.as_ref().is_none_or(|region| *region == bucket.region);
    let buckets = buckets.filter(wanted).collect::<Vec<_>>();
    let token = page.next.map(|name| make_token(&After::Key(name)));
    Ok(S3Response::xml(bucket::list_buckets(&owner, &buckets, params.prefix.as_deref(), token.as_deref())))
}
