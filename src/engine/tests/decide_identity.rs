use super::*;
use crate::engine::command::{
    AttachPolicy, CreateAccessKey, CreateAccount, CreateTenant, CreateUser, DeleteAccessKey, DeleteUser,
    DetachPolicy, SetAccessKeyStatus, SetUserStatus, StartNode,
};
use crate::engine::outcome::Rejection;
use crate::engine::{DEFAULT_TENANT, ROOT_ACCOUNT, ROOT_USER};
use siltstone_log::event::{NodeStarted, SealedSecret, Status, TailDiscarded};
use siltstone_log::id::NodeId;
use siltstone_projections::identity;

fn start(discarded: Option<TailDiscarded>) -> StartNode {
    let started = NodeStarted { node: NodeId([1; 16]), version: "0".to_owned(), clean: true };
    StartNode { started, discarded, canonical_id: "c0ffee".to_owned() }
}

fn account(id: AccountId, canonical_id: &str) -> CreateAccount {
    CreateAccount {
        tenant: DEFAULT_TENANT.to_owned(),
        account: id,
        canonical_id: canonical_id.to_owned(),
        display_name: "Someone".to_owned(),
        email: String::new(),
    }
}

fn user(user: &str) -> CreateUser {
    CreateUser { account: OWNER, user: user.to_owned() }
}

fn access_key(user: &str, id: &str) -> CreateAccessKey {
    let secret = SealedSecret { key_version: 1, nonce: [0; 12], ciphertext: vec![1, 2, 3] };
    CreateAccessKey { user: user.to_owned(), access_key: id.to_owned(), secret }
}

fn attach(user: &str, policy: &str) -> AttachPolicy {
    AttachPolicy { user: user.to_owned(), policy: policy.to_owned() }
}

fn detach(user: &str, policy: &str) -> DetachPolicy {
    DetachPolicy { user: user.to_owned(), policy: policy.to_owned() }
}

#[test]
fn the_first_start_makes_the_default_tenant_and_the_account_of_root() {
    let mut world = World::new();
    world.run(start(None)).unwrap();
    let discarded = TailDiscarded { first: Position(9), bytes: 4 };
    world.run(start(Some(discarded))).unwrap();
    let names: Vec<_> = world.events().iter().map(|body| body.event.name()).collect();
    let expected = ["TenantCreated", "AccountCreated", "NodeStarted", "TailDiscarded", "NodeStarted"];
    assert_eq!(names, expected);
    let root = identity::account(&world.store, ROOT_ACCOUNT).unwrap().unwrap();
    assert_eq!((root.tenant.as_str(), root.canonical_id.as_str()), (DEFAULT_TENANT, "c0ffee"));
}

#[test]
fn identities_are_made_changed_and_refused() {
    let mut world = World::new();
    world.run(start(None)).unwrap();
    let tenant = |name: &str| CreateTenant { tenant: name.to_owned() };
    let status = |user: &str, status| SetUserStatus { user: user.to_owned(), status };
    let key_status = |id: &str, status| SetAccessKeyStatus { access_key: id.to_owned(), status };
    let drop_key = |id: &str| DeleteAccessKey { access_key: id.to_owned() };
    let drop_user = |user: &str| DeleteUser { user: user.to_owned() };
    let elsewhere = CreateAccount { tenant: "nowhere".to_owned(), ..account(OTHER, "x") };
    // An action, and the event it leaves or the refusal; none where it succeeds and changes nothing.
    let table: Vec<(Action, Result<Option<&str>, Rejection>)> = vec![
        (tenant("acme").into(), Ok(Some("TenantCreated"))),
        (tenant("acme").into(), Err(Rejection::TenantExists)),
        (tenant(DEFAULT_TENANT).into(), Err(Rejection::TenantExists)),
        (elsewhere.into(), Err(Rejection::NoSuchTenant)),
        (user("ann").into(), Err(Rejection::NoSuchAccount)),
        (account(OWNER, "aa").into(), Ok(Some("AccountCreated"))),
        (account(OWNER, "bb").into(), Err(Rejection::AccountExists)),
        (account(OTHER, "aa").into(), Err(Rejection::AccountExists)),
        (user(ROOT_USER).into(), Err(Rejection::UserExists)),
        (user("ann").into(), Ok(Some("UserCreated"))),
        (user("ann").into(), Err(Rejection::UserExists)),
        (status("bob", Status::Suspended).into(), Err(Rejection::NoSuchUser)),
        (status("ann", Status::Suspended).into(), Ok(Some("UserStatusChanged"))),
        (status("ann", Status::Suspended).into(), Ok(None)),
        (access_key("bob", "K1").into(), Err(Rejection::NoSuchUser)),
        (access_key("ann", "K1").into(), Ok(Some("AccessKeyCreated"))),
        (access_key("ann", "K1").into(), Err(Rejection::AccessKeyExists)),
        (key_status("K1", Status::Active).into(), Ok(None)),
        (key_status("K1", Status::Suspended).into(), Ok(Some("AccessKeyStatusChanged"))),
        (key_status("K2", Status::Suspended).into(), Err(Rejection::NoSuchAccessKey)),
        (attach("bob", "readonly").into(), Err(Rejection::NoSuchUser)),
        (attach("ann", "everything").into(), Err(Rejection::NoSuchPolicy)),
        (attach("ann", "readonly").into(), Ok(Some("PolicyAttached"))),
        (attach("ann", "readonly").into(), Ok(None)),
        (detach("bob", "readonly").into(), Err(Rejection::NoSuchUser)),
        (detach("ann", "readwrite").into(), Err(Rejection::PolicyNotAttached)),
        (detach("ann", "readonly").into(), Ok(Some("PolicyDetached"))),
        (drop_key("K2").into(), Err(Rejection::NoSuchAccessKey)),
        (drop_key("K1").into(), Ok(Some("AccessKeyDeleted"))),
        (access_key("ann", "K3").into(), Ok(Some("AccessKeyCreated"))),
        (drop_user("bob").into(), Err(Rejection::NoSuchUser)),
        (drop_user("ann").into(), Ok(Some("UserDeleted"))),
        (key_status("K3", Status::Active).into(), Err(Rejection::NoSuchAccessKey)),
    ];
    for (action, expected) in table {
        let (case, records) = (format!("{action:?}"), world.durable.len());
        let result = world.run(action);
        let event = (world.durable.len() > records).then(|| world.last_event());
        assert_eq!(result.map(|_| event), expected.map_err(EngineError::from), "{case}");
    }
}
