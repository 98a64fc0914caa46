//! What copies of objects and of parts share: finding the source, and bringing its bytes to where they are wanted.
//!
//! Within a bucket bytes that lie in packs are shared, unless in too many small slices, and read only where something has
//! to be computed over them.
//! Previous hop: the handlers of the two copies. Next hop: [`crate::engine::content`].

use super::body::ContentDigest;
use super::conditional::ReadConditions;
use super::copy_source::CopySource;
use super::error::{S3Error, S3ErrorCode};
use super::headers::put_version;
use super::operations::Operations;
use super::refusal::no_such_version;
use super::request::S3Request;
use crate::engine::command::MAX_PUT_SIZE;
use crate::engine::{
    ContentSink, EngineError, Fault, Need, Permit, Placement, Rejection, SharedContent, StagedContent,
    Unavailable,
};
use crate::hex::hex;
use http::HeaderMap;
use http::header::HeaderName;
use siltstone_log::event::{Checksum, ChecksumAlgorithm, ChecksumKind, CopiedFrom};
use siltstone_log::id::{StreamId, VersionRef};
use siltstone_projections::objects;
use siltstone_projections::rows::{ObjectRow, VersionRow};
use std::ops::Range;

/// What is read, and what must hold of it: looked up again where it changed meanwhile.
#[derive(Clone)]
pub(super) struct SourceRequest {
    source: CopySource,
    stream: StreamId,
    versioned: bool,
    conditions: ReadConditions,
}

/// The version that is copied.
pub(super) struct FoundSource {
    pub(super) row: ObjectRow,
    request: SourceRequest,
}

/// Whether bytes may be shared with their source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sharing {
    Allowed,
    /// The source gave them back.
    Never,
}

/// Why an attempt to copy came to nothing.
pub(super) enum CopyError {
    /// The source gave the bytes back that were to be shared or read.
    SourceChanged,
    Refused(S3Error),
}

impl From<S3Error> for CopyError {
    fn from(error: S3Error) -> Self {
        Self::Refused(error)
    }
}

impl From<EngineError> for CopyError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Rejected(Rejection::SourceChanged) => Self::SourceChanged,
            error => Self::Refused(error.into()),
        }
    }
}

impl From<CopyError> for S3Error {
    fn from(error: CopyError) -> Self {
        match error {
            CopyError::SourceChanged => Rejection::SourceChanged.into(),
            CopyError::Refused(error) => error,
        }
    }
}

/// What a copy reads, what it computes and where it puts it.
pub(super) struct Transfer<'a> {
    /// The bucket that gets the copy.
    pub(super) stream: StreamId,
    pub(super) range: Range<u64>,
    /// The checksums that the copy is to have.
    pub(super) checksums: &'a [ChecksumAlgorithm],
    pub(super) placement: Placement,
    pub(super) sharing: Sharing,
}

/// A copy that waits for its record.
pub(super) struct Transferred {
    pub(super) content: StagedContent,
    pub(super) etag: String,
    pub(super) checksums: Vec<Checksum>,
    pub(super) permit: Permit,
}

/// Attempts a copy that shares the source's bytes, or reads them; where the source has given them back meanwhile, one that
/// writes again what it has now. What was found is found again: the source may be gone, or another.
pub(super) async fn shared_or_copied<T, F>(attempt: impl Fn(Sharing) -> F) -> Result<T, S3Error>
where
    F: Future<Output = Result<T, CopyError>>,
{
    match attempt(Sharing::Allowed).await {
        Err(CopyError::SourceChanged) => attempt(Sharing::Never).await,
        attempted => attempted,
    }
    .map_err(S3Error::from)
}

impl SourceRequest {
    /// Reads what the headers say of the source.
    pub(super) fn parse(request: &S3Request) -> Result<Self, S3Error> {
        let (source, bucket) = request.copy_source()?;
        let conditions = ReadConditions::of_copy_source(&request.headers)?;
        let (stream, versioned) = (bucket.stream, bucket.is_versioned());
        Ok(Self { source: source.clone(), stream, versioned, conditions })
    }

    /// Finds the version, if its conditions hold.
    pub(super) async fn find(self, operations: &Operations) -> Result<FoundSource, S3Error> {
        operations.off_thread(move |operations| self.look_up(operations)).await
    }

    fn look_up(self, operations: &Operations) -> Result<FoundSource, S3Error> {
        let CopySource { key, version, .. } = &self.source;
        let view = operations.view();
        let row = match version {
            None => objects::current(&view, self.stream, key)?
                .ok_or_else(|| S3Error::new(S3ErrorCode::NoSuchKey).extra("Key", key.as_str()))?,
            Some(version) => match objects::find_version(&view, self.stream, key, *version)? {
                Some(VersionRow::Object(row)) => row,
                Some(VersionRow::Marker(_)) => {
                    let message = "The source of a copy request may not specifically refer to a delete marker by version id.";
                    return Err(S3Error::with_message(S3ErrorCode::InvalidRequest, message));
                }
                None => return Err(no_such_version(key, *version)),
            },
        };
        self.conditions.check_copy_source(&row.etag, row.hlc)?;
        Ok(FoundSource { row, request: self })
    }
}

impl FoundSource {
    /// What the copy's record says of it.
    pub(super) fn copied_from(&self) -> CopiedFrom {
        let CopySource { bucket, key, .. } = &self.request.source;
        CopiedFrom { bucket: bucket.clone(), key: key.clone(), version: self.row.version.into() }
    }

    /// Tells the client which version was copied, where its bucket keeps any.
    pub(super) fn put_version(&self, out: &mut HeaderMap) {
        if !self.request.versioned {
            return;
        }
        let mut version = HeaderMap::new();
        put_version(Some(VersionRef::from(self.row.version)), &mut version);
        let name = HeaderName::from_static("x-amz-copy-source-version-id");
        out.extend(version.into_iter().map(|(_, value)| (name.clone(), value)));
    }

    /// Refuses more bytes than one copy may have.
    pub(super) fn check_size(length: u64) -> Result<(), S3Error> {
        if length <= MAX_PUT_SIZE {
            return Ok(());
        }
        let message = format!(
            "The specified copy source is larger than the maximum allowable size for a copy source: {MAX_PUT_SIZE}"
        );
        Err(S3Error::with_message(S3ErrorCode::InvalidRequest, message))
    }

    /// Brings the bytes to where they are wanted: shared, or read and written again. What the source knows of them is
    /// not computed again.
    pub(super) async fn transfer(
        &self,
        operations: &Operations,
        transfer: Transfer<'_>,
    ) -> Result<Transferred, CopyError> {
        let Transfer { stream, range, checksums, placement, sharing } = transfer;
        let length = range.end.saturating_sub(range.start);
        Self::check_size(length)?;
        let known = Known::of(&self.row, &range);
        let missing: Vec<_> =
            checksums.iter().copied().filter(|algorithm| known.checksum(*algorithm).is_none()).collect();
        let digests = known.etag.is_none() || !missing.is_empty();
        let shared = (stream == self.request.stream && sharing == Sharing::Allowed)
            .then(|| SharedContent::of(&self.request.source.key, &self.row, range.clone()))
            .flatten();
        let engine = operations.engine();
        let need = Need::Store { bytes: shared.as_ref().map_or(length, SharedContent::record_bytes) };
        let permit = engine.admit(need).map_err(refused)?;
        let mut digest = None;
        if digests {
            permit.charge(ContentDigest::memory(length)).map_err(refused)?;
            digest = Some(ContentDigest::new(&missing, length, permit.clone()));
        }
        let mut sink = match shared {
            Some(_) => None,
            None => Some(engine.content_sink(placement, Some(length), permit.clone())),
        };
        if (digest.is_some() || sink.is_some()) && length > 0 {
            self.read(operations, range, digest.as_mut(), sink.as_mut()).await?;
        }
        let (etag, computed) = match digest {
            Some(digest) => {
                let (md5, computed) = digest.finish().await.map_err(S3Error::from)?;
                (hex(&md5), computed)
            }
            None => (known.etag.map(str::to_owned).unwrap_or_default(), Vec::new()),
        };
        let values = checksums.iter().filter_map(|algorithm| {
            let computed = computed.iter().find(|checksum| checksum.algorithm == *algorithm);
            computed.or_else(|| known.checksum(*algorithm)).cloned()
        });
        let checksums = values.collect();
        let content = match (sink, shared) {
            (Some(sink), _) => sink.finish().await?,
            (None, Some(shared)) => StagedContent::Shared(shared),
            (None, None) => StagedContent::Empty,
        };
        Ok(Transferred { content, etag, checksums, permit })
    }

    /// Reads a range once, for whoever wants its bytes.
    async fn read(
        &self,
        operations: &Operations,
        range: Range<u64>,
        mut digest: Option<&mut ContentDigest>,
        mut sink: Option<&mut ContentSink>,
    ) -> Result<(), CopyError> {
        let length = range.end.saturating_sub(range.start);
        let room = operations.engine().admit_read(length).await.map_err(refused)?;
        let mut reader = operations.engine().read_content(&self.row, range, room);
        let mut read = 0_u64;
        loop {
            let bytes = match reader.next().await {
                Ok(Some(bytes)) => bytes,
                Ok(None) => break,
                Err(fault) => return Err(self.unreadable(operations, fault).await),
            };
            read += bytes.len() as u64;
            if let Some(digest) = &mut digest {
                digest.push(bytes.clone()).await.map_err(S3Error::from)?;
            }
            if let Some(sink) = &mut sink {
                sink.write(bytes).await?;
            }
        }
        if read != length {
            let fault = Fault::Content(format!("{read} bytes where {length} were expected"));
            return Err(S3Error::from(fault).into());
        }
        Ok(())
    }

    /// Tells bytes that are damaged from those that the source gave back before this copy began to read, while it waited
    /// for room: then what was found is not there any more, or is another.
    async fn unreadable(&self, operations: &Operations, fault: Fault) -> CopyError {
        match (&fault, self.request.clone().find(operations).await) {
            (Fault::Content(_), Ok(found)) if found.row != self.row => CopyError::SourceChanged,
            (Fault::Content(_), Err(_)) => CopyError::SourceChanged,
            _ => S3Error::from(fault).into(),
        }
    }
}

fn refused(reason: Unavailable) -> CopyError {
    EngineError::from(reason).into()
}

/// What the source's row tells of a range of its bytes.
struct Known<'a> {
    etag: Option<&'a str>,
    checksums: &'a [Checksum],
}

impl<'a> Known<'a> {
    fn of(row: &'a ObjectRow, range: &Range<u64>) -> Self {
        if *range != (0..row.size) {
            return Self { etag: None, checksums: &[] };
        }
        // The ETag of an upload is no MD5 of its bytes, and says so by its `-N`.
        Self { etag: Some(row.etag.as_str()).filter(|etag| !etag.contains('-')), checksums: &row.checksums }
    }

    fn checksum(&self, algorithm: ChecksumAlgorithm) -> Option<&'a Checksum> {
        let covers = |checksum: &&Checksum| {
            checksum.algorithm == algorithm && checksum.kind == ChecksumKind::FullObject
        };
        self.checksums.iter().find(covers)
    }
}
