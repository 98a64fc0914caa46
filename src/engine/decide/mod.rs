//! Decisions: pure functions of a view, an action and nothing else, to events or a rejection.

/// The policies there are. What they allow is the doors' to know.
pub const BUILT_IN_POLICIES: [&str; 4] = ["readwrite", "readonly", "writeonly", "consoleAdmin"];
