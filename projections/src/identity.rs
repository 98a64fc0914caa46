//! Tenants, accounts, users, their access keys and policies.

use crate::fold::{Fold, FoldError, Slot};
use crate::key::{Attachment, SystemKey};
use crate::rows::{AccessKeyRow, AccountRow, AttachedRow, CanonicalRow, Row, TenantRow, UserRow};
use crate::store::{Rows, Space, StoreError, load_system, prefix_end, prefix_range};
use siltstone_log::event::{
    AccessKeyCreated, AccessKeyDeleted, AccessKeyStatusChanged, AccountCreated, PolicyAttached,
    PolicyDetached, Status, TenantCreated, UserCreated, UserDeleted, UserStatusChanged,
};
use siltstone_log::id::AccountId;
use std::borrow::Cow;
use std::ops::Bound;

/// A tenant.
pub fn tenant(rows: &dyn Rows, name: &str) -> Result<Option<TenantRow>, StoreError> {
    load_system(rows, &SystemKey::Tenant(Cow::Borrowed(name)))
}

/// An account.
pub fn account(rows: &dyn Rows, account: AccountId) -> Result<Option<AccountRow>, StoreError> {
    load_system(rows, &SystemKey::Account(account))
}

/// The account that S3 shows under a canonical id.
pub fn account_by_canonical_id(
    rows: &dyn Rows,
    canonical_id: &str,
) -> Result<Option<(AccountId, AccountRow)>, StoreError> {
    let found = load_system::<CanonicalRow>(rows, &SystemKey::Canonical(Cow::Borrowed(canonical_id)))?;
    let Some(CanonicalRow { account: id }) = found else { return Ok(None) };
    Ok(account(rows, id)?.map(|row| (id, row)))
}

/// A user.
pub fn user(rows: &dyn Rows, name: &str) -> Result<Option<UserRow>, StoreError> {
    load_system(rows, &SystemKey::User(Cow::Borrowed(name)))
}

/// An access key.
pub fn access_key(rows: &dyn Rows, id: &str) -> Result<Option<AccessKeyRow>, StoreError> {
    load_system(rows, &SystemKey::AccessKey(Cow::Borrowed(id)))
}

/// The ids of a user's access keys, in byte order.
pub fn keys_of(rows: &dyn Rows, user: &str) -> Result<Vec<String>, StoreError> {
    attached(rows, user, Attachment::Key)
}

/// The names of a user's policies, in byte order.
pub fn policies_of(rows: &dyn Rows, user: &str) -> Result<Vec<String>, StoreError> {
    attached(rows, user, Attachment::Policy)
}

fn attached(rows: &dyn Rows, user: &str, attachment: Attachment) -> Result<Vec<String>, StoreError> {
    let (from, to) = prefix_range(SystemKey::attached_to(user, attachment));
    let found = rows.range(Space::System, from, to).map(|row| match SystemKey::decode(&row?.0)? {
        SystemKey::Attached(_, _, id) => Ok(id.into_owned()),
        _ => Err(misplaced()),
    });
    found.collect()
}

fn misplaced() -> StoreError {
    StoreError::Damaged("a key of another kind among identities".to_owned())
}

/// Up to `limit` tenants in byte order of their names, beginning after one.
pub fn tenants(
    rows: &dyn Rows,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<(String, TenantRow)>, StoreError> {
    named(rows, SystemKey::tenants(), after, limit)
}

/// Up to `limit` users in byte order of their names, beginning after one.
pub fn users(
    rows: &dyn Rows,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<(String, UserRow)>, StoreError> {
    named(rows, SystemKey::users(), after, limit)
}

fn named<R: Row>(
    rows: &dyn Rows,
    first: Vec<u8>,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<(String, R)>, StoreError> {
    let to = prefix_end(&first);
    let from = match after {
        Some(name) => Bound::Excluded([first.as_slice(), name.as_bytes()].concat()),
        None => Bound::Included(first),
    };
    let found = rows.range(Space::System, from, to).take(limit).map(|row| {
        let (key, stored) = row?;
        match SystemKey::decode(&key)? {
            SystemKey::User(name) | SystemKey::Tenant(name) => {
                Ok((name.into_owned(), R::from_stored(&stored)?))
            }
            _ => Err(misplaced()),
        }
    });
    found.collect()
}

/// Up to `limit` accounts in the order of their ids, beginning after one.
pub fn accounts(
    rows: &dyn Rows,
    after: Option<AccountId>,
    limit: usize,
) -> Result<Vec<(AccountId, AccountRow)>, StoreError> {
    let first = SystemKey::accounts();
    let to = prefix_end(&first);
    let from = match after {
        Some(account) => Bound::Excluded(SystemKey::Account(account).encode()),
        None => Bound::Included(first),
    };
    let found = rows.range(Space::System, from, to).take(limit).map(|row| {
        let (key, stored) = row?;
        match SystemKey::decode(&key)? {
            SystemKey::Account(account) => Ok((account, AccountRow::from_stored(&stored)?)),
            _ => Err(misplaced()),
        }
    });
    found.collect()
}

pub(crate) fn tenant_created(fold: &mut Fold<'_>, event: &TenantCreated) -> Result<(), FoldError> {
    let slot = fold.read(&SystemKey::Tenant(Cow::Borrowed(&event.tenant)))?;
    let created = fold.origin.at();
    fold.put(slot, &TenantRow { created })
}

pub(crate) fn account_created(fold: &mut Fold<'_>, event: &AccountCreated) -> Result<(), FoldError> {
    let slot = fold.read::<AccountRow, _>(&SystemKey::Account(event.account))?;
    if let Some(old) = slot.row.as_ref().filter(|old| old.canonical_id != event.canonical_id) {
        let canonical = SystemKey::Canonical(Cow::Borrowed(&old.canonical_id));
        let canonical = fold.read::<CanonicalRow, _>(&canonical)?;
        fold.remove(canonical);
    }
    let row = AccountRow {
        tenant: event.tenant.clone(),
        canonical_id: event.canonical_id.clone(),
        display_name: event.display_name.clone(),
        email: event.email.clone(),
        created: fold.origin.at(),
    };
    fold.put(slot, &row)?;
    let canonical = fold.read(&SystemKey::Canonical(Cow::Borrowed(&event.canonical_id)))?;
    fold.put(canonical, &CanonicalRow { account: event.account })
}

pub(crate) fn user_created(fold: &mut Fold<'_>, event: &UserCreated) -> Result<(), FoldError> {
    let slot = fold.read(&SystemKey::User(Cow::Borrowed(&event.user)))?;
    let row = UserRow { account: event.account, status: Status::Active, created: fold.origin.at() };
    fold.put(slot, &row)
}

pub(crate) fn user_deleted(fold: &mut Fold<'_>, event: &UserDeleted) -> Result<(), FoldError> {
    let (from, to) = prefix_range(SystemKey::everything_attached_to(&event.user));
    for row in fold.rows.range(Space::System, from, to) {
        let (key, stored) = row?;
        match SystemKey::decode(&key)? {
            SystemKey::Attached(_, Attachment::Key, id) => {
                let slot = fold.read::<AccessKeyRow, _>(&SystemKey::AccessKey(id))?;
                fold.remove(slot);
            }
            SystemKey::Attached(_, Attachment::Policy, _) => {}
            _ => return Err(misplaced().into()),
        }
        let slot = Slot::<AttachedRow>::found(&key, stored)?;
        fold.remove(slot);
    }
    let slot = fold.read::<UserRow, _>(&SystemKey::User(Cow::Borrowed(&event.user)))?;
    fold.remove(slot);
    Ok(())
}

pub(crate) fn user_status_changed(fold: &mut Fold<'_>, event: &UserStatusChanged) -> Result<(), FoldError> {
    let slot = fold.read::<UserRow, _>(&SystemKey::User(Cow::Borrowed(&event.user)))?;
    let Some(mut row) = slot.row.clone() else { return Ok(()) };
    row.status = event.status;
    fold.put(slot, &row)
}

pub(crate) fn access_key_created(fold: &mut Fold<'_>, event: &AccessKeyCreated) -> Result<(), FoldError> {
    let id = Cow::Borrowed(event.access_key.as_str());
    let slot = fold.read::<AccessKeyRow, _>(&SystemKey::AccessKey(id.clone()))?;
    if let Some(old) = slot.row.as_ref().filter(|old| old.user != event.user) {
        let attached = SystemKey::Attached(Cow::Borrowed(&old.user), Attachment::Key, id.clone());
        let attached = fold.read::<AttachedRow, _>(&attached)?;
        fold.remove(attached);
    }
    let created = fold.origin.at();
    let row = AccessKeyRow {
        user: event.user.clone(),
        secret: event.secret.clone(),
        status: Status::Active,
        created,
    };
    fold.put(slot, &row)?;
    let attached = fold.read(&SystemKey::Attached(Cow::Borrowed(&event.user), Attachment::Key, id))?;
    fold.put(attached, &AttachedRow { since: created })
}

pub(crate) fn access_key_deleted(fold: &mut Fold<'_>, event: &AccessKeyDeleted) -> Result<(), FoldError> {
    let id = Cow::Borrowed(event.access_key.as_str());
    let slot = fold.read::<AccessKeyRow, _>(&SystemKey::AccessKey(id.clone()))?;
    let Some(old) = &slot.row else { return Ok(()) };
    let attached = SystemKey::Attached(Cow::Borrowed(&old.user), Attachment::Key, id);
    let attached = fold.read::<AttachedRow, _>(&attached)?;
    fold.remove(attached);
    fold.remove(slot);
    Ok(())
}

pub(crate) fn access_key_status_changed(
    fold: &mut Fold<'_>,
    event: &AccessKeyStatusChanged,
) -> Result<(), FoldError> {
    let slot = fold.read::<AccessKeyRow, _>(&SystemKey::AccessKey(Cow::Borrowed(&event.access_key)))?;
    let Some(mut row) = slot.row.clone() else { return Ok(()) };
    row.status = event.status;
    fold.put(slot, &row)
}

pub(crate) fn policy_attached(fold: &mut Fold<'_>, event: &PolicyAttached) -> Result<(), FoldError> {
    let slot = fold.read(&policy_key(&event.user, &event.policy))?;
    let since = fold.origin.at();
    fold.put(slot, &AttachedRow { since })
}

pub(crate) fn policy_detached(fold: &mut Fold<'_>, event: &PolicyDetached) -> Result<(), FoldError> {
    let slot = fold.read::<AttachedRow, _>(&policy_key(&event.user, &event.policy))?;
    fold.remove(slot);
    Ok(())
}

fn policy_key<'a>(user: &'a str, policy: &'a str) -> SystemKey<'a> {
    SystemKey::Attached(Cow::Borrowed(user), Attachment::Policy, Cow::Borrowed(policy))
}
