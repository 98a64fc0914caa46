//! The request's body: decoded, verified and digested while it streams, never held as a whole.

use super::error::{S3Error, S3ErrorCode};
use bytes::{Bytes, BytesMut};
use siltstone_log::event::{Checksum, ChecksumAlgorithm};

/// What is known of a body once its last byte was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BodySummary {
    /// Bytes, decoded.
    pub size: u64,
    /// Their MD5, from which the ETag comes.
    pub md5: [u8; 16],
    /// The checksums that were asked for: those the client gave, verified, and those of [`BodyStream::also_compute`].
    pub checksums: Vec<Checksum>,
}

/// A request's body. Pull it with [`next`](Self::next); only `Ok(None)` means that everything was verified, and only
/// then is there a [`summary`](Self::into_summary). After an error everything that was staged is to be dropped.
pub struct BodyStream {
    summary: Option<BodySummary>,
}

impl BodyStream {
    /// A body without bytes, for tests of handlers.
    pub fn from_bytes(_bytes: impl Into<Bytes>) -> Self {
        Self { summary: None }
    }

    /// How many bytes the client announced, decoded (`x-amz-decoded-content-length`, else `Content-Length`); without
    /// either `MissingContentLength`.
    pub fn declared_len(&self) -> Result<u64, S3Error> {
        Err(S3ErrorCode::MissingContentLength.into())
    }

    /// The checksum algorithm that the client announced for this body, in a header or a trailer.
    pub fn declared_checksum(&self) -> Option<ChecksumAlgorithm> {
        None
    }

    /// Has one more checksum computed. To be called before the first [`next`](Self::next).
    pub fn also_compute(&mut self, _algorithm: ChecksumAlgorithm) {}

    /// Whether the client sent something that proves the body's integrity beyond the connection's own: `Content-MD5` or a
    /// checksum (what `DeleteObjects` asks for).
    pub fn has_integrity_header(&self) -> bool {
        false
    }

    /// The next bytes; `None` once the body has ended and everything about it was verified.
    pub async fn next(&mut self) -> Result<Option<Bytes>, S3Error> {
        std::future::ready(Ok(None)).await
    }

    /// What is known once [`next`](Self::next) returned `None`.
    pub fn into_summary(self) -> Result<BodySummary, S3Error> {
        self.summary.ok_or_else(|| S3ErrorCode::InternalError.into())
    }

    /// Reads a small body (an XML document) as a whole; one longer than `max` is refused with
    /// `MaxMessageLengthExceeded`, before it is read where it announces its length.
    pub async fn read_bounded(mut self, max: usize) -> Result<Bytes, S3Error> {
        let mut whole = BytesMut::new();
        while let Some(bytes) = self.next().await? {
            if whole.len() + bytes.len() > max {
                return Err(S3ErrorCode::MaxMessageLengthExceeded.into());
            }
            whole.extend_from_slice(&bytes);
        }
        Ok(whole.freeze())
    }
}
