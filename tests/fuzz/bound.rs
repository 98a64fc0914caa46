//! What a target may cost.

/// The most memory a parser may hold at a time for one input.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bound {
    /// Whatever the input.
    pub(crate) fixed: u64,
    /// For each of its bytes.
    pub(crate) per_byte: u64,
}

impl Bound {
    /// For parsers that keep what they read, in a few copies and vectors that grow by doubling.
    #[allow(dead_code, reason = "each crate takes the bounds that its parsers need")]
    pub(crate) const USUAL: Self = Self { fixed: 64 * 1024, per_byte: 64 };

    /// Bytes that a parser may hold for this input.
    pub(crate) fn limit(self, input: &[u8]) -> u64 {
        self.fixed + self.per_byte * input.len() as u64
    }
}
