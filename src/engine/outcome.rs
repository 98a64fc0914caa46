//! What a command comes to: a receipt, or one of three kinds of refusal.
//!
//! A [`Rejection`] is the client's doing and deterministic. [`Unavailable`] passes: the same command may succeed
//! later, and it changed nothing. After a [`Fault`] the outcome is unknown: the record may be durable or not, so a
//! door must never answer it with a definite refusal.

use siltstone_log::event::{Checksum, ChecksumAlgorithm};
use siltstone_log::hlc::Hlc;
use siltstone_log::host::DiskError;
use siltstone_log::id::{Position, Seq, StreamId, UploadId, VersionRef};

/// A command is done: its records are durable, and reads see them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The stream that decided it.
    pub stream: StreamId,
    /// Its last record's number there; where it needed no record, that of the newest record it was decided upon.
    pub seq: Seq,
    /// That record's position in the node's log; 0 where it is from before this start.
    pub position: Position,
    /// When that record was decided: the `LastModified` of what was stored; 0 where it needed no record.
    pub hlc: Hlc,
    /// What the door tells the client.
    pub outcome: Outcome,
}

/// What a successful command did, as far as a door does not know it already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing to tell.
    Done,
    /// A bucket's name is reserved; its stream begins next. Doors never see this one.
    NameReserved {
        /// The stream to begin: the one asked for, or that of a creation which was interrupted.
        stream: StreamId,
    },
    /// An object was stored.
    Stored {
        /// Its version; none where the bucket never kept versions.
        version: Option<VersionRef>,
    },
    /// A key was deleted, or was not there.
    Deleted(Deleted),
    /// Each key of a [`super::command::DeleteObjects`] in turn.
    DeletedEach(Vec<Result<Deleted, Rejection>>),
    /// A version got tags.
    Tagged {
        /// The version; none where the bucket never kept versions.
        version: Option<VersionRef>,
    },
    /// A multipart upload began.
    MultipartCreated {
        /// The upload.
        upload: UploadId,
    },
    /// An upload became an object.
    MultipartCompleted(CompletedObject),
}

/// What a deletion did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Deleted {
    /// Whether anything was deleted or marked.
    pub existed: bool,
    /// The version that was deleted, or the delete marker that was made; none where the bucket never kept versions.
    pub version: Option<VersionRef>,
    /// Whether that version is a delete marker.
    pub marker: bool,
}

/// The object that an upload became.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompletedObject {
    /// The ETag without quotes, with its `-N`.
    pub etag: String,
    /// Bytes.
    pub size: u64,
    /// Its checksums. A composite one is the raw hash; `-N` is the door's to write.
    pub checksums: Vec<Checksum>,
    /// How many parts it has.
    pub parts: usize,
    /// Its version; none where the bucket never kept versions.
    pub version: Option<VersionRef>,
}

/// Which condition of a request did not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailedCondition {
    /// `If-Match`.
    IfMatch,
    /// `If-None-Match`.
    IfNoneMatch,
}

impl FailedCondition {
    /// The header's name.
    pub fn header(self) -> &'static str {
        match self {
            Self::IfMatch => "If-Match",
            Self::IfNoneMatch => "If-None-Match",
        }
    }
}

/// The client's doing: deterministic, and nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The bucket is gone, or never was.
    #[error("the bucket does not exist")]
    NoSuchBucket,
    /// Another account has a bucket of this name.
    #[error("the bucket name is taken")]
    BucketAlreadyExists,
    /// The same account has it already.
    #[error("the bucket exists and is yours")]
    BucketAlreadyOwnedByYou,
    /// Only an empty bucket is deleted.
    #[error("the bucket is not empty")]
    BucketNotEmpty,
    /// A condition asked for an object, and there is none.
    #[error("the key does not exist")]
    NoSuchKey,
    /// The version does not exist.
    #[error("the version does not exist")]
    NoSuchVersion,
    /// What was asked for is a delete marker.
    #[error("the version is a delete marker")]
    IsDeleteMarker,
    /// The version whose bytes were to be shared holds them no longer: they have to be read and written again.
    #[error("the source of the copy has changed")]
    SourceChanged,
    /// A bucket that kept versions can only suspend it.
    #[error("versioning can be suspended, not undone")]
    VersioningNotUndone,
    /// A condition did not hold.
    #[error("a precondition did not hold: {}", .0.header())]
    PreconditionFailed(FailedCondition),
    /// The upload was completed or aborted, is another key's, or never was.
    #[error("the upload does not exist")]
    NoSuchUpload,
    /// Part numbers are 1 to 10,000.
    #[error("part number {number} is not between 1 and 10000")]
    InvalidPartNumber {
        /// The number given.
        number: u16,
    },
    /// A completion names no parts.
    #[error("a completion names at least one part")]
    NoParts,
    /// A completion's parts are not in ascending order.
    #[error("the parts are not in ascending order")]
    InvalidPartOrder,
    /// A part was not uploaded, or its ETag or checksum differs.
    #[error("part {number} is missing, or its ETag or checksum differs")]
    InvalidPart {
        /// Its number.
        number: u16,
    },
    /// A part other than the last is too small.
    #[error("part {number} has {size} bytes; {minimum} are the least")]
    EntityTooSmall {
        /// Its number.
        number: u16,
        /// Its ETag without quotes.
        etag: String,
        /// Its bytes.
        size: u64,
        /// The least allowed.
        minimum: u64,
    },
    /// The object would be too large.
    #[error("the object has {size} bytes; {maximum} are the most")]
    EntityTooLarge {
        /// Its bytes.
        size: u64,
        /// The most allowed.
        maximum: u64,
    },
    /// The checksum the client gave is not the completed object's.
    #[error("the checksum is not that of the object")]
    BadDigest,
    /// A completion's size, checksum algorithm or checksum type is not the upload's.
    #[error("{0}")]
    InvalidRequest(InvalidRequest),
    /// Too many keys, or too many bytes, in one command.
    #[error("too much in one request")]
    TooLarge,
    /// A tenant of this name exists.
    #[error("the tenant exists")]
    TenantExists,
    /// No such tenant.
    #[error("the tenant does not exist")]
    NoSuchTenant,
    /// The account or its canonical id exists.
    #[error("an account with this id exists")]
    AccountExists,
    /// No such account.
    #[error("the account does not exist")]
    NoSuchAccount,
    /// A user of this name exists.
    #[error("the user exists")]
    UserExists,
    /// No such user.
    #[error("the user does not exist")]
    NoSuchUser,
    /// An access key of this id exists.
    #[error("the access key exists")]
    AccessKeyExists,
    /// No such access key.
    #[error("the access key does not exist")]
    NoSuchAccessKey,
    /// No such policy.
    #[error("the policy does not exist")]
    NoSuchPolicy,
    /// The user does not have the policy.
    #[error("the policy is not attached to the user")]
    PolicyNotAttached,
}

/// How a completion contradicts its upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRequest {
    /// `x-amz-mp-object-size` is not the sum of the parts.
    #[error("the size given is not that of the parts")]
    ObjectSize,
    /// Another checksum algorithm than the upload's.
    #[error("the checksum algorithm is not the upload's")]
    ChecksumAlgorithm,
    /// Another checksum type than the upload's.
    #[error("the checksum type is not the upload's")]
    ChecksumKind,
    /// A completion names a part without its checksum, of which the object's is to be made.
    #[error("part {number} is named without its checksum of the upload's algorithm")]
    ChecksumNotNamed {
        /// The upload's algorithm.
        algorithm: ChecksumAlgorithm,
        /// The part's number.
        number: u16,
    },
    /// A part was uploaded without the checksum that the upload asks for.
    #[error("part {number} has no checksum of the upload's algorithm")]
    PartWithoutChecksum {
        /// Its number.
        number: u16,
    },
}

/// It did not happen, and may later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// Too much under way.
    #[error("too many requests are under way")]
    SlowDown,
    /// The disk is nearly full.
    #[error("the disk is full or nearly so")]
    NoSpace,
    /// Part of the stream's history cannot be read: it takes no writes until it is repaired.
    #[error("part of this stream's log is quarantined")]
    Quarantined,
    /// The server stops.
    #[error("the server is shutting down")]
    ShuttingDown,
}

/// Something broke; whether the command took effect is unknown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A disk operation failed.
    #[error("{0}")]
    Disk(DiskError),
    /// The log refuses writes after a failure.
    #[error("the log stopped after a failure")]
    LogStopped,
    /// A projection cannot be read or written, or contradicts the log.
    #[error("a projection failed: {0}")]
    Projection(String),
    /// Stored content does not match its checksum, or is not where its record says.
    #[error("stored content is damaged: {0}")]
    Content(String),
    /// A part of the server ended before it answered.
    #[error("the {0} ended unexpectedly")]
    Ended(&'static str),
}

/// Why a command has no receipt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The client's doing.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// It may succeed later.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// The outcome is unknown.
    #[error(transparent)]
    Fault(#[from] Fault),
}
