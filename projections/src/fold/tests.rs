use crate::changes::Changes;
use crate::follower::Pace;
use crate::overlay::{Overlay, PendingRows};
use crate::rebuild::Rebuild;
use crate::rows::{At, BucketRow, BucketState, Usage, VersionRow};
use crate::store::mem::MemStore;
use crate::store::{Rows, Space};
use crate::testing::*;
use crate::{Digest, buckets, fold, identity, multipart, names, objects};
use proptest::prelude::*;
use siltstone_log::event::*;
use siltstone_log::id::*;
use siltstone_log::name::BucketName;

fn followed(log: &TestLog, input: usize) -> MemStore {
    let store = MemStore::new();
    log.follow(&store, input).unwrap();
    store
}

/// Counts a bucket's rows afresh.
fn recount(rows: &dyn Rows, stream: StreamId) -> Usage {
    use crate::key::StateKey;
    use crate::rows::{ObjectRow, PartRow, Row};
    let mut usage = Usage::default();
    for (key, logical) in dump(rows, Space::State) {
        let stored = [&[0], logical.as_ref()].concat();
        match StateKey::decode(&key).unwrap() {
            StateKey::Current(of, _) if of == stream => {
                usage.objects += 1;
                usage.bytes += ObjectRow::from_stored(&stored).unwrap().size;
            }
            StateKey::Version(of, ..) if of == stream => {
                let row = VersionRow::from_stored(&stored).unwrap();
                usage.versions += u64::from(row.object.is_some());
                if let Some(object) = row.object.filter(|_| row.superseded.is_some() && !row.content_gone) {
                    usage.history_bytes += object.size;
                }
            }
            StateKey::Upload(of, ..) if of == stream => usage.uploads += 1,
            StateKey::Part(of, ..) if of == stream => {
                usage.upload_bytes += PartRow::from_stored(&stored).unwrap().size;
            }
            _ => {}
        }
    }
    usage
}

fn with_buckets(steps: &[Step]) -> TestLog {
    log_of(&[&[Step::Bucket(0), Step::Bucket(1)], steps].concat())
}

/// Only puts and deletes are erased, in a way that the module's documentation allows.
fn with_legal_erasures(steps: &[Step]) -> TestLog {
    let mut log = TestLog::default();
    for step in [&[Step::Bucket(0), Step::Bucket(1)], steps].concat() {
        let one = log_of(std::slice::from_ref(&step));
        let record = &one.records[0];
        let event = record.decode().unwrap().unwrap().event;
        if let Step::Erase { bucket, back } = step {
            let stream = bucket_stream(bucket);
            let target = Seq(log.heads[&stream].seq.get().saturating_sub(back.into()));
            let target_event =
                log.records.iter().find(|record| record.stream == stream && record.seq == target);
            let target_event = target_event.map(|record| record.decode().unwrap().unwrap().event);
            if matches!(target_event, Some(Event::ObjectPut(_) | Event::ObjectDeleted(_))) {
                log.append(stream, Event::Erased(Erased { seq: target, reason: String::new() }));
            }
        } else if let Step::Expire { bucket, key: k, back } = step {
            let stream = bucket_stream(bucket);
            let seq = Seq(log.heads[&stream].seq.get().saturating_sub(back.into()));
            let keys = ["a", "a\0", "a/b", "ключ"];
            let versions = vec![(key(keys[usize::from(k)]), seq)];
            log.append(stream, Event::ContentExpired(ContentExpired { versions }));
        } else {
            log.append(record.stream, event);
        }
    }
    log
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn live_rebuilt_and_pending_rows_have_one_digest(steps in steps(60), input in 1usize..20, bulk in 1usize..40) {
        let log = log_of(&steps);
        let live = followed(&log, input);

        let rebuilt = MemStore::new();
        let mut rebuild = Rebuild::new(&rebuilt, LOG, vec![], Pace::Bulk { rows: bulk, bytes: usize::MAX }).unwrap();
        log.records.chunks(7).for_each(|records| rebuild.push(records.to_vec()).unwrap());
        prop_assert_eq!(rebuild.finish().unwrap(), Position(log.records.len() as u64));

        // The engine's way: nothing is applied, every record is folded over what is pending.
        let (empty, mut pending) = (MemStore::new(), PendingRows::new());
        for record in &log.records {
            let Some(space) = Space::of(record.stream) else { continue };
            let mut changes = Changes::new();
            let body = record.decode().unwrap().unwrap();
            fold::apply(space, &Overlay::new(&empty, &pending), &record.into(), &body, &mut changes).unwrap();
            pending.add(space, record.stream, record.seq, changes);
        }
        let overlay = Overlay::new(&empty, &pending);

        for space in Space::ALL {
            prop_assert_eq!(dump(&live, space), dump(&rebuilt, space));
            prop_assert_eq!(dump(&live, space), dump(&overlay, space));
        }
        prop_assert_eq!(digests(&live), digests(&rebuilt));
        prop_assert_eq!(digests(&live), Space::ALL.map(|space| Digest::recompute(&overlay, space).unwrap()));
    }

    #[test]
    fn usage_is_what_a_recount_finds(steps in steps(60), input in 1usize..20) {
        let store = followed(&with_buckets(&steps), input);
        for stream in [bucket_stream(0), bucket_stream(1)] {
            prop_assert_eq!(buckets::get(&store, stream).unwrap().unwrap().usage, recount(&store, stream));
        }
    }

    #[test]
    fn a_log_whose_erased_bodies_are_destroyed_gives_the_same_rows(steps in steps(60)) {
        let log = with_legal_erasures(&steps);
        let destroyed = log.with_erased_bodies_destroyed();
        let (live, replayed) = (followed(&log, 5), followed(&destroyed, 5));
        prop_assert_eq!(dump(&live, Space::State), dump(&replayed, Space::State));
        prop_assert_eq!(digests(&live), digests(&replayed));
    }

    #[test]
    fn what_a_key_holds_is_what_the_last_put_or_delete_left(steps in steps(60)) {
        let log = with_buckets(&steps);
        let erases = |step: &Step| matches!(step, Step::Erase { .. });
        prop_assume!(!steps.iter().any(erases));
        let store = followed(&log, 4);
        let mut model = std::collections::BTreeMap::new();
        for record in &log.records {
            match record.decode().unwrap().unwrap().event {
                Event::ObjectPut(event) => model.insert((record.stream, event.key), Some(record.seq)),
                Event::MultipartCompleted(event) => model.insert((record.stream, event.key), Some(record.seq)),
                Event::ObjectDeleted(event) => model.insert((record.stream, event.key), None),
                _ => None,
            };
        }
        for ((stream, key), expected) in model {
            let current = objects::current(&store, stream, &key).unwrap();
            prop_assert_eq!(current.as_ref().map(|row| row.seq), expected);
            let history: Vec<_> = objects::history(&store, stream, &key).map(Result::unwrap).collect();
            // Newest first; every object but the current one says what took its place.
            prop_assert!(history.windows(2).all(|pair| pair[0].at > pair[1].at));
            for (newer, older) in history.iter().zip(history.iter().skip(1)) {
                prop_assert_eq!(older.superseded, older.object.as_ref().map(|_| newer.at));
            }
            prop_assert_eq!(history[0].superseded, None);
            for version in &history {
                let by_seq = objects::by_seq(&store, stream, version.at.seq).unwrap().unwrap();
                prop_assert_eq!(&by_seq.key, &key);
                let position = by_seq.place.unwrap().position;
                let record = log.records.iter().find(|record| record.place.position == position).unwrap();
                prop_assert_eq!((record.stream, record.seq), (stream, version.at.seq));
            }
        }
    }
}

#[test]
fn an_overwrite_keeps_the_older_version_and_counts_it_as_history() {
    let (mut log, stream) = (TestLog::default(), bucket_stream(0));
    log.append(stream, bucket_created("a-bucket"));
    let first = log.append(stream, put("k", 10));
    let second = log.append(stream, put("k", 7));
    let store = followed(&log, 1);
    let versions: Vec<_> = objects::history(&store, stream, &key("k")).map(Result::unwrap).collect();
    let sizes: Vec<_> = versions.iter().map(|row| (row.at.seq, row.object.as_ref().unwrap().size)).collect();
    assert_eq!(sizes, [(second, 7), (first, 10)]);
    assert_eq!(versions[1].superseded.map(|at| at.seq), Some(second));
    let usage = buckets::get(&store, stream).unwrap().unwrap().usage;
    let expected =
        Usage { objects: 1, bytes: 7, versions: 2, history_bytes: 10, uploads: 0, upload_bytes: 0 };
    assert_eq!(usage, expected);

    log.append(stream, Event::ContentExpired(ContentExpired { versions: vec![(key("k"), first)] }));
    let expired = followed(&log, 9);
    let version = objects::version(&expired, stream, &key("k"), first).unwrap().unwrap();
    assert!(version.content_gone);
    assert_eq!(buckets::get(&expired, stream).unwrap().unwrap().usage.history_bytes, 0);
}

#[test]
fn a_delete_leaves_a_tombstone_and_an_empty_bucket() {
    let (mut log, stream) = (TestLog::default(), bucket_stream(0));
    log.append(stream, bucket_created("a-bucket"));
    log.append(stream, put("k", 10));
    assert!(!buckets::is_empty(&followed(&log, 1), stream).unwrap());
    let tombstone = log.append(stream, delete("k"));
    let store = followed(&log, 1);
    assert!(buckets::is_empty(&store, stream).unwrap());
    let newest = objects::history(&store, stream, &key("k")).next().unwrap().unwrap();
    assert_eq!((newest.at.seq, newest.object), (tombstone, None));
}

#[test]
fn a_deleted_version_uncovers_the_one_before_it() {
    let (mut log, stream) = (TestLog::default(), bucket_stream(0));
    let versioned = |id: u8, size| match put("k", size) {
        Event::ObjectPut(event) => {
            Event::ObjectPut(ObjectPut { version: Some(VersionId([id; 16])), ..event })
        }
        other => other,
    };
    let deleted = |version: Option<u8>, marker: Option<u8>| {
        let id = |id| VersionId([id; 16]);
        Event::ObjectDeleted(ObjectDeleted {
            key: key("k"),
            version: version.map(id),
            marker: marker.map(id),
        })
    };
    log.append(stream, bucket_created("a-bucket"));
    let first = log.append(stream, versioned(1, 10));
    log.append(stream, versioned(2, 20));
    let current = |log: &TestLog| {
        let store = followed(log, 3);
        assert_eq!(buckets::get(&store, stream).unwrap().unwrap().usage.objects, {
            u64::from(objects::current(&store, stream, &key("k")).unwrap().is_some())
        });
        objects::current(&store, stream, &key("k")).unwrap().map(|row| row.size)
    };
    log.append(stream, deleted(None, Some(3)));
    assert_eq!(current(&log), None, "a delete marker covers it");
    log.append(stream, deleted(Some(3), None));
    assert_eq!(current(&log), Some(20), "without the marker it is back");
    log.append(stream, deleted(Some(2), None));
    assert_eq!(current(&log), Some(10));
    let store = followed(&log, 3);
    let version = objects::by_version_id(&store, stream, &key("k"), VersionId([1; 16])).unwrap().unwrap();
    assert_eq!((version.at.seq, version.superseded), (first, None));
    assert_eq!(objects::by_version_id(&store, stream, &key("k"), VersionId([2; 16])).unwrap(), None);
    log.append(stream, versioned(4, 40));
    log.append(stream, deleted(Some(1), None));
    assert_eq!(current(&log), Some(40), "an older version leaves the current one alone");
}

#[test]
fn parts_replace_each_other_and_end_with_their_upload() {
    let (mut log, stream, id) = (TestLog::default(), bucket_stream(0), UploadId([1; 16]));
    log.append(stream, bucket_created("a-bucket"));
    log.append(stream, part(1, 1, 99));
    log.append(stream, upload(1, "k"));
    for (number, size) in [(1, 5), (3, 6), (1, 7), (2, 8)] {
        log.append(stream, part(1, number, size));
    }
    let store = followed(&log, 2);
    let sizes =
        |page: &multipart::PartPage| -> Vec<_> { page.parts.iter().map(|(n, row)| (*n, row.size)).collect() };
    let page = multipart::parts(&store, stream, id, 0, 2).unwrap();
    assert_eq!((sizes(&page), page.next), (vec![(1, 7), (2, 8)], Some(2)));
    let page = multipart::parts(&store, stream, id, 2, 2).unwrap();
    assert_eq!((sizes(&page), page.next), (vec![(3, 6)], None));
    let usage = buckets::get(&store, stream).unwrap().unwrap().usage;
    assert_eq!((usage.uploads, usage.upload_bytes), (1, 21));
    assert_eq!(multipart::upload(&store, stream, id).unwrap().map(|(key, _)| key), Some(key("k")));

    for end in [complete(1, "k", 15), abort(1, "k"), seal()] {
        let mut log = log.clone();
        log.append(stream, end.clone());
        let store = followed(&log, 2);
        let bucket = buckets::get(&store, stream).unwrap().unwrap();
        assert_eq!((bucket.usage.uploads, bucket.usage.upload_bytes), (0, 0), "{end:?}");
        assert_eq!(multipart::upload(&store, stream, id).unwrap(), None);
        assert_eq!(multipart::all_parts(&store, stream, id).count(), 0);
        assert_eq!(bucket.is_open(), !matches!(end, Event::BucketSealed(_)));
        let object = objects::current(&store, stream, &key("k")).unwrap();
        assert_eq!(object.is_some(), matches!(end, Event::MultipartCompleted(_)));
    }
}

fn seal() -> Event {
    Event::BucketSealed(BucketSealed { name: BucketName::parse("a-bucket").unwrap() })
}

#[test]
fn a_name_is_seen_only_with_its_open_bucket_and_released_only_by_its_own_incarnation() {
    let (mut log, name) = (TestLog::default(), BucketName::parse("bucket-0").unwrap());
    let reserve = |stream| {
        Event::BucketNameReserved(BucketNameReserved {
            name: BucketName::parse("bucket-0").unwrap(),
            stream,
            owner: AccountId([1; 16]),
            location: String::new(),
        })
    };
    let release = |stream| {
        Event::BucketNameReleased(BucketNameReleased { name: BucketName::parse("bucket-0").unwrap(), stream })
    };
    let listed = |store: &MemStore, owner: u8| {
        let owner = Some(AccountId([owner; 16]));
        names::list(store, &names::NameQuery { owner, limit: 10, ..Default::default() })
            .unwrap()
            .entries
            .len()
    };
    let (one, two) = (bucket_stream(1), bucket_stream(2));
    log.append(StreamId::SYSTEM, reserve(one));
    let store = followed(&log, 1);
    assert!(names::get(&store, &name).unwrap().is_some() && names::resolve(&store, &name).unwrap().is_none());
    assert_eq!(listed(&store, 1), 0);
    log.append(one, bucket_created("bucket-0"));
    let store = followed(&log, 1);
    assert_eq!(names::resolve(&store, &name).unwrap().map(|(row, _)| row.stream), Some(one));
    assert_eq!((listed(&store, 1), listed(&store, 2)), (1, 0));
    let sealed = log.append(one, seal());
    let store = followed(&log, 1);
    assert!(names::resolve(&store, &name).unwrap().is_none());
    let state = buckets::get(&store, one).unwrap().map(|row: BucketRow| row.state);
    assert!(matches!(state, Some(BucketState::Sealed(At { seq, .. })) if seq == sealed));
    log.append(StreamId::SYSTEM, release(one));
    log.append(StreamId::SYSTEM, reserve(two));
    log.append(StreamId::SYSTEM, release(one));
    let store = followed(&log, 1);
    assert_eq!(names::get(&store, &name).unwrap().map(|row| row.stream), Some(two));
    assert_eq!(names::iter(&store).count(), 1);
}

#[test]
fn names_are_listed_in_pages_by_prefix() {
    let mut log = TestLog::default();
    for (number, name) in (0u8..).zip(["aaa", "abb", "abc", "bbb"]) {
        let stream = bucket_stream(number);
        log.append(
            StreamId::SYSTEM,
            Event::BucketNameReserved(BucketNameReserved {
                name: BucketName::parse(name).unwrap(),
                stream,
                owner: AccountId([number % 2; 16]),
                location: String::new(),
            }),
        );
        log.append(stream, bucket_created(name));
    }
    let store = followed(&log, 3);
    let list = |owner: Option<u8>, prefix: &str, after: Option<&str>, limit| {
        let query = names::NameQuery {
            owner: owner.map(|owner| AccountId([owner; 16])),
            prefix: prefix.into(),
            after: after.map(Into::into),
            limit,
        };
        let page = names::list(&store, &query).unwrap();
        (page.entries.iter().map(|entry| entry.name.to_string()).collect::<Vec<_>>(), page.next)
    };
    assert_eq!(list(None, "", None, 3), (vec!["aaa".into(), "abb".into(), "abc".into()], Some("abc".into())));
    assert_eq!(list(None, "", Some("abc"), 3), (vec!["bbb".into()], None));
    assert_eq!(list(None, "ab", Some("aaa"), 9), (vec!["abb".into(), "abc".into()], None));
    assert_eq!(list(Some(0), "", None, 9), (vec!["aaa".into(), "abc".into()], None));
    assert_eq!(list(Some(1), "b", Some("abb"), 9), (vec!["bbb".into()], None));
    assert_eq!(list(None, "", None, 0), (vec![], None));
}

#[test]
fn a_deleted_user_takes_its_keys_and_policies_with_it_and_no_other_users() {
    let steps = [
        SystemStep::User { user: 0, account: 1 },
        SystemStep::User { user: 1, account: 1 },
        SystemStep::Key { key: 0, user: 0 },
        SystemStep::Key { key: 1, user: 1 },
        SystemStep::Attach { user: 0, policy: 1 },
        SystemStep::Attach { user: 1, policy: 2 },
        SystemStep::SuspendKey(1),
    ];
    let mut steps: Vec<_> = steps.into_iter().map(Step::System).collect();
    let store = followed(&log_of(&steps), 2);
    assert_eq!(identity::keys_of(&store, "user").unwrap(), ["AK0"]);
    assert_eq!(identity::policies_of(&store, "user").unwrap(), ["policy-1"]);
    steps.push(Step::System(SystemStep::DeleteUser(0)));
    let store = followed(&log_of(&steps), 2);
    assert_eq!(identity::user(&store, "user").unwrap(), None);
    assert_eq!(identity::access_key(&store, "AK0").unwrap(), None);
    assert!(identity::policies_of(&store, "user").unwrap().is_empty());
    assert_eq!(identity::keys_of(&store, "user\0").unwrap(), ["AK1"]);
    let key = identity::access_key(&store, "AK1").unwrap().unwrap();
    assert_eq!((key.user.as_str(), key.status), ("user\0", Status::Suspended));
    let users = identity::users(&store, None, 9).unwrap();
    assert_eq!(users.into_iter().map(|(name, _)| name).collect::<Vec<_>>(), ["user\0"]);
}

#[test]
fn an_account_is_found_by_its_latest_canonical_id_only() {
    let account = |canonical| Step::System(SystemStep::Account { account: 1, canonical });
    let store = followed(&log_of(&[account(1), account(2), Step::System(SystemStep::Tenant(0))]), 1);
    assert_eq!(identity::account_by_canonical_id(&store, "canonical-1").unwrap(), None);
    let (id, row) = identity::account_by_canonical_id(&store, "canonical-2").unwrap().unwrap();
    assert_eq!(identity::account(&store, id).unwrap(), Some(row.clone()));
    assert_eq!(identity::accounts(&store, None, 9).unwrap(), [(id, row)]);
    assert_eq!(identity::accounts(&store, Some(id), 9).unwrap(), []);
    assert!(identity::tenant(&store, "user").unwrap().is_some());
    assert_eq!(identity::tenants(&store, None, 9).unwrap().len(), 1);
}
