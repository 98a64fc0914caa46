//! What a listing must show, from the times of operations alone: what was stored before it began and not touched until it
//! ended is there once, what was deleted before it began and not stored again is not, and all is in order.

use super::check::violation;
use super::history::{Answer, Entry, History, Intent};
use crate::invariants::Violation;
use siltstone::engine::outcome::Outcome;
use siltstone_log::id::{StreamId, VersionRef};
use std::collections::{BTreeMap, BTreeSet};

/// When something changed a key: from, to, whether it is certain, and whether it stored something.
#[derive(Debug, Clone, Copy)]
struct Change {
    began: u64,
    ended: u64,
    certain: bool,
    stores: bool,
    /// Whether it named a version, so that an older one may have come to light.
    uncovers: bool,
}

type Changes<'a> = BTreeMap<(StreamId, &'a str), Vec<Change>>;

fn changes(history: &History) -> Changes<'_> {
    let mut changes = Changes::new();
    for (_, entry) in history.entries() {
        if matches!(entry.answer, Answer::Rejected(_) | Answer::Refused(_)) {
            continue;
        }
        let (keys, stores) = match &entry.intent {
            Intent::Put { key, .. } | Intent::Copy { key, .. } | Intent::Complete { key, .. } => {
                (vec![key.as_str()], true)
            }
            Intent::Delete { delete, .. } => (vec![delete.key.as_str()], false),
            Intent::DeleteMany { deletes, .. } => {
                (deletes.iter().map(|delete| delete.key.as_str()).collect(), false)
            }
            _ => continue,
        };
        // What names a version may delete or uncover: neither is certain here.
        let named = match &entry.intent {
            Intent::Delete { delete, .. } => delete.version.is_some(),
            Intent::DeleteMany { deletes, .. } => deletes.iter().any(|delete| delete.version.is_some()),
            _ => false,
        };
        let certain = !named && matches!(entry.answer, Answer::Done { .. });
        let change = Change { began: entry.began, ended: entry.ended, certain, stores, uncovers: named };
        for key in keys {
            changes.entry((entry.intent.stream(), key)).or_default().push(change);
        }
    }
    changes
}

/// Whether a key must be in a listing (`Some(true)`), must not (`Some(false)`), or may.
fn must_show(changes: &[Change], began: u64, ended: u64) -> Option<bool> {
    let before = changes.iter().filter(|change| change.certain && change.ended < began);
    let last = before.max_by_key(|change| change.began)?;
    // Anything else that was not over before the last began could have come after it.
    let mut others = changes.iter().filter(|change| change.ended > last.began && change.began < ended);
    let alone = others.all(|change| !change.uncovers && change.stores == last.stores);
    alone.then_some(last.stores)
}

/// Checks every listing of a history.
pub fn listings_show_what_was_stored(history: &History) -> Result<(), Violation> {
    let changes = changes(history);
    for (op, entry) in history.entries() {
        match &entry.answer {
            Answer::Listed(listed) => {
                let shown: Vec<&str> = listed.iter().map(|(key, _)| key.as_str()).collect();
                if !shown.is_sorted_by(|one, next| one < next) {
                    return violation("LIST is in order, each key once", format!("{op:?}: {shown:?}"));
                }
                let shown: BTreeSet<&str> = shown.into_iter().collect();
                let stream = entry.intent.stream();
                let from = match &entry.intent {
                    Intent::List { after: Some(after), .. } => after.as_str(),
                    _ => "",
                };
                let listed = |of: &StreamId, key: &str| *of == stream && key > from;
                for ((_, key), changes) in changes.iter().filter(|((of, key), _)| listed(of, key)) {
                    let must = must_show(changes, entry.began, entry.ended);
                    if must.is_some_and(|must| must != shown.contains(key)) {
                        let message = format!("{op:?}: key {key} should be there: {must:?}; {changes:?}");
                        return violation("LIST shows what was stored", message);
                    }
                }
            }
            Answer::ListedVersions(_) => versions_are_listed(history, entry)?,
            _ => {}
        }
    }
    Ok(())
}

/// Each version that a client was told of, and nobody tried to delete, is there; keys are in order, one version of each is
/// the latest.
fn versions_are_listed(history: &History, listing: &Entry) -> Result<(), Violation> {
    let Answer::ListedVersions(listed) = &listing.answer else { return Ok(()) };
    let checker = "LIST of versions shows what was stored";
    let ordered = listed.is_sorted_by(|one, next| {
        (one.key < next.key && next.latest) || (one.key == next.key && one.seq > next.seq && !next.latest)
    });
    if !ordered || listed.first().is_some_and(|first| !first.latest) {
        return violation(checker, format!("out of order: {listed:?}"));
    }
    let stream = listing.intent.stream();
    let mut wanted: BTreeSet<(&str, VersionRef)> = BTreeSet::new();
    for (_, entry) in history.entries().filter(|(_, entry)| entry.intent.stream() == stream) {
        if let (
            Intent::Put { key, .. } | Intent::Copy { key, .. },
            Answer::Done { outcome: Outcome::Stored { version: Some(id @ VersionRef::Id(_)) }, .. },
        ) = (&entry.intent, &entry.answer)
            && entry.ended < listing.began
        {
            wanted.insert((key.as_str(), *id));
        }
    }
    for (_, entry) in history.entries().filter(|(_, entry)| entry.began < listing.ended) {
        let deletes = match &entry.intent {
            Intent::Delete { delete, .. } => std::slice::from_ref(delete),
            Intent::DeleteMany { deletes, .. } => deletes.as_slice(),
            _ => &[],
        };
        for delete in deletes {
            if let Some(version) = delete.version {
                wanted.remove(&(delete.key.as_str(), version));
            }
        }
    }
    let shown: BTreeSet<(&str, VersionRef)> =
        listed.iter().map(|version| (version.key.as_str(), version.version)).collect();
    match wanted.difference(&shown).next() {
        None => Ok(()),
        Some(missing) => violation(checker, format!("{missing:?} is missing in {shown:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(began: u64, ended: u64, certain: bool, stores: bool) -> Change {
        Change { began, ended, certain, stores, uncovers: false }
    }

    #[test]
    fn what_was_stored_before_and_not_touched_must_be_there() {
        assert_eq!(must_show(&[change(1, 2, true, true)], 3, 4), Some(true));
        assert_eq!(must_show(&[change(1, 2, true, true), change(3, 4, true, false)], 5, 6), Some(false));
        assert_eq!(must_show(&[], 5, 6), None);
    }

    #[test]
    fn what_is_changed_meanwhile_or_by_an_unanswered_operation_may_be_there_or_not() {
        let stored = change(1, 2, true, true);
        assert_eq!(must_show(&[stored, change(5, 9, true, false)], 6, 7), None);
        assert_eq!(must_show(&[stored, change(3, 4, false, false)], 6, 7), None);
        assert_eq!(must_show(&[stored, change(8, 9, true, false)], 6, 7), Some(true));
    }
}
