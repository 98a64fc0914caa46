//! `GetObjectTagging`: no object has tags yet.

use super::version::find_object;
use crate::s3::error::S3Error;
use crate::s3::operations::Operations;
use crate::s3::request::S3Request;
use crate::s3::response::S3Response;
use crate::s3::xml::XmlWriter;

pub(in crate::s3) fn get_tagging(
    operations: &Operations,
    request: &S3Request,
) -> Result<S3Response, S3Error> {
    find_object(operations, request)?;
    Ok(S3Response::xml(XmlWriter::document("Tagging", |w| w.element("TagSet", |_| {}))))
}
