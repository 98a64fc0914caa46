//! The process's environment, read here and nowhere else.

use super::secret;
use super::value::InvalidValue;
use std::collections::BTreeMap;
use std::fmt;
use zeroize::Zeroizing;

/// The prefix of every variable that is ours.
pub const PREFIX: &str = "SILTSTONE_";

/// The variables with our prefix that are no settings, without it, and what each is for; those of keys have a form with
/// `_FILE` too, which names a file that holds the value.
pub const NO_SETTINGS: [(&str, &str); 7] = [
    (
        "ROOT_ACCESS_KEY",
        "The id of the root key, for `serve`; made at the first start without it. Clients may sign with it.",
    ),
    ("ROOT_SECRET_KEY", "The secret of the root key, as above."),
    (
        "ACCESS_KEY",
        "The id of the key that `admin` and `bench` sign with; before the root key and the AWS variables.",
    ),
    ("SECRET_KEY", "Its secret."),
    ("ENDPOINT", "The console address of the server that `admin` talks to."),
    ("REGION", "The region that `admin` signs for."),
    (
        "PROFILE",
        "The profile of `siltstone profile` that `admin` uses; what it says comes before the other variables.",
    ),
];

/// Whether a variable, without the prefix, is one of [`NO_SETTINGS`].
pub fn is_no_setting(name: &str) -> bool {
    let plain = name.strip_suffix("_FILE").filter(|name| name.ends_with("_KEY")).unwrap_or(name);
    NO_SETTINGS.iter().any(|(known, _)| *known == plain)
}

/// Whether a text can name a variable (POSIX.1-2017, 8.1).
fn is_variable(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// The variables as they were when the program started. The configuration file may name any of them.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, Zeroizing<String>>);

/// A secret's variable and its `_FILE` form could not be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Both forms are set.
    #[error("{0} and {0}_FILE are both set; set one of them")]
    Both(String),
    /// The file cannot be read.
    #[error("{variable} names {path}, which cannot be read: {error}")]
    Unreadable {
        /// The variable.
        variable: String,
        /// The file.
        path: String,
        /// The system's words.
        error: std::io::Error,
    },
}

impl Environment {
    /// Takes what this process was started with.
    pub fn of_process() -> Self {
        let variables = std::env::vars_os().filter_map(|(name, value)| {
            let (name, value) = (name.into_string().ok()?, value.into_string().ok()?);
            (!value.is_empty()).then(|| (name, Zeroizing::new(value)))
        });
        Self(variables.collect())
    }

    /// A variable's value; an empty one counts as not set.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| value.as_str())
    }

    /// Every variable.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// A text of the configuration file with each `${NAME}` replaced by that variable's value, and `$$` by one `$`. Values
    /// are not expanded again. A variable that is not set is refused: an empty path or address would be worse.
    pub fn expand(&self, text: &str) -> Result<String, InvalidValue> {
        let mut expanded = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            expanded.push_str(before);
            if let Some(literal) = after.strip_prefix('$') {
                expanded.push('$');
                rest = literal;
                continue;
            }
            let name = after.strip_prefix('{').and_then(|name| name.split_once('}'));
            let Some((name, behind)) = name.filter(|(name, _)| is_variable(name)) else {
                return Err(InvalidValue("`$` begins `${NAME}`; write `$$` for one `$`".to_owned()));
            };
            let unset = || InvalidValue(format!("the variable `{name}` is not set"));
            expanded.push_str(self.get(name).ok_or_else(unset)?);
            rest = behind;
        }
        expanded.push_str(rest);
        Ok(expanded)
    }

    /// A secret: the variable itself, or the content of the file that `<name>_FILE` names, without its last newline.
    pub fn secret(&self, name: &str) -> Result<Option<Zeroizing<String>>, SecretError> {
        let variable = format!("{name}_FILE");
        match (self.get(name), self.get(&variable)) {
            (Some(_), Some(_)) => Err(SecretError::Both(name.to_owned())),
            (Some(value), None) => Ok(Some(Zeroizing::new(value.to_owned()))),
            (None, Some(path)) => secret::read_file(path.as_ref())
                .map(Some)
                .map_err(|error| SecretError::Unreadable { variable, path: path.to_owned(), error }),
            (None, None) => Ok(None),
        }
    }
}

impl<const N: usize> From<[(&str, &str); N]> for Environment {
    fn from(variables: [(&str, &str); N]) -> Self {
        Self(variables.map(|(name, value)| (name.to_owned(), Zeroizing::new(value.to_owned()))).into())
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_comes_from_its_variable_or_from_the_file_named_but_not_from_both() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::io::Write::write_all(&mut tempfile_at(&path), b"hunter22\n").unwrap();
        let path = path.to_str().unwrap();
        let secret = |environment: Environment| environment.secret("SILTSTONE_X");
        assert_eq!(**secret([("SILTSTONE_X", "v")].into()).unwrap().as_ref().unwrap(), *"v");
        assert_eq!(**secret([("SILTSTONE_X_FILE", path)].into()).unwrap().as_ref().unwrap(), *"hunter22");
        assert_eq!(secret([].into()).unwrap(), None);
        let both = secret([("SILTSTONE_X", "v"), ("SILTSTONE_X_FILE", path)].into());
        assert!(matches!(both, Err(SecretError::Both(_))));
        let missing = secret([("SILTSTONE_X_FILE", "/nonexistent/file")].into());
        assert!(matches!(missing, Err(SecretError::Unreadable { .. })));
    }

    #[expect(clippy::disallowed_methods, reason = "a file of the test's own")]
    fn tempfile_at(path: &std::path::Path) -> std::fs::File {
        std::fs::File::create(path).unwrap()
    }

    #[test]
    fn a_printed_environment_shows_no_values() {
        let printed = format!("{:?}", Environment::from([("SILTSTONE_ROOT_SECRET_KEY", "canary")]));
        assert!(printed.contains("ROOT_SECRET_KEY") && !printed.contains("canary"), "{printed}");
    }
}
