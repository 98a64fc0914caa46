//! Creating and deleting a bucket: two halves in two streams, and what finishes them after a crash.
//!
//! | | first half | second half | between them |
//! |---|---|---|---|
//! | create | `system` reserves the name | the bucket's stream begins | the name has no bucket: it does not exist for readers |
//! | delete | the bucket's stream is sealed | `system` releases the name | the name's bucket is sealed: it does not exist for readers |
//!
//! The second half is submitted when the first one is durable and visible. It may use the log's reserve; where it is
//! refused all the same it is repeated until it is done ([`Unfinished`]). If a crash comes first, the next start
//! submits it, and so does the next creation of that name.

use super::command::{Action, BeginBucket, Command, CreateBucket, DeleteBucket, ReleaseBucketName};
use super::outcome::{EngineError, Outcome, Receipt};
use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};
use siltstone_log::event::Actor;
use siltstone_log::host::Entropy;
use siltstone_log::id::StreamId;
use siltstone_log::mutants::{Mutant, active};
use siltstone_projections::rows::NameRow;
use siltstone_projections::store::{Rows, StoreError};
use siltstone_projections::{buckets, names};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

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

    /// The second half once the first one came to this.
    #[must_use]
    pub fn resolved(self, first: &Outcome) -> Self {
        match (self, first) {
            // An interrupted creation is continued in the stream that it had reserved.
            (Self::Begin(create), Outcome::NameReserved { stream }) => {
                Self::Begin(CreateBucket { stream: *stream, ..create })
            }
            (half, _) => half,
        }
    }

    /// The action to submit after the first half came to this.
    pub fn after(self, first: &Outcome) -> Action {
        self.resolved(first).into()
    }

    fn bucket(&self) -> StreamId {
        match self {
            Self::Begin(create) => create.stream,
            Self::Release(delete) => delete.stream,
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
                let NameRow { owner, location, stream, tags, .. } = row;
                found.push(SecondHalf::Begin(CreateBucket { name, owner, location, stream, tags }));
            }
            Some(bucket) if !bucket.is_open() => {
                found.push(SecondHalf::Release(DeleteBucket { name, stream: row.stream }));
            }
            Some(_) => {}
        }
    }
    Ok(found)
}

/// What a second half came to.
pub type HalfResult = Result<Receipt, EngineError>;

struct Repeated {
    actor: Actor,
    half: SecondHalf,
    /// Where the last attempt's answer comes.
    answer: Option<Receiver<HalfResult>>,
}

/// Second halves that were refused, to be repeated until they are done: what was refused must not take effect at some
/// later start, long after its client heard that it did not happen.
#[derive(Default)]
pub struct Unfinished(Mutex<BTreeMap<StreamId, Repeated>>);

impl Unfinished {
    /// Remembers a second half that was refused.
    pub fn note(&self, actor: Actor, half: SecondHalf) {
        tracing::warn!(?half, "half of creating or deleting a bucket is refused; it is repeated");
        if active(Mutant::ForgetSecondHalf) {
            return;
        }
        let mut halves = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        halves.entry(half.bucket()).or_insert(Repeated { actor, half, answer: None });
    }

    /// Looks what came of the last attempts, and makes the next ones. Never waits.
    pub fn repeat(
        &self,
        entropy: &dyn Entropy,
        mut submit: impl FnMut(Command, Sender<HalfResult>) -> Result<(), EngineError>,
    ) {
        let mut halves = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        halves.retain(|_, repeated| {
            match repeated.answer.as_ref().map(Receiver::try_recv) {
                Some(Err(TryRecvError::Empty)) => return true,
                // Done, or not needed any more: whoever made that name again has finished it. After a fault nothing
                // goes on before the next start.
                Some(Ok(Ok(_) | Err(EngineError::Rejected(_) | EngineError::Fault(_)))) => return false,
                Some(Ok(Err(EngineError::Unavailable(_))) | Err(TryRecvError::Disconnected)) | None => {}
            }
            let (reply, answer) = bounded(1);
            let command = Command::new(repeated.actor.clone(), repeated.half.clone(), entropy);
            repeated.answer = submit(command, reply).is_ok().then_some(answer);
            true
        });
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}
