//! What the tests of this crate share.

use crate::protocol::{Message, ShippedRecord};
use siltstone_log::hlc::Hlc;
use siltstone_log::id::{Epoch, Hash, Head, Seq, StreamId};

pub(crate) fn record(seq: u64, body: Vec<u8>) -> ShippedRecord {
    ShippedRecord {
        seq: Seq(seq),
        hlc: Hlc::from_millis(seq),
        epoch: Epoch(1),
        event_type: 0x210,
        schema: 1,
        ignorable: false,
        body_hash: Hash([7; 32]),
        content_hash: Hash::default(),
        body: Some(body.into()),
        content: None,
    }
}

pub(crate) fn shipment(seqs: &[u64]) -> Message {
    Message::Ship {
        stream: StreamId([1; 16]),
        epoch: Epoch(1),
        previous: Head { seq: Seq(3), hash: Hash([2; 32]) },
        records: seqs.iter().map(|seq| record(*seq, vec![1])).collect(),
    }
}
