//! Listing the versions of a bucket, in the order of keys, each key's newest first.

use crate::key::StateKey;
use crate::list::{self, Listing};
use crate::objects;
use crate::rows::{RowError, VersionSummary};
use crate::store::{Rows, StoreError};
use siltstone_log::id::{StreamId, VersionRef};
use siltstone_log::name::ObjectKey;
use std::borrow::Cow;
use std::ops::Bound;

/// Where a page of versions begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VersionMarker {
    /// After every version of this key.
    Key(String),
    /// After this version of this key.
    Version(ObjectKey, VersionRef),
    /// After every key that begins so.
    Prefix(String),
}

/// Which versions to list.
#[derive(Debug, Clone, Default)]
pub struct VersionQuery {
    /// Only keys that begin so.
    pub prefix: String,
    /// Keys that have this after the prefix are rolled up into common prefixes. Empty is the same as none.
    pub delimiter: Option<String>,
    /// Where to begin.
    pub after: Option<VersionMarker>,
    /// The most entries to return, versions and common prefixes together.
    pub limit: usize,
}

/// An entry of a list of versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VersionEntry {
    /// A version.
    Version {
        /// Its key.
        key: String,
        /// The object or delete marker.
        version: VersionSummary,
        /// Whether it is what the key holds.
        latest: bool,
    },
    /// The keys that begin so, rolled up.
    Prefix(String),
}

/// A page of versions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VersionPage {
    /// Versions and common prefixes.
    pub entries: Vec<VersionEntry>,
    /// Whether more follow the last entry.
    pub more: bool,
}

/// Lists the versions of a bucket.
pub fn list(rows: &dyn Rows, stream: StreamId, query: &VersionQuery) -> Result<VersionPage, StoreError> {
    let versions = Versions { stream };
    let from = match &query.after {
        Some(VersionMarker::Key(key)) => Some(list::bound_after(&StateKey::versions_of(stream, key))),
        Some(VersionMarker::Version(key, version)) => Some(after_version(rows, stream, key, *version)?),
        Some(VersionMarker::Prefix(prefix)) => Some(list::bound_after(&versions.under(prefix))),
        None => None,
    };
    let found = list::walk(rows, &versions, &query.prefix, query.delimiter.as_deref(), from, query.limit)?;
    let mut entries = found.entries;
    let mut before = match &query.after {
        Some(VersionMarker::Version(key, _)) => continued_key(rows, stream, key, entries.first())?,
        Some(VersionMarker::Key(_) | VersionMarker::Prefix(_)) | None => None,
    };
    for entry in &mut entries {
        if let VersionEntry::Version { key, latest, .. } = entry {
            *latest = before.as_ref() != Some(key);
            before = Some(key.clone());
        }
    }
    Ok(VersionPage { entries, more: found.more })
}

/// The key of the page's first entry, if what stands before that entry is a newer version of it.
fn continued_key(
    rows: &dyn Rows,
    stream: StreamId,
    marker: &ObjectKey,
    first: Option<&VersionEntry>,
) -> Result<Option<String>, StoreError> {
    let Some(VersionEntry::Version { key, version, .. }) = first else { return Ok(None) };
    if key != marker.as_str() {
        return Ok(None);
    }
    let newest = objects::versions(rows, stream, marker).next().transpose()?;
    Ok(newest.filter(|newest| newest.at() != version.at()).map(|_| key.clone()))
}

/// The bound after a version, also after one that was deleted since its page was made. One that left the history window
/// too, and a null version, have nothing to stand for their place: their key's versions are told again rather than
/// passed over.
fn after_version(
    rows: &dyn Rows,
    stream: StreamId,
    key: &ObjectKey,
    version: VersionRef,
) -> Result<Bound<Vec<u8>>, StoreError> {
    let seq = match version {
        VersionRef::Id(id) => objects::maker(rows, stream, id)?,
        VersionRef::Null => objects::find_version(rows, stream, key, version)?.map(|found| found.at().seq),
    };
    Ok(match seq {
        Some(seq) => Bound::Excluded(StateKey::Version(stream, Cow::Borrowed(key.as_str()), seq).encode()),
        None => Bound::Included(StateKey::versions_of(stream, key.as_str())),
    })
}

struct Versions {
    stream: StreamId,
}

impl Listing for Versions {
    type Entry = VersionEntry;

    fn under(&self, prefix: &str) -> Vec<u8> {
        StateKey::versions_under(self.stream, prefix)
    }

    fn name<'k>(&self, key: &'k StateKey<'_>) -> Option<&'k str> {
        match key {
            StateKey::Version(_, name, _) => Some(name),
            _ => None,
        }
    }

    fn entry(&self, key: &StateKey<'_>, stored: &[u8]) -> Result<VersionEntry, RowError> {
        let name = self.name(key).ok_or_else(|| RowError::key(&key.encode()))?;
        let version = VersionSummary::from_stored(stored)?;
        Ok(VersionEntry::Version { key: name.to_owned(), version, latest: false })
    }

    fn common(&self, prefix: &str) -> VersionEntry {
        VersionEntry::Prefix(prefix.to_owned())
    }
}

#[cfg(test)]
mod tests;
