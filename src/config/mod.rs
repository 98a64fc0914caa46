//! Typed settings and where each came from: flag, environment, file, default, in this order.
//!
//! Every setting stands once in [`settings`]; every key that is not there is an error with the nearest known name, so
//! that a typing mistake never leaves a limit at its default unnoticed. Only [`environment`] reads the environment.

pub mod environment;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod schema;
pub mod secret;
pub mod settings;
mod suggest;
pub mod value;

pub use environment::Environment;
pub use schema::schema;
pub use settings::{SECTIONS, SettingInfo, Settings, TABLE};
pub use value::{ByteSize, DomainNames, InvalidValue, LogLevel};

use std::fmt;
use std::path::{Path, PathBuf};
use toml::de::{DeTable, DeValue};

/// The flags of the command line that give a setting its value: flag, section, key.
pub const FLAGS: [(&str, &str, &str); 5] = [
    ("--data-dir", "server", "data_dir"),
    ("--s3-listen", "listeners", "s3"),
    ("--console-listen", "listeners", "console"),
    ("--cluster-listen", "listeners", "cluster"),
    ("--metrics-listen", "listeners", "metrics"),
];

/// The file that is read when no `--config` names another; it may be missing.
pub const SYSTEM_FILE: &str = "/etc/siltstone/config.toml";

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said anything.
    Default,
    /// A line of a file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
    },
    /// A variable of the environment.
    Environment(String),
    /// A flag of the command line.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line, column } => write!(f, "{}:{line}:{column}", path.display()),
            Self::Environment(name) => f.write_str(name),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{path}: {error}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's words.
        error: std::io::Error,
    },
    /// The file is no TOML.
    #[error("{origin}: {message}")]
    Syntax {
        /// Where.
        origin: Origin,
        /// What the parser said.
        message: String,
    },
    /// There is no such setting.
    #[error("{origin}: unknown setting `{name}`{}", did_you_mean(suggestion.as_deref()))]
    Unknown {
        /// Where.
        origin: Origin,
        /// What was written.
        name: String,
        /// The nearest setting.
        suggestion: Option<String>,
    },
    /// There is no such variable.
    #[error("unknown variable `{name}`{}", did_you_mean(suggestion.as_deref()))]
    UnknownVariable {
        /// The variable.
        name: String,
        /// The nearest one.
        suggestion: Option<String>,
    },
    /// A value of the wrong kind, or one that names a variable which is not set.
    #[error("{origin}: {name}: {error}")]
    Invalid {
        /// Where.
        origin: Origin,
        /// The setting.
        name: String,
        /// Why.
        error: InvalidValue,
    },
}

fn did_you_mean(suggestion: Option<&str>) -> String {
    suggestion.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default()
}

/// A flag's value for a setting: flag, section, key, text.
pub type FlagValue = (&'static str, &'static str, &'static str, String);

/// The settings in force, and where each came from.
#[derive(Debug, Clone)]
pub struct Config {
    /// The values.
    pub settings: Settings,
    origins: Vec<Origin>,
}

impl Config {
    /// Gathers all layers. `file` is the one `--config` names; it must exist, the system's own need not.
    pub fn load(file: Option<&Path>, env: &Environment, flags: &[FlagValue]) -> Result<Self, ConfigError> {
        let text = match file {
            Some(path) => Some((path, read(path)?)),
            None => match read(Path::new(SYSTEM_FILE)) {
                Ok(text) => Some((Path::new(SYSTEM_FILE), text)),
                Err(ConfigError::Unreadable { error, .. })
                    if error.kind() == std::io::ErrorKind::NotFound =>
                {
                    None
                }
                Err(error) => return Err(error),
            },
        };
        Self::from_layers(text.as_ref().map(|(path, text)| (*path, text.as_str())), env, flags)
    }

    /// As [`Config::load`], with the file's text at hand.
    pub fn from_layers(
        file: Option<(&Path, &str)>,
        env: &Environment,
        flags: &[FlagValue],
    ) -> Result<Self, ConfigError> {
        let invalid = |error| ConfigError::Invalid { origin: Origin::Default, name: String::new(), error };
        let settings = Settings::defaults().map_err(invalid)?;
        let mut config = Self { settings, origins: vec![Origin::Default; TABLE.len()] };
        if let Some((path, text)) = file {
            config.apply_file(path, text, env)?;
        }
        config.apply_environment(env)?;
        for (flag, section, key, text) in flags {
            config.set(section, key, text, Origin::Flag(flag))?;
        }
        config.settings.check().map_err(|(section, key, error)| {
            let origin = config.origin(section, key).clone();
            ConfigError::Invalid { origin, name: format!("{section}.{key}"), error }
        })?;
        Ok(config)
    }

    /// Each setting with its value as text and its origin, in the table's order.
    pub fn entries(&self) -> impl Iterator<Item = (&'static SettingInfo, String, &Origin)> {
        TABLE.iter().zip(&self.origins).map(|(info, origin)| {
            (info, self.settings.show(info.section, info.key).unwrap_or_default(), origin)
        })
    }

    fn origin(&self, section: &str, key: &str) -> &Origin {
        let mut places = TABLE.iter().zip(&self.origins);
        places
            .find(|(info, _)| info.section == section && info.key == key)
            .map_or(&Origin::Default, |(_, origin)| origin)
    }

    fn apply_file(&mut self, path: &Path, text: &str, env: &Environment) -> Result<(), ConfigError> {
        let at = |offset: usize| {
            let before = text.get(..offset).unwrap_or(text);
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
            Origin::File { path: path.to_owned(), line, column }
        };
        let table = DeTable::parse(text).map_err(|error| ConfigError::Syntax {
            origin: at(error.span().map_or(0, |span| span.start)),
            message: error.message().to_owned(),
        })?;
        for (section, content) in table.get_ref() {
            let origin = at(section.span().start);
            let name = section.get_ref();
            if !TABLE.iter().any(|info| info.section == name) {
                return Err(unknown(name, origin));
            }
            let DeValue::Table(keys) = content.get_ref() else {
                let error = InvalidValue(format!("expected a section `[{name}]`"));
                return Err(ConfigError::Invalid { origin, name: name.to_string(), error });
            };
            for (key, value) in keys {
                let origin = at(key.span().start);
                let text = scalar(value.get_ref(), env).map_err(|error| ConfigError::Invalid {
                    origin: origin.clone(),
                    name: format!("{name}.{}", key.get_ref()),
                    error,
                })?;
                self.set(name, key.get_ref(), &text, origin)?;
            }
        }
        Ok(())
    }

    fn apply_environment(&mut self, env: &Environment) -> Result<(), ConfigError> {
        for (variable, text) in env.iter() {
            let Some(name) = variable.strip_prefix(environment::PREFIX) else { continue };
            let Some((section, key)) = name.split_once("__") else {
                if environment::is_no_setting(name) {
                    continue;
                }
                return Err(unknown_variable(variable));
            };
            let origin = Origin::Environment(variable.to_owned());
            self.set(&section.to_lowercase(), &key.to_lowercase(), text, origin)?;
        }
        Ok(())
    }

    fn set(&mut self, section: &str, key: &str, text: &str, origin: Origin) -> Result<(), ConfigError> {
        let name = format!("{section}.{key}");
        let place = TABLE.iter().zip(&mut self.origins);
        let Some((_, slot)) = place.into_iter().find(|(info, _)| info.section == section && info.key == key)
        else {
            return Err(unknown(&name, origin));
        };
        match self.settings.set(section, key, text) {
            Ok(()) => *slot = origin,
            Err(error) => return Err(ConfigError::Invalid { origin, name, error }),
        }
        Ok(())
    }
}

fn read(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|error| ConfigError::Unreadable { path: path.to_owned(), error })
}

fn scalar(value: &DeValue<'_>, env: &Environment) -> Result<String, InvalidValue> {
    match value {
        DeValue::String(text) => env.expand(text),
        DeValue::Integer(number) if number.radix() == 10 => Ok(number.as_str().to_owned()),
        DeValue::Boolean(value) => Ok(value.to_string()),
        // A list of texts; what is no list refuses the commas.
        DeValue::Array(values) => {
            let texts = values.iter().map(|value| match value.get_ref() {
                DeValue::String(text) => env.expand(text),
                _ => Err(InvalidValue("expected a text or a whole number, or a list of texts".to_owned())),
            });
            texts.collect::<Result<Vec<_>, _>>().map(|texts| texts.join(","))
        }
        DeValue::Integer(_) | DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Table(_) => {
            Err(InvalidValue("expected a text or a whole number, or a list of texts".to_owned()))
        }
    }
}

/// A variable that is ours by its prefix and that nobody reads: one underscore short of a setting, mostly.
fn unknown_variable(variable: &str) -> ConfigError {
    let prefix = environment::PREFIX;
    let others = environment::NO_SETTINGS.iter().map(|(name, _)| format!("{prefix}{name}"));
    let known: Vec<String> = TABLE.iter().map(SettingInfo::variable).chain(others).collect();
    let suggestion = suggest::nearest(variable, known.iter().map(String::as_str)).map(str::to_owned);
    ConfigError::UnknownVariable { name: variable.to_owned(), suggestion }
}

/// A setting or section nobody knows, with the nearest one that exists: of the same section first, then by key, so
/// that a key in the wrong section is found too.
fn unknown(name: &str, origin: Origin) -> ConfigError {
    let suggestion = match name.split_once('.') {
        None => suggest::nearest(name, TABLE.iter().map(|info| info.section)).map(str::to_owned),
        Some((section, key)) => {
            let full = |info: &SettingInfo| format!("{}.{}", info.section, info.key);
            let near_section = suggest::nearest(section, TABLE.iter().map(|info| info.section));
            let in_section = TABLE.iter().filter(|info| Some(info.section) == near_section);
            let near = suggest::nearest(key, in_section.map(|info| info.key));
            let near = TABLE.iter().find(|info| Some(info.section) == near_section && Some(info.key) == near);
            near.or_else(|| {
                let key = suggest::nearest(key, TABLE.iter().map(|info| info.key));
                TABLE.iter().find(|info| Some(info.key) == key)
            })
            .map(full)
        }
    };
    ConfigError::Unknown { origin, name: name.to_owned(), suggestion }
}

#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;
