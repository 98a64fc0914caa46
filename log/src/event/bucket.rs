use crate::id::{AccountId, StreamId};
use crate::name::BucketName;
use serde::{Deserialize, Serialize};

/// A name was taken for a bucket whose stream begins next (`system` stream; first half of a creation).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketNameReserved {
    /// The name, unique over all accounts.
    pub name: BucketName,
    /// The stream of this incarnation.
    pub stream: StreamId,
    /// The owner.
    pub owner: AccountId,
    /// The region asked for (`LocationConstraint`); empty for the default.
    pub location: String,
    /// The tags that the bucket begins with: names and values.
    pub tags: Vec<(String, String)>,
}

/// A name became free (`system` stream; second half of a deletion, or a creation that was undone).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketNameReleased {
    /// The name.
    pub name: BucketName,
    /// The incarnation that bore it.
    pub stream: StreamId,
}

/// The first record of a bucket's stream (second half of a creation).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketCreated {
    /// The name.
    pub name: BucketName,
    /// The owner.
    pub owner: AccountId,
    /// The region asked for (`LocationConstraint`); empty for the default.
    pub location: String,
}

/// The last state-changing record of a bucket's stream: it was empty and takes nothing more (first half of a
/// deletion). Uploads under way end with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketSealed {
    /// The name, for the audit index.
    pub name: BucketName,
}

/// Whether a bucket keeps the versions of its objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Versioning {
    /// It never did.
    #[default]
    Unversioned,
    /// Each write makes a version of its own.
    Enabled,
    /// It did; writes make the null version, and the others stay.
    Suspended,
}

/// A bucket began or ceased to keep versions (bucket stream).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketVersioningSet {
    /// From now on.
    pub versioning: Versioning,
}

/// A bucket got other tags in place of those it had (bucket stream).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketTagged {
    /// Names and values; none where the tags were removed.
    pub tags: Vec<(String, String)>,
}
