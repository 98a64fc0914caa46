//! The operations behind the S3 door: finds each request its handler, and holds what they all need.
//!
//! Handlers parse, submit and render. Previous hop: the dispatcher in [`super`], which has authenticated and
//! authorised the request. Next hop: [`crate::engine::Engine`].

use super::body::{BodyStream, BodySummary};
use super::error::{S3Error, S3ErrorCode};
use super::operation::Operation;
use super::request::S3Request;
use super::response::S3Response;
use super::xml::Owner;
use super::{Answer, Handler, bucket, multipart, object, service};
use crate::engine::{Action, Command, Engine, Placement, Receipt, StagedContent, View};
use siltstone_log::event::Actor;
use siltstone_log::host::draw;
use siltstone_log::id::{AccountId, StreamId, VersionId};
use siltstone_log::name::BucketName;
use siltstone_projections::identity;
use siltstone_projections::rows::BucketRow;
use siltstone_projections::store::Rows;

/// The handlers of all operations.
pub struct Operations {
    engine: Engine,
    region: String,
}

/// A bucket that exists, as a handler works with it.
pub(super) struct OpenBucket {
    pub(super) name: BucketName,
    pub(super) stream: StreamId,
    pub(super) row: BucketRow,
}

impl Operations {
    /// Handlers over an engine, in the region that signatures name.
    pub fn new(engine: Engine, region: impl Into<String>) -> Self {
        Self { engine, region: region.into() }
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The region that signatures name.
    pub(super) fn region(&self) -> &str {
        &self.region
    }

    /// A bucket's region as clients see it.
    pub(super) fn region_of<'a>(&'a self, bucket: &'a BucketRow) -> &'a str {
        if bucket.location.is_empty() { &self.region } else { &bucket.location }
    }

    /// Durable state as of now.
    pub(super) fn view(&self) -> View {
        self.engine.view()
    }

    /// Reads that pass over many rows, all of one moment, on a thread that may wait for the disk.
    pub(super) async fn scan<T: Send + 'static>(
        &self,
        read: impl FnOnce(&dyn Rows) -> Result<T, S3Error> + Send + 'static,
    ) -> Result<T, S3Error> {
        let view = self.view();
        match tokio::task::spawn_blocking(move || read(&*view.snapshot())).await {
            Ok(result) => result,
            Err(error) => {
                tracing::error!(error = %error, "a read ended unexpectedly");
                Err(S3ErrorCode::InternalError.into())
            }
        }
    }

    /// The bucket a request names, if it exists and belongs to whom the client expects.
    pub(super) fn open_bucket(&self, request: &S3Request) -> Result<OpenBucket, S3Error> {
        let name = request.bucket()?;
        let Some((found, row)) = self.view().bucket(name)? else {
            return Err(S3Error::new(S3ErrorCode::NoSuchBucket).extra("BucketName", name.as_str()));
        };
        if let Some(expected) = request.header("x-amz-expected-bucket-owner")? {
            let owner = self.owner(row.owner)?;
            if expected != owner.id && expected != row.owner.to_string() {
                return Err(S3ErrorCode::AccessDenied.into());
            }
        }
        Ok(OpenBucket { name: name.clone(), stream: found.stream, row })
    }

    /// An account as S3 shows it.
    pub(super) fn owner(&self, account: AccountId) -> Result<Owner, S3Error> {
        Ok(match identity::account(&self.view(), account)? {
            Some(row) => Owner { id: row.canonical_id, display_name: row.display_name },
            None => Owner { id: account.to_string(), display_name: String::new() },
        })
    }

    /// An id for a version that may come to be.
    pub(super) fn fresh_version(&self) -> VersionId {
        VersionId(draw(self.engine.entropy()))
    }

    /// Submits a mutation in an actor's name.
    pub(super) async fn submit(&self, actor: Actor, action: impl Into<Action>) -> Result<Receipt, S3Error> {
        Ok(self.engine.submit(Command::new(actor, action, self.engine.entropy())).await?)
    }

    /// Takes a body in, into memory or packs. Nothing is kept of one that fails on its way: what was staged is given
    /// back when it is dropped.
    pub(super) async fn receive(
        &self,
        mut body: BodyStream,
        placement: Placement,
    ) -> Result<(StagedContent, BodySummary), S3Error> {
        let mut sink = self.engine.content_sink(placement, Some(body.declared_len()?));
        while let Some(bytes) = body.next().await? {
            sink.write(bytes).await?;
        }
        // ORDER: the summary exists only once the whole body was verified; content is finished after that.
        let summary = body.into_summary()?;
        Ok((sink.finish().await?, summary))
    }

    async fn dispatch(&self, request: S3Request) -> Result<S3Response, S3Error> {
        match request.operation {
            Operation::ListBuckets => service::list_buckets(self, request).await,
            Operation::CreateBucket => bucket::create(self, request).await,
            Operation::DeleteBucket => bucket::delete(self, request).await,
            Operation::HeadBucket => bucket::head(self, &request),
            Operation::GetBucketLocation => bucket::location(self, &request),
            Operation::GetBucketAcl => bucket::get_acl(self, &request),
            Operation::PutBucketAcl => bucket::put_acl(self, request).await,
            Operation::ListObjects => bucket::list(self, request).await,
            Operation::ListObjectsV2 => bucket::list_v2(self, request).await,
            Operation::ListMultipartUploads => multipart::list_uploads(self, request).await,
            Operation::DeleteObjects => object::delete_many(self, request).await,
            Operation::PutObject => object::put(self, request).await,
            Operation::GetObject => object::get(self, request).await,
            Operation::HeadObject => object::head(self, &request),
            Operation::DeleteObject => object::delete(self, request).await,
            Operation::GetObjectAcl => object::get_acl(self, &request),
            Operation::PutObjectAcl => object::put_acl(self, request).await,
            Operation::GetObjectTagging => object::get_tagging(self, &request),
            Operation::CreateMultipartUpload => multipart::create(self, request).await,
            Operation::UploadPart => multipart::upload_part(self, request).await,
            Operation::CompleteMultipartUpload => multipart::complete(self, request).await,
            Operation::AbortMultipartUpload => multipart::abort(self, request).await,
            Operation::ListParts => multipart::list_parts(self, request).await,
            _ => bucket::configuration(self, &request),
        }
    }
}

impl Handler for Operations {
    fn bucket_owner(&self, bucket: &BucketName) -> Result<Option<AccountId>, S3Error> {
        Ok(self.view().bucket(bucket)?.map(|(_, row)| row.owner))
    }

    fn call(&self, request: S3Request) -> Answer<'_> {
        Box::pin(self.dispatch(request))
    }
}

/// An MD5 as an ETag.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests;
