//! Decisions: pure functions of a view and an action, to events or a rejection.
//!
//! The view shows what is durable and, over it, what this stream's earlier commands will make of it. Nothing here
//! has a clock, dice or I/O, so the simulator and a replayed trace decide the same.
//!
//! Next hop: [`super::stream_task`], which numbers the events and submits them.

mod bucket;
mod identity;
mod multipart;
mod multipart_checksum;
mod node;
mod object;

use super::command::Action;
use super::content::BlobGuard;
use super::outcome::{Fault, Outcome, Rejection};
use siltstone_log::event::Event;
use siltstone_log::mutants::{Mutant, active};
use siltstone_log::record::DraftContent;
use siltstone_projections::store::{Rows, StoreError};

/// The policies there are. What they allow is the doors' to know.
pub const BUILT_IN_POLICIES: [&str; 4] = ["readwrite", "readonly", "writeonly", "consoleAdmin"];

/// What an action comes to.
#[derive(Debug)]
pub struct Decision {
    /// The events, with the bytes that go into their records. None where nothing has to change.
    pub events: Vec<(Event, DraftContent)>,
    /// What the door tells the client once they are durable.
    pub outcome: Outcome,
    /// Keeps the blob that an event names, until its record is durable.
    pub guard: BlobGuard,
}

impl Decision {
    fn events(events: impl IntoIterator<Item = Event>, outcome: Outcome) -> Self {
        let events = events.into_iter().map(|event| (event, DraftContent::None)).collect();
        Self { events, outcome, guard: BlobGuard::none() }
    }

    fn event(event: Event) -> Self {
        Self::events([event], Outcome::Done)
    }

    /// One event with bytes of its own.
    fn storing(event: Event, bytes: DraftContent, guard: BlobGuard, outcome: Outcome) -> Self {
        Self { events: vec![(event, bytes)], outcome, guard }
    }

    fn nothing(outcome: Outcome) -> Self {
        Self::events([], outcome)
    }
}

/// Why an action comes to nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecideError {
    /// The client's doing.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The view cannot be read, or the command is none that a door may make.
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl From<StoreError> for DecideError {
    fn from(error: StoreError) -> Self {
        Self::Fault(Fault::Projection(error.to_string()))
    }
}

type Decided = Result<Decision, DecideError>;

/// Decides an action.
pub fn decide(rows: &dyn Rows, action: Action) -> Result<Decision, DecideError> {
    match action {
        Action::CreateBucket(action) => bucket::create(rows, action),
        Action::BeginBucket(action) => bucket::begin(rows, action.0),
        Action::DeleteBucket(action) => bucket::delete(rows, action),
        Action::ReleaseBucketName(action) => bucket::release(rows, action.0),
        Action::SetVersioning(action) => bucket::set_versioning(rows, &action),
        Action::TagBucket(action) => bucket::tag(rows, action),
        Action::PutObject(action) => object::put(rows, action),
        Action::DeleteObject(action) => object::delete(rows, action),
        Action::DeleteObjects(action) => object::delete_each(rows, action),
        Action::TagObject(action) => object::tag(rows, action),
        Action::ExpireVersions(action) => object::expire(rows, action),
        Action::CreateMultipart(action) => multipart::create(rows, action),
        Action::UploadPart(action) => multipart::upload_part(rows, action),
        Action::CompleteMultipart(action) if active(Mutant::DeleteOnFailedComplete) => {
            multipart::complete_or_delete(rows, &action)
        }
        Action::CompleteMultipart(action) => multipart::complete(rows, &action),
        Action::AbortMultipart(action) => multipart::abort(rows, action),
        Action::CreateTenant(action) => identity::create_tenant(rows, action),
        Action::CreateAccount(action) => identity::create_account(rows, action),
        Action::CreateUser(action) => identity::create_user(rows, action),
        Action::DeleteUser(action) => identity::delete_user(rows, action),
        Action::SetUserStatus(action) => identity::set_user_status(rows, action),
        Action::CreateAccessKey(action) => identity::create_access_key(rows, action),
        Action::DeleteAccessKey(action) => identity::delete_access_key(rows, action),
        Action::SetAccessKeyStatus(action) => identity::set_access_key_status(rows, action),
        Action::AttachPolicy(action) => identity::attach_policy(rows, action),
        Action::DetachPolicy(action) => identity::detach_policy(rows, action),
        Action::StartNode(action) => node::start(rows, action),
        Action::RecordDenied(action) => Ok(Decision::event(Event::AccessDenied(action.0))),
        Action::RecordSuppressed(action) => Ok(Decision::event(Event::AccessSuppressed(action.0))),
        Action::RecordRepair(action) => Ok(Decision::event(Event::LogRepaired(action.0))),
    }
}
