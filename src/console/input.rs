//! The bodies of requests, and the rules for names that come in here.

use super::openapi::{BodyField, Schema};
use super::problem::Problem;
use http::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use siltstone_log::event::Status;
use zeroize::Zeroizing;

/// Defines the bodies of requests and describes them from the same words.
macro_rules! bodies {
    ($($(#[doc = $about:literal])+ $(#[derive($derive:ident)])? $name:ident {
        $($(#[doc = $doc:literal])+ $field:ident: $kind:ty,)+
    })+) => {$(
        $(#[doc = $about])+
        #[derive($($derive,)? Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            $($(#[doc = $doc])+ pub $field: $kind,)+
        }

        impl $name {
            /// Its description.
            pub const SCHEMA: Schema = Schema {
                name: stringify!($name),
                about: concat!($($about),+),
                fields: &[$(BodyField {
                    name: stringify!($field),
                    about: concat!($($doc),+),
                    required: <$kind as BodyValue>::REQUIRED,
                    secret: <$kind as BodyValue>::SECRET,
                }),+],
            };
        }
    )+};
}

/// The kinds of fields that bodies have: all of them texts.
trait BodyValue {
    const REQUIRED: bool;
    const SECRET: bool;
}

impl BodyValue for String {
    const REQUIRED: bool = true;
    const SECRET: bool = false;
}

impl BodyValue for Option<String> {
    const REQUIRED: bool = false;
    const SECRET: bool = false;
}

impl BodyValue for Option<Zeroizing<String>> {
    const REQUIRED: bool = false;
    const SECRET: bool = true;
}

bodies! {
    /// A tenant.
    #[derive(Debug)]
    NewTenant {
        /// Its name.
        name: String,
    }
    /// A user. With an id or a tenant it gets an account of its own, or joins the one that has this id.
    #[derive(Debug)]
    NewUser {
        /// Its name.
        name: String,
        /// The canonical id of its account.
        id: Option<String>,
        /// The name S3 shows as owner.
        display_name: Option<String>,
        /// A contact address.
        email: Option<String>,
        /// The account's tenant.
        tenant: Option<String>,
    }
    /// Whether a user or key may be used.
    #[derive(Debug)]
    NewStatus {
        /// `active` or `suspended`.
        status: String,
    }
    /// An access key. What is not given is made.
    NewKey {
        /// The key's public id.
        access_key: Option<String>,
        /// Its secret.
        secret_key: Option<Zeroizing<String>>,
    }
    /// A policy of a user.
    #[derive(Debug)]
    NewPolicy {
        /// The policy's name.
        policy: String,
    }
}

/// Reads a body. What the parser says may quote the body, so it is passed on only for bodies without secrets.
pub fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|error| {
        Problem::new(
            StatusCode::BAD_REQUEST,
            "InvalidBody",
            format!("The body is not what is expected: {error}."),
        )
    })
}

/// Reads a body that holds a secret.
pub fn parse_secret<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let empty: &[u8] = b"{}";
    serde_json::from_slice(if body.is_empty() { empty } else { body }).map_err(|_| {
        Problem::new(
            StatusCode::BAD_REQUEST,
            "InvalidBody",
            "The body is not the JSON object that is expected.",
        )
    })
}

/// A tenant's or user's name: what IAM allows in one.
pub fn name(field: &'static str, name: &str) -> Result<(), Problem> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"+=,.@_-".contains(&b);
    if (1..=64).contains(&name.len()) && name.bytes().all(allowed) {
        return Ok(());
    }
    Err(Problem::field(field, "has 1 to 64 letters, digits and characters of `+=,.@_-`"))
}

/// An account's canonical id.
pub fn canonical_id(id: &str) -> Result<(), Problem> {
    if (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(());
    }
    Err(Problem::field("id", "has 1 to 128 printable ASCII characters"))
}

/// Free text that is shown to people.
pub fn text(field: &'static str, text: &str) -> Result<(), Problem> {
    if text.len() <= 256 && !text.chars().any(char::is_control) {
        return Ok(());
    }
    Err(Problem::field(field, "has at most 256 bytes and no control characters"))
}

/// A status by its name.
pub fn status(text: &str) -> Result<Status, Problem> {
    match text {
        "active" => Ok(Status::Active),
        "suspended" => Ok(Status::Suspended),
        _ => Err(Problem::field("status", "is neither `active` nor `suspended`")),
    }
}

/// A status's name.
pub fn status_name(status: Status) -> &'static str {
    match status {
        Status::Active => "active",
        Status::Suspended => "suspended",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_take_what_iam_takes() {
        for good in ["a", "anna.b@example.com", "x+y=z,_-", &"n".repeat(64)] {
            assert!(name("name", good).is_ok(), "{good}");
        }
        for bad in ["", "a b", "a/b", "ä", "a\n", &"n".repeat(65)] {
            assert!(name("name", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn unknown_fields_are_refused_and_secrets_are_not_quoted() {
        assert!(parse::<NewTenant>(br#"{"name":"a","nmae":"b"}"#).is_err());
        let Err(problem) = parse_secret::<NewKey>(br#"{"secret_key":["canary-secret"]}"#) else {
            panic!("a list is no secret")
        };
        assert!(!problem.detail.contains("canary"), "{}", problem.detail);
        assert!(parse_secret::<NewKey>(b"").is_ok());
    }

    proptest! {
        #[test]
        fn any_body_is_read_or_refused_without_a_panic(body: Vec<u8>) {
            prop_assert!(parse::<NewUser>(&body).is_err());
            let _ = parse_secret::<NewKey>(&body).is_ok();
        }
    }

    #[test]
    fn a_status_survives_its_name() {
        for state in [Status::Active, Status::Suspended] {
            assert_eq!(status(status_name(state)), Ok(state));
        }
        assert!(status("Active").is_err());
    }
}
