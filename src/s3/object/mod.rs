//! Operations on objects.

mod acl;
mod delete;
mod delete_many;
mod get;
mod put;
mod tagging;
mod version;

pub(super) use acl::{get_acl, put_acl};
pub(super) use delete::delete;
pub(super) use delete_many::delete_many;
pub(super) use get::{get, head};
pub(super) use put::put;
pub(super) use tagging::{delete_tagging, get_tagging, put_tagging};
