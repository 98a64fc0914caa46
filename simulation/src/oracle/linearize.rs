//! A second opinion: is there an order of a key's operations that explains every answer? It knows when each began and
//! ended and what was told, and nothing of positions, numbers or logs (Wing and Gong, 1993; with Lowe's memory of
//! states seen, 2017).
//!
//! Keys of which a version was deleted by its id are left out: what a key holds then is more than its last write.

use super::check::violation;
use super::history::{Answer, Condition, Entry, History, Intent, OpId};
use crate::invariants::Violation;
use siltstone::engine::outcome::{Outcome, Rejection};
use siltstone_log::id::StreamId;
use std::collections::{BTreeMap, BTreeSet};

/// The most operations of a key that are looked at, from its first on.
const MOST_OPERATIONS: usize = 200;
/// States after which a key is given up undecided: many unanswered operations at once have many orders.
const MOST_STATES: usize = 20_000;

/// An ETag: bodies are unique, so it names the write.
type Value = Option<String>;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Action {
    /// Sets what the key holds, where the condition was met.
    Write(Value, Condition),
    /// The key held this.
    Read(Value),
    /// The condition was not met.
    Unmet(Condition),
}

#[derive(Debug, Clone)]
struct Call {
    /// For the report.
    #[expect(dead_code, reason = "shown where no order is found")]
    op: OpId,
    action: Action,
    began: u64,
    ended: u64,
    /// Whether it has happened for certain. One without an answer may have, or not.
    certain: bool,
}

impl Action {
    /// What the key holds afterwards; none where the action contradicts what it holds.
    fn after(&self, held: &Value) -> Option<Value> {
        let met = |condition: &Condition| match condition {
            Condition::None => true,
            Condition::Absent => held.is_none(),
            Condition::Etag(etag) => held.as_ref() == Some(etag),
        };
        match self {
            Self::Write(value, condition) => met(condition).then(|| value.clone()),
            Self::Read(value) => (value == held).then(|| held.clone()),
            Self::Unmet(condition) => (!met(condition)).then(|| held.clone()),
        }
    }
}

type KeyName = (StreamId, String);

/// What an operation does to keys, as far as its client knows; none where that says nothing.
fn calls_of(op: OpId, entry: &Entry) -> Vec<(KeyName, Call)> {
    let certain = !matches!(entry.answer, Answer::Unknown);
    let call = |key: &str, action| {
        let call = Call { op, action, began: entry.began, ended: entry.ended, certain };
        ((entry.intent.stream(), key.to_owned()), call)
    };
    let write = |key: &str, etag: &str, condition: &Condition| {
        call(key, Action::Write(Some(etag.to_owned()), condition.clone()))
    };
    match (&entry.intent, &entry.answer) {
        (
            Intent::Put { key, condition, .. },
            Answer::Rejected(Rejection::PreconditionFailed(_) | Rejection::NoSuchKey),
        )
        | (
            Intent::Delete { delete: super::DeleteKey { key, .. }, condition, .. },
            Answer::Rejected(Rejection::PreconditionFailed(_)),
        ) => vec![call(key.as_str(), Action::Unmet(condition.clone()))],
        (_, Answer::Rejected(_) | Answer::Refused(_) | Answer::Damaged) => Vec::new(),
        (Intent::Put { key, etag, condition, .. }, _) => vec![write(key.as_str(), etag, condition)],
        (Intent::Copy { key, etag, .. }, _) => vec![write(key.as_str(), etag, &Condition::None)],
        (Intent::Complete { key, .. }, Answer::Done { outcome: Outcome::MultipartCompleted(done), .. }) => {
            vec![write(key.as_str(), &done.etag, &Condition::None)]
        }
        (Intent::Delete { delete, condition, .. }, _) => {
            vec![call(delete.key.as_str(), Action::Write(None, condition.clone()))]
        }
        (Intent::DeleteMany { deletes, .. }, _) => {
            let keys: BTreeSet<&str> = deletes.iter().map(|delete| delete.key.as_str()).collect();
            keys.into_iter().map(|key| call(key, Action::Write(None, Condition::None))).collect()
        }
        (Intent::Get { key, version: None, .. }, Answer::Object(seen)) => {
            vec![call(key.as_str(), Action::Read(seen.as_ref().map(|seen| seen.etag.clone())))]
        }
        _ => Vec::new(),
    }
}

/// Keys whose history says more than this register knows: a version was named, or a completion has no answer (its ETag is
/// the server's to make) or repeated one that was done before.
fn is_beyond(entry: &Entry) -> Vec<KeyName> {
    let stream = entry.intent.stream();
    let keys = match &entry.intent {
        Intent::Delete { delete, .. } if delete.version.is_some() => vec![&delete.key],
        Intent::DeleteMany { deletes, .. } => {
            deletes.iter().filter(|delete| delete.version.is_some()).map(|delete| &delete.key).collect()
        }
        Intent::Complete { key, .. } if !matches!(entry.answer, Answer::Rejected(_)) => vec![key],
        _ => Vec::new(),
    };
    keys.into_iter().map(|key| (stream, key.to_string())).collect()
}

/// Finds for every key an order of its operations. Says for how many keys it did.
pub fn every_key_has_an_order(history: &History) -> Result<u64, Violation> {
    let mut keys: BTreeMap<KeyName, Vec<Call>> = BTreeMap::new();
    let mut beyond = BTreeSet::new();
    for (op, entry) in history.entries() {
        beyond.extend(is_beyond(entry));
        for (key, call) in calls_of(op, entry) {
            keys.entry(key).or_default().push(call);
        }
    }
    let mut found = 0;
    for (key, mut calls) in keys.into_iter().filter(|(key, _)| !beyond.contains(key)) {
        calls.sort_by_key(|call| call.began);
        let calls = first_of(calls);
        match Search::new(&calls).run() {
            Found::Order => found += 1,
            Found::Undecided => {}
            Found::None => {
                let told: Vec<String> = calls.iter().map(|call| format!("{call:?}")).collect();
                return violation(
                    "every key's operations have an order",
                    format!("key {} of {}: {}", key.1, key.0, told.join("; ")),
                );
            }
        }
    }
    Ok(found)
}

/// The first operations, up to a moment at which none was under way.
fn first_of(mut calls: Vec<Call>) -> Vec<Call> {
    let mut quiet = 0;
    let mut ends = 0;
    for (index, call) in calls.iter().enumerate().take(MOST_OPERATIONS + 1) {
        if ends < call.began {
            quiet = index;
        }
        if call.certain {
            ends = ends.max(call.ended);
        }
    }
    if calls.len() > MOST_OPERATIONS {
        calls.truncate(quiet);
    }
    calls
}

#[derive(Debug, PartialEq, Eq)]
enum Found {
    Order,
    None,
    Undecided,
}

type Taken = [u64; 4];

struct Search<'a> {
    calls: &'a [Call],
    seen: BTreeSet<(Taken, Value)>,
}

fn has(taken: &Taken, index: usize) -> bool {
    taken.get(index / 64).is_some_and(|word| word >> (index % 64) & 1 == 1)
}

impl<'a> Search<'a> {
    fn new(calls: &'a [Call]) -> Self {
        Self { calls, seen: BTreeSet::new() }
    }

    /// Tries, from the state that nothing has happened in, whatever may come next.
    fn run(mut self) -> Found {
        let mut stack: Vec<(Taken, Value)> = vec![([0; 4], None)];
        while let Some((taken, held)) = stack.pop() {
            if self.calls.iter().enumerate().all(|(index, call)| has(&taken, index) || !call.certain) {
                return Found::Order;
            }
            if !self.seen.insert((taken, held.clone())) {
                continue;
            }
            if self.seen.len() > MOST_STATES {
                return Found::Undecided;
            }
            for (index, after) in self.next(&taken, &held) {
                let mut taken = taken;
                if let Some(word) = taken.get_mut(index / 64) {
                    *word |= 1 << (index % 64);
                }
                stack.push((taken, after));
            }
        }
        Found::None
    }

    /// What may come next: what began before everything certain that is left has ended, and did not end before something
    /// that was taken began.
    fn next(&self, taken: &Taken, held: &Value) -> Vec<(usize, Value)> {
        let left = || self.calls.iter().enumerate().filter(|(index, _)| !has(taken, *index));
        let first_end = left().filter(|(_, call)| call.certain).map(|(_, call)| call.ended).min();
        let came = self.calls.iter().enumerate().filter(|(index, _)| has(taken, *index));
        let last_begin = came.map(|(_, call)| call.began).max().unwrap_or(0);
        left()
            .filter(|(_, call)| call.ended >= last_begin && first_end.is_none_or(|end| call.began <= end))
            .filter_map(|(index, call)| Some((index, call.action.after(held)?)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(action: Action, began: u64, ended: u64, certain: bool) -> Call {
        Call { op: OpId(began), action, began, ended, certain }
    }

    fn put(etag: &str, began: u64, ended: u64) -> Call {
        call(Action::Write(Some(etag.to_owned()), Condition::None), began, ended, true)
    }

    fn read(etag: &str, began: u64, ended: u64) -> Call {
        call(Action::Read(Some(etag.to_owned())), began, ended, true)
    }

    fn found(calls: &[Call]) -> Found {
        Search::new(calls).run()
    }

    #[test]
    fn operations_at_the_same_time_may_come_in_any_order() {
        assert_eq!(found(&[put("a", 1, 10), put("b", 2, 9), read("a", 11, 12)]), Found::Order);
        assert_eq!(found(&[put("a", 1, 10), put("b", 2, 9), read("b", 11, 12)]), Found::Order);
    }

    #[test]
    fn a_read_of_what_was_replaced_before_it_began_has_no_place() {
        assert_eq!(found(&[put("a", 1, 2), put("b", 3, 4), read("a", 5, 6)]), Found::None);
    }

    #[test]
    fn two_reads_do_not_go_back() {
        let calls = [put("a", 1, 2), put("b", 3, 20), read("b", 4, 5), read("a", 6, 7)];
        assert_eq!(found(&calls), Found::None);
    }

    #[test]
    fn an_unanswered_write_may_have_happened_or_not_but_not_after_its_node_went_down() {
        let lost = Call { certain: false, ..put("b", 3, 6) };
        assert_eq!(found(&[put("a", 1, 2), lost.clone(), read("b", 7, 8)]), Found::Order);
        assert_eq!(found(&[put("a", 1, 2), lost.clone(), read("a", 7, 8)]), Found::Order);
        let late = [put("a", 1, 2), lost, read("a", 7, 8), read("b", 9, 10)];
        assert_eq!(found(&late), Found::None);
    }

    #[test]
    fn a_condition_that_was_unmet_needs_a_state_in_which_it_is() {
        let unmet = |condition| call(Action::Unmet(condition), 5, 6, true);
        assert_eq!(found(&[put("a", 1, 2), unmet(Condition::Absent)]), Found::Order);
        assert_eq!(found(&[put("a", 1, 2), unmet(Condition::Etag("a".into()))]), Found::None);
    }

    #[test]
    fn a_long_history_is_cut_where_nothing_is_under_way() {
        let calls: Vec<Call> = (0..300).map(|at| put("a", at * 10, at * 10 + 11)).collect();
        assert_eq!(first_of(calls).len(), 0, "something is always under way");
        let calls: Vec<Call> = (0..300).map(|at| put("a", at * 10, at * 10 + 5)).collect();
        assert_eq!(first_of(calls).len(), MOST_OPERATIONS);
    }
}
