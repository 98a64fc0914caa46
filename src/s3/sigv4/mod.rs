//! AWS Signature Version 4, from the raw request.

/// What a chain of chunk signatures begins with.
#[derive(Clone)]
pub struct ChunkSeed {
    /// The key that signs this day's requests.
    pub signing_key: [u8; 32],
    /// `x-amz-date`.
    pub timestamp: String,
    /// `date/region/service/aws4_request`.
    pub scope: String,
    /// The request's signature.
    pub signature: [u8; 32],
}

impl std::fmt::Debug for ChunkSeed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChunkSeed").field("scope", &self.scope).finish_non_exhaustive()
    }
}

/// What the signature says of the body.
#[derive(Debug, Clone)]
pub enum Payload {
    /// The body is not covered.
    Unsigned,
    /// The SHA-256 of the body.
    Sha256([u8; 32]),
    /// aws-chunked, each chunk signed in a chain that begins with the request's signature.
    SignedChunks {
        /// What the chain begins with.
        seed: ChunkSeed,
        /// Whether a signed trailer follows the last chunk.
        trailer: bool,
    },
    /// aws-chunked without signatures, with a trailer.
    UnsignedChunks,
}
