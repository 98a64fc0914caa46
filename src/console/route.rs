//! The routes of the console API and what each one may do. A route without an action does not compile.

use crate::auth::{Action, Class};
use http::Method;
use percent_encoding::percent_decode_str;

/// What a request to the console API asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// `GET /tenants`
    ListTenants,
    /// `POST /tenants`
    CreateTenant,
    /// `GET /users`
    ListUsers,
    /// `POST /users`
    CreateUser,
    /// `GET /users/:user`
    GetUser(String),
    /// `PATCH /users/:user`
    SetUser(String),
    /// `DELETE /users/:user`
    DeleteUser(String),
    /// `GET /users/:user/keys`
    ListKeys(String),
    /// `POST /users/:user/keys`
    CreateKey(String),
    /// `GET /users/:user/policies`
    ListPolicies(String),
    /// `POST /users/:user/policies`
    AttachPolicy(String),
    /// `DELETE /users/:user/policies/:policy`
    DetachPolicy(String, String),
    /// `PATCH /keys/:access_key`
    SetKey(String),
    /// `DELETE /keys/:access_key`
    DeleteKey(String),
}

/// A request that no route takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteError {
    /// There is nothing at this path.
    NotFound,
    /// There is, but not for this method.
    MethodNotAllowed {
        /// The methods it takes, as the `Allow` header lists them.
        allow: &'static str,
    },
}

/// The prefix of the API's paths.
pub const PREFIX: &str = "/api/v1/";

impl Route {
    /// Finds the route of a raw path, decoding each segment once.
    pub fn parse(method: &Method, raw_path: &str) -> Result<Self, RouteError> {
        let rest = raw_path.strip_prefix(PREFIX).ok_or(RouteError::NotFound)?;
        let segments: Vec<&str> = rest.split('/').collect();
        let text = |raw: &str| match percent_decode_str(raw).decode_utf8() {
            Ok(text) if !text.is_empty() => Ok(text.into_owned()),
            Ok(_) | Err(_) => Err(RouteError::NotFound),
        };
        let allow = |allow| Err(RouteError::MethodNotAllowed { allow });
        let (get, post) = (*method == Method::GET, *method == Method::POST);
        let (patch, delete) = (*method == Method::PATCH, *method == Method::DELETE);
        match *segments.as_slice() {
            ["tenants"] if get => Ok(Self::ListTenants),
            ["tenants"] if post => Ok(Self::CreateTenant),
            ["users"] if get => Ok(Self::ListUsers),
            ["users"] if post => Ok(Self::CreateUser),
            ["users", user] if get => Ok(Self::GetUser(text(user)?)),
            ["users", user] if patch => Ok(Self::SetUser(text(user)?)),
            ["users", user] if delete => Ok(Self::DeleteUser(text(user)?)),
            ["users", _] => allow("GET, PATCH, DELETE"),
            ["users", user, "keys"] if get => Ok(Self::ListKeys(text(user)?)),
            ["users", user, "keys"] if post => Ok(Self::CreateKey(text(user)?)),
            ["users", user, "policies"] if get => Ok(Self::ListPolicies(text(user)?)),
            ["users", user, "policies"] if post => Ok(Self::AttachPolicy(text(user)?)),
            ["tenants" | "users"] | ["users", _, "keys" | "policies"] => allow("GET, POST"),
            ["users", user, "policies", policy] if delete => {
                Ok(Self::DetachPolicy(text(user)?, text(policy)?))
            }
            ["users", _, "policies", _] => allow("DELETE"),
            ["keys", key] if patch => Ok(Self::SetKey(text(key)?)),
            ["keys", key] if delete => Ok(Self::DeleteKey(text(key)?)),
            ["keys", _] => allow("PATCH, DELETE"),
            _ => Err(RouteError::NotFound),
        }
    }

    /// What the caller must be allowed to do.
    pub fn action(&self) -> Action {
        let name = match self {
            Self::ListTenants => "admin:ListTenants",
            Self::CreateTenant => "admin:CreateTenant",
            Self::ListUsers => "admin:ListUsers",
            Self::CreateUser => "admin:CreateUser",
            Self::GetUser(_) => "admin:GetUser",
            Self::SetUser(_) => "admin:SetUserStatus",
            Self::DeleteUser(_) => "admin:DeleteUser",
            Self::ListKeys(_) => "admin:ListAccessKeys",
            Self::CreateKey(_) => "admin:CreateAccessKey",
            Self::ListPolicies(_) => "admin:ListPolicies",
            Self::AttachPolicy(_) => "admin:AttachPolicy",
            Self::DetachPolicy(..) => "admin:DetachPolicy",
            Self::SetKey(_) => "admin:SetAccessKeyStatus",
            Self::DeleteKey(_) => "admin:DeleteAccessKey",
        };
        Action { name, class: Class::Administer }
    }
}

#[cfg(test)]
pub(super) const EVERY: [(&str, &str); 14] = [
    ("GET", "/api/v1/tenants"),
    ("POST", "/api/v1/tenants"),
    ("GET", "/api/v1/users"),
    ("POST", "/api/v1/users"),
    ("GET", "/api/v1/users/anna"),
    ("PATCH", "/api/v1/users/anna"),
    ("DELETE", "/api/v1/users/anna"),
    ("GET", "/api/v1/users/anna/keys"),
    ("POST", "/api/v1/users/anna/keys"),
    ("GET", "/api/v1/users/anna/policies"),
    ("POST", "/api/v1/users/anna/policies"),
    ("DELETE", "/api/v1/users/anna/policies/readonly"),
    ("PATCH", "/api/v1/keys/AK1"),
    ("DELETE", "/api/v1/keys/AK1"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn parse(method: &str, path: &str) -> Result<Route, RouteError> {
        Route::parse(&method.parse().unwrap(), path)
    }

    #[test]
    fn every_route_is_found_and_has_an_action_of_its_own() {
        let actions: BTreeSet<&str> =
            EVERY.iter().map(|(method, path)| parse(method, path).unwrap().action().name).collect();
        assert_eq!(actions.len(), EVERY.len());
        assert!(actions.iter().all(|name| name.starts_with("admin:")));
    }

    #[test]
    fn segments_are_decoded_once_and_a_slash_in_one_does_not_split() {
        assert_eq!(parse("DELETE", "/api/v1/keys/a%2Fb%2525"), Ok(Route::DeleteKey("a/b%25".to_owned())));
    }

    #[test]
    fn a_wrong_method_is_told_what_is_allowed_and_a_wrong_path_is_not_found() {
        let refused = parse("PUT", "/api/v1/users/anna");
        assert_eq!(refused, Err(RouteError::MethodNotAllowed { allow: "GET, PATCH, DELETE" }));
        for path in [
            "/",
            "/api/v1",
            "/api/v1/",
            "/api/v1/users/",
            "/api/v1/buckets",
            "/api/v2/users",
            "/users",
            "/api/v1/users/%FF",
        ] {
            assert_eq!(parse("GET", path), Err(RouteError::NotFound), "{path}");
        }
    }

    proptest! {
        #[test]
        fn any_path_is_routed_or_refused_without_a_panic(path in "(/|api|v1|users|keys|policies|%|[a-z%0-9]){0,12}") {
            for method in ["GET", "POST", "PATCH", "DELETE", "PUT"] {
                if let Ok(route) = parse(method, &path) {
                    prop_assert!(path.starts_with(PREFIX) && route.action().class == Class::Administer);
                }
            }
        }
    }
}
