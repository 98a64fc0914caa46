//! One named function for each promise.

use siltstone_log::hlc::Hlc;
use siltstone_log::id::{Hash, Position, Seq, StreamId};
use siltstone_log::record::Record;
use std::collections::BTreeMap;
use std::fmt;

use crate::oracle::LogView;

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
        if (record.seq != seq.next() && !gap_reported) || record.hlc <= hlc {
            let found = format!("record {} at {} follows {seq} at {hlc}", record.seq, record.hlc);
            return Err(Violation::new(checker, format!("stream {}: {found}", record.stream)));
        }
    }
    Ok(())
}

/// I13: each record's head is the hash of the head before it and of its own leaf, computed here a second time.
pub fn chain_verifies(log: &LogView) -> Checked {
    let mut heads: BTreeMap<StreamId, (Seq, Hash)> = BTreeMap::new();
    for record in &log.records {
        let (seq, before) = heads.get(&record.stream).copied().unwrap_or_default();
        // After a reported gap the head before is not known here.
        if record.seq == seq.next() && next_head(before, record) != record.head {
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

/// I13: a record's body has the hash that the chain covers.
pub fn bodies_match_their_hashes(log: &LogView) -> Checked {
    for record in &log.records {
        let matches = |body: &bytes::Bytes| blake3::hash(body).as_bytes() == &record.body_hash.0;
        if !record.body.as_ref().is_some_and(matches) {
            let message = format!("the body at position {} is missing or another", record.place.position);
            return Err(Violation::new("I13 bodies match their hashes", message));
        }
    }
    Ok(())
}
