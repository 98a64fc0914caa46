use super::{count, is_common_prefix, owned, url_encoding};
use crate::s3::error::S3Error;
use crate::s3::request::Query;
use siltstone_log::id::VersionRef;
use siltstone_log::name::ObjectKey;
use siltstone_projections::versions::VersionMarker;

/// The parameters of `ListObjectVersions`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListVersionsParams {
    /// Keys begin with it.
    pub prefix: String,
    /// As in [`super::ListObjectsParams`].
    pub delimiter: Option<String>,
    /// Versions of keys behind this one, and with [`Self::version_id_marker`] further ones of this key.
    pub key_marker: Option<String>,
    /// Versions of the marked key behind this one.
    pub version_id_marker: Option<VersionRef>,
    /// The most entries, at most [`super::MAX_ENTRIES`].
    pub max_keys: u32,
    /// Whether keys are shown percent-encoded.
    pub url_encoding: bool,
}

impl ListVersionsParams {
    /// Reads the parameters.
    pub fn parse(query: &Query) -> Result<Self, S3Error> {
        let key_marker = owned(query.get("key-marker").filter(|marker| !marker.is_empty()));
        let marker = query.get("version-id-marker");
        let refused =
            |id: &str, message: &'static str| S3Error::invalid_argument("version-id-marker", id, message);
        let version_id_marker = match (marker, &key_marker) {
            (None, _) => None,
            (Some(""), _) => return Err(refused("", "A version-id marker cannot be empty.")),
            (Some(id), None) => {
                return Err(refused(id, "A version-id marker cannot be specified without a key marker."));
            }
            (Some(id), Some(_)) => {
                Some(VersionRef::parse(id).map_err(|_| refused(id, "Invalid version id specified"))?)
            }
        };
        Ok(Self {
            prefix: query.get("prefix").unwrap_or_default().to_owned(),
            delimiter: owned(query.get("delimiter").filter(|delimiter| !delimiter.is_empty())),
            key_marker,
            version_id_marker,
            max_keys: count(query, "max-keys")?,
            url_encoding: url_encoding(query)?,
        })
    }

    /// Where the page begins.
    pub fn after(&self) -> Option<VersionMarker> {
        let key = self.key_marker.clone()?;
        Some(match self.version_id_marker.zip(ObjectKey::parse(key.as_str()).ok()) {
            Some((version, key)) => VersionMarker::Version(key, version),
            None if is_common_prefix(&key, &self.prefix, self.delimiter.as_deref()) => {
                VersionMarker::Prefix(key)
            }
            // A key that is too long has no versions, but keys are behind it all the same.
            None => VersionMarker::Key(key),
        })
    }
}
