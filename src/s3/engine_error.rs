//! What the engine's refusals are in S3's words. Part of the one code map of [`super::error`].

use super::body::checksum::wire_name;
use super::error::{S3Error, S3ErrorCode as Code};
use crate::engine::outcome::InvalidRequest;
use crate::engine::{EngineError, Fault, Rejection, Unavailable};

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
        let message = rejection.to_string();
        match rejection {
            Rejection::NoSuchBucket => Code::NoSuchBucket.into(),
            Rejection::BucketAlreadyExists => Code::BucketAlreadyExists.into(),
            Rejection::BucketAlreadyOwnedByYou => Code::BucketAlreadyOwnedByYou.into(),
            Rejection::BucketNotEmpty => Code::BucketNotEmpty.into(),
            Rejection::NoSuchKey => Code::NoSuchKey.into(),
            Rejection::NoSuchVersion => Code::NoSuchVersion.into(),
            Rejection::IsDeleteMarker => Code::MethodNotAllowed.into(),
            // A copy answers this by copying the bytes; nothing else shares any.
            Rejection::SourceChanged => Code::OperationAborted.into(),
            Rejection::VersioningNotUndone => Self::with_message(Code::MalformedXML, message),
            Rejection::PreconditionFailed(condition) => {
                Self::new(Code::PreconditionFailed).extra("Condition", condition.header())
            }
            Rejection::NoSuchUpload => Code::NoSuchUpload.into(),
            Rejection::InvalidPartNumber { number } => Self::invalid_argument(
                "partNumber",
                number.to_string(),
                "Part number must be an integer between 1 and 10000, inclusive",
            ),
            Rejection::NoParts => {
                Self::with_message(Code::MalformedXML, "You must specify at least one part")
            }
            Rejection::InvalidPartOrder => Code::InvalidPartOrder.into(),
            Rejection::InvalidPart { number } => {
                Self::new(Code::InvalidPart).extra("PartNumber", number.to_string())
            }
            Rejection::EntityTooSmall { number, etag, size, minimum } => Self::new(Code::EntityTooSmall)
                .extra("ProposedSize", size.to_string())
                .extra("MinSizeAllowed", minimum.to_string())
                .extra("PartNumber", number.to_string())
                .extra("ETag", etag),
            Rejection::EntityTooLarge { size, maximum } => Self::new(Code::EntityTooLarge)
                .extra("ProposedSize", size.to_string())
                .extra("MaxSizeAllowed", maximum.to_string()),
            Rejection::BadDigest => Code::BadDigest.into(),
            Rejection::InvalidRequest(InvalidRequest::ChecksumNotNamed { algorithm, number }) => {
                let algorithm = wire_name(algorithm).to_lowercase();
                let message = format!(
                    "The upload was created using a {algorithm} checksum. The complete request must include the \
                     checksum for each part. It was missing for part {number} in the request."
                );
                Self::with_message(Code::InvalidRequest, message)
            }
            Rejection::InvalidRequest(_) => Self::with_message(Code::InvalidRequest, message),
            Rejection::TooLarge => Code::MaxMessageLengthExceeded.into(),
            // Identities are administered through the console door; here these can only be a wrong argument.
            Rejection::TenantExists
            | Rejection::NoSuchTenant
            | Rejection::AccountExists
            | Rejection::NoSuchAccount
            | Rejection::UserExists
            | Rejection::NoSuchUser
            | Rejection::AccessKeyExists
            | Rejection::NoSuchAccessKey
            | Rejection::NoSuchPolicy
            | Rejection::PolicyNotAttached => Self::with_message(Code::InvalidArgument, message),
        }
    }
}

impl From<Unavailable> for S3Error {
    fn from(unavailable: Unavailable) -> Self {
        match unavailable {
            Unavailable::SlowDown => Code::SlowDown.into(),
            Unavailable::NoSpace => Code::InsufficientStorage.into(),
            Unavailable::Quarantined | Unavailable::ShuttingDown => {
                Self::with_message(Code::ServiceUnavailable, unavailable.to_string())
            }
        }
    }
}

impl From<Fault> for S3Error {
    /// What broke is for the log, not for the client; and whether the request took effect is unknown.
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Disk(_)
            | Fault::LogStopped
            | Fault::Projection(_)
            | Fault::Content(_)
            | Fault::Ended(_) => {
                tracing::error!(error = %fault, "a request failed inside the server");
                Code::InternalError.into()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engine_speaks_the_codes_of_aws() {
        for (error, code) in [
            (Rejection::NoSuchBucket.into(), Code::NoSuchBucket),
            (Rejection::BucketNotEmpty.into(), Code::BucketNotEmpty),
            (Rejection::InvalidPartNumber { number: 0 }.into(), Code::InvalidArgument),
            (Rejection::NoParts.into(), Code::MalformedXML),
            (Rejection::BadDigest.into(), Code::BadDigest),
            (Rejection::NoSuchUser.into(), Code::InvalidArgument),
            (Unavailable::SlowDown.into(), Code::SlowDown),
            (Unavailable::NoSpace.into(), Code::InsufficientStorage),
            (Unavailable::Quarantined.into(), Code::ServiceUnavailable),
            (Unavailable::ShuttingDown.into(), Code::ServiceUnavailable),
            (Fault::LogStopped.into(), Code::InternalError),
        ] {
            let error: EngineError = error;
            let text = error.to_string();
            assert_eq!(S3Error::from(error).code, code, "{text}");
        }
    }

    #[test]
    fn what_broke_inside_is_not_told_to_the_client() {
        let error = S3Error::from(Fault::Projection("row 7 of /data".to_owned()));
        assert_eq!(error.message, Code::InternalError.default_message());
        assert!(error.extra.is_empty());
    }
}
