//! Operations on a bucket.

mod acl;
mod configuration;
mod create;
mod delete;
mod head;
mod list;
mod list_versions;
mod location;
mod tagging;
mod versioning;

pub(super) use acl::{accept_private, get_acl, put_acl};
pub(super) use configuration::configuration;
pub(super) use create::create;
pub(super) use delete::delete;
pub(super) use head::head;
pub(super) use list::{list, list_v2};
pub(super) use list_versions::list_versions;
pub(super) use location::location;
pub(super) use tagging::{delete_tagging, get_tagging, put_tagging};
pub(super) use versioning::{get_versioning, put_versioning};
