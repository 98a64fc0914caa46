//! `siltstone admin`: talks to the console API of a running server.

use super::api_client::{ApiClient, ApiError, ClientCredentials, segment};
use super::confirm::confirmed;
use super::exit::ExitCode;
use super::output::{OutputArgs, print_list, print_object};
use super::profile::{self, Profile};
use super::secret::read_secret;
use super::{CliError, Out, runtime};
use crate::config::Environment;
use clap::{Args, Subcommand, ValueEnum};
use http::Method;
use serde_json::{Value, json};
use std::path::PathBuf;

const DEFAULT_ENDPOINT: &str = "http://127.0.0.1:8081";
const DEFAULT_REGION: &str = "us-east-1";

/// Which server, and in which form to answer.
#[derive(Debug, Args)]
pub struct ServerArgs {
    /// A server that `siltstone profile add` named; it comes before the variables [default: SILTSTONE_PROFILE]
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// The server's console address [default: the profile's, SILTSTONE_ENDPOINT, http://127.0.0.1:8081]
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// The server's region, which signatures name [default: the profile's, SILTSTONE_REGION, us-east-1]
    #[arg(long)]
    region: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
}

impl ServerArgs {
    fn client(&self, env: &Environment) -> Result<ApiClient, CliError> {
        let name = self.profile.as_deref().or(env.get(profile::VARIABLE));
        let profile = name.map(|name| Profile::find(name, env)).transpose()?;
        let choose =
            |flag: &Option<String>, of: fn(&Profile) -> Option<&String>, variable: &str, default: &str| {
                let kept = flag.as_ref().or(profile.as_ref().and_then(of)).map(String::as_str);
                kept.or(env.get(variable)).unwrap_or(default).to_owned()
            };
        let endpoint =
            choose(&self.endpoint, |profile| Some(&profile.endpoint), "SILTSTONE_ENDPOINT", DEFAULT_ENDPOINT);
        let region =
            choose(&self.region, |profile| profile.region.as_ref(), "SILTSTONE_REGION", DEFAULT_REGION);
        let credentials = match profile.as_ref().and_then(Profile::credentials) {
            Some(credentials) => credentials,
            None => ClientCredentials::from_environment(env)?.ok_or(ApiError::NoCredentials)?,
        };
        Ok(ApiClient::new(&endpoint, &region, credentials)?)
    }
}

/// Which server is to change something, or only to say what it would do.
#[derive(Debug, Args)]
pub struct ChangeArgs {
    /// Change nothing: say what would be done, or why what is there forbids it
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// A change that destroys.
#[derive(Debug, Args)]
pub struct DestroyArgs {
    /// Do not ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    change: ChangeArgs,
}

/// The groups of `admin`.
#[derive(Debug, Subcommand)]
pub enum AdminCommand {
    /// Tenants
    #[command(subcommand)]
    Tenant(TenantCommand),
    /// Users
    #[command(subcommand)]
    User(UserCommand),
    /// Access keys
    #[command(subcommand)]
    Key(KeyCommand),
    /// Policies
    #[command(subcommand)]
    Policy(PolicyCommand),
}

/// `admin tenant …`
#[derive(Debug, Subcommand)]
pub enum TenantCommand {
    /// Make a tenant
    Create {
        /// Its name
        name: String,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// List tenants
    Ls {
        #[command(flatten)]
        server: ServerArgs,
    },
}

/// `admin user …`
#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Make a user, in root's account unless an id or a tenant is given
    Create {
        /// Its name
        name: String,
        /// Canonical id of the user's account; the account is made if there is none
        #[arg(long, value_name = "CANONICAL_ID")]
        id: Option<String>,
        /// Name that S3 shows as owner
        #[arg(long, value_name = "NAME")]
        display_name: Option<String>,
        /// Contact address
        #[arg(long)]
        email: Option<String>,
        /// Tenant of the user's account
        #[arg(long)]
        tenant: Option<String>,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Show a user
    Get {
        /// Its name
        name: String,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// List users
    Ls {
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Remove a user with its keys
    Rm {
        /// Its name
        name: String,
        #[command(flatten)]
        destroy: DestroyArgs,
    },
    /// Suspend a user, or let it in again
    Set {
        /// Its name
        name: String,
        /// From now on
        #[arg(long)]
        status: StatusArg,
        #[command(flatten)]
        change: ChangeArgs,
    },
}

/// `admin key …`
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Give a user an access key; the secret is shown this once
    Create {
        /// The user
        #[arg(long)]
        user: String,
        /// The key's public id; made if not given
        #[arg(long, value_name = "ID")]
        access_key: Option<String>,
        /// File with the secret key, `-` for stdin; made if not given
        #[arg(long, value_name = "FILE")]
        secret_key_file: Option<PathBuf>,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// List a user's access keys
    Ls {
        /// The user
        #[arg(long)]
        user: String,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Remove an access key
    Rm {
        /// The key's public id
        access_key: String,
        #[command(flatten)]
        destroy: DestroyArgs,
    },
    /// Suspend an access key, or let it in again
    Set {
        /// The key's public id
        access_key: String,
        /// From now on
        #[arg(long)]
        status: StatusArg,
        #[command(flatten)]
        change: ChangeArgs,
    },
}

/// `admin policy …`
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Give a user a policy: readwrite, readonly, writeonly or consoleAdmin
    Attach {
        /// The policy
        policy: String,
        /// The user
        #[arg(long)]
        user: String,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Take a policy from a user
    Detach {
        /// The policy
        policy: String,
        /// The user
        #[arg(long)]
        user: String,
        #[command(flatten)]
        destroy: DestroyArgs,
    },
    /// List a user's policies
    Ls {
        /// The user
        #[arg(long)]
        user: String,
        #[command(flatten)]
        server: ServerArgs,
    },
}

/// Whether a user or key may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StatusArg {
    /// May be used
    Active,
    /// Refused at every door
    Suspended,
}

impl StatusArg {
    fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
        }
    }
}

/// One request, and how its answer is shown.
struct Ask {
    server: ServerArgs,
    method: Method,
    path: String,
    body: Option<Value>,
    /// The columns of a list; none for an object.
    columns: Option<&'static [&'static str]>,
}

impl Ask {
    fn change(change: ChangeArgs, method: Method, path: String, body: Option<Value>) -> Self {
        let ChangeArgs { dry_run, server } = change;
        let path = if dry_run { format!("{path}?dry_run=true") } else { path };
        Self { server, method, path, body, columns: None }
    }

    /// Asks the user first, unless nothing is to be done.
    fn destroy(
        destroy: DestroyArgs,
        path: String,
        question: &str,
        refusal: &'static str,
    ) -> Result<Self, CliError> {
        let DestroyArgs { yes, change } = destroy;
        if !change.dry_run && !confirmed(yes, question)? {
            return Err(CliError::Unconfirmed(refusal));
        }
        Ok(Self::change(change, Method::DELETE, path, None))
    }

    fn one(server: ServerArgs, path: String) -> Self {
        Self { server, method: Method::GET, path, body: None, columns: None }
    }

    fn list(server: ServerArgs, path: String, columns: &'static [&'static str]) -> Self {
        Self { server, method: Method::GET, path, body: None, columns: Some(columns) }
    }
}

/// Runs `siltstone admin`.
pub fn run(command: AdminCommand, env: &Environment, out: Out<'_>) -> Result<ExitCode, CliError> {
    let ask = match command {
        AdminCommand::Tenant(command) => tenant(command),
        AdminCommand::User(command) => user(command)?,
        AdminCommand::Key(command) => key(command)?,
        AdminCommand::Policy(command) => policy(command)?,
    };
    let client = ask.server.client(env)?;
    let format = ask.server.output.format();
    match ask.columns {
        None => {
            let answer = runtime()?.block_on(client.call(ask.method, &ask.path, ask.body.as_ref()))?;
            print_object(out, format, &answer)?;
        }
        Some(columns) => {
            let items = runtime()?.block_on(every_page(&client, &ask.path))?;
            print_list(out, format, columns, &items)?;
        }
    }
    Ok(ExitCode::Ok)
}

/// A list to its end.
async fn every_page(client: &ApiClient, path: &str) -> Result<Vec<Value>, ApiError> {
    let mut all = Vec::new();
    let mut next: Option<String> = None;
    loop {
        let page = match &next {
            None => path.to_owned(),
            Some(after) => format!("{path}?after={}", segment(after)),
        };
        let mut answer = client.call(Method::GET, &page, None).await?;
        if let Value::Array(items) = answer["items"].take() {
            all.extend(items);
        }
        match answer["next"].as_str() {
            Some(after) if next.as_deref() != Some(after) => next = Some(after.to_owned()),
            Some(_) | None => return Ok(all),
        }
    }
}

fn tenant(command: TenantCommand) -> Ask {
    let path = "/api/v1/tenants".to_owned();
    match command {
        TenantCommand::Create { name, change } => {
            Ask::change(change, Method::POST, path, Some(json!({ "name": name })))
        }
        TenantCommand::Ls { server } => Ask::list(server, path, &["tenant"]),
    }
}

fn user(command: UserCommand) -> Result<Ask, CliError> {
    let path = "/api/v1/users".to_owned();
    let of = |name: &str| format!("{path}/{}", segment(name));
    Ok(match command {
        UserCommand::Create { name, id, display_name, email, tenant, change } => {
            let body = json!({
                "name": name, "id": id, "display_name": display_name, "email": email, "tenant": tenant,
            });
            Ask::change(change, Method::POST, path, Some(body))
        }
        UserCommand::Get { name, server } => Ask::one(server, of(&name)),
        UserCommand::Ls { server } => {
            Ask::list(server, path, &["user", "status", "tenant", "id", "display_name"])
        }
        UserCommand::Rm { name, destroy } => Ask::destroy(
            destroy,
            of(&name),
            "Remove this user and all its access keys?",
            "The user would be removed.",
        )?,
        UserCommand::Set { name, status, change } => {
            Ask::change(change, Method::PATCH, of(&name), Some(json!({ "status": status.name() })))
        }
    })
}

fn key(command: KeyCommand) -> Result<Ask, CliError> {
    let of = |access_key: &str| format!("/api/v1/keys/{}", segment(access_key));
    let keys = |user: &str| format!("/api/v1/users/{}/keys", segment(user));
    Ok(match command {
        KeyCommand::Create { user, access_key, secret_key_file, change } => {
            let secret = secret_key_file.as_deref().map(read_secret).transpose()?;
            let body = json!({ "access_key": access_key, "secret_key": secret.as_ref().map(|s| s.as_str()) });
            Ask::change(change, Method::POST, keys(&user), Some(body))
        }
        KeyCommand::Ls { user, server } => Ask::list(server, keys(&user), &["access_key", "user", "status"]),
        KeyCommand::Rm { access_key, destroy } => Ask::destroy(
            destroy,
            of(&access_key),
            "Remove this access key?",
            "The access key would be removed.",
        )?,
        KeyCommand::Set { access_key, status, change } => {
            Ask::change(change, Method::PATCH, of(&access_key), Some(json!({ "status": status.name() })))
        }
    })
}

fn policy(command: PolicyCommand) -> Result<Ask, CliError> {
    let policies = |user: &str| format!("/api/v1/users/{}/policies", segment(user));
    Ok(match command {
        PolicyCommand::Attach { policy, user, change } => {
            Ask::change(change, Method::POST, policies(&user), Some(json!({ "policy": policy })))
        }
        PolicyCommand::Detach { policy, user, destroy } => Ask::destroy(
            destroy,
            format!("{}/{}", policies(&user), segment(&policy)),
            "Take this policy from the user?",
            "The user would lose what the policy allows.",
        )?,
        PolicyCommand::Ls { user, server } => Ask::list(server, policies(&user), &["user", "policy"]),
    })
}
