//! One named function for each promise.

use crate::oracle::LogView;
use crate::oracle::content::total;
use crate::oracle::{Bucket, Model};
use crate::world::node::Node;
use siltstone_log::hlc::Hlc;
use siltstone_log::id::{Hash, LogId, Position, Seq, StreamId};
use siltstone_log::record::Record;
use siltstone_projections::objects::{ListEntry, ListQuery, Removal};
use siltstone_projections::rebuild::{Difference, compare};
use siltstone_projections::rows::{BucketRow, Usage};
use siltstone_projections::store::mem::MemStore;
use siltstone_projections::versions::{self, VersionEntry, VersionQuery};
use siltstone_projections::{
    Follower, FollowerEffect, FollowerInput, Pace, Rows, Space, buckets, names, objects,
};
use std::collections::BTreeMap;
use std::fmt;

/// A promise that was not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The promise.
    pub checker: &'static str,
    /// What contradicts it.
    pub message: String,
}

impl Violation {
    /// Describes a violation.
    pub fn new(checker: &'static str, message: impl Into<String>) -> Self {
        Self { checker, message: message.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.checker, self.message)
    }
}

/// The outcome of a check.
pub type Checked = Result<(), Violation>;

/// I8: positions are dense from 1 over the whole log, save for the ranges reported as unreadable.
pub fn positions_are_dense(log: &LogView) -> Checked {
    let checker = "I8 positions are dense";
    let mut next = Position(1);
    for record in &log.records {
        while next < record.place.position {
            if !log.reports(next) {
                return Err(Violation::new(checker, format!("position {next} is missing and not reported")));
            }
            next = next.next();
        }
        if record.place.position != next {
            return Err(Violation::new(checker, format!("position {} after {next}", record.place.position)));
        }
        next = next.next();
    }
    Ok(())
}

/// I8: each stream's numbers are dense from 1 and its times rise, save for what is reported as unreadable.
pub fn streams_are_dense_and_time_rises(log: &LogView) -> Checked {
    let checker = "I8 streams are dense, time rises";
    let mut last: BTreeMap<StreamId, (Seq, Hlc)> = BTreeMap::new();
    for record in &log.records {
        let (seq, hlc) = last.insert(record.stream, (record.seq, record.hlc)).unwrap_or_default();
        let gap_reported = !log.unreadable.is_empty() && record.seq > seq;
        if (record.seq != seq.next() && !gap_reported) || record.hlc < hlc {
            let found = format!("record {} at {} follows {seq} at {hlc}", record.seq, record.hlc);
            return Err(Violation::new(checker, format!("stream {}: {found}", record.stream)));
        }
    }
    Ok(())
}

/// I13: each record's head is the hash of the head before it and of its own leaf, computed here a second time.
/// The first `sound` records were looked at before.
pub fn chain_verifies(log: &LogView, sound: usize) -> Checked {
    let mut heads: BTreeMap<StreamId, (Seq, Hash)> = BTreeMap::new();
    for (index, record) in log.records.iter().enumerate() {
        let (seq, before) = heads.get(&record.stream).copied().unwrap_or_default();
        // After a reported gap the head before is not known here.
        if index >= sound && record.seq == seq.next() && next_head(before, record) != record.head {
            let message = format!("record {} of stream {} breaks the chain", record.seq, record.stream);
            return Err(Violation::new("I13 the chain verifies", message));
        }
        heads.insert(record.stream, (record.seq, record.head));
    }
    Ok(())
}

fn next_head(before: Hash, record: &Record) -> Hash {
    let mut leaf = blake3::Hasher::new();
    leaf.update(b"leaf");
    leaf.update(&record.stream.0);
    leaf.update(&record.seq.0.to_le_bytes());
    leaf.update(&record.hlc.0.to_le_bytes());
    leaf.update(&record.epoch.0.to_le_bytes());
    leaf.update(&record.kind.event_type.to_le_bytes());
    leaf.update(&record.kind.schema.to_le_bytes());
    leaf.update(&record.body_hash.0);
    leaf.update(&record.content_hash.0);
    let mut node = blake3::Hasher::new();
    node.update(b"node");
    node.update(&before.0);
    node.update(leaf.finalize().as_bytes());
    Hash(*node.finalize().as_bytes())
}

/// I13: a record's body has the hash that the chain covers. The first `sound` records were looked at before.
pub fn bodies_match_their_hashes(log: &LogView, sound: usize) -> Checked {
    for record in log.records.iter().skip(sound) {
        let matches = |body: &bytes::Bytes| blake3::hash(body).as_bytes() == &record.body_hash.0;
        let given_up = record.body.is_none() && log.reports(record.place.position);
        if !given_up && !record.body.as_ref().is_some_and(matches) {
            let message = format!("the body at position {} is missing or another", record.place.position);
            return Err(Violation::new("I13 bodies match their hashes", message));
        }
    }
    Ok(())
}

fn store_failed(error: impl fmt::Display) -> Violation {
    Violation::new("the projections can be read", error.to_string())
}

/// Names, keys and uploads are those that the log comes to.
pub fn projections_show_what_the_log_means(rows: &dyn Rows, model: &Model) -> Checked {
    let checker = "projections show what the log means";
    let mut found = BTreeMap::new();
    for entry in names::iter(rows) {
        let (name, row) = entry.map_err(store_failed)?;
        found.insert(name, row.stream);
    }
    if found != model.names {
        return Err(Violation::new(checker, format!("names {found:?}, but the log says {:?}", model.names)));
    }
    for (stream, bucket) in model.buckets.iter().filter(|(_, bucket)| bucket.name.is_some()) {
        let row = buckets::get(rows, *stream).map_err(store_failed)?;
        if row.as_ref().map(BucketRow::is_open) != Some(bucket.is_open()) {
            return Err(Violation::new(checker, format!("bucket {stream} is {row:?}, not {bucket:?}")));
        }
        let query = ListQuery { limit: usize::MAX, ..ListQuery::default() };
        let page = objects::list(rows, *stream, &query).map_err(store_failed)?;
        let listed = page.entries.into_iter().filter_map(|entry| match entry {
            ListEntry::Object { key, object } => Some((key, object.seq, object.size, object.etag)),
            ListEntry::Prefix(_) => None,
        });
        let expected = bucket
            .objects()
            .map(|(key, version, object)| (key.clone(), version.seq, object.size, object.etag.clone()));
        same(checker, *stream, &listed.collect::<Vec<_>>(), &expected.collect::<Vec<_>>())?;
        let query = VersionQuery { limit: usize::MAX, ..VersionQuery::default() };
        let page = versions::list(rows, *stream, &query).map_err(store_failed)?;
        let listed = page.entries.into_iter().filter_map(|entry| match entry {
            VersionEntry::Version { key, version, latest } => {
                Some((key, version.version(), version.at().seq, latest))
            }
            VersionEntry::Prefix(_) => None,
        });
        let expected = bucket.keys.iter().flat_map(|(key, versions)| {
            let newest_first = versions.iter().rev().zip(0..);
            newest_first.map(move |(version, index)| (key.clone(), version.id, version.seq, index == 0))
        });
        same(checker, *stream, &listed.collect::<Vec<_>>(), &expected.collect::<Vec<_>>())?;
    }
    same(checker, StreamId::SYSTEM, &removed_in_rows(rows)?, &removed_in_log(model))
}

fn same<T: PartialEq + fmt::Debug>(
    checker: &'static str,
    stream: StreamId,
    shown: &[T],
    meant: &[T],
) -> Checked {
    if shown == meant {
        return Ok(());
    }
    Err(Violation::new(checker, format!("stream {stream} shows {shown:?}, but the log says {meant:?}")))
}

/// What waits for the end of the history window: when it was removed, and the record that made it.
type Removed = (Hlc, StreamId, Seq);

fn removed_in_rows(rows: &dyn Rows) -> Result<Vec<Removed>, Violation> {
    let all = objects::expiring(rows, Removal::default());
    let removed = all.map(|row| row.map(|row| (row.at.removed, row.at.stream, row.at.seq)));
    removed.collect::<Result<_, _>>().map_err(store_failed)
}

fn removed_in_log(model: &Model) -> Vec<Removed> {
    let all = model
        .buckets
        .iter()
        .flat_map(|(stream, bucket)| bucket.past.iter().map(|(seq, past)| (past.removed, *stream, *seq)));
    let mut all: Vec<Removed> = all.collect();
    all.sort_unstable();
    all
}

/// I10: counters equal a recount.
pub fn counters_are_a_recount(rows: &dyn Rows, model: &Model) -> Checked {
    for (stream, bucket) in model.buckets.iter().filter(|(_, bucket)| bucket.name.is_some()) {
        let shown = bucket.keys.values().flatten();
        let sizes: Vec<u64> =
            shown.clone().filter_map(|version| Some(version.object.as_ref()?.size)).collect();
        let parts = bucket.uploads.values().flat_map(|upload| upload.parts.values());
        let counted = Usage {
            objects: bucket.objects().count() as u64,
            bytes: bucket.objects().map(|(_, _, object)| object.size).sum(),
            versions: sizes.len() as u64,
            version_bytes: sizes.iter().sum(),
            markers: shown.filter(|version| version.object.is_none()).count() as u64,
            history_bytes: bucket.history_bytes(),
            uploads: bucket.uploads.len() as u64,
            upload_bytes: parts.map(|part| total(&part.pieces)).sum(),
        };
        let row = buckets::get(rows, *stream).map_err(store_failed)?;
        let kept = row.map(|row| row.usage);
        if kept != Some(counted) {
            let message = format!("bucket {stream} counts {kept:?}, but holds {counted:?}");
            return Err(Violation::new("I10 counters are a recount", message));
        }
    }
    Ok(())
}

/// I3: a replay from the first record gives the digest that the live projections keep, and their rows have it.
pub fn replay_gives_the_same_digest(rows: &dyn Rows, replayed: &MemStore) -> Checked {
    let checker = "I3 replay gives the same digest";
    for space in Space::ALL {
        let comparison = compare(rows, replayed, space, 3).map_err(store_failed)?;
        if !comparison.is_equal() {
            let first: Vec<String> = comparison.first.iter().map(Difference::describe).collect();
            let message = format!("{space}: {comparison:?}; the first differences: {first:?}");
            return Err(Violation::new(checker, message));
        }
    }
    Ok(())
}

/// I6: what is delivered again, from the first record on, changes nothing.
pub fn redelivery_changes_nothing(rows: &dyn Rows, log: &LogView, log_id: LogId) -> Checked {
    let mut follower =
        Follower::new(rows, log_id, log.unreadable.clone(), Pace::Live).map_err(store_failed)?;
    let mut effects = Vec::new();
    follower.handle(rows, FollowerInput::Records(log.records.clone()), &mut effects);
    for effect in effects {
        match effect {
            FollowerEffect::Commit(batch) if batch.row_count() > 0 => {
                let message = format!("{} rows of {} would change", batch.row_count(), batch.space());
                return Err(Violation::new("I6 redelivery changes nothing", message));
            }
            FollowerEffect::Stuck(stuck) => {
                return Err(Violation::new("I6 redelivery changes nothing", stuck.to_string()));
            }
            FollowerEffect::Commit(_) | FollowerEffect::Applied(_) => {}
        }
    }
    Ok(())
}

/// I14: a quiet node holds nothing for anyone: no task, no command that waits, no room of a request, no reservation in a
/// pack, no reader, no queue.
pub fn a_quiet_node_holds_nothing(node: &Node) -> Checked {
    let (bytes, requests) = node.admission.in_flight();
    let held = [
        ("tasks", node.tasks.len() as u64),
        ("commands", node.waiters.len() as u64),
        ("batches that are not applied", (node.committed.len() + node.applied.len()) as u64),
        ("bytes admitted", bytes),
        ("requests admitted", requests),
        ("bytes queued for the log", node.writer.queued_bytes() as u64),
        ("blobs being stored", node.packs.uploads() as u64),
        ("bytes being given back", node.packs.giving_back()),
        ("blobs with readers", node.readers.len() as u64),
        ("blobs that wait for their readers", node.unwanted.len() as u64),
    ];
    match held.iter().find(|(_, count)| *count > 0) {
        None => Ok(()),
        Some((what, count)) => Err(Violation::new(
            "I14 a quiet node holds nothing",
            format!("{count} {what}, and nobody is there"),
        )),
    }
}

/// Every name has its open bucket and every open bucket its name: what a crash left half done was finished.
pub fn names_and_buckets_agree(model: &Model) -> Checked {
    let checker = "no bucket stays half made";
    for (name, stream) in &model.names {
        if !model.bucket(*stream).is_some_and(Bucket::is_open) {
            return Err(Violation::new(checker, format!("the name {name} has no open bucket")));
        }
    }
    for (stream, bucket) in model.buckets.iter().filter(|(_, bucket)| bucket.is_open()) {
        let named = bucket.name.as_ref().and_then(|name| model.names.get(name));
        if named != Some(stream) {
            return Err(Violation::new(
                checker,
                format!("bucket {stream} ({:?}) has lost its name", bucket.name),
            ));
        }
    }
    Ok(())
}
