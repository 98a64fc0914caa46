//! `CreateBucket`.

use crate::engine::Need;
use crate::engine::command::CreateBucket;
use crate::s3::error::{S3Error, S3ErrorCode};
use crate::s3::headers::refuse_acl;
use crate::s3::operations::Operations;
use crate::s3::permission;
use crate::s3::refusal::unsupported;
use crate::s3::request::S3Request;
use crate::s3::response::S3Response;
use crate::s3::tags::{self, Bearer};
use crate::s3::xml::MAX_DOCUMENT_BYTES;
use crate::s3::xml::bucket::CreateBucketConfiguration;
use http::header::{HeaderValue, LOCATION};
use http::{HeaderMap, StatusCode};
use siltstone_log::host::draw;
use siltstone_log::id::StreamId;

pub(in crate::s3) async fn create(
    operations: &Operations,
    request: S3Request,
) -> Result<S3Response, S3Error> {
    refuse_promises(&request.headers)?;
    let name = request.bucket()?.clone();
    name.check_new()
        .map_err(|_| S3Error::new(S3ErrorCode::InvalidBucketName).extra("BucketName", name.as_str()))?;
    let actor = request.context.actor();
    let owner = request.context.caller.identity.account;
    let (document, permit) =
        operations.admit_document(request.body, MAX_DOCUMENT_BYTES, Need::Manage).await?;
    let configuration = if document.is_empty() {
        CreateBucketConfiguration::default()
    } else {
        CreateBucketConfiguration::parse(&document)?
    };
    if let Some(element) = configuration.unsupported {
        let message = format!("{element} implies functionality that is not implemented");
        return Err(S3Error::with_message(S3ErrorCode::NotImplemented, message));
    }
    let location = configuration.location.unwrap_or_default();
    check_location(&location, operations.region())?;
    let tags = configuration.tags.unwrap_or_default();
    permission::check(&request.context.caller, permission::of_new_tags(&tags), Some(owner))?;
    tags::check(&tags, Bearer::Bucket)?;
    let path = format!("/{name}");
    let stream = StreamId(draw(operations.engine().entropy()));
    operations.submit(actor, CreateBucket { name, owner, location, stream, tags }, permit).await?;
    let location = HeaderValue::try_from(path).map_err(|_| S3ErrorCode::InvalidBucketName)?;
    Ok(S3Response::empty(StatusCode::OK).header(LOCATION, location))
}

/// A bucket lies where the server is: requests for one elsewhere could not be signed.
fn check_location(location: &str, region: &str) -> Result<(), S3Error> {
    if location.is_empty() || location == region {
        return Ok(());
    }
    let plausible = location.len() <= 63 && location.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if !plausible {
        return Err(
            S3Error::new(S3ErrorCode::InvalidLocationConstraint).extra("LocationConstraint", location)
        );
    }
    let message = format!(
        "The {location} location constraint is incompatible for the region specific endpoint this request was sent to."
    );
    Err(S3Error::with_message(S3ErrorCode::IllegalLocationConstraintException, message))
}

fn refuse_promises(headers: &HeaderMap) -> Result<(), S3Error> {
    refuse_acl(headers)?;
    // A bucket without ACLs is what every bucket is; one without object lock too.
    let harmless = [
        ("x-amz-object-ownership", "BucketOwnerEnforced"),
        ("x-amz-bucket-object-lock-enabled", "false"),
        ("x-amz-bucket-namespace", "global"),
    ];
    for (name, value) in harmless {
        if headers.get(name).is_some_and(|found| !found.as_bytes().eq_ignore_ascii_case(value.as_bytes())) {
            return Err(unsupported(name));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_lies_where_the_server_is() {
        let code = |location| check_location(location, "eu-west-1").map_err(|error| error.code);
        assert_eq!(code(""), Ok(()));
        assert_eq!(code("eu-west-1"), Ok(()));
        assert_eq!(code("us-west-2"), Err(S3ErrorCode::IllegalLocationConstraintException));
        assert_eq!(code("no such place"), Err(S3ErrorCode::InvalidLocationConstraint));
    }

    #[test]
    fn what_a_bucket_cannot_promise_is_refused() {
        let refused = |name: &'static str, value: &'static str| {
            let headers = HeaderMap::from_iter([(
                http::HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )]);
            refuse_promises(&headers).map_err(|error| error.code)
        };
        assert_eq!(refused("x-amz-object-ownership", "BucketOwnerEnforced"), Ok(()));
        assert_eq!(refused("x-amz-bucket-object-lock-enabled", "False"), Ok(()));
        assert_eq!(refused("x-amz-acl", "private"), Ok(()));
        assert_eq!(refused("x-amz-object-ownership", "ObjectWriter"), Err(S3ErrorCode::NotImplemented));
        assert_eq!(refused("x-amz-bucket-namespace", "global"), Ok(()));
        assert_eq!(refused("x-amz-bucket-namespace", "account-regional"), Err(S3ErrorCode::NotImplemented));
        assert_eq!(refused("x-amz-bucket-object-lock-enabled", "true"), Err(S3ErrorCode::NotImplemented));
        assert_eq!(refused("x-amz-acl", "public-read"), Err(S3ErrorCode::AccessControlListNotSupported));
    }
}
