use super::object::{
    Checksum, ChecksumAlgorithm, ChecksumKind, Content, ContentHeaders, CopiedFrom, PartSize,
};
use crate::id::{UploadId, VersionId};
use crate::name::ObjectKey;
use serde::{Deserialize, Serialize};

/// A multipart upload began (bucket stream).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MultipartCreated {
    /// The upload.
    pub upload: UploadId,
    /// The key it will store.
    pub key: ObjectKey,
    /// Standard headers of the object to be.
    pub headers: ContentHeaders,
    /// `x-amz-meta-*` of the object to be.
    pub metadata: Vec<(String, String)>,
    /// The checksum that parts carry, where one was asked for, and what the object's checksum will cover.
    pub checksum: Option<(ChecksumAlgorithm, ChecksumKind)>,
    /// `x-amz-tagging` of the object to be.
    pub tags: Vec<(String, String)>,
}

/// A part arrived, in place of one with the same number (bucket stream).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartUploaded {
    /// The upload.
    pub upload: UploadId,
    /// 1 to 10,000.
    pub number: u16,
    /// Bytes of content.
    pub size: u64,
    /// The part's ETag without quotes: 32 hex digits of its MD5.
    pub etag: String,
    /// Where the bytes are: slices of blobs, or `Empty`.
    pub content: Content,
    /// Verified checksums.
    pub checksums: Vec<Checksum>,
    /// Set where it is a copy.
    pub copied_from: Option<CopiedFrom>,
}

/// An upload became an object (bucket stream). The record is complete in itself: it names all the bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MultipartCompleted {
    /// The upload, which ends.
    pub upload: UploadId,
    /// The key.
    pub key: ObjectKey,
    /// The version's id; none for the null version.
    pub version: Option<VersionId>,
    /// Bytes of content.
    pub size: u64,
    /// The ETag without quotes: MD5 of the parts' MD5s, `-`, and their number.
    pub etag: String,
    /// Where the bytes are: the parts' slices in order.
    pub content: Content,
    /// The parts it was made from, in order, with the numbers they were uploaded under.
    pub parts: Vec<PartSize>,
    /// The object's checksums.
    pub checksums: Vec<Checksum>,
    /// Standard headers.
    pub headers: ContentHeaders,
    /// `x-amz-meta-*`.
    pub metadata: Vec<(String, String)>,
    /// `x-amz-tagging`.
    pub tags: Vec<(String, String)>,
}

/// An upload was given up; its parts' bytes are free (bucket stream).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MultipartAborted {
    /// The upload.
    pub upload: UploadId,
    /// The key it would have stored, for the audit index.
    pub key: ObjectKey,
}
