//! `HeadBucket`.

use crate::s3::error::{S3Error, S3ErrorCode};
use crate::s3::operations::Operations;
use crate::s3::request::S3Request;
use crate::s3::response::S3Response;
use http::StatusCode;
use http::header::{HeaderName, HeaderValue};

pub(in crate::s3) fn head(operations: &Operations, request: &S3Request) -> Result<S3Response, S3Error> {
    let bucket = request.open_bucket()?;
    let region = HeaderValue::try_from(operations.region_of(&bucket.location));
    let region = region.map_err(|_| S3ErrorCode::InternalError)?;
    Ok(S3Response::empty(StatusCode::OK)
        .header(HeaderName::from_static("x-amz-bucket-region"), region)
        .header(HeaderName::from_static("x-amz-access-point-alias"), HeaderValue::from_static("false")))
}
