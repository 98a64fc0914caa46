//! `ListVersionsResult`, and the configuration that keeps versions.

use super::Owner;
use super::reader::{XmlError, XmlReader, once};
use super::writer::XmlWriter;
use crate::s3::body::checksum::wire_name;
use crate::s3::date::Iso8601;
use crate::s3::headers::checksum_kind_name;
use crate::s3::list_params::{ListVersionsParams, encode_key};
use bytes::Bytes;
use siltstone_log::event::Versioning;
use siltstone_projections::rows::VersionSummary;
use siltstone_projections::versions::{VersionEntry, VersionPage};

/// The body of `PutBucketVersioning`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VersioningConfiguration {
    /// What is asked for; none where the document does not say.
    pub status: Option<Versioning>,
    /// Whether deleting a version is to need a second factor.
    pub mfa_delete: bool,
}

impl VersioningConfiguration {
    /// Reads the document.
    pub fn parse(body: &[u8]) -> Result<Self, XmlError> {
        let mut reader = XmlReader::root(body, &["VersioningConfiguration"])?;
        let (mut status, mut mfa_delete) = (None, None);
        while let Some(name) = reader.child()? {
            match name.as_str() {
                "Status" => {
                    let value = match reader.text()?.trim() {
                        "Enabled" => Versioning::Enabled,
                        "Suspended" => Versioning::Suspended,
                        _ => return Err(XmlError::InvalidValue),
                    };
                    once(&mut status, value)?;
                }
                "MfaDelete" => {
                    let value = match reader.text()?.trim() {
                        "Enabled" => true,
                        "Disabled" => false,
                        _ => return Err(XmlError::InvalidValue),
                    };
                    once(&mut mfa_delete, value)?;
                }
                _ => return Err(XmlError::Unexpected),
            }
        }
        reader.finish()?;
        Ok(Self { status, mfa_delete: mfa_delete.unwrap_or(false) })
    }
}

/// `VersioningConfiguration`; empty for a bucket that never kept versions.
pub fn versioning_configuration(versioning: Versioning) -> Bytes {
    let status = match versioning {
        Versioning::Unversioned => None,
        Versioning::Enabled => Some("Enabled"),
        Versioning::Suspended => Some("Suspended"),
    };
    XmlWriter::document("VersioningConfiguration", |w| w.optional_text("Status", status))
}

/// A page of versions.
#[derive(Debug)]
pub struct VersionsPage<'a> {
    /// The bucket's name.
    pub bucket: &'a str,
    /// What was asked for.
    pub params: &'a ListVersionsParams,
    /// Who owns everything in the bucket.
    pub owner: &'a Owner,
    /// The entries.
    pub page: &'a VersionPage,
}

impl VersionsPage<'_> {
    /// Renders the page.
    pub fn render(&self) -> Bytes {
        // What a version's fixed parts take, and room for a key; a page is then built in one allocation.
        let capacity = 1024 + self.page.entries.len() * 480;
        XmlWriter::with_capacity(capacity, "ListVersionsResult", |w| {
            self.head(w);
            for entry in &self.page.entries {
                if let VersionEntry::Version { key, version, latest } = entry {
                    self.version(w, key, version, *latest);
                }
            }
            for entry in &self.page.entries {
                if let VersionEntry::Prefix(prefix) = entry {
                    w.element("CommonPrefixes", |w| self.key(w, "Prefix", prefix));
                }
            }
        })
    }

    fn key(&self, w: &mut XmlWriter, name: &str, key: &str) {
        w.text(name, &encode_key(key, self.params.url_encoding));
    }

    fn head(&self, w: &mut XmlWriter) {
        let params = self.params;
        w.text("Name", self.bucket);
        self.key(w, "Prefix", &params.prefix);
        self.key(w, "KeyMarker", params.key_marker.as_deref().unwrap_or_default());
        let marker = params.version_id_marker.map(|version| version.to_string());
        w.text("VersionIdMarker", marker.as_deref().unwrap_or_default());
        match self.page.entries.last().filter(|_| self.page.more) {
            Some(VersionEntry::Version { key, version, .. }) => {
                self.key(w, "NextKeyMarker", key);
                w.plain("NextVersionIdMarker", version.version());
            }
            Some(VersionEntry::Prefix(prefix)) => self.key(w, "NextKeyMarker", prefix),
            None => {}
        }
        w.plain("MaxKeys", params.max_keys);
        if let Some(delimiter) = &params.delimiter {
            self.key(w, "Delimiter", delimiter);
        }
        if params.url_encoding {
            w.plain("EncodingType", "url");
        }
        w.plain("IsTruncated", self.page.more);
    }

    fn version(&self, w: &mut XmlWriter, key: &str, version: &VersionSummary, latest: bool) {
        let name = match version {
            VersionSummary::Object(_) => "Version",
            VersionSummary::Marker(_) => "DeleteMarker",
        };
        w.element(name, |w| {
            self.key(w, "Key", key);
            w.plain("VersionId", version.version());
            w.plain("IsLatest", latest);
            w.plain("LastModified", Iso8601(version.at().hlc));
            if let VersionSummary::Object(object) = version {
                w.etag(&object.etag);
                for checksum in &object.checksums {
                    w.plain("ChecksumAlgorithm", wire_name(checksum.algorithm));
                }
                if let Some(checksum) = object.checksums.first() {
                    w.plain("ChecksumType", checksum_kind_name(checksum.kind));
                }
                w.plain("Size", object.size);
                w.plain("StorageClass", "STANDARD");
            }
            self.owner.write("Owner", w);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_what_aws_knows_configures_versioning() {
        let parse = |inner: &str| {
            let document = format!("<VersioningConfiguration>{inner}</VersioningConfiguration>");
            VersioningConfiguration::parse(document.as_bytes()).map(|it| (it.status, it.mfa_delete))
        };
        assert_eq!(parse("<Status>Enabled</Status>"), Ok((Some(Versioning::Enabled), false)));
        assert_eq!(
            parse("<MfaDelete>Disabled</MfaDelete><Status> Suspended </Status>"),
            Ok((Some(Versioning::Suspended), false))
        );
        assert_eq!(parse("<MfaDelete>Enabled</MfaDelete>"), Ok((None, true)));
        assert_eq!(parse(""), Ok((None, false)));
        for (inner, error) in [
            ("<Status>enabled</Status>", XmlError::InvalidValue),
            ("<Status/>", XmlError::InvalidValue),
            ("<MfaDelete>Suspended</MfaDelete>", XmlError::InvalidValue),
            ("<Status>Enabled</Status><Status>Enabled</Status>", XmlError::Unexpected),
            ("<Other/>", XmlError::Unexpected),
        ] {
            assert_eq!(parse(inner), Err(error), "{inner}");
        }
    }

    proptest! {
        #[test]
        fn any_body_is_read_or_refused_without_a_panic(body: Vec<u8>, inner in "(</?(Status|MfaDelete)>|Enabled|.){0,8}") {
            prop_assert!(VersioningConfiguration::parse(&body).is_err());
            let document = format!("<VersioningConfiguration>{inner}</VersioningConfiguration>");
            if let Ok(read) = VersioningConfiguration::parse(document.as_bytes()) {
                prop_assert!(read.status.is_none_or(|status| status != Versioning::Unversioned));
            }
        }
    }
}
