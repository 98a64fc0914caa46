//! `siltstone admin`: talks to the console API of a running server.

use super::api_client::{ApiClient, ApiError, ClientCredentials, segment};
use super::confirm::confirmed;
use super::exit::ExitCode;
use super::output::{OutputArgs, print_list, print_object};
use super::{CliError, Out, runtime};
use crate::config::Environment;
use clap::{Args, Subcommand, ValueEnum};
use http::Method;
use serde_json::{Value, json};
use std::io::Read;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

const DEFAULT_ENDPOINT: &str = "http://127.0.0.1:8081";
const DEFAULT_REGION: &str = "us-east-1";
/// The most bytes that a file with a secret key may have.
const MAX_SECRET_FILE: u64 = 4096;

/// Which server, and in which form to answer.
#[derive(Debug, Args)]
pub struct ServerArgs {
    /// The server's console address [default: SILTSTONE_ENDPOINT, else http://127.0.0.1:8081]
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// The server's region, which signatures name [default: SILTSTONE_REGION, else us-east-1]
    #[arg(long)]
    region: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
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
        server: ServerArgs,
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
        /// Do not ask
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Suspend a user, or let it in again
    Set {
        /// Its name
        name: String,
        /// From now on
        #[arg(long)]
        status: StatusArg,
        #[command(flatten)]
        server: ServerArgs,
    },
}

/// `admin key …`
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Give a user an access key; the secret is shown this once
    Create {
        /// The user
        user: String,
        /// The key's public id; made if not given
        #[arg(long, value_name = "ID")]
        access_key: Option<String>,
        /// File with the secret key, `-` for stdin; made if not given
        #[arg(long, value_name = "FILE")]
        secret_key_file: Option<PathBuf>,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// List a user's access keys
    Ls {
        /// The user
        user: String,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Remove an access key
    Rm {
        /// The key's public id
        access_key: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Suspend an access key, or let it in again
    Set {
        /// The key's public id
        access_key: String,
        /// From now on
        #[arg(long)]
        status: StatusArg,
        #[command(flatten)]
        server: ServerArgs,
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
        server: ServerArgs,
    },
    /// Take a policy from a user
    Detach {
        /// The policy
        policy: String,
        /// The user
        #[arg(long)]
        user: String,
        #[command(flatten)]
        server: ServerArgs,
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
    fn change(server: ServerArgs, method: Method, path: String, body: Option<Value>) -> Self {
        Self { server, method, path, body, columns: None }
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
        AdminCommand::Policy(command) => policy(command),
    };
    let endpoint =
        ask.server.endpoint.as_deref().or(env.get("SILTSTONE_ENDPOINT")).unwrap_or(DEFAULT_ENDPOINT);
    let region = ask.server.region.as_deref().or(env.get("SILTSTONE_REGION")).unwrap_or(DEFAULT_REGION);
    let credentials = ClientCredentials::from_environment(env)?.ok_or(ApiError::NoCredentials)?;
    let client = ApiClient::new(endpoint, region, credentials)?;
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
        TenantCommand::Create { name, server } => {
            Ask::change(server, Method::POST, path, Some(json!({ "name": name })))
        }
        TenantCommand::Ls { server } => Ask::list(server, path, &["tenant"]),
    }
}

fn user(command: UserCommand) -> Result<Ask, CliError> {
    let path = "/api/v1/users".to_owned();
    let of = |name: &str| format!("{path}/{}", segment(name));
    Ok(match command {
        UserCommand::Create { name, id, display_name, email, tenant, server } => {
            let body = json!({
                "name": name, "id": id, "display_name": display_name, "email": email, "tenant": tenant,
            });
            Ask::change(server, Method::POST, path, Some(body))
        }
        UserCommand::Ls { server } => {
            Ask::list(server, path, &["user", "status", "tenant", "id", "display_name"])
        }
        UserCommand::Rm { name, yes, server } => {
            must_confirm(yes, "Remove this user and all its access keys?", "The user would be removed.")?;
            Ask::change(server, Method::DELETE, of(&name), None)
        }
        UserCommand::Set { name, status, server } => {
            Ask::change(server, Method::PATCH, of(&name), Some(json!({ "status": status.name() })))
        }
    })
}

fn key(command: KeyCommand) -> Result<Ask, CliError> {
    let of = |access_key: &str| format!("/api/v1/keys/{}", segment(access_key));
    let keys = |user: &str| format!("/api/v1/users/{}/keys", segment(user));
    Ok(match command {
        KeyCommand::Create { user, access_key, secret_key_file, server } => {
            let secret = secret_key_file.as_deref().map(read_secret).transpose()?;
            let body = json!({ "access_key": access_key, "secret_key": secret.as_ref().map(|s| s.as_str()) });
            Ask::change(server, Method::POST, keys(&user), Some(body))
        }
        KeyCommand::Ls { user, server } => Ask::list(server, keys(&user), &["access_key", "user", "status"]),
        KeyCommand::Rm { access_key, yes, server } => {
            must_confirm(yes, "Remove this access key?", "The access key would be removed.")?;
            Ask::change(server, Method::DELETE, of(&access_key), None)
        }
        KeyCommand::Set { access_key, status, server } => {
            Ask::change(server, Method::PATCH, of(&access_key), Some(json!({ "status": status.name() })))
        }
    })
}

fn policy(command: PolicyCommand) -> Ask {
    let policies = |user: &str| format!("/api/v1/users/{}/policies", segment(user));
    match command {
        PolicyCommand::Attach { policy, user, server } => {
            Ask::change(server, Method::POST, policies(&user), Some(json!({ "policy": policy })))
        }
        PolicyCommand::Detach { policy, user, server } => {
            let path = format!("{}/{}", policies(&user), segment(&policy));
            Ask::change(server, Method::DELETE, path, None)
        }
        PolicyCommand::Ls { user, server } => Ask::list(server, policies(&user), &["user", "policy"]),
    }
}

fn must_confirm(yes: bool, question: &str, refusal: &'static str) -> Result<(), CliError> {
    if confirmed(yes, question)? { Ok(()) } else { Err(CliError::Unconfirmed(refusal)) }
}

/// The secret in a file, without its last newline.
fn read_secret(path: &Path) -> Result<Zeroizing<String>, CliError> {
    let failed = |error| CliError::File { path: path.display().to_string(), error };
    let mut text = Zeroizing::new(String::new());
    if path == Path::new("-") {
        std::io::stdin().lock().take(MAX_SECRET_FILE).read_to_string(&mut text).map_err(failed)?;
    } else {
        text = Zeroizing::new(std::fs::read_to_string(path).map_err(failed)?);
    }
    Ok(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()))
}
