use crate::id::{NodeId, Position};
use serde::{Deserialize, Serialize};

/// A server began to serve this log (`system` stream).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStarted {
    /// The node.
    pub node: NodeId,
    /// The program's version.
    pub version: String,
    /// Whether the stop before was a clean one.
    pub clean: bool,
}

/// Recovery found an incomplete last batch that nobody had been told about, and dropped it (`system` stream).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TailDiscarded {
    /// The position the dropped batch would have begun at.
    pub first: Position,
    /// Bytes up to the last one that was not zero.
    pub bytes: u64,
}

/// An administrator gave up records that could not be read (`log repair --accept-loss`; `system` stream).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRepaired {
    /// The first position given up.
    pub first: Position,
    /// The last position given up.
    pub last: Position,
    /// Why it was unreadable.
    pub reason: String,
}
