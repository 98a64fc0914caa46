//! Pure, one-to-one conversions from every released schema of an event's body to the current one. Never deleted:
//! a log written by the first release is replayed by the last one (mutant M20 shows what a missing one does).

use super::multipart::{MultipartCompleted, MultipartCreated, PartUploaded};
use super::object::{
    Checksum, ChecksumAlgorithm, ChecksumKind, Content, ContentHeaders, Deletion, ObjectDeleted, ObjectPut,
    PartSize,
};
use crate::id::{UploadId, VersionId, VersionRef};
use crate::name::ObjectKey;
use serde::{Deserialize, Serialize};

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

#[cfg(test)]
mod tests {
    use super::super::{Actor, Body, Door, Event, EventKind};
    use super::*;

    #[test]
    fn a_deletion_of_the_first_schema_keeps_its_meaning() {
        let id = VersionId([7; 16]);
        let cases = [
            (None, None, Deletion::Current),
            (Some(id), None, Deletion::Version(VersionRef::Id(id))),
            (None, Some(id), Deletion::Marker(VersionRef::Id(id))),
        ];
        for (version, marker, deletion) in cases {
            let key = ObjectKey::parse("a/b").unwrap();
            let old = ObjectDeletedV1 { key: key.clone(), version, marker };
            let bytes = rmp_serde::to_vec(&(Actor::server(Door::Worker), old)).unwrap();
            let body = Body::decode(EventKind { event_type: 0x0211, schema: 1 }, &bytes).unwrap();
            assert_eq!(body.event, Event::ObjectDeleted(ObjectDeleted { key, deletion }));
        }
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
        let bytes = rmp_serde::to_vec(&(Actor::server(Door::Worker), old.clone())).unwrap();
        let body = Body::decode(EventKind { event_type: 0x0210, schema: 1 }, &bytes).unwrap();
        let Event::ObjectPut(put) = body.event else { panic!("another event") };
        assert_eq!((put.tags.len(), put.copied_from.is_none()), (0, true));
        assert_eq!((put.key, put.size, put.metadata), (old.key, old.size, old.metadata));
    }
}
