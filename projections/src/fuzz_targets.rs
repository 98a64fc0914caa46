//! The keys and rows that a store gives back, each on its corpus and mutations of it: the folder is derived data, which
//! anyone with access to the disk can write.

use crate::fuzz::{Bound, bless, check, targets};
use crate::key::{Attachment, StateKey, SystemKey};
use crate::rows::{
    AccessKeyRow, AccountRow, At, AttachedRow, BlobRefRow, BlobRow, BucketRow, BucketState, CanonicalRow,
    ExpiryRow, MarkerRow, NameRow, NullRow, ObjectRow, ObjectSummary, OwnedNameRow, PartRow, PastRow, Row,
    TenantRow, UploadKeyRow, UploadRow, Usage, UserRow, VersionIdRow, VersionKeyRow, VersionRow,
    VersionSummary,
};
use siltstone_log::event::{
    Checksum, ChecksumAlgorithm, ChecksumKind, Content, ContentHeaders, PartSize, Versioning,
};
use siltstone_log::hlc::Hlc;
use siltstone_log::id::{AccountId, Position, Seq, StreamId, UploadId, VersionId};
use siltstone_log::name::BucketName;
use siltstone_log::record::Place;

targets![keys, rows];

fn keys() {
    let stream = StreamId([7; 16]);
    for (name, key) in [
        ("valid-version", StateKey::Version(stream, "a\0b".into(), Seq(3))),
        ("valid-upload", StateKey::Upload(stream, "a".into(), Seq(3), UploadId([5; 16]))),
        ("valid-expiry", StateKey::Expiry(Hlc(9), stream, Seq(3))),
    ] {
        bless("state-key", name, &key.encode());
    }
    bless("state-key", "hostile-open-escape", &[&[0x12][..], &[7; 16], b"a\0"].concat());
    // A key has one stored form.
    check("state-key", Bound::USUAL, |input| {
        StateKey::decode(input).is_ok_and(|key| {
            assert_eq!(key.encode(), input);
            true
        })
    });
    for (name, key) in [
        ("valid-name", SystemKey::Name("bucket".into())),
        ("valid-attached", SystemKey::Attached("anna".into(), Attachment::Policy, "readonly".into())),
        ("valid-name-by-owner", SystemKey::NameByOwner(AccountId([1; 16]), "bucket".into())),
    ] {
        bless("system-key", name, &key.encode());
    }
    bless("system-key", "hostile-attachment", b"\x16anna\0\0\x02readonly");
    check("system-key", Bound::USUAL, |input| {
        SystemKey::decode(input).is_ok_and(|key| {
            assert_eq!(key.encode(), input);
            true
        })
    });
}

/// Reads a row as this type; what is accepted survives being stored again.
fn read<R: Row + PartialEq + std::fmt::Debug>(stored: &[u8]) -> bool {
    R::from_stored(stored).is_ok_and(|row| {
        assert_eq!(R::from_stored(&row.to_stored().unwrap()), Ok(row));
        true
    })
}

type Read = fn(&[u8]) -> bool;

/// Every row, by its name.
const ROWS: [(&str, Read); 21] = [
    (BucketRow::NAME, read::<BucketRow>),
    (ObjectRow::NAME, read::<ObjectRow>),
    (VersionRow::NAME, read::<VersionRow>),
    (PastRow::NAME, read::<PastRow>),
    (VersionKeyRow::NAME, read::<VersionKeyRow>),
    (VersionIdRow::NAME, read::<VersionIdRow>),
    (NullRow::NAME, read::<NullRow>),
    (ExpiryRow::NAME, read::<ExpiryRow>),
    (BlobRefRow::NAME, read::<BlobRefRow>),
    (BlobRow::NAME, read::<BlobRow>),
    (UploadRow::NAME, read::<UploadRow>),
    (UploadKeyRow::NAME, read::<UploadKeyRow>),
    (PartRow::NAME, read::<PartRow>),
    (NameRow::NAME, read::<NameRow>),
    (OwnedNameRow::NAME, read::<OwnedNameRow>),
    (TenantRow::NAME, read::<TenantRow>),
    (AccountRow::NAME, read::<AccountRow>),
    (CanonicalRow::NAME, read::<CanonicalRow>),
    (UserRow::NAME, read::<UserRow>),
    (AccessKeyRow::NAME, read::<AccessKeyRow>),
    (AttachedRow::NAME, read::<AttachedRow>),
];

fn object() -> ObjectRow {
    let checksum =
        Checksum { algorithm: ChecksumAlgorithm::Crc32, kind: ChecksumKind::FullObject, value: vec![1; 4] };
    ObjectRow {
        seq: Seq(3),
        hlc: Hlc(5),
        version: Some(VersionId([7; 16])),
        size: 4,
        etag: "e".repeat(32),
        checksums: vec![checksum],
        content: Content::Inline,
        headers: ContentHeaders::default(),
        metadata: vec![("a".into(), "b".into())],
        parts: vec![PartSize { number: 1, size: 4, checksums: vec![] }],
        tags: vec![("t".into(), "v".into())],
        upload: Some(UploadId([6; 16])),
        place: Some(Place { position: Position(9), segment: Position(1), generation: 2, offset: 4096 }),
    }
}

/// An input: the row's name, a line feed, the stored row.
fn stored<R: Row>(row: &R) -> Vec<u8> {
    [R::NAME.as_bytes(), b"\n", &row.to_stored().unwrap()].concat()
}

fn rows() {
    let bucket = BucketRow {
        name: BucketName::parse("bucket").unwrap(),
        owner: AccountId([1; 16]),
        location: String::new(),
        created: Hlc(5),
        state: BucketState::Open,
        versioning: Versioning::Enabled,
        tags: vec![("t".into(), "v".into())],
        usage: Usage::default(),
    };
    let removed = At { seq: Seq(4), hlc: Hlc(6) };
    let marker = MarkerRow { seq: Seq(3), hlc: Hlc(5), version: None };
    bless("row", "valid-bucket", &stored(&bucket));
    bless("row", "valid-object", &stored(&object()));
    bless("row", "valid-version", &stored(&VersionRow::Object(object())));
    bless("row", "valid-marker", &stored(&VersionRow::Marker(marker)));
    bless("row", "valid-past", &stored(&PastRow { version: VersionRow::Object(object()), removed }));
    bless("row", "valid-tenant", &stored(&TenantRow { created: removed }));
    for (name, body) in [("array", [0xdd]), ("map", [0xdf]), ("nesting", [0x91])] {
        let input = [&b"version\n\0"[..], &body, &[0xff; 4], &[0x91; 5000]].concat();
        bless("row", &format!("hostile-{name}"), &input);
    }
    bless("row", "hostile-place", b"object\n\x01\0");
    // Serde reserves up to 1 MiB for each collection whose length is only claimed.
    check("row", Bound { fixed: 4 << 20, per_byte: 64 }, |input| {
        let Some(end) = input.iter().position(|byte| *byte == b'\n') else { return false };
        let (name, stored) = (&input[..end], &input[end + 1..]);
        let Some((_, read)) = ROWS.iter().find(|(known, _)| known.as_bytes() == name) else { return false };
        let accepted = read(stored);
        // What a listing reads of a row it can read of every one.
        if accepted && name == ObjectRow::NAME.as_bytes() {
            assert!(ObjectSummary::from_stored(stored).is_ok());
        }
        if accepted && name == VersionRow::NAME.as_bytes() {
            assert!(VersionSummary::from_stored(stored).is_ok());
        }
        accepted
    });
}
