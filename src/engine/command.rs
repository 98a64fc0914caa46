//! Every mutation there is, whatever door it came through.
//!
//! A command carries its identifiers and the seed of its salts, so that deciding it is deterministic. Who may do it
//! was settled by the door; what it does is settled by [`super::decide`].

use super::admission::Permit;
use super::content::StagedContent;
use bytes::Bytes;
use siltstone_log::event::{
    AccessDenied, AccessSuppressed, Actor, Checksum, ChecksumAlgorithm, ChecksumKind, ContentHeaders,
    CopiedFrom, LogRepaired, NodeStarted, SealedSecret, Status, TailDiscarded, Versioning,
};
use siltstone_log::host::{Entropy, draw};
use siltstone_log::id::{AccountId, Salt, Seq, StreamId, UploadId, VersionId, VersionRef};
use siltstone_log::name::{BucketName, ObjectKey};
use std::collections::{BTreeMap, BTreeSet};

/// The most keys one [`DeleteObjects`] may name.
pub const MAX_DELETE_KEYS: usize = 1000;
/// The most parts of an upload, and the highest part number.
pub const MAX_PARTS: u16 = 10_000;
/// The least bytes of every part of a completed upload but the last.
pub const MIN_PART_SIZE: u64 = 5 << 20;
/// The most bytes of one PUT or part.
pub const MAX_PUT_SIZE: u64 = 5 << 30;
/// The most bytes of a completed upload.
pub const MAX_OBJECT_SIZE: u64 = 5 << 40;

/// A mutation and who asked for it.
#[derive(Debug)]
pub struct Command {
    /// Who, from where, through which door. Goes into every record of it.
    pub actor: Actor,
    /// What.
    pub action: Action,
    /// Where its records' salts come from.
    pub salts: SaltSeed,
    /// What was admitted for it: held until its bytes are durable or given up, whoever waits for the answer.
    pub permit: Option<Permit>,
}

impl Command {
    /// Wraps an action, with fresh salts.
    pub fn new(actor: Actor, action: impl Into<Action>, entropy: &dyn Entropy) -> Self {
        Self { actor, action: action.into(), salts: SaltSeed::draw(entropy), permit: None }
    }

    /// The command with what was admitted for it.
    #[must_use]
    pub fn holding(self, permit: Permit) -> Self {
        Self { permit: Some(permit), ..self }
    }

    /// The stream that decides it first.
    pub fn stream(&self) -> StreamId {
        self.action.stream()
    }
}

/// Unpredictable bytes from which the salts of a command's records are derived: one draw, however many records. The
/// seed itself is never stored, so one record's salt says nothing about another's.
#[derive(Clone, PartialEq, Eq)]
pub struct SaltSeed([u8; 32]);

impl SaltSeed {
    /// Draws a seed.
    pub fn draw(entropy: &dyn Entropy) -> Self {
        Self(draw(entropy))
    }

    /// The salt of the command's record number `index`.
    pub fn salt(&self, index: u32) -> Salt {
        let hash = blake3::keyed_hash(&self.0, &index.to_le_bytes());
        let mut salt = Salt::default();
        salt.0.copy_from_slice(hash.as_bytes().first_chunk::<{ Salt::LEN }>().unwrap_or(&[0; Salt::LEN]));
        salt
    }
}

impl std::fmt::Debug for SaltSeed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SaltSeed(..)")
    }
}

macro_rules! actions {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        /// A mutation.
        #[derive(Debug)]
        #[expect(missing_docs, reason = "each variant is documented at the struct it carries")]
        #[expect(clippy::large_enum_variant, reason = "most are the largest one, and commands travel in a box")]
        pub enum Action {
            $($name($name),)+
        }

        $(impl From<$name> for Action {
            fn from(action: $name) -> Self {
                Self::$name(action)
            }
        })+

        impl Action {
            /// The action's name, for traces and metrics.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$name(_) => stringify!($name),)+
                }
            }
        }
    };
}

actions! {
    CreateBucket,
    DeleteBucket,
    SetVersioning,
    TagBucket,
    PutObject,
    DeleteObject,
    DeleteObjects,
    TagObject,
    ExpireVersions,
    CreateMultipart,
    UploadPart,
    CompleteMultipart,
    AbortMultipart,
    CreateTenant,
    CreateAccount,
    CreateUser,
    DeleteUser,
    SetUserStatus,
    CreateAccessKey,
    DeleteAccessKey,
    SetAccessKeyStatus,
    AttachPolicy,
    DetachPolicy,
    BeginBucket,
    ReleaseBucketName,
    StartNode,
    RecordDenied,
    RecordSuppressed,
    RecordRepair,
}

impl Action {
    /// The stream that decides it first: a bucket's own, or `system`.
    pub fn stream(&self) -> StreamId {
        match self {
            Self::PutObject(put) => put.stream,
            Self::DeleteObject(delete) => delete.stream,
            Self::DeleteObjects(delete) => delete.stream,
            Self::TagObject(tag) => tag.stream,
            Self::ExpireVersions(expire) => expire.stream,
            Self::SetVersioning(set) => set.stream,
            Self::TagBucket(tag) => tag.stream,
            Self::CreateMultipart(create) => create.stream,
            Self::UploadPart(upload) => upload.stream,
            Self::CompleteMultipart(complete) => complete.stream,
            Self::AbortMultipart(abort) => abort.stream,
            Self::DeleteBucket(delete) => delete.stream,
            Self::BeginBucket(begin) => begin.0.stream,
            Self::RecordDenied(_) | Self::RecordSuppressed(_) => StreamId::ACCESS,
            Self::CreateBucket(_)
            | Self::CreateTenant(_)
            | Self::CreateAccount(_)
            | Self::CreateUser(_)
            | Self::DeleteUser(_)
            | Self::SetUserStatus(_)
            | Self::CreateAccessKey(_)
            | Self::DeleteAccessKey(_)
            | Self::SetAccessKeyStatus(_)
            | Self::AttachPolicy(_)
            | Self::DetachPolicy(_)
            | Self::ReleaseBucketName(_)
            | Self::StartNode(_)
            | Self::RecordRepair(_) => StreamId::SYSTEM,
        }
    }
}

impl Action {
    /// Whether it may use the space that is kept back on a full disk: what frees space, and what administers.
    pub fn is_priority(&self) -> bool {
        match self {
            Self::DeleteBucket(_)
            // The second half of a creation: without it the first one would take effect at some later time.
            | Self::BeginBucket(_)
            | Self::ReleaseBucketName(_)
            | Self::DeleteObject(_)
            | Self::DeleteObjects(_)
            | Self::ExpireVersions(_)
            | Self::AbortMultipart(_)
            | Self::CreateTenant(_)
            | Self::CreateAccount(_)
            | Self::CreateUser(_)
            | Self::DeleteUser(_)
            | Self::SetUserStatus(_)
            | Self::CreateAccessKey(_)
            | Self::DeleteAccessKey(_)
            | Self::SetAccessKeyStatus(_)
            | Self::AttachPolicy(_)
            | Self::DetachPolicy(_)
            | Self::StartNode(_)
            | Self::RecordRepair(_) => true,
            Self::CreateBucket(_)
            | Self::SetVersioning(_)
            | Self::TagBucket(_)
            | Self::PutObject(_)
            | Self::TagObject(_)
            | Self::CreateMultipart(_)
            | Self::UploadPart(_)
            | Self::CompleteMultipart(_)
            | Self::RecordDenied(_)
            | Self::RecordSuppressed(_) => false,
        }
    }

    /// Whether its records are evidence only, which a program that does not know them may pass over.
    pub fn is_evidence(&self) -> bool {
        matches!(self, Self::RecordDenied(_) | Self::RecordSuppressed(_))
    }
}

/// Takes a name for a new bucket and begins its stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateBucket {
    /// The name.
    pub name: BucketName,
    /// The owner to be.
    pub owner: AccountId,
    /// The region asked for (`LocationConstraint`); empty for the default.
    pub location: String,
    /// The stream of this incarnation, freshly drawn.
    pub stream: StreamId,
    /// The tags it begins with.
    pub tags: Vec<(String, String)>,
}

/// Seals an empty bucket and frees its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteBucket {
    /// The name.
    pub name: BucketName,
    /// The incarnation that was authorised.
    pub stream: StreamId,
}

/// Which ETags a condition names, without quotes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EtagMatch {
    /// `*`: any object there is.
    Any,
    /// One of these.
    Etags(Vec<String>),
}

impl EtagMatch {
    /// Whether an object with this ETag is meant.
    pub fn matches(&self, etag: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Etags(etags) => etags.iter().any(|wanted| wanted == etag),
        }
    }
}

/// What must hold of the key's current object when a write is decided.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Conditions {
    /// `If-Match`: there is an object, and it has one of these ETags.
    pub if_match: Option<EtagMatch>,
    /// `If-None-Match`: there is no object with one of these ETags.
    pub if_none_match: Option<EtagMatch>,
}

/// Stores an object.
#[derive(Debug)]
pub struct PutObject {
    /// The bucket's stream.
    pub stream: StreamId,
    /// The key.
    pub key: ObjectKey,
    /// The bytes, staged: in memory, or durable in packs.
    pub content: StagedContent,
    /// The ETag without quotes: 32 hex digits of the content's MD5.
    pub etag: String,
    /// Verified checksums.
    pub checksums: Vec<Checksum>,
    /// Standard headers.
    pub headers: ContentHeaders,
    /// `x-amz-meta-*`, names in lower case without the prefix, in the order they came.
    pub metadata: Vec<(String, String)>,
    /// Names and values, in the order they came.
    pub tags: Vec<(String, String)>,
    /// The version's id, freshly drawn; used where the bucket keeps versions.
    pub version: VersionId,
    /// Set where it is a copy.
    pub copied_from: Option<CopiedFrom>,
    /// What must hold.
    pub conditions: Conditions,
}

/// Begins or ceases to keep versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetVersioning {
    /// The bucket's stream.
    pub stream: StreamId,
    /// From now on. A bucket never becomes [`Versioning::Unversioned`] again.
    pub versioning: Versioning,
}

/// Gives a bucket tags in place of those it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagBucket {
    /// The bucket's stream.
    pub stream: StreamId,
    /// Names and values; none removes them.
    pub tags: Vec<(String, String)>,
}

/// A deletion of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyDeletion {
    /// The key.
    pub key: ObjectKey,
    /// Exactly this version; none for what the key holds, over which a versioned bucket puts a delete marker.
    pub version: Option<VersionRef>,
    /// The delete marker's id, freshly drawn.
    pub marker: VersionId,
    /// What must hold of what is deleted.
    pub conditions: Conditions,
}

/// Deletes a key or one of its versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteObject {
    /// The bucket's stream.
    pub stream: StreamId,
    /// What.
    pub deletion: KeyDeletion,
}

/// Deletes up to [`MAX_DELETE_KEYS`] keys, each for itself: one that is refused does not keep the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteObjects {
    /// The bucket's stream.
    pub stream: StreamId,
    /// What. Each is decided upon what was there before the command: see [`DeleteObjects::in_turn`].
    pub deletions: Vec<KeyDeletion>,
}

impl DeleteObjects {
    /// Splits deletions into commands, to be submitted one after the other, in which none depends on another. Versions of
    /// a key that are named by their ids may go together; whatever makes a marker, or has a condition, waits for what was
    /// named before it.
    pub fn in_turn(stream: StreamId, deletions: Vec<KeyDeletion>) -> Vec<Self> {
        let mut commands: Vec<Self> = Vec::new();
        // The keys of the last command: versions that go, or none where nothing more may join.
        let mut named: BTreeMap<ObjectKey, Option<BTreeSet<VersionRef>>> = BTreeMap::new();
        for deletion in deletions {
            let version = deletion.version.filter(|_| deletion.conditions == Conditions::default());
            let joins = match (named.get_mut(&deletion.key), version) {
                (None, _) => true,
                (Some(Some(gone)), Some(version)) => gone.insert(version),
                (Some(_), _) => false,
            };
            if !joins {
                named.clear();
            }
            named
                .entry(deletion.key.clone())
                .or_insert_with(|| version.map(|version| BTreeSet::from([version])));
            match commands.last_mut().filter(|_| joins) {
                Some(last) => last.deletions.push(deletion),
                None => commands.push(Self { stream, deletions: vec![deletion] }),
            }
        }
        commands
    }
}

/// Gives a version tags in place of those it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagObject {
    /// The bucket's stream.
    pub stream: StreamId,
    /// The key.
    pub key: ObjectKey,
    /// The version; none for what the key holds.
    pub version: Option<VersionRef>,
    /// Names and values; none removes them.
    pub tags: Vec<(String, String)>,
}

/// Forgets versions that were deleted or replaced and have left the history window, and gives their bytes back. Those
/// that are gone already are passed over. Sealed buckets take it too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpireVersions {
    /// The bucket's stream.
    pub stream: StreamId,
    /// Keys, and the records that made the versions.
    pub versions: Vec<(ObjectKey, Seq)>,
}

/// Begins a multipart upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateMultipart {
    /// The bucket's stream.
    pub stream: StreamId,
    /// The upload, freshly drawn.
    pub upload: UploadId,
    /// The key it will store.
    pub key: ObjectKey,
    /// Standard headers of the object to be.
    pub headers: ContentHeaders,
    /// `x-amz-meta-*` of the object to be.
    pub metadata: Vec<(String, String)>,
    /// The checksum that parts carry, where one was asked for, and what the object's checksum will cover.
    pub checksum: Option<(ChecksumAlgorithm, ChecksumKind)>,
    /// Tags of the object to be.
    pub tags: Vec<(String, String)>,
}

/// Stores a part of an upload, in place of one with the same number.
#[derive(Debug)]
pub struct UploadPart {
    /// The bucket's stream.
    pub stream: StreamId,
    /// The key named in the request, which must be the upload's.
    pub key: ObjectKey,
    /// The upload.
    pub upload: UploadId,
    /// 1 to [`MAX_PARTS`].
    pub number: u16,
    /// The bytes: empty, or durable in packs (never in memory, see [`super::content::Placement`]).
    pub content: StagedContent,
    /// The part's ETag without quotes.
    pub etag: String,
    /// Verified checksums.
    pub checksums: Vec<Checksum>,
    /// Set where it is a copy.
    pub copied_from: Option<CopiedFrom>,
}

/// A part as the completion request names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedPart {
    /// Its number.
    pub number: u16,
    /// Its ETag without quotes.
    pub etag: String,
    /// The checksums the client repeats, raw values.
    pub checksums: Vec<(ChecksumAlgorithm, Bytes)>,
}

/// Makes an object of an upload's parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompleteMultipart {
    /// The bucket's stream.
    pub stream: StreamId,
    /// The key named in the request, which must be the upload's.
    pub key: ObjectKey,
    /// The upload.
    pub upload: UploadId,
    /// The parts in the order they came.
    pub parts: Vec<NamedPart>,
    /// `x-amz-mp-object-size`: the size the client expects.
    pub size: Option<u64>,
    /// `x-amz-checksum-*`: the object's checksum that the client expects, raw value without `-N`.
    pub checksum: Option<(ChecksumAlgorithm, Bytes)>,
    /// `x-amz-checksum-type`: what the client takes it to cover; must agree with the upload.
    pub checksum_kind: Option<ChecksumKind>,
    /// The version's id, freshly drawn; used where the bucket keeps versions.
    pub version: VersionId,
    /// What must hold.
    pub conditions: Conditions,
}

/// Gives an upload up and its parts' space back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AbortMultipart {
    /// The bucket's stream.
    pub stream: StreamId,
    /// The key named in the request, which must be the upload's.
    pub key: ObjectKey,
    /// The upload.
    pub upload: UploadId,
}

/// Makes a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateTenant {
    /// Its name, unique on the node.
    pub tenant: String,
}

/// Makes an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateAccount {
    /// The tenant it belongs to.
    pub tenant: String,
    /// The account, freshly drawn.
    pub account: AccountId,
    /// The id S3 shows as owner, unique on the node.
    pub canonical_id: String,
    /// The name S3 shows as owner.
    pub display_name: String,
    /// A contact address; may be empty.
    pub email: String,
}

/// Makes a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateUser {
    /// The account it acts for.
    pub account: AccountId,
    /// Its name, unique on the node.
    pub user: String,
}

/// Removes a user with its keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteUser {
    /// The user.
    pub user: String,
}

/// Suspends a user or lets it in again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetUserStatus {
    /// The user.
    pub user: String,
    /// From now on.
    pub status: Status,
}

/// Gives a user an access key, whose secret the caller has sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateAccessKey {
    /// The user.
    pub user: String,
    /// The key's public id, unique on the node.
    pub access_key: String,
    /// Its secret.
    pub secret: SealedSecret,
}

/// Removes an access key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteAccessKey {
    /// The key's public id.
    pub access_key: String,
}

/// Suspends an access key or lets it in again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAccessKeyStatus {
    /// The key's public id.
    pub access_key: String,
    /// From now on.
    pub status: Status,
}

/// Gives a user a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachPolicy {
    /// The user.
    pub user: String,
    /// The policy's name: one of [`super::decide::BUILT_IN_POLICIES`].
    pub policy: String,
}

/// Takes a policy from a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetachPolicy {
    /// The user.
    pub user: String,
    /// The policy's name.
    pub policy: String,
}

/// Second half of [`CreateBucket`]: the bucket's stream begins. Submitted by the engine itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BeginBucket(pub CreateBucket);

/// Second half of [`DeleteBucket`]: the name becomes free. Submitted by the engine itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseBucketName(pub DeleteBucket);

/// The server begins to serve this log; the first time, the default tenant and root's account are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartNode {
    /// What happened.
    pub started: NodeStarted,
    /// What recovery dropped, where it did.
    pub discarded: Option<TailDiscarded>,
    /// Root's canonical id, freshly drawn; used at the first start only.
    pub canonical_id: String,
}

/// A request was refused because of who sent it. Nobody waits for its record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordDenied(pub AccessDenied);

/// Refused requests were not recorded one by one. Nobody waits for its record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordSuppressed(pub AccessSuppressed);

/// An administrator gave up a range of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordRepair(pub LogRepaired);

#[cfg(test)]
mod tests {
    use super::*;
    use siltstone_log::host::real::RealEntropy;
    use std::collections::BTreeSet;

    #[test]
    fn every_record_of_a_command_has_a_salt_of_its_own() {
        let (one, other) = (SaltSeed::draw(&RealEntropy), SaltSeed::draw(&RealEntropy));
        let salts: BTreeSet<Salt> = (0..1000).flat_map(|i| [one.salt(i), other.salt(i)]).collect();
        assert_eq!(salts.len(), 2000);
        assert_eq!(one.salt(7), one.clone().salt(7));
    }

    #[test]
    fn an_etag_condition_names_any_object_or_listed_ones() {
        assert!(EtagMatch::Any.matches("a"));
        let listed = EtagMatch::Etags(vec!["a".into(), "b".into()]);
        assert!(listed.matches("b") && !listed.matches("c"));
    }
}
