use super::*;
use crate::engine::command::{
    Conditions, DeleteObject, DeleteObjects, EtagMatch, KeyDeletion, MAX_DELETE_KEYS, PutObject,
};
use crate::engine::content::StagedContent;
use crate::engine::outcome::{Deleted, FailedCondition, Rejection};
use siltstone_log::event::{ContentHeaders, Event};
use siltstone_log::id::{Salt, VersionId};
use siltstone_log::record::Salted;
use siltstone_projections::objects;

pub(crate) fn put(object: &str, etag: &str) -> PutObject {
    PutObject {
        stream: BUCKET,
        key: key(object),
        content: StagedContent::Inline(Salted::new(Salt([3; 16]), etag.as_bytes())),
        etag: etag.to_owned(),
        checksums: Vec::new(),
        headers: ContentHeaders::default(),
        metadata: Vec::new(),
        tags: Vec::new(),
        version: VersionId(*blake3::hash(etag.as_bytes()).as_bytes().first_chunk().unwrap()),
        copied_from: None,
        conditions: Conditions::default(),
    }
}

pub(crate) fn deletion(object: &str, conditions: Conditions) -> KeyDeletion {
    KeyDeletion { key: key(object), version: None, marker: VersionId([0xdd; 16]), conditions }
}

pub(crate) fn delete(object: &str) -> DeleteObject {
    DeleteObject { stream: BUCKET, deletion: deletion(object, Conditions::default()) }
}

/// What a deletion in a bucket without versions tells.
fn deleted(existed: bool) -> Deleted {
    Deleted { existed, ..Deleted::default() }
}

fn etags(etags: &[&str]) -> EtagMatch {
    EtagMatch::Etags(etags.iter().map(|etag| (*etag).to_owned()).collect())
}

fn if_match(wanted: EtagMatch) -> Conditions {
    Conditions { if_match: Some(wanted), if_none_match: None }
}

fn if_none_match(wanted: EtagMatch) -> Conditions {
    Conditions { if_match: None, if_none_match: Some(wanted) }
}

const IF_MATCH: Rejection = Rejection::PreconditionFailed(FailedCondition::IfMatch);
const IF_NONE_MATCH: Rejection = Rejection::PreconditionFailed(FailedCondition::IfNoneMatch);

/// Conditions, what the key holds, and what becomes of a PUT and a DELETE.
type Case = (Conditions, Option<&'static str>, Result<(), Rejection>, Result<(), Rejection>);

fn table() -> Vec<Case> {
    let any = || EtagMatch::Any;
    vec![
        (Conditions::default(), None, Ok(()), Ok(())),
        (Conditions::default(), Some("a"), Ok(()), Ok(())),
        (if_none_match(any()), None, Ok(()), Ok(())),
        (if_none_match(any()), Some("a"), Err(IF_NONE_MATCH), Err(IF_NONE_MATCH)),
        (if_none_match(etags(&["b", "a"])), Some("a"), Err(IF_NONE_MATCH), Err(IF_NONE_MATCH)),
        (if_none_match(etags(&["b"])), Some("a"), Ok(()), Ok(())),
        (if_match(any()), Some("a"), Ok(()), Ok(())),
        (if_match(any()), None, Err(Rejection::NoSuchKey), Err(Rejection::NoSuchKey)),
        (if_match(etags(&["a"])), Some("a"), Ok(()), Ok(())),
        (if_match(etags(&["b"])), Some("a"), Err(IF_MATCH), Err(IF_MATCH)),
        (if_match(etags(&["a"])), None, Err(Rejection::NoSuchKey), Err(Rejection::NoSuchKey)),
        (
            Conditions { if_match: Some(etags(&["a"])), if_none_match: Some(any()) },
            Some("a"),
            Err(IF_NONE_MATCH),
            Err(IF_NONE_MATCH),
        ),
    ]
}

#[test]
fn conditions_of_writes_and_deletes_hold_or_refuse() {
    for (conditions, holds, on_put, on_delete) in table() {
        let case = format!("{conditions:?} over {holds:?}");
        let fresh = || {
            let mut world = World::with_bucket();
            if let Some(etag) = holds {
                world.run(put("k", etag)).unwrap();
            }
            let records = world.durable.len();
            (world, records)
        };
        let (mut world, records) = fresh();
        let result = world.run(PutObject { conditions: conditions.clone(), ..put("k", "new") });
        assert_eq!(result.map(drop), on_put.clone().map_err(EngineError::from), "put {case}");
        let stored = objects::current(&world.store, BUCKET, &key("k")).unwrap().map(|row| row.etag);
        let expected = if on_put.is_ok() { Some("new") } else { holds };
        assert_eq!(stored.as_deref(), expected, "put {case}");
        assert_eq!(world.durable.len(), records + usize::from(on_put.is_ok()), "put {case}");

        let (mut world, records) = fresh();
        let result = world.run(DeleteObject { stream: BUCKET, deletion: deletion("k", conditions) });
        let existed = holds.is_some();
        let expected =
            on_delete.clone().map(|()| Outcome::Deleted(deleted(existed))).map_err(EngineError::from);
        assert_eq!(result, expected, "delete {case}");
        let written = on_delete.is_ok() && existed;
        assert_eq!(world.durable.len(), records + usize::from(written), "delete {case}");
    }
}

#[test]
fn many_keys_are_deleted_each_for_itself() {
    let mut world = World::with_bucket();
    for object in ["a", "b", "c"] {
        world.run(put(object, object)).unwrap();
    }
    let wrong = if_match(etags(&["x"]));
    let any = Conditions::default();
    let deletions = vec![
        deletion("a", any.clone()),
        deletion("missing", any.clone()),
        deletion("b", wrong),
        deletion("a", any.clone()),
        deletion("a", if_match(EtagMatch::Any)),
        deletion("c", if_match(etags(&["c"]))),
    ];
    let outcome = world.run(DeleteObjects { stream: BUCKET, deletions });
    let [there, not] = [true, false].map(|existed| Ok(deleted(existed)));
    let results = vec![there.clone(), not.clone(), Err(IF_MATCH), not, Err(Rejection::NoSuchKey), there];
    assert_eq!(outcome, Ok(Outcome::DeletedEach(results)));
    let gone: Vec<String> = world
        .events()
        .into_iter()
        .filter_map(|body| match body.event {
            Event::ObjectDeleted(event) => Some(event.key.to_string()),
            _ => None,
        })
        .collect();
    assert_eq!(gone, ["a", "c"]);
    let deletions = (0..=MAX_DELETE_KEYS).map(|i| deletion(&i.to_string(), Conditions::default())).collect();
    let refused = world.run(DeleteObjects { stream: BUCKET, deletions });
    assert_eq!(refused, Err(Rejection::TooLarge.into()));
}

#[test]
fn a_bucket_that_is_not_there_takes_nothing() {
    let mut world = World::new();
    let deletions = vec![deletion("a", Conditions::default())];
    let results = [
        world.run(put("a", "1")),
        world.run(delete("a")),
        world.run(DeleteObjects { stream: BUCKET, deletions }),
    ];
    assert_eq!(results, [const { Err(EngineError::Rejected(Rejection::NoSuchBucket)) }; 3]);
    assert!(world.durable.is_empty());
}
