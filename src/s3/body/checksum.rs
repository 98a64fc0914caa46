//! Checksum algorithms, and what a client's headers promise about a body.

use super::BodyError;
use crate::s3::operation::Operation;
use crate::s3::sigv4::Payload;
use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use crc_fast::CrcAlgorithm;
use http::HeaderMap;
use siltstone_log::event::ChecksumAlgorithm;

/// Every checksum algorithm.
pub const ALGORITHMS: [ChecksumAlgorithm; 5] = [
    ChecksumAlgorithm::Crc32,
    ChecksumAlgorithm::Crc32c,
    ChecksumAlgorithm::Crc64nvme,
    ChecksumAlgorithm::Sha1,
    ChecksumAlgorithm::Sha256,
];

/// The header or trailer that carries a value of the algorithm.
pub fn header_name(algorithm: ChecksumAlgorithm) -> &'static str {
    match algorithm {
        ChecksumAlgorithm::Crc32 => "x-amz-checksum-crc32",
        ChecksumAlgorithm::Crc32c => "x-amz-checksum-crc32c",
        ChecksumAlgorithm::Crc64nvme => "x-amz-checksum-crc64nvme",
        ChecksumAlgorithm::Sha1 => "x-amz-checksum-sha1",
        ChecksumAlgorithm::Sha256 => "x-amz-checksum-sha256",
    }
}

/// Whether a header, trailer or parameter of this name is a checksum's value, of whatever algorithm: everything that
/// begins like one but the three that speak about checksums.
pub fn names_value(name: &str) -> bool {
    let about = |what: &str| matches!(what, "algorithm" | "mode" | "type");
    name.strip_prefix("x-amz-checksum-").is_some_and(|what| !about(what))
}

/// The algorithm's name in headers and XML.
pub fn wire_name(algorithm: ChecksumAlgorithm) -> &'static str {
    match algorithm {
        ChecksumAlgorithm::Crc32 => "CRC32",
        ChecksumAlgorithm::Crc32c => "CRC32C",
        ChecksumAlgorithm::Crc64nvme => "CRC64NVME",
        ChecksumAlgorithm::Sha1 => "SHA1",
        ChecksumAlgorithm::Sha256 => "SHA256",
    }
}

/// Finds an algorithm by its name, whatever its case.
pub fn parse_wire_name(name: &str) -> Option<ChecksumAlgorithm> {
    ALGORITHMS.into_iter().find(|algorithm| wire_name(*algorithm).eq_ignore_ascii_case(name))
}

/// Bytes of a value.
pub fn value_len(algorithm: ChecksumAlgorithm) -> usize {
    match algorithm {
        ChecksumAlgorithm::Crc32 | ChecksumAlgorithm::Crc32c => 4,
        ChecksumAlgorithm::Crc64nvme => 8,
        ChecksumAlgorithm::Sha1 => 20,
        ChecksumAlgorithm::Sha256 => 32,
    }
}

/// Decodes a value from base64; `None` if it is not one of this algorithm.
pub fn decode_value(algorithm: ChecksumAlgorithm, text: &str) -> Option<Vec<u8>> {
    BASE64.decode(text).ok().filter(|value| value.len() == value_len(algorithm))
}

/// A checksum in the making. Values come out big-endian, as S3 encodes them.
pub enum Hasher {
    /// CRC-32, CRC-32C or CRC-64/NVME.
    Crc(Box<crc_fast::Digest>, usize),
    /// SHA-1 or SHA-256.
    Sha(digest::Context),
}

impl Hasher {
    /// A hasher that has seen nothing.
    pub fn new(algorithm: ChecksumAlgorithm) -> Self {
        let crc = |kind| Self::Crc(Box::new(crc_fast::Digest::new(kind)), value_len(algorithm));
        match algorithm {
            ChecksumAlgorithm::Crc32 => crc(CrcAlgorithm::Crc32IsoHdlc),
            ChecksumAlgorithm::Crc32c => crc(CrcAlgorithm::Crc32Iscsi),
            ChecksumAlgorithm::Crc64nvme => crc(CrcAlgorithm::Crc64Nvme),
            ChecksumAlgorithm::Sha1 => Self::Sha(digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY)),
            ChecksumAlgorithm::Sha256 => Self::Sha(digest::Context::new(&digest::SHA256)),
        }
    }

    /// Takes more bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Crc(crc, _) => crc.update(bytes),
            Self::Sha(sha) => sha.update(bytes),
        }
    }

    /// The value.
    pub fn finish(self) -> Vec<u8> {
        match self {
            Self::Crc(crc, len) => {
                let value = crc.finalize().to_be_bytes();
                value.get(value.len() - len..).unwrap_or_default().to_vec()
            }
            Self::Sha(sha) => sha.finish().as_ref().to_vec(),
        }
    }
}

/// Where a client gives the checksum of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Promise {
    /// Not at all.
    None,
    /// In a header: this value.
    Header(ChecksumAlgorithm, Vec<u8>),
    /// In the trailer.
    Trailer(ChecksumAlgorithm),
}

impl Promise {
    /// The algorithm.
    pub fn algorithm(&self) -> Option<ChecksumAlgorithm> {
        match self {
            Self::None => None,
            Self::Header(algorithm, _) | Self::Trailer(algorithm) => Some(*algorithm),
        }
    }
}

/// Everything the headers promise about a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Promises {
    /// `Content-MD5`.
    pub md5: Option<[u8; 16]>,
    /// The checksum.
    pub checksum: Promise,
}

impl Promises {
    /// Reads the headers, and refuses those that contradict each other.
    pub fn read(operation: Operation, headers: &HeaderMap, payload: &Payload) -> Result<Self, BodyError> {
        let md5 = match headers.get("content-md5") {
            None => None,
            Some(value) => {
                let value = BASE64.decode(value.as_bytes()).ok();
                let value = value.and_then(|value| <[u8; 16]>::try_from(value).ok());
                Some(value.ok_or(BodyError::InvalidMd5)?)
            }
        };
        // Of an algorithm that is newer than this server: unverified, it would promise what nobody checked.
        let known = |name: &str| ALGORITHMS.into_iter().any(|algorithm| header_name(algorithm) == name);
        if headers.keys().any(|name| names_value(name.as_str()) && !known(name.as_str())) {
            return Err(BodyError::UnknownChecksum);
        }
        if !operation.checksums_cover_body() {
            return Ok(Self { md5, checksum: Promise::None });
        }
        let given = headers_given(headers)?;
        let trailer = trailer_given(headers)?;
        let takes_trailer =
            matches!(payload, Payload::UnsignedChunks | Payload::SignedChunks { trailer: true, .. });
        let checksum = match (given, trailer) {
            (Promise::None, None) => Promise::None,
            (given, None) => given,
            (Promise::None, Some(algorithm)) if takes_trailer => Promise::Trailer(algorithm),
            (Promise::None, Some(_)) => return Err(BodyError::TrailerUnannounced),
            (_, Some(_)) => return Err(BodyError::SeveralChecksums),
        };
        check_sdk_algorithm(headers, &checksum)?;
        Ok(Self { md5, checksum })
    }
}

fn headers_given(headers: &HeaderMap) -> Result<Promise, BodyError> {
    let mut given = Promise::None;
    for algorithm in ALGORITHMS {
        for value in headers.get_all(header_name(algorithm)) {
            let value = value.to_str().ok().and_then(|text| decode_value(algorithm, text));
            let value = value.ok_or(BodyError::InvalidChecksum(algorithm))?;
            if given != Promise::None {
                return Err(BodyError::SeveralChecksums);
            }
            given = Promise::Header(algorithm, value);
        }
    }
    Ok(given)
}

fn trailer_given(headers: &HeaderMap) -> Result<Option<ChecksumAlgorithm>, BodyError> {
    let mut given = None;
    for value in headers.get_all("x-amz-trailer") {
        let names = value.to_str().map_err(|_| BodyError::UnknownTrailer)?;
        for name in names.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            let found = ALGORITHMS.into_iter().find(|known| header_name(*known).eq_ignore_ascii_case(name));
            let algorithm = found.ok_or(BodyError::UnknownTrailer)?;
            if given.replace(algorithm).is_some() {
                return Err(BodyError::SeveralChecksums);
            }
        }
    }
    Ok(given)
}

/// `x-amz-sdk-checksum-algorithm` announces a checksum: it must be there, and of that algorithm.
fn check_sdk_algorithm(headers: &HeaderMap, checksum: &Promise) -> Result<(), BodyError> {
    let Some(value) = headers.get("x-amz-sdk-checksum-algorithm") else { return Ok(()) };
    let announced = value.to_str().ok().and_then(parse_wire_name).ok_or(BodyError::SdkAlgorithmInvalid)?;
    match checksum.algorithm() {
        None => Err(BodyError::SdkAlgorithmWithoutChecksum),
        Some(algorithm) if algorithm == announced => Ok(()),
        Some(_) => Err(BodyError::SdkAlgorithmInvalid),
    }
}
