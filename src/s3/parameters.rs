//! Which parameters a change may have. A parameter that this server does not know can be the name of an operation that is
//! newer than it: to carry out the plain operation of the method instead would overwrite or delete what nobody meant
//! (ADR 13).
//!
//! Previous hop: [`super::operation`], which recognised what the parameters that it knows ask for.

use super::error::{S3Error, S3ErrorCode};
use super::operation::{Operation, is_subresource};
use super::request::Query;

/// Parameters that say which of several things a subresource means; without that subresource they would be lost.
const SELECTORS: [&str; 4] = ["annotationName", "id", "partNumber", "select-type"];

/// Refuses a change with a parameter that could make another operation of it. Unknown ones with a value are ignored, as
/// AWS ignores them; those that begin with `x-` are the client's own (AWS: "Logging requests with server access logging",
/// custom access log information).
pub(super) fn check_change(operation: Operation, query: &Query) -> Result<(), S3Error> {
    for (name, value) in query.iter() {
        let own = name.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("x-"));
        if own || is_subresource(name) {
            continue;
        }
        if name == "versionId" && !takes_version(operation) {
            let message = "This operation does not accept a version-id.";
            return Err(S3Error::invalid_argument("versionId", value, message));
        }
        if let Some(selector) = SELECTORS.into_iter().find(|selector| *selector == name) {
            if !takes_selector(operation, selector) {
                let message = "The parameter needs one that the request does not have";
                return Err(S3Error::invalid_argument(selector, value, message));
            }
        } else if value.is_empty() && name != "versionId" {
            let message = "A query parameter that you provided implies functionality that is not implemented";
            return Err(
                S3Error::with_message(S3ErrorCode::NotImplemented, message).extra("ArgumentName", name)
            );
        }
    }
    Ok(())
}

/// Whether a change is of one version (AWS's API reference, the operations' URI parameters).
fn takes_version(operation: Operation) -> bool {
    use Operation as Op;
    matches!(
        operation,
        Op::DeleteObject
            | Op::PutObjectAcl
            | Op::PutObjectAnnotation
            | Op::DeleteObjectAnnotation
            | Op::PutObjectLegalHold
            | Op::PutObjectRetention
            | Op::PutObjectTagging
            | Op::DeleteObjectTagging
            | Op::RestoreObject
            | Op::SelectObjectContent
            | Op::UpdateObjectEncryption
    )
}

fn takes_selector(operation: Operation, selector: &str) -> bool {
    use Operation as Op;
    match selector {
        "annotationName" => matches!(operation, Op::PutObjectAnnotation | Op::DeleteObjectAnnotation),
        "partNumber" => matches!(operation, Op::UploadPart | Op::UploadPartCopy),
        "select-type" => operation == Op::SelectObjectContent,
        // Of the configurations that come in numbers.
        _ => !matches!(
            operation,
            Op::CreateBucket | Op::DeleteBucket | Op::PutObject | Op::CopyObject | Op::DeleteObject
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(operation: Operation, raw: &str) -> Result<(), S3ErrorCode> {
        check_change(operation, &Query::parse(raw).unwrap()).map_err(|error| error.code)
    }

    #[test]
    fn a_parameter_that_could_be_an_operation_is_refused_and_one_that_cannot_is_ignored() {
        let plain = [
            Operation::CreateBucket,
            Operation::DeleteBucket,
            Operation::PutObject,
            Operation::CopyObject,
            Operation::DeleteObject,
        ];
        for operation in plain {
            for raw in ["frobnicate", "frobnicate=", "a=b&frobnicate", "Acl", "list-type", "ANNOTATION", "="]
            {
                assert_eq!(check(operation, raw), Err(S3ErrorCode::NotImplemented), "{operation:?} {raw}");
            }
            for raw in ["id=1", "annotationName=n", "partNumber=1", "partNumber=", "select-type=2"] {
                assert_eq!(check(operation, raw), Err(S3ErrorCode::InvalidArgument), "{operation:?} {raw}");
            }
            for raw in
                ["", "x-id=PutObject", "x-whatever", "X-Amz-Date=", "frobnicate=1", "response-expires=1"]
            {
                assert_eq!(check(operation, raw), Ok(()), "{operation:?} {raw}");
            }
        }
        assert_eq!(check(Operation::UploadPart, "partNumber=1&uploadId=u"), Ok(()));
        assert_eq!(
            check(Operation::UploadPart, "partNumber=1&uploadId=u&frob"),
            Err(S3ErrorCode::NotImplemented)
        );
        assert_eq!(check(Operation::PutBucketMetricsConfiguration, "metrics&id=1"), Ok(()));
        assert_eq!(
            check(Operation::DeleteObjectAnnotation, "annotation&annotationName=n&versionId=v"),
            Ok(())
        );
    }

    #[test]
    fn only_changes_of_a_version_take_one() {
        for raw in ["versionId=v", "versionId=null", "versionId", "versionId="] {
            for operation in
                [Operation::DeleteObject, Operation::PutObjectTagging, Operation::DeleteObjectTagging]
            {
                assert_eq!(check(operation, raw), Ok(()), "{operation:?} {raw}");
            }
            for operation in [
                Operation::PutObject,
                Operation::CopyObject,
                Operation::CreateMultipartUpload,
                Operation::UploadPart,
                Operation::CompleteMultipartUpload,
                Operation::AbortMultipartUpload,
                Operation::DeleteObjects,
                Operation::CreateBucket,
            ] {
                assert_eq!(check(operation, raw), Err(S3ErrorCode::InvalidArgument), "{operation:?} {raw}");
            }
        }
    }
}
