//! Configurations of buckets and objects that this server does not keep: reading one answers what S3 answers where
//! none is set, deleting one leaves things as they are, and setting one is refused.

use crate::s3::error::{S3Error, S3ErrorCode};
use crate::s3::operation::Operation;
use crate::s3::request::S3Request;
use crate::s3::response::S3Response;
use crate::s3::xml::bucket;
use http::StatusCode;

/// What an operation on a configuration that is not set answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unset {
    /// An empty document with this root.
    Empty(&'static str),
    /// A document with this root that has one value.
    Value(&'static str, &'static str, &'static str),
    /// An error.
    Error(S3ErrorCode),
    /// 204: there was nothing to delete.
    Deleted,
}

fn unset(operation: Operation) -> Option<Unset> {
    use Operation as Op;
    use S3ErrorCode as Code;
    Some(match operation {
        Op::GetBucketNotificationConfiguration => Unset::Empty("NotificationConfiguration"),
        Op::GetBucketLogging => Unset::Empty("BucketLoggingStatus"),
        Op::GetBucketAccelerateConfiguration => Unset::Empty("AccelerateConfiguration"),
        Op::GetBucketRequestPayment => Unset::Value("RequestPaymentConfiguration", "Payer", "BucketOwner"),
        Op::GetBucketAbac => Unset::Value("AbacStatus", "Status", "Disabled"),
        Op::GetBucketPolicy | Op::GetBucketPolicyStatus => Unset::Error(Code::NoSuchBucketPolicy),
        Op::GetBucketLifecycleConfiguration => Unset::Error(Code::NoSuchLifecycleConfiguration),
        Op::GetBucketCors => Unset::Error(Code::NoSuchCORSConfiguration),
        Op::GetBucketEncryption => Unset::Error(Code::ServerSideEncryptionConfigurationNotFoundError),
        Op::GetBucketWebsite => Unset::Error(Code::NoSuchWebsiteConfiguration),
        Op::GetObjectLockConfiguration => Unset::Error(Code::ObjectLockConfigurationNotFoundError),
        Op::GetBucketReplication => Unset::Error(Code::ReplicationConfigurationNotFoundError),
        Op::GetPublicAccessBlock => Unset::Error(Code::NoSuchPublicAccessBlockConfiguration),
        Op::GetBucketOwnershipControls => Unset::Error(Code::OwnershipControlsNotFoundError),
        Op::ListBucketAnalyticsConfigurations => untruncated("ListBucketAnalyticsConfigurationResult"),
        Op::ListBucketMetricsConfigurations => untruncated("ListMetricsConfigurationsResult"),
        Op::ListBucketInventoryConfigurations => untruncated("ListInventoryConfigurationsResult"),
        Op::ListBucketIntelligentTieringConfigurations => {
            untruncated("ListBucketIntelligentTieringConfigurationsOutput")
        }
        Op::GetBucketAnalyticsConfiguration
        | Op::GetBucketMetricsConfiguration
        | Op::GetBucketInventoryConfiguration
        | Op::GetBucketIntelligentTieringConfiguration
        | Op::DeleteBucketAnalyticsConfiguration
        | Op::DeleteBucketMetricsConfiguration
        | Op::DeleteBucketInventoryConfiguration
        | Op::DeleteBucketIntelligentTieringConfiguration => Unset::Error(Code::NoSuchConfiguration),
        Op::DeleteBucketPolicy
        | Op::DeleteBucketLifecycle
        | Op::DeleteBucketCors
        | Op::DeleteBucketEncryption
        | Op::DeleteBucketWebsite
        | Op::DeleteBucketReplication
        | Op::DeletePublicAccessBlock
        | Op::DeleteBucketOwnershipControls => Unset::Deleted,
        _ => return None,
    })
}

fn untruncated(root: &'static str) -> Unset {
    Unset::Value(root, "IsTruncated", "false")
}

/// Answers an operation that has no handler of its own.
pub(in crate::s3) fn configuration(request: &S3Request) -> Result<S3Response, S3Error> {
    let Some(unset) = unset(request.operation) else {
        return Err(S3Error::with_message(
            S3ErrorCode::NotImplemented,
            format!("{} is not implemented", request.operation.name()),
        ));
    };
    let bucket = request.open_bucket()?;
    match unset {
        Unset::Empty(root) => Ok(S3Response::xml(bucket::empty_configuration(root))),
        Unset::Value(root, name, value) => Ok(S3Response::xml(bucket::configuration(root, name, value))),
        Unset::Error(code) => Err(S3Error::new(code).extra("BucketName", bucket.name.as_str())),
        Unset::Deleted => Ok(S3Response::empty(StatusCode::NO_CONTENT)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_sets_something_is_never_taken_for_something_that_reads() {
        for operation in Operation::ALL {
            let reads = ["Get", "List"].iter().any(|verb| operation.name().starts_with(verb));
            let deletes =
                operation.name().starts_with("DeleteBucket") || operation.name().starts_with("DeletePublic");
            match unset(*operation) {
                Some(Unset::Empty(_) | Unset::Value(..)) => assert!(reads, "{}", operation.name()),
                Some(Unset::Error(_)) => assert!(reads || deletes, "{}", operation.name()),
                Some(Unset::Deleted) => assert!(deletes, "{}", operation.name()),
                None => {}
            }
        }
    }

    #[test]
    fn a_bucket_is_never_deleted_as_a_configuration() {
        for operation in [Operation::DeleteBucket, Operation::DeleteObject, Operation::DeleteObjects] {
            assert_eq!(unset(operation), None);
        }
    }
}
