//! Facts about the node itself (`system` stream).

use super::{Decided, Decision};
use crate::engine::command::StartNode;
use crate::engine::outcome::Outcome;
use crate::engine::{DEFAULT_TENANT, ROOT_ACCOUNT, ROOT_USER};
use siltstone_log::event::{AccountCreated, Event, TenantCreated};
use siltstone_projections::identity;
use siltstone_projections::store::Rows;

/// A start. The first one makes the default tenant and root's account.
pub(super) fn start(rows: &dyn Rows, action: StartNode) -> Decided {
    let StartNode { started, discarded, canonical_id } = action;
    let mut events = Vec::with_capacity(4);
    if identity::tenant(rows, DEFAULT_TENANT)?.is_none() {
        events.push(Event::TenantCreated(TenantCreated { tenant: DEFAULT_TENANT.to_owned() }));
    }
    if identity::account(rows, ROOT_ACCOUNT)?.is_none() {
        events.push(Event::AccountCreated(AccountCreated {
            tenant: DEFAULT_TENANT.to_owned(),
            account: ROOT_ACCOUNT,
            canonical_id,
            display_name: ROOT_USER.to_owned(),
            email: String::new(),
        }));
    }
    events.extend(discarded.map(Event::TailDiscarded));
    events.push(Event::NodeStarted(started));
    Ok(Decision::events(events, Outcome::Done))
}
