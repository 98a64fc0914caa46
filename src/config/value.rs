//! The kinds of values a setting can have, with one textual form for files, environment and output.

use serde_json::{Value, json};
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// A text that is no value of the kind a setting wants; the message completes "… is not valid: ".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidValue(pub String);

/// A kind of value. `parse(show(v)) == v` for every value.
pub trait SettingValue: Sized {
    /// Reads the textual form.
    fn parse(text: &str) -> Result<Self, InvalidValue>;
    /// Writes the textual form.
    fn show(&self) -> String;
    /// What the configuration file may say, as JSON Schema (draft 2020-12). It is at least what `parse` takes.
    fn schema() -> Value;
}

/// A text that matches, or one that names a variable and is known only when it is read.
fn text_schema(pattern: &str) -> Value {
    json!({ "type": "string", "pattern": format!("^(?:{pattern})$|\\$\\{{") })
}

/// A value of another type, or its text.
fn or_text(schema: &Value, pattern: &str) -> Value {
    json!({ "anyOf": [schema, text_schema(pattern)] })
}

fn natural_number() -> Value {
    json!({ "type": "integer", "minimum": 0 })
}

fn units(names: impl Iterator<Item = &'static str>) -> String {
    format!(r"\s*[0-9]+\s*(?:{})\s*", names.collect::<Vec<_>>().join("|"))
}

/// A number of bytes, written with a unit: `64 MiB`, `1 GB`, `4096`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

const SIZE_UNITS: [(&str, u64); 12] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("kB", 1_000),
    ("B", 1),
    ("", 1),
    ("bytes", 1),
];

/// In milliseconds.
const DURATION_UNITS: [(&str, u64); 6] =
    [("ms", 1), ("s", 1000), ("m", 60_000), ("min", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

fn number_and_unit(text: &str) -> (&str, &str) {
    let digits = text.trim().find(|c: char| !c.is_ascii_digit()).unwrap_or(text.trim().len());
    let (number, unit) = text.trim().split_at(digits);
    (number, unit.trim())
}

impl FromStr for ByteSize {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let wrong = || InvalidValue(format!("`{text}` is no size; write for example `64 MiB`"));
        let (number, unit) = number_and_unit(text);
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let (_, factor) = SIZE_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        let bytes = number.checked_mul(*factor);
        bytes.map(Self).ok_or_else(|| InvalidValue(format!("`{text}` is too large")))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |unit: &&(&str, u64)| self.0 != 0 && self.0.is_multiple_of(unit.1);
        match SIZE_UNITS[..4].iter().find(fits) {
            Some((unit, factor)) => write!(f, "{} {unit}", self.0 / factor),
            None => write!(f, "{} B", self.0),
        }
    }
}

impl SettingValue for ByteSize {
    fn parse(text: &str) -> Result<Self, InvalidValue> {
        text.parse()
    }
    fn show(&self) -> String {
        self.to_string()
    }
    fn schema() -> Value {
        or_text(&natural_number(), &units(SIZE_UNITS.iter().map(|(name, _)| *name)))
    }
}

/// A size, or `auto` where the server chooses.
impl SettingValue for Option<ByteSize> {
    fn parse(text: &str) -> Result<Self, InvalidValue> {
        if text.trim() == "auto" { Ok(None) } else { text.parse().map(Some) }
    }
    fn show(&self) -> String {
        self.map_or_else(|| "auto".to_owned(), |size| size.to_string())
    }
    fn schema() -> Value {
        json!({ "anyOf": [{ "const": "auto" }, ByteSize::schema()] })
    }
}

impl SettingValue for Duration {
    fn parse(text: &str) -> Result<Self, InvalidValue> {
        let wrong = || InvalidValue(format!("`{text}` is no duration; write for example `30 s`"));
        let (number, unit) = number_and_unit(text);
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let (_, factor) = DURATION_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        number.checked_mul(*factor).map(Self::from_millis).ok_or_else(wrong)
    }

    fn show(&self) -> String {
        match u64::try_from(self.as_millis()).unwrap_or(u64::MAX) {
            millis if millis % 1000 == 0 => format!("{} s", millis / 1000),
            millis => format!("{millis} ms"),
        }
    }

    fn schema() -> Value {
        text_schema(&units(DURATION_UNITS.into_iter().map(|(name, _)| name)))
    }
}

impl SettingValue for SocketAddr {
    fn parse(text: &str) -> Result<Self, InvalidValue> {
        text.parse().map_err(|_| {
            InvalidValue(format!("`{text}` is no address and port; write for example `127.0.0.1:8080`"))
        })
    }
    fn show(&self) -> String {
        self.to_string()
    }
    fn schema() -> Value {
        text_schema(".+:[0-9]+")
    }
}

impl SettingValue for u32 {
    fn parse(text: &str) -> Result<Self, InvalidValue> {
        text.parse().map_err(|_| InvalidValue(format!("`{text}` is no whole number below 2^32")))
    }
    fn show(&self) -> String {
        self.to_string()
    }
    fn schema() -> Value {
        or_text(&natural_number(), "[0-9]+")
    }
}

impl SettingValue for bool {
    fn parse(text: &str) -> Result<Self, InvalidValue> {
        text.parse().map_err(|_| InvalidValue(format!("`{text}` is neither true nor false")))
    }
    fn show(&self) -> String {
        self.to_string()
    }
    fn schema() -> Value {
        or_text(&json!({ "type": "boolean" }), "true|false")
    }
}

/// Names of the domain name system, in lower case, with commas between them as text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DomainNames(pub Vec<String>);

impl SettingValue for DomainNames {
    fn parse(text: &str) -> Result<Self, InvalidValue> {
        let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
        let names = names.map(|name| {
            let label = |label: &str| {
                !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            };
            let lower = name.to_ascii_lowercase();
            let wrong =
                || InvalidValue(format!("`{name}` is no domain name; write for example `s3.example.org`"));
            if lower.split('.').all(label) { Ok(lower) } else { Err(wrong()) }
        });
        names.collect::<Result<_, _>>().map(Self)
    }
    fn show(&self) -> String {
        self.0.join(",")
    }
    fn schema() -> Value {
        let name = r"[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*";
        let list = json!({ "type": "array", "items": text_schema(name) });
        or_text(&list, &format!(r"\s*(?:{name}\s*(?:,\s*|$))*"))
    }
}

impl SettingValue for PathBuf {
    fn parse(text: &str) -> Result<Self, InvalidValue> {
        Ok(text.into())
    }
    fn show(&self) -> String {
        self.display().to_string()
    }
    fn schema() -> Value {
        String::schema()
    }
}

impl SettingValue for String {
    fn parse(text: &str) -> Result<Self, InvalidValue> {
        Ok(text.to_owned())
    }
    fn show(&self) -> String {
        self.clone()
    }
    fn schema() -> Value {
        json!({ "type": "string" })
    }
}

/// How much the server says on stderr.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// Only what needs an operator.
    Error,
    /// And what may soon.
    Warn,
    /// And starts, stops, repairs.
    Info,
    /// And each request.
    Debug,
    /// And each step of it.
    Trace,
}

const LEVELS: [(&str, LogLevel); 5] = [
    ("error", LogLevel::Error),
    ("warn", LogLevel::Warn),
    ("info", LogLevel::Info),
    ("debug", LogLevel::Debug),
    ("trace", LogLevel::Trace),
];

impl LogLevel {
    /// The level's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

impl SettingValue for LogLevel {
    fn parse(text: &str) -> Result<Self, InvalidValue> {
        let found = LEVELS.iter().find(|(name, _)| *name == text).map(|(_, level)| *level);
        found.ok_or_else(|| InvalidValue(format!("`{text}` is none of error, warn, info, debug, trace")))
    }
    fn show(&self) -> String {
        self.as_str().to_owned()
    }
    fn schema() -> Value {
        text_schema(&LEVELS.map(|(name, _)| name).join("|"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_size_and_a_duration_survive_their_text(bytes: u64, millis in 0u64..1 << 50) {
            prop_assert_eq!(ByteSize::parse(&ByteSize(bytes).show()), Ok(ByteSize(bytes)));
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(Duration::parse(&duration.show()), Ok(duration));
        }

        #[test]
        fn domain_names_survive_their_text(names in prop::collection::vec("[a-z0-9-]{1,8}(\\.[a-z0-9-]{1,8}){0,3}", 0..4)) {
            let names = DomainNames(names);
            prop_assert_eq!(DomainNames::parse(&names.show()), Ok(names));
        }

        #[test]
        fn any_text_is_parsed_or_refused_without_a_panic(text in ".{0,30}") {
            if let Ok(names) = DomainNames::parse(&text) {
                prop_assert!(names.0.iter().all(|name| !name.is_empty() && !name.contains(' ')));
            }
            let _ = (ByteSize::parse(&text).is_ok(), Duration::parse(&text).is_ok());
            prop_assert!(LogLevel::parse(&text).map_or(true, |level| level.as_str() == text));
        }
    }

    #[test]
    fn domain_names_are_names_and_no_addresses_with_ports() {
        let names = DomainNames::parse(" S3.Example.org , localhost").map(|names| names.0);
        assert_eq!(names, Ok(vec!["s3.example.org".to_owned(), "localhost".to_owned()]));
        assert_eq!(DomainNames::parse(""), Ok(DomainNames::default()));
        for text in ["a b", "a..b", ".a", "a.", "a:80", "*.a", "http://a"] {
            assert!(DomainNames::parse(text).is_err(), "{text}");
        }
        assert!(bool::parse("yes").is_err());
    }

    #[test]
    fn sizes_take_binary_and_decimal_units_and_refuse_the_rest() {
        for (text, bytes) in [("64KiB", 65536), ("64 KiB", 65536), ("1 GB", 1_000_000_000), ("17", 17)] {
            assert_eq!(ByteSize::parse(text), Ok(ByteSize(bytes)), "{text}");
        }
        for text in ["", "KiB", "-1", "1.5 GiB", "1 XB", "99999999999999999999", "99999999999 TiB"] {
            assert!(ByteSize::parse(text).is_err(), "{text}");
        }
    }
}
