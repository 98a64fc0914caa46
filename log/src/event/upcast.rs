//! Pure, one-to-one conversions from every released schema of an event's body to the current one. Never deleted:
//! a log written by the first release is replayed by the last one (mutant M20 shows what a missing one does).

use super::bucket::BucketNameReserved;
use super::multipart::{MultipartCompleted, MultipartCreated, PartUploaded};
use super::object::{
    Checksum, ChecksumAlgorithm, ChecksumKind, Content, ContentHeaders, Deletion, ObjectDeleted, ObjectPut,
    PartSize,
};
use super::{Body, Event, EventKind};
use crate::id::{AccountId, StreamId, UploadId, VersionId, VersionRef};
use crate::mutants::{Mutant, active};
use crate::name::{BucketName, ObjectKey};
use serde::{Deserialize, Serialize};

/// Before the first half of a creation told of the tags.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct BucketNameReservedV1 {
    pub(super) name: BucketName,
    pub(super) stream: StreamId,
    pub(super) owner: AccountId,
    pub(super) location: String,
}

pub(super) fn bucket_name_reserved(old: BucketNameReservedV1) -> BucketNameReserved {
    let BucketNameReservedV1 { name, stream, owner, location } = old;
    BucketNameReserved { name, stream, owner, location, tags: Vec::new() }
}

/// Before objects had tags and copies were told apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ObjectPutV1 {
    pub(super) key: ObjectKey,
    pub(super) version: Option<VersionId>,
    pub(super) size: u64,
    pub(super) etag: String,
    pub(super) content: Content,
    pub(super) checksums: Vec<Checksum>,
    pub(super) headers: ContentHeaders,
    pub(super) metadata: Vec<(String, String)>,
}

pub(super) fn object_put(old: ObjectPutV1) -> ObjectPut {
    let ObjectPutV1 { key, version, size, etag, content, checksums, headers, metadata } = old;
    let version = version.filter(|_| !active(Mutant::DropsField));
    let (tags, copied_from) = (Vec::new(), None);
    ObjectPut { key, version, size, etag, content, checksums, headers, metadata, tags, copied_from }
}

/// Before there was a null delete marker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ObjectDeletedV1 {
    pub(super) key: ObjectKey,
    pub(super) version: Option<VersionId>,
    pub(super) marker: Option<VersionId>,
}

pub(super) fn object_deleted(old: ObjectDeletedV1) -> ObjectDeleted {
    let deletion = match (old.version, old.marker) {
        (Some(id), _) => Deletion::Version(VersionRef::Id(id)),
        (None, Some(id)) => Deletion::Marker(VersionRef::Id(id)),
        (None, None) => Deletion::Current,
    };
    ObjectDeleted { key: old.key, deletion }
}

/// Before objects had tags.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct MultipartCreatedV1 {
    pub(super) upload: UploadId,
    pub(super) key: ObjectKey,
    pub(super) headers: ContentHeaders,
    pub(super) metadata: Vec<(String, String)>,
    pub(super) checksum: Option<(ChecksumAlgorithm, ChecksumKind)>,
}

pub(super) fn multipart_created(old: MultipartCreatedV1) -> MultipartCreated {
    let MultipartCreatedV1 { upload, key, headers, metadata, checksum } = old;
    MultipartCreated { upload, key, headers, metadata, checksum, tags: Vec::new() }
}

/// Before parts could be copies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PartUploadedV1 {
    pub(super) upload: UploadId,
    pub(super) number: u16,
    pub(super) size: u64,
    pub(super) etag: String,
    pub(super) content: Content,
    pub(super) checksums: Vec<Checksum>,
}

pub(super) fn part_uploaded(old: PartUploadedV1) -> PartUploaded {
    let PartUploadedV1 { upload, number, size, etag, content, checksums } = old;
    PartUploaded { upload, number, size, etag, content, checksums, copied_from: None }
}

/// Before objects had tags.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct MultipartCompletedV1 {
    pub(super) upload: UploadId,
    pub(super) key: ObjectKey,
    pub(super) version: Option<VersionId>,
    pub(super) size: u64,
    pub(super) etag: String,
    pub(super) content: Content,
    pub(super) parts: Vec<PartSize>,
    pub(super) checksums: Vec<Checksum>,
    pub(super) headers: ContentHeaders,
    pub(super) metadata: Vec<(String, String)>,
}

pub(super) fn multipart_completed(old: MultipartCompletedV1) -> MultipartCompleted {
    let MultipartCompletedV1 {
        upload,
        key,
        version,
        size,
        etag,
        content,
        parts,
        checksums,
        headers,
        metadata,
    } = old;
    let tags = Vec::new();
    MultipartCompleted {
        upload,
        key,
        version,
        size,
        etag,
        content,
        parts,
        checksums,
        headers,
        metadata,
        tags,
    }
}

/// A body as the first release would have written it: for logs of mixed schemas, in tests and simulations alone. `None`
/// where the event has had one schema only, or the first could not say this.
pub fn in_first_schema(body: &Body) -> Option<(EventKind, Vec<u8>)> {
    let bytes = match body.event.clone() {
        Event::BucketNameReserved(BucketNameReserved { name, stream, owner, location, tags })
            if tags.is_empty() =>
        {
            encode(body, &BucketNameReservedV1 { name, stream, owner, location })
        }
        Event::ObjectPut(put) if put.tags.is_empty() && put.copied_from.is_none() => {
            let ObjectPut { key, version, size, etag, content, checksums, headers, metadata, .. } = put;
            encode(body, &ObjectPutV1 { key, version, size, etag, content, checksums, headers, metadata })
        }
        Event::ObjectDeleted(ObjectDeleted { key, deletion }) => {
            let (version, marker) = match deletion {
                Deletion::Current => (None, None),
                Deletion::Version(VersionRef::Id(id)) => (Some(id), None),
                Deletion::Marker(VersionRef::Id(id)) => (None, Some(id)),
                Deletion::Version(VersionRef::Null) | Deletion::Marker(VersionRef::Null) => return None,
            };
            encode(body, &ObjectDeletedV1 { key, version, marker })
        }
        Event::MultipartCreated(created) if created.tags.is_empty() => {
            let MultipartCreated { upload, key, headers, metadata, checksum, .. } = created;
            encode(body, &MultipartCreatedV1 { upload, key, headers, metadata, checksum })
        }
        Event::PartUploaded(part) if part.copied_from.is_none() => {
            let PartUploaded { upload, number, size, etag, content, checksums, .. } = part;
            encode(body, &PartUploadedV1 { upload, number, size, etag, content, checksums })
        }
        Event::MultipartCompleted(completed) if completed.tags.is_empty() => {
            let MultipartCompleted { upload, key, version, size, etag, content, .. } = completed.clone();
            let MultipartCompleted { parts, checksums, headers, metadata, .. } = completed;
            let old = MultipartCompletedV1 {
                upload,
                key,
                version,
                size,
                etag,
                content,
                parts,
                checksums,
                headers,
                metadata,
            };
            encode(body, &old)
        }
        _ => return None,
    };
    Some((EventKind { schema: 1, ..body.event.kind() }, bytes.ok()?))
}

fn encode(body: &Body, old: &impl Serialize) -> Result<Vec<u8>, rmp_serde::encode::Error> {
    rmp_serde::to_vec(&(&body.actor, old))
}

#[cfg(test)]
mod tests {
    use super::super::{Actor, Door};
    use super::*;

    /// A body of the first schema, which the fuzzed parsers get too (`tests/fuzz/corpus/event-body`).
    fn first_schema(event_type: u16, name: &str, old: &impl Serialize) -> Body {
        let bytes = rmp_serde::to_vec(&(Actor::server(Door::Worker), old)).unwrap();
        let input = [&event_type.to_be_bytes()[..], &[0, 1], &bytes].concat();
        crate::fuzz::bless("event-body", &format!("valid-first-{name}"), &input);
        Body::decode(EventKind { event_type, schema: 1 }, &bytes).unwrap()
    }

    #[test]
    fn a_deletion_of_the_first_schema_keeps_its_meaning() {
        let id = VersionId([7; 16]);
        let cases = [
            (None, None, Deletion::Current),
            (Some(id), None, Deletion::Version(VersionRef::Id(id))),
            (None, Some(id), Deletion::Marker(VersionRef::Id(id))),
        ];
        for (number, (version, marker, deletion)) in cases.into_iter().enumerate() {
            let key = ObjectKey::parse("a/b").unwrap();
            let old = ObjectDeletedV1 { key: key.clone(), version, marker };
            let body = first_schema(0x0211, &format!("ObjectDeleted-{number}"), &old);
            assert_eq!(body.event, Event::ObjectDeleted(ObjectDeleted { key, deletion }));
        }
    }

    #[test]
    fn a_name_of_the_first_schema_was_taken_for_a_bucket_without_tags() {
        let old = BucketNameReservedV1 {
            name: BucketName::parse("bucket").unwrap(),
            stream: StreamId([3; 16]),
            owner: AccountId([4; 16]),
            location: "eu-1".to_owned(),
        };
        let bytes = rmp_serde::to_vec(&(Actor::server(Door::Worker), old.clone())).unwrap();
        let body = Body::decode(EventKind { event_type: 0x0100, schema: 1 }, &bytes).unwrap();
        let BucketNameReservedV1 { name, stream, owner, location } = old;
        let expected = BucketNameReserved { name, stream, owner, location, tags: Vec::new() };
        assert_eq!(body.event, Event::BucketNameReserved(expected));
    }

    #[test]
    fn an_object_of_the_first_schema_has_no_tags() {
        let old = ObjectPutV1 {
            key: ObjectKey::parse("k").unwrap(),
            version: None,
            size: 3,
            etag: "e".to_owned(),
            content: Content::Inline,
            checksums: Vec::new(),
            headers: ContentHeaders::default(),
            metadata: vec![("a".to_owned(), "b".to_owned())],
        };
        let body = first_schema(0x0210, "ObjectPut", &old);
        let Event::ObjectPut(put) = body.event else { panic!("another event") };
        assert_eq!((put.tags.len(), put.copied_from.is_none()), (0, true));
        assert_eq!((put.key, put.size, put.metadata), (old.key, old.size, old.metadata));
    }
    #[test]
    fn an_upload_of_the_first_schema_has_no_tags_and_no_copied_parts() {
        let (upload, key) = (UploadId([9; 16]), ObjectKey::parse("k").unwrap());
        let (headers, metadata) = (ContentHeaders::default(), vec![("a".to_owned(), "b".to_owned())]);
        let etag = "e".to_owned();
        let (checksum, checksums) = (Some((ChecksumAlgorithm::Crc32c, ChecksumKind::Composite)), Vec::new());
        let created = MultipartCreatedV1 {
            upload,
            key: key.clone(),
            headers: headers.clone(),
            metadata: metadata.clone(),
            checksum,
        };
        let Event::MultipartCreated(created) = first_schema(0x0220, "MultipartCreated", &created).event
        else {
            panic!("another event")
        };
        assert_eq!((created.upload, &created.key, created.checksum), (upload, &key, checksum));
        assert!(created.tags.is_empty());
        let part = PartUploadedV1 {
            upload,
            number: 3,
            size: 5,
            etag: etag.clone(),
            content: Content::Inline,
            checksums: checksums.clone(),
        };
        let Event::PartUploaded(part) = first_schema(0x0221, "PartUploaded", &part).event else {
            panic!("another event")
        };
        assert_eq!((part.upload, part.number, part.size, part.copied_from), (upload, 3, 5, None));
        let parts = vec![PartSize { number: 3, size: 5, checksums: Vec::new() }];
        let (version, size, content) = (None, 5, Content::Inline);
        let completed = MultipartCompletedV1 {
            upload,
            key,
            version,
            size,
            etag,
            content,
            parts: parts.clone(),
            checksums,
            headers,
            metadata: metadata.clone(),
        };
        let Event::MultipartCompleted(completed) =
            first_schema(0x0222, "MultipartCompleted", &completed).event
        else {
            panic!("another event")
        };
        assert_eq!((completed.upload, completed.parts, completed.metadata), (upload, parts, metadata));
        assert!(completed.tags.is_empty());
    }
}
