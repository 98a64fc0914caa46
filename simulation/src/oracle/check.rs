//! Compares a log with what clients asked for and were told.

use super::history::{Answer, Entry, History, Intent, OpId};
use super::model::{Bucket, Model, Object, intent_of};
use crate::invariants::Violation;
use siltstone::engine::outcome::Outcome;
use siltstone_log::event::{Body, Event};
use siltstone_log::id::{Position, Seq, StreamId};
use siltstone_log::name::ObjectKey;
use siltstone_log::record::Record;
use std::collections::{BTreeMap, BTreeSet};

/// A log as a reader sees it: its records in order, and the positions it says it cannot read.
#[derive(Debug, Clone, Default)]
pub struct LogView {
    /// The readable records.
    pub records: Vec<Record>,
    /// First and last position of each range that is reported as unreadable.
    pub unreadable: Vec<(Position, Position)>,
    /// Positions whose body or content was given up: the record itself is still in the chain.
    pub emptied: BTreeSet<Position>,
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

fn violation<T>(checker: &'static str, message: impl Into<String>) -> Result<T, Violation> {
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
    /// Keys that a DeleteMany found when its first record was decided.
    expected_deletes: BTreeMap<OpId, usize>,
    claims: Claims,
}

impl<'a> Check<'a> {
    fn new(history: &'a History, log: &'a LogView) -> Self {
        Self {
            history,
            log,
            verdict: Verdict::default(),
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
            if let Intent::DeleteMany { stream, keys } = intent {
                let objects = self.verdict.model.bucket(*stream).map(|bucket| &bucket.objects);
                let distinct: BTreeSet<_> = keys.iter().map(ObjectKey::as_str).collect();
                let found =
                    distinct.iter().filter(|key| objects.is_some_and(|all| all.contains_key(**key))).count();
                self.expected_deletes.entry(op).or_insert(found);
            }
            let written = Written { stream: record.stream, seq: record.seq, position: record.place.position };
            self.written.entry(op).or_default().push(written);
        }
        let applied = self.verdict.model.apply(record.stream, record.seq, &event, by);
        if let (Err(contradiction), false) = (applied, self.has_gaps()) {
            return violation("history", format!("{at}: {}", contradiction.0));
        }
        self.claims.settle(self.history, &self.verdict.model, record.stream, record.seq);
        Ok(())
    }

    fn operations(&mut self) -> Result<(), Violation> {
        for (op, entry) in self.history.entries() {
            let written = self.written.get(&op).map_or(&[][..], Vec::as_slice);
            match &entry.answer {
                Answer::Unknown => {
                    let mutation = !matches!(entry.intent, Intent::Get { .. } | Intent::List { .. });
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
                | Answer::Listed(_)
                | Answer::Damaged => {}
            }
            self.whole(op, entry, written)?;
        }
        Ok(())
    }

    /// An operation's records are all there or none.
    fn whole(&self, op: OpId, entry: &Entry, written: &[Written]) -> Result<(), Violation> {
        let most = match entry.intent {
            // It may have to release the name of a bucket whose deletion was interrupted.
            Intent::CreateBucket { .. } => 3,
            Intent::DeleteBucket { .. } => 2,
            Intent::DeleteMany { .. } => self.expected_deletes.get(&op).copied().unwrap_or(0),
            _ => 1,
        };
        let torn = matches!(entry.intent, Intent::DeleteMany { .. }) && written.len() != most;
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
            // Asked again, a completion that is done already is answered as the first time.
            (Intent::DeleteMany { .. } | Intent::Complete { .. }, _) => written.is_empty(),
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

/// Answers that must have been true of a durable state between what was known when the operation began and what was
/// durable when it was answered.
#[derive(Debug, Default)]
struct Claims {
    upcoming: BTreeMap<StreamId, BTreeSet<(Seq, OpId)>>,
    active: BTreeMap<StreamId, BTreeSet<OpId>>,
}

impl Claims {
    fn of(history: &History) -> Self {
        let mut claims = Self::default();
        for (op, entry) in history.entries() {
            if makes_claim(entry) {
                claims.upcoming.entry(entry.intent.stream()).or_default().insert((entry.low, op));
            }
        }
        claims
    }

    fn settle_start(&mut self, history: &History) {
        let empty = Model::default();
        let streams: Vec<StreamId> = self.upcoming.keys().copied().collect();
        for stream in streams {
            self.settle(history, &empty, stream, Seq(0));
        }
    }

    /// A stream has come to a record: which claims are true of its state?
    fn settle(&mut self, history: &History, model: &Model, stream: StreamId, seq: Seq) {
        let Some(upcoming) = self.upcoming.get_mut(&stream) else { return };
        let active = self.active.entry(stream).or_default();
        while let Some((low, op)) = upcoming.first().copied().filter(|(low, _)| *low <= seq) {
            upcoming.remove(&(low, op));
            active.insert(op);
        }
        active.retain(|op| {
            let Some(entry) = history.get(*op) else { return false };
            seq > entry.high || !holds(model, entry)
        });
    }

    fn settle_end(&self, history: &History, log: &LogView) -> Result<(), Violation> {
        let open = self.active.values().flatten().chain(self.upcoming.values().flatten().map(|(_, op)| op));
        for op in open {
            let Some(entry) = history.get(*op) else { continue };
            // With records missing, the state a claim rested on may be among them.
            if !log.has_gaps() {
                return violation(
                    "answers rest on durable state",
                    format!(
                        "{op:?} was answered what is true of no durable state it could have seen: {entry:?}"
                    ),
                );
            }
        }
        Ok(())
    }
}

fn makes_claim(entry: &Entry) -> bool {
    match (&entry.intent, &entry.answer) {
        (_, Answer::Rejected(_) | Answer::Object(_) | Answer::Listed(_))
        | (Intent::Complete { .. }, Answer::Done { .. }) => true,
        (_, Answer::Done { outcome: Outcome::Deleted(deleted), .. }) => !deleted.existed,
        _ => false,
    }
}

fn holds(model: &Model, entry: &Entry) -> bool {
    let stream = entry.intent.stream();
    let none = Bucket::default();
    let bucket = model.bucket(stream).unwrap_or(&none);
    let same = |object: &Object, seen: &super::history::Seen| {
        object.seq == seen.seq && object.etag == seen.etag && object.size == seen.size
    };
    match (&entry.intent, &entry.answer) {
        (Intent::CreateBucket { name, .. }, Answer::Rejected(_)) => model.names.contains_key(name),
        (intent, Answer::Rejected(rejection)) => bucket.rejection(intent).as_ref() == Some(rejection),
        (Intent::Delete { key, .. }, Answer::Done { .. }) => {
            bucket.is_open() && !bucket.objects.contains_key(key.as_str())
        }
        (
            Intent::Complete { key, .. },
            Answer::Done { outcome: Outcome::MultipartCompleted(completed), .. },
        ) => {
            let object = bucket.objects.get(key.as_str());
            object.is_some_and(|object| object.etag == completed.etag && object.size == completed.size)
        }
        (Intent::Get { key, .. }, Answer::Object(seen)) => match (bucket.objects.get(key.as_str()), seen) {
            (Some(object), Some(seen)) => same(object, seen),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        },
        (Intent::List { .. }, Answer::Listed(seen)) => {
            bucket.objects.len() == seen.len()
                && bucket
                    .objects
                    .iter()
                    .zip(seen)
                    .all(|((key, object), (seen_key, seen))| key == seen_key && same(object, seen))
        }
        _ => true,
    }
}
