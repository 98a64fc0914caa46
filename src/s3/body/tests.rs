use super::checksum::{ALGORITHMS, Hasher, Promises, header_name, wire_name};
use super::chunked::{ChunkDecoder, Framing, FramingError, Item};
use super::{BodyError, BodyFailure, BodySource, BodyStream, BodySummary, BodyWatch};
use crate::s3::operation::Operation;
use crate::s3::sigv4::Payload;
use crate::s3::testing::{Signer, authenticator, head, sha256_hex, signature_of};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame};
use md5::{Digest as _, Md5};
use proptest::prelude::*;
use siltstone_log::event::ChecksumAlgorithm;
use siltstone_log::id::Hash;
use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Sleep;

/// Pieces of a body, each after a pause; then the end, or silence, or a broken connection.
struct Sender {
    pieces: VecDeque<(Duration, Bytes)>,
    end: End,
    pause: Option<Pin<Box<Sleep>>>,
}

#[derive(Clone, Copy, PartialEq)]
enum End {
    Clean,
    Broken,
}

impl Body for Sender {
    type Data = Bytes;
    type Error = BodyFailure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFailure>>> {
        let Some((wait, _)) = self.pieces.front() else {
            return match self.end {
                End::Clean => Poll::Ready(None),
                End::Broken => Poll::Ready(Some(Err("broken".into()))),
            };
        };
        let wait = *wait;
        if wait > Duration::ZERO {
            let pause = self.pause.get_or_insert_with(|| Box::pin(tokio::time::sleep(wait)));
            if pause.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.pause = None;
        }
        Poll::Ready(self.pieces.pop_front().map(|(_, piece)| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty() && self.end == End::Clean
    }
}

fn source(bytes: &[u8], piece: usize, end: End) -> BodySource {
    let pieces = bytes.chunks(piece).map(|piece| (Duration::ZERO, Bytes::copy_from_slice(piece))).collect();
    Sender { pieces, end, pause: None }.boxed_unsync()
}

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let pairs = pairs.iter();
    pairs.map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap())).collect()
}

fn stream(source: BodySource, payload: Payload, pairs: &[(&str, &str)]) -> Result<BodyStream, BodyError> {
    BodyStream::new(source, Operation::PutObject, &headers(pairs), payload, &BodyWatch::default())
}

/// Reads a body to its end.
async fn drain(mut stream: BodyStream) -> Result<(Vec<u8>, BodySummary), BodyError> {
    let mut all = Vec::new();
    while let Some(bytes) = stream.next().await? {
        all.extend_from_slice(&bytes);
    }
    assert_eq!(stream.next().await, Ok(None));
    stream.into_summary().map(|summary| (all, summary))
}

async fn read(
    bytes: &[u8],
    piece: usize,
    payload: Payload,
    pairs: &[(&str, &str)],
) -> Result<(Vec<u8>, BodySummary), BodyError> {
    drain(stream(source(bytes, piece, End::Clean), payload, pairs)?).await
}

fn sha256(bytes: &[u8]) -> Payload {
    Payload::Sha256(Hash::parse(&sha256_hex(bytes)).unwrap().0)
}

fn checksum(algorithm: ChecksumAlgorithm, bytes: &[u8]) -> String {
    let mut hasher = Hasher::new(algorithm);
    hasher.update(bytes);
    BASE64.encode(hasher.finish())
}

fn md5(bytes: &[u8]) -> String {
    BASE64.encode(Md5::digest(bytes))
}

/// An aws-chunked body with its authenticated payload.
struct Signed {
    encoded: Vec<u8>,
    payload: Payload,
    /// Where each chunk's line begins.
    lines: Vec<usize>,
}

fn signed(data: &[u8], chunk: usize, trailer: Option<&str>) -> Signed {
    let mode = match trailer {
        None => "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
        Some(_) => "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
    };
    let signer = Signer::default();
    let head = signer.signed("PUT", "/b/k", mode, &[]);
    let payload = authenticator().authenticate_now(&head).unwrap().payload;
    let mut previous = signature_of(&head);
    let mut encoded = Vec::new();
    let mut lines = Vec::new();
    for part in data.chunks(chunk).chain([&[][..]]) {
        previous = signer.chunk(&previous, part);
        lines.push(encoded.len());
        encoded.extend_from_slice(format!("{:x};chunk-signature={previous}\r\n", part.len()).as_bytes());
        encoded.extend_from_slice(part);
        if !part.is_empty() {
            encoded.extend_from_slice(b"\r\n");
        }
    }
    if let Some(line) = trailer {
        let signature = signer.trailer(&previous, &format!("{line}\n"));
        encoded.extend_from_slice(format!("{line}\r\nx-amz-trailer-signature:{signature}\r\n").as_bytes());
    }
    encoded.extend_from_slice(b"\r\n");
    Signed { encoded, payload, lines }
}

fn unsigned(data: &[u8], chunk: usize, trailer: &str) -> Vec<u8> {
    let mut encoded = Vec::new();
    for part in data.chunks(chunk) {
        encoded.extend_from_slice(format!("{:X}\r\n", part.len()).as_bytes());
        encoded.extend_from_slice(part);
        encoded.extend_from_slice(b"\r\n");
    }
    encoded.extend_from_slice(format!("0\r\n{trailer}\r\n").as_bytes());
    encoded
}

#[tokio::test]
async fn a_plain_body_is_digested_whatever_its_size() {
    for len in [0usize, 1, 65_536, 65_537, 300_000, 3_000_000] {
        let data: Vec<u8> = (0..len).map(|at| at.to_le_bytes()[0]).collect();
        let length = len.to_string();
        let (read, summary) =
            read(&data, 100_000, sha256(&data), &[("content-length", &length), ("content-md5", &md5(&data))])
                .await
                .unwrap();
        assert_eq!(read, data);
        assert_eq!(summary.size, len as u64);
        assert_eq!(summary.md5, <[u8; 16]>::from(Md5::digest(&data)));
    }
}

#[tokio::test]
async fn a_body_other_than_promised_is_refused_at_its_end() {
    for len in [10usize, 700_000] {
        let data = vec![7u8; len];
        let other = vec![8u8; len];
        let length = len.to_string();
        let length = ("content-length", length.as_str());
        let wrong = read(&data, 65_536, sha256(&other), &[length]).await;
        assert_eq!(wrong, Err(BodyError::PayloadMismatch));
        let wrong = read(&data, 65_536, Payload::Unsigned, &[length, ("content-md5", &md5(&other))]).await;
        assert_eq!(wrong, Err(BodyError::Md5Mismatch));
        for algorithm in ALGORITHMS {
            let good = (header_name(algorithm), &*checksum(algorithm, &data));
            let (_, summary) = read(&data, 65_536, Payload::Unsigned, &[length, good]).await.unwrap();
            let found = summary.checksums.first().unwrap();
            assert_eq!((found.algorithm, BASE64.encode(&found.value)), (algorithm, good.1.to_owned()));
            let bad = (header_name(algorithm), &*checksum(algorithm, &other));
            let wrong = read(&data, 65_536, Payload::Unsigned, &[length, bad]).await;
            assert_eq!(wrong, Err(BodyError::ChecksumMismatch(algorithm)));
        }
    }
}

#[tokio::test]
async fn known_checksums_come_out() {
    // The values of "123456789", from the catalogue of CRC algorithms and the hash standards.
    for (algorithm, value) in [
        (ChecksumAlgorithm::Crc32, "cbf43926"),
        (ChecksumAlgorithm::Crc32c, "e3069283"),
        (ChecksumAlgorithm::Crc64nvme, "ae8b14860a799888"),
        (ChecksumAlgorithm::Sha1, "f7c3bc1d808e04732adf679965ccc34ca7ae3441"),
        (ChecksumAlgorithm::Sha256, "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225"),
    ] {
        let mut body = BodyStream::from_bytes("123456789");
        body.also_compute(algorithm);
        let (_, summary) = drain(body).await.unwrap();
        assert_eq!(crate::s3::testing::hex(&summary.checksums.first().unwrap().value), value);
    }
}

#[tokio::test]
async fn contradictory_or_malformed_promises_are_refused_before_a_byte_is_read() {
    let crc = ("x-amz-checksum-crc32", "y/Q5Jg==");
    let length = ("content-length", "9");
    let refused = |payload: Payload, pairs: &[(&str, &str)]| {
        let result = stream(source(b"123456789", 9, End::Clean), payload, pairs);
        result.err().unwrap_or(BodyError::NotRead)
    };
    let plain = |pairs: &[(&str, &str)]| refused(Payload::Unsigned, pairs);
    assert_eq!(plain(&[length, ("content-md5", "x")]), BodyError::InvalidMd5);
    assert_eq!(plain(&[length, ("content-md5", "AAAA")]), BodyError::InvalidMd5);
    let invalid = BodyError::InvalidChecksum(ChecksumAlgorithm::Crc32);
    assert_eq!(plain(&[length, ("x-amz-checksum-crc32", "!")]), invalid);
    assert_eq!(plain(&[length, ("x-amz-checksum-crc32", "AAAAAAA=")]), invalid);
    assert_eq!(plain(&[length, crc, crc]), BodyError::SeveralChecksums);
    assert_eq!(plain(&[length, crc, ("x-amz-checksum-crc32c", "AAAAAA==")]), BodyError::SeveralChecksums);
    for newer in ["sha512", "md5", "xxhash64", "xxhash3", "xxhash128", "whatever"] {
        let name = format!("x-amz-checksum-{newer}");
        let pair = (name.as_str(), "AAAA");
        for operation in [Operation::PutObject, Operation::UploadPart, Operation::CompleteMultipartUpload] {
            let headers = head("PUT", "/b/k", &[length, pair]).headers;
            let found = Promises::read(operation, &headers, &Payload::Unsigned);
            assert_eq!(found, Err(BodyError::UnknownChecksum), "{operation:?} {newer}");
        }
        assert_eq!(plain(&[length, crc, pair]), BodyError::UnknownChecksum, "{newer}");
    }
    let trailer = ("x-amz-trailer", "x-amz-checksum-crc32");
    assert_eq!(plain(&[length, trailer]), BodyError::TrailerUnannounced);
    let decoded = ("x-amz-decoded-content-length", "9");
    let chunks = |pairs: &[(&str, &str)]| refused(Payload::UnsignedChunks, pairs);
    assert_eq!(chunks(&[decoded, trailer, crc]), BodyError::SeveralChecksums);
    assert_eq!(chunks(&[decoded, ("x-amz-trailer", "x-amz-meta-a")]), BodyError::UnknownTrailer);
    assert_eq!(chunks(&[length, trailer]), BodyError::LengthMissing);
    assert_eq!(chunks(&[("x-amz-decoded-content-length", "-1")]), BodyError::LengthInvalid);
    let sdk = |name| ("x-amz-sdk-checksum-algorithm", name);
    assert_eq!(plain(&[length, sdk("CRC32")]), BodyError::SdkAlgorithmWithoutChecksum);
    assert_eq!(plain(&[length, crc, sdk("SHA1")]), BodyError::SdkAlgorithmInvalid);
    assert_eq!(plain(&[length, crc, sdk("CRC33")]), BodyError::SdkAlgorithmInvalid);
    assert!(stream(source(b"", 9, End::Clean), Payload::Unsigned, &[length, crc, sdk("crc32")]).is_ok());
    assert_eq!(plain(&[length, decoded]), BodyError::FramingUnannounced);
    let none = stream(source(b"", 9, End::Clean), sha256(b"x"), &[("content-length", "0")]);
    assert_eq!(none.err(), Some(BodyError::PayloadMismatch));
}

#[tokio::test]
async fn lengths_are_exact_and_needed() {
    let short = read(b"12345", 3, Payload::Unsigned, &[("content-length", "6")]).await;
    assert_eq!(short, Err(BodyError::Incomplete));
    let broken =
        stream(source(b"123", 3, End::Broken), Payload::Unsigned, &[("content-length", "9")]).unwrap();
    assert_eq!(drain(broken).await, Err(BodyError::Incomplete));
    let endless = stream(source(b"1", 1, End::Clean), Payload::Unsigned, &[("transfer-encoding", "chunked")]);
    let endless = endless.unwrap();
    assert!(endless.declared_len().is_err());
    assert_eq!(drain(endless).await.unwrap().0, b"1");
}

#[tokio::test]
async fn an_error_stays_and_leaves_no_summary() {
    let mut body =
        stream(source(b"12", 1, End::Broken), Payload::Unsigned, &[("content-length", "9")]).unwrap();
    assert_eq!(body.next().await, Ok(Some(Bytes::from_static(b"1"))));
    assert_eq!(body.next().await, Ok(Some(Bytes::from_static(b"2"))));
    assert_eq!(body.next().await, Err(BodyError::Incomplete));
    assert_eq!(body.next().await, Err(BodyError::Incomplete));
    assert_eq!(body.into_summary(), Err(BodyError::Incomplete));
    let unread = BodyStream::from_bytes("x");
    assert_eq!(unread.into_summary(), Err(BodyError::NotRead));
}

#[tokio::test]
async fn small_bodies_are_read_whole_and_large_ones_refused() {
    assert_eq!(BodyStream::from_bytes("12345").read_bounded(5).await, Ok(Bytes::from_static(b"12345")));
    assert_eq!(BodyStream::from_bytes("12345").read_bounded(4).await, Err(BodyError::TooLong(4)));
    let undeclared =
        stream(source(b"12345", 2, End::Clean), Payload::Unsigned, &[("transfer-encoding", "chunked")]);
    assert_eq!(undeclared.unwrap().read_bounded(4).await, Err(BodyError::TooLong(4)));
}

#[tokio::test]
async fn signed_chunks_are_read_in_whatever_pieces_they_come() {
    let data: Vec<u8> = (0..200_000usize).map(|at| at.to_le_bytes()[0]).collect();
    for (chunk, piece) in [(200_000, 65_536), (8192, 1000), (65_536, 200_500), (70_000, 7)] {
        let signed = signed(&data, chunk, None);
        let (read, summary) =
            read(&signed.encoded, piece, signed.payload, &[("x-amz-decoded-content-length", "200000")])
                .await
                .unwrap();
        assert!(read == data, "{chunk} {piece}");
        assert_eq!(summary.md5, <[u8; 16]>::from(Md5::digest(&data)));
    }
    let none = signed(b"", 1, None);
    let (read, _) =
        read(&none.encoded, 9, none.payload, &[("x-amz-decoded-content-length", "0")]).await.unwrap();
    assert_eq!(read, b"");
}

#[tokio::test]
async fn signed_and_unsigned_trailers_carry_the_checksum() {
    let data = vec![3u8; 70_000];
    for algorithm in ALGORITHMS {
        let line = format!("{}:{}", header_name(algorithm), checksum(algorithm, &data));
        let pairs = [
            ("x-amz-decoded-content-length", "70000"),
            ("x-amz-trailer", header_name(algorithm)),
            ("x-amz-sdk-checksum-algorithm", wire_name(algorithm)),
        ];
        let with_signature = signed(&data, 65_536, Some(&line));
        let (_, summary) = read(&with_signature.encoded, 5000, with_signature.payload, &pairs).await.unwrap();
        assert_eq!(summary.checksums.len(), 1);
        let without = unsigned(&data, 65_536, &format!("{line}\r\n"));
        let (_, same) = read(&without, 5000, Payload::UnsignedChunks, &pairs).await.unwrap();
        assert_eq!(same, summary);
        let wrong = format!("{}:{}", header_name(algorithm), checksum(algorithm, b"other"));
        let wrong = unsigned(&data, 65_536, &format!("{wrong}\r\n"));
        let refused = read(&wrong, 5000, Payload::UnsignedChunks, &pairs).await;
        assert_eq!(refused, Err(BodyError::ChecksumMismatch(algorithm)));
    }
}

#[tokio::test]
async fn a_trailer_is_what_was_announced() {
    let pairs = [("x-amz-decoded-content-length", "3"), ("x-amz-trailer", "x-amz-checksum-crc32")];
    let good = format!("x-amz-checksum-crc32:{}\r\n", checksum(ChecksumAlgorithm::Crc32, b"abc"));
    let with = |trailer: String| {
        let encoded = unsigned(b"abc", 3, &trailer);
        async move { read(&encoded, 5, Payload::UnsignedChunks, &pairs).await.map(|(data, _)| data) }
    };
    assert_eq!(with(good.clone()).await, Ok(b"abc".to_vec()));
    assert_eq!(with(good.replace("\r\n", "\n\r\n")).await, Ok(b"abc".to_vec()), "bare line feed, spare line");
    assert_eq!(with(String::new()).await, Err(BodyError::TrailerMismatch));
    assert_eq!(with(good.replace("crc32", "crc32c")).await, Err(BodyError::TrailerMismatch));
    assert_eq!(with(format!("{good}{good}")).await, Err(BodyError::TrailerMismatch));
    let invalid = BodyError::InvalidChecksum(ChecksumAlgorithm::Crc32);
    assert_eq!(with("x-amz-checksum-crc32:?\r\n".to_owned()).await, Err(invalid));
    let trailer = BodyError::Framing(FramingError::Trailer);
    assert_eq!(with("no colon\r\n".to_owned()).await, Err(trailer.clone()));
    assert_eq!(with(format!("x-amz-checksum-crc32:{}\r\n", "A".repeat(2000))).await, Err(trailer.clone()));
    assert_eq!(with(format!("{good}x-amz-trailer-signature:{}\r\n", "0".repeat(64))).await, Err(trailer));
    let unannounced = unsigned(b"abc", 3, &good);
    let refused = read(&unannounced, 5, Payload::UnsignedChunks, &pairs[..1]).await;
    assert_eq!(refused.map(|(data, _)| data), Err(BodyError::TrailerMismatch));
}

#[tokio::test]
async fn a_broken_chain_of_chunks_is_refused() {
    let data = vec![9u8; 20_000];
    let pairs = [("x-amz-decoded-content-length", "20000")];
    let whole = signed(&data, 8192, None);
    let changed = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut encoded = whole.encoded.clone();
        change(&mut encoded);
        let payload = whole.payload.clone();
        async move { read(&encoded, 3333, payload, &pairs).await.map(|(data, _)| data) }
    };
    let data_at = whole.lines[0] + format!("2000;chunk-signature={}\r\n", "0".repeat(64)).len();
    assert_eq!(changed(&|_| {}).await, Ok(data.clone()));
    assert_eq!(changed(&|bytes| bytes[data_at] ^= 1).await, Err(BodyError::ChainBroken));
    for line in &whole.lines {
        let digit = line + whole.encoded[*line..].iter().position(|byte| *byte == b'\r').unwrap() - 1;
        let flipped = changed(&|bytes| bytes[digit] = if bytes[digit] == b'0' { b'1' } else { b'0' }).await;
        assert_eq!(flipped, Err(BodyError::ChainBroken), "a signature at {line}");
    }
    let swapped = changed(&|bytes| {
        let (first, second) = (whole.lines[0]..whole.lines[1], whole.lines[1]..whole.lines[2]);
        let moved = [&whole.encoded[second.clone()], &whole.encoded[first.clone()]].concat();
        bytes[first.start..second.end].copy_from_slice(&moved);
    });
    assert_eq!(swapped.await, Err(BodyError::ChainBroken));
    let dropped = changed(&|bytes| drop(bytes.drain(whole.lines[1]..whole.lines[2])));
    assert_eq!(dropped.await, Err(BodyError::Framing(FramingError::DecodedLength)));
    let line = "x-amz-checksum-crc32:AAAAAA==";
    let mut trailer = signed(&data, 8192, Some(line));
    let at = trailer.encoded.len() - 5;
    trailer.encoded[at] = if trailer.encoded[at] == b'0' { b'1' } else { b'0' };
    let pairs = [pairs[0], ("x-amz-trailer", "x-amz-checksum-crc32")];
    let refused = read(&trailer.encoded, 50, trailer.payload, &pairs).await;
    assert_eq!(refused.map(|(data, _)| data), Err(BodyError::ChainBroken));
}

#[tokio::test]
async fn every_cut_of_a_chunked_body_is_refused() {
    let data = vec![5u8; 30];
    let line = format!("x-amz-checksum-crc32:{}", checksum(ChecksumAlgorithm::Crc32, &data));
    let pairs = [("x-amz-decoded-content-length", "30"), ("x-amz-trailer", "x-amz-checksum-crc32")];
    let whole = signed(&data, 30, Some(&line));
    for cut in 0..whole.encoded.len() {
        let refused = read(&whole.encoded[..cut], 16, whole.payload.clone(), &pairs).await;
        assert_eq!(refused, Err(BodyError::Framing(FramingError::Truncated)), "cut at {cut}");
    }
    assert!(read(&whole.encoded, 16, whole.payload, &pairs).await.is_ok());
}

fn decode_all(framing: Framing, bytes: &[u8], piece: usize) -> Result<(Vec<u8>, bool), FramingError> {
    let mut decoder = ChunkDecoder::new(framing);
    let mut data = Vec::new();
    let mut ended = false;
    for piece in bytes.chunks(piece.max(1)) {
        let mut input = Bytes::copy_from_slice(piece);
        while let Some(item) = decoder.decode(&mut input)? {
            match item {
                Item::Data(bytes) => data.extend_from_slice(&bytes),
                Item::ChunkEnd { .. } => {}
                Item::End { .. } => ended = true,
            }
        }
    }
    decoder.finish().map(|()| (data, ended))
}

#[test]
fn malformed_framing_is_refused_where_it_is_found() {
    let framing = Framing { signed: false, trailer: true, decoded_len: 3 };
    let long = format!("{}\r\n", "0".repeat(300));
    for (bytes, error) in [
        ("3\r\nabc\r\n0\r\n\r\nx", FramingError::BytesAfterEnd),
        ("3\r\nabcd\r\n0\r\n\r\n", FramingError::ChunkEnd),
        ("3\r\nabc0\r\n\r\n", FramingError::ChunkEnd),
        ("4\r\nabcd\r\n0\r\n\r\n", FramingError::DecodedLength),
        ("2\r\nab\r\n0\r\n\r\n", FramingError::DecodedLength),
        ("ffffffffffffffff\r\n", FramingError::DecodedLength),
        ("10000000000000000\r\n", FramingError::ChunkHeader),
        ("g\r\n", FramingError::ChunkHeader),
        ("-1\r\n", FramingError::ChunkHeader),
        ("+3\r\nabc\r\n0\r\n\r\n", FramingError::ChunkHeader),
        ("\r\n", FramingError::ChunkHeader),
        ("3\nabc\r\n0\r\n\r\n", FramingError::ChunkHeader),
        ("\u{ff}\r\n", FramingError::ChunkHeader),
        (&long, FramingError::ChunkHeader),
        ("3;chunk-signature=00\r\nabc\r\n0\r\n\r\n", FramingError::ChunkHeader),
        ("3;a=b\r\nabc\r\n0\r\n\r\n", FramingError::ChunkHeader),
        ("3\r\nabc\r\n", FramingError::Truncated),
        ("", FramingError::Truncated),
    ] {
        for piece in [1, 4, 1000] {
            assert_eq!(decode_all(framing, bytes.as_bytes(), piece), Err(error), "{bytes:?}");
        }
    }
    let signed = Framing { signed: true, trailer: false, decoded_len: 3 };
    for bytes in ["3\r\nabc\r\n", "3;chunk-signature=12\r\nabc", "3;other=1\r\n"] {
        assert_eq!(decode_all(signed, bytes.as_bytes(), 3), Err(FramingError::ChunkSignature), "{bytes:?}");
    }
    let many = format!("3\r\nabc\r\n0\r\n{}\r\n", "a:b\r\n".repeat(17));
    assert_eq!(decode_all(framing, many.as_bytes(), 9), Err(FramingError::Trailer));
}

#[test]
fn only_the_last_chunk_may_be_small() {
    let data = vec![7u8; 3 * 8192];
    let decode = |sizes: &[usize]| {
        let mut rest = data.as_slice();
        let mut encoded = Vec::new();
        for size in sizes {
            let (part, tail) = rest.split_at(*size);
            rest = tail;
            encoded.extend(format!("{size:x}\r\n").bytes().chain(part.iter().copied()).chain(*b"\r\n"));
        }
        encoded.extend(b"0\r\n\r\n");
        let decoded_len = sizes.iter().sum::<usize>() as u64;
        decode_all(Framing { signed: false, trailer: true, decoded_len }, &encoded, 5000)
            .map(|(data, _)| data.len())
    };
    assert_eq!(decode(&[8192, 8192, 1]), Ok(16_385));
    assert_eq!(decode(&[1]), Ok(1));
    assert_eq!(decode(&[8191, 1]), Err(FramingError::ChunkTooSmall { chunk: 2, size: 8191 }));
    assert_eq!(decode(&[8192, 3, 8192]), Err(FramingError::ChunkTooSmall { chunk: 3, size: 3 }));
}

#[tokio::test(start_paused = true)]
async fn a_slow_sender_is_cut_and_a_long_body_is_not() {
    let sender = |count: usize, bytes: usize, pause: u64| {
        let pieces = (0..count).map(|_| (Duration::from_secs(pause), Bytes::from(vec![1; bytes]))).collect();
        let source = Sender { pieces, end: End::Clean, pause: None }.boxed_unsync();
        let length = (count * bytes).to_string();
        drain(stream(source, Payload::Unsigned, &[("content-length", &length)]).unwrap())
    };
    // A byte a second; a megabyte, then nothing; just under the rate; at the rate, for hours.
    let began = tokio::time::Instant::now();
    assert_eq!(sender(1000, 1, 1).await, Err(BodyError::TooSlow));
    assert_eq!(began.elapsed(), Duration::from_mins(1));
    assert_eq!(sender(2, 1_000_000, 61).await, Err(BodyError::TooSlow));
    assert_eq!(sender(1000, 10_100, 10).await, Err(BodyError::TooSlow));
    let (data, _) = sender(1000, 10_300, 10).await.unwrap();
    assert_eq!(data.len(), 10_300_000);
}

#[tokio::test(start_paused = true)]
async fn time_in_which_the_handler_is_busy_does_not_count() {
    let pieces = (0..10).map(|_| (Duration::from_secs(5), Bytes::from_static(b"x"))).collect();
    let source = Sender { pieces, end: End::Clean, pause: None }.boxed_unsync();
    let mut body = stream(source, Payload::Unsigned, &[("content-length", "10")]).unwrap();
    while body.next().await.unwrap().is_some() {
        tokio::time::sleep(Duration::from_secs(100)).await;
    }
    assert_eq!(body.into_summary().unwrap().size, 10);
}

#[tokio::test(start_paused = true)]
async fn what_a_handler_leaves_unread_is_discarded_within_bounds() {
    let leave = |bytes: usize| {
        let watch = BodyWatch::default();
        let source = source(&vec![1; bytes], 1000, End::Clean);
        let map = headers(&[("content-length", &bytes.to_string())]);
        drop(BodyStream::new(source, Operation::PutObject, &map, Payload::Unsigned, &watch).unwrap());
        watch
    };
    assert!(leave(1000).discard_rest().await);
    assert!(!leave(5_000_000).discard_rest().await);
    let silent = BodyWatch::default();
    let pieces = VecDeque::from([(Duration::from_mins(1), Bytes::from_static(b"x"))]);
    silent.keep(Sender { pieces, end: End::Clean, pause: None }.boxed_unsync());
    assert!(!silent.discard_rest().await);
}

proptest! {
    #[test]
    fn any_data_in_any_chunks_and_pieces_comes_out_as_it_went_in(
        data in proptest::collection::vec(any::<u8>(), 0..40_000),
        chunk in 8192usize..20_000,
        piece in 1usize..9000,
    ) {
        let framing = Framing { signed: false, trailer: true, decoded_len: data.len() as u64 };
        let encoded = unsigned(&data, chunk, "");
        prop_assert_eq!(decode_all(framing, &encoded, piece), Ok((data, true)));
    }

    #[test]
    fn any_bytes_are_decoded_or_refused_without_a_panic(
        bytes in proptest::collection::vec(prop_oneof![Just(b'0'), Just(b'3'), Just(b'\r'), Just(b'\n'), Just(b':'), Just(b';'), any::<u8>()], 0..200),
        piece in 1usize..20,
        signed: bool,
        trailer: bool,
    ) {
        let framing = Framing { signed, trailer, decoded_len: 3 };
        let whole = decode_all(framing, &bytes, 200);
        prop_assert_eq!(decode_all(framing, &bytes, piece), whole, "pieces change nothing");
    }

    #[test]
    fn any_headers_are_promises_or_refused_without_a_panic(
        value in "[ -~]{0,60}",
        name in prop_oneof![Just("content-md5"), Just("x-amz-checksum-sha256"), Just("x-amz-trailer"), Just("x-amz-sdk-checksum-algorithm"), Just("content-length"), Just("x-amz-decoded-content-length")],
    ) {
        for payload in [Payload::Unsigned, Payload::UnsignedChunks] {
            // An announced algorithm without a checksum is never accepted; all else is or is not.
            let accepted = stream(source(b"", 1, End::Clean), payload, &[(name, &value)]).is_ok();
            prop_assert!(!accepted || name != "x-amz-sdk-checksum-algorithm");
        }
    }
}

#[tokio::test]
async fn a_body_that_does_not_say_how_long_it_is_does_not_pass_for_none() {
    let open = |operation, bytes: &[u8]| {
        let (headers, watch) = (HeaderMap::new(), BodyWatch::default());
        let source = source(bytes, 4, End::Clean);
        BodyStream::new(source, operation, &headers, Payload::Unsigned, &watch).unwrap()
    };
    let document = |bytes| open(Operation::PutObjectTagging, bytes);
    assert_eq!(document(b"").declared_len(), Ok(0));
    let missing = Err(crate::s3::error::S3ErrorCode::MissingContentLength);
    assert_eq!(document(b"more than nothing").declared_len().map_err(|error| error.code), missing);
    for operation in [Operation::PutObject, Operation::UploadPart] {
        assert_eq!(open(operation, b"").declared_len().map_err(|error| error.code), missing);
    }
    assert_eq!(document(b"a document").read_bounded(100).await.unwrap(), "a document");
}
