//! The parameters of listings, and the tokens that continue them.

mod versions;

pub use versions::ListVersionsParams;

use super::error::S3Error;
use super::request::Query;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use siltstone_log::id::UploadId;
use siltstone_projections::multipart::UploadMarker;
use siltstone_projections::objects::After;
use std::borrow::Cow;

/// The most entries of one page of keys, uploads or parts.
pub const MAX_ENTRIES: u32 = 1000;
/// The most buckets of one page.
pub const MAX_BUCKETS: u32 = 10_000;

/// Where a page of `ListObjects` begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListVersion {
    /// `ListObjects`, with its `marker` as given.
    V1 {
        /// As given.
        marker: Option<String>,
    },
    /// `ListObjectsV2`.
    V2 {
        /// The token as given.
        token: Option<String>,
        /// Where it says to go on.
        resume: Option<After>,
        /// As given.
        start_after: Option<String>,
        /// Whether entries name their owner.
        fetch_owner: bool,
    },
}

/// The parameters of `ListObjects` and `ListObjectsV2`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListObjectsParams {
    /// Keys begin with it.
    pub prefix: String,
    /// Keys with the same text up to its first occurrence behind the prefix count as one entry. Never empty.
    pub delimiter: Option<String>,
    /// The most entries, at most [`MAX_ENTRIES`].
    pub max_keys: u32,
    /// Whether keys are shown percent-encoded.
    pub url_encoding: bool,
    /// What differs between the two.
    pub version: ListVersion,
}

impl ListObjectsParams {
    /// Reads the parameters of `ListObjects`.
    pub fn parse_v1(query: &Query) -> Result<Self, S3Error> {
        Self::parse(query, ListVersion::V1 { marker: owned(query.get("marker")) })
    }

    /// Reads the parameters of `ListObjectsV2`.
    pub fn parse_v2(query: &Query) -> Result<Self, S3Error> {
        let token = query.get("continuation-token");
        let version = ListVersion::V2 {
            token: owned(token),
            // An empty token is no token, as in S3.
            resume: token.filter(|token| !token.is_empty()).map(parse_token).transpose()?,
            start_after: owned(query.get("start-after")),
            fetch_owner: query.get("fetch-owner").is_some_and(|value| value.eq_ignore_ascii_case("true")),
        };
        Self::parse(query, version)
    }

    fn parse(query: &Query, version: ListVersion) -> Result<Self, S3Error> {
        Ok(Self {
            prefix: query.get("prefix").unwrap_or_default().to_owned(),
            delimiter: owned(query.get("delimiter").filter(|delimiter| !delimiter.is_empty())),
            max_keys: count(query, "max-keys")?,
            url_encoding: url_encoding(query)?,
            version,
        })
    }

    /// Where the page begins.
    pub fn after(&self) -> Option<After> {
        match &self.version {
            ListVersion::V1 { marker } => {
                let marker = marker.as_ref().filter(|marker| !marker.is_empty())?;
                if is_common_prefix(marker, &self.prefix, self.delimiter.as_deref()) {
                    return Some(After::Prefix(marker.clone()));
                }
                Some(After::Key(marker.clone()))
            }
            ListVersion::V2 { resume, start_after, .. } => {
                let start_after = start_after.clone().filter(|after| !after.is_empty());
                resume.clone().or(start_after.map(After::Key))
            }
        }
    }
}

/// Whether a marker is a common prefix of this listing. One that is was the last entry of the page before, and its
/// keys are behind us; as a plain key it would come before them all, and the same page would be listed for ever.
fn is_common_prefix(marker: &str, prefix: &str, delimiter: Option<&str>) -> bool {
    let rest = marker.strip_prefix(prefix).zip(delimiter);
    rest.is_some_and(|(rest, delimiter)| {
        rest.find(delimiter).is_some_and(|at| at + delimiter.len() == rest.len())
    })
}

/// The parameters of `ListMultipartUploads`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListUploadsParams {
    /// Keys begin with it.
    pub prefix: String,
    /// As in [`ListObjectsParams`].
    pub delimiter: Option<String>,
    /// Uploads of keys behind this one, and with [`Self::upload_id_marker`] further ones of this key.
    pub key_marker: Option<String>,
    /// Uploads of the marked key behind this one.
    pub upload_id_marker: Option<UploadId>,
    /// The most entries, at most [`MAX_ENTRIES`].
    pub max_uploads: u32,
    /// Whether keys are shown percent-encoded.
    pub url_encoding: bool,
}

impl ListUploadsParams {
    /// Reads the parameters.
    pub fn parse(query: &Query) -> Result<Self, S3Error> {
        let key_marker = owned(query.get("key-marker").filter(|marker| !marker.is_empty()));
        // Without a key the upload's marker means nothing, and S3 ignores it.
        let upload_id_marker =
            query.get("upload-id-marker").filter(|id| !id.is_empty() && key_marker.is_some());
        let upload_id_marker = upload_id_marker.map(|id| {
            let refusal = || S3Error::invalid_argument("upload-id-marker", id, "Invalid uploadId marker");
            UploadId::parse(id).map_err(|_| refusal())
        });
        Ok(Self {
            prefix: query.get("prefix").unwrap_or_default().to_owned(),
            delimiter: owned(query.get("delimiter").filter(|delimiter| !delimiter.is_empty())),
            key_marker,
            upload_id_marker: upload_id_marker.transpose()?,
            max_uploads: count(query, "max-uploads")?,
            url_encoding: url_encoding(query)?,
        })
    }

    /// Where the page begins.
    pub fn after(&self) -> Option<UploadMarker> {
        let key = self.key_marker.clone()?;
        Some(match self.upload_id_marker {
            Some(upload) => UploadMarker::Upload(key, upload),
            None if is_common_prefix(&key, &self.prefix, self.delimiter.as_deref()) => {
                UploadMarker::Prefix(key)
            }
            None => UploadMarker::Key(key),
        })
    }
}

/// The parameters of `ListParts`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListPartsParams {
    /// Parts with greater numbers.
    pub part_number_marker: u32,
    /// The most entries, at most [`MAX_ENTRIES`].
    pub max_parts: u32,
    /// Whether the key is shown percent-encoded.
    pub url_encoding: bool,
}

impl ListPartsParams {
    /// Reads the parameters.
    pub fn parse(query: &Query) -> Result<Self, S3Error> {
        Ok(Self {
            part_number_marker: number(query, "part-number-marker")?.unwrap_or(0),
            max_parts: count(query, "max-parts")?,
            url_encoding: url_encoding(query)?,
        })
    }
}

/// The parameters of `ListBuckets`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListBucketsParams {
    /// Names begin with it.
    pub prefix: Option<String>,
    /// Only buckets of this region.
    pub region: Option<String>,
    /// The name that the page begins behind.
    pub after: Option<String>,
    /// The most buckets, 1 to [`MAX_BUCKETS`].
    pub max_buckets: u32,
}

impl ListBucketsParams {
    /// Reads the parameters.
    pub fn parse(query: &Query) -> Result<Self, S3Error> {
        let token = query.get("continuation-token").filter(|token| !token.is_empty());
        let max_buckets = match number(query, "max-buckets")? {
            None => MAX_BUCKETS,
            Some(max @ 1..=MAX_BUCKETS) => max,
            Some(other) => {
                let message = "Argument max-buckets must be an integer between 1 and 10000";
                return Err(S3Error::invalid_argument("max-buckets", other.to_string(), message));
            }
        };
        Ok(Self {
            prefix: owned(query.get("prefix").filter(|prefix| !prefix.is_empty())),
            region: owned(query.get("bucket-region").filter(|region| !region.is_empty())),
            after: token
                .map(|token| parse_token(token).map(|(After::Key(name) | After::Prefix(name))| name))
                .transpose()?,
            max_buckets,
        })
    }
}

fn owned(value: Option<&str>) -> Option<String> {
    value.map(str::to_owned)
}

/// A page's size: [`MAX_ENTRIES`] where it is absent or greater.
fn count(query: &Query, name: &'static str) -> Result<u32, S3Error> {
    Ok(number(query, name)?.map_or(MAX_ENTRIES, |count| count.min(MAX_ENTRIES)))
}

/// A number of S3's integer range.
fn number(query: &Query, name: &'static str) -> Result<Option<u32>, S3Error> {
    let Some(text) = query.get(name).filter(|text| !text.is_empty()) else { return Ok(None) };
    match text.parse::<i32>().map(u32::try_from) {
        Ok(Ok(number)) => Ok(Some(number)),
        Ok(Err(_)) => {
            let message = format!("Argument {name} must be an integer between 0 and 2147483647");
            Err(S3Error::invalid_argument(name, text, message))
        }
        Err(_) => {
            let message = format!("Provided {name} not an integer or within integer range");
            Err(S3Error::invalid_argument(name, text, message))
        }
    }
}

fn url_encoding(query: &Query) -> Result<bool, S3Error> {
    match query.get("encoding-type") {
        None | Some("") => Ok(false),
        Some(kind) if kind.eq_ignore_ascii_case("url") => Ok(true),
        Some(other) => Err(S3Error::invalid_argument(
            "encoding-type",
            other,
            "Invalid Encoding Method specified in Request",
        )),
    }
}

/// The first byte of a token that goes on after a key, and of one that goes on after a common prefix.
const AFTER_KEY: u8 = 1;
const AFTER_PREFIX: u8 = 2;
const TOKEN_CHECK_BYTES: usize = 8;

fn token_check(kind: u8, after: &str) -> [u8; TOKEN_CHECK_BYTES] {
    let mut hasher = blake3::Hasher::new_derive_key("siltstone 2026 listing continuation token");
    hasher.update(&[kind]).update(after.as_bytes());
    hasher.finalize().as_bytes().first_chunk().copied().unwrap_or_default()
}

/// The token that continues a listing. It has a form of its own with a check sum, so that a token which this server
/// did not make is found out instead of listing from a random place.
pub fn make_token(after: &After) -> String {
    let (kind, after) = match after {
        After::Key(key) => (AFTER_KEY, key),
        After::Prefix(prefix) => (AFTER_PREFIX, prefix),
    };
    let mut bytes = Vec::with_capacity(1 + TOKEN_CHECK_BYTES + after.len());
    bytes.push(kind);
    bytes.extend_from_slice(&token_check(kind, after));
    bytes.extend_from_slice(after.as_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

fn parse_token(token: &str) -> Result<After, S3Error> {
    let after = || {
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (kind, rest) = bytes.split_first()?;
        let (check, after) = rest.split_first_chunk::<TOKEN_CHECK_BYTES>()?;
        let after = std::str::from_utf8(after).ok()?;
        match *kind {
            _ if *check != token_check(*kind, after) => None,
            AFTER_KEY => Some(After::Key(after.to_owned())),
            AFTER_PREFIX => Some(After::Prefix(after.to_owned())),
            _ => None,
        }
    };
    after().ok_or_else(|| {
        S3Error::invalid_argument("continuation-token", token, "The continuation token provided is incorrect")
    })
}

/// What S3 leaves as it is in `encoding-type=url`.
const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/');

/// A key as a listing shows it.
pub fn encode_key(key: &str, url_encoding: bool) -> Cow<'_, str> {
    if url_encoding { percent_encode(key.as_bytes(), KEPT).into() } else { Cow::Borrowed(key) }
}

#[cfg(test)]
mod tests;
