use super::*;
use crate::engine::admission::{Admission, FreeSpace, Limits, Need};
use crate::engine::command::{Conditions, EtagMatch, PutObject};
use crate::engine::content::{BlobGuard, Fate, StagedBlob, StagedContent};
use crate::engine::outcome::{Fault, Rejection, Unavailable};
use crate::engine::tests::decide_object::{delete, put};
use proptest::prelude::*;
use siltstone_log::event::Event;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

fn put_new(object: &str, etag: &str) -> PutObject {
    let conditions = Conditions { if_match: None, if_none_match: Some(EtagMatch::Any) };
    PutObject { conditions, ..put(object, etag) }
}

/// A put whose blob tells what became of it.
fn put_blob(object: &str, fates: &Arc<Mutex<Vec<Fate>>>) -> PutObject {
    let fates = fates.clone();
    let guard = BlobGuard::new(move |fate| fates.lock().unwrap().push(fate));
    let blob = StagedBlob { id: BlobId([4; 16]), len: 1, hash: Hash([4; 32]), guard };
    PutObject { content: StagedContent::Blob(blob), ..put(object, "e") }
}

#[test]
fn a_refusal_that_saw_rows_which_are_not_durable_waits_for_them() {
    let mut world = World::with_bucket();
    let winner = world.submit(put_new("k", "1"));
    let loser = world.submit(put_new("k", "2"));
    let missing = world.submit(delete("other"));
    assert_eq!(world.answers.iter().filter(|(token, _)| *token >= winner).count(), 0);
    world.commit_all();
    let answered: Vec<u64> = world.answers.iter().map(|(token, _)| *token).skip(2).collect();
    assert_eq!(answered, [winner, loser, missing]);
    assert!(world.answer(winner).unwrap().is_ok());
    assert!(matches!(world.answer(loser), Some(Err(EngineError::Rejected(_)))));
    let at_once = world.submit(put_new("k", "3"));
    assert!(matches!(world.answer(at_once), Some(Err(EngineError::Rejected(_)))), "all is durable");
}

#[test]
fn what_was_admitted_is_given_back_when_the_record_is_durable_or_refused_and_not_before() {
    let mut world = World::with_bucket();
    let limits = Limits { bytes: 100, read_bytes: 0, requests: 9, per_request: 60, free_floor: 0 };
    let admission = Admission::new(limits, FreeSpace::UNKNOWN);
    let send = |world: &mut World, object| {
        let permit = admission.admit(Need::Store { bytes: 40 }).unwrap();
        let command = Command::new(Actor::server(Door::S3), put(object, "e"), &RealEntropy);
        world.submit_command(command.holding(permit))
    };
    send(&mut world, "a");
    assert_eq!(admission.in_flight(), (40, 1), "nobody waits for it, and it is under way");
    world.commit_all();
    assert_eq!(admission.in_flight(), (0, 0));
    send(&mut world, "b");
    world.refuse_next(WriteRefusal::NoSpace);
    assert_eq!(admission.in_flight(), (0, 0));
}

#[test]
fn a_refused_submission_undoes_what_was_decided_upon_it_and_the_stream_goes_on() {
    let mut world = World::with_bucket();
    let fates = Arc::new(Mutex::new(Vec::new()));
    let before = world.submit(put("before", "1"));
    let refused = world.submit(put_blob("k", &fates));
    let upon = world.submit(put_new("k", "2"));
    let behind = world.submit(put("behind", "3"));
    world.commit_next();
    assert_eq!(world.refuse_next(WriteRefusal::NoSpace), Some(refused));
    assert!(world.answer(before).unwrap().is_ok());
    for token in [refused, upon, behind] {
        let no_space = Err(EngineError::Unavailable(Unavailable::NoSpace));
        assert_eq!(world.answer(token), Some(&no_space));
    }
    assert_eq!(*fates.lock().unwrap(), [Fate::Dropped]);
    let again = world.submit(put_new("k", "4"));
    world.commit_all();
    assert!(world.answer(again).unwrap().is_ok(), "the undone put is not seen");
    assert!(world.tasks[&BUCKET].is_idle());
}

#[test]
fn nothing_is_decided_while_records_before_a_refused_one_are_on_their_way() {
    let mut world = World::with_bucket();
    let before = world.submit(put("before", "1"));
    world.submit(put("k", "2"));
    let kept = world.queue.pop_front().unwrap();
    world.refuse_next(WriteRefusal::NoSpace);
    let early = world.submit(put_new("k", "3"));
    assert_eq!(world.answer(early), Some(&Err(Unavailable::NoSpace.into())));
    assert!(world.answer(before).is_none());
    world.queue.push_front(kept);
    world.commit_all();
    assert!(world.answer(before).unwrap().is_ok());
    let later = world.submit(put_new("k", "4"));
    world.commit_all();
    assert!(world.answer(later).unwrap().is_ok());
}

#[test]
fn after_a_failure_outcomes_are_unknown_and_blobs_stay() {
    let mut world = World::with_bucket();
    let fates = Arc::new(Mutex::new(Vec::new()));
    let token = world.submit(put_blob("k", &fates));
    world.feed(BUCKET, TaskInput::Failed(Fault::LogStopped));
    assert_eq!(world.answer(token), Some(&Err(Fault::LogStopped.into())));
    assert_eq!(*fates.lock().unwrap(), [Fate::Kept]);
}

#[test]
fn a_blob_stays_once_its_record_is_durable_and_goes_when_the_put_is_rejected() {
    let mut world = World::with_bucket();
    let fates = Arc::new(Mutex::new(Vec::new()));
    world.submit(put_blob("k", &fates));
    assert!(fates.lock().unwrap().is_empty());
    world.commit_all();
    assert_eq!(*fates.lock().unwrap(), [Fate::Kept]);
    let conditions = Conditions { if_match: None, if_none_match: Some(EtagMatch::Any) };
    world.submit(PutObject { conditions, ..put_blob("k", &fates) });
    assert_eq!(*fates.lock().unwrap(), [Fate::Kept, Fate::Dropped]);
}

#[derive(Debug, Clone)]
enum Step {
    Put { object: u8, conditional: bool },
    Delete { object: u8 },
    Commit,
    Refuse,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u8..3, any::<bool>()).prop_map(|(object, conditional)| Step::Put { object, conditional }),
        2 => (0u8..3).prop_map(|object| Step::Delete { object }),
        3 => Just(Step::Commit),
        1 => Just(Step::Refuse),
    ]
}

proptest! {
    /// Whatever is committed and refused in whatever order: every command is answered once; a success is durable
    /// when it is told, a refusal rests on what is durable when it is told, what is unavailable never happened; and
    /// every condition held in the order of the log.
    #[test]
    fn answers_tell_of_durable_state_only(steps in prop::collection::vec(step(), 1..60)) {
        let mut world = World::with_bucket();
        let begin = world.answers.len();
        let mut rests_on = BTreeMap::new();
        let mut conditional = BTreeSet::new();
        let mut seen = begin;
        for step in steps {
            let last = world.tasks[&BUCKET].last();
            match step {
                Step::Put { object, conditional: new } => {
                    let (object, etag) = (object.to_string(), world.next_token.to_string());
                    let token = world.submit(if new { put_new(&object, &etag) } else { put(&object, &etag) });
                    rests_on.insert(token, last);
                    if new {
                        conditional.insert(etag);
                    }
                }
                Step::Delete { object } => {
                    let token = world.submit(delete(&object.to_string()));
                    rests_on.insert(token, last);
                }
                Step::Commit => drop(world.commit_next()),
                Step::Refuse => drop(world.refuse_next(WriteRefusal::NoSpace)),
            }
            check_answers(&world, &rests_on, &mut seen)?;
        }
        world.commit_all();
        check_answers(&world, &rests_on, &mut seen)?;
        let answered: BTreeSet<u64> = world.answers[begin..].iter().map(|(token, _)| *token).collect();
        prop_assert_eq!(answered.len(), world.answers.len() - begin, "nobody is answered twice");
        prop_assert_eq!(answered, rests_on.keys().copied().collect::<BTreeSet<_>>());
        prop_assert!(world.tasks[&BUCKET].is_idle());
        check_history(&world, &conditional)?;
    }
}

fn durable_seq(world: &World) -> Seq {
    world.durable.iter().filter(|record| record.stream == BUCKET).map(|record| record.seq).max().unwrap()
}

fn check_answers(
    world: &World,
    rests_on: &BTreeMap<u64, Seq>,
    seen: &mut usize,
) -> Result<(), TestCaseError> {
    for (token, result) in &world.answers[*seen..] {
        match result {
            Ok(receipt) => prop_assert!(receipt.seq <= durable_seq(world), "told before it was durable"),
            Err(EngineError::Rejected(Rejection::PreconditionFailed(_))) => {
                prop_assert!(rests_on[token] <= durable_seq(world), "told of what a crash can undo");
            }
            Err(EngineError::Unavailable(_)) => {
                let etag = token.to_string();
                let stored = world.events().into_iter().any(|body| match body.event {
                    Event::ObjectPut(put) => put.etag == etag,
                    _ => false,
                });
                prop_assert!(!stored, "said not to have happened, and is there");
            }
            Err(other) => prop_assert!(false, "unexpected {:?}", other),
        }
    }
    *seen = world.answers.len();
    Ok(())
}

fn check_history(world: &World, conditional: &BTreeSet<String>) -> Result<(), TestCaseError> {
    let mut current = BTreeMap::new();
    for body in world.events() {
        match body.event {
            Event::ObjectPut(put) => {
                let before = current.insert(put.key.to_string(), put.etag.clone());
                prop_assert!(before.is_none() || !conditional.contains(&put.etag), "two winners");
            }
            Event::ObjectDeleted(deleted) => {
                prop_assert!(current.remove(deleted.key.as_str()).is_some(), "deleted what was not there");
            }
            _ => {}
        }
    }
    Ok(())
}
