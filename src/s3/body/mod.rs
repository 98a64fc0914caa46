//! The request's body: decoded, verified and digested while it streams, never held as a whole.
//!
//! Previous hop: the dispatcher, which knows what the signature promises. Next hop: the handler, which stages the bytes
//! and drops what it staged if this stream ends in an error.

pub mod checksum;
pub mod chunked;
mod digest;
mod watch;

use super::error::{S3Error, S3ErrorCode};
use super::operation::Operation;
use super::response::BodyFailure;
use super::sigv4::{ChunkChain, Payload};
use crate::engine::Permit;
use crate::listener::progress::Progress;
use bytes::{Bytes, BytesMut};
use checksum::{Promise, Promises, decode_value, header_name};
use chunked::{ChunkDecoder, Framing, FramingError, Item};
pub(super) use digest::ContentDigest;
use digest::{Digester, Digests, Pipeline, Step};
use http::HeaderMap;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Body as _;
use siltstone_log::event::{Checksum, ChecksumAlgorithm};
use subtle::ConstantTimeEq;
use tokio::time::{Instant, timeout};
pub use watch::BodyWatch;
use watch::Held;

/// Why a body was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// It ended early, or the connection broke.
    #[error("the body ended before the announced number of bytes")]
    Incomplete,
    /// The client sent too little for too long.
    #[error("the client sent less than 1 KiB/s over 60 s")]
    TooSlow,
    /// No length was announced.
    #[error("the length of the body is not announced")]
    LengthMissing,
    /// A length that is no number.
    #[error("x-amz-decoded-content-length is not a number")]
    LengthInvalid,
    /// A decoded length for a body that is not sent in aws-chunks: its framing would be stored as content.
    #[error("x-amz-decoded-content-length needs an x-amz-content-sha256 that announces chunks")]
    FramingUnannounced,
    /// The aws-chunked framing is broken.
    #[error(transparent)]
    Framing(#[from] FramingError),
    /// A chunk's or the trailer's signature is wrong.
    #[error("a chunk signature does not match")]
    ChainBroken,
    /// The SHA-256 that was signed is another.
    #[error("the body does not match x-amz-content-sha256")]
    PayloadMismatch,
    /// A `Content-MD5` that is no MD5.
    #[error("Content-MD5 is malformed")]
    InvalidMd5,
    /// Another MD5 than `Content-MD5`.
    #[error("the body does not match Content-MD5")]
    Md5Mismatch,
    /// A checksum that is none.
    #[error("the value of {} is malformed", header_name(*.0))]
    InvalidChecksum(ChecksumAlgorithm),
    /// Another checksum than the one given.
    #[error("the body does not match {}", header_name(*.0))]
    ChecksumMismatch(ChecksumAlgorithm),
    /// A checksum of an algorithm that is not known here.
    #[error("an x-amz-checksum- header is of an unknown algorithm")]
    UnknownChecksum,
    /// More than one checksum.
    #[error("more than one checksum is given")]
    SeveralChecksums,
    /// `x-amz-trailer` names something that is no checksum.
    #[error("x-amz-trailer names an unknown trailer")]
    UnknownTrailer,
    /// `x-amz-trailer` with a body that has no trailer.
    #[error("x-amz-trailer needs a payload with a trailer")]
    TrailerUnannounced,
    /// The trailers are not those of `x-amz-trailer`.
    #[error("the trailers are not those that x-amz-trailer announces")]
    TrailerMismatch,
    /// `x-amz-sdk-checksum-algorithm` is unknown or not that of the checksum.
    #[error("x-amz-sdk-checksum-algorithm is not that of the checksum")]
    SdkAlgorithmInvalid,
    /// `x-amz-sdk-checksum-algorithm` without a checksum.
    #[error("x-amz-sdk-checksum-algorithm without a checksum")]
    SdkAlgorithmWithoutChecksum,
    /// A body that is to be held in memory is too long.
    #[error("the body is longer than {0} bytes")]
    TooLong(usize),
    /// A handler asked for the summary of a body it had not read.
    #[error("the body was not read to its end")]
    NotRead,
    /// The digests were lost.
    #[error("the digests of the body were lost")]
    DigestsLost,
}

/// The most bytes of a body that nobody asked for.
const MAX_UNUSED_BYTES: usize = 64 * 1024;

/// The SHA-256 of no bytes.
const EMPTY_SHA256: [u8; 32] = [
    0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24, 0x27,
    0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
];

/// What is known of a body once its last byte was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BodySummary {
    /// Bytes, decoded.
    pub size: u64,
    /// Their MD5, from which the ETag comes.
    pub md5: [u8; 16],
    /// The checksums that were asked for: the one the client gave, verified, and those of
    /// [`BodyStream::also_compute`].
    pub checksums: Vec<Checksum>,
}

enum Decoder {
    Plain,
    Chunked(Box<ChunkDecoder>),
}

/// What a stream is made of.
struct Parts {
    source: Held,
    decoder: Decoder,
    declared: Option<u64>,
    digester: Digester,
    promises: Promises,
    payload: Option<[u8; 32]>,
}

enum Outcome {
    Open,
    Verified(BodySummary),
    Failed(BodyError),
}

/// Where the bytes come from.
pub type BodySource = UnsyncBoxBody<Bytes, BodyFailure>;

/// A request's body. Pull it with [`next`](Self::next); only `Ok(None)` means that everything was verified, and only
/// then is there a [`summary`](Self::into_summary). After an error everything that was staged is to be dropped.
pub struct BodyStream {
    source: Held,
    /// Received and not yet decoded.
    pending: Bytes,
    decoder: Decoder,
    declared: Option<u64>,
    received: u64,
    progress: Progress,
    pipeline: Pipeline,
    promises: Promises,
    payload: Option<[u8; 32]>,
    trailer_value: Option<Vec<u8>>,
    outcome: Outcome,
}

impl BodyStream {
    /// The body of an authenticated request. Reads no byte: what a client that waits for `100 Continue` may not send yet
    /// is asked for by the first [`next`](Self::next).
    pub fn new(
        source: BodySource,
        operation: Operation,
        headers: &HeaderMap,
        payload: Payload,
        watch: &BodyWatch,
    ) -> Result<Self, BodyError> {
        let ended = source.is_end_stream();
        // Held first: a body that is refused here is still there to be discarded.
        let source = Held::new(source, watch.clone());
        let promises = Promises::read(operation, headers, &payload)?;
        let declared = declared_len(operation, headers, &payload, ended)?;
        let framing = |signed, trailer| {
            let decoded_len = declared.ok_or(BodyError::LengthMissing)?;
            let decoder = ChunkDecoder::new(Framing { signed, trailer, decoded_len });
            Ok::<_, BodyError>(Decoder::Chunked(Box::new(decoder)))
        };
        let (decoder, expected, chain) = match payload {
            Payload::Unsigned => (Decoder::Plain, None, None),
            // Handlers of requests without a body read none, so its hash is checked here.
            Payload::Sha256(hash) if declared == Some(0) && hash != EMPTY_SHA256 => {
                return Err(BodyError::PayloadMismatch);
            }
            Payload::Sha256(hash) => (Decoder::Plain, Some(hash), None),
            Payload::UnsignedChunks => (framing(false, true)?, None, None),
            Payload::SignedChunks { seed, trailer } => {
                (framing(true, trailer)?, None, Some(ChunkChain::new(seed)))
            }
        };
        let mut digester = Digester::new(expected.is_some(), chain);
        if let Some(algorithm) = promises.checksum.algorithm() {
            digester.add(algorithm);
        }
        let parts = Parts { source, decoder, declared, digester, promises, payload: expected };
        Ok(Self::assemble(parts))
    }

    fn assemble(parts: Parts) -> Self {
        Self {
            source: parts.source,
            pending: Bytes::new(),
            decoder: parts.decoder,
            declared: parts.declared,
            received: 0,
            progress: Progress::default(),
            pipeline: Pipeline::new(parts.digester, parts.declared),
            promises: parts.promises,
            payload: parts.payload,
            trailer_value: None,
            outcome: Outcome::Open,
        }
    }

    /// A body at hand, for tests of handlers.
    pub fn from_bytes(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let declared = Some(bytes.len() as u64);
        let source = Full::new(bytes).map_err(|never| match never {}).boxed_unsync();
        Self::assemble(Parts {
            source: Held::new(source, BodyWatch::default()),
            decoder: Decoder::Plain,
            declared,
            digester: Digester::new(false, None),
            promises: Promises { md5: None, checksum: Promise::None },
            payload: None,
        })
    }

    /// How many bytes the client announced, decoded (`x-amz-decoded-content-length`, else `Content-Length`); without
    /// either `MissingContentLength`.
    pub fn declared_len(&self) -> Result<u64, S3Error> {
        self.declared.ok_or_else(|| S3ErrorCode::MissingContentLength.into())
    }

    /// The checksum algorithm that the client announced for this body, in a header or a trailer.
    pub fn declared_checksum(&self) -> Option<ChecksumAlgorithm> {
        self.promises.checksum.algorithm()
    }

    /// Has one more checksum computed. To be called before the first [`next`](Self::next).
    pub fn also_compute(&mut self, algorithm: ChecksumAlgorithm) {
        if let Some(digester) = self.pipeline.digester() {
            digester.add(algorithm);
        }
    }

    /// Whether the client sent something that proves the body's integrity beyond the connection's own: `Content-MD5`
    /// or a checksum (what `DeleteObjects` asks for).
    pub fn has_integrity_header(&self) -> bool {
        self.promises.md5.is_some() || self.promises.checksum != Promise::None
    }

    /// Bytes of content received so far.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// The next bytes; `None` once the body has ended and everything about it was verified. An error stays.
    pub async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        match &self.outcome {
            Outcome::Verified(_) => return Ok(None),
            Outcome::Failed(error) => return Err(error.clone()),
            Outcome::Open => {}
        }
        match self.advance().await {
            Ok(next) => Ok(next),
            Err(error) => {
                self.outcome = Outcome::Failed(error.clone());
                Err(error)
            }
        }
    }

    async fn advance(&mut self) -> Result<Option<Bytes>, BodyError> {
        loop {
            while let Some(item) = self.decode()? {
                match item {
                    Item::Data(data) => {
                        self.received += data.len() as u64;
                        self.source.watch().count(self.received);
                        self.digest(Step::Data(data.clone())).await?;
                        return Ok(Some(data));
                    }
                    Item::ChunkEnd { signature: Some(signature) } => {
                        self.digest(Step::ChunkEnd(signature)).await?;
                    }
                    Item::ChunkEnd { signature: None } => {}
                    Item::End { trailers, signature } => self.take_trailers(&trailers, signature).await?,
                }
            }
            let Some(bytes) = self.receive().await? else {
                self.outcome = Outcome::Verified(self.verify().await?);
                return Ok(None);
            };
            self.pending = bytes;
        }
    }

    fn decode(&mut self) -> Result<Option<Item>, BodyError> {
        match &mut self.decoder {
            Decoder::Plain if self.pending.is_empty() => Ok(None),
            Decoder::Plain => Ok(Some(Item::Data(std::mem::take(&mut self.pending)))),
            Decoder::Chunked(decoder) => Ok(decoder.decode(&mut self.pending)?),
        }
    }

    async fn digest(&mut self, step: Step) -> Result<(), BodyError> {
        self.pipeline.push(step).await.map_err(|_| BodyError::DigestsLost)
    }

    /// The next bytes from the client, as they came.
    async fn receive(&mut self) -> Result<Option<Bytes>, BodyError> {
        loop {
            let began = Instant::now();
            let Some(source) = self.source.source() else { return Ok(None) };
            let frame = timeout(self.progress.patience(), source.frame()).await;
            let frame = frame.map_err(|_| BodyError::TooSlow)?;
            match frame {
                None => return Ok(None),
                Some(Err(_)) => return Err(BodyError::Incomplete),
                Some(Ok(frame)) => {
                    // HTTP's own trailers say nothing here; those of aws-chunked are in the data.
                    let Ok(bytes) = frame.into_data() else { continue };
                    self.progress.moved(bytes.len(), began.elapsed());
                    if !bytes.is_empty() {
                        return Ok(Some(bytes));
                    }
                }
            }
        }
    }

    async fn take_trailers(
        &mut self,
        trailers: &[(String, String)],
        signature: Option<[u8; 32]>,
    ) -> Result<(), BodyError> {
        match (&self.promises.checksum, trailers) {
            (Promise::Trailer(algorithm), [(name, value)]) if name == header_name(*algorithm) => {
                let value = decode_value(*algorithm, value);
                self.trailer_value = Some(value.ok_or(BodyError::InvalidChecksum(*algorithm))?);
            }
            (Promise::None | Promise::Header(..), []) => {}
            (Promise::None | Promise::Header(..) | Promise::Trailer(_), _) => {
                return Err(BodyError::TrailerMismatch);
            }
        }
        if let Some(signature) = signature {
            let lines = trailers.iter().map(|(name, value)| format!("{name}:{value}\n"));
            self.digest(Step::Trailer(lines.collect::<String>().into_bytes(), signature)).await?;
        }
        Ok(())
    }

    async fn verify(&mut self) -> Result<BodySummary, BodyError> {
        match &self.decoder {
            Decoder::Chunked(decoder) => decoder.finish()?,
            Decoder::Plain if self.declared.is_some_and(|len| len != self.received) => {
                return Err(BodyError::Incomplete);
            }
            Decoder::Plain => {}
        }
        let digests = self.pipeline.finish().await.map_err(|_| BodyError::DigestsLost)?;
        self.check(&digests)?;
        Ok(BodySummary { size: self.received, md5: digests.md5, checksums: digests.into_checksums() })
    }

    fn check(&self, digests: &Digests) -> Result<(), BodyError> {
        if !digests.chain_holds {
            return Err(BodyError::ChainBroken);
        }
        if let (Some(signed), Some(found)) = (&self.payload, &digests.payload)
            && !bool::from(signed.ct_eq(found))
        {
            return Err(BodyError::PayloadMismatch);
        }
        if self.promises.md5.is_some_and(|md5| md5 != digests.md5) {
            return Err(BodyError::Md5Mismatch);
        }
        let (algorithm, promised) = match &self.promises.checksum {
            Promise::None => return Ok(()),
            Promise::Header(algorithm, value) => (*algorithm, Some(value)),
            Promise::Trailer(algorithm) => (*algorithm, self.trailer_value.as_ref()),
        };
        let found = digests.checksums.iter().find(|(name, _)| *name == algorithm).map(|(_, value)| value);
        if promised.is_some() && promised == found {
            Ok(())
        } else {
            Err(BodyError::ChecksumMismatch(algorithm))
        }
    }

    /// What is known once [`next`](Self::next) returned `None`.
    pub fn into_summary(self) -> Result<BodySummary, BodyError> {
        match self.outcome {
            Outcome::Verified(summary) => Ok(summary),
            Outcome::Failed(error) => Err(error),
            Outcome::Open => Err(BodyError::NotRead),
        }
    }

    /// Reads a body that nobody asked for and keeps nothing of it: it must be what was signed, and short.
    pub async fn verify_unused(&mut self) -> Result<(), BodyError> {
        if self.declared == Some(0) {
            return Ok(());
        }
        while self.next().await?.is_some() {
            if self.received > MAX_UNUSED_BYTES as u64 {
                return Err(BodyError::TooLong(MAX_UNUSED_BYTES));
            }
        }
        Ok(())
    }

    /// Holds what was admitted for this body for as long as any of its bytes are here or being digested.
    pub fn hold(&mut self, permit: Permit) {
        self.pipeline.hold(permit);
    }

    /// Reads a small body (an XML document) as a whole; one longer than `max` is refused, before it is read where it
    /// announces its length.
    pub async fn read_bounded(mut self, max: usize) -> Result<Bytes, BodyError> {
        if self.declared.is_some_and(|len| len > max as u64) {
            return Err(BodyError::TooLong(max));
        }
        // What was announced was checked above.
        let announced = self.declared.and_then(|len| usize::try_from(len).ok()).unwrap_or(0);
        let mut whole = BytesMut::with_capacity(announced);
        while let Some(bytes) = self.next().await? {
            if whole.len() + bytes.len() > max {
                return Err(BodyError::TooLong(max));
            }
            whole.extend_from_slice(&bytes);
        }
        Ok(whole.freeze())
    }
}

/// How many bytes of content a request announces; none where it has a body without saying how long.
fn declared_len(
    operation: Operation,
    headers: &HeaderMap,
    payload: &Payload,
    ended: bool,
) -> Result<Option<u64>, BodyError> {
    let number = |name: &str| {
        let value = headers.get(name)?;
        let text = value.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        Some(text.and_then(|text| text.parse().ok()).ok_or(BodyError::LengthInvalid))
    };
    match payload {
        Payload::SignedChunks { .. } | Payload::UnsignedChunks => {
            number("x-amz-decoded-content-length").transpose()?.ok_or(BodyError::LengthMissing).map(Some)
        }
        Payload::Unsigned | Payload::Sha256(_) => {
            if headers.contains_key("x-amz-decoded-content-length") {
                return Err(BodyError::FramingUnannounced);
            }
            match number(CONTENT_LENGTH.as_str()).transpose()? {
                // Over HTTP/1.1 a request with neither header has no body. Over HTTP/2 it may have one, which must not pass
                // for nothing: what is announced is what is admitted.
                // Content is never taken from silence: S3 wants the length of an object or part said, so also here
                // where HTTP/2 would show that there is none (its clients say 0).
                None if operation.stores_body() => Ok(None),
                None if ended && !headers.contains_key(TRANSFER_ENCODING) => Ok(Some(0)),
                length => Ok(length),
            }
        }
    }
}

#[cfg(test)]
mod tests;
