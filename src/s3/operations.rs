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
use super::{Answer, Finding, Handler, OpenBucket, bucket, multipart, object, service};
use crate::engine::{
    Action, Command, Engine, EngineError, Need, Permit, Placement, Receipt, Recent, StagedContent, View,
};
use bytes::Bytes;
use siltstone_log::event::Actor;
use siltstone_log::host::draw;
use siltstone_log::id::{AccountId, VersionId};
use siltstone_log::name::BucketName;
use siltstone_projections::identity;
use siltstone_projections::store::Rows;
use std::sync::Arc;

/// What a document costs beside its own bytes: what is parsed from it, the command or record made of that, the answer.
const DOCUMENT_COPIES: u64 = 4;

/// The handlers of all operations. Clones are handles to the same ones.
#[derive(Clone)]
pub struct Operations {
    engine: Engine,
    region: Arc<str>,
    buckets: Arc<Recent<Arc<OpenBucket>>>,
}

impl Operations {
    /// Handlers over an engine, in the region that signatures name.
    pub fn new(engine: Engine, region: impl Into<Arc<str>>) -> Self {
        let buckets = Arc::new(Recent::new(engine.view().changes()));
        Self { engine, region: region.into(), buckets }
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The region that signatures name.
    pub(super) fn region(&self) -> &str {
        &self.region
    }

    /// A bucket's region as clients see it.
    pub(super) fn region_of<'a>(&'a self, location: &'a str) -> &'a str {
        if location.is_empty() { &self.region } else { location }
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
        self.off_thread(move |operations| read(&*operations.view().snapshot())).await
    }

    /// Reads single rows for a request, which comes back with them: at once where they are in memory, else on a thread
    /// that may wait for the disk.
    pub(super) async fn look_up<T: Send + 'static>(
        &self,
        request: S3Request,
        read: impl Fn(&dyn Rows, &S3Request) -> Result<T, S3Error> + Send + 'static,
    ) -> Result<(S3Request, T), S3Error> {
        if let Some(found) = self.view().in_memory(|rows| read(rows, &request)) {
            return Ok((request, found?));
        }
        self.off_thread(move |operations| {
            let found = read(&operations.view(), &request)?;
            Ok((request, found))
        })
        .await
    }

    /// Carries out what may wait for the disk, on a thread that may. One for each request is meant to be enough.
    pub(super) async fn off_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, S3Error> + Send + 'static,
    ) -> Result<T, S3Error> {
        let operations = self.clone();
        match tokio::task::spawn_blocking(move || work(&operations)).await {
            Ok(result) => result,
            Err(error) => {
                tracing::error!(error = %error, "a read ended unexpectedly");
                Err(S3ErrorCode::InternalError.into())
            }
        }
    }

    /// A bucket, read from the rows. Waits for the disk.
    fn read_bucket(&self, name: &BucketName) -> Result<Option<Arc<OpenBucket>>, S3Error> {
        self.buckets.read(name.as_str(), || {
            let view = self.view();
            let Some((found, row)) = view.bucket(name)? else { return Ok(None) };
            let shown = owner(&view, row.owner)?;
            let (name, stream, location) = (name.clone(), found.stream, row.location);
            let (owner, versioning) = (row.owner, row.versioning);
            Ok(Some(Arc::new(OpenBucket { name, stream, owner, shown, location, versioning })))
        })
    }

    /// An id for a version that may come to be.
    pub(super) fn fresh_version(&self) -> VersionId {
        VersionId(draw(self.engine.entropy()))
    }

    /// Submits a mutation in an actor's name, with what was admitted for it.
    pub(super) async fn submit(
        &self,
        actor: Actor,
        action: impl Into<Action>,
        permit: Permit,
    ) -> Result<Receipt, S3Error> {
        Ok(self.try_submit(actor, action, permit).await?)
    }

    /// Submits a mutation whose refusal the handler looks at.
    pub(super) async fn try_submit(
        &self,
        actor: Actor,
        action: impl Into<Action>,
        permit: Permit,
    ) -> Result<Receipt, EngineError> {
        let command = Command::new(actor, action, self.engine.entropy()).holding(permit);
        self.engine.submit(command).await
    }

    /// Takes a body in, into memory or packs. Nothing is kept of one that fails on its way: what was staged is given
    /// back when it is dropped.
    pub(super) async fn receive(
        &self,
        mut body: BodyStream,
        placement: Placement,
        permit: &Permit,
    ) -> Result<(StagedContent, BodySummary), S3Error> {
        body.hold(permit.clone());
        let mut sink = self.engine.content_sink(placement, Some(body.declared_len()?), permit.clone());
        while let Some(bytes) = body.next().await? {
            sink.write(bytes).await?;
        }
        // ORDER: the summary exists only once the whole body was verified; content is finished after that.
        let summary = body.into_summary()?;
        Ok((sink.finish().await?, summary))
    }

    /// Lets a request with a document in, and reads that as a whole. What it and what is made of it will hold is charged
    /// before a byte of it is read.
    pub(super) async fn admit_document(
        &self,
        mut body: BodyStream,
        max: usize,
        need: Need,
    ) -> Result<(Bytes, Permit), S3Error> {
        let permit = self.engine.admit(need)?;
        let announced = body.declared_len().unwrap_or(max as u64).min(max as u64);
        permit.charge(announced.saturating_mul(DOCUMENT_COPIES)).map_err(EngineError::from)?;
        body.hold(permit.clone());
        Ok((body.read_bounded(max).await?, permit))
    }

    async fn dispatch(&self, request: S3Request) -> Result<S3Response, S3Error> {
        match request.operation {
            Operation::ListBuckets => service::list_buckets(self, request).await,
            Operation::CreateBucket => bucket::create(self, request).await,
            Operation::DeleteBucket => bucket::delete(self, request).await,
            Operation::HeadBucket => bucket::head(self, &request),
            Operation::GetBucketLocation => bucket::location(self, &request),
            Operation::GetBucketAcl => bucket::get_acl(&request),
            Operation::PutBucketAcl => bucket::put_acl(self, request).await,
            Operation::ListObjects => bucket::list(self, request).await,
            Operation::ListObjectsV2 => bucket::list_v2(self, request).await,
            Operation::ListObjectVersions => bucket::list_versions(self, request).await,
            Operation::GetBucketVersioning => bucket::get_versioning(&request),
            Operation::PutBucketVersioning => bucket::put_versioning(self, request).await,
            Operation::ListMultipartUploads => multipart::list_uploads(self, request).await,
            Operation::DeleteObjects => object::delete_many(self, request).await,
            Operation::PutObject => object::put(self, request).await,
            Operation::GetObject => object::get(self, request).await,
            Operation::HeadObject => object::head(self, request).await,
            Operation::DeleteObject => object::delete(self, request).await,
            Operation::GetObjectAcl => object::get_acl(self, request).await,
            Operation::PutObjectAcl => object::put_acl(self, request).await,
            Operation::CopyObject => object::copy(self, request).await,
            Operation::GetObjectAttributes => object::attributes(self, request).await,
            Operation::GetObjectTagging => object::get_tagging(self, request).await,
            Operation::PutObjectTagging => object::put_tagging(self, request).await,
            Operation::DeleteObjectTagging => object::delete_tagging(self, request).await,
            Operation::GetBucketTagging => bucket::get_tagging(self, request).await,
            Operation::PutBucketTagging => bucket::put_tagging(self, request).await,
            Operation::DeleteBucketTagging => bucket::delete_tagging(self, request).await,
            Operation::CreateMultipartUpload => multipart::create(self, request).await,
            Operation::UploadPart => multipart::upload_part(self, request).await,
            Operation::UploadPartCopy => multipart::copy_part(self, request).await,
            Operation::CompleteMultipartUpload => multipart::complete(self, request).await,
            Operation::AbortMultipartUpload => multipart::abort(self, request).await,
            Operation::ListParts => multipart::list_parts(self, request).await,
            _ => bucket::configuration(&request),
        }
    }
}

/// An account as S3 shows it. Reads its row.
pub(super) fn owner(rows: &dyn Rows, account: AccountId) -> Result<Owner, S3Error> {
    Ok(match identity::account(rows, account)? {
        Some(row) => Owner { id: row.canonical_id, display_name: row.display_name },
        None => Owner { id: account.to_string(), display_name: String::new() },
    })
}

impl Handler for Operations {
    fn find_bucket<'a>(&'a self, name: &'a BucketName) -> Finding<'a> {
        Box::pin(async move {
            if let Some(found) = self.buckets.get(name.as_str()) {
                return Ok(Some(found));
            }
            let name = name.clone();
            self.off_thread(move |operations| operations.read_bucket(&name)).await
        })
    }

    fn call(&self, request: S3Request) -> Answer<'_> {
        Box::pin(self.dispatch(request))
    }
}

#[cfg(test)]
mod tests;
