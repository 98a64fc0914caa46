use super::*;
use crate::store::mem::MemStore;
use crate::testing::*;
use proptest::prelude::*;
use siltstone_log::event::Deletion;
use std::collections::BTreeMap;

const STREAM: StreamId = StreamId([7; 16]);

/// What happens to a key: a version, a delete marker, or the removal of its version number `n`.
#[derive(Debug, Clone)]
enum Write {
    Put(String),
    Mark(String),
    Remove(String, usize),
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![6 => "[ab/]{1,4}", 2 => "[\\x00a/ключ]{1,3}"]
}

fn writes() -> impl Strategy<Value = Vec<Write>> {
    let write = prop_oneof![
        6 => name().prop_map(Write::Put),
        2 => name().prop_map(Write::Mark),
        2 => (name(), 0..3usize).prop_map(|(key, n)| Write::Remove(key, n)),
    ];
    prop::collection::vec(write, 0..40)
}

/// Every key's versions, newest first.
type Model = BTreeMap<String, Vec<VersionRef>>;

fn play(log: &mut TestLog, model: &mut Model, writes: &[Write]) {
    for write in writes {
        let id = VersionRef::Id(version_id(log.heads.get(&STREAM).copied().unwrap_or_default().seq.next()));
        match write {
            Write::Put(name) => {
                log.append(STREAM, put_version(name, 1, id.id()));
                model.entry(name.clone()).or_default().insert(0, id);
            }
            Write::Mark(name) => {
                log.append(STREAM, deletion(name, Deletion::Marker(id)));
                model.entry(name.clone()).or_default().insert(0, id);
            }
            Write::Remove(name, n) => {
                let versions = model.entry(name.clone()).or_default();
                if *n < versions.len() {
                    log.append(STREAM, deletion(name, Deletion::Version(versions.remove(*n))));
                }
            }
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Told {
    Version(String, VersionRef, bool),
    Prefix(String),
}

/// S3's list, naively.
fn expected(model: &Model, prefix: &str, delimiter: Option<&str>) -> Vec<Told> {
    let mut told = Vec::new();
    for (key, versions) in model.iter().filter(|(key, _)| key.starts_with(prefix)) {
        let rolled =
            delimiter.and_then(|d| key[prefix.len()..].find(d).map(|at| prefix.len() + at + d.len()));
        match rolled {
            Some(end) if !versions.is_empty() => {
                let common = Told::Prefix(key[..end].to_owned());
                if told.last() != Some(&common) {
                    told.push(common);
                }
            }
            Some(_) => {}
            None => told
                .extend(versions.iter().enumerate().map(|(n, id)| Told::Version(key.clone(), *id, n == 0))),
        }
    }
    told
}

fn told(entries: &[VersionEntry]) -> Vec<Told> {
    let told = entries.iter().map(|entry| match entry {
        VersionEntry::Prefix(prefix) => Told::Prefix(prefix.clone()),
        VersionEntry::Version { key, version, latest } => {
            Told::Version(key.clone(), version.version(), *latest)
        }
    });
    told.collect()
}

fn marker(entry: &VersionEntry) -> VersionMarker {
    match entry {
        VersionEntry::Prefix(prefix) => VersionMarker::Prefix(prefix.clone()),
        VersionEntry::Version { key, version, .. } => VersionMarker::Version(object(key), version.version()),
    }
}

fn object(name: &str) -> ObjectKey {
    ObjectKey::parse(name).unwrap()
}

fn store_of(log: &TestLog) -> MemStore {
    let store = MemStore::new();
    log.follow(&store, 1_000).unwrap();
    store
}

proptest! {
    #[test]
    fn pages_put_together_are_the_whole_list(
        writes in writes(), prefix in "[ab/]{0,2}", delimiter in prop::option::of("[/b]"), limit in 1..5usize,
    ) {
        let (mut log, mut model) = (TestLog::default(), Model::new());
        play(&mut log, &mut model, &writes);
        let store = store_of(&log);
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let query = VersionQuery { prefix: prefix.clone(), delimiter: delimiter.clone(), after, limit };
            let page = list(&store, STREAM, &query).unwrap();
            prop_assert!(page.entries.len() <= limit);
            all.extend(told(&page.entries));
            if !page.more {
                break;
            }
            after = page.entries.last().map(marker);
        }
        prop_assert_eq!(all, expected(&model, &prefix, delimiter.as_deref()));
    }

    #[test]
    fn versions_that_are_deleted_between_pages_keep_no_other_from_being_listed(
        writes in writes(), limit in 1..4usize, removed in 0..3usize,
    ) {
        let (mut log, mut model) = (TestLog::default(), Model::new());
        play(&mut log, &mut model, &writes);
        let first = list(&store_of(&log), STREAM, &VersionQuery { limit, ..VersionQuery::default() }).unwrap();
        let Some(VersionEntry::Version { key, version, .. }) = first.entries.last().cloned() else {
            return Ok(());
        };
        // The page's last version goes, and another of its key.
        log.append(STREAM, deletion(&key, Deletion::Version(version.version())));
        let versions = model.get_mut(&key).unwrap();
        versions.retain(|id| *id != version.version());
        play(&mut log, &mut model, &[Write::Remove(key.clone(), removed)]);
        let after = Some(VersionMarker::Version(object(&key), version.version()));
        let query = VersionQuery { after, limit: 1_000, ..VersionQuery::default() };
        let rest = told(&list(&store_of(&log), STREAM, &query).unwrap().entries);
        let seq = version.at().seq;
        let later: Vec<Told> = expected(&model, "", None).into_iter().filter(|entry| match entry {
            Told::Version(name, id, _) => *name > key || (*name == key && *id < VersionRef::Id(version_id(seq))),
            Told::Prefix(_) => true,
        }).collect();
        prop_assert_eq!(rest, later);
    }
}

#[test]
fn a_null_version_is_found_without_a_look_at_the_versions_over_it() {
    let (mut log, key) = (TestLog::default(), object("k"));
    let null = log.append(STREAM, put_version("k", 1, None));
    for _ in 0..50 {
        let id = version_id(log.heads.get(&STREAM).copied().unwrap_or_default().seq.next());
        log.append(STREAM, put_version("k", 1, Some(id)));
    }
    let store = store_of(&log);
    let counting = Counting::new(&store);
    let found = objects::find_version(&counting, STREAM, &key, VersionRef::Null).unwrap();
    assert_eq!(found.map(|found| found.at().seq), Some(null));
    assert_eq!(counting.rows_passed(), 0);
}
