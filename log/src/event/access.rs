use serde::{Deserialize, Serialize};

/// A request was refused because of who sent it (`access` stream). Evidence: not awaited, limited per address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessDenied {
    /// The operation's name, empty where the request was refused before it was known.
    pub operation: String,
    /// The bucket asked for; may be empty.
    pub bucket: String,
    /// The key asked for; may be empty.
    pub key: String,
    /// The error code that was answered, for example `SignatureDoesNotMatch`.
    pub code: String,
}

/// Refused requests of an address that were not recorded one by one (`access` stream).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessSuppressed {
    /// The address; empty for all addresses together.
    pub address: String,
    /// How many.
    pub count: u64,
}
