//! The parser of what other nodes send, on its corpus and mutations of it.

use crate::fuzz::{Bound, bless, check, targets};
use crate::protocol::Message;
use crate::testing::shipment;
use siltstone_log::id::{LogId, NodeId};

targets![frames];

fn frames() {
    bless("replication-frame", "valid-shipment", &shipment(&[4, 5]).encode().unwrap());
    let hello = Message::Hello { node: NodeId([1; 16]), log: LogId([2; 16]) };
    bless("replication-frame", "valid-hello", &hello.encode().unwrap());
    bless("replication-frame", "hostile-gap", &shipment(&[4, 6]).encode().unwrap());
    // Arrays, maps, bytes and nesting that claim more than there is.
    for (name, body) in [("array", [0xdd]), ("map", [0xdf]), ("bytes", [0xc6]), ("nesting", [0x91])] {
        let frame = [&[0x92, 1][..], &body, &[0xff; 4], &[0x91; 5000]].concat();
        bless("replication-frame", &format!("hostile-{name}"), &frame);
    }
    // Serde reserves up to 1 MiB for each collection whose length is only claimed.
    check("replication-frame", Bound { fixed: 4 << 20, per_byte: 64 }, |input| {
        Message::decode(input).is_ok_and(|message| {
            assert_eq!(Message::decode(&message.encode().unwrap()), Ok(message));
            true
        })
    });
}
