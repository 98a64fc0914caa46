use super::*;
use crate::engine::bucket_protocol::{SecondHalf, unfinished};
use crate::engine::command::{BeginBucket, CreateBucket, DeleteBucket, ReleaseBucketName};
use crate::engine::outcome::Rejection;
use crate::engine::tests::decide_object::put;
use siltstone_projections::{buckets, names};

fn create(owner: AccountId, stream: u8) -> CreateBucket {
    CreateBucket {
        name: name("bucket"),
        owner,
        location: "eu-1".to_owned(),
        stream: StreamId([stream; 16]),
        tags: vec![],
    }
}

fn delete(stream: u8) -> DeleteBucket {
    DeleteBucket { name: name("bucket"), stream: StreamId([stream; 16]) }
}

/// Both halves, as the engine runs them.
fn run_both(world: &mut World, action: impl Into<Action>) -> Result<Outcome, EngineError> {
    let action = action.into();
    let half = SecondHalf::of(&action).expect("an action with two halves");
    let first = world.run(action)?;
    world.run(half.after(&first))
}

fn rejected(rejection: Rejection) -> Result<Outcome, EngineError> {
    Err(rejection.into())
}

#[test]
fn a_bucket_is_made_once_for_its_owner_and_never_for_another() {
    let mut world = World::new();
    assert_eq!(run_both(&mut world, create(OWNER, 1)), Ok(Outcome::Done));
    let (_, bucket) = names::resolve(&world.store, &name("bucket")).unwrap().unwrap();
    assert_eq!((bucket.owner, bucket.location.as_str()), (OWNER, "eu-1"));
    assert_eq!(run_both(&mut world, create(OWNER, 2)), rejected(Rejection::BucketAlreadyOwnedByYou));
    assert_eq!(run_both(&mut world, create(OTHER, 3)), rejected(Rejection::BucketAlreadyExists));
    assert_eq!(world.events().len(), 2, "refusals leave no record");
}

#[test]
fn a_creation_that_stopped_half_way_is_finished_by_the_next_one_of_the_same_owner() {
    let mut world = World::new();
    assert_eq!(world.run(create(OWNER, 1)), Ok(Outcome::NameReserved { stream: StreamId([1; 16]) }));
    assert!(names::resolve(&world.store, &name("bucket")).unwrap().is_none());
    assert_eq!(run_both(&mut world, create(OTHER, 2)), rejected(Rejection::BucketAlreadyExists));
    assert_eq!(run_both(&mut world, create(OWNER, 3)), Ok(Outcome::Done));
    let (row, _) = names::resolve(&world.store, &name("bucket")).unwrap().unwrap();
    assert_eq!(row.stream, StreamId([1; 16]), "the stream that was reserved first");
}

#[test]
fn two_creations_at_once_have_one_winner() {
    let mut world = World::new();
    let tokens = [world.submit(create(OWNER, 1)), world.submit(create(OWNER, 2))];
    world.commit_all();
    let begin = |world: &World, token: u64, stream| {
        let outcome = world.answer(token).unwrap().clone().unwrap().outcome;
        SecondHalf::Begin(create(OWNER, stream)).after(&outcome)
    };
    let halves = [begin(&world, tokens[0], 1), begin(&world, tokens[1], 2)];
    let tokens: Vec<u64> = halves.into_iter().map(|half| world.submit(half)).collect();
    world.commit_all();
    assert!(world.answer(tokens[0]).unwrap().is_ok());
    let lost = EngineError::from(Rejection::BucketAlreadyOwnedByYou);
    assert_eq!(world.answer(tokens[1]), Some(&Err(lost)));
}

#[test]
fn only_an_empty_bucket_is_deleted_and_then_its_name_is_free() {
    let mut world = World::with_bucket();
    world.run(put("a", "1")).unwrap();
    assert_eq!(run_both(&mut world, delete(7)), rejected(Rejection::BucketNotEmpty));
    world.run(crate::engine::tests::decide_object::delete("a")).unwrap();
    assert_eq!(run_both(&mut world, delete(7)), Ok(Outcome::Done));
    assert_eq!(run_both(&mut world, delete(7)), rejected(Rejection::NoSuchBucket));
    assert_eq!(world.run(put("a", "1")), rejected(Rejection::NoSuchBucket));
    assert_eq!(run_both(&mut world, create(OTHER, 8)), Ok(Outcome::Done));
    assert!(buckets::get(&world.store, BUCKET).unwrap().is_some_and(|bucket| !bucket.is_open()));
}

#[test]
fn a_deletion_that_stopped_half_way_is_finished_by_the_next_creation() {
    let mut world = World::with_bucket();
    world.run(delete(7)).unwrap();
    assert!(names::resolve(&world.store, &name("bucket")).unwrap().is_none());
    assert_eq!(run_both(&mut world, create(OTHER, 8)), Ok(Outcome::Done));
    // The half that was left over comes late and does nothing to the new incarnation.
    let records = world.durable.len();
    assert_eq!(world.run(ReleaseBucketName(delete(7))), Ok(Outcome::Done));
    assert_eq!(world.durable.len(), records);
    let (row, _) = names::resolve(&world.store, &name("bucket")).unwrap().unwrap();
    assert_eq!((row.stream, row.owner), (StreamId([8; 16]), OTHER));
}

#[test]
fn recovery_finishes_what_stopped_half_way() {
    let mut world = World::with_bucket();
    assert_eq!(unfinished(&world.store), Ok(vec![]));
    world.run(delete(7)).unwrap();
    let half_made = CreateBucket { name: name("another"), ..create(OTHER, 9) };
    world.run(half_made.clone()).unwrap();
    let found = unfinished(&world.store).unwrap();
    assert_eq!(found, [SecondHalf::Begin(half_made.clone()), SecondHalf::Release(delete(7))]);
    for half in found {
        world.run(half).unwrap();
    }
    assert_eq!(unfinished(&world.store), Ok(vec![]));
    assert!(names::resolve(&world.store, &name("another")).unwrap().is_some());
    assert!(names::get(&world.store, &name("bucket")).unwrap().is_none());
    let again = world.run(BeginBucket(half_made));
    assert_eq!(again, rejected(Rejection::BucketAlreadyOwnedByYou));
}
