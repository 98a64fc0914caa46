//! What becomes of the engine's, the projections' and the XML reader's failures at this door.

use super::error::{S3Error, S3ErrorCode};
use super::xml::XmlError;
use crate::engine::outcome::{EngineError, Fault, Rejection, Unavailable};
use siltstone_projections::store::StoreError;

impl From<EngineError> for S3Error {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Rejected(rejection) => rejection.into(),
            EngineError::Unavailable(unavailable) => unavailable.into(),
            EngineError::Fault(fault) => fault.into(),
        }
    }
}

impl From<Rejection> for S3Error {
    fn from(rejection: Rejection) -> Self {
        use S3ErrorCode as Code;
        match rejection {
            Rejection::NoSuchBucket => Code::NoSuchBucket.into(),
            Rejection::BucketAlreadyExists => Code::BucketAlreadyExists.into(),
            Rejection::BucketAlreadyOwnedByYou => Code::BucketAlreadyOwnedByYou.into(),
            Rejection::BucketNotEmpty => Code::BucketNotEmpty.into(),
            Rejection::NoSuchKey => Code::NoSuchKey.into(),
            Rejection::PreconditionFailed(condition) => {
                Self::new(Code::PreconditionFailed).extra("Condition", condition.header())
            }
            Rejection::NoSuchUpload => Code::NoSuchUpload.into(),
            Rejection::InvalidPartNumber { number } => invalid_part_number(number.to_string()),
            Rejection::NoParts => Code::MalformedXML.into(),
            Rejection::InvalidPartOrder => Code::InvalidPartOrder.into(),
            Rejection::InvalidPart { number } => {
                Self::new(Code::InvalidPart).extra("PartNumber", number.to_string())
            }
            Rejection::EntityTooSmall { number, etag, size, minimum } => Self::new(Code::EntityTooSmall)
                .extra("ProposedSize", size.to_string())
                .extra("MinSizeAllowed", minimum.to_string())
                .extra("PartNumber", number.to_string())
                .extra("ETag", etag),
            Rejection::EntityTooLarge { size, maximum } => entity_too_large(size, maximum),
            Rejection::BadDigest => Code::BadDigest.into(),
            Rejection::InvalidRequest(contradiction) => {
                Self::with_message(Code::InvalidRequest, contradiction.to_string())
            }
            Rejection::TooLarge => Code::MaxMessageLengthExceeded.into(),
            // This door sends no command that could be refused so.
            Rejection::TenantExists
            | Rejection::NoSuchTenant
            | Rejection::AccountExists
            | Rejection::NoSuchAccount
            | Rejection::UserExists
            | Rejection::NoSuchUser
            | Rejection::AccessKeyExists
            | Rejection::NoSuchAccessKey
            | Rejection::NoSuchPolicy
            | Rejection::PolicyNotAttached => Self::with_message(Code::InvalidRequest, rejection.to_string()),
        }
    }
}

impl From<Unavailable> for S3Error {
    fn from(unavailable: Unavailable) -> Self {
        match unavailable {
            Unavailable::SlowDown => S3ErrorCode::SlowDown.into(),
            Unavailable::NoSpace => S3ErrorCode::InsufficientStorage.into(),
            Unavailable::Quarantined | Unavailable::ShuttingDown => {
                Self::with_message(S3ErrorCode::ServiceUnavailable, unavailable.to_string())
            }
        }
    }
}

impl From<Fault> for S3Error {
    fn from(fault: Fault) -> Self {
        tracing::error!(error = %fault, "a request failed");
        S3ErrorCode::InternalError.into()
    }
}

impl From<StoreError> for S3Error {
    fn from(error: StoreError) -> Self {
        tracing::error!(error = %error, "a projection cannot be read");
        S3ErrorCode::InternalError.into()
    }
}

impl From<XmlError> for S3Error {
    fn from(_: XmlError) -> Self {
        S3ErrorCode::MalformedXML.into()
    }
}

/// A part number outside 1 to 10,000.
pub fn invalid_part_number(given: String) -> S3Error {
    let message = "Part number must be an integer between 1 and 10000, inclusive";
    S3Error::invalid_argument("partNumber", given, message)
}

/// A body, or an object made of parts, above its limit.
pub fn entity_too_large(size: u64, maximum: u64) -> S3Error {
    S3Error::new(S3ErrorCode::EntityTooLarge)
        .extra("ProposedSize", size.to_string())
        .extra("MaxSizeAllowed", maximum.to_string())
}
