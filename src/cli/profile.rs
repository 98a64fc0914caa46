//! `siltstone profile`: servers by name, for `siltstone admin`, in a file of the user's own.

use super::api_client::{ClientCredentials, parse_endpoint};
use super::confirm::confirmed;
use super::exit::ExitCode;
use super::output::{OutputArgs, print_list};
use super::secret::read_secret;
use super::{CliError, Out};
use crate::auth::Secret;
use crate::config::Environment;
use clap::Subcommand;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// The variable that names a profile.
pub const VARIABLE: &str = "SILTSTONE_PROFILE";

/// `profile …`
#[derive(Debug, Subcommand)]
pub enum ProfileCommand {
    /// Keep a server under a name, in profiles.json of $XDG_CONFIG_HOME/siltstone or ~/.config/siltstone
    Add {
        /// The profile
        name: String,
        /// The server's console address
        #[arg(long, value_name = "URL")]
        endpoint: String,
        /// The server's region, which signatures name [default: us-east-1]
        #[arg(long)]
        region: Option<String>,
        /// Id of the key to sign with; without one, the variables say who signs
        #[arg(long, value_name = "ID", requires = "secret_key_file")]
        access_key: Option<String>,
        /// File with the key's secret, `-` for stdin
        #[arg(long, value_name = "FILE", requires = "access_key")]
        secret_key_file: Option<PathBuf>,
    },
    /// List profiles
    Ls {
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Forget a profile
    Rm {
        /// The profile
        name: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

/// A server, and who asks it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// The server's console address.
    pub endpoint: String,
    /// Its region.
    pub region: Option<String>,
    key: Option<Key>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Key {
    access_key: String,
    secret_key: Zeroizing<String>,
}

impl Profile {
    /// Finds a profile.
    pub fn find(name: &str, env: &Environment) -> Result<Self, CliError> {
        let file = File::of(env)?;
        file.read()?.remove(name).ok_or_else(|| CliError::NoProfile(name.to_owned()))
    }

    /// Who signs, if the profile says it.
    pub fn credentials(&self) -> Option<ClientCredentials> {
        let key = self.key.as_ref()?;
        Some(ClientCredentials::new(key.access_key.clone(), Secret::new(key.secret_key.as_str())))
    }
}

/// Runs `siltstone profile`.
pub fn run(command: ProfileCommand, env: &Environment, out: Out<'_>) -> Result<ExitCode, CliError> {
    let file = File::of(env)?;
    // Until the end: whoever changes profiles beside this one waits.
    let _lock = if matches!(command, ProfileCommand::Ls { .. }) { None } else { Some(file.lock()?) };
    let mut profiles = file.read()?;
    match command {
        ProfileCommand::Add { name, endpoint, region, access_key, secret_key_file } => {
            parse_endpoint(&endpoint)?;
            if profiles.contains_key(&name) {
                return Err(CliError::ProfileExists(name));
            }
            let key = match (access_key, secret_key_file) {
                (Some(access_key), Some(secret)) => {
                    Some(Key { access_key, secret_key: read_secret(&secret)? })
                }
                _ => None,
            };
            profiles.insert(name, Profile { endpoint, region, key });
            file.write(&profiles)?;
        }
        ProfileCommand::Ls { output } => {
            let shown = profiles.iter().map(|(name, profile)| {
                let access_key = profile.key.as_ref().map(|key| &key.access_key);
                json!({ "profile": name, "endpoint": profile.endpoint, "region": profile.region, "access_key": access_key })
            });
            let columns = ["profile", "endpoint", "region", "access_key"];
            print_list(out, output.format(), &columns, &shown.collect::<Vec<_>>())?;
        }
        ProfileCommand::Rm { name, yes } => {
            if !profiles.contains_key(&name) {
                return Err(CliError::NoProfile(name));
            }
            if !confirmed(yes, "Forget this profile and its key?")? {
                return Err(CliError::Unconfirmed("The profile would be forgotten."));
            }
            profiles.remove(&name);
            file.write(&profiles)?;
        }
    }
    Ok(ExitCode::Ok)
}

/// The file with the profiles.
struct File(PathBuf);

impl File {
    /// Where the XDG Base Directory Specification (0.8) puts it.
    fn of(env: &Environment) -> Result<Self, CliError> {
        let home = || Some(Path::new(env.get("HOME")?).join(".config"));
        // The specification has relative paths ignored.
        let config =
            env.get("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute()).or_else(home);
        let config =
            config.ok_or_else(|| CliError::Usage("profiles need HOME or XDG_CONFIG_HOME".to_owned()))?;
        Ok(Self(config.join("siltstone").join("profiles.json")))
    }

    fn failed(&self, error: io::Error) -> CliError {
        CliError::File { path: self.0.display().to_string(), error }
    }

    /// Keeps others from changing profiles, for as long as what it returns lives.
    #[expect(clippy::disallowed_methods, reason = "a file of the user's, no part of a store")]
    fn lock(&self) -> Result<fs::File, CliError> {
        let locked = || {
            if let Some(folder) = self.0.parent() {
                DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            }
            let path = self.0.with_extension("lock");
            let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
            file.lock()?;
            Ok(file)
        };
        locked().map_err(|error| self.failed(error))
    }

    #[expect(clippy::disallowed_methods, reason = "a file of the user's, no part of a store")]
    fn read(&self) -> Result<BTreeMap<String, Profile>, CliError> {
        let text = match fs::read(&self.0) {
            Ok(text) => Zeroizing::new(text),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeMap::new()),
            Err(error) => return Err(self.failed(error)),
        };
        let mode = fs::metadata(&self.0).map_err(|error| self.failed(error))?.permissions().mode();
        if mode & 0o077 != 0 {
            let open =
                io::Error::new(ErrorKind::PermissionDenied, "others can read it; `chmod 600` closes it");
            return Err(self.failed(open));
        }
        // What the parser says may quote a secret.
        let malformed =
            || io::Error::new(ErrorKind::InvalidData, "it is not what `siltstone profile add` writes");
        serde_json::from_slice(&text).map_err(|_| self.failed(malformed()))
    }

    /// Replaces the file whole: a reader beside sees the old one or the new one.
    #[expect(clippy::disallowed_methods, reason = "a file of the user's, no part of a store")]
    fn write(&self, profiles: &BTreeMap<String, Profile>) -> Result<(), CliError> {
        let text = serde_json::to_vec_pretty(profiles).map_err(|error| self.failed(error.into()))?;
        let text = Zeroizing::new(text);
        let fresh = self.0.with_extension(format!("json.{}", std::process::id()));
        let written = || {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&fresh, &self.0)
        };
        written().map_err(|error| {
            let _ = fs::remove_file(&fresh);
            self.failed(error)
        })
    }
}
