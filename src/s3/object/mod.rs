//! Operations on objects.

mod acl;
mod attributes;
mod copy;
mod delete;
mod delete_many;
mod get;
mod part;
mod put;
mod tagging;
mod version;

pub(super) use acl::{get_acl, put_acl};
pub(super) use attributes::attributes;
pub(super) use copy::copy;
pub(super) use delete::delete;
pub(super) use delete_many::delete_many;
pub(super) use get::{get, head};
pub(super) use put::put;
pub(super) use tagging::{delete_tagging, get_tagging, put_tagging};
