//! Which actions a request needs on what it names (AWS's Service Authorization Reference).
//!
//! Previous hop: the dispatcher, and handlers whose body names more. Next hop: [`crate::auth::authorize`].

use super::error::{S3Error, S3ErrorCode};
use super::operation::Operation;
use super::tags;
use super::xml::delete::NamedObject;
use crate::auth::{Action, Authenticated, Class, authorize};
use http::HeaderMap;
use http::header::{IF_MATCH, IF_NONE_MATCH};
use siltstone_log::id::AccountId;

/// What giving tags to a new bucket needs, beside making it.
const TAG_RESOURCE: Action = Action { name: "s3:TagResource", class: Class::Manage };

/// Refuses a caller who may not do all of it to what `owner` owns.
pub(super) fn check(
    caller: &Authenticated,
    needed: &[Action],
    owner: Option<AccountId>,
) -> Result<(), S3Error> {
    if needed.iter().all(|action| authorize(caller, *action, owner).is_allowed()) {
        return Ok(());
    }
    Err(S3ErrorCode::AccessDenied.into())
}

/// What a request needs by its head: storing tags with an object is an action of its own, and a write or deletion that
/// asks for an ETag tells of the object that is there (AWS's guides to conditional writes and deletes).
pub(super) fn of_request(operation: Operation, names_version: bool, headers: &HeaderMap) -> Vec<Action> {
    // Each of its entries is asked for by itself (of_deletion): S3 answers 200 and names those that are denied (AWS's
    // API reference, DeleteObjects).
    if operation == Operation::DeleteObjects {
        return Vec::new();
    }
    let mut needed = vec![operation.action_on(names_version)];
    let stores_tags =
        matches!(operation, Operation::PutObject | Operation::CopyObject | Operation::CreateMultipartUpload);
    if stores_tags && headers.contains_key(tags::HEADER) {
        needed.push(Operation::PutObjectTagging.action());
    }
    let depends_on_it = matches!(
        operation,
        Operation::PutObject
            | Operation::CopyObject
            | Operation::CompleteMultipartUpload
            | Operation::DeleteObject
    );
    if depends_on_it && asks_for_etag(headers) {
        needed.push(Operation::GetObject.action());
    }
    needed
}

/// Whether a condition compares an ETag; `*` asks only whether there is anything.
fn asks_for_etag(headers: &HeaderMap) -> bool {
    let conditions = [IF_MATCH, IF_NONE_MATCH].map(|name| headers.get_all(name));
    conditions.iter().flatten().any(|value| value.as_bytes().trim_ascii() != b"*")
}

/// What a copy needs on its source.
pub(super) fn of_source(operation: Operation, names_version: bool, replaces_tags: bool) -> Vec<Action> {
    let mut needed = vec![Operation::GetObject.action_on(names_version)];
    if operation == Operation::CopyObject && !replaces_tags {
        needed.push(Operation::GetObjectTagging.action_on(names_version));
    }
    needed
}

/// What one entry of `DeleteObjects` needs: the same as a request of its own.
pub(super) fn of_deletion(object: &NamedObject) -> Vec<Action> {
    let mut needed = vec![Operation::DeleteObject.action_on(object.version_id.is_some())];
    if object.etag.as_ref().is_some_and(|etag| etag != "*") {
        needed.push(Operation::GetObject.action());
    }
    needed
}

/// What a new bucket's tags need.
pub(super) fn of_new_tags(tags: &tags::Tags) -> &'static [Action] {
    if tags.is_empty() { &[] } else { &[TAG_RESOURCE] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::testing::identity;
    use http::{HeaderName, HeaderValue};

    fn names(actions: &[Action]) -> Vec<&'static str> {
        actions.iter().map(|action| action.name).collect()
    }

    #[test]
    fn a_request_needs_the_action_on_a_version_where_it_names_one_and_that_on_tags_where_it_has_some() {
        let needed = |operation, names_version, headers: &[(&'static str, &'static str)]| {
            let headers = headers
                .iter()
                .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
            names(&of_request(operation, names_version, &headers.collect()))
        };
        let tagging = [("x-amz-tagging", "a=b")];
        assert_eq!(needed(Operation::GetObject, false, &[]), ["s3:GetObject"]);
        assert_eq!(needed(Operation::HeadObject, true, &[]), ["s3:GetObjectVersion"]);
        assert_eq!(needed(Operation::DeleteObject, true, &tagging), ["s3:DeleteObjectVersion"]);
        assert_eq!(needed(Operation::PutObject, false, &tagging), ["s3:PutObject", "s3:PutObjectTagging"]);
        let [any, etag] = ["*", "\"e\""].map(|value| [("if-match", value)]);
        assert_eq!(needed(Operation::DeleteObject, false, &any), ["s3:DeleteObject"]);
        assert_eq!(needed(Operation::DeleteObject, false, &etag), ["s3:DeleteObject", "s3:GetObject"]);
        let writes = [
            (Operation::PutObject, "s3:PutObject"),
            (Operation::CopyObject, "s3:PutObject"),
            (Operation::CompleteMultipartUpload, "s3:PutObject"),
            (Operation::DeleteObject, "s3:DeleteObject"),
        ];
        for (operation, action) in writes {
            for condition in ["if-match", "if-none-match"] {
                assert_eq!(needed(operation, false, &[(condition, "*")]), [action]);
                assert_eq!(needed(operation, false, &[(condition, "\"e\"")]), [action, "s3:GetObject"]);
            }
        }
        assert_eq!(needed(Operation::GetObject, false, &etag), ["s3:GetObject"]);
        assert_eq!(needed(Operation::DeleteObjects, false, &[]), [""; 0]);
    }

    #[test]
    fn a_copy_needs_to_read_its_source_and_the_tags_that_it_takes_over() {
        let copy = |version, replaces| names(&of_source(Operation::CopyObject, version, replaces));
        assert_eq!(copy(false, true), ["s3:GetObject"]);
        assert_eq!(copy(false, false), ["s3:GetObject", "s3:GetObjectTagging"]);
        assert_eq!(copy(true, false), ["s3:GetObjectVersion", "s3:GetObjectVersionTagging"]);
        let part = of_source(Operation::UploadPartCopy, true, false);
        assert_eq!(names(&part), ["s3:GetObjectVersion"]);
    }

    #[test]
    fn each_entry_of_a_deletion_needs_what_a_request_of_its_own_would() {
        let text = |value: &str| Some(value.to_owned());
        let plain = NamedObject { key: "k".to_owned(), ..NamedObject::default() };
        assert_eq!(names(&of_deletion(&plain)), ["s3:DeleteObject"]);
        let version = NamedObject { version_id: text("null"), ..plain.clone() };
        assert_eq!(names(&of_deletion(&version)), ["s3:DeleteObjectVersion"]);
        assert_eq!(
            names(&of_deletion(&NamedObject { etag: text("*"), ..plain.clone() })),
            ["s3:DeleteObject"]
        );
        let etag = NamedObject { etag: text("e"), ..plain };
        assert_eq!(names(&of_deletion(&etag)), ["s3:DeleteObject", "s3:GetObject"]);
    }

    #[test]
    fn a_new_bucket_needs_an_action_for_its_tags() {
        assert_eq!(names(of_new_tags(&Vec::new())), [""; 0]);
        assert_eq!(names(of_new_tags(&vec![("a".to_owned(), "b".to_owned())])), ["s3:TagResource"]);
    }

    #[test]
    fn all_that_is_needed_has_to_be_allowed() {
        let reader = identity(1, false, &["readonly"]);
        let caller = Authenticated { identity: reader, access_key: String::new() };
        let (read, delete) = (Operation::GetObject.action(), Operation::DeleteObject.action());
        let own = Some(AccountId([1; 16]));
        let code = |needed: &[Action], owner| check(&caller, needed, owner).map_err(|error| error.code);
        assert_eq!(code(&[read], own), Ok(()));
        assert_eq!(code(&[read, delete], own), Err(S3ErrorCode::AccessDenied));
        assert_eq!(code(&[read], Some(AccountId([2; 16]))), Err(S3ErrorCode::AccessDenied));
        assert_eq!(code(&[TAG_RESOURCE], None), Err(S3ErrorCode::AccessDenied));
    }
}
