//! `ListBucketResult`, of both versions.

use super::Owner;
use super::writer::XmlWriter;
use crate::s3::body::checksum::wire_name;
use crate::s3::date::Iso8601;
use crate::s3::headers::checksum_kind_name;
use crate::s3::list_params::{ListObjectsParams, ListVersion, encode_key, make_token};
use bytes::Bytes;
use siltstone_log::event::Checksum;
use siltstone_log::hlc::Hlc;
use siltstone_projections::objects::After;

/// An object in a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListedObject<'a> {
    /// Its key.
    pub key: &'a str,
    /// When it was stored.
    pub modified: Hlc,
    /// Its ETag without quotes.
    pub etag: &'a str,
    /// Bytes.
    pub size: u64,
    /// Its checksums, of which the algorithms are shown.
    pub checksums: &'a [Checksum],
}

/// A page of a listing.
#[derive(Debug)]
pub struct ListPage<'a> {
    /// The bucket's name.
    pub bucket: &'a str,
    /// What was asked for.
    pub params: &'a ListObjectsParams,
    /// Who owns everything in the bucket.
    pub owner: &'a Owner,
    /// Objects in order.
    pub objects: Vec<ListedObject<'a>>,
    /// Common prefixes in order.
    pub common_prefixes: Vec<&'a str>,
    /// Where the next page begins, if there is one.
    pub next: Option<&'a After>,
}

impl ListPage<'_> {
    /// Renders the page.
    pub fn render(&self) -> Bytes {
        let entries = self.objects.len() + self.common_prefixes.len();
        // What an object's fixed parts take, and room for a key; a page is then built in one allocation.
        let capacity = 1024 + entries * 320;
        XmlWriter::with_capacity(capacity, "ListBucketResult", |w| {
            self.head(w, entries);
            for object in &self.objects {
                self.object(w, object);
            }
            for prefix in &self.common_prefixes {
                w.element("CommonPrefixes", |w| self.key(w, "Prefix", prefix));
            }
        })
    }

    fn key(&self, w: &mut XmlWriter, name: &str, key: &str) {
        w.text(name, &encode_key(key, self.params.url_encoding));
    }

    fn head(&self, w: &mut XmlWriter, entries: usize) {
        let params = self.params;
        w.text("Name", self.bucket);
        self.key(w, "Prefix", &params.prefix);
        match &params.version {
            ListVersion::V1 { marker } => {
                self.key(w, "Marker", marker.as_deref().unwrap_or_default());
                // Without a delimiter S3 leaves it out: the last key is the next marker.
                let next = self.next.filter(|_| params.delimiter.is_some());
                if let Some(After::Key(next) | After::Prefix(next)) = next {
                    self.key(w, "NextMarker", next);
                }
            }
            ListVersion::V2 { token, start_after, .. } => {
                if let Some(start_after) = start_after {
                    self.key(w, "StartAfter", start_after);
                }
                w.optional_text("ContinuationToken", token.as_deref());
                if let Some(next) = self.next {
                    w.plain("NextContinuationToken", make_token(next));
                }
                w.plain("KeyCount", entries);
            }
        }
        w.plain("MaxKeys", params.max_keys);
        if let Some(delimiter) = &params.delimiter {
            self.key(w, "Delimiter", delimiter);
        }
        if params.url_encoding {
            w.plain("EncodingType", "url");
        }
        w.plain("IsTruncated", self.next.is_some());
    }

    fn object(&self, w: &mut XmlWriter, object: &ListedObject<'_>) {
        let with_owner = match self.params.version {
            ListVersion::V1 { .. } => true,
            ListVersion::V2 { fetch_owner, .. } => fetch_owner,
        };
        w.element("Contents", |w| {
            self.key(w, "Key", object.key);
            w.plain("LastModified", Iso8601(object.modified));
            w.etag(object.etag);
            for checksum in object.checksums {
                w.plain("ChecksumAlgorithm", wire_name(checksum.algorithm));
            }
            if let Some(checksum) = object.checksums.first() {
                w.plain("ChecksumType", checksum_kind_name(checksum.kind));
            }
            w.plain("Size", object.size);
            if with_owner {
                self.owner.write("Owner", w);
            }
            w.plain("StorageClass", "STANDARD");
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::request::Query;
    use siltstone_log::event::{ChecksumAlgorithm, ChecksumKind};

    fn render(params: &ListObjectsParams) -> String {
        let owner = Owner { id: "o".into(), display_name: "O".into() };
        let checksums = [Checksum {
            algorithm: ChecksumAlgorithm::Crc32,
            kind: ChecksumKind::FullObject,
            value: vec![0; 4],
        }];
        let object = ListedObject {
            key: "a b",
            modified: Hlc::from_millis(1_255_369_830_007),
            etag: "e",
            size: 5,
            checksums: &checksums,
        };
        let page = ListPage {
            bucket: "bkt",
            params,
            owner: &owner,
            objects: vec![object],
            common_prefixes: vec!["p/"],
            next: Some(&After::Prefix("p/".into())),
        };
        String::from_utf8(page.render().to_vec()).unwrap()
    }

    const HEAD: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
                        <ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>bkt</Name>";

    #[test]
    fn the_first_version_has_markers_and_owners() {
        let params =
            ListObjectsParams::parse_v1(&Query::parse("delimiter=/&marker=%26&max-keys=2").unwrap()).unwrap();
        let expected = "<Prefix></Prefix><Marker>&amp;</Marker><NextMarker>p/</NextMarker><MaxKeys>2</MaxKeys>\
                        <Delimiter>/</Delimiter><IsTruncated>true</IsTruncated>\
                        <Contents><Key>a b</Key><LastModified>2009-10-12T17:50:30.007Z</LastModified>\
                        <ETag>&quot;e&quot;</ETag><ChecksumAlgorithm>CRC32</ChecksumAlgorithm>\
                        <ChecksumType>FULL_OBJECT</ChecksumType><Size>5</Size>\
                        <Owner><ID>o</ID><DisplayName>O</DisplayName></Owner><StorageClass>STANDARD</StorageClass>\
                        </Contents><CommonPrefixes><Prefix>p/</Prefix></CommonPrefixes></ListBucketResult>";
        assert_eq!(render(&params), format!("{HEAD}{expected}"));
        let params = ListObjectsParams::parse_v1(&Query::default()).unwrap();
        assert!(!render(&params).contains("NextMarker"));
    }

    #[test]
    fn the_second_version_has_tokens_and_counts() {
        let raw = "prefix=x%20&encoding-type=url&start-after=s%2B";
        let params = ListObjectsParams::parse_v2(&Query::parse(raw).unwrap()).unwrap();
        let token = make_token(&After::Prefix("p/".into()));
        let expected = format!(
            "<Prefix>x%20</Prefix><StartAfter>s%2B</StartAfter><NextContinuationToken>{token}</NextContinuationToken>\
             <KeyCount>2</KeyCount><MaxKeys>1000</MaxKeys><EncodingType>url</EncodingType>\
             <IsTruncated>true</IsTruncated>\
             <Contents><Key>a%20b</Key><LastModified>2009-10-12T17:50:30.007Z</LastModified>\
             <ETag>&quot;e&quot;</ETag><ChecksumAlgorithm>CRC32</ChecksumAlgorithm>\
             <ChecksumType>FULL_OBJECT</ChecksumType><Size>5</Size><StorageClass>STANDARD</StorageClass>\
             </Contents><CommonPrefixes><Prefix>p/</Prefix></CommonPrefixes></ListBucketResult>"
        );
        assert_eq!(render(&params), format!("{HEAD}{expected}"));
        let params = ListObjectsParams::parse_v2(&Query::parse("fetch-owner=true").unwrap()).unwrap();
        assert!(render(&params).contains("<Owner><ID>o</ID>"));
    }
}
