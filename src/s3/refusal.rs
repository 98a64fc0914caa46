//! What becomes of the projections' and the XML reader's failures at this door, and refusals that several handlers
//! share. Part of the one code map of [`super::error`].

use super::error::{S3Error, S3ErrorCode};
use super::xml::XmlError;
use siltstone_log::id::VersionRef;
use siltstone_log::name::ObjectKey;
use siltstone_projections::store::StoreError;

impl From<StoreError> for S3Error {
    fn from(error: StoreError) -> Self {
        // Whoever may not wait for the disk is told so by it, and asks again on a thread that may.
        if error != StoreError::NotInMemory {
            tracing::error!(error = %error, "a projection cannot be read");
        }
        S3ErrorCode::InternalError.into()
    }
}

impl From<XmlError> for S3Error {
    fn from(_: XmlError) -> Self {
        S3ErrorCode::MalformedXML.into()
    }
}

/// A body above its limit, refused before it is read.
pub fn check_size(size: u64, maximum: u64) -> Result<(), S3Error> {
    if size <= maximum {
        return Ok(());
    }
    Err(S3Error::new(S3ErrorCode::EntityTooLarge)
        .extra("ProposedSize", size.to_string())
        .extra("MaxSizeAllowed", maximum.to_string()))
}

/// A key has no such version.
pub fn no_such_version(key: &ObjectKey, version: VersionRef) -> S3Error {
    let error = S3Error::new(S3ErrorCode::NoSuchVersion).extra("Key", key.as_str());
    error.extra("VersionId", version.to_string())
}

/// A header asks for something that this server does not do.
pub fn unsupported(header: &str) -> S3Error {
    let message = format!("{header} implies functionality that is not implemented");
    S3Error::with_message(S3ErrorCode::NotImplemented, message).extra("Header", header)
}
