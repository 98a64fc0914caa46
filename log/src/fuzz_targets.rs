//! The parsers of what lies on disk, each on its corpus and mutations of it. A checksum refuses almost every mutation at
//! once, so each input is tried a second time with its checksums made right: that is what an attacker would write, and
//! what a bug of ours could.

use crate::batch::{BatchFrame, Verify, decode_batch};
use crate::codec::crc32c;
use crate::event::{Actor, Body, Door, Event, EventKind, NodeStarted, ObjectPut};
use crate::event::{Checksum, ChecksumAlgorithm, ChecksumKind, Content, ContentHeaders};
use crate::frame::{MAX_RECORD_BYTES, RecordHeader};
use crate::fuzz::{Bound, bless, check, targets};
use crate::host::mem::MemDisk;
use crate::host::{FilePath, Folder};
use crate::id::{BlobId, Hash, NodeId, Position, Salt};
use crate::layout::parse_format_bytes;
use crate::name::ObjectKey;
use crate::pack::format::{
    BlobEnd, ExtentHeader, ExtentInfo, check_pack_header, decode_footer, encode_footer, encode_pack_header,
    footer_offset,
};
use crate::pack::place::{BlobPlace, ExtentPlace};
use crate::reader::verify;
use crate::script::Script;
use crate::segment::{Footer, SegmentHeader, SegmentName};
use crate::testing::{LOG, Rig, read_all, recover_disk, small_segments, stream};
use crate::witness::{Checkpoint, QuarantinedRange, Touched, decode_quarantine, encode_quarantine};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

targets![segments, batches_and_records, segment_footers, packs, event_bodies, witnesses_and_format];

/// Puts the checksum of `covered` at `at`, where there is room for both.
fn seal(bytes: &mut [u8], covered: std::ops::Range<usize>, at: usize) {
    let Some(crc) = bytes.get(covered).map(crc32c) else { return };
    if let Some(slot) = bytes.get_mut(at..at + 4) {
        slot.copy_from_slice(&crc.to_le_bytes());
    }
}

/// Accepts as the parser does; tries it on the sealed form too, which may be accepted or not.
fn both(input: &[u8], seal: impl Fn(&mut Vec<u8>), parse: impl Fn(&[u8]) -> bool) -> bool {
    let mut sealed = input.to_vec();
    seal(&mut sealed);
    parse(&sealed);
    parse(input)
}

/// A log of a few records in one sealed segment.
static SEGMENT: LazyLock<(FilePath, Vec<u8>)> = LazyLock::new(|| {
    let mut rig = Rig::new(MemDisk::new(), small_segments());
    for (number, content) in [(1, 0), (2, 30), (1, 5000), (1, 0)] {
        rig.write(stream(number), content);
    }
    rig.stop();
    let files = rig.disk.files().into_iter();
    files
        .max_by_key(|(file, bytes)| (file.folder == Folder::Log && file.name.contains(".seg"), bytes.len()))
        .unwrap()
});

fn segments() {
    let (file, valid) = &*SEGMENT;
    bless("segment", "valid-four-records", valid);
    bless("segment", "hostile-zeros", &[0; 4096]);
    let name = SegmentName::parse(&file.name).unwrap();
    // A scan reads a batch at a time, and recovery copies the segment.
    let bound = Bound { fixed: 8 << 20, per_byte: 64 };
    check("segment", bound, |input| {
        let sealed = |bytes: &mut Vec<u8>| {
            seal(bytes, 0..4092, 4092);
            for at in (4096..bytes.len()).step_by(4096) {
                seal(bytes, at + 8..at + 64, at + 4);
            }
        };
        both(input, sealed, |bytes| {
            let disk = || MemDisk::with_files(BTreeMap::from([(file.clone(), bytes.to_vec())]));
            let checked = Script::new(|io| async move { verify(&io).await }).run(&mut disk());
            // A reader never changes a file, whatever it finds.
            let read = disk();
            let before = read.files();
            let items = read_all(&read, 1);
            assert!(read.files() == before);
            let _ = recover_disk(&disk());
            SegmentHeader::decode(bytes).is_ok_and(|header| header.first == name.first)
                && checked.is_ok()
                && items.is_ok_and(|items| !items.is_empty())
        })
    });
}

fn batches_and_records() {
    let (file, bytes) = &*SEGMENT;
    let name = SegmentName::parse(&file.name).unwrap();
    let batch = &bytes[4096..];
    let frame = BatchFrame::decode(batch).unwrap();
    let end = usize::try_from(frame.bytes).unwrap();
    bless("batch", "valid-first", &batch[..end]);
    bless("batch", "hostile-frame-alone", &batch[..64]);
    check("batch", Bound { fixed: 2 << 20, per_byte: 16 }, |input| {
        let frame_only = |bytes: &mut Vec<u8>| seal(bytes, 8..64, 4);
        both(input, frame_only, |bytes| {
            let bytes = Bytes::copy_from_slice(bytes);
            decode_batch(&bytes, name, 4096, Verify::Hashes).is_some_and(|batch| batch.is_sound())
        })
    });
    let table = crate::batch::FRAME_BYTES + crate::batch::table_bytes(usize::from(frame.streams));
    bless("record-header", "valid-header", &batch[table..table + 160]);
    bless("record-header", "hostile-zeros", &[0; 160]);
    check("record-header", Bound::USUAL, |input| {
        let sealed = |bytes: &mut Vec<u8>| seal(bytes, 8..160, 4);
        both(input, sealed, |bytes| {
            let header = RecordHeader::decode(bytes);
            header.is_ok_and(|header| {
                assert!(header.record_bytes() <= MAX_RECORD_BYTES);
                true
            })
        })
    });
}

fn segment_footers() {
    let (_, bytes) = &*SEGMENT;
    let offset = Footer::locate(&bytes[bytes.len() - 16..]).unwrap();
    bless("segment-footer", "valid-footer", &bytes[usize::try_from(offset).unwrap()..]);
    bless("segment-footer", "hostile-cut", &bytes[usize::try_from(offset).unwrap()..][..100]);
    check("segment-footer", Bound::USUAL, |input| {
        let _ = input.last_chunk::<16>().map(|trailer| Footer::locate(trailer));
        let sealed = |bytes: &mut Vec<u8>| {
            for end in (100..bytes.len().min(1000)).step_by(4) {
                seal(bytes, 0..end, end);
                let _ = Footer::decode(bytes, offset);
            }
        };
        both(input, sealed, |bytes| Footer::decode(bytes, offset).is_ok())
    });
}

fn extent() -> ExtentInfo {
    let place = ExtentPlace { pack: 3, offset: 8192, data_len: 100_000 };
    let end = Some(BlobEnd { total_len: 100_000, hash: Hash([4; 32]) });
    ExtentInfo { blob: BlobId([1; 16]), salt: Salt([2; 16]), index: 0, blob_offset: 0, place, end }
}

fn packs() {
    bless("pack-header", "valid-header", &encode_pack_header(LOG, 3));
    bless("pack-header", "hostile-other-number", &encode_pack_header(LOG, 4));
    let page = |bytes: &mut Vec<u8>| seal(bytes, 0..4092, 4092);
    check("pack-header", Bound::USUAL, |input| {
        both(input, page, |bytes| check_pack_header(bytes, LOG, 3).is_ok())
    });
    let place =
        BlobPlace { len: 100_000, salt: Salt([2; 16]), hash: Hash([4; 32]), extents: vec![extent().place] };
    let place = place.encode();
    bless("blob-place", "valid-one-extent", &place);
    bless("blob-place", "hostile-length", &[&place[..1], &[0xff; 8], &place[9..]].concat());
    bless("blob-place", "hostile-no-extent", &place[..57]);
    check("blob-place", Bound::USUAL, |input| {
        BlobPlace::decode(input).is_ok_and(|place| {
            assert_eq!(place.encode(), input);
            true
        })
    });
    let header = ExtentHeader { info: extent(), blocks: vec![7, 8] };
    bless("extent", "valid-header", &header.encode(LOG));
    bless("extent", "hostile-zeros", &[0; 4096]);
    check("extent", Bound::USUAL, |input| {
        let sealed = |bytes: &mut Vec<u8>| {
            let end = bytes.len().max(8);
            seal(bytes, 8..end, 4);
        };
        both(input, sealed, |bytes| ExtentHeader::decode(bytes, LOG, 3, 8192).is_ok())
    });
    let footer = encode_footer(LOG, 3, 200_704, [extent()].iter());
    bless("pack-footer", "valid-footer", &footer);
    bless("pack-footer", "hostile-cut", &footer[..50]);
    check("pack-footer", Bound::USUAL, |input| {
        let _ = input.last_chunk::<16>().map(|trailer| footer_offset(trailer, 1 << 20));
        let sealed = |bytes: &mut Vec<u8>| {
            for end in (32..bytes.len().min(400)).step_by(4) {
                seal(bytes, 0..end, end);
                let _ = decode_footer(bytes, LOG, 3);
            }
        };
        both(input, sealed, |bytes| decode_footer(bytes, LOG, 3).is_ok())
    });
}

fn event_bodies() {
    let checksum =
        Checksum { algorithm: ChecksumAlgorithm::Crc32c, kind: ChecksumKind::FullObject, value: vec![1; 4] };
    let events = [
        Event::NodeStarted(NodeStarted { node: NodeId([1; 16]), version: "1".into(), clean: true }),
        Event::ObjectPut(ObjectPut {
            key: ObjectKey::parse("a/b").unwrap(),
            version: None,
            size: 3,
            etag: "e".repeat(32),
            content: Content::Inline,
            checksums: vec![checksum],
            headers: ContentHeaders::default(),
            metadata: vec![("m".into(), "1".into())],
            tags: vec![("t".into(), "v".into())],
            copied_from: None,
        }),
    ];
    for event in events {
        let name = format!("valid-{}", event.name());
        let kind = event.kind();
        let body = Body { actor: Actor::server(Door::Worker), event }.encode().unwrap();
        let schema = kind.schema.to_be_bytes();
        bless("event-body", &name, &[&kind.event_type.to_be_bytes()[..], &schema, &body].concat());
    }
    // Arrays, maps and strings that claim more than there is.
    for (name, body) in
        [("array", &[0xdd_u8][..]), ("map", &[0xdf]), ("text", &[0x92, 0xdb]), ("bytes", &[0x92, 0xc6])]
    {
        let body = [&[2, 0x10, 0, 1], body, &[0xff; 4], &[0x90; 40]].concat();
        bless("event-body", &format!("hostile-{name}-length"), &body);
    }
    bless("event-body", "hostile-depth", &[&[2, 0x10, 0, 1][..], &[0x91; 5000]].concat());
    // Serde reserves up to 1 MiB for each collection whose length is only claimed.
    check("event-body", Bound { fixed: 4 << 20, per_byte: 64 }, |input| {
        let Some((kind, body)) = input.split_first_chunk::<4>() else { return false };
        let event_type = u16::from_be_bytes([kind[0], kind[1]]);
        let schema = u16::from_be_bytes([kind[2], kind[3]]);
        let Ok(found) = Body::decode(EventKind { event_type, schema }, body) else { return false };
        let again = Body::decode(found.event.kind(), &found.encode().unwrap());
        assert_eq!(again, Ok(found));
        true
    });
}

fn witnesses_and_format() {
    let ranges: Vec<QuarantinedRange> = vec![QuarantinedRange {
        first: Position(3),
        last: Position(9),
        touched: Touched::Only(BTreeSet::from([stream(1), stream(2)])),
        reason: "rot".into(),
    }];
    bless("quarantine", "valid-one-range", &encode_quarantine(LOG, &ranges));
    bless("quarantine", "hostile-count", &[&encode_quarantine(LOG, &[])[..26], &[0xff; 40]].concat());
    check("quarantine", Bound::USUAL, |input| {
        let sealed = |bytes: &mut Vec<u8>| {
            let end = bytes.len().saturating_sub(4);
            seal(bytes, 0..end, end);
        };
        both(input, sealed, |bytes| decode_quarantine(bytes).is_ok())
    });
    let checkpoint = Checkpoint {
        log_id: LOG,
        durable: Position(7),
        batch: crate::id::BatchSeq(3),
        digest: crate::id::BatchDigest([4; 16]),
        hlc: crate::hlc::Hlc(5),
        counter: 2,
    };
    bless("checkpoint", "valid-slot", &checkpoint.encode());
    bless("checkpoint", "hostile-zeros", &[0; 8192]);
    check("checkpoint", Bound::USUAL, |input| {
        let sealed = |bytes: &mut Vec<u8>| seal(bytes, 0..72, 72);
        both(input, sealed, |bytes| Checkpoint::newest(bytes).is_some())
    });
    check("format", Bound::USUAL, |input| parse_format_bytes(input).is_some());
}
