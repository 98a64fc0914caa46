//! `versionId`: which version of a key a request names.

use crate::s3::OpenBucket;
use crate::s3::date::HttpDate;
use crate::s3::error::{S3Error, S3ErrorCode};
use crate::s3::operations::Operations;
use crate::s3::refusal::no_such_version;
use crate::s3::request::{Query, S3Request};
use http::HeaderValue;
use http::header::{ALLOW, HeaderName, LAST_MODIFIED};
use siltstone_log::id::VersionRef;
use siltstone_log::name::ObjectKey;
use siltstone_projections::objects;
use siltstone_projections::rows::{ObjectRow, VersionRow};
use siltstone_projections::store::Rows;

/// Tells that what was asked for, deleted or made is a delete marker.
pub(super) const DELETE_MARKER: HeaderName = HeaderName::from_static("x-amz-delete-marker");

/// The version that a request names; none where it means what the key holds.
pub(super) fn version_id(query: &Query) -> Result<Option<VersionRef>, S3Error> {
    let Some(text) = query.get("versionId") else { return Ok(None) };
    let message = if text.is_empty() {
        "Version id cannot be the empty string"
    } else {
        "Invalid version id specified"
    };
    let invalid = |_| S3Error::invalid_argument("versionId", text, message);
    VersionRef::parse(text).map(Some).map_err(invalid)
}

/// An object that a request names.
pub(super) struct FoundObject {
    pub(super) row: ObjectRow,
    /// Its version as clients are told of it; none where the bucket never kept versions.
    pub(super) version: Option<VersionRef>,
}

/// Refuses a request for an object that is not there.
pub(super) async fn check_exists(operations: &Operations, request: S3Request) -> Result<S3Request, S3Error> {
    Ok(operations.look_up(request, find_object).await?.0)
}

/// The object a request names. Reads its row.
pub(super) fn find_object(rows: &dyn Rows, request: &S3Request) -> Result<FoundObject, S3Error> {
    let wanted = version_id(&request.query)?;
    let bucket = request.open_bucket()?;
    let key = request.key()?;
    let row = match wanted {
        None => match objects::current(rows, bucket.stream, key)? {
            Some(row) => row,
            None => return Err(no_such_key(rows, bucket, key)?),
        },
        Some(version) => match objects::find_version(rows, bucket.stream, key, version)? {
            Some(VersionRow::Object(row)) => row,
            Some(VersionRow::Marker(marker)) => {
                let modified = HeaderValue::try_from(HttpDate(marker.hlc).to_string());
                let error = S3Error::new(S3ErrorCode::MethodNotAllowed)
                    .extra("Method", request.method.as_str())
                    .extra("ResourceType", "DeleteMarker")
                    .header(ALLOW, HeaderValue::from_static("DELETE"))
                    .header(LAST_MODIFIED, modified.unwrap_or(HeaderValue::from_static("")));
                return Err(about_marker(error, version));
            }
            None => return Err(no_such_version(key, version)),
        },
    };
    let version = bucket.is_versioned().then(|| row.version.into());
    Ok(FoundObject { row, version })
}

/// A key that holds nothing; where that is so because of a delete marker, the error tells.
fn no_such_key(rows: &dyn Rows, bucket: &OpenBucket, key: &ObjectKey) -> Result<S3Error, S3Error> {
    let error = S3Error::new(S3ErrorCode::NoSuchKey).extra("Key", key.as_str());
    if !bucket.is_versioned() {
        return Ok(error);
    }
    let newest = objects::versions(rows, bucket.stream, key).next().transpose()?;
    Ok(match newest {
        Some(marker) => about_marker(error, marker.version()),
        None => error,
    })
}

fn about_marker(error: S3Error, version: VersionRef) -> S3Error {
    let id = HeaderValue::try_from(version.to_string()).unwrap_or(HeaderValue::from_static(""));
    error
        .header(DELETE_MARKER, HeaderValue::from_static("true"))
        .header(HeaderName::from_static("x-amz-version-id"), id)
}
