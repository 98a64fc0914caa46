//! The rows and their encoding.
//!
//! A stored row is its local part and then its logical bytes. The local part is one byte, `00` for none or `01`
//! followed by a place on this node (position u64, segment u64, generation u16, offset u32, little-endian). The
//! logical bytes are MessagePack, a struct being an array in field order; they hold the same on every node and are
//! what a digest covers. A change of any row raises [`SCHEMA`], and the projections are rebuilt.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use siltstone_log::event::{
    Checksum, ChecksumAlgorithm, ChecksumKind, Content, ContentHeaders, PartSize, SealedSecret, Status,
    Versioning,
};
use siltstone_log::hlc::Hlc;
use siltstone_log::id::{AccountId, Position, Seq, StreamId, UploadId, VersionId, VersionRef};
use siltstone_log::name::{BucketName, ObjectKey};
use siltstone_log::record::Place;

/// Names the rows' layout and the folds' meaning. A store with another label is rebuilt.
pub const SCHEMA: &str = "siltstone-projections/7";

/// A stored key or row is not what this program writes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    /// No key of the catalogue.
    #[error("key {0} is none of this program's")]
    Key(String),
    /// A row that cannot be read back, or (never seen) not be encoded.
    #[error("a {row} row cannot be read: {message}")]
    Row {
        /// The row's type.
        row: &'static str,
        /// What is wrong with it.
        message: String,
    },
}

impl RowError {
    pub(crate) fn key(bytes: &[u8]) -> Self {
        Self::Key(bytes.escape_ascii().to_string())
    }
}

/// A row that can be stored.
pub trait Row: Serialize + DeserializeOwned {
    /// The row's name in error messages.
    const NAME: &'static str;

    /// Where the record that made it lies on this node.
    fn place(&self) -> Option<Place> {
        None
    }

    /// Sets where the record that made it lies.
    fn set_place(&mut self, _place: Option<Place>) {}

    /// The stored form.
    fn to_stored(&self) -> Result<Bytes, RowError> {
        let mut out = Vec::with_capacity(256);
        put_place(self.place(), &mut out);
        rmp_serde::encode::write(&mut out, self).map_err(|error| Self::unreadable(&error))?;
        // An exact copy: batches hold a million rows, and a vector's spare room would double them.
        Ok(Bytes::copy_from_slice(&out))
    }

    /// Reads a stored row back.
    fn from_stored(stored: &[u8]) -> Result<Self, RowError> {
        let (place, mut rest) =
            split(stored).ok_or_else(|| Self::unreadable(&"its local part is cut off"))?;
        let mut row = Self::deserialize(&mut rmp_serde::Deserializer::new(&mut rest))
            .map_err(|error| Self::unreadable(&error))?;
        if !rest.is_empty() {
            return Err(Self::unreadable(&"bytes follow it"));
        }
        row.set_place(place);
        Ok(row)
    }

    /// An error that names this row.
    fn unreadable(message: &impl ToString) -> RowError {
        RowError::Row { row: Self::NAME, message: message.to_string() }
    }
}

/// The logical bytes of a stored row.
pub fn logical(stored: &[u8]) -> &[u8] {
    split(stored).map_or(stored, |(_, logical)| logical)
}

fn put_place(place: Option<Place>, out: &mut Vec<u8>) {
    match place {
        None => out.push(0),
        Some(place) => {
            out.push(1);
            out.extend_from_slice(&place.position.get().to_le_bytes());
            out.extend_from_slice(&place.segment.get().to_le_bytes());
            out.extend_from_slice(&place.generation.to_le_bytes());
            out.extend_from_slice(&place.offset.to_le_bytes());
        }
    }
}

fn split(stored: &[u8]) -> Option<(Option<Place>, &[u8])> {
    match stored.split_first()? {
        (0, logical) => Some((None, logical)),
        (1, rest) => {
            let (position, rest) = rest.split_first_chunk()?;
            let (segment, rest) = rest.split_first_chunk()?;
            let (generation, rest) = rest.split_first_chunk()?;
            let (offset, logical) = rest.split_first_chunk()?;
            let place = Place {
                position: Position(u64::from_le_bytes(*position)),
                segment: Position(u64::from_le_bytes(*segment)),
                generation: u16::from_le_bytes(*generation),
                offset: u32::from_le_bytes(*offset),
            };
            Some((Some(place), logical))
        }
        _ => None,
    }
}

/// An instant in a stream: which record, and when it was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct At {
    /// The record.
    pub seq: Seq,
    /// Its time.
    pub hlc: Hlc,
}

/// What a bucket holds, counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Keys that hold an object now.
    pub objects: u64,
    /// Bytes of those objects.
    pub bytes: u64,
    /// Versions of objects that S3 shows, the current ones included.
    pub versions: u64,
    /// Bytes of those versions.
    pub version_bytes: u64,
    /// Delete markers.
    pub markers: u64,
    /// Bytes that only versions have which were deleted or replaced and are still inside the history window: what they
    /// share with a version that S3 shows, or with a part, counts for nothing.
    pub history_bytes: u64,
    /// Multipart uploads under way.
    pub uploads: u64,
    /// Bytes of their parts.
    pub upload_bytes: u64,
}

/// Whether a bucket takes commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum BucketState {
    /// It does.
    Open,
    /// It was deleted; its history stays until it leaves the window.
    Sealed(At),
}

/// A bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketRow {
    /// Its name.
    pub name: BucketName,
    /// Its owner.
    pub owner: AccountId,
    /// The region asked for; empty for the default.
    pub location: String,
    /// When it was made: S3's `CreationDate`.
    pub created: Hlc,
    /// Whether it takes commands.
    pub state: BucketState,
    /// Whether it keeps versions.
    pub versioning: Versioning,
    /// Its tags, in the order they came.
    pub tags: Vec<(String, String)>,
    /// What it holds.
    pub usage: Usage,
}

impl BucketRow {
    /// Whether the bucket exists for readers.
    pub fn is_open(&self) -> bool {
        self.state == BucketState::Open
    }
}

/// An object: what a put or a completed upload stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectRow {
    /// The record that stored it.
    pub seq: Seq,
    /// When: S3's `LastModified`.
    pub hlc: Hlc,
    /// Its version id; none for the null version.
    pub version: Option<VersionId>,
    /// Bytes of content.
    pub size: u64,
    /// The ETag without quotes.
    pub etag: String,
    /// Checksums.
    pub checksums: Vec<Checksum>,
    /// Where the bytes are.
    pub content: Content,
    /// Standard headers.
    pub headers: ContentHeaders,
    /// User metadata, in the order it came.
    pub metadata: Vec<(String, String)>,
    /// The parts it was completed from; empty for a plain put.
    pub parts: Vec<PartSize>,
    /// Its tags, in the order they came.
    pub tags: Vec<(String, String)>,
    /// The upload it was completed from; none for a plain put.
    pub upload: Option<UploadId>,
    /// Where its record lies on this node, for inline content.
    #[serde(skip)]
    pub place: Option<Place>,
}

/// The part of an [`ObjectRow`] that a listing shows, decoded without the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectSummary {
    /// The record that stored it.
    pub seq: Seq,
    /// When: S3's `LastModified`.
    pub hlc: Hlc,
    /// Its version id; none for the null version.
    pub version: Option<VersionId>,
    /// Bytes of content.
    pub size: u64,
    /// The ETag without quotes.
    pub etag: String,
    /// Checksums.
    pub checksums: Vec<Checksum>,
}

impl ObjectSummary {
    /// Reads the summary from a stored [`ObjectRow`].
    pub fn from_stored(stored: &[u8]) -> Result<Self, RowError> {
        summary::from_stored(stored)
    }
}

impl From<ObjectRow> for ObjectSummary {
    fn from(row: ObjectRow) -> Self {
        let ObjectRow { seq, hlc, version, size, etag, checksums, .. } = row;
        Self { seq, hlc, version, size, etag, checksums }
    }
}

/// A version of a key as S3 shows it.
#[expect(clippy::large_enum_variant, reason = "nearly every version is an object: a box each saves nothing")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum VersionRow {
    /// An object.
    Object(ObjectRow),
    /// A delete marker.
    Marker(MarkerRow),
}

impl VersionRow {
    /// The record that made it, and when.
    pub fn at(&self) -> At {
        match self {
            Self::Object(object) => At { seq: object.seq, hlc: object.hlc },
            Self::Marker(marker) => At { seq: marker.seq, hlc: marker.hlc },
        }
    }

    /// Its version.
    pub fn version(&self) -> VersionRef {
        match self {
            Self::Object(object) => object.version.into(),
            Self::Marker(marker) => marker.version.into(),
        }
    }

    /// The object; none for a delete marker.
    pub fn object(&self) -> Option<&ObjectRow> {
        match self {
            Self::Object(object) => Some(object),
            Self::Marker(_) => None,
        }
    }

    /// The object; none for a delete marker.
    pub fn into_object(self) -> Option<ObjectRow> {
        match self {
            Self::Object(object) => Some(object),
            Self::Marker(_) => None,
        }
    }
}

/// The part of a [`VersionRow`] that a listing shows, decoded without the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VersionSummary {
    /// An object.
    Object(ObjectSummary),
    /// A delete marker.
    Marker(MarkerRow),
}

impl VersionSummary {
    /// Reads the summary from a stored [`VersionRow`].
    pub fn from_stored(stored: &[u8]) -> Result<Self, RowError> {
        summary::of_version(stored)
    }

    /// The record that made it, and when.
    pub fn at(&self) -> At {
        match self {
            Self::Object(object) => At { seq: object.seq, hlc: object.hlc },
            Self::Marker(marker) => At { seq: marker.seq, hlc: marker.hlc },
        }
    }

    /// Its version.
    pub fn version(&self) -> VersionRef {
        match self {
            Self::Object(object) => object.version.into(),
            Self::Marker(marker) => marker.version.into(),
        }
    }
}

impl From<VersionRow> for VersionSummary {
    fn from(row: VersionRow) -> Self {
        match row {
            VersionRow::Object(object) => Self::Object(object.into()),
            VersionRow::Marker(marker) => Self::Marker(marker),
        }
    }
}

/// A delete marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MarkerRow {
    /// The record that made it.
    pub seq: Seq,
    /// When: S3's `LastModified`.
    pub hlc: Hlc,
    /// Its version id; none for the null version.
    pub version: Option<VersionId>,
}

/// A version that was deleted or replaced. It is read as of an instant at which it was there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PastRow {
    /// What it was.
    pub version: VersionRow,
    /// The record that deleted or replaced it.
    pub removed: At,
}

/// A version that was deleted or replaced, in the order of removal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpiryRow {
    /// Its key.
    pub key: ObjectKey,
    /// Whether it has bytes in packs, where space can be given back.
    pub in_packs: bool,
}

/// The record that made the version of an id, kept for as long as the version is in the history window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionIdRow {
    /// The record.
    pub seq: Seq,
}

/// The record that made a key's null version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NullRow {
    /// The record.
    pub seq: Seq,
}

/// Marks that a version or part has bytes in a blob; the key says which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobRefRow;

/// How many versions and parts of a bucket have bytes in a blob. There is no row without any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct BlobRow {
    /// Versions that S3 shows, and parts of uploads.
    pub live: u32,
    /// Versions that were deleted or replaced.
    pub past: u32,
    /// Bytes of the blob up to the last that any of them has.
    pub bytes: u64,
}

impl BlobRow {
    /// Bytes that are kept for the history window alone.
    pub fn history_bytes(&self) -> u64 {
        if self.live == 0 && self.past > 0 { self.bytes } else { 0 }
    }
}

/// The key of the version that a record made: finds a version, and the place of inline content, by (stream, seq).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionKeyRow {
    /// The key.
    pub key: ObjectKey,
    /// Where the record lies on this node.
    #[serde(skip)]
    pub place: Option<Place>,
}

/// A multipart upload under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadRow {
    /// When it began.
    pub at: At,
    /// The account that began it.
    pub initiator: Option<AccountId>,
    /// Standard headers of the object to be.
    pub headers: ContentHeaders,
    /// User metadata of the object to be.
    pub metadata: Vec<(String, String)>,
    /// The checksum that parts carry, and what the object's will cover.
    pub checksum: Option<(ChecksumAlgorithm, ChecksumKind)>,
    /// Tags of the object to be.
    pub tags: Vec<(String, String)>,
}

/// The key of an upload under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadKeyRow {
    /// The key it will store.
    pub key: ObjectKey,
    /// The record that began it.
    pub seq: Seq,
}

/// A part of an upload under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartRow {
    /// When it arrived: S3's `LastModified`.
    pub at: At,
    /// Bytes of content.
    pub size: u64,
    /// The ETag without quotes.
    pub etag: String,
    /// Where the bytes are.
    pub content: Content,
    /// Checksums.
    pub checksums: Vec<Checksum>,
}

/// A bucket's name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameRow {
    /// The stream of the incarnation that bears it.
    pub stream: StreamId,
    /// The owner.
    pub owner: AccountId,
    /// The region asked for; empty for the default.
    pub location: String,
    /// The tags that the bucket begins with; those it has are its own row's.
    pub tags: Vec<(String, String)>,
    /// When it was reserved.
    pub reserved: At,
}

/// A bucket's name under its owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnedNameRow {
    /// The stream of the incarnation that bears it.
    pub stream: StreamId,
}

/// A tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantRow {
    /// When it was made.
    pub created: At,
}

/// An account: an owner of buckets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountRow {
    /// The tenant it belongs to.
    pub tenant: String,
    /// The id S3 shows as owner.
    pub canonical_id: String,
    /// The name S3 shows as owner.
    pub display_name: String,
    /// A contact address; may be empty.
    pub email: String,
    /// When it was made.
    pub created: At,
}

/// The account behind a canonical id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CanonicalRow {
    /// The account.
    pub account: AccountId,
}

/// A user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserRow {
    /// The account it acts for.
    pub account: AccountId,
    /// Whether it may be used.
    pub status: Status,
    /// When it was made.
    pub created: At,
}

/// An access key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessKeyRow {
    /// The user it belongs to.
    pub user: String,
    /// Its sealed secret.
    pub secret: SealedSecret,
    /// Whether it may be used.
    pub status: Status,
    /// When it was made.
    pub created: At,
}

/// Marks that a user has an access key or policy; the key says which.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachedRow {
    /// Since when.
    pub since: At,
}

macro_rules! rows {
    ($($row:ident $name:literal $($place:ident)?;)+) => {
        $(impl Row for $row {
            const NAME: &'static str = $name;
            $(
                fn place(&self) -> Option<Place> {
                    self.$place
                }
                fn set_place(&mut self, place: Option<Place>) {
                    self.$place = place;
                }
            )?
        })+
    };
}

rows! {
    BucketRow "bucket";
    ObjectRow "object" place;
    VersionKeyRow "version key" place;
    VersionIdRow "version id";
    NullRow "null version";
    ExpiryRow "expiry";
    BlobRefRow "blob reference";
    BlobRow "blob";
    UploadRow "upload";
    UploadKeyRow "upload key";
    PartRow "part";
    NameRow "name";
    OwnedNameRow "owned name";
    TenantRow "tenant";
    AccountRow "account";
    CanonicalRow "canonical id";
    UserRow "user";
    AccessKeyRow "access key";
    AttachedRow "attachment";
}

impl Row for VersionRow {
    const NAME: &'static str = "version";

    fn place(&self) -> Option<Place> {
        self.object().and_then(|object| object.place)
    }

    fn set_place(&mut self, place: Option<Place>) {
        if let Self::Object(object) = self {
            object.place = place;
        }
    }
}

impl Row for PastRow {
    const NAME: &'static str = "past version";

    fn place(&self) -> Option<Place> {
        self.version.place()
    }

    fn set_place(&mut self, place: Option<Place>) {
        self.version.set_place(place);
    }
}

mod summary {
    //! A listing decodes a thousand rows a page and shows six of their twelve fields.

    use super::{
        Checksum, Hlc, MarkerRow, ObjectRow, ObjectSummary, Row, RowError, Seq, VersionId, VersionRow,
        VersionSummary, split,
    };
    use serde::Deserialize;
    use serde::de::DeserializeOwned;
    use serde::de::IgnoredAny;

    #[derive(Deserialize)]
    struct Fields(
        Seq,
        Hlc,
        Option<VersionId>,
        u64,
        String,
        Vec<Checksum>,
        IgnoredAny,
        IgnoredAny,
        IgnoredAny,
        IgnoredAny,
        IgnoredAny,
        IgnoredAny,
    );

    #[derive(Deserialize)]
    enum Version {
        Object(Fields),
        Marker(MarkerRow),
    }

    impl From<Fields> for ObjectSummary {
        fn from(Fields(seq, hlc, version, size, etag, checksums, ..): Fields) -> Self {
            Self { seq, hlc, version, size, etag, checksums }
        }
    }

    pub(super) fn from_stored(stored: &[u8]) -> Result<ObjectSummary, RowError> {
        Ok(read::<Fields, ObjectRow>(stored)?.into())
    }

    pub(super) fn of_version(stored: &[u8]) -> Result<VersionSummary, RowError> {
        Ok(match read::<Version, VersionRow>(stored)? {
            Version::Object(fields) => VersionSummary::Object(fields.into()),
            Version::Marker(marker) => VersionSummary::Marker(marker),
        })
    }

    /// Reads a part of a stored row.
    fn read<T: DeserializeOwned, R: Row>(stored: &[u8]) -> Result<T, RowError> {
        let (_, mut rest) = split(stored).ok_or_else(|| R::unreadable(&"its local part is cut off"))?;
        T::deserialize(&mut rmp_serde::Deserializer::new(&mut rest)).map_err(|error| R::unreadable(&error))
    }
}

#[cfg(test)]
mod tests;
