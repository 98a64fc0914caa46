//! `GetObjectAttributes`.

use super::get::shown;
use super::version::{FoundObject, find_object};
use crate::s3::date::HttpDate;
use crate::s3::error::{S3Error, S3ErrorCode};
use crate::s3::headers::{put_version, refuse_customer_keys};
use crate::s3::operations::Operations;
use crate::s3::request::S3Request;
use crate::s3::response::S3Response;
use crate::s3::xml::object::{Attributes, ObjectParts, PartsShown, attributes_result};
use http::HeaderMap;
use http::header::LAST_MODIFIED;
use siltstone_projections::rows::ObjectRow;

/// The most parts on a page, and how many there are where the client does not say.
const MAX_PARTS: u64 = 1000;

/// Something of an object that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attribute {
    Etag,
    Checksum,
    Parts,
    StorageClass,
    Size,
}

const ATTRIBUTES: [(&str, Attribute); 5] = [
    ("ETag", Attribute::Etag),
    ("Checksum", Attribute::Checksum),
    ("ObjectParts", Attribute::Parts),
    ("StorageClass", Attribute::StorageClass),
    ("ObjectSize", Attribute::Size),
];

/// Which page of the parts is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct PartsPage {
    marker: u16,
    max: u64,
}

pub(in crate::s3) async fn attributes(
    operations: &Operations,
    request: S3Request,
) -> Result<S3Response, S3Error> {
    refuse_customer_keys(&request.headers)?;
    let asked = parse_attributes(&request.headers)?;
    let page = PartsPage {
        // No part has a greater number, so nothing is behind a greater marker.
        marker: u16::try_from(number(&request, "x-amz-part-number-marker")?.unwrap_or(0)).unwrap_or(u16::MAX),
        max: number(&request, "x-amz-max-parts")?.unwrap_or(MAX_PARTS).min(MAX_PARTS),
    };
    let (_, FoundObject { row, version }) = operations.look_up(request, find_object).await?;
    let document = attributes_result(&answer(&row, &asked, page));
    let mut response = S3Response::xml(document).header(LAST_MODIFIED, shown(HttpDate(row.hlc)));
    put_version(version, &mut response.headers);
    Ok(response)
}

fn answer<'a>(row: &'a ObjectRow, asked: &[Attribute], page: PartsPage) -> Attributes<'a> {
    let mut answer = Attributes::default();
    for attribute in asked {
        match attribute {
            Attribute::Etag => answer.etag = Some(&row.etag),
            Attribute::Checksum => answer.checksum = Some((&row.checksums, row.parts.len())),
            Attribute::Parts => answer.parts = parts(row, page),
            Attribute::StorageClass => answer.storage_class = Some("STANDARD"),
            Attribute::Size => answer.size = Some(row.size),
        }
    }
    answer
}

/// The parts of an object that was made of parts; S3 names them one by one where the object has a checksum.
fn parts(row: &ObjectRow, page: PartsPage) -> Option<ObjectParts<'_>> {
    if row.parts.is_empty() {
        return None;
    }
    let PartsPage { marker, max } = page;
    // The parts are in order of their numbers.
    let first = row.parts.partition_point(|part| part.number <= marker);
    let behind = row.parts.get(first..).unwrap_or_default();
    let count = usize::try_from(max).unwrap_or(usize::MAX).min(behind.len());
    let (shown, rest) = behind.split_at(count);
    let shown = PartsShown { marker, max, parts: shown, truncated: !rest.is_empty() };
    Some(ObjectParts { count: row.parts.len(), page: (!row.checksums.is_empty()).then_some(shown) })
}

/// Reads `x-amz-object-attributes`: a list, in one header or several.
fn parse_attributes(headers: &HeaderMap) -> Result<Vec<Attribute>, S3Error> {
    const NAME: &str = "x-amz-object-attributes";
    let mut asked = Vec::new();
    for value in headers.get_all(NAME) {
        let text = String::from_utf8_lossy(value.as_bytes());
        for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            let known = ATTRIBUTES.iter().find(|(known, _)| *known == name);
            let (_, attribute) = known
                .ok_or_else(|| S3Error::invalid_argument(NAME, name, "Invalid attribute name specified."))?;
            asked.push(*attribute);
        }
    }
    if asked.is_empty() {
        let message = "The x-amz-object-attributes header specifying the attributes to be retrieved is either \
                       missing or empty";
        return Err(S3Error::with_message(S3ErrorCode::InvalidRequest, message));
    }
    Ok(asked)
}

fn number(request: &S3Request, name: &'static str) -> Result<Option<u64>, S3Error> {
    let Some(text) = request.header(name)? else { return Ok(None) };
    let most = i32::MAX.unsigned_abs().into();
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = if plain { text.parse().ok() } else { None };
    number.filter(|number| *number <= most).map(Some).ok_or_else(|| {
        S3Error::invalid_argument(
            name,
            text,
            format!("Provided {name} not an integer or within integer range"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn parse(values: &[&'static str]) -> Result<Vec<Attribute>, S3ErrorCode> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append("x-amz-object-attributes", HeaderValue::from_static(value));
        }
        parse_attributes(&headers).map_err(|error| error.code)
    }

    #[test]
    fn attributes_come_in_a_list_or_in_several_headers() {
        let both = Ok(vec![Attribute::Etag, Attribute::Size]);
        assert_eq!(parse(&["ETag,ObjectSize"]), both);
        assert_eq!(parse(&["ETag", " ObjectSize , "]), both);
        assert_eq!(parse(&["ETag,Colour"]), Err(S3ErrorCode::InvalidArgument));
        assert_eq!(parse(&["etag"]), Err(S3ErrorCode::InvalidArgument));
        assert_eq!(parse(&[]), Err(S3ErrorCode::InvalidRequest));
        assert_eq!(parse(&[""]), Err(S3ErrorCode::InvalidRequest));
    }
}
