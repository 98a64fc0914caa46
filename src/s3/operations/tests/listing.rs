//! Every listing against a naive model: random keys, versions and delete markers, with changes between the pages.

use super::versions::set_versioning;
use super::{Door, Reply};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

fn encode(text: &str) -> String {
    utf8_percent_encode(text, KEPT).to_string()
}

/// A listing's target, as signatures want it.
fn target(bucket: &str, parameters: &[(&str, String)]) -> String {
    let mut pairs =
        parameters.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect::<Vec<_>>();
    pairs.sort();
    format!("/{bucket}?{}", pairs.join("&"))
}

/// A change of one key.
#[derive(Debug, Clone)]
enum Change {
    Put(String),
    Delete(String),
    /// Deletes the version that is so far from the newest of all.
    DeleteVersion(usize),
    Versioning(bool),
}

#[derive(Debug, Clone, PartialEq)]
struct Version {
    key: String,
    /// Counts up with each write.
    age: usize,
    id: String,
    marker: bool,
}

#[derive(Default)]
struct Model {
    bucket: String,
    live: Vec<Version>,
    removed: Vec<Version>,
    written: usize,
}

impl Model {
    /// Carries a change out at both.
    async fn change(&mut self, door: &Door, change: &Change) {
        match change {
            Change::Versioning(enabled) => {
                set_versioning(door, &self.bucket, if *enabled { "Enabled" } else { "Suspended" }).await;
            }
            Change::Put(key) => {
                let stored = door.put(&self.object(key), "x").await.expect(200);
                self.write(key, &stored, false);
            }
            Change::Delete(key) => {
                let deleted = door.delete(&self.object(key)).await.expect(204);
                if deleted.header("x-amz-delete-marker") == "true" {
                    self.write(key, &deleted, true);
                } else {
                    self.remove(|version| version.key == *key);
                }
            }
            Change::DeleteVersion(back) => {
                let Some(at) = self.live.len().checked_sub(back + 1) else { return };
                let version = self.live[at].clone();
                let target = format!("{}?versionId={}", self.object(&version.key), version.id);
                door.delete(&target).await.expect(204);
                self.remove(|other| *other == version);
            }
        }
    }

    fn object(&self, key: &str) -> String {
        format!("/{}/{}", self.bucket, encode(key).replace("%2F", "/"))
    }

    fn write(&mut self, key: &str, reply: &Reply, marker: bool) {
        let id = match reply.header("x-amz-version-id") {
            "" => "null",
            id => id,
        };
        if id == "null" {
            self.remove(|version| version.key == key && version.id == "null");
        }
        self.written += 1;
        self.live.push(Version { key: key.to_owned(), age: self.written, id: id.to_owned(), marker });
    }

    fn remove(&mut self, remove: impl Fn(&Version) -> bool) {
        self.removed.extend(self.live.iter().filter(|version| remove(version)).cloned());
        self.live.retain(|version| !remove(version));
    }

    /// Versions in the order of listings.
    fn versions(&self) -> Vec<Version> {
        let mut versions = self.live.clone();
        versions.sort_by(|a, b| (&a.key, b.age).cmp(&(&b.key, a.age)));
        versions
    }

    fn is_latest(&self, version: &Version) -> bool {
        self.live.iter().all(|other| other.key != version.key || other.age <= version.age)
    }

    /// What the keys hold.
    fn objects(&self) -> Vec<Version> {
        let mut versions = self.versions();
        versions.retain(|version| self.is_latest(version) && !version.marker);
        versions
    }

    /// The age of a version that a marker names: one that is there, or the last that was.
    fn age(&self, key: &str, id: &str) -> usize {
        let named = |version: &&Version| version.key == key && version.id == id;
        self.live.iter().find(named).or(self.removed.iter().rfind(named)).unwrap().age
    }
}

/// What is asked for.
#[derive(Debug, Clone)]
struct Asked {
    prefix: String,
    delimiter: String,
    max_keys: usize,
}

#[derive(Debug, Clone, PartialEq)]
enum Entry {
    /// Key, id, whether it is the latest, whether it is a marker.
    Version(String, String, bool, bool),
    Prefix(String),
}

/// The naive page of versions that `is_behind` the marker, and whether more follow.
fn page(
    model: &Model,
    versions: &[Version],
    asked: &Asked,
    is_behind: impl Fn(&Version) -> bool,
) -> (Vec<Entry>, bool) {
    let mut entries: Vec<Entry> = Vec::new();
    for version in
        versions.iter().filter(|version| version.key.starts_with(&asked.prefix) && is_behind(version))
    {
        let rest = &version.key[asked.prefix.len()..];
        let rolled = rest.find(&asked.delimiter).filter(|_| !asked.delimiter.is_empty());
        let entry = if let Some(at) = rolled {
            Entry::Prefix(version.key[..asked.prefix.len() + at + asked.delimiter.len()].to_owned())
        } else {
            Entry::Version(version.key.clone(), version.id.clone(), model.is_latest(version), version.marker)
        };
        if entries.last() != Some(&entry) {
            entries.push(entry);
        }
    }
    let more = asked.max_keys > 0 && entries.len() > asked.max_keys;
    entries.truncate(asked.max_keys);
    (entries, more)
}

/// The inner text of the first element of this name.
fn inner<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>")).map(|(inner, _)| inner)
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8().unwrap().into_owned()
}

/// The entries of an answer in byte order of keys and prefixes; those of one key as they came.
fn entries(reply: &Reply) -> Vec<Entry> {
    let text = reply.text();
    let mut found = Vec::new();
    for (start, _) in text.match_indices('<') {
        let rest = &text[start..];
        let marker = rest.starts_with("<DeleteMarker>");
        if marker || rest.starts_with("<Version>") || rest.starts_with("<Contents>") {
            let key = decoded(inner(rest, "Key").unwrap());
            let (id, latest) = if rest.starts_with("<Contents>") {
                (String::new(), true)
            } else {
                (inner(rest, "VersionId").unwrap().to_owned(), inner(rest, "IsLatest") == Some("true"))
            };
            found.push(Entry::Version(key, id, latest, marker));
        } else if rest.starts_with("<CommonPrefixes>") {
            found.push(Entry::Prefix(decoded(inner(rest, "Prefix").unwrap())));
        }
    }
    found.sort_by(|a, b| name(a).cmp(name(b)));
    found
}

fn name(entry: &Entry) -> &str {
    match entry {
        Entry::Version(name, ..) | Entry::Prefix(name) => name,
    }
}

fn without_ids(entries: Vec<Entry>) -> Vec<Entry> {
    let strip = |entry| match entry {
        Entry::Version(key, _, latest, marker) => Entry::Version(key, String::new(), latest, marker),
        prefix @ Entry::Prefix(_) => prefix,
    };
    entries.into_iter().map(strip).collect()
}

/// Whether a key lies behind the last entry of the page before.
fn is_behind(last: Option<&Entry>, key: &str) -> bool {
    match last {
        None => true,
        Some(Entry::Prefix(prefix)) => key > prefix.as_str() && !key.starts_with(prefix.as_str()),
        Some(Entry::Version(last, ..)) => key > last.as_str(),
    }
}

/// Walks all pages of a listing of objects, with a change after each.
async fn walk_objects(door: &Door, model: &mut Model, asked: &Asked, second: bool, changes: &[Change]) {
    let (mut last, mut resume) = (None, None);
    for round in 0.. {
        let mut parameters = vec![
            ("prefix", asked.prefix.clone()),
            ("delimiter", asked.delimiter.clone()),
            ("max-keys", asked.max_keys.to_string()),
            ("encoding-type", "url".to_owned()),
        ];
        if second {
            parameters.push(("list-type", "2".to_owned()));
        }
        if let Some(resume) = resume.take() {
            parameters.push((if second { "continuation-token" } else { "marker" }, resume));
        }
        let reply = door.get(&target(&model.bucket, &parameters)).await.expect(200);
        let objects = model.objects();
        let (expected, more) = page(model, &objects, asked, |version| is_behind(last.as_ref(), &version.key));
        assert_eq!(entries(&reply), without_ids(expected.clone()), "{asked:?} {}", reply.text());
        assert_eq!(reply.one("IsTruncated"), more.to_string(), "{}", reply.text());
        if !more {
            return;
        }
        last = expected.last().cloned();
        resume = Some(match (second, last.as_ref()) {
            (true, _) => reply.one("NextContinuationToken").to_owned(),
            (false, Some(last)) if asked.delimiter.is_empty() => name(last).to_owned(),
            (false, _) => decoded(reply.one("NextMarker")),
        });
        if let Some(change) = changes.get(round) {
            model.change(door, change).await;
        }
    }
}

/// Walks all pages of a listing of versions, with a change after each.
async fn walk_versions(door: &Door, model: &mut Model, asked: &Asked, changes: &[Change]) {
    let (mut last, mut resume) = (None, Vec::new());
    // Writing null versions anew sends a walk back to their key's newest; the bound keeps it from going round for ever.
    for round in 0..200 {
        let mut parameters = vec![
            ("versions", String::new()),
            ("prefix", asked.prefix.clone()),
            ("delimiter", asked.delimiter.clone()),
            ("max-keys", asked.max_keys.to_string()),
            ("encoding-type", "url".to_owned()),
        ];
        parameters.append(&mut resume);
        let reply = door.get(&target(&model.bucket, &parameters)).await.expect(200);
        let marked = match &last {
            Some(Entry::Version(key, id, ..)) => Some((key.clone(), model.age(key, id))),
            Some(Entry::Prefix(_)) | None => None,
        };
        let (expected, more) = page(model, &model.versions(), asked, |version| {
            let older = marked.as_ref().is_some_and(|(key, age)| version.key == *key && version.age < *age);
            older || is_behind(last.as_ref(), &version.key)
        });
        assert_eq!(entries(&reply), expected, "{asked:?} {}", reply.text());
        assert_eq!(reply.one("IsTruncated"), more.to_string(), "{}", reply.text());
        if !more {
            assert!(!reply.text().contains("<Next"), "{}", reply.text());
            return;
        }
        last = expected.last().cloned();
        resume.push(("key-marker", decoded(reply.one("NextKeyMarker"))));
        let ids = reply.all("NextVersionIdMarker");
        resume.extend(ids.first().map(|id| ("version-id-marker", (*id).to_owned())));
        if let Some(change) = changes.get(round) {
            model.change(door, change).await;
        }
    }
    panic!("the walk did not end");
}

fn change() -> impl Strategy<Value = Change> {
    let key = || "[ab]{1,2}(/[ab ä&\u{1}]{0,2}){0,2}";
    prop_oneof![
        6 => key().prop_map(Change::Put),
        3 => key().prop_map(Change::Delete),
        2 => (0_usize..6).prop_map(Change::DeleteVersion),
        1 => any::<bool>().prop_map(Change::Versioning),
    ]
}

fn asked() -> impl Strategy<Value = Asked> {
    let delimiter = prop_oneof![Just(""), Just("/"), Just("/"), Just("a"), Just("/a")];
    ("|a|b/|ab?/?", delimiter, 0_usize..6).prop_map(|(prefix, delimiter, max_keys)| Asked {
        prefix,
        delimiter: delimiter.to_owned(),
        max_keys,
    })
}

#[test]
fn every_listing_agrees_with_a_naive_one_whatever_changes_between_its_pages() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let door = {
        let _inside = runtime.enter();
        Door::open()
    };
    let bucket = std::cell::Cell::new(0);
    let config = Config { cases: 32, failure_persistence: None, ..Config::default() };
    let changes = |count| prop::collection::vec(change(), count);
    let case = (changes(0..30), prop::collection::vec((asked(), changes(0..6)), 3));
    let outcome = TestRunner::new(config).run(&case, |(before, walks)| {
        bucket.set(bucket.get() + 1);
        runtime.block_on(async {
            let mut model = Model { bucket: format!("bkt{}", bucket.get()), ..Model::default() };
            door.put(&format!("/{}", model.bucket), "").await.expect(200);
            for change in &before {
                model.change(&door, change).await;
            }
            for (asked, changes) in &walks {
                walk_objects(&door, &mut model, asked, false, changes).await;
                walk_objects(&door, &mut model, asked, true, changes).await;
                walk_versions(&door, &mut model, asked, changes).await;
            }
        });
        Ok(())
    });
    outcome.unwrap();
}
