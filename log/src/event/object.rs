use crate::id::{BlobId, Seq, StreamId, VersionId, VersionRef};
use crate::name::{BucketName, ObjectKey};
use serde::{Deserialize, Serialize};

/// Where an object's bytes come from: logical, so that it holds on every node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Content {
    /// No bytes.
    Empty,
    /// The content part of this very record.
    Inline,
    /// These slices, one after the other.
    Slices(Vec<ContentSlice>),
}

/// A range of bytes that is stored elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContentSlice {
    /// Where.
    pub source: ContentSource,
    /// First byte, in the source.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
}

/// A place that holds content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ContentSource {
    /// The content part of another record.
    Inline {
        /// Its stream.
        stream: StreamId,
        /// Its number there.
        seq: Seq,
    },
    /// Bytes in packs.
    Blob {
        /// Their name.
        blob: BlobId,
    },
}

/// The checksum algorithms of S3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are S3's own")]
pub enum ChecksumAlgorithm {
    Crc32,
    Crc32c,
    Crc64nvme,
    Sha1,
    Sha256,
}

/// What a checksum covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChecksumKind {
    /// The object's bytes.
    FullObject,
    /// The checksums of its parts.
    Composite,
}

/// A checksum that the client gave or asked for, verified before the record was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checksum {
    /// How it is computed.
    pub algorithm: ChecksumAlgorithm,
    /// Over what.
    pub kind: ChecksumKind,
    /// The raw value, big-endian for CRCs, as S3 encodes it before base64.
    #[serde(with = "serde_bytes")]
    pub value: Vec<u8>,
}

/// The standard headers that S3 keeps with an object and returns as they came. Absent ones are `None`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are HTTP's own")]
pub struct ContentHeaders {
    pub content_type: Option<String>,
    pub cache_control: Option<String>,
    pub content_disposition: Option<String>,
    pub content_encoding: Option<String>,
    pub content_language: Option<String>,
    pub expires: Option<String>,
}

/// The number and size of a part of a completed object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartSize {
    /// 1 to 10,000.
    pub number: u16,
    /// Bytes.
    pub size: u64,
    /// The part's checksums.
    pub checksums: Vec<Checksum>,
}

/// What an object or part was copied from, for the audit timeline. Nothing is computed from it: the record names the
/// bytes itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopiedFrom {
    /// The source's bucket.
    pub bucket: BucketName,
    /// The source's key.
    pub key: ObjectKey,
    /// The source's version.
    pub version: VersionRef,
}

/// An object was stored (bucket stream). The null version takes the place of the null version that the key had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectPut {
    /// The key.
    pub key: ObjectKey,
    /// The version's id; none for the null version.
    pub version: Option<VersionId>,
    /// Bytes of content.
    pub size: u64,
    /// The ETag without quotes: 32 hex digits of the content's MD5.
    pub etag: String,
    /// Where the bytes are.
    pub content: Content,
    /// Verified checksums.
    pub checksums: Vec<Checksum>,
    /// Standard headers.
    pub headers: ContentHeaders,
    /// `x-amz-meta-*`, names in lower case without the prefix, in the order they came.
    pub metadata: Vec<(String, String)>,
    /// `x-amz-tagging`: names and values, in the order they came.
    pub tags: Vec<(String, String)>,
    /// Set where it is a copy.
    pub copied_from: Option<CopiedFrom>,
}

/// What a deletion does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Deletion {
    /// Removes the null version, which is all that a bucket without versioning has.
    Current,
    /// Removes exactly this version, an object or a delete marker.
    Version(VersionRef),
    /// Puts a delete marker over what is there. A null one takes the place of the key's null version.
    Marker(VersionRef),
}

/// A key was deleted (bucket stream).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectDeleted {
    /// The key.
    pub key: ObjectKey,
    /// How.
    pub deletion: Deletion,
}

/// A version got other tags in place of those it had (bucket stream).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectTagged {
    /// The key.
    pub key: ObjectKey,
    /// The record that stored the version.
    pub seq: Seq,
    /// Names and values; none where the tags were removed.
    pub tags: Vec<(String, String)>,
}

/// Versions that were deleted or replaced left the history window (bucket stream): nobody can read them any more, and
/// their bytes are given back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContentExpired {
    /// The key and the number of the record that stored each version.
    pub versions: Vec<(ObjectKey, Seq)>,
}

/// The body and content of a record are destroyed at someone's request; its place in the chain stays (bucket
/// stream).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Erased {
    /// The record that is destroyed. Its key is not named here: that would keep what was to be forgotten.
    pub seq: Seq,
    /// Why, in the administrator's words.
    pub reason: String,
}
