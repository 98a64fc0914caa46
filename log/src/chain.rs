//! The hash chain of a stream: equal heads mean equal histories.
//!
//! A leaf covers what is the same on every node that holds the record (not its position or place), with the hashes of
//! body and content instead of their bytes, so that either can be destroyed later and the chain still verifies.

use crate::event::EventKind;
use crate::hlc::Hlc;
use crate::id::{Epoch, Hash, Head, Seq, StreamId};

/// The node-independent part of a record, as the chain covers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leaf {
    /// The record's stream.
    pub stream: StreamId,
    /// Its number there.
    pub seq: Seq,
    /// When it was decided.
    pub hlc: Hlc,
    /// The reign it was decided under.
    pub epoch: Epoch,
    /// Type and schema.
    pub kind: EventKind,
    /// Hash of the salted body.
    pub body_hash: Hash,
    /// Hash of the salted content; all zero without content.
    pub content_hash: Hash,
}

impl Leaf {
    const BYTES: usize = 4 + 16 + 8 + 8 + 4 + 2 + 2 + 32 + 32;

    fn hash(&self) -> Hash {
        let mut bytes = [0; Self::BYTES];
        let parts: [&[u8]; 9] = [
            b"leaf",
            &self.stream.0,
            &self.seq.0.to_le_bytes(),
            &self.hlc.0.to_le_bytes(),
            &self.epoch.0.to_le_bytes(),
            &self.kind.event_type.to_le_bytes(),
            &self.kind.schema.to_le_bytes(),
            &self.body_hash.0,
            &self.content_hash.0,
        ];
        let mut rest = bytes.as_mut_slice();
        for part in parts {
            let (now, later) = rest.split_at_mut(part.len());
            now.copy_from_slice(part);
            rest = later;
        }
        Hash(*blake3::hash(&bytes).as_bytes())
    }

    /// The stream's head after this record, given the head's hash before it.
    pub fn extend(&self, before: Hash) -> Head {
        let mut node = [0; 4 + 32 + 32];
        let (tag, hashes) = node.split_at_mut(4);
        let (left, right) = hashes.split_at_mut(32);
        tag.copy_from_slice(b"node");
        left.copy_from_slice(&before.0);
        right.copy_from_slice(&self.hash().0);
        Head { seq: self.seq, hash: Hash(*blake3::hash(&node).as_bytes()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf() -> Leaf {
        Leaf {
            stream: StreamId([1; 16]),
            seq: Seq(2),
            hlc: Hlc(3),
            epoch: Epoch(4),
            kind: EventKind { event_type: 5, schema: 6 },
            body_hash: Hash([7; 32]),
            content_hash: Hash([8; 32]),
        }
    }

    #[test]
    fn every_field_and_the_head_before_change_the_head() {
        let base = leaf().extend(Hash::default());
        assert_eq!(base.seq, Seq(2));
        let variants = [
            Leaf { stream: StreamId([2; 16]), ..leaf() },
            Leaf { seq: Seq(3), ..leaf() },
            Leaf { hlc: Hlc(4), ..leaf() },
            Leaf { epoch: Epoch(5), ..leaf() },
            Leaf { kind: EventKind { event_type: 6, schema: 6 }, ..leaf() },
            Leaf { kind: EventKind { event_type: 5, schema: 7 }, ..leaf() },
            Leaf { body_hash: Hash([8; 32]), ..leaf() },
            Leaf { content_hash: Hash([7; 32]), ..leaf() },
        ];
        for variant in variants {
            assert_ne!(variant.extend(Hash::default()).hash, base.hash, "{variant:?}");
        }
        assert_ne!(leaf().extend(Hash([1; 32])).hash, base.hash);
    }

    #[test]
    fn the_head_is_the_published_formula() {
        let leaf = leaf();
        let mut input = b"leaf".to_vec();
        input.extend([1; 16]);
        input.extend(2u64.to_le_bytes());
        input.extend(3u64.to_le_bytes());
        input.extend(4u32.to_le_bytes());
        input.extend(5u16.to_le_bytes());
        input.extend(6u16.to_le_bytes());
        input.extend([7; 32]);
        input.extend([8; 32]);
        let mut node = b"node".to_vec();
        node.extend([9; 32]);
        node.extend(blake3::hash(&input).as_bytes());
        assert_eq!(leaf.extend(Hash([9; 32])).hash.0, *blake3::hash(&node).as_bytes());
    }
}
