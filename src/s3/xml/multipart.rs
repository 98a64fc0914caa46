//! Documents of multipart uploads.

use super::Owner;
use super::reader::{XmlError, XmlReader, once};
use super::writer::XmlWriter;
use crate::engine::command;
use crate::s3::body::checksum::{ALGORITHMS, wire_name};
use crate::s3::date::Iso8601;
use crate::s3::headers::{checksum_element, checksum_kind_name, checksum_text, parse_checksum};
use crate::s3::list_params::{ListPartsParams, ListUploadsParams, encode_key};
use bytes::Bytes;
use siltstone_log::event::{Checksum, ChecksumAlgorithm, ChecksumKind};
use siltstone_log::hlc::Hlc;
use siltstone_log::id::UploadId;
use siltstone_projections::multipart::UploadMarker;

const MAX_PARTS: usize = command::MAX_PARTS as usize;

/// A part as the body of `CompleteMultipartUpload` names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompletedPart {
    /// Its number, not yet checked.
    pub number: u32,
    /// Its ETag without quotes.
    pub etag: String,
    /// The checksums it repeats, raw values.
    pub checksums: Vec<(ChecksumAlgorithm, Bytes)>,
}

/// Reads the body of `CompleteMultipartUpload`: at least one part.
pub fn parse_complete(body: &[u8]) -> Result<Vec<CompletedPart>, XmlError> {
    let mut reader = XmlReader::root(body, &["CompleteMultipartUpload"])?;
    let mut parts = Vec::new();
    while let Some(name) = reader.child()? {
        match name.as_str() {
            "Part" if parts.len() == MAX_PARTS => return Err(XmlError::TooMany),
            "Part" => parts.push(parse_part(&mut reader)?),
            _ => return Err(XmlError::Unexpected),
        }
    }
    reader.finish()?;
    if parts.is_empty() { Err(XmlError::Missing) } else { Ok(parts) }
}

fn parse_part(reader: &mut XmlReader<'_>) -> Result<CompletedPart, XmlError> {
    let (mut number, mut etag, mut checksums) = (None, None, Vec::new());
    while let Some(name) = reader.child()? {
        match name.as_str() {
            "PartNumber" => once(&mut number, reader.value()?)?,
            "ETag" => once(&mut etag, reader.text()?.trim().trim_matches('"').to_owned())?,
            other => {
                let algorithm = ALGORITHMS.into_iter().find(|a| checksum_element(*a) == other);
                let algorithm = algorithm.ok_or(XmlError::Unexpected)?;
                if checksums.iter().any(|(known, _)| *known == algorithm) {
                    return Err(XmlError::Unexpected);
                }
                let text = reader.text()?;
                // An empty element is how some clients write an absent checksum.
                if !text.trim().is_empty() {
                    let value = parse_checksum(algorithm, text.trim()).ok_or(XmlError::InvalidValue)?;
                    checksums.push((algorithm, Bytes::from(value)));
                }
            }
        }
    }
    let (number, etag) = number.zip(etag).ok_or(XmlError::Missing)?;
    Ok(CompletedPart { number, etag, checksums })
}

/// `InitiateMultipartUploadResult`.
pub fn initiate_result(bucket: &str, key: &str, upload: UploadId) -> Bytes {
    XmlWriter::document("InitiateMultipartUploadResult", |w| {
        w.text("Bucket", bucket);
        w.text("Key", key);
        w.plain("UploadId", upload);
    })
}

/// `CompleteMultipartUploadResult`.
pub fn complete_result(
    location: &str,
    bucket: &str,
    key: &str,
    etag: &str,
    (checksums, parts): (&[Checksum], usize),
) -> Bytes {
    XmlWriter::document("CompleteMultipartUploadResult", |w| {
        w.text("Location", location);
        w.text("Bucket", bucket);
        w.text("Key", key);
        w.etag(etag);
        write_checksums(w, checksums, parts);
        if let Some(checksum) = checksums.first() {
            w.plain("ChecksumType", checksum_kind_name(checksum.kind));
        }
    })
}

/// The checksums, each in an element of its own name.
pub(super) fn write_checksums(w: &mut XmlWriter, checksums: &[Checksum], parts: usize) {
    for checksum in checksums {
        w.plain(checksum_element(checksum.algorithm), checksum_text(checksum, parts));
    }
}

fn write_checksum_choice(w: &mut XmlWriter, checksum: Option<(ChecksumAlgorithm, ChecksumKind)>) {
    if let Some((algorithm, kind)) = checksum {
        w.plain("ChecksumAlgorithm", wire_name(algorithm));
        w.plain("ChecksumType", checksum_kind_name(kind));
    }
}

/// A part in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedPart {
    /// Its number.
    pub number: u16,
    /// When it arrived.
    pub modified: Hlc,
    /// Its ETag without quotes.
    pub etag: String,
    /// Bytes.
    pub size: u64,
    /// Its checksums.
    pub checksums: Vec<Checksum>,
}

/// A page of `ListParts`.
#[derive(Debug)]
pub struct PartsPage<'a> {
    /// The bucket's name.
    pub bucket: &'a str,
    /// The upload's key.
    pub key: &'a str,
    /// The upload.
    pub upload: UploadId,
    /// What was asked for.
    pub params: ListPartsParams,
    /// Who owns the bucket, and so the upload.
    pub owner: &'a Owner,
    /// The upload's checksum.
    pub checksum: Option<(ChecksumAlgorithm, ChecksumKind)>,
    /// The parts in order.
    pub parts: Vec<ListedPart>,
    /// Whether more follow.
    pub truncated: bool,
}

impl PartsPage<'_> {
    /// Renders the page.
    pub fn render(&self) -> Bytes {
        XmlWriter::with_capacity(1024 + self.parts.len() * 256, "ListPartsResult", |w| {
            w.text("Bucket", self.bucket);
            w.text("Key", &encode_key(self.key, self.params.url_encoding));
            w.plain("UploadId", self.upload);
            self.owner.write("Initiator", w);
            self.owner.write("Owner", w);
            w.plain("StorageClass", "STANDARD");
            w.plain("PartNumberMarker", self.params.part_number_marker);
            if let Some(last) = self.parts.last() {
                w.plain("NextPartNumberMarker", last.number);
            }
            w.plain("MaxParts", self.params.max_parts);
            if self.params.url_encoding {
                w.plain("EncodingType", "url");
            }
            w.plain("IsTruncated", self.truncated);
            write_checksum_choice(w, self.checksum);
            for part in &self.parts {
                w.element("Part", |w| {
                    w.plain("PartNumber", part.number);
                    w.plain("LastModified", Iso8601(part.modified));
                    w.etag(&part.etag);
                    w.plain("Size", part.size);
                    write_checksums(w, &part.checksums, 0);
                });
            }
        })
    }
}

/// An upload in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedUpload {
    /// Its key.
    pub key: String,
    /// The upload.
    pub upload: UploadId,
    /// When it began.
    pub initiated: Hlc,
    /// The checksum its parts carry.
    pub checksum: Option<(ChecksumAlgorithm, ChecksumKind)>,
}

/// A page of `ListMultipartUploads`.
#[derive(Debug)]
pub struct UploadsPage<'a> {
    /// The bucket's name.
    pub bucket: &'a str,
    /// What was asked for.
    pub params: &'a ListUploadsParams,
    /// Who owns the bucket, and so the uploads.
    pub owner: &'a Owner,
    /// The uploads in order.
    pub uploads: Vec<ListedUpload>,
    /// Common prefixes in order.
    pub common_prefixes: Vec<String>,
    /// Where the next page begins, if there is one.
    pub next: Option<UploadMarker>,
}

impl UploadsPage<'_> {
    /// Renders the page.
    pub fn render(&self) -> Bytes {
        let params = self.params;
        let key =
            |w: &mut XmlWriter, name: &str, key: &str| w.text(name, &encode_key(key, params.url_encoding));
        let upload_id = |id: Option<UploadId>| id.map(|id| id.to_string()).unwrap_or_default();
        XmlWriter::with_capacity(1024 + self.uploads.len() * 384, "ListMultipartUploadsResult", |w| {
            w.text("Bucket", self.bucket);
            key(w, "KeyMarker", params.key_marker.as_deref().unwrap_or_default());
            w.plain("UploadIdMarker", upload_id(params.upload_id_marker));
            let next = self.next.as_ref().map(|next| match next {
                UploadMarker::Upload(key, upload) => (key, Some(*upload)),
                UploadMarker::Key(key) | UploadMarker::Prefix(key) => (key, None),
            });
            if let Some((next_key, next_upload)) = next {
                key(w, "NextKeyMarker", next_key);
                w.plain("NextUploadIdMarker", upload_id(next_upload));
            }
            key(w, "Prefix", &params.prefix);
            if let Some(delimiter) = &params.delimiter {
                key(w, "Delimiter", delimiter);
            }
            w.plain("MaxUploads", params.max_uploads);
            if params.url_encoding {
                w.plain("EncodingType", "url");
            }
            w.plain("IsTruncated", self.next.is_some());
            for upload in &self.uploads {
                w.element("Upload", |w| {
                    key(w, "Key", &upload.key);
                    w.plain("UploadId", upload.upload);
                    self.owner.write("Initiator", w);
                    self.owner.write("Owner", w);
                    w.plain("StorageClass", "STANDARD");
                    w.plain("Initiated", Iso8601(upload.initiated));
                    write_checksum_choice(w, upload.checksum);
                });
            }
            for prefix in &self.common_prefixes {
                w.element("CommonPrefixes", |w| key(w, "Prefix", prefix));
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::request::Query;
    use proptest::prelude::*;

    const NS: &str = "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"";

    fn after_declaration(document: &Bytes) -> &str {
        std::str::from_utf8(document)
            .unwrap()
            .strip_prefix("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n")
            .unwrap()
    }

    fn owner() -> Owner {
        Owner { id: "o".into(), display_name: "O".into() }
    }

    #[test]
    fn a_completion_is_read_with_checksums() {
        let body = format!(
            "<CompleteMultipartUpload {NS}><Part><PartNumber>1</PartNumber><ETag>&quot;a&quot;</ETag></Part>\
             <Part><ETag>b</ETag><PartNumber> 70000 </PartNumber><ChecksumCRC32>AAAAAQ==</ChecksumCRC32>\
             <ChecksumSHA1/></Part></CompleteMultipartUpload>"
        );
        let crc = (ChecksumAlgorithm::Crc32, Bytes::from_static(&[0, 0, 0, 1]));
        let expected = vec![
            CompletedPart { number: 1, etag: "a".into(), checksums: vec![] },
            CompletedPart { number: 70_000, etag: "b".into(), checksums: vec![crc] },
        ];
        assert_eq!(parse_complete(body.as_bytes()), Ok(expected));
    }

    #[test]
    fn wrong_completions_are_refused() {
        let part = "<Part><PartNumber>1</PartNumber><ETag>a</ETag></Part>";
        let parse = |inner: &str| {
            let body = format!("<CompleteMultipartUpload>{inner}</CompleteMultipartUpload>");
            parse_complete(body.as_bytes()).map(|parts| parts.len())
        };
        assert_eq!(parse(&part.repeat(MAX_PARTS)), Ok(MAX_PARTS));
        assert_eq!(parse(&part.repeat(MAX_PARTS + 1)), Err(XmlError::TooMany));
        for (inner, error) in [
            ("", XmlError::Missing),
            ("<Part><ETag>a</ETag></Part>", XmlError::Missing),
            ("<Part><PartNumber>1</PartNumber></Part>", XmlError::Missing),
            ("<Part><PartNumber>-1</PartNumber><ETag>a</ETag></Part>", XmlError::InvalidValue),
            (
                "<Part><PartNumber>1</PartNumber><ETag>a</ETag><ChecksumCRC32>AA</ChecksumCRC32></Part>",
                XmlError::InvalidValue,
            ),
            (
                "<Part><PartNumber>1</PartNumber><PartNumber>1</PartNumber><ETag>a</ETag></Part>",
                XmlError::Unexpected,
            ),
            ("<Part><PartNumber>1</PartNumber><ETag>a</ETag><Size>3</Size></Part>", XmlError::Unexpected),
            ("<Piece/>", XmlError::Unexpected),
        ] {
            assert_eq!(parse(inner), Err(error), "{inner}");
        }
    }

    #[test]
    fn the_results_name_upload_and_object() {
        let upload = UploadId([1; 16]);
        let document = initiate_result("b", "k&", upload);
        let expected = format!(
            "<InitiateMultipartUploadResult {NS}><Bucket>b</Bucket><Key>k&amp;</Key>\
             <UploadId>01010101010101010101010101010101</UploadId></InitiateMultipartUploadResult>"
        );
        assert_eq!(after_declaration(&document), expected);
        let checksum = Checksum {
            algorithm: ChecksumAlgorithm::Crc32,
            kind: ChecksumKind::Composite,
            value: vec![0, 0, 0, 1],
        };
        let document = complete_result("http://h/b/k", "b", "k", "e-2", (&[checksum], 2));
        let expected = format!(
            "<CompleteMultipartUploadResult {NS}><Location>http://h/b/k</Location><Bucket>b</Bucket><Key>k</Key>\
             <ETag>&quot;e-2&quot;</ETag><ChecksumCRC32>AAAAAQ==-2</ChecksumCRC32>\
             <ChecksumType>COMPOSITE</ChecksumType></CompleteMultipartUploadResult>"
        );
        assert_eq!(after_declaration(&document), expected);
    }

    #[test]
    fn parts_are_listed_with_the_marker_of_the_last() {
        let checksum = Checksum {
            algorithm: ChecksumAlgorithm::Crc32,
            kind: ChecksumKind::FullObject,
            value: vec![0, 0, 0, 1],
        };
        let page = PartsPage {
            bucket: "b",
            key: "k",
            upload: UploadId([1; 16]),
            params: ListPartsParams { part_number_marker: 2, max_parts: 1, url_encoding: false },
            owner: &owner(),
            checksum: Some((ChecksumAlgorithm::Crc32, ChecksumKind::FullObject)),
            parts: vec![ListedPart {
                number: 3,
                modified: Hlc::from_millis(1_255_369_830_007),
                etag: "e".into(),
                size: 9,
                checksums: vec![checksum],
            }],
            truncated: true,
        };
        let expected = format!(
            "<ListPartsResult {NS}><Bucket>b</Bucket><Key>k</Key><UploadId>01010101010101010101010101010101</UploadId>\
             <Initiator><ID>o</ID><DisplayName>O</DisplayName></Initiator><Owner><ID>o</ID>\
             <DisplayName>O</DisplayName></Owner><StorageClass>STANDARD</StorageClass>\
             <PartNumberMarker>2</PartNumberMarker><NextPartNumberMarker>3</NextPartNumberMarker>\
             <MaxParts>1</MaxParts><IsTruncated>true</IsTruncated><ChecksumAlgorithm>CRC32</ChecksumAlgorithm>\
             <ChecksumType>FULL_OBJECT</ChecksumType><Part><PartNumber>3</PartNumber>\
             <LastModified>2009-10-12T17:50:30.007Z</LastModified><ETag>&quot;e&quot;</ETag><Size>9</Size>\
             <ChecksumCRC32>AAAAAQ==</ChecksumCRC32></Part></ListPartsResult>"
        );
        assert_eq!(after_declaration(&page.render()), expected);
    }

    #[test]
    fn uploads_are_listed_with_both_markers() {
        let raw = "prefix=p%20&delimiter=/&key-marker=k&max-uploads=1&encoding-type=url";
        let params = ListUploadsParams::parse(&Query::parse(raw).unwrap()).unwrap();
        let upload = UploadId([1; 16]);
        let page = UploadsPage {
            bucket: "b",
            params: &params,
            owner: &owner(),
            uploads: vec![ListedUpload {
                key: "p k".into(),
                upload,
                initiated: Hlc::from_millis(1_255_369_830_007),
                checksum: None,
            }],
            common_prefixes: vec!["p /".into()],
            next: Some(UploadMarker::Upload("p k".into(), upload)),
        };
        let expected = format!(
            "<ListMultipartUploadsResult {NS}><Bucket>b</Bucket><KeyMarker>k</KeyMarker>\
             <UploadIdMarker></UploadIdMarker><NextKeyMarker>p%20k</NextKeyMarker>\
             <NextUploadIdMarker>{upload}</NextUploadIdMarker><Prefix>p%20</Prefix><Delimiter>/</Delimiter>\
             <MaxUploads>1</MaxUploads><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>\
             <Upload><Key>p%20k</Key><UploadId>{upload}</UploadId>\
             <Initiator><ID>o</ID><DisplayName>O</DisplayName></Initiator><Owner><ID>o</ID>\
             <DisplayName>O</DisplayName></Owner><StorageClass>STANDARD</StorageClass>\
             <Initiated>2009-10-12T17:50:30.007Z</Initiated></Upload>\
             <CommonPrefixes><Prefix>p%20/</Prefix></CommonPrefixes></ListMultipartUploadsResult>"
        );
        assert_eq!(after_declaration(&page.render()), expected);
    }

    proptest! {
        #[test]
        fn any_completion_is_read_or_refused_without_a_panic(inner in "(<(Part|ETag|PartNumber|/Part|/ETag)>|.){0,8}") {
            let body = format!("<CompleteMultipartUpload>{inner}</CompleteMultipartUpload>");
            let _ = parse_complete(body.as_bytes()).map(|parts| assert!(!parts.is_empty()));
        }
    }
}
