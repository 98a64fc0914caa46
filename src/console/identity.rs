//! Tenants, users, keys and policies: each route parses, submits, answers.

use super::input::{self, NewKey, NewPolicy, NewStatus, NewTenant, NewUser, status_name};
use super::problem::Problem;
use super::route::Route;
use super::{Answer, Call};
use crate::engine::command::{
    AttachPolicy, CreateAccessKey, CreateAccount, CreateTenant, CreateUser, DeleteAccessKey, DeleteUser,
    DetachPolicy, SetAccessKeyStatus, SetUserStatus,
};
use crate::engine::{Action, Command, DEFAULT_TENANT, ROOT_ACCOUNT, ROOT_USER, Receipt, Rejection};
use crate::keys::{check_credentials, new_access_key, new_secret_key};
use crate::s3::request::Query;
use http::StatusCode;
use serde_json::{Map, Value, json};
use siltstone_log::event::Status;
use siltstone_log::hlc::Hlc;
use siltstone_log::host::draw;
use siltstone_log::id::{AccountId, Seq, StreamId};
use siltstone_projections::rows::{AccountRow, At, UserRow};
use siltstone_projections::{Rows, StoreError, identity};
use zeroize::Zeroizing;

/// The most entries of a page.
const MAX_PAGE: usize = 1000;

/// Carries a request out.
pub(super) async fn carry_out(call: Call<'_>) -> Answer {
    match call.route.clone() {
        Route::ListTenants => list_tenants(&call).await,
        Route::CreateTenant => create_tenant(&call).await,
        Route::ListUsers => list_users(&call).await,
        Route::CreateUser => create_user(&call).await,
        Route::GetUser(user) => get_user(&call, user).await,
        Route::SetUser(user) => {
            let status = input::status(&input::parse::<NewStatus>(&call.body)?.status)?;
            let receipt = call.submit(SetUserStatus { user: user.clone(), status }).await?;
            Ok(call.changed(
                StatusCode::OK,
                receipt.as_ref(),
                json!({ "user": user, "status": status_name(status) }),
            ))
        }
        Route::DeleteUser(user) => {
            let receipt = call.submit(DeleteUser { user: user.clone() }).await?;
            Ok(call.changed(StatusCode::OK, receipt.as_ref(), json!({ "user": user })))
        }
        Route::ListKeys(user) => list_keys(&call, user).await,
        Route::CreateKey(user) => create_key(&call, user).await,
        Route::SetKey(access_key) => {
            let status = input::status(&input::parse::<NewStatus>(&call.body)?.status)?;
            let receipt = call.submit(SetAccessKeyStatus { access_key: access_key.clone(), status }).await?;
            let fields = json!({ "access_key": access_key, "status": status_name(status) });
            Ok(call.changed(StatusCode::OK, receipt.as_ref(), fields))
        }
        Route::DeleteKey(access_key) => {
            let receipt = call.submit(DeleteAccessKey { access_key: access_key.clone() }).await?;
            Ok(call.changed(StatusCode::OK, receipt.as_ref(), json!({ "access_key": access_key })))
        }
        Route::ListPolicies(user) => list_policies(&call, user).await,
        Route::AttachPolicy(user) => {
            let policy = input::parse::<NewPolicy>(&call.body)?.policy;
            let receipt = call.submit(AttachPolicy { user: user.clone(), policy: policy.clone() }).await?;
            Ok(call.changed(StatusCode::OK, receipt.as_ref(), json!({ "user": user, "policy": policy })))
        }
        Route::DetachPolicy(user, policy) => {
            let receipt = call.submit(DetachPolicy { user: user.clone(), policy: policy.clone() }).await?;
            Ok(call.changed(StatusCode::OK, receipt.as_ref(), json!({ "user": user, "policy": policy })))
        }
    }
}

impl Call<'_> {
    /// Carries a change out; none where it was only decided.
    async fn submit(&self, action: impl Into<Action>) -> Result<Option<Receipt>, Problem> {
        if self.dry_run {
            let (backend, action) = (self.console.backend.clone(), action.into());
            return blocking(move || Ok(backend.preview(action).map(|()| None)?)).await;
        }
        let command = Command::new(self.actor.clone(), action, &*self.console.entropy);
        Ok(Some(self.console.backend.submit(command).await?))
    }

    /// Reads rows of one moment, on a thread that may wait for the disk.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&dyn Rows) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let rows = self.console.backend.rows();
        blocking(move || read(&*rows)).await
    }

    /// What every mutation answers: where its event is, and the fields of what it is about.
    fn changed(&self, status: StatusCode, receipt: Option<&Receipt>, fields: Value) -> (StatusCode, Value) {
        let mut answer = match fields {
            Value::Object(fields) => fields,
            _ => Map::new(),
        };
        answer.insert("position".to_owned(), receipt.map(|receipt| receipt.position.get()).into());
        answer.insert("event_id".to_owned(), receipt.map(event_id).into());
        answer.insert("request_id".to_owned(), self.actor.request_id.clone().into());
        answer.insert("dry_run".to_owned(), self.dry_run.into());
        (status, Value::Object(answer))
    }
}

/// Runs what may wait for the disk on a thread for it.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        tracing::error!(%error, "a read ended unexpectedly");
        Err(Problem::internal())
    })
}

/// Names a record for as long as the log lives, on every node: its stream and its number there.
fn event_id(receipt: &Receipt) -> String {
    match receipt.stream {
        StreamId::SYSTEM => format!("system-{}", receipt.seq),
        stream => format!("{stream}-{}", receipt.seq),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` gives")]
fn unreadable(error: StoreError) -> Problem {
    tracing::error!(%error, "identities cannot be read");
    Problem::internal()
}

/// The `after` and `limit` of a list.
pub(super) fn page(query: &Query) -> Result<(Option<String>, usize), Problem> {
    let limit = match query.get("limit") {
        None => MAX_PAGE,
        Some(text) => match text.parse() {
            Ok(limit) if (1..=MAX_PAGE).contains(&limit) => limit,
            Ok(_) | Err(_) => {
                return Err(Problem::field("limit", format!("is not between 1 and {MAX_PAGE}")));
            }
        },
    };
    Ok((query.get("after").map(str::to_owned), limit))
}

/// A page: the items, and where the next one begins if there may be more.
fn listed<T>(items: &[(String, T)], limit: usize, show: impl Fn(&str, &T) -> Value) -> (StatusCode, Value) {
    let next = if items.len() < limit { None } else { items.last().map(|(name, _)| name.clone()) };
    let items: Vec<Value> = items.iter().map(|(name, row)| show(name, row)).collect();
    (StatusCode::OK, json!({ "items": items, "next": next }))
}

async fn list_tenants(call: &Call<'_>) -> Answer {
    let (after, limit) = page(&call.query)?;
    call.read(move |rows| {
        let found = identity::tenants(rows, after.as_deref(), limit).map_err(unreadable)?;
        Ok(listed(&found, limit, |name, _| json!({ "tenant": name })))
    })
    .await
}

async fn create_tenant(call: &Call<'_>) -> Answer {
    let tenant = input::parse::<NewTenant>(&call.body)?.name;
    input::name("name", &tenant)?;
    let receipt = call.submit(CreateTenant { tenant: tenant.clone() }).await?;
    Ok(call.changed(StatusCode::CREATED, receipt.as_ref(), json!({ "tenant": tenant })))
}

fn show_user(name: &str, status: Status, id: AccountId, account: Option<&AccountRow>) -> Value {
    json!({
        "user": name,
        "status": status_name(status),
        "account": id.to_string(),
        "tenant": account.map(|account| &account.tenant),
        "id": account.map(|account| &account.canonical_id),
        "display_name": account.map(|account| &account.display_name),
        "email": account.map(|account| &account.email),
    })
}

async fn list_users(call: &Call<'_>) -> Answer {
    let (after, limit) = page(&call.query)?;
    call.read(move |rows| {
        let users = identity::users(rows, after.as_deref(), limit).map_err(unreadable)?;
        let with_accounts: Result<Vec<_>, StoreError> = users
            .into_iter()
            .map(|(name, user)| {
                let account = identity::account(rows, user.account)?;
                Ok((name, (user, account)))
            })
            .collect();
        let found = with_accounts.map_err(unreadable)?;
        Ok(listed(&found, limit, |name, (user, account)| {
            show_user(name, user.status, user.account, account.as_ref())
        }))
    })
    .await
}

fn existing_user(rows: &dyn Rows, user: &str) -> Result<UserRow, Problem> {
    identity::user(rows, user).map_err(unreadable)?.ok_or_else(|| Rejection::NoSuchUser.into())
}

async fn get_user(call: &Call<'_>, name: String) -> Answer {
    call.read(move |rows| {
        let user = existing_user(rows, &name)?;
        let account = identity::account(rows, user.account).map_err(unreadable)?;
        Ok((StatusCode::OK, show_user(&name, user.status, user.account, account.as_ref())))
    })
    .await
}

async fn create_user(call: &Call<'_>) -> Answer {
    let new = input::parse::<NewUser>(&call.body)?;
    input::name("name", &new.name)?;
    let user = new.name.clone();
    // Before an account is made for it: a taken name must not leave an account behind.
    let name = user.clone();
    let taken = call.read(move |rows| Ok(identity::user(rows, &name).map_err(unreadable)?.is_some()));
    if user == ROOT_USER || taken.await? {
        return Err(Rejection::UserExists.into());
    }
    let named_id = new.id.clone();
    let (account, made) = account_of(call, new).await?;
    let drawn = call.dry_run && made.is_some();
    let receipt = match made {
        // Nothing is decided upon an account that a dry run has not made; that the name is free was seen above.
        Some(_) if call.dry_run => None,
        Some(_) | None => call.submit(CreateUser { account, user: user.clone() }).await?,
    };
    let fields = call.read(move |rows| {
        let account_row = identity::account(rows, account).map_err(unreadable)?.or(made);
        let mut shown = show_user(&user, Status::Active, account, account_row.as_ref());
        if drawn {
            // A dry run has drawn ids that the change will not.
            shown["account"] = Value::Null;
            shown["id"] = named_id.into();
        }
        Ok(shown)
    });
    Ok(call.changed(StatusCode::CREATED, receipt.as_ref(), fields.await?))
}

/// The account that a new user acts for: root's, unless an id or a tenant is given. An account with that id is
/// joined, which also makes it harmless to repeat a request that was cut off between account and user. Where there is
/// none yet, one is made, and comes with its fields.
async fn account_of(call: &Call<'_>, new: NewUser) -> Result<(AccountId, Option<AccountRow>), Problem> {
    let NewUser { name, id, display_name, email, tenant } = new;
    if id.is_none() && tenant.is_none() {
        return match (display_name, email) {
            (None, None) => Ok((ROOT_ACCOUNT, None)),
            (Some(_), _) => Err(Problem::field("display_name", "describes an account: give its id as well")),
            (None, Some(_)) => Err(Problem::field("email", "describes an account: give its id as well")),
        };
    }
    if let Some(id) = &id {
        input::canonical_id(id)?;
    }
    let tenant = tenant.unwrap_or_else(|| DEFAULT_TENANT.to_owned());
    let display_name = display_name.unwrap_or(name);
    let email = email.unwrap_or_default();
    input::text("display_name", &display_name)?;
    input::text("email", &email)?;
    let wanted = id.clone();
    let known = call.read(move |rows| {
        let found = wanted.map(|id| identity::account_by_canonical_id(rows, &id));
        Ok(found.transpose().map_err(unreadable)?.flatten())
    });
    if let Some((account, row)) = known.await? {
        return if row.tenant == tenant { Ok((account, None)) } else { Err(Rejection::AccountExists.into()) };
    }
    let entropy = &*call.console.entropy;
    let account = AccountId(draw(entropy));
    let canonical_id = id.unwrap_or_else(|| siltstone_log::id::Hash(draw(entropy)).to_string());
    let made = CreateAccount { tenant, account, canonical_id, display_name, email };
    call.submit(made.clone()).await?;
    let CreateAccount { tenant, canonical_id, display_name, email, .. } = made;
    let created = At { seq: Seq(0), hlc: Hlc(0) };
    Ok((account, Some(AccountRow { tenant, canonical_id, display_name, email, created })))
}

async fn list_keys(call: &Call<'_>, user: String) -> Answer {
    call.read(move |rows| {
        existing_user(rows, &user)?;
        let mut items = Vec::new();
        for id in identity::keys_of(rows, &user).map_err(unreadable)? {
            if let Some(row) = identity::access_key(rows, &id).map_err(unreadable)? {
                items.push(json!({ "access_key": id, "user": row.user, "status": status_name(row.status) }));
            }
        }
        Ok((StatusCode::OK, json!({ "items": items, "next": null })))
    })
    .await
}

async fn create_key(call: &Call<'_>, user: String) -> Answer {
    let console = call.console;
    let new: NewKey = input::parse_secret(&call.body)?;
    let named = new.access_key.is_some();
    let access_key = new.access_key.unwrap_or_else(|| new_access_key(&*console.entropy));
    let secret: Zeroizing<String> = new.secret_key.unwrap_or_else(|| new_secret_key(&*console.entropy));
    check_credentials(&access_key, &secret).map_err(|error| {
        let field = match error {
            crate::keys::CredentialRuleError::AccessKey => "access_key",
            crate::keys::CredentialRuleError::SecretKey => "secret_key",
        };
        Problem::field(field, error.to_string())
    })?;
    if console.keys.root.is_root(&access_key) {
        return Err(Rejection::AccessKeyExists.into());
    }
    let sealed = console.keys.master.seal(&access_key, &secret, &*console.entropy).map_err(|error| {
        tracing::error!(%error, "a secret could not be sealed");
        Problem::internal()
    })?;
    let action = CreateAccessKey { user: user.clone(), access_key: access_key.clone(), secret: sealed };
    let receipt = call.submit(action).await?;
    // The only time that the secret is told. A dry run has made none, and no id either.
    let access_key = (named || !call.dry_run).then_some(access_key);
    let secret_key = (!call.dry_run).then_some(secret.as_str());
    let fields = json!({ "user": user, "access_key": access_key, "secret_key": secret_key });
    Ok(call.changed(StatusCode::CREATED, receipt.as_ref(), fields))
}

async fn list_policies(call: &Call<'_>, user: String) -> Answer {
    call.read(move |rows| {
        existing_user(rows, &user)?;
        let policies = identity::policies_of(rows, &user).map_err(unreadable)?;
        let items: Vec<Value> =
            policies.iter().map(|policy| json!({ "user": user, "policy": policy })).collect();
        Ok((StatusCode::OK, json!({ "items": items, "next": null })))
    })
    .await
}
