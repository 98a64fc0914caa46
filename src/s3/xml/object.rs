//! Documents of single objects.

use super::multipart::write_checksums;
use super::writer::XmlWriter;
use crate::s3::date::Iso8601;
use crate::s3::headers::checksum_kind_name;
use bytes::Bytes;
use siltstone_log::event::{Checksum, PartSize};
use siltstone_log::hlc::Hlc;

/// `CopyObjectResult`.
pub fn copy_object_result(modified: Hlc, etag: &str, checksums: &[Checksum]) -> Bytes {
    XmlWriter::document("CopyObjectResult", |w| {
        w.plain("LastModified", Iso8601(modified));
        w.etag(etag);
        write_checksums(w, checksums, 0);
        write_kind(w, checksums);
    })
}

/// `CopyPartResult`.
pub fn copy_part_result(modified: Hlc, etag: &str, checksums: &[Checksum]) -> Bytes {
    XmlWriter::document("CopyPartResult", |w| {
        w.plain("LastModified", Iso8601(modified));
        w.etag(etag);
        write_checksums(w, checksums, 0);
    })
}

fn write_kind(w: &mut XmlWriter, checksums: &[Checksum]) {
    if let Some(checksum) = checksums.first() {
        w.plain("ChecksumType", checksum_kind_name(checksum.kind));
    }
}

/// A page of an object's parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectParts<'a> {
    /// All the parts there are.
    pub count: usize,
    /// The parts themselves, which S3 shows only where they have checksums.
    pub page: Option<PartsShown<'a>>,
}

/// The parts of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartsShown<'a> {
    /// The number after which the page begins.
    pub marker: u16,
    /// The most parts of a page.
    pub max: u64,
    /// The parts in order.
    pub parts: &'a [PartSize],
    /// Whether more follow.
    pub truncated: bool,
}

/// What was asked for of an object.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Attributes<'a> {
    /// Its ETag without quotes, which this document has none of either.
    pub etag: Option<&'a str>,
    /// Its checksums, and how many parts they cover.
    pub checksum: Option<(&'a [Checksum], usize)>,
    /// Its parts.
    pub parts: Option<ObjectParts<'a>>,
    /// Its storage class.
    pub storage_class: Option<&'static str>,
    /// Its bytes.
    pub size: Option<u64>,
}

/// `GetObjectAttributesResponse`.
pub fn attributes_result(attributes: &Attributes<'_>) -> Bytes {
    XmlWriter::document("GetObjectAttributesResponse", |w| {
        w.optional_text("ETag", attributes.etag);
        if let Some((checksums, parts)) = attributes.checksum.filter(|(checksums, _)| !checksums.is_empty()) {
            w.element("Checksum", |w| {
                write_checksums(w, checksums, parts);
                write_kind(w, checksums);
            });
        }
        if let Some(parts) = &attributes.parts {
            w.element("ObjectParts", |w| write_parts(w, parts));
        }
        w.optional_text("StorageClass", attributes.storage_class);
        if let Some(size) = attributes.size {
            w.plain("ObjectSize", size);
        }
    })
}

fn write_parts(w: &mut XmlWriter, parts: &ObjectParts<'_>) {
    w.plain("PartsCount", parts.count);
    let Some(page) = &parts.page else { return };
    w.plain("PartNumberMarker", page.marker);
    if let Some(last) = page.parts.last() {
        w.plain("NextPartNumberMarker", last.number);
    }
    w.plain("MaxParts", page.max);
    w.plain("IsTruncated", page.truncated);
    for part in page.parts {
        w.element("Part", |w| {
            w.plain("PartNumber", part.number);
            w.plain("Size", part.size);
            write_checksums(w, &part.checksums, 0);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::xml::writer::{DECLARATION, NAMESPACE};
    use siltstone_log::event::{ChecksumAlgorithm, ChecksumKind};

    fn crc(kind: ChecksumKind) -> Vec<Checksum> {
        vec![Checksum { algorithm: ChecksumAlgorithm::Crc32, kind, value: vec![0, 0, 0, 1] }]
    }

    #[test]
    fn results_of_copies_show_time_etag_and_checksums() {
        let checksums = crc(ChecksumKind::FullObject);
        let time = Hlc::from_millis(1_255_369_830_007);
        let inner = "<LastModified>2009-10-12T17:50:30.007Z</LastModified><ETag>&quot;e&quot;</ETag>\
                     <ChecksumCRC32>AAAAAQ==</ChecksumCRC32>";
        let kind = "<ChecksumType>FULL_OBJECT</ChecksumType>";
        let expected =
            format!("{DECLARATION}<CopyObjectResult xmlns=\"{NAMESPACE}\">{inner}{kind}</CopyObjectResult>");
        assert_eq!(copy_object_result(time, "e", &checksums), expected);
        let expected = format!("{DECLARATION}<CopyPartResult xmlns=\"{NAMESPACE}\">{inner}</CopyPartResult>");
        assert_eq!(copy_part_result(time, "e", &checksums), expected);
    }

    #[test]
    fn attributes_hold_what_was_asked_for() {
        let composite = crc(ChecksumKind::Composite);
        let parts = [PartSize { number: 3, size: 9, checksums: crc(ChecksumKind::FullObject) }];
        let attributes = Attributes {
            etag: Some("e-2"),
            checksum: Some((&composite, 2)),
            parts: Some(ObjectParts {
                count: 2,
                page: Some(PartsShown { marker: 1, max: 1, parts: &parts, truncated: true }),
            }),
            storage_class: Some("STANDARD"),
            size: Some(12),
        };
        let expected = format!(
            "{DECLARATION}<GetObjectAttributesResponse xmlns=\"{NAMESPACE}\"><ETag>e-2</ETag><Checksum>\
             <ChecksumCRC32>AAAAAQ==-2</ChecksumCRC32><ChecksumType>COMPOSITE</ChecksumType></Checksum>\
             <ObjectParts><PartsCount>2</PartsCount><PartNumberMarker>1</PartNumberMarker>\
             <NextPartNumberMarker>3</NextPartNumberMarker><MaxParts>1</MaxParts><IsTruncated>true</IsTruncated>\
             <Part><PartNumber>3</PartNumber><Size>9</Size><ChecksumCRC32>AAAAAQ==</ChecksumCRC32></Part>\
             </ObjectParts><StorageClass>STANDARD</StorageClass><ObjectSize>12</ObjectSize>\
             </GetObjectAttributesResponse>"
        );
        assert_eq!(attributes_result(&attributes), expected);
        let none = format!(
            "{DECLARATION}<GetObjectAttributesResponse xmlns=\"{NAMESPACE}\"></GetObjectAttributesResponse>"
        );
        assert_eq!(attributes_result(&Attributes::default()), none);
    }
}
