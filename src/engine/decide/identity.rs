//! Tenants, accounts, users, access keys and policies (`system` stream).

use super::{BUILT_IN_POLICIES, DecideError, Decided, Decision};
use crate::engine::ROOT_USER;
use crate::engine::command::{
    AttachPolicy, CreateAccessKey, CreateAccount, CreateTenant, CreateUser, DeleteAccessKey, DeleteUser,
    DetachPolicy, SetAccessKeyStatus, SetUserStatus,
};
use crate::engine::outcome::{Outcome, Rejection};
use siltstone_log::event::{
    AccessKeyCreated, AccessKeyDeleted, AccessKeyStatusChanged, AccountCreated, Event, PolicyAttached,
    PolicyDetached, TenantCreated, UserCreated, UserDeleted, UserStatusChanged,
};
use siltstone_projections::identity;
use siltstone_projections::rows::UserRow;
use siltstone_projections::store::Rows;

pub(super) fn create_tenant(rows: &dyn Rows, action: CreateTenant) -> Decided {
    if identity::tenant(rows, &action.tenant)?.is_some() {
        return Err(Rejection::TenantExists.into());
    }
    Ok(Decision::event(Event::TenantCreated(TenantCreated { tenant: action.tenant })))
}

pub(super) fn create_account(rows: &dyn Rows, action: CreateAccount) -> Decided {
    if identity::tenant(rows, &action.tenant)?.is_none() {
        return Err(Rejection::NoSuchTenant.into());
    }
    if identity::account(rows, action.account)?.is_some()
        || identity::account_by_canonical_id(rows, &action.canonical_id)?.is_some()
    {
        return Err(Rejection::AccountExists.into());
    }
    let CreateAccount { tenant, account, canonical_id, display_name, email } = action;
    let event = AccountCreated { tenant, account, canonical_id, display_name, email };
    Ok(Decision::event(Event::AccountCreated(event)))
}

pub(super) fn create_user(rows: &dyn Rows, action: CreateUser) -> Decided {
    let CreateUser { account, user } = action;
    if identity::account(rows, account)?.is_none() {
        return Err(Rejection::NoSuchAccount.into());
    }
    if user == ROOT_USER || identity::user(rows, &user)?.is_some() {
        return Err(Rejection::UserExists.into());
    }
    Ok(Decision::event(Event::UserCreated(UserCreated { account, user })))
}

fn existing_user(rows: &dyn Rows, user: &str) -> Result<UserRow, DecideError> {
    Ok(identity::user(rows, user)?.ok_or(Rejection::NoSuchUser)?)
}

pub(super) fn delete_user(rows: &dyn Rows, action: DeleteUser) -> Decided {
    existing_user(rows, &action.user)?;
    Ok(Decision::event(Event::UserDeleted(UserDeleted { user: action.user })))
}

pub(super) fn set_user_status(rows: &dyn Rows, action: SetUserStatus) -> Decided {
    let SetUserStatus { user, status } = action;
    if existing_user(rows, &user)?.status == status {
        return Ok(Decision::nothing(Outcome::Done));
    }
    Ok(Decision::event(Event::UserStatusChanged(UserStatusChanged { user, status })))
}

pub(super) fn create_access_key(rows: &dyn Rows, action: CreateAccessKey) -> Decided {
    let CreateAccessKey { user, access_key, secret } = action;
    existing_user(rows, &user)?;
    if identity::access_key(rows, &access_key)?.is_some() {
        return Err(Rejection::AccessKeyExists.into());
    }
    Ok(Decision::event(Event::AccessKeyCreated(AccessKeyCreated { user, access_key, secret })))
}

pub(super) fn delete_access_key(rows: &dyn Rows, action: DeleteAccessKey) -> Decided {
    let DeleteAccessKey { access_key } = action;
    identity::access_key(rows, &access_key)?.ok_or(Rejection::NoSuchAccessKey)?;
    Ok(Decision::event(Event::AccessKeyDeleted(AccessKeyDeleted { access_key })))
}

pub(super) fn set_access_key_status(rows: &dyn Rows, action: SetAccessKeyStatus) -> Decided {
    let SetAccessKeyStatus { access_key, status } = action;
    let key = identity::access_key(rows, &access_key)?.ok_or(Rejection::NoSuchAccessKey)?;
    if key.status == status {
        return Ok(Decision::nothing(Outcome::Done));
    }
    Ok(Decision::event(Event::AccessKeyStatusChanged(AccessKeyStatusChanged { access_key, status })))
}

fn has_policy(rows: &dyn Rows, user: &str, policy: &str) -> Result<bool, DecideError> {
    Ok(identity::policies_of(rows, user)?.iter().any(|attached| attached == policy))
}

pub(super) fn attach_policy(rows: &dyn Rows, action: AttachPolicy) -> Decided {
    let AttachPolicy { user, policy } = action;
    existing_user(rows, &user)?;
    if !BUILT_IN_POLICIES.contains(&policy.as_str()) {
        return Err(Rejection::NoSuchPolicy.into());
    }
    if has_policy(rows, &user, &policy)? {
        return Ok(Decision::nothing(Outcome::Done));
    }
    Ok(Decision::event(Event::PolicyAttached(PolicyAttached { user, policy })))
}

pub(super) fn detach_policy(rows: &dyn Rows, action: DetachPolicy) -> Decided {
    let DetachPolicy { user, policy } = action;
    existing_user(rows, &user)?;
    if !has_policy(rows, &user, &policy)? {
        return Err(Rejection::PolicyNotAttached.into());
    }
    Ok(Decision::event(Event::PolicyDetached(PolicyDetached { user, policy })))
}
