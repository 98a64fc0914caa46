//! Creating and deleting a bucket: two halves in two streams, and what finishes them after a crash.
//!
//! | | first half | second half | between them |
//! |---|---|---|---|
//! | create | `system` reserves the name | the bucket's stream begins | the name has no bucket: it does not exist for readers |
//! | delete | the bucket's stream is sealed | `system` releases the name | the name's bucket is sealed: it does not exist for readers |
//!
//! The second half is submitted when the first one is durable and visible. If it never is, the next start submits
//! it, and so does the next creation of that name.

use super::command::{Action, BeginBucket, CreateBucket, DeleteBucket, ReleaseBucketName};
use super::outcome::Outcome;
use siltstone_projections::store::{Rows, StoreError};
use siltstone_projections::{buckets, names};

/// What is left to do of an action once its own records are visible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecondHalf {
    /// Begin the bucket's stream.
    Begin(CreateBucket),
    /// Release the name.
    Release(DeleteBucket),
}

impl SecondHalf {
    /// Remembers the second half of an action, if it has one; the first half's outcome completes it.
    pub fn of(action: &Action) -> Option<Self> {
        match action {
            Action::CreateBucket(create) => Some(Self::Begin(create.clone())),
            Action::DeleteBucket(delete) => Some(Self::Release(delete.clone())),
            Action::SetVersioning(_)
            | Action::TagBucket(_)
            | Action::PutObject(_)
            | Action::DeleteObject(_)
            | Action::DeleteObjects(_)
            | Action::TagObject(_)
            | Action::ExpireVersions(_)
            | Action::CreateMultipart(_)
            | Action::UploadPart(_)
            | Action::CompleteMultipart(_)
            | Action::AbortMultipart(_)
            | Action::CreateTenant(_)
            | Action::CreateAccount(_)
            | Action::CreateUser(_)
            | Action::DeleteUser(_)
            | Action::SetUserStatus(_)
            | Action::CreateAccessKey(_)
            | Action::DeleteAccessKey(_)
            | Action::SetAccessKeyStatus(_)
            | Action::AttachPolicy(_)
            | Action::DetachPolicy(_)
            | Action::BeginBucket(_)
            | Action::ReleaseBucketName(_)
            | Action::StartNode(_)
            | Action::RecordDenied(_)
            | Action::RecordSuppressed(_)
            | Action::RecordRepair(_) => None,
        }
    }

    /// The action to submit after the first half came to this.
    pub fn after(self, first: &Outcome) -> Action {
        match (self, first) {
            // An interrupted creation is continued in the stream that it had reserved.
            (Self::Begin(create), Outcome::NameReserved { stream }) => {
                BeginBucket(CreateBucket { stream: *stream, ..create }).into()
            }
            (half, _) => half.into(),
        }
    }
}

impl From<SecondHalf> for Action {
    fn from(half: SecondHalf) -> Self {
        match half {
            SecondHalf::Begin(create) => BeginBucket(create).into(),
            SecondHalf::Release(delete) => ReleaseBucketName(delete).into(),
        }
    }
}

/// What a crash left half done.
pub fn unfinished(rows: &dyn Rows) -> Result<Vec<SecondHalf>, StoreError> {
    let mut found = Vec::new();
    for entry in names::iter(rows) {
        let (name, row) = entry?;
        match buckets::get(rows, row.stream)? {
            None => {
                let (owner, location, stream) = (row.owner, row.location, row.stream);
                found.push(SecondHalf::Begin(CreateBucket { name, owner, location, stream }));
            }
            Some(bucket) if !bucket.is_open() => {
                found.push(SecondHalf::Release(DeleteBucket { name, stream: row.stream }));
            }
            Some(_) => {}
        }
    }
    Ok(found)
}
