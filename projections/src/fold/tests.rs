use crate::changes::Changes;
use crate::follower::Pace;
use crate::objects::Removal;
use crate::overlay::{Overlay, PendingRows};
use crate::rebuild::Rebuild;
use crate::rows::{At, BlobRow, BucketRow, BucketState, Usage, VersionRow};
use crate::store::mem::MemStore;
use crate::store::{Rows, Space};
use crate::testing::*;
use crate::{Digest, buckets, fold, identity, multipart, names, objects};
use proptest::prelude::*;
use siltstone_log::event::*;
use siltstone_log::id::*;
use siltstone_log::name::{BucketName, ObjectKey};
use siltstone_log::record::Record;
use std::collections::{BTreeMap, BTreeSet};

fn followed(log: &TestLog, input: usize) -> MemStore {
    let store = MemStore::new();
    log.follow(&store, input).unwrap();
    store
}

/// Counts a bucket's rows afresh.
fn recount(rows: &dyn Rows, stream: StreamId) -> Usage {
    use crate::key::StateKey;
    use crate::rows::{ObjectRow, PartRow, PastRow, Row};
    let mut usage = Usage::default();
    let mut blobs: BTreeMap<BlobId, BlobRow> = BTreeMap::new();
    let mut hold = |content: &Content, live: u32, past: u32| {
        for (blob, end) in buckets::blobs_of(content) {
            let row = blobs.entry(blob).or_default();
            *row = BlobRow { live: row.live + live, past: row.past + past, bytes: row.bytes.max(end) };
        }
    };
    for (key, logical) in dump(rows, Space::State) {
        let stored = [&[0], logical.as_ref()].concat();
        match StateKey::decode(&key).unwrap() {
            StateKey::Current(of, _) if of == stream => {
                usage.objects += 1;
                usage.bytes += ObjectRow::from_stored(&stored).unwrap().size;
            }
            StateKey::Version(of, ..) if of == stream => match VersionRow::from_stored(&stored).unwrap() {
                VersionRow::Object(object) => {
                    usage.versions += 1;
                    usage.version_bytes += object.size;
                    hold(&object.content, 1, 0);
                }
                VersionRow::Marker(_) => usage.markers += 1,
            },
            StateKey::Past(of, ..) if of == stream => {
                let Some(object) = PastRow::from_stored(&stored).unwrap().version.into_object() else {
                    continue;
                };
                usage.history_bytes += if object.content == Content::Inline { object.size } else { 0 };
                hold(&object.content, 0, 1);
            }
            StateKey::Upload(of, ..) if of == stream => usage.uploads += 1,
            StateKey::Part(of, ..) if of == stream => {
                let part = PartRow::from_stored(&stored).unwrap();
                usage.upload_bytes += part.size;
                hold(&part.content, 1, 0);
            }
            _ => {}
        }
    }
    for (blob, expected) in blobs {
        assert_eq!(buckets::blob(rows, stream, blob).unwrap(), Some(expected), "{blob}");
        usage.history_bytes += expected.history_bytes();
    }
    usage
}

fn with_buckets(steps: &[Step]) -> TestLog {
    log_of(&[&[Step::Bucket(0), Step::Bucket(1)], steps].concat())
}

/// Erases keys as the module's documentation asks: deleted with all versions, uploads aborted, every record that names
/// them erased.
fn with_legal_erasures(steps: &[Step]) -> TestLog {
    let mut log = TestLog::default();
    for step in [&[Step::Bucket(0), Step::Bucket(1)], steps].concat() {
        let Step::Erase { bucket, back } = step else {
            if !is_possible(&log, &step) {
                continue;
            }
            let (stream, event) = event_of(&log, &step);
            log.append(stream, event);
            continue;
        };
        let stream = bucket_stream(bucket);
        let named: Vec<(Seq, ObjectKey)> = records_of(&log, stream).filter_map(named_key).collect();
        let Some((_, target)) = named.iter().rev().nth(back.into()).cloned() else { continue };
        let store = followed(&log, 10);
        for version in objects::versions(&store, stream, &target) {
            let deletion = Deletion::Version(version.unwrap().version());
            log.append(stream, Event::ObjectDeleted(ObjectDeleted { key: target.clone(), deletion }));
        }
        for upload in 0..3 {
            let id = UploadId([upload; 16]);
            if multipart::upload(&store, stream, id).unwrap().is_some_and(|(key, _)| key == target) {
                log.append(stream, abort(upload, target.as_str()));
            }
        }
        let named: Vec<Seq> = records_of(&log, stream)
            .filter_map(named_key)
            .filter_map(|(seq, key)| (key == target).then_some(seq))
            .collect();
        for seq in named {
            log.append(stream, Event::Erased(Erased { seq, reason: String::new() }));
        }
    }
    log
}

/// Whether the engine could have written it: an upload's id is its own, and so is its key.
fn is_possible(log: &TestLog, step: &Step) -> bool {
    let key_of = |bucket: u8, upload: u8| {
        records_of(log, bucket_stream(bucket)).find_map(|record| {
            match record.decode().unwrap().unwrap().event {
                Event::MultipartCreated(event) if event.upload == UploadId([upload; 16]) => Some(event.key),
                _ => None,
            }
        })
    };
    match *step {
        Step::Upload { bucket, upload, .. } => key_of(bucket, upload).is_none(),
        Step::Complete { bucket, upload, .. } | Step::Abort { bucket, upload, .. } => {
            let key = match event_of(log, step).1 {
                Event::MultipartCompleted(event) => event.key,
                Event::MultipartAborted(event) => event.key,
                _ => return false,
            };
            key_of(bucket, upload) == Some(key)
        }
        _ => true,
    }
}

fn records_of(log: &TestLog, stream: StreamId) -> impl Iterator<Item = &Record> {
    log.records.iter().filter(move |record| record.stream == stream)
}

fn named_key(record: &Record) -> Option<(Seq, ObjectKey)> {
    let key = match record.decode().unwrap().unwrap().event {
        Event::ObjectPut(event) => event.key,
        Event::ObjectDeleted(event) => event.key,
        Event::ObjectTagged(event) => event.key,
        Event::MultipartCreated(event) => event.key,
        Event::MultipartCompleted(event) => event.key,
        Event::MultipartAborted(event) => event.key,
        _ => return None,
    };
    Some((record.seq, key))
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

    /// Their first record was lost and given up, and a client or recovery makes them again.
    #[test]
    fn usage_is_what_a_recount_finds_in_buckets_that_were_made_behind_what_they_hold(
        steps in steps(60), more in steps(20), input in 1usize..20,
    ) {
        let mut log = log_of(&steps.into_iter().filter(|step| !matches!(step, Step::Bucket(_))).collect::<Vec<_>>());
        for stream in [bucket_stream(0), bucket_stream(1)] {
            log.append(stream, bucket_created("a-bucket"));
        }
        for step in &more {
            let (stream, event) = event_of(&log, step);
            log.append(stream, event);
        }
        let store = followed(&log, input);
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
    fn a_key_has_the_versions_that_s3_says(mut steps in steps(80)) {
        steps.retain(|step| !matches!(step, Step::Bucket(_)));
        let versioned = [0, 1].map(|bucket| Step::Versioning { bucket, enabled: true });
        let log = with_buckets(&[&versioned[..], &steps].concat());
        let store = followed(&log, 4);
        let mut model = Model::new();
        for record in &log.records {
            model_record(&mut model, record);
        }
        for ((stream, key), expected) in model {
            let found: Vec<_> = objects::versions(&store, stream, &key).map(Result::unwrap).collect();
            let told: Vec<_> =
                found.iter().map(|row| (row.at().seq, row.version(), row.object().is_some())).collect();
            prop_assert_eq!(&told, &expected);
            let current = objects::current(&store, stream, &key).unwrap();
            prop_assert_eq!(&current, &found.first().and_then(|row| row.object().cloned()));
            for row in &found {
                let by_id = objects::find_version(&store, stream, &key, row.version()).unwrap();
                prop_assert_eq!(by_id.as_ref(), Some(row));
                let by_seq = objects::by_seq(&store, stream, row.at().seq).unwrap().unwrap();
                prop_assert_eq!(&by_seq.key, &key);
            }
        }
    }

    #[test]
    fn a_blob_is_freed_when_and_only_when_nothing_refers_to_it(steps in steps(80)) {
        let log = with_buckets(&steps);
        let (empty, mut pending) = (MemStore::new(), PendingRows::new());
        let mut freed = BTreeSet::new();
        for record in &log.records {
            let Some(space) = Space::of(record.stream) else { continue };
            let (mut changes, body) = (Changes::new(), record.decode().unwrap().unwrap());
            fold::apply(space, &Overlay::new(&empty, &pending), &record.into(), &body, &mut changes).unwrap();
            freed.extend(changes.freed().iter().copied());
            pending.add(space, record.stream, record.seq, changes);
            // A name is used again here, which never happens to a real blob.
            for blob in blobs_named(&Overlay::new(&empty, &pending)) {
                freed.remove(&blob);
            }
        }
        let overlay = Overlay::new(&empty, &pending);
        let named = blobs_named(&overlay);
        let in_use: BTreeSet<_> =
            buckets::blobs_in_use(&overlay, BlobId::default()).map(Result::unwrap).collect();
        prop_assert_eq!(&in_use, &named);
        prop_assert!(freed.is_disjoint(&named));
    }
}

/// Every blob that a version, present or past, or a part has bytes in.
fn blobs_named(rows: &dyn Rows) -> BTreeSet<BlobId> {
    use crate::key::StateKey;
    use crate::rows::{PartRow, PastRow, Row};
    let mut named = BTreeSet::new();
    for (key, logical) in dump(rows, Space::State) {
        let stored = [&[0], logical.as_ref()].concat();
        let content = match StateKey::decode(&key).unwrap() {
            StateKey::Version(..) => {
                VersionRow::from_stored(&stored).unwrap().into_object().map(|o| o.content)
            }
            StateKey::Past(..) => {
                PastRow::from_stored(&stored).unwrap().version.into_object().map(|o| o.content)
            }
            StateKey::Part(..) => Some(PartRow::from_stored(&stored).unwrap().content),
            _ => None,
        };
        let Some(Content::Slices(slices)) = content else { continue };
        named.extend(slices.iter().filter_map(|slice| match slice.source {
            ContentSource::Blob { blob } => Some(blob),
            ContentSource::Inline { .. } => None,
        }));
    }
    named
}

/// The versions of each key, newest first, and whether each is an object.
type Model = BTreeMap<(StreamId, ObjectKey), Vec<(Seq, VersionRef, bool)>>;

/// S3's rules for one record, naively.
fn model_record(model: &mut Model, record: &Record) {
    let (seq, stream) = (record.seq, record.stream);
    let mut add = |key: ObjectKey, version: VersionRef, object: bool| {
        let versions = model.entry((stream, key)).or_default();
        if version == VersionRef::Null {
            versions.retain(|(_, other, _)| *other != VersionRef::Null);
        }
        versions.insert(0, (seq, version, object));
    };
    match record.decode().unwrap().unwrap().event {
        Event::ObjectPut(event) => add(event.key, event.version.into(), true),
        Event::MultipartCompleted(event) => add(event.key, event.version.into(), true),
        Event::ObjectDeleted(event) => match event.deletion {
            Deletion::Marker(version) => add(event.key, version, false),
            Deletion::Current => {
                let versions = model.entry((stream, event.key)).or_default();
                versions.retain(|(_, other, _)| *other != VersionRef::Null);
            }
            Deletion::Version(version) => {
                model.entry((stream, event.key)).or_default().retain(|(_, other, _)| *other != version);
            }
        },
        Event::Erased(event) => {
            for ((of, _), versions) in model.iter_mut() {
                if *of == stream {
                    versions.retain(|(seq, ..)| *seq != event.seq);
                }
            }
        }
        _ => {}
    }
}

#[test]
fn an_overwrite_moves_the_older_version_to_the_past_until_it_expires() {
    let (mut log, stream) = (TestLog::default(), bucket_stream(0));
    log.append(stream, bucket_created("a-bucket"));
    let first = log.append(stream, put("k", 10));
    let second = log.append(stream, put("k", 7));
    let store = followed(&log, 1);
    let versions: Vec<_> = objects::versions(&store, stream, &key("k")).map(Result::unwrap).collect();
    assert_eq!(versions.iter().map(|row| row.at().seq).collect::<Vec<_>>(), [second]);
    let past: Vec<_> = objects::past(&store, stream, &key("k")).map(Result::unwrap).collect();
    let told: Vec<_> = past.iter().map(|row| (row.version.at().seq, row.removed.seq)).collect();
    assert_eq!(told, [(first, second)]);
    let usage = buckets::get(&store, stream).unwrap().unwrap().usage;
    let expected =
        Usage { objects: 1, bytes: 7, versions: 1, version_bytes: 7, history_bytes: 10, ..Usage::default() };
    assert_eq!(usage, expected);
    let expiring: Vec<_> = objects::expiring(&store, Removal::default()).map(Result::unwrap).collect();
    assert_eq!(expiring.iter().map(|e| (e.at.seq, e.in_packs)).collect::<Vec<_>>(), [(first, false)]);
    assert_eq!(expiring[0].at.removed, past[0].removed.hlc);

    let versions = vec![(key("k"), first), (key("k"), second)];
    log.append(stream, Event::ContentExpired(ContentExpired { versions }));
    let expired = followed(&log, 9);
    assert_eq!(objects::past(&expired, stream, &key("k")).count(), 0);
    assert_eq!(objects::expiring(&expired, Removal::default()).count(), 0);
    assert_eq!(objects::by_seq(&expired, stream, first).unwrap(), None);
    assert!(objects::current(&expired, stream, &key("k")).unwrap().is_some(), "what S3 shows never expires");
    assert_eq!(buckets::get(&expired, stream).unwrap().unwrap().usage.history_bytes, 0);
}

#[test]
fn a_key_has_one_null_version_also_where_the_record_that_began_versions_was_lost_and_given_up() {
    for over in [
        put_version("k", 2, Some(version_id(Seq(3)))),
        deletion("k", Deletion::Marker(VersionRef::Id(version_id(Seq(3))))),
    ] {
        let (mut log, stream) = (TestLog::default(), bucket_stream(0));
        log.append(stream, bucket_created("a-bucket"));
        log.append(stream, put_version("k", 1, None));
        log.append(stream, over);
        let null = log.append(stream, put_version("k", 3, None));
        let store = followed(&log, 1);
        let versions: Vec<_> = objects::versions(&store, stream, &key("k")).map(Result::unwrap).collect();
        let told: Vec<_> =
            versions.iter().map(|row| (row.at().seq, row.version() == VersionRef::Null)).collect();
        assert_eq!(told, [(null, true), (Seq(3), false)]);
        assert_eq!(buckets::get(&store, stream).unwrap().unwrap().usage, recount(&store, stream));
    }
}

#[test]
fn bytes_that_a_live_version_shares_are_no_history_and_each_blob_counts_once() {
    let (mut log, stream) = (TestLog::default(), bucket_stream(0));
    log.append(stream, bucket_created("a-bucket"));
    let history = |log: &TestLog| {
        let store = followed(log, 3);
        let usage = buckets::get(&store, stream).unwrap().unwrap().usage;
        assert_eq!(usage, recount(&store, stream));
        usage.history_bytes
    };
    // Copies of an object onto itself: every version has the same blob.
    let copies: Vec<Seq> = (0..4).map(|_| log.append(stream, put_version("k", 9, None))).collect();
    assert_eq!(history(&log), 0);
    log.append(stream, delete("k"));
    assert_eq!(history(&log), 9);
    let expire = |seq: &Seq| vec![(key("k"), *seq)];
    for copy in &copies[..3] {
        log.append(stream, Event::ContentExpired(ContentExpired { versions: expire(copy) }));
        assert_eq!(history(&log), 9, "expiring one that shares gives nothing back");
    }
    let holders: Vec<Seq> = {
        let blob = BlobId(9u128.to_be_bytes());
        buckets::holders(&followed(&log, 3), stream, blob).map(Result::unwrap).collect()
    };
    assert_eq!(holders, copies[3..]);
    log.append(stream, Event::ContentExpired(ContentExpired { versions: expire(&copies[3]) }));
    assert_eq!(history(&log), 0);
}

#[test]
fn a_delete_leaves_an_empty_bucket_and_its_object_in_the_past() {
    let (mut log, stream) = (TestLog::default(), bucket_stream(0));
    log.append(stream, bucket_created("a-bucket"));
    let stored = log.append(stream, put("k", 10));
    assert!(!buckets::is_empty(&followed(&log, 1), stream).unwrap());
    let deleted = log.append(stream, delete("k"));
    let store = followed(&log, 1);
    assert!(buckets::is_empty(&store, stream).unwrap());
    let past = objects::past_version(&store, stream, &key("k"), stored).unwrap().unwrap();
    assert_eq!(past.removed.seq, deleted);
}

#[test]
fn a_delete_marker_keeps_a_bucket_from_being_empty() {
    let (mut log, stream) = (TestLog::default(), bucket_stream(0));
    log.append(stream, bucket_created("a-bucket"));
    let marker = VersionRef::Id(version_id(Seq(9)));
    log.append(stream, deletion("k", Deletion::Marker(marker)));
    assert!(!buckets::is_empty(&followed(&log, 1), stream).unwrap());
    log.append(stream, deletion("k", Deletion::Version(marker)));
    assert!(buckets::is_empty(&followed(&log, 1), stream).unwrap());
}

#[test]
fn a_deleted_version_uncovers_the_one_before_it() {
    let (mut log, stream) = (TestLog::default(), bucket_stream(0));
    let id = |id: u8| VersionId([id; 16]);
    let by_id = |n: u8| Deletion::Version(VersionRef::Id(id(n)));
    log.append(stream, bucket_created("a-bucket"));
    let first = log.append(stream, put_version("k", 10, Some(id(1))));
    log.append(stream, put_version("k", 20, Some(id(2))));
    let current = |log: &TestLog| {
        let store = followed(log, 3);
        assert_eq!(buckets::get(&store, stream).unwrap().unwrap().usage.objects, {
            u64::from(objects::current(&store, stream, &key("k")).unwrap().is_some())
        });
        objects::current(&store, stream, &key("k")).unwrap().map(|row| row.size)
    };
    log.append(stream, deletion("k", Deletion::Marker(VersionRef::Id(id(3)))));
    assert_eq!(current(&log), None, "a delete marker covers it");
    log.append(stream, deletion("k", by_id(3)));
    assert_eq!(current(&log), Some(20), "without the marker it is back");
    log.append(stream, deletion("k", by_id(2)));
    assert_eq!(current(&log), Some(10));
    let store = followed(&log, 3);
    let find = |n| objects::find_version(&store, stream, &key("k"), VersionRef::Id(id(n))).unwrap();
    assert_eq!((find(1).map(|row| row.at().seq), find(2)), (Some(first), None));
    log.append(stream, put_version("k", 40, Some(id(4))));
    log.append(stream, deletion("k", by_id(1)));
    assert_eq!(current(&log), Some(40), "an older version leaves the current one alone");
}

#[test]
fn tags_are_of_one_version() {
    let (mut log, stream) = (TestLog::default(), bucket_stream(0));
    let id = |id: u8| VersionId([id; 16]);
    log.append(stream, bucket_created("a-bucket"));
    let first = log.append(stream, put_version("k", 10, Some(id(1))));
    let second = log.append(stream, put_version("k", 20, Some(id(2))));
    let tagged = |seq, value: &str| {
        let tags = vec![("t".to_owned(), value.to_owned())];
        Event::ObjectTagged(ObjectTagged { key: key("k"), seq, tags })
    };
    log.append(stream, tagged(first, "one"));
    log.append(stream, tagged(second, "two"));
    let store = followed(&log, 3);
    let tags: Vec<_> = objects::versions(&store, stream, &key("k"))
        .map(|row| row.unwrap().into_object().unwrap().tags[0].1.clone())
        .collect();
    assert_eq!(tags, ["two", "one"]);
    assert_eq!(objects::current(&store, stream, &key("k")).unwrap().unwrap().tags[0].1, "two");
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
            tags: Vec::new(),
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
                tags: Vec::new(),
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
