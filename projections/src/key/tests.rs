use super::*;
use proptest::prelude::*;

fn stream() -> impl Strategy<Value = StreamId> {
    // Few streams, so that keys of one stream meet.
    prop_oneof![Just(StreamId([0; 16])), Just(StreamId([0xff; 16])), any::<[u8; 16]>().prop_map(StreamId)]
}

/// Texts that meet in their beginnings and are full of what the escape treats specially.
fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[\\x00\\x01ab]{0,6}", "\\PC{0,8}", "[\\x00-\\x{10ffff}]{0,4}"]
}

prop_compose! {
    fn state_key()(kind in 0..13u8, stream in stream(), key in text(), seq: u64, upload: [u8; 16], number: u16)
        -> StateKey<'static> {
        let (key, upload) = (Cow::Owned(key), UploadId(upload));
        match kind {
            0 => StateKey::Bucket(stream),
            1 => StateKey::Current(stream, key),
            2 => StateKey::Version(stream, key, Seq(seq)),
            3 => StateKey::Upload(stream, key, Seq(seq), upload),
            4 => StateKey::UploadById(stream, upload),
            5 => StateKey::Part(stream, upload, number),
            6 => StateKey::VersionBySeq(stream, Seq(seq)),
            7 => StateKey::VersionById(stream, VersionId(upload.0)),
            8 => StateKey::Past(stream, key, Seq(seq)),
            9 => StateKey::Expiry(Hlc(u64::from(number)), stream, Seq(seq)),
            10 => StateKey::BlobRef(BlobId(upload.0), stream, seq, Seq(u64::from(number))),
            11 => StateKey::Blob(BlobId(upload.0), stream),
            _ => StateKey::Null(stream, key),
        }
    }
}

prop_compose! {
    fn system_key()(kind in 0..9u8, account: [u8; 16], one in text(), two in text()) -> SystemKey<'static> {
        let (account, one, two) = (AccountId(account), Cow::Owned(one), Cow::Owned(two));
        match kind {
            0 => SystemKey::Name(one),
            1 => SystemKey::Account(account),
            2 => SystemKey::User(one),
            3 => SystemKey::AccessKey(one),
            4 => SystemKey::Tenant(one),
            5 => SystemKey::Canonical(one),
            6 => SystemKey::Attached(one, Attachment::Key, two),
            7 => SystemKey::Attached(one, Attachment::Policy, two),
            _ => SystemKey::NameByOwner(account, one),
        }
    }
}

/// The order that keys are meant to have: kind, stream (but for the two kinds that begin with something else), then the
/// parts as their types order them, versions backwards.
fn meant(key: &StateKey<'_>) -> (u8, [u8; 16], StreamId, Vec<u8>, u64, [u8; 16], u16) {
    let (none, bytes) = ([0; 16], |text: &str| text.as_bytes().to_vec());
    match key {
        StateKey::Bucket(stream) => (0, none, *stream, vec![], 0, none, 0),
        StateKey::Current(stream, key) => (1, none, *stream, bytes(key), 0, none, 0),
        StateKey::Version(stream, key, seq) => (2, none, *stream, bytes(key), !seq.get(), none, 0),
        StateKey::Upload(stream, key, seq, upload) => (12, none, *stream, bytes(key), seq.get(), upload.0, 0),
        StateKey::UploadById(stream, upload) => (4, none, *stream, vec![], 0, upload.0, 0),
        StateKey::Part(stream, upload, number) => (5, none, *stream, vec![], 0, upload.0, *number),
        StateKey::VersionBySeq(stream, seq) => (6, none, *stream, vec![], seq.get(), none, 0),
        StateKey::VersionById(stream, version) => (7, none, *stream, vec![], 0, version.0, 0),
        StateKey::Past(stream, key, seq) => (8, none, *stream, bytes(key), !seq.get(), none, 0),
        StateKey::Expiry(removed, stream, seq) => {
            (9, u128::from(removed.0).to_be_bytes(), *stream, vec![], seq.get(), none, 0)
        }
        StateKey::BlobRef(blob, stream, end, seq) => {
            (13, blob.0, *stream, vec![], !end, u128::from(seq.get()).to_be_bytes(), 0)
        }
        StateKey::Blob(blob, stream) => (14, blob.0, *stream, vec![], 0, none, 0),
        StateKey::Null(stream, key) => (11, none, *stream, bytes(key), 0, none, 0),
    }
}

proptest! {
    #[test]
    fn a_state_key_survives_its_stored_form(key in state_key()) {
        let stored = key.encode();
        prop_assert_eq!(StateKey::decode(&stored), Ok(key));
    }

    #[test]
    fn a_system_key_survives_its_stored_form(key in system_key()) {
        let stored = key.encode();
        prop_assert_eq!(SystemKey::decode(&stored), Ok(key));
    }

    #[test]
    fn stored_keys_sort_as_their_parts_do(one in state_key(), two in state_key()) {
        prop_assert_eq!(one.encode().cmp(&two.encode()), meant(&one).cmp(&meant(&two)));
    }

    #[test]
    fn versions_of_meeting_keys_sort_by_key_then_newest_first(
        one in "[\\x00a]{0,4}", two in "[\\x00a]{0,4}", first: u64, second: u64,
    ) {
        let version = |key: &str, seq| StateKey::Version(StreamId([7; 16]), Cow::Owned(key.to_owned()), Seq(seq));
        let (left, right) = (version(&one, first), version(&two, second));
        prop_assert_eq!(left.encode().cmp(&right.encode()), (one.as_bytes(), !first).cmp(&(two.as_bytes(), !second)));
    }

    #[test]
    fn a_prefix_of_uploads_covers_exactly_the_keys_that_begin_so(key in text(), prefix in text(), seq: u64, upload: [u8; 16]) {
        let stream = StreamId([7; 16]);
        let stored = StateKey::Upload(stream, Cow::Borrowed(&key), Seq(seq), UploadId(upload)).encode();
        let covered = stored.starts_with(&StateKey::uploads_under(stream, &prefix));
        prop_assert_eq!(covered, key.starts_with(&prefix));
        prop_assert_eq!(stored.starts_with(&StateKey::uploads_of(stream, &prefix)), key == prefix);
    }

    #[test]
    fn any_bytes_are_a_key_or_refused_without_a_panic(kind in 0x0f..0x1eu8, rest: Vec<u8>) {
        let bytes = [&[kind], rest.as_slice()].concat();
        if let Ok(key) = StateKey::decode(&bytes) {
            prop_assert_eq!(key.encode(), bytes.clone());
        }
        if let Ok(key) = SystemKey::decode(&bytes) {
            prop_assert_eq!(key.encode(), bytes);
        }
    }
}

#[test]
fn every_kind_byte_is_its_own() {
    let stream = StreamId([1; 16]);
    let keys = [
        StateKey::Bucket(stream),
        StateKey::Current(stream, "k".into()),
        StateKey::Version(stream, "k".into(), Seq(1)),
        StateKey::Upload(stream, "k".into(), Seq(1), UploadId::default()),
        StateKey::Null(stream, "k".into()),
        StateKey::UploadById(stream, UploadId::default()),
        StateKey::Part(stream, UploadId::default(), 1),
        StateKey::VersionBySeq(stream, Seq(1)),
    ];
    let kinds: Vec<u8> = keys.iter().map(|key| key.encode()[0]).collect();
    assert_eq!(kinds, [0x10, 0x11, 0x12, 0x1c, 0x1b, 0x14, 0x15, 0x16]);
    assert!(kinds.iter().all(|kind| *kind >= FIRST_COUNTED));
}
