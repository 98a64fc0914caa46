//! Listing by prefix and delimiter, in byte order, at the cost of what is returned.
//!
//! Keys that share a common prefix are passed over by seeking to the first key after it, once a few steps have shown
//! that there are many.

use crate::key::StateKey;
use crate::rows::{ObjectSummary, RowError};
use crate::store::{Rows, Space, StoreError, prefix_end};
use std::ops::Bound;

/// Steps through a common prefix before seeking past it. Making an iterator costs about as much as this many steps.
const STEPS_BEFORE_SEEK: usize = 16;

/// Where a page begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum After {
    /// After this key, which need not exist. Keys that follow it inside a common prefix still yield that prefix.
    Key(String),
    /// After every key that begins so.
    Prefix(String),
}

/// Which objects to list.
#[derive(Debug, Clone, Default)]
pub struct ListQuery {
    /// Only keys that begin so.
    pub prefix: String,
    /// Keys that have this after the prefix are rolled up into common prefixes. Empty is the same as none.
    pub delimiter: Option<String>,
    /// Where to begin.
    pub after: Option<After>,
    /// The most entries to return, objects and common prefixes together.
    pub limit: usize,
}

/// An entry of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListEntry {
    /// An object.
    Object {
        /// Its key.
        key: String,
        /// What a listing shows of it.
        object: ObjectSummary,
    },
    /// The keys that begin so, rolled up.
    Prefix(String),
}

impl ListEntry {
    /// Where a page that ends with this entry is continued.
    pub fn marker(&self) -> After {
        match self {
            Self::Object { key, .. } => After::Key(key.clone()),
            Self::Prefix(prefix) => After::Prefix(prefix.clone()),
        }
    }
}

/// A page of a listing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListPage {
    /// Objects and common prefixes in byte order.
    pub entries: Vec<ListEntry>,
    /// Where the next page begins; none where this is the last. An empty page is never continued.
    pub next: Option<After>,
}

/// A kind of rows that is listed by object key.
pub(crate) trait Listing {
    /// What a listing returns.
    type Entry;
    /// What the stored keys of all object keys with a prefix begin with.
    fn under(&self, prefix: &str) -> Vec<u8>;
    /// The object key of a stored key; none where it is of another kind.
    fn name<'k>(&self, key: &'k StateKey<'_>) -> Option<&'k str>;
    /// The entry of a row.
    fn entry(&self, key: &StateKey<'_>, stored: &[u8]) -> Result<Self::Entry, RowError>;
    /// The entry of a common prefix.
    fn common(&self, prefix: &str) -> Self::Entry;
}

/// What a walk returned, and whether it stopped at the limit with more to come.
pub(crate) struct Walked<E> {
    pub(crate) entries: Vec<E>,
    pub(crate) more: bool,
}

/// The lower bound after every stored key that begins so.
pub(crate) fn bound_after(stored_prefix: &[u8]) -> Bound<Vec<u8>> {
    match prefix_end(stored_prefix) {
        Bound::Excluded(end) => Bound::Included(end),
        other @ (Bound::Included(_) | Bound::Unbounded) => other,
    }
}

/// Walks rows in order, rolling up by delimiter.
pub(crate) fn walk<L: Listing>(
    rows: &dyn Rows,
    listing: &L,
    prefix: &str,
    delimiter: Option<&str>,
    after: Option<Bound<Vec<u8>>>,
    limit: usize,
) -> Result<Walked<L::Entry>, StoreError> {
    let mut walked = Walked { entries: Vec::new(), more: false };
    if limit == 0 {
        return Ok(walked);
    }
    let delimiter = delimiter.filter(|delimiter| !delimiter.is_empty());
    let first = listing.under(prefix);
    let to = prefix_end(&first);
    let mut from = later(Bound::Included(first), after);
    // What every key of the last common prefix begins with, and how many of them were stepped over.
    let mut passing: Option<(Vec<u8>, usize)> = None;
    'seek: loop {
        for row in rows.range(Space::State, from, to.clone()) {
            let (key, stored) = row?;
            if let Some((common, steps)) = &mut passing {
                if key.starts_with(common) {
                    *steps += 1;
                    if *steps < STEPS_BEFORE_SEEK {
                        continue;
                    }
                    let Bound::Excluded(end) = prefix_end(common) else { break 'seek };
                    from = Bound::Included(end);
                    passing = None;
                    continue 'seek;
                }
                passing = None;
            }
            if walked.entries.len() == limit {
                walked.more = true;
                break 'seek;
            }
            let parsed = StateKey::decode(&key)?;
            let name = listing.name(&parsed).ok_or_else(|| RowError::key(&key))?;
            if let Some(common) = delimiter.and_then(|delimiter| common_prefix(name, prefix, delimiter)) {
                passing = Some((listing.under(common), 0));
                walked.entries.push(listing.common(common));
            } else {
                walked.entries.push(listing.entry(&parsed, &stored)?);
            }
        }
        break;
    }
    Ok(walked)
}

/// The part of a key up to and with the first delimiter after the prefix.
fn common_prefix<'k>(name: &'k str, prefix: &str, delimiter: &str) -> Option<&'k str> {
    let rest = name.get(prefix.len()..)?;
    let end = prefix.len() + rest.find(delimiter)? + delimiter.len();
    name.get(..end)
}

/// The later of two lower bounds.
fn later(first: Bound<Vec<u8>>, after: Option<Bound<Vec<u8>>>) -> Bound<Vec<u8>> {
    let key = |bound: &Bound<Vec<u8>>| match bound {
        Bound::Included(key) | Bound::Excluded(key) => Some(key.clone()),
        Bound::Unbounded => None,
    };
    match after {
        Some(after) if key(&after) >= key(&first) => after,
        Some(_) | None => first,
    }
}

#[cfg(test)]
mod tests;
