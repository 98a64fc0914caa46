//! The parsers of this door, each on its corpus and mutations of it.

use super::identity::page;
use super::input::{NewKey, NewPolicy, NewStatus, NewTenant, NewUser, parse, parse_secret};
use super::route::Route;
use crate::fuzz::{Bound, check, targets};
use crate::s3::request::Query;
use http::Method;

targets![bodies, targets_of_requests];

fn bodies() {
    check("console-json", Bound::USUAL, |input| {
        parse::<NewUser>(input).is_ok()
            || parse::<NewTenant>(input).is_ok()
            || parse::<NewStatus>(input).is_ok()
            || parse_secret::<NewKey>(input).is_ok()
            || parse::<NewPolicy>(input).is_ok()
    });
}

fn targets_of_requests() {
    check("console-target", Bound::USUAL, |input| {
        let Some((method, target)) = std::str::from_utf8(input).ok().and_then(|text| text.split_once(' '))
        else {
            return false;
        };
        let Ok(method) = Method::from_bytes(method.as_bytes()) else { return false };
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let Ok(query) = Query::parse(query) else { return false };
        let page = page(&query);
        Route::parse(&method, path).is_ok() && page.is_ok_and(|(_, limit)| (1..=1000).contains(&limit))
    });
}
