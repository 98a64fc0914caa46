//! Bucket names: which incarnation bears a name, and whose it is.
//!
//! A name and its bucket are two facts, in two spaces: a name whose stream has no open bucket does not exist for
//! readers, since its creation or deletion is half done.

use crate::buckets;
use crate::fold::{Fold, FoldError};
use crate::key::SystemKey;
use crate::rows::{BucketRow, NameRow, OwnedNameRow, Row};
use crate::store::{Rows, Space, StoreError, load_system, prefix_end, prefix_range};
use siltstone_log::event::{BucketNameReleased, BucketNameReserved};
use siltstone_log::id::{AccountId, StreamId};
use siltstone_log::name::BucketName;
use std::borrow::Cow;
use std::ops::Bound;

/// The row of a name, half-done creations and deletions included.
pub fn get(rows: &dyn Rows, name: &BucketName) -> Result<Option<NameRow>, StoreError> {
    load_system(rows, &SystemKey::Name(Cow::Borrowed(name.as_str())))
}

/// The bucket that bears a name, if readers may see it.
pub fn resolve(rows: &dyn Rows, name: &BucketName) -> Result<Option<(NameRow, BucketRow)>, StoreError> {
    let Some(found) = get(rows, name)? else { return Ok(None) };
    let bucket = buckets::get(rows, found.stream)?.filter(BucketRow::is_open);
    Ok(bucket.map(|bucket| (found, bucket)))
}

/// Every name with its row in byte order, half-done creations and deletions included: what recovery finishes.
pub fn iter(rows: &dyn Rows) -> impl Iterator<Item = Result<(BucketName, NameRow), StoreError>> {
    let (from, to) = prefix_range(SystemKey::names());
    rows.range(Space::System, from, to).map(|row| {
        let (key, stored) = row?;
        Ok((name_of(&SystemKey::decode(&key)?)?, NameRow::from_stored(&stored)?))
    })
}

fn name_of(key: &SystemKey<'_>) -> Result<BucketName, StoreError> {
    match key {
        SystemKey::Name(name) | SystemKey::NameByOwner(_, name) => {
            BucketName::parse(name).map_err(|error| StoreError::Damaged(format!("name {name}: {error}")))
        }
        _ => Err(StoreError::Damaged("a key of another kind among the names".to_owned())),
    }
}

/// Which buckets to list.
#[derive(Debug, Clone, Default)]
pub struct NameQuery {
    /// Only buckets of this account.
    pub owner: Option<AccountId>,
    /// Only names that begin so.
    pub prefix: String,
    /// Only names greater than this.
    pub after: Option<String>,
    /// The most entries to return.
    pub limit: usize,
}

/// A bucket in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameEntry {
    /// Its name.
    pub name: BucketName,
    /// Its stream.
    pub stream: StreamId,
    /// The bucket.
    pub bucket: BucketRow,
}

/// A page of buckets in byte order of their names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NamePage {
    /// The buckets.
    pub entries: Vec<NameEntry>,
    /// The last name returned, where more follow: the next page's `after`.
    pub next: Option<String>,
}

/// Lists the buckets that readers may see.
pub fn list(rows: &dyn Rows, query: &NameQuery) -> Result<NamePage, StoreError> {
    let base = query.owner.map_or_else(SystemKey::names, SystemKey::names_of);
    let under = |name: &str| [base.as_slice(), name.as_bytes()].concat();
    let first = under(&query.prefix);
    let to = prefix_end(&first);
    let from = match query.after.as_deref().map(under) {
        Some(after) if after >= first => Bound::Excluded(after),
        Some(_) | None => Bound::Included(first),
    };
    let mut page = NamePage::default();
    if query.limit == 0 {
        return Ok(page);
    }
    for row in rows.range(Space::System, from, to) {
        let (key, stored) = row?;
        let name = name_of(&SystemKey::decode(&key)?)?;
        let stream = match query.owner {
            Some(_) => OwnedNameRow::from_stored(&stored)?.stream,
            None => NameRow::from_stored(&stored)?.stream,
        };
        let Some(bucket) = buckets::get(rows, stream)?.filter(BucketRow::is_open) else { continue };
        if page.entries.len() == query.limit {
            page.next = page.entries.last().map(|entry| entry.name.to_string());
            break;
        }
        page.entries.push(NameEntry { name, stream, bucket });
    }
    Ok(page)
}

pub(crate) fn reserved(fold: &mut Fold<'_>, event: &BucketNameReserved) -> Result<(), FoldError> {
    let name = Cow::Borrowed(event.name.as_str());
    let slot = fold.read::<NameRow, _>(&SystemKey::Name(name.clone()))?;
    if let Some(old) = slot.row.as_ref().filter(|old| old.owner != event.owner) {
        let owned = fold.read::<OwnedNameRow, _>(&SystemKey::NameByOwner(old.owner, name.clone()))?;
        fold.remove(owned);
    }
    let row = NameRow {
        stream: event.stream,
        owner: event.owner,
        location: event.location.clone(),
        tags: event.tags.clone(),
        reserved: fold.origin.at(),
    };
    fold.put(slot, &row)?;
    let owned = fold.read(&SystemKey::NameByOwner(event.owner, name))?;
    fold.put(owned, &OwnedNameRow { stream: event.stream })
}

pub(crate) fn released(fold: &mut Fold<'_>, event: &BucketNameReleased) -> Result<(), FoldError> {
    let name = Cow::Borrowed(event.name.as_str());
    let slot = fold.read::<NameRow, _>(&SystemKey::Name(name.clone()))?;
    // A newer incarnation keeps the name: the release was for the one before it.
    let Some(old) = slot.row.as_ref().filter(|old| old.stream == event.stream) else { return Ok(()) };
    let owned = fold.read::<OwnedNameRow, _>(&SystemKey::NameByOwner(old.owner, name))?;
    fold.remove(owned);
    fold.remove(slot);
    Ok(())
}
