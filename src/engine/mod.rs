//! The one write path: commands in, receipts out.
//!
//! A door authorises a request, builds a [`Command`] and calls [`Engine::submit`]. The command goes to the shard
//! that owns its stream, is decided there, becomes records, and is answered when those are durable and reads see
//! them. Reads go through [`Engine::view`] and show durable state only.

pub mod admission;
pub mod command;
pub mod content;
pub mod decide;
pub mod outcome;

pub use admission::{Need, Permit};
pub use command::{Action, Command};
pub use content::{Placement, StagedContent};
pub use outcome::{EngineError, Fault, Outcome, Receipt, Rejection, Unavailable};

use siltstone_log::id::AccountId;

/// The tenant that exists from the start.
pub const DEFAULT_TENANT: &str = "default";
/// Root's account, which exists from the start.
pub const ROOT_ACCOUNT: AccountId = AccountId(*b"siltstone/root..");
/// Root's user name, which nobody else can take. Its credentials are in `keys/`, not in the log.
pub const ROOT_USER: &str = "root";
