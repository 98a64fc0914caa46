//! `GetObjectTagging`: no object has tags yet.

use super::version::check_exists;
use crate::s3::error::S3Error;
use crate::s3::operations::Operations;
use crate::s3::request::S3Request;
use crate::s3::response::S3Response;
use crate::s3::xml::XmlWriter;

pub(in crate::s3) async fn get_tagging(
    operations: &Operations,
    request: S3Request,
) -> Result<S3Response, S3Error> {
    check_exists(operations, request).await?;
    Ok(S3Response::xml(XmlWriter::document("Tagging", |w| w.element("TagSet", |_| {}))))
}
