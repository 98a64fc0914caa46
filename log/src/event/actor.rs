use crate::id::AccountId;
use serde::{Deserialize, Serialize};

/// The way a command came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Door {
    /// The S3 listener.
    S3,
    /// The console API, which `siltstone admin` uses too.
    Console,
    /// A background worker of this server.
    Worker,
    /// The server itself, finishing or undoing what a crash left half done.
    Recovery,
    /// An offline command on the data directory.
    Offline,
}

/// Who caused an event: what an administrator needs to answer "who deleted this?".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// The account acted for; none for the server itself and for anonymous callers.
    pub account: Option<AccountId>,
    /// The user's name; empty for the server itself and for anonymous callers.
    pub user: String,
    /// The access key's id; empty where no key was used.
    pub access_key: String,
    /// The client's address without its port; empty for the server itself.
    pub address: String,
    /// The client's `User-Agent`, cut to 256 bytes.
    pub agent: String,
    /// The way it came in.
    pub door: Door,
    /// The id that the answer, the log lines and this record share.
    pub request_id: String,
}

impl Actor {
    /// The server itself, acting through the given door.
    pub fn server(door: Door) -> Self {
        let none = String::new;
        Self {
            account: None,
            user: none(),
            access_key: none(),
            address: none(),
            agent: none(),
            door,
            request_id: none(),
        }
    }
}
