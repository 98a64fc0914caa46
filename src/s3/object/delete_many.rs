//! `DeleteObjects`: up to 1,000 keys in one request, each for itself.

use crate::auth::Action;
use crate::engine::command::{Conditions, DeleteObjects, EtagMatch, KeyDeletion};
use crate::engine::{Need, Outcome};
use crate::s3::error::{S3Error, S3ErrorCode};
use crate::s3::operation::Operation;
use crate::s3::operations::Operations;
use crate::s3::permission;
use crate::s3::request::S3Request;
use crate::s3::response::S3Response;
use crate::s3::xml::MAX_DOCUMENT_BYTES;
use crate::s3::xml::delete::{DeleteRequest, DeletedObject, NamedObject, delete_result};
use siltstone_log::event::AccessDenied;
use siltstone_log::id::{VersionId, VersionRef};
use siltstone_log::name::{BucketName, ObjectKey, ObjectKeyError};

pub(in crate::s3) async fn delete_many(
    operations: &Operations,
    request: S3Request,
) -> Result<S3Response, S3Error> {
    let bucket = request.open_bucket()?.clone();
    if !request.body.has_integrity_header() {
        let message = "Missing required header for this request: Content-MD5 OR x-amz-checksum-*";
        return Err(S3Error::with_message(S3ErrorCode::InvalidRequest, message));
    }
    let (actor, caller) = (request.context.actor(), request.context.caller);
    let (document, permit) =
        operations.admit_document(request.body, MAX_DOCUMENT_BYTES, Need::Manage).await?;
    if document.is_empty() {
        return Err(S3ErrorCode::MissingRequestBodyError.into());
    }
    let wanted = DeleteRequest::parse(&document)?;
    drop(document);
    let fresh = || operations.fresh_version();
    let may = |needed: &[Action]| permission::check(&caller, needed, Some(bucket.owner));
    let parsed = wanted.objects.iter().map(|object| parse(object, fresh(), may)).collect::<Vec<_>>();
    for (object, _) in wanted.objects.iter().zip(&parsed).filter(|(_, parsed)| is_denied(parsed)) {
        operations.engine().note_denied(actor.clone(), evidence(&bucket.name, object));
    }
    let deletions = parsed.iter().filter_map(|parsed| parsed.as_ref().ok().cloned()).collect::<Vec<_>>();
    let mut outcomes = Vec::with_capacity(deletions.len());
    // An entry sees what those before it did, as if each had come in a request of its own.
    for command in DeleteObjects::in_turn(bucket.stream, deletions) {
        let receipt = operations.submit(actor.clone(), command, permit.clone()).await?;
        match receipt.outcome {
            Outcome::DeletedEach(more) => outcomes.extend(more),
            _ => return Err(S3ErrorCode::InternalError.into()),
        }
    }
    let mut outcomes = outcomes.into_iter();
    let results = parsed.into_iter().map(|parsed| match parsed {
        Err(error) => Err(error),
        Ok(_) => match outcomes.next() {
            Some(outcome) => outcome.map_err(S3Error::from),
            None => Err(S3ErrorCode::InternalError.into()),
        },
    });
    let results = results.collect::<Vec<_>>();
    let results = wanted.objects.iter().zip(&results).map(|(object, result)| DeletedObject {
        object,
        result: result.as_ref().copied().map_err(|error| (error.code.as_str(), &*error.message)),
    });
    Ok(S3Response::xml(delete_result(results, wanted.quiet)))
}

fn is_denied(parsed: &Result<KeyDeletion, S3Error>) -> bool {
    parsed.as_ref().is_err_and(|error| error.code == S3ErrorCode::AccessDenied)
}

/// An entry that the caller may not delete is evidence, as a request of its own would be.
fn evidence(bucket: &BucketName, object: &NamedObject) -> AccessDenied {
    AccessDenied {
        operation: Operation::DeleteObjects.name().to_owned(),
        bucket: bucket.to_string(),
        key: object.key.clone(),
        code: S3ErrorCode::AccessDenied.as_str().to_owned(),
    }
}

/// Checks one entry; one that is refused does not keep the others.
fn parse(
    object: &NamedObject,
    marker: VersionId,
    may: impl Fn(&[Action]) -> Result<(), S3Error>,
) -> Result<KeyDeletion, S3Error> {
    let key = ObjectKey::parse(object.key.as_str()).map_err(|error| match error {
        ObjectKeyError::Empty => S3ErrorCode::MalformedXML,
        ObjectKeyError::TooLong => S3ErrorCode::KeyTooLongError,
    })?;
    may(&permission::of_deletion(object))?;
    let version = object.version_id.as_deref().map(VersionRef::parse).transpose();
    let version = version.map_err(|_| S3Error::from(S3ErrorCode::NoSuchVersion))?;
    // S3 refuses a condition beside a version, as of a single deletion.
    if object.other_condition || (version.is_some() && object.etag.is_some()) {
        return Err(S3ErrorCode::NotImplemented.into());
    }
    let if_match = object.etag.as_ref().map(|etag| match etag.as_str() {
        "*" => EtagMatch::Any,
        etag => EtagMatch::Etags(vec![etag.to_owned()]),
    });
    let conditions = Conditions { if_match, if_none_match: None };
    Ok(KeyDeletion { key, version, marker, conditions })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_entry_is_checked_for_itself() {
        let object = |key: &str| NamedObject { key: key.to_owned(), ..NamedObject::default() };
        let parse = |object: &NamedObject| parse(object, VersionId::default(), |_| Ok(()));
        let code =
            |object: &NamedObject| parse(object).map(|it| it.key.to_string()).map_err(|error| error.code);
        assert_eq!(code(&object("../a")), Ok("../a".to_owned()));
        let null = parse(&NamedObject { version_id: Some("null".into()), ..object("a") }).unwrap();
        assert_eq!((null.key.as_str(), null.version), ("a", Some(VersionRef::Null)));
        assert_eq!(code(&object(&"k".repeat(1025))), Err(S3ErrorCode::KeyTooLongError));
        let versioned = NamedObject { version_id: Some("v1".into()), ..object("a") };
        assert_eq!(code(&versioned), Err(S3ErrorCode::NoSuchVersion));
        let sized = NamedObject { other_condition: true, ..object("a") };
        assert_eq!(code(&sized), Err(S3ErrorCode::NotImplemented));
        let conditional =
            NamedObject { version_id: Some("null".into()), etag: Some("*".into()), ..object("a") };
        assert_eq!(code(&conditional), Err(S3ErrorCode::NotImplemented));
        let deletion = parse(&NamedObject { etag: Some("e".into()), ..object("a") }).unwrap();
        assert_eq!(deletion.conditions.if_match, Some(EtagMatch::Etags(vec!["e".into()])));
    }

    #[test]
    fn each_entry_is_asked_for_by_itself_and_what_is_denied_is_noted() {
        let may = |needed: &[Action]| match needed {
            [one] if one.name == "s3:DeleteObject" => Ok(()),
            _ => Err(S3ErrorCode::AccessDenied.into()),
        };
        let object = NamedObject { key: "k".to_owned(), ..NamedObject::default() };
        let denied = |object: &NamedObject| is_denied(&parse(object, VersionId::default(), may));
        assert!(!denied(&object));
        let version = NamedObject { version_id: Some("null".into()), ..object.clone() };
        assert!(denied(&version));
        assert!(denied(&NamedObject { etag: Some("e".into()), ..object }));
        let noted = evidence(&BucketName::parse("bucket").unwrap(), &version);
        assert_eq!((noted.operation.as_str(), noted.key.as_str()), ("DeleteObjects", "k"));
        assert_eq!((noted.bucket.as_str(), noted.code.as_str()), ("bucket", "AccessDenied"));
    }
}
