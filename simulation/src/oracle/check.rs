//! Compares a log with what clients asked for and were told.

use super::bucket::{Bucket, Origin};
use super::claims::Claims;
use super::history::{Answer, Entry, History, Intent, OpId};
use super::model::{Model, intent_of};
use crate::invariants::Violation;
use siltstone::engine::outcome::Outcome;
use siltstone_log::event::{Body, Deletion, Event};
use siltstone_log::id::{Position, Seq, StreamId, VersionRef};
use siltstone_log::record::Record;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A log as a reader sees it: its records in order, and the positions it says it cannot read.
#[derive(Debug, Clone, Default)]
pub struct LogView {
    /// The readable records.
    pub records: Vec<Record>,
    /// First and last position of each range that is reported as unreadable.
    pub unreadable: Vec<(Position, Position)>,
    /// Positions whose body or content was given up: the record itself is still in the chain.
    pub emptied: BTreeSet<Position>,
    /// How long what was removed is kept at least, where the wall clock can be trusted.
    pub window_millis: Option<u64>,
}

impl LogView {
    /// Whether the loss of a position is reported.
    pub fn reports(&self, position: Position) -> bool {
        self.emptied.contains(&position)
            || self.unreadable.iter().any(|(first, last)| (*first..=*last).contains(&position))
    }

    /// Whether anything is missing, all of it reported: what is left need not add up then.
    pub fn has_gaps(&self) -> bool {
        !self.unreadable.is_empty() || !self.emptied.is_empty()
    }
}

#[derive(Debug, Clone, Copy)]
struct Written {
    stream: StreamId,
    seq: Seq,
    position: Position,
    /// The version that its client must have been told of.
    version: Option<VersionRef>,
}

/// What the comparison found out.
#[derive(Debug, Clone, Default)]
pub struct Verdict {
    /// What the log means.
    pub model: Model,
    /// Operations without an answer that have happened.
    pub unknown_happened: u64,
    /// Operations without an answer that have not.
    pub unknown_did_not: u64,
    /// Buckets whose second half recovery did.
    pub finished_by_recovery: BTreeSet<&'static str>,
}

pub(super) fn violation<T>(checker: &'static str, message: impl Into<String>) -> Result<T, Violation> {
    Err(Violation::new(checker, message))
}

/// Checks that the log holds every acknowledged operation, no other than those asked for, none in part, and that
/// every answer was true of some durable state it could have been given in.
pub fn check_log(history: &History, log: &LogView) -> Result<Verdict, Violation> {
    let mut check = Check::new(history, log);
    check.claims.settle_start(history);
    for record in &log.records {
        check.record(record)?;
    }
    check.claims.settle_end(history, log)?;
    check.operations()?;
    check.told_is_there()?;
    Ok(check.verdict)
}

struct Check<'a> {
    history: &'a History,
    log: &'a LogView,
    verdict: Verdict,
    written: BTreeMap<OpId, Vec<Written>>,
    /// What a DeleteMany has to write beyond what it has, as its first record found it.
    expected_deletes: BTreeMap<OpId, VecDeque<(String, Deletion)>>,
    claims: Claims,
}

impl<'a> Check<'a> {
    fn new(history: &'a History, log: &'a LogView) -> Self {
        Self {
            history,
            log,
            verdict: Verdict {
                model: Model { window_millis: log.window_millis, ..Model::default() },
                ..Verdict::default()
            },
            written: BTreeMap::new(),
            expected_deletes: BTreeMap::new(),
            claims: Claims::of(history),
        }
    }

    fn has_gaps(&self) -> bool {
        self.log.has_gaps()
    }

    fn record(&mut self, record: &Record) -> Result<(), Violation> {
        let at = format!(
            "record {} of stream {} at position {}",
            record.seq, record.stream, record.place.position
        );
        if record.body.is_none() && self.log.reports(record.place.position) {
            return Ok(());
        }
        let Some(Ok(Body { actor, event })) = record.decode() else {
            return violation("contents", format!("{at} cannot be decoded"));
        };
        let by = intent_of(self.history, &actor.request_id);
        if by.is_none() && !actor.request_id.is_empty() {
            return violation("phantom", format!("{at} is of {}, which nobody asked for", actor.request_id));
        }
        if by.is_none() {
            self.verdict.finished_by_recovery.extend(match event {
                Event::BucketCreated(_) => Some("creation"),
                Event::BucketNameReleased(_) => Some("deletion"),
                _ => None,
            });
        }
        if let Some((op, intent)) = by {
            self.deletes_what_it_found(op, intent, record.stream, &event, &at)?;
            let written = Written {
                stream: record.stream,
                seq: record.seq,
                position: record.place.position,
                version: self.version_told(record.stream, &event),
            };
            self.written.entry(op).or_default().push(written);
        }
        let origin = Origin { seq: record.seq, hlc: record.hlc };
        let applied = self.verdict.model.apply(record.stream, origin, &event, by);
        if let (Err(contradiction), false) = (applied, self.has_gaps()) {
            return violation("history", format!("{at}: {}", contradiction.0));
        }
        self.claims.settle(self.history, &self.verdict.model, record.stream, record.seq);
        Ok(())
    }

    /// Each record of a DeleteMany is the next of what the first one found to be deleted; a single delete writes what its
    /// state asks for.
    fn deletes_what_it_found(
        &mut self,
        op: OpId,
        intent: &Intent,
        stream: StreamId,
        event: &Event,
        at: &str,
    ) -> Result<(), Violation> {
        let none = Bucket::default();
        let bucket = self.verdict.model.bucket(stream).unwrap_or(&none);
        let expected = match intent {
            Intent::DeleteMany { deletes, .. } => {
                let found = || bucket.deletions(deletes).into();
                self.expected_deletes.entry(op).or_insert_with(found).pop_front()
            }
            Intent::Delete { delete, .. } => {
                bucket.deletion(delete).map(|deletion| (delete.key.to_string(), deletion))
            }
            _ => return Ok(()),
        };
        let wrote = match event {
            Event::ObjectDeleted(deleted) => Some((deleted.key.to_string(), deleted.deletion)),
            _ => None,
        };
        if wrote != expected && !self.has_gaps() {
            return violation(
                "history",
                format!("{at}: deletes {wrote:?}, but {expected:?} was to be deleted"),
            );
        }
        Ok(())
    }

    /// The version that a record makes, as its client must be told of it.
    fn version_told(&self, stream: StreamId, event: &Event) -> Option<VersionRef> {
        let made = match event {
            Event::ObjectPut(put) => put.version.into(),
            Event::MultipartCompleted(completed) => completed.version.into(),
            Event::ObjectDeleted(deleted) => match deleted.deletion {
                Deletion::Marker(id) | Deletion::Version(id) => return Some(id),
                Deletion::Current => return None,
            },
            _ => return None,
        };
        self.verdict.model.bucket(stream)?.told(made)
    }

    fn operations(&mut self) -> Result<(), Violation> {
        for (op, entry) in self.history.entries() {
            let written = self.written.get(&op).map_or(&[][..], Vec::as_slice);
            match &entry.answer {
                Answer::Unknown => {
                    let mutation = !entry.intent.is_read();
                    self.verdict.unknown_happened += u64::from(mutation && !written.is_empty());
                    self.verdict.unknown_did_not += u64::from(mutation && written.is_empty());
                }
                Answer::Done { stream, seq, position, outcome } => {
                    self.done(op, entry, written, (*stream, *seq, *position), outcome)?;
                }
                // A creation may reserve the name and then find that another one has begun the bucket.
                Answer::Rejected(_) | Answer::Refused(_)
                    if !written.is_empty() && !matches!(entry.intent, Intent::CreateBucket { .. }) =>
                {
                    return violation(
                        "phantom",
                        format!("{op:?} was refused ({entry:?}), yet it wrote {written:?}"),
                    );
                }
                Answer::Rejected(_)
                | Answer::Refused(_)
                | Answer::Object(_)
                | Answer::Marker
                | Answer::Listed(_)
                | Answer::ListedVersions(_)
                | Answer::Damaged => {}
            }
            self.whole(op, entry, written)?;
        }
        Ok(())
    }

    /// An operation's records are all there or none.
    fn whole(&self, op: OpId, entry: &Entry, written: &[Written]) -> Result<(), Violation> {
        let most = match entry.intent {
            // It may have to release the name of a bucket whose deletion was interrupted, and its tags are a record.
            Intent::CreateBucket { .. } => 4,
            Intent::DeleteBucket { .. } => 2,
            Intent::DeleteMany { .. } => written.len(),
            _ => 1,
        };
        let torn = self.expected_deletes.get(&op).is_some_and(|missing| !missing.is_empty());
        if (torn || written.len() > most) && !self.has_gaps() {
            return violation(
                "atomicity",
                format!("{op:?} ({entry:?}) wrote {} records: {written:?}", written.len()),
            );
        }
        Ok(())
    }

    fn done(
        &self,
        op: OpId,
        entry: &Entry,
        written: &[Written],
        (stream, seq, position): (StreamId, Seq, Position),
        outcome: &Outcome,
    ) -> Result<(), Violation> {
        let nothing_to_write = match (&entry.intent, outcome) {
            (Intent::Delete { .. }, Outcome::Deleted(deleted)) => !deleted.existed,
            // Asked again, a completion that is done already is answered as the first time; what is as wanted stays.
            (
                Intent::DeleteMany { .. }
                | Intent::Complete { .. }
                | Intent::Tag { .. }
                | Intent::SetVersioning { .. },
                _,
            ) => written.is_empty(),
            _ => false,
        };
        if nothing_to_write || self.log.reports(position) {
            return Ok(());
        }
        if let Intent::CreateBucket { .. } | Intent::DeleteBucket { .. } = entry.intent {
            let halves =
                written.len() >= 2 || (!written.is_empty() && self.finished_elsewhere(&entry.intent));
            if !halves && !self.has_gaps() {
                let message = format!("{op:?} ({:?}) was acknowledged half done: {written:?}", entry.intent);
                return violation("I1 acknowledged is durable", message);
            }
            return Ok(());
        }
        let found = written.iter().rfind(|written| written.stream == stream);
        if found.is_none_or(|found| found.seq != seq || (position.get() != 0 && found.position != position)) {
            let told = format!("record {seq} of {stream} at position {position}");
            return violation(
                "I1 acknowledged is durable",
                format!(
                    "{op:?} ({:?}) was acknowledged as {told}, but the log has {written:?}",
                    entry.intent
                ),
            );
        }
        let told = match outcome {
            Outcome::Stored { version } => *version,
            Outcome::MultipartCompleted(completed) => completed.version,
            Outcome::Deleted(deleted) => deleted.version,
            _ => return Ok(()),
        };
        let made = found.and_then(|found| found.version);
        if told != made && !self.has_gaps() {
            let message = format!("{op:?} ({:?}) was told {told:?}, but made {made:?}", entry.intent);
            return violation("clients are told the version they made", message);
        }
        Ok(())
    }

    /// The other half of a bucket's creation or deletion may be another operation's, or recovery's.
    fn finished_elsewhere(&self, intent: &Intent) -> bool {
        match intent {
            Intent::CreateBucket { name, .. } => {
                self.verdict.model.buckets.values().any(|bucket| bucket.name.as_ref() == Some(name))
            }
            Intent::DeleteBucket { name, stream } => self.verdict.model.names.get(name) != Some(stream),
            _ => true,
        }
    }

    /// No stream ends before the newest record that anyone was told of or shown.
    fn told_is_there(&self) -> Result<(), Violation> {
        for (stream, told) in self.history.all_told() {
            let head = self.verdict.model.bucket(*stream).map_or(Seq(0), |bucket| bucket.seq);
            if head < *told && !self.has_gaps() {
                return violation(
                    "I1 what was seen stays",
                    format!(
                        "record {told} of stream {stream} was acknowledged or shown, but the stream ends at {head}"
                    ),
                );
            }
        }
        Ok(())
    }
}
