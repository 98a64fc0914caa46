use super::*;
use crate::multipart::{self, UploadEntry, UploadMarker, UploadQuery};
use crate::objects;
use crate::store::Store;
use crate::store::mem::MemStore;
use crate::testing::*;
use proptest::prelude::*;
use siltstone_log::id::StreamId;
use std::collections::BTreeSet;

fn text() -> impl Strategy<Value = String> {
    prop_oneof![6 => "[ab/]{1,5}", 2 => "[\\x00a/ключ]{1,4}", 1 => "\\PC{1,6}"]
}

fn store_of(keys: &BTreeSet<String>) -> MemStore {
    let mut log = TestLog::default();
    // Neighbours, so that a listing which left its bucket would show.
    for stream in [StreamId([6; 16]), StreamId([7; 16]), StreamId([8; 16])] {
        let keys = keys.iter().map(String::as_str);
        for key in keys.chain((stream != StreamId([7; 16])).then_some("a")) {
            log.append(stream, put(key, key.len() as u64));
        }
    }
    let store = MemStore::new();
    log.follow(&store, 1_000).unwrap();
    store
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Entry {
    Key(String),
    Prefix(String),
}

/// S3's listing, naively: all keys, rolled up, in order, cut.
fn model(keys: &BTreeSet<String>, query: &ListQuery) -> (Vec<Entry>, bool) {
    let mut entries: Vec<Entry> = Vec::new();
    for key in keys {
        let skipped = match &query.after {
            Some(After::Key(after)) => key <= after,
            Some(After::Prefix(after)) => key.starts_with(after.as_str()) || key < after,
            None => false,
        };
        if skipped || !key.starts_with(&query.prefix) {
            continue;
        }
        let rest = &key[query.prefix.len()..];
        let delimiter = query.delimiter.as_deref().filter(|delimiter| !delimiter.is_empty());
        let entry = match delimiter.and_then(|delimiter| rest.find(delimiter).map(|at| at + delimiter.len()))
        {
            Some(end) => Entry::Prefix(key[..query.prefix.len() + end].to_owned()),
            None => Entry::Key(key.clone()),
        };
        if entries.last() != Some(&entry) {
            entries.push(entry);
        }
    }
    let more = query.limit > 0 && entries.len() > query.limit;
    entries.truncate(query.limit);
    (entries, more)
}

fn simplified(page: &ListPage) -> Vec<Entry> {
    let simple = |entry: &ListEntry| match entry {
        ListEntry::Object { key, object } => {
            assert_eq!(object.size, key.len() as u64);
            Entry::Key(key.clone())
        }
        ListEntry::Prefix(prefix) => Entry::Prefix(prefix.clone()),
    };
    page.entries.iter().map(simple).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn a_page_is_what_rolling_up_all_keys_gives(
        keys in prop::collection::btree_set(text(), 0..50), prefix in prop_oneof![Just(String::new()), "[ab/]{1,2}", text()],
        delimiter in prop::option::of(prop_oneof![4 => Just("/".to_owned()), 1 => "[ab/]{0,2}"]),
        after in prop::option::of((any::<bool>(), text())), limit in 0usize..8,
    ) {
        let after = after.map(|(key, text)| if key { After::Key(text) } else { After::Prefix(text) });
        let query = ListQuery { prefix, delimiter, after, limit };
        let page = objects::list(&store_of(&keys), StreamId([7; 16]), &query).unwrap();
        let (expected, more) = model(&keys, &query);
        prop_assert_eq!(simplified(&page), expected);
        prop_assert_eq!(page.next.is_some(), more);
        prop_assert_eq!(page.next, if more { page.entries.last().map(ListEntry::marker) } else { None });
    }

    #[test]
    fn the_pages_together_are_the_whole_without_gap_or_repetition(
        keys in prop::collection::btree_set(text(), 0..60), delimiter in prop::option::of(Just("/".to_owned())),
        limit in 1usize..5,
    ) {
        let store = store_of(&keys);
        let mut query = ListQuery { delimiter, limit, ..ListQuery::default() };
        let mut found = Vec::new();
        loop {
            let page = objects::list(&store, StreamId([7; 16]), &query).unwrap();
            found.extend(simplified(&page));
            let Some(next) = page.next else { break };
            prop_assert_eq!(page.entries.len(), limit);
            query.after = Some(next);
        }
        let (expected, _) = model(&keys, &ListQuery { limit: usize::MAX, after: None, ..query });
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn uploads_are_listed_by_key_then_age_and_continued_at_any_marker(
        uploads in prop::collection::btree_set((text(), 0..3u8), 0..24), after_key in text(), limit in 1usize..4,
        delimiter in prop::option::of(Just("/".to_owned())),
    ) {
        let (mut log, stream) = (TestLog::default(), StreamId([7; 16]));
        let mut expected = Vec::new();
        for (number, (name, _)) in (0..u8::MAX).rev().zip(&uploads) {
            // Ids are unique in a bucket; here the younger has the lesser one.
            log.append(stream, upload(number, name));
            let common = delimiter.as_ref().and_then(|delimiter| name.find(delimiter).map(|at| &name[..=at]));
            let entry = common.map_or_else(|| (name.clone(), Some(number)), |common| (common.to_owned(), None));
            if expected.last() != Some(&entry) {
                expected.push(entry);
            }
        }
        let store = MemStore::new();
        log.follow(&store, 100).unwrap();
        let mut query = UploadQuery { delimiter: delimiter.clone(), limit, ..UploadQuery::default() };
        let mut found = Vec::new();
        loop {
            let page = multipart::list(&store, stream, &query).unwrap();
            found.extend(page.entries.into_iter().map(|entry| match entry {
                UploadEntry::Upload { key, upload, .. } => (key, Some(upload.0[0])),
                UploadEntry::Prefix(prefix) => (prefix, None),
            }));
            let Some(next) = page.next else { break };
            query.after = Some(next);
        }
        prop_assert_eq!(&found, &expected);
        let after = Some(UploadMarker::Key(after_key.clone()));
        let page = multipart::list(&store, stream, &UploadQuery { after, limit: 99, ..UploadQuery::default() }).unwrap();
        let keys: Vec<_> = uploads.iter().map(|(key, _)| key).filter(|key| **key > after_key).collect();
        prop_assert_eq!(page.entries.len(), keys.len());
    }
}

#[test]
fn a_page_of_common_prefixes_costs_what_it_returns_and_not_what_lies_below_them() {
    let keys: BTreeSet<String> =
        (0..20).flat_map(|folder| (0..500).map(move |file| format!("{folder:02}/{file:04}"))).collect();
    let store = store_of(&keys);
    let counting = Counting::new(&store);
    let query = ListQuery { delimiter: Some("/".into()), limit: 1_000, ..ListQuery::default() };
    let page = objects::list(&counting, StreamId([7; 16]), &query).unwrap();
    assert_eq!((page.entries.len(), page.next), (20, None));
    let (read, seeks) = (counting.rows_passed(), counting.seeks());
    assert!(
        read <= 20 * (STEPS_BEFORE_SEEK + 1) && seeks <= 21,
        "{read} rows, {seeks} seeks for 10,000 keys"
    );
    store.sync().unwrap();
}
