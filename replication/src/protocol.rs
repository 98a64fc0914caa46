//! Messages between a primary and a replica.
//!
//! Each message is one MessagePack array `[version, message]`. A receiver refuses a version it does not know before
//! it looks at the message, and any frame over [`MAX_FRAME_BYTES`] before it reads it.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use siltstone_log::hlc::Hlc;
use siltstone_log::id::{Epoch, Hash, Head, LogId, NodeId, Seq, StreamId};

/// The version of these messages.
pub const VERSION: u16 = 1;

/// The most bytes one encoded message may have: a full log batch and its framing.
pub const MAX_FRAME_BYTES: usize = 40 << 20;

/// The node-independent part of a record with its bytes: what the chain covers, and what it hashes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShippedRecord {
    /// Its number in the stream.
    pub seq: Seq,
    /// When it was decided.
    pub hlc: Hlc,
    /// The reign it was decided under.
    pub epoch: Epoch,
    /// The event's type.
    pub event_type: u16,
    /// The schema of its body.
    pub schema: u16,
    /// Whether an unknown type may be passed over.
    pub ignorable: bool,
    /// Hash of the salted body.
    pub body_hash: Hash,
    /// Hash of the salted content; all zero where there is none.
    pub content_hash: Hash,
    /// The salted body; none where it was erased.
    pub body: Option<Bytes>,
    /// The salted inline content, where the record carries it and still has it.
    pub content: Option<Bytes>,
}

/// What nodes say to each other about streams.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// Opens a session.
    Hello {
        /// The sender.
        node: NodeId,
        /// The sender's physical log.
        log: LogId,
    },
    /// A replica says how far it has a stream; the primary goes on from there, or finds that the heads differ.
    Have {
        /// The stream.
        stream: StreamId,
        /// The replica's last record and head.
        head: Head,
    },
    /// Records that follow one another in a stream.
    Ship {
        /// The stream.
        stream: StreamId,
        /// The primary's reign.
        epoch: Epoch,
        /// The head that the first record builds on.
        previous: Head,
        /// The records, dense in sequence.
        records: Vec<ShippedRecord>,
    },
    /// A replica has records durable up to here.
    Durable {
        /// The stream.
        stream: StreamId,
        /// The last durable record and head.
        head: Head,
    },
    /// A replica refuses a shipment and says why.
    Refuse {
        /// The stream.
        stream: StreamId,
        /// Why.
        reason: RefuseReason,
    },
}

/// Why a shipment was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RefuseReason {
    /// The replica knows a later reign.
    OldEpoch(Epoch),
    /// The replica's head is another one.
    HeadDiffers(Head),
    /// The records are not dense, or their bytes do not match their hashes.
    Damaged,
}

/// A message could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// More than [`MAX_FRAME_BYTES`].
    #[error("a message of {0} bytes is over the limit")]
    TooLarge(usize),
    /// Another version's message.
    #[error("message version {0} is not known here")]
    UnknownVersion(u16),
    /// No message at all.
    #[error("the message cannot be read: {0}")]
    Malformed(String),
}

impl Message {
    /// Encodes the message with its version.
    pub fn encode(&self) -> Result<Vec<u8>, ProtocolError> {
        let bytes =
            rmp_serde::to_vec(&(VERSION, self)).map_err(|e| ProtocolError::Malformed(e.to_string()))?;
        if bytes.len() > MAX_FRAME_BYTES { Err(ProtocolError::TooLarge(bytes.len())) } else { Ok(bytes) }
    }

    /// Decodes a message and checks that what it ships is dense.
    pub fn decode(bytes: &[u8]) -> Result<Self, ProtocolError> {
        if bytes.len() > MAX_FRAME_BYTES {
            return Err(ProtocolError::TooLarge(bytes.len()));
        }
        let malformed = |message: String| ProtocolError::Malformed(message);
        // The version stands first, so that a newer message is named as such and not as garbage.
        match bytes {
            [0x92, 1, ..] => {}
            [0x92, version @ 2..=0x7f, ..] => return Err(ProtocolError::UnknownVersion(u16::from(*version))),
            _ => return Err(malformed("no version".to_owned())),
        }
        let mut rest = bytes;
        let mut decoder = rmp_serde::Deserializer::new(&mut rest);
        let (_, message) =
            <(u16, Self)>::deserialize(&mut decoder).map_err(|error| malformed(error.to_string()))?;
        if !rest.is_empty() {
            return Err(malformed("bytes follow the message".to_owned()));
        }
        if let Self::Ship { previous, records, .. } = &message {
            let mut expected = previous.seq;
            for record in records {
                expected = expected.next();
                if record.seq != expected {
                    return Err(malformed(format!("record {} where {expected} was due", record.seq)));
                }
            }
        }
        Ok(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{record, shipment};
    use proptest::prelude::*;

    #[test]
    fn records_that_are_not_dense_are_refused() {
        let decode = |seqs: &[u64]| Message::decode(&shipment(seqs).encode().unwrap());
        assert_eq!(decode(&[4, 5]), Ok(shipment(&[4, 5])));
        for gap in [&[5][..], &[4, 6], &[4, 4], &[3]] {
            assert!(matches!(decode(gap), Err(ProtocolError::Malformed(_))), "{gap:?}");
        }
    }

    #[test]
    fn another_version_is_named() {
        let mut bytes = shipment(&[4]).encode().unwrap();
        bytes[1] = 2;
        assert_eq!(Message::decode(&bytes), Err(ProtocolError::UnknownVersion(2)));
    }

    proptest! {
        #[test]
        fn messages_survive_their_encoding(bodies in prop::collection::vec(any::<Vec<u8>>(), 0..5), start in 0u64..1 << 40) {
            let records = bodies.into_iter().zip(start + 1..).map(|(body, seq)| record(seq, body)).collect();
            let previous = Head { seq: Seq(start), hash: Hash([2; 32]) };
            let message = Message::Ship { stream: StreamId([1; 16]), epoch: Epoch(1), previous, records };
            prop_assert_eq!(Message::decode(&message.encode().unwrap()), Ok(message));
        }

        #[test]
        fn any_bytes_are_read_or_refused_without_a_panic(bytes: Vec<u8>, prefix: bool) {
            let bytes = if prefix { [&[0x92, 1][..], &bytes].concat() } else { bytes };
            if let Ok(message) = Message::decode(&bytes) {
                prop_assert_eq!(Message::decode(&message.encode().unwrap()), Ok(message));
            }
        }
    }
}
