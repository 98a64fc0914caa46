//! Operations on multipart uploads.

mod abort;
mod complete;
mod copy_part;
mod create;
mod list_parts;
mod list_uploads;
mod upload;
mod upload_part;

pub(super) use abort::abort;
pub(super) use complete::complete;
pub(super) use copy_part::copy_part;
pub(super) use create::create;
pub(super) use list_parts::list_parts;
pub(super) use list_uploads::list_uploads;
pub(super) use upload_part::{part_number, upload_part};
