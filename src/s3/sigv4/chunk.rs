use super::canonical::string_to_sign;
use super::key::SigningKey;
use super::sha256;
use subtle::ConstantTimeEq;

/// What a chain of chunk signatures begins with.
#[derive(Debug, Clone)]
pub struct ChunkSeed {
    /// The key that signed the request.
    pub key: SigningKey,
    /// The request's time, as signed.
    pub timestamp: String,
    /// `day/region/service/aws4_request`.
    pub scope: String,
    /// The request's own signature.
    pub signature: [u8; 32],
}

/// The chain of an aws-chunked body: each signature covers the one before, so chunks cannot be dropped or moved.
#[derive(Debug)]
pub struct ChunkChain {
    seed: ChunkSeed,
    previous: [u8; 32],
}

impl ChunkChain {
    /// A chain whose first link is the request's signature.
    pub fn new(seed: ChunkSeed) -> Self {
        Self { previous: seed.signature, seed }
    }

    /// Whether the signature is the next link, over a chunk with this SHA-256.
    pub fn verify_chunk(&mut self, chunk: &[u8; 32], signature: &[u8; 32]) -> bool {
        let empty = sha256(b"");
        self.verify("AWS4-HMAC-SHA256-PAYLOAD", &[&empty, chunk], signature)
    }

    /// Whether the signature is the last link, over the trailer's lines (`name:value\n` each).
    pub fn verify_trailer(&mut self, lines: &[u8], signature: &[u8; 32]) -> bool {
        self.verify("AWS4-HMAC-SHA256-TRAILER", &[&sha256(lines)], signature)
    }

    fn verify(&mut self, algorithm: &str, hashes: &[&[u8]], signature: &[u8; 32]) -> bool {
        let mut lines: Vec<&[u8]> = vec![&self.previous];
        lines.extend_from_slice(hashes);
        let message = string_to_sign(algorithm, &self.seed.timestamp, &self.seed.scope, &lines);
        let right = self.seed.key.sign(&message).ct_eq(signature).into();
        self.previous = *signature;
        right
    }
}
