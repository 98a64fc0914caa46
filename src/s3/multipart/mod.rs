//! Operations on multipart uploads.

mod abort;
mod complete;
mod create;
mod list_parts;
mod list_uploads;
mod upload;
mod upload_part;

pub(super) use abort::abort;
pub(super) use complete::complete;
pub(super) use create::create;
pub(super) use list_parts::list_parts;
pub(super) use list_uploads::list_uploads;
pub(super) use upload_part::upload_part;
