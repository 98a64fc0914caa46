//! The checksum of an object that is made of parts, from the checksums of the parts: its bytes are not read again.

use crate::engine::command::{CompleteMultipart, NamedPart};
use crate::engine::outcome::{InvalidRequest, Rejection};
use crc_fast::{CrcAlgorithm, checksum_combine};
use sha2::Digest;
use siltstone_log::event::{Checksum, ChecksumAlgorithm, ChecksumKind};
use siltstone_projections::rows::{PartRow, UploadRow};

/// Whether an upload may ask for this: CRC64NVME has no composite form, and hashes cannot be joined.
pub(super) fn is_supported(algorithm: ChecksumAlgorithm, kind: ChecksumKind) -> bool {
    match (algorithm, kind) {
        (ChecksumAlgorithm::Crc32 | ChecksumAlgorithm::Crc32c, _)
        | (ChecksumAlgorithm::Crc64nvme, ChecksumKind::FullObject)
        | (ChecksumAlgorithm::Sha1 | ChecksumAlgorithm::Sha256, ChecksumKind::Composite) => true,
        (ChecksumAlgorithm::Crc64nvme, ChecksumKind::Composite)
        | (ChecksumAlgorithm::Sha1 | ChecksumAlgorithm::Sha256, ChecksumKind::FullObject) => false,
    }
}

/// The object's checksums: what the upload asked for, or else what its completion gives and the parts can show, or else
/// the one that S3 computes of every object.
pub(super) fn of_object(
    action: &CompleteMultipart,
    upload: &UploadRow,
    parts: &[(u16, &PartRow)],
) -> Result<Vec<Checksum>, Rejection> {
    let refuse = |why| Err(Rejection::InvalidRequest(why));
    let given = action.checksum.as_ref();
    let (algorithm, kind) = match (upload.checksum, given) {
        (Some((algorithm, kind)), _) => {
            if given.is_some_and(|(given, _)| *given != algorithm) {
                return refuse(InvalidRequest::ChecksumAlgorithm);
            }
            if kind == ChecksumKind::Composite {
                check_named(algorithm, &action.parts)?;
            }
            (algorithm, kind)
        }
        (None, Some((algorithm, _))) => {
            (*algorithm, action.checksum_kind.unwrap_or(default_kind(*algorithm)))
        }
        // Parts that were copied by an older version may have none.
        (None, None) if parts.iter().all(|(_, part)| has(part, ChecksumAlgorithm::Crc64nvme)) => {
            (ChecksumAlgorithm::Crc64nvme, ChecksumKind::FullObject)
        }
        (None, None) => return Ok(Vec::new()),
    };
    if action.checksum_kind.is_some_and(|given| given != kind) || !is_supported(algorithm, kind) {
        return refuse(InvalidRequest::ChecksumKind);
    }
    let values = part_values(algorithm, parts)?;
    let value = match kind {
        ChecksumKind::FullObject => joined(algorithm, &values),
        ChecksumKind::Composite => Some(composite(algorithm, &values)),
    };
    let Some(value) = value else { return refuse(InvalidRequest::ChecksumKind) };
    if given.is_some_and(|(_, given)| *given != value) {
        return Err(Rejection::BadDigest);
    }
    Ok(vec![Checksum { algorithm, kind, value }])
}

/// Refuses a completion that does not name the checksum of each part, as S3 does (boto/s3transfer, issue 241).
fn check_named(algorithm: ChecksumAlgorithm, parts: &[NamedPart]) -> Result<(), Rejection> {
    let names = |part: &&NamedPart| part.checksums.iter().any(|(named, _)| *named == algorithm);
    match parts.iter().find(|part| !names(part)) {
        None => Ok(()),
        Some(NamedPart { number, .. }) => {
            let missing = InvalidRequest::ChecksumNotNamed { algorithm, number: *number };
            Err(Rejection::InvalidRequest(missing))
        }
    }
}

fn has(part: &PartRow, algorithm: ChecksumAlgorithm) -> bool {
    part.checksums.iter().any(|checksum| checksum.algorithm == algorithm)
}

fn default_kind(algorithm: ChecksumAlgorithm) -> ChecksumKind {
    match algorithm {
        ChecksumAlgorithm::Crc64nvme => ChecksumKind::FullObject,
        ChecksumAlgorithm::Crc32
        | ChecksumAlgorithm::Crc32c
        | ChecksumAlgorithm::Sha1
        | ChecksumAlgorithm::Sha256 => ChecksumKind::Composite,
    }
}

/// Each part's raw checksum and size.
fn part_values<'a>(
    algorithm: ChecksumAlgorithm,
    parts: &[(u16, &'a PartRow)],
) -> Result<Vec<(&'a [u8], u64)>, Rejection> {
    let value = |(number, part): &(u16, &'a PartRow)| {
        let found = part.checksums.iter().find(|checksum| checksum.algorithm == algorithm);
        let missing = Rejection::InvalidRequest(InvalidRequest::PartWithoutChecksum { number: *number });
        found.map(|checksum| (checksum.value.as_slice(), part.size)).ok_or(missing)
    };
    parts.iter().map(value).collect()
}

fn crc(algorithm: ChecksumAlgorithm) -> Option<(CrcAlgorithm, usize)> {
    match algorithm {
        ChecksumAlgorithm::Crc32 => Some((CrcAlgorithm::Crc32IsoHdlc, 4)),
        ChecksumAlgorithm::Crc32c => Some((CrcAlgorithm::Crc32Iscsi, 4)),
        ChecksumAlgorithm::Crc64nvme => Some((CrcAlgorithm::Crc64Nvme, 8)),
        ChecksumAlgorithm::Sha1 | ChecksumAlgorithm::Sha256 => None,
    }
}

/// The CRC of the parts' bytes one after the other.
fn joined(algorithm: ChecksumAlgorithm, parts: &[(&[u8], u64)]) -> Option<Vec<u8>> {
    let (crc, width) = crc(algorithm)?;
    let number = |bytes: &[u8]| bytes.iter().fold(0, |sum: u64, byte| sum << 8 | u64::from(*byte));
    let joined = parts
        .iter()
        .map(|(value, size)| (number(value), *size))
        .reduce(|(left, _), (right, size)| (checksum_combine(crc, left, right, size), size))?;
    joined.0.to_be_bytes().get(8 - width..).map(<[u8]>::to_vec)
}

/// The checksum of the parts' raw checksums one after the other.
fn composite(algorithm: ChecksumAlgorithm, parts: &[(&[u8], u64)]) -> Vec<u8> {
    let all: Vec<u8> = parts.iter().flat_map(|(value, _)| value.iter().copied()).collect();
    match algorithm {
        ChecksumAlgorithm::Sha1 => sha1::Sha1::digest(&all).to_vec(),
        ChecksumAlgorithm::Sha256 => sha2::Sha256::digest(&all).to_vec(),
        ChecksumAlgorithm::Crc32 | ChecksumAlgorithm::Crc32c | ChecksumAlgorithm::Crc64nvme => {
            let (crc, width) = crc(algorithm).unwrap_or((CrcAlgorithm::Crc32IsoHdlc, 4));
            crc_fast::checksum(crc, &all).to_be_bytes().get(8 - width..).unwrap_or_default().to_vec()
        }
    }
}
