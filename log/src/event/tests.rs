use super::*;
use crate::id::{BlobId, Seq, StreamId};
use crate::name::ObjectKey;
use proptest::prelude::*;

/// A catalogue whose only event has two schemas, to show that an old body is read through its up-caster.
mod two_schemas {
    use super::super::{Actor, DecodeError, EventKind, decode_payload};
    use serde::{Deserialize, Serialize};

    #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
    pub(super) struct ProbeV1 {
        pub(super) name: String,
    }

    #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
    pub(super) struct Probe {
        pub(super) name: String,
        pub(super) count: u32,
    }

    fn from_v1(old: ProbeV1) -> Probe {
        Probe { name: old.name, count: 1 }
    }

    #[derive(Debug, Clone, PartialEq, Eq)]
    pub(super) struct Body {
        pub(super) actor: Actor,
        pub(super) event: Event,
    }

    catalogue! {
        0xff00 Probe schema 2 from { 1 => from_v1 };
    }
}

#[test]
fn an_old_schema_is_read_through_its_up_caster() {
    let actor = Actor::server(Door::Worker);
    let old = rmp_serde::to_vec(&(&actor, &two_schemas::ProbeV1 { name: "a".into() })).unwrap();
    let decode =
        |schema, bytes: &[u8]| two_schemas::Body::decode(EventKind { event_type: 0xff00, schema }, bytes);
    let body = decode(1, &old).unwrap();
    assert_eq!(body.event, two_schemas::Event::Probe(two_schemas::Probe { name: "a".into(), count: 1 }));
    assert_eq!((body.event.kind().schema, body.event.name()), (2, "Probe"));
    assert_eq!(two_schemas::Event::CATALOGUE, [(0xff00, 2, "Probe")]);
    assert_eq!(decode(2, &body.encode().unwrap()).unwrap(), body);
    assert!(matches!(decode(2, &old), Err(DecodeError::Malformed { .. })), "a short body is not completed");
    assert_eq!(decode(3, &old), Err(DecodeError::UnknownSchema { name: "Probe", schema: 3 }));
}

#[test]
fn unknown_types_and_trailing_bytes_are_refused() {
    let body = Body {
        actor: Actor::server(Door::Recovery),
        event: Event::UserDeleted(UserDeleted { user: "u".into() }),
    };
    let mut bytes = body.encode().unwrap();
    assert_eq!(Body::decode(body.event.kind(), &bytes), Ok(body.clone()));
    let unknown = EventKind { event_type: 0xeeee, schema: 1 };
    assert_eq!(Body::decode(unknown, &bytes), Err(DecodeError::UnknownType(0xeeee)));
    bytes.push(0xc0);
    assert!(matches!(Body::decode(body.event.kind(), &bytes), Err(DecodeError::Malformed { .. })));
}

#[test]
fn type_numbers_are_unique() {
    let mut numbers: Vec<u16> = Event::CATALOGUE.iter().map(|(number, ..)| *number).collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), Event::CATALOGUE.len());
}

prop_compose! {
    fn slices()(entries in prop::collection::vec((any::<[u8; 16]>(), any::<bool>(), any::<u64>(), any::<u64>()), 0..4))
        -> Vec<ContentSlice> {
        entries.into_iter().map(|(id, inline, offset, len)| ContentSlice {
            source: if inline {
                ContentSource::Inline { stream: StreamId(id), seq: Seq(offset) }
            } else {
                ContentSource::Blob { blob: BlobId(id) }
            },
            offset,
            len,
        }).collect()
    }
}

proptest! {
    #[test]
    fn a_put_survives_its_encoding(
        key in ".{1,64}", size: u64, etag in "[0-9a-f]{32}", slices in slices(),
        metadata in prop::collection::vec(("[a-z-]{1,8}", ".{0,16}"), 0..4), version: Option<[u8; 16]>,
    ) {
        let event = Event::ObjectPut(ObjectPut {
            key: ObjectKey::parse(key).unwrap(),
            version: version.map(crate::id::VersionId),
            size,
            etag,
            content: Content::Slices(slices),
            checksums: vec![Checksum {
                algorithm: ChecksumAlgorithm::Crc64nvme, kind: ChecksumKind::FullObject, value: vec![1, 2],
            }],
            headers: ContentHeaders { content_type: Some("text/plain".into()), ..ContentHeaders::default() },
            tags: metadata.clone(),
            metadata,
            copied_from: None,
        });
        let body = Body { actor: Actor::server(Door::S3), event };
        let decoded = Body::decode(body.event.kind(), &body.encode().unwrap());
        prop_assert_eq!(decoded, Ok(body));
    }

    #[test]
    fn any_bytes_are_decoded_or_refused_without_a_panic(bytes: Vec<u8>) {
        for (event_type, schema, _) in Event::CATALOGUE {
            let _ = Body::decode(EventKind { event_type: *event_type, schema: *schema }, &bytes).map(|body| {
                assert_eq!(body.event.kind().event_type, *event_type);
            });
        }
    }
}
