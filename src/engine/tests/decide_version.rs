use super::*;
use crate::engine::command::{
    Conditions, DeleteBucket, DeleteObject, DeleteObjects, EtagMatch, ExpireVersions, KeyDeletion, PutObject,
    SetVersioning, TagObject,
};
use crate::engine::content::{BlobGuard, SharedContent, StagedBlob, StagedContent};
use crate::engine::outcome::{Deleted, FailedCondition, Rejection};
use crate::engine::tests::decide_object::{deletion, put};
use siltstone_log::event::{Content, ContentSlice, ContentSource, Versioning};
use siltstone_log::id::{VersionId, VersionRef};
use siltstone_projections::{buckets, objects};

fn versioned(versioning: Versioning) -> World {
    let mut world = World::with_bucket();
    world.run(SetVersioning { stream: BUCKET, versioning }).unwrap();
    world
}

fn set(world: &mut World, versioning: Versioning) {
    assert_eq!(world.run(SetVersioning { stream: BUCKET, versioning }), Ok(Outcome::Done));
}

fn id(n: u8) -> VersionId {
    VersionId([n; 16])
}

fn put_as(world: &mut World, object: &str, etag: &str, n: u8) -> Option<VersionRef> {
    match world.run(PutObject { version: id(n), ..put(object, etag) }) {
        Ok(Outcome::Stored { version }) => version,
        other => panic!("{other:?}"),
    }
}

fn delete(world: &mut World, object: &str, version: Option<VersionRef>, marker: u8) -> Deleted {
    let marker = id(marker);
    let deletion = KeyDeletion { version, marker, ..deletion(object, Conditions::default()) };
    match world.run(DeleteObject { stream: BUCKET, deletion }) {
        Ok(Outcome::Deleted(deleted)) => deleted,
        other => panic!("{other:?}"),
    }
}

fn versions(world: &World, object: &str) -> Vec<(VersionRef, Option<String>)> {
    objects::versions(&world.store, BUCKET, &key(object))
        .map(Result::unwrap)
        .map(|row| (row.version(), row.object().map(|object| object.etag.clone())))
        .collect()
}

#[test]
fn a_bucket_keeps_versions_from_when_it_is_told_to_and_null_ones_while_suspended() {
    let mut world = World::with_bucket();
    assert_eq!(put_as(&mut world, "k", "before", 1), None);
    set(&mut world, Versioning::Enabled);
    assert_eq!(put_as(&mut world, "k", "one", 2), Some(VersionRef::Id(id(2))));
    assert_eq!(put_as(&mut world, "k", "two", 3), Some(VersionRef::Id(id(3))));
    set(&mut world, Versioning::Suspended);
    assert_eq!(put_as(&mut world, "k", "null", 4), Some(VersionRef::Null));
    let etag = |etag: &str| Some(etag.to_owned());
    let expected = [
        (VersionRef::Null, etag("null")),
        (VersionRef::Id(id(3)), etag("two")),
        (VersionRef::Id(id(2)), etag("one")),
    ];
    assert_eq!(versions(&world, "k"), expected, "the null version from before was replaced");
    let undone = world.run(SetVersioning { stream: BUCKET, versioning: Versioning::Unversioned });
    assert_eq!(undone, Err(Rejection::VersioningNotUndone.into()));
    let records = world.durable.len();
    set(&mut world, Versioning::Suspended);
    assert_eq!(world.durable.len(), records, "what is set already needs no record");
}

#[test]
fn a_delete_puts_a_marker_and_a_deleted_marker_uncovers_the_object() {
    let mut world = versioned(Versioning::Enabled);
    put_as(&mut world, "k", "one", 1);
    let marker = Some(VersionRef::Id(id(9)));
    let covered = Deleted { existed: true, version: marker, marker: true };
    assert_eq!(delete(&mut world, "k", None, 9), covered);
    assert_eq!(objects::current(&world.store, BUCKET, &key("k")).unwrap(), None);
    let refused = world.run(DeleteBucket { name: name("bucket"), stream: BUCKET });
    assert_eq!(refused, Err(Rejection::BucketNotEmpty.into()));
    assert_eq!(delete(&mut world, "k", marker, 8), covered);
    assert_eq!(objects::current(&world.store, BUCKET, &key("k")).unwrap().unwrap().etag, "one");
    let gone = Deleted { existed: true, version: Some(VersionRef::Id(id(1))), marker: false };
    assert_eq!(delete(&mut world, "k", Some(VersionRef::Id(id(1))), 8), gone);
    assert_eq!(delete(&mut world, "k", Some(VersionRef::Id(id(1))), 8), Deleted { existed: false, ..gone });
    assert_eq!(versions(&world, "k"), []);
    assert!(delete(&mut world, "never there", None, 7).marker, "S3 marks keys that hold nothing, too");
}

#[test]
fn while_suspended_a_delete_replaces_the_null_version_by_a_null_marker() {
    let mut world = versioned(Versioning::Enabled);
    put_as(&mut world, "k", "one", 1);
    set(&mut world, Versioning::Suspended);
    put_as(&mut world, "k", "null", 2);
    let marked = Deleted { existed: true, version: Some(VersionRef::Null), marker: true };
    assert_eq!(delete(&mut world, "k", None, 3), marked);
    assert_eq!(delete(&mut world, "k", None, 4), marked);
    let expected = [(VersionRef::Null, None), (VersionRef::Id(id(1)), Some("one".to_owned()))];
    assert_eq!(versions(&world, "k"), expected);
}

#[test]
fn many_deletions_of_versions_are_each_for_themselves() {
    let mut world = versioned(Versioning::Enabled);
    put_as(&mut world, "k", "one", 1);
    put_as(&mut world, "k", "two", 2);
    let one = |version, marker, conditions| KeyDeletion {
        version,
        marker: id(marker),
        ..deletion("k", conditions)
    };
    let any = Conditions::default;
    let first = Some(VersionRef::Id(id(1)));
    let wrong = Conditions { if_match: Some(EtagMatch::Etags(vec!["x".to_owned()])), if_none_match: None };
    let deletions = vec![
        one(first, 0, wrong),
        one(first, 0, any()),
        one(first, 0, any()),
        one(None, 7, any()),
        one(None, 8, any()),
    ];
    let outcome = world.run(DeleteObjects { stream: BUCKET, deletions });
    let deleted = |existed, version, marker| Ok(Deleted { existed, version, marker });
    let results = vec![
        Err(Rejection::PreconditionFailed(FailedCondition::IfMatch)),
        deleted(true, first, false),
        deleted(false, first, false),
        deleted(true, Some(VersionRef::Id(id(7))), true),
        deleted(true, Some(VersionRef::Id(id(8))), true),
    ];
    assert_eq!(outcome, Ok(Outcome::DeletedEach(results)));
    let expected = [
        (VersionRef::Id(id(8)), None),
        (VersionRef::Id(id(7)), None),
        (VersionRef::Id(id(2)), Some("two".to_owned())),
    ];
    assert_eq!(versions(&world, "k"), expected);
}

#[test]
fn tags_go_to_the_version_that_was_named() {
    let mut world = versioned(Versioning::Enabled);
    put_as(&mut world, "k", "one", 1);
    put_as(&mut world, "k", "two", 2);
    let tags = |value: &str| vec![("t".to_owned(), value.to_owned())];
    let tag = |version, value| TagObject { stream: BUCKET, key: key("k"), version, tags: tags(value) };
    let old = Some(VersionRef::Id(id(1)));
    assert_eq!(world.run(tag(old, "old")), Ok(Outcome::Tagged { version: old }));
    let new = Some(VersionRef::Id(id(2)));
    assert_eq!(world.run(tag(None, "new")), Ok(Outcome::Tagged { version: new }));
    let found = |version| {
        let row = objects::find_version(&world.store, BUCKET, &key("k"), version).unwrap().unwrap();
        row.into_object().unwrap().tags
    };
    assert_eq!((found(VersionRef::Id(id(1))), found(VersionRef::Id(id(2)))), (tags("old"), tags("new")));
    delete(&mut world, "k", None, 9);
    let marker = Some(VersionRef::Id(id(9)));
    assert_eq!(world.run(tag(marker, "x")), Err(Rejection::IsDeleteMarker.into()));
    assert_eq!(world.run(tag(None, "x")), Err(Rejection::NoSuchKey.into()));
    assert_eq!(world.run(tag(Some(VersionRef::Null), "x")), Err(Rejection::NoSuchVersion.into()));
}

fn stored_blob(world: &mut World, object: &str, blob: u8) -> Seq {
    let content = StagedContent::Blob(StagedBlob {
        id: BlobId([blob; 16]),
        len: 100,
        hash: Hash::default(),
        guard: BlobGuard::none(),
    });
    world.run(PutObject { content, ..put(object, "blob") }).unwrap();
    objects::current(&world.store, BUCKET, &key(object)).unwrap().unwrap().seq
}

fn shared(object: &str, seq: Seq, blob: u8, len: u64) -> StagedContent {
    let source = ContentSource::Blob { blob: BlobId([blob; 16]) };
    let slices = vec![ContentSlice { source, offset: 0, len }];
    StagedContent::Shared(SharedContent { key: key(object), seq, slices })
}

#[test]
fn a_copy_shares_bytes_which_are_given_back_when_neither_needs_them() {
    let mut world = World::with_bucket();
    let source = stored_blob(&mut world, "source", 5);
    world.run(PutObject { content: shared("source", source, 5, 100), ..put("copy", "blob") }).unwrap();
    let copy = objects::current(&world.store, BUCKET, &key("copy")).unwrap().unwrap();
    assert!(matches!(&copy.content, Content::Slices(slices) if slices.len() == 1));
    let expire = |world: &mut World, object: &str, seq| {
        let versions = vec![(key(object), seq)];
        world.run(ExpireVersions { stream: BUCKET, versions }).unwrap();
    };
    expire(&mut world, "source", source);
    assert!(world.freed.is_empty(), "what is not past does not expire");
    delete(&mut world, "source", None, 0);
    expire(&mut world, "source", source);
    assert!(world.freed.is_empty(), "the copy has its bytes there");
    let gone = world.run(PutObject { content: shared("source", source, 5, 100), ..put("late", "blob") });
    assert_eq!(gone, Err(Rejection::SourceChanged.into()));
    delete(&mut world, "copy", None, 0);
    expire(&mut world, "copy", copy.seq);
    assert_eq!(world.freed, [BlobId([5; 16])]);
}

#[test]
fn bytes_that_the_source_does_not_have_are_not_shared() {
    let mut world = World::with_bucket();
    let source = stored_blob(&mut world, "source", 5);
    for content in
        [shared("source", source, 5, 101), shared("source", source, 6, 1), shared("other", source, 5, 1)]
    {
        let refused = world.run(PutObject { content, ..put("copy", "blob") });
        assert_eq!(refused, Err(Rejection::SourceChanged.into()));
    }
}

#[test]
fn what_a_deleted_bucket_held_expires_too() {
    let mut world = World::with_bucket();
    let source = stored_blob(&mut world, "k", 5);
    delete(&mut world, "k", None, 0);
    world.run(DeleteBucket { name: name("bucket"), stream: BUCKET }).unwrap();
    let history = |world: &World| buckets::get(&world.store, BUCKET).unwrap().unwrap().usage.history_bytes;
    assert_eq!(history(&world), 100);
    world.run(ExpireVersions { stream: BUCKET, versions: vec![(key("k"), source)] }).unwrap();
    assert_eq!((world.freed.as_slice(), history(&world)), (&[BlobId([5; 16])][..], 0));
    let records = world.durable.len();
    world.run(ExpireVersions { stream: BUCKET, versions: vec![(key("k"), source)] }).unwrap();
    assert_eq!(world.durable.len(), records, "what is gone needs no second record");
}
