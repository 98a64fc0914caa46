use super::*;
use crate::engine::command::{
    AbortMultipart, CompleteMultipart, Conditions, CreateMultipart, DeleteBucket, EtagMatch, MIN_PART_SIZE,
    NamedPart, UploadPart,
};
use crate::engine::content::{BlobGuard, StagedBlob, StagedContent};
use crate::engine::outcome::{CompletedObject, FailedCondition, InvalidRequest, Rejection};
use crate::engine::tests::decide_object::{delete, put};
use bytes::Bytes;
use md5::{Digest, Md5};
use siltstone_log::event::{
    Checksum, ChecksumAlgorithm, ChecksumKind, Content, ContentHeaders, ContentSlice, ContentSource, Event,
};
use siltstone_log::id::{Salt, UploadId, VersionId};
use siltstone_projections::objects;

const UPLOAD: UploadId = UploadId([9; 16]);

fn create(checksum: Option<(ChecksumAlgorithm, ChecksumKind)>) -> CreateMultipart {
    CreateMultipart {
        stream: BUCKET,
        upload: UPLOAD,
        key: key("big"),
        headers: ContentHeaders::default(),
        metadata: vec![("a".to_owned(), "b".to_owned())],
        checksum,
        tags: vec![("t".to_owned(), "v".to_owned())],
    }
}

fn md5_hex(bytes: &[u8]) -> String {
    Salt(Md5::digest(bytes).into()).to_string()
}

fn etag(number: u16) -> String {
    md5_hex(&number.to_be_bytes())
}

fn blob(number: u16) -> BlobId {
    let mut id = BlobId([5; 16]);
    id.0[..2].copy_from_slice(&number.to_be_bytes());
    id
}

fn part(number: u16, size: u64) -> UploadPart {
    let content = StagedContent::Blob(StagedBlob {
        id: blob(number),
        len: size,
        hash: Hash([number.to_be_bytes()[1]; 32]),
        guard: BlobGuard::none(),
    });
    UploadPart {
        stream: BUCKET,
        key: key("big"),
        upload: UPLOAD,
        number,
        content,
        etag: etag(number),
        checksums: Vec::new(),
        copied_from: None,
    }
}

fn named(number: u16) -> NamedPart {
    NamedPart { number, etag: etag(number), checksums: Vec::new() }
}

fn complete(numbers: &[u16]) -> CompleteMultipart {
    CompleteMultipart {
        stream: BUCKET,
        key: key("big"),
        upload: UPLOAD,
        parts: numbers.iter().map(|number| named(*number)).collect(),
        size: None,
        checksum: None,
        checksum_kind: None,
        version: VersionId([0xcc; 16]),
        conditions: Conditions::default(),
    }
}

fn abort() -> AbortMultipart {
    AbortMultipart { stream: BUCKET, key: key("big"), upload: UPLOAD }
}

/// An upload with parts 1 (5 MiB), 2 (5 MiB) and 5 (10 bytes).
fn uploaded() -> World {
    let mut world = World::with_bucket();
    world.run(create(None)).unwrap();
    for (number, size) in [(1, MIN_PART_SIZE), (2, MIN_PART_SIZE), (5, 10)] {
        world.run(part(number, size)).unwrap();
    }
    world
}

fn rejected(rejection: Rejection) -> Result<Outcome, EngineError> {
    Err(rejection.into())
}

#[test]
fn parts_become_an_object_that_names_all_their_bytes() {
    let mut world = uploaded();
    let digests: Vec<u8> = [1u16, 5].iter().flat_map(|n| Md5::digest(n.to_be_bytes()).to_vec()).collect();
    let etag = format!("{}-2", md5_hex(&digests));
    let size = MIN_PART_SIZE + 10;
    let object = CompletedObject { etag: etag.clone(), size, checksums: Vec::new(), parts: 2, version: None };
    assert_eq!(world.run(complete(&[1, 5])), Ok(Outcome::MultipartCompleted(object)));
    let row = objects::current(&world.store, BUCKET, &key("big")).unwrap().unwrap();
    let slice =
        |number, len| ContentSlice { source: ContentSource::Blob { blob: blob(number) }, offset: 0, len };
    assert_eq!(row.content, Content::Slices(vec![slice(1, MIN_PART_SIZE), slice(5, 10)]));
    assert_eq!((row.etag, row.size, row.metadata.len()), (etag, size, 1));
    assert_eq!(row.parts.iter().map(|part| part.number).collect::<Vec<_>>(), [1, 5]);
    assert_eq!(world.freed, [blob(2)], "a part that was left out is given back");
}

#[test]
fn a_completion_that_is_asked_for_again_is_answered_the_same_while_the_object_is_there() {
    let mut world = uploaded();
    let first = world.run(complete(&[1, 5])).unwrap();
    let records = world.durable.len();
    let conditions = Conditions { if_match: None, if_none_match: Some(EtagMatch::Any) };
    assert_eq!(world.run(CompleteMultipart { conditions, ..complete(&[1, 5]) }), Ok(first));
    assert_eq!(world.durable.len(), records);
    assert_eq!(world.run(complete(&[1, 2])), rejected(Rejection::NoSuchUpload));
    assert_eq!(world.run(abort()), rejected(Rejection::NoSuchUpload));
    world.run(put("big", "other")).unwrap();
    assert_eq!(world.run(complete(&[1, 5])), rejected(Rejection::NoSuchUpload));
    world.run(delete("big")).unwrap();
    assert_eq!(world.run(complete(&[1, 5])), rejected(Rejection::NoSuchUpload));
}

#[test]
fn a_completion_that_does_not_fit_its_upload_is_refused_and_changes_nothing() {
    let mut world = uploaded();
    world.run(put("big", "old")).unwrap();
    world.run(part(3, 100)).unwrap();
    let good = || complete(&[1, 2, 5]);
    let with_part = |part: NamedPart| {
        let mut request = good();
        request.parts[1] = part;
        request
    };
    let crc = vec![(ChecksumAlgorithm::Crc32, Bytes::from_static(&[0, 0, 0, 1]))];
    let conditions = Conditions { if_match: None, if_none_match: Some(EtagMatch::Any) };
    let too_small = Rejection::EntityTooSmall { number: 3, etag: etag(3), size: 100, minimum: MIN_PART_SIZE };
    let table: Vec<(CompleteMultipart, Rejection)> = vec![
        (complete(&[]), Rejection::NoParts),
        (complete(&[2, 1]), Rejection::InvalidPartOrder),
        (complete(&[1, 1]), Rejection::InvalidPartOrder),
        (complete(&[0, 1]), Rejection::InvalidPartNumber { number: 0 }),
        (complete(&[1, 10_001]), Rejection::InvalidPartNumber { number: 10_001 }),
        (complete(&[1, 4]), Rejection::InvalidPart { number: 4 }),
        (with_part(NamedPart { etag: etag(9), ..named(2) }), Rejection::InvalidPart { number: 2 }),
        (with_part(NamedPart { checksums: crc, ..named(2) }), Rejection::InvalidPart { number: 2 }),
        (complete(&[1, 3, 5]), too_small),
        (
            CompleteMultipart { size: Some(1), ..good() },
            Rejection::InvalidRequest(InvalidRequest::ObjectSize),
        ),
        (CompleteMultipart { key: key("other"), ..good() }, Rejection::NoSuchUpload),
        (CompleteMultipart { upload: UploadId([1; 16]), ..good() }, Rejection::NoSuchUpload),
        (
            CompleteMultipart { conditions, ..good() },
            Rejection::PreconditionFailed(FailedCondition::IfNoneMatch),
        ),
        (
            CompleteMultipart {
                checksum_kind: Some(ChecksumKind::FullObject),
                checksum: Some((ChecksumAlgorithm::Sha256, Bytes::new())),
                ..good()
            },
            Rejection::InvalidRequest(InvalidRequest::ChecksumKind),
        ),
        (
            CompleteMultipart { checksum: Some((ChecksumAlgorithm::Crc32, Bytes::new())), ..good() },
            Rejection::InvalidRequest(InvalidRequest::PartWithoutChecksum { number: 1 }),
        ),
    ];
    let records = world.durable.len();
    for (request, expected) in table {
        let case = format!("{request:?}");
        assert_eq!(world.run(request), rejected(expected), "{case}");
    }
    assert_eq!((world.durable.len(), world.freed.as_slice()), (records, &[][..]));
    let row = objects::current(&world.store, BUCKET, &key("big")).unwrap().unwrap();
    assert_eq!(row.etag, "old", "a refused completion leaves what was there");
    assert!(world.run(good()).is_ok());
}

#[test]
fn parts_of_an_unknown_upload_or_another_key_are_refused() {
    let mut world = World::with_bucket();
    assert_eq!(world.run(part(1, 5)), rejected(Rejection::NoSuchUpload));
    world.run(create(None)).unwrap();
    let elsewhere = UploadPart { key: key("other"), ..part(1, 5) };
    assert_eq!(world.run(elsewhere), rejected(Rejection::NoSuchUpload));
    for number in [0, 10_001] {
        assert_eq!(world.run(part(number, 5)), rejected(Rejection::InvalidPartNumber { number }));
    }
    let in_memory = UploadPart { content: put("x", "y").content, ..part(1, 5) };
    assert!(matches!(world.run(in_memory), Err(EngineError::Fault(_))));
    assert!(world.run(part(10_000, 0)).is_ok());
}

#[test]
fn blobs_that_nothing_refers_to_any_more_are_given_back_once_that_is_durable() {
    let mut world = uploaded();
    let replacement = UploadPart { content: part(77, 6).content, ..part(5, 6) };
    let token = world.submit(replacement);
    assert!(world.freed.is_empty() && world.answer(token).is_none());
    world.commit_all();
    assert_eq!(world.freed, [blob(5)]);
    world.freed.clear();
    world.run(abort()).unwrap();
    assert_eq!(world.freed, [blob(1), blob(2), blob(77)]);

    let mut world = uploaded();
    world.run(DeleteBucket { name: name("bucket"), stream: BUCKET }).unwrap();
    assert_eq!(world.freed, [blob(1), blob(2), blob(5)], "uploads under way end with their bucket");
}

fn crc_of(algorithm: ChecksumAlgorithm, data: &[u8]) -> Vec<u8> {
    match algorithm {
        ChecksumAlgorithm::Crc32 => {
            let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32IsoHdlc, data);
            crc.to_be_bytes()[4..].to_vec()
        }
        ChecksumAlgorithm::Crc32c => {
            let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, data);
            crc.to_be_bytes()[4..].to_vec()
        }
        ChecksumAlgorithm::Crc64nvme => {
            crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, data).to_be_bytes().to_vec()
        }
        ChecksumAlgorithm::Sha1 => sha1::Sha1::digest(data).to_vec(),
        ChecksumAlgorithm::Sha256 => sha2::Sha256::digest(data).to_vec(),
    }
}

#[test]
fn a_completion_of_another_upload_with_the_same_parts_is_no_repetition() {
    let mut world = World::with_bucket();
    world.run(create(None)).unwrap();
    world.run(part(1, 5)).unwrap();
    let done = world.run(complete(&[1])).unwrap();
    assert_eq!(world.run(complete(&[1])), Ok(done));
    let other = CompleteMultipart { upload: UploadId([0xee; 16]), ..complete(&[1]) };
    assert_eq!(world.run(other), rejected(Rejection::NoSuchUpload));
}

#[test]
fn the_checksum_of_an_object_comes_from_those_of_its_parts() {
    use ChecksumAlgorithm::{Crc32, Crc32c, Crc64nvme, Sha1, Sha256};
    use ChecksumKind::{Composite, FullObject};
    let datas = [vec![1; usize::try_from(MIN_PART_SIZE).unwrap()], vec![2; 77]];
    let cases = [
        (Crc32, FullObject),
        (Crc32c, FullObject),
        (Crc64nvme, FullObject),
        (Crc32, Composite),
        (Crc32c, Composite),
        (Sha1, Composite),
        (Sha256, Composite),
    ];
    for (algorithm, kind) in cases {
        let mut world = World::with_bucket();
        world.run(create(Some((algorithm, kind)))).unwrap();
        for (number, data) in (1..).zip(&datas) {
            let value = crc_of(algorithm, data);
            let checksums = vec![Checksum { algorithm, kind: FullObject, value }];
            world.run(UploadPart { checksums, ..part(number, data.len() as u64) }).unwrap();
        }
        let expected = match kind {
            FullObject => crc_of(algorithm, &datas.concat()),
            Composite => crc_of(algorithm, &datas.each_ref().map(|data| crc_of(algorithm, data)).concat()),
        };
        let mut request = complete(&[1, 2]);
        let refused = InvalidRequest::ChecksumNotNamed { algorithm, number: 2 };
        for (number, data) in (0..).zip(&datas) {
            if kind == Composite && number == 1 {
                assert_eq!(world.run(request.clone()), rejected(Rejection::InvalidRequest(refused)));
            }
            if kind == Composite {
                request.parts[number].checksums = vec![(algorithm, crc_of(algorithm, data).into())];
            }
        }
        let wrong = CompleteMultipart { checksum: Some((algorithm, Bytes::new())), ..request.clone() };
        assert_eq!(world.run(wrong), rejected(Rejection::BadDigest));
        let checksum = Some((algorithm, Bytes::from(expected.clone())));
        let right = CompleteMultipart { checksum, checksum_kind: Some(kind), ..request };
        let Ok(Outcome::MultipartCompleted(object)) = world.run(right) else {
            panic!("{algorithm:?} {kind:?}")
        };
        assert_eq!(object.checksums, [Checksum { algorithm, kind, value: expected }]);
    }
}

#[test]
fn checksums_that_cannot_be_joined_or_are_another_algorithm_are_refused() {
    use ChecksumAlgorithm::{Crc32, Crc64nvme, Sha1, Sha256};
    use ChecksumKind::{Composite, FullObject};
    let mut world = World::with_bucket();
    for unsupported in [(Crc64nvme, Composite), (Sha1, FullObject), (Sha256, FullObject)] {
        let refused = rejected(Rejection::InvalidRequest(InvalidRequest::ChecksumKind));
        assert_eq!(world.run(create(Some(unsupported))), refused);
    }
    world.run(create(Some((Crc32, FullObject)))).unwrap();
    let sha = vec![Checksum { algorithm: Sha256, kind: FullObject, value: vec![1; 32] }];
    let refused = rejected(Rejection::InvalidRequest(InvalidRequest::ChecksumAlgorithm));
    assert_eq!(world.run(UploadPart { checksums: sha, ..part(1, 5) }), refused);
    assert_eq!(world.run(part(1, 5)), refused, "a part without any could not be joined either");
    let completed = world.events().iter().any(|body| matches!(body.event, Event::MultipartCompleted(_)));
    assert!(!completed);
}
