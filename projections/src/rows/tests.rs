use super::*;
use proptest::prelude::*;

fn object(size: u64, place: Option<Place>) -> ObjectRow {
    ObjectRow {
        seq: Seq(3),
        hlc: Hlc::from_millis(5),
        version: None,
        size,
        etag: "d41d8cd98f00b204e9800998ecf8427e".into(),
        checksums: vec![Checksum {
            algorithm: ChecksumAlgorithm::Crc32,
            kind: ChecksumKind::FullObject,
            value: vec![1, 2, 3, 4],
        }],
        content: Content::Inline,
        headers: ContentHeaders { content_type: Some("text/plain".into()), ..ContentHeaders::default() },
        metadata: vec![("a".into(), "b".into())],
        parts: vec![PartSize { number: 1, size, checksums: vec![] }],
        tags: vec![("t".into(), "v".into())],
        upload: Some(UploadId([6; 16])),
        place,
    }
}

fn place(position: u64, offset: u32) -> Place {
    Place { position: Position(position), segment: Position(1), generation: 2, offset }
}

proptest! {
    #[test]
    fn a_row_survives_its_stored_form_with_and_without_a_place(
        size: u64, at in prop::option::of((any::<u64>(), any::<u32>())),
    ) {
        let row = object(size, at.map(|(position, offset)| place(position, offset)));
        let stored = row.to_stored().unwrap();
        prop_assert_eq!(&ObjectRow::from_stored(&stored).unwrap(), &row);
        prop_assert_eq!(ObjectSummary::from_stored(&stored).unwrap(), ObjectSummary::from(row.clone()));
        let marker = MarkerRow { seq: Seq(size), hlc: row.hlc, version: Some(VersionId([7; 16])) };
        for version in [VersionRow::Object(row), VersionRow::Marker(marker)] {
            let stored = version.to_stored().unwrap();
            prop_assert_eq!(VersionSummary::from_stored(&stored).unwrap(), VersionSummary::from(version));
        }
    }

    #[test]
    fn any_bytes_are_a_row_or_refused_without_a_panic(bytes: Vec<u8>) {
        let _ = logical(&bytes);
        if let Ok(row) = ObjectRow::from_stored(&bytes) {
            prop_assert!(ObjectSummary::from_stored(&bytes).is_ok(), "{row:?}");
        }
        if let Ok(row) = VersionRow::from_stored(&bytes) {
            prop_assert!(VersionSummary::from_stored(&bytes).is_ok(), "{row:?}");
        }
        prop_assert!(BucketRow::from_stored(&bytes).is_err(), "no random bytes are a bucket");
    }

    #[test]
    fn a_row_that_is_cut_off_or_continued_is_refused(cut in 0usize..200) {
        let stored = object(1, Some(place(9, 9))).to_stored().unwrap();
        let cut = cut.min(stored.len() - 1);
        prop_assert!(ObjectRow::from_stored(&stored[..cut]).is_err());
        prop_assert!(ObjectRow::from_stored(&[&stored[..], &[0xc0]].concat()).is_err());
    }
}

#[test]
fn the_logical_bytes_do_not_depend_on_where_a_record_lies() {
    let stored = |place| object(7, place).to_stored().unwrap();
    let (none, one, two) = (stored(None), stored(Some(place(1, 1))), stored(Some(place(2, 2))));
    assert_ne!(one, two);
    assert_eq!(logical(&one), logical(&two));
    assert_eq!(logical(&none), logical(&one));
}
