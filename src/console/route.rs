//! The routes of the console API: one table says how each is reached, what its caller must be allowed to do, and what
//! it takes and answers. Requests are routed by it, and the API's description ([`super::openapi`]) is made from it, so
//! that no route is without an action or a description.

use super::input::{NewKey, NewPolicy, NewStatus, NewTenant, NewUser};
use super::openapi::{Answer, Field, Schema};
use crate::auth::{Action, Class};
use http::{Method, StatusCode};
use percent_encoding::percent_decode_str;
use std::collections::BTreeMap;
use std::mem::discriminant;
use std::sync::LazyLock;

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

/// The most parameters in a path.
const MAX_PARAMETERS: usize = 2;

/// A row of the table.
pub struct RouteInfo {
    /// The method.
    pub method: Method,
    /// The path below [`PREFIX`], with the names of its parameters in braces.
    pub path: &'static str,
    /// What the caller must be allowed to do.
    pub action: &'static str,
    /// What it does, for people.
    pub summary: &'static str,
    /// The body it takes.
    pub body: Option<Schema>,
    /// The status of a success.
    pub status: StatusCode,
    /// What it answers then.
    pub answer: Answer,
    make: fn([String; MAX_PARAMETERS]) -> Route,
}

macro_rules! routes {
    (@body) => { None };
    (@body $body:ty) => { Some(<$body>::SCHEMA) };
    ($($method:ident $path:literal $action:literal $summary:literal ($($body:ty)?) -> $status:ident $answer:expr, $make:expr;)+) => {
        [$(RouteInfo {
            method: Method::$method,
            path: $path,
            action: $action,
            summary: $summary,
            body: routes!(@body $($body)?),
            status: StatusCode::$status,
            answer: $answer,
            make: $make,
        }),+]
    };
}

/// Every route.
pub static ROUTES: [RouteInfo; 14] = routes! {
    GET "tenants" "admin:ListTenants" "List tenants" ()
        -> OK Answer::Page(&TENANT), |_| Route::ListTenants;
    POST "tenants" "admin:CreateTenant" "Make a tenant" (NewTenant)
        -> CREATED Answer::Changed(&TENANT), |_| Route::CreateTenant;
    GET "users" "admin:ListUsers" "List users" ()
        -> OK Answer::Page(&USER), |_| Route::ListUsers;
    POST "users" "admin:CreateUser" "Make a user" (NewUser)
        -> CREATED Answer::Changed(&USER), |_| Route::CreateUser;
    GET "users/{user}" "admin:GetUser" "Show a user" ()
        -> OK Answer::One(&USER), |[user, _]| Route::GetUser(user);
    PATCH "users/{user}" "admin:SetUserStatus" "Suspend a user, or let it in again" (NewStatus)
        -> OK Answer::Changed(&[Field::text("user"), Field::status()]), |[user, _]| Route::SetUser(user);
    DELETE "users/{user}" "admin:DeleteUser" "Remove a user with its keys" ()
        -> OK Answer::Changed(&[Field::text("user")]), |[user, _]| Route::DeleteUser(user);
    GET "users/{user}/keys" "admin:ListAccessKeys" "List a user's access keys" ()
        -> OK Answer::Whole(&KEY), |[user, _]| Route::ListKeys(user);
    POST "users/{user}/keys" "admin:CreateAccessKey" "Give a user an access key; the secret is told this once" (NewKey)
        -> CREATED Answer::Changed(&NEW_KEY), |[user, _]| Route::CreateKey(user);
    GET "users/{user}/policies" "admin:ListPolicies" "List a user's policies" ()
        -> OK Answer::Whole(&POLICY), |[user, _]| Route::ListPolicies(user);
    POST "users/{user}/policies" "admin:AttachPolicy" "Give a user a policy" (NewPolicy)
        -> OK Answer::Changed(&POLICY), |[user, _]| Route::AttachPolicy(user);
    DELETE "users/{user}/policies/{policy}" "admin:DetachPolicy" "Take a policy from a user" ()
        -> OK Answer::Changed(&POLICY), |[user, policy]| Route::DetachPolicy(user, policy);
    PATCH "keys/{access_key}" "admin:SetAccessKeyStatus" "Suspend an access key, or let it in again" (NewStatus)
        -> OK Answer::Changed(&[Field::text("access_key"), Field::status()]), |[key, _]| Route::SetKey(key);
    DELETE "keys/{access_key}" "admin:DeleteAccessKey" "Remove an access key" ()
        -> OK Answer::Changed(&[Field::text("access_key")]), |[key, _]| Route::DeleteKey(key);
};

const TENANT: [Field; 1] = [Field::text("tenant")];
const USER: [Field; 7] = [
    Field::text("user"),
    Field::status(),
    Field::maybe("account"),
    Field::maybe("tenant"),
    Field::maybe("id"),
    Field::maybe("display_name"),
    Field::maybe("email"),
];
const KEY: [Field; 3] = [Field::text("access_key"), Field::text("user"), Field::status()];
/// A dry run makes neither id nor secret.
const NEW_KEY: [Field; 3] = [Field::text("user"), Field::maybe("access_key"), Field::maybe("secret_key")];
const POLICY: [Field; 2] = [Field::text("user"), Field::text("policy")];

/// The methods of each path, as the `Allow` header lists them.
static ALLOW: LazyLock<BTreeMap<&str, String>> = LazyLock::new(|| {
    let mut methods: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for info in &ROUTES {
        methods.entry(info.path).or_default().push(info.method.as_str());
    }
    methods.into_iter().map(|(path, methods)| (path, methods.join(", "))).collect()
});

impl RouteInfo {
    /// The path's segments.
    pub fn segments(&self) -> impl Iterator<Item = Segment<'static>> {
        let name = |segment: &'static str| segment.strip_prefix('{')?.strip_suffix('}');
        self.path
            .split('/')
            .map(move |segment| name(segment).map_or(Segment::Fixed(segment), Segment::Parameter))
    }

    /// The raw values of its parameters, if a path is one of its.
    fn matches<'p>(&self, path: &'p str) -> Option<[&'p str; MAX_PARAMETERS]> {
        let (mut given, mut values, mut found) = (path.split('/'), [""; MAX_PARAMETERS], 0);
        for segment in self.segments() {
            let value = given.next()?;
            match segment {
                Segment::Fixed(text) if text == value => {}
                Segment::Fixed(_) => return None,
                Segment::Parameter(_) => {
                    *values.get_mut(found)? = value;
                    found += 1;
                }
            }
        }
        given.next().is_none().then_some(values)
    }
}

/// A segment of a route's path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Segment<'a> {
    /// Stands there as it is.
    Fixed(&'a str),
    /// Anything that is not empty.
    Parameter(&'a str),
}

impl Route {
    /// Finds the route of a raw path, decoding each segment once.
    pub fn parse(method: &Method, raw_path: &str) -> Result<Self, RouteError> {
        let path = raw_path.strip_prefix(PREFIX).ok_or(RouteError::NotFound)?;
        let mut other = None;
        for info in &ROUTES {
            let Some(raw) = info.matches(path) else { continue };
            if info.method != *method {
                other = ALLOW.get(info.path);
                continue;
            }
            let mut values: [String; MAX_PARAMETERS] = Default::default();
            let parameters = info.segments().filter(|segment| matches!(segment, Segment::Parameter(_)));
            for ((value, raw), _) in values.iter_mut().zip(raw).zip(parameters) {
                let text = percent_decode_str(raw).decode_utf8().map_err(|_| RouteError::NotFound)?;
                if text.is_empty() {
                    return Err(RouteError::NotFound);
                }
                *value = text.into_owned();
            }
            return Ok((info.make)(values));
        }
        other.map_or(Err(RouteError::NotFound), |allow| Err(RouteError::MethodNotAllowed { allow }))
    }

    /// What the caller must be allowed to do. Only the table makes routes, so that each has an action there.
    pub fn action(&self) -> Action {
        let same = |info: &&RouteInfo| discriminant(&(info.make)(Default::default())) == discriminant(self);
        let name = ROUTES.iter().find(same).map_or("admin:Unknown", |info| info.action);
        Action { name, class: Class::Administer }
    }
}

/// Every route with an address of its own, for sweeps.
#[cfg(test)]
pub(super) fn every() -> Vec<(&'static str, String)> {
    let path = |info: &'static RouteInfo| {
        let fixed = |segment| match segment {
            Segment::Fixed(text) | Segment::Parameter(text) => text,
        };
        PREFIX.to_owned() + &info.segments().map(fixed).collect::<Vec<_>>().join("/")
    };
    ROUTES.iter().map(|info| (info.method.as_str(), path(info))).collect()
}

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
        let every = every();
        let actions: BTreeSet<&str> =
            every.iter().map(|(method, path)| parse(method, path).unwrap().action().name).collect();
        assert_eq!(actions.len(), ROUTES.len());
        assert!(actions.iter().all(|name| name.starts_with("admin:")));
    }

    #[test]
    fn the_parameters_of_a_path_come_in_their_order() {
        let path = "/api/v1/users/anna/policies/readonly";
        let detach = Route::DetachPolicy("anna".to_owned(), "readonly".to_owned());
        assert_eq!(parse("DELETE", path), Ok(detach));
        let refused = parse("GET", path);
        assert_eq!(refused, Err(RouteError::MethodNotAllowed { allow: "DELETE" }));
        assert_eq!(parse("PUT", "/api/v1/users"), Err(RouteError::MethodNotAllowed { allow: "GET, POST" }));
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
