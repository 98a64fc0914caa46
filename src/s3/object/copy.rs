//! `CopyObject`.
//!
//! Checks what the headers say, finds the source, and submits a put whose bytes are shared with the source or copied
//! from it. Next hops: `src/s3/transfer.rs`, `src/engine/stream_task.rs`.

use crate::engine::command::{Conditions, PutObject};
use crate::engine::{Outcome, Placement};
use crate::s3::conditional::write_conditions;
use crate::s3::copy_source::COPY_SOURCE_RANGE;
use crate::s3::error::{S3Error, S3ErrorCode};
use crate::s3::headers::{
    checksum_algorithm, content_headers, metadata, put_version, refuse_customer_keys, refuse_unsupported,
};
use crate::s3::keep_alive::{Finished, Subject, keep_alive};
use crate::s3::operations::Operations;
use crate::s3::refusal::unsupported;
use crate::s3::request::S3Request;
use crate::s3::response::S3Response;
use crate::s3::tags::{self, Tags};
use crate::s3::transfer::{
    CopyError, FoundSource, Sharing, SourceRequest, Transfer, Transferred, shared_or_copied,
};
use crate::s3::xml::object::copy_object_result;
use http::HeaderMap;
use siltstone_log::event::{Actor, ChecksumAlgorithm, ContentHeaders};
use siltstone_log::id::StreamId;
use siltstone_log::name::ObjectKey;
use siltstone_projections::rows::ObjectRow;

/// Where something that the copy has comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Directive<T> {
    /// From the source.
    Copy,
    /// From the request.
    Replace(T),
}

/// A copy as the request describes it.
struct Copy {
    actor: Actor,
    stream: StreamId,
    key: ObjectKey,
    source: SourceRequest,
    conditions: Conditions,
    described: Directive<(ContentHeaders, Vec<(String, String)>)>,
    tags: Directive<Tags>,
    checksum: Option<ChecksumAlgorithm>,
}

pub(in crate::s3) async fn copy(operations: &Operations, request: S3Request) -> Result<S3Response, S3Error> {
    let copy = Copy::parse(&request)?;
    let (operations, subject) = (operations.clone(), Subject::of(&request)?);
    keep_alive(subject, async move { shared_or_copied(|sharing| copy.attempt(&operations, sharing)).await })
        .await
}

impl Copy {
    fn parse(request: &S3Request) -> Result<Self, S3Error> {
        let headers = &request.headers;
        if headers.contains_key(COPY_SOURCE_RANGE) {
            return Err(unsupported(COPY_SOURCE_RANGE));
        }
        refuse_customer_keys(headers)?;
        refuse_unsupported(headers)?;
        let conditions = write_conditions(headers)?;
        let checksum = request.header("x-amz-checksum-algorithm")?.map(checksum_algorithm).transpose()?;
        let directive = request.header("x-amz-metadata-directive")?;
        let described = if replaces(directive, "Unknown metadata directive.")? {
            Directive::Replace((content_headers(headers), metadata(headers)?))
        } else {
            Directive::Copy
        };
        let directive = request.header("x-amz-tagging-directive")?;
        let tags = if replaces(directive, "Unknown tagging directive.")? {
            Directive::Replace(tags::from_headers(headers)?)
        } else {
            Directive::Copy
        };
        let bucket = request.open_bucket()?;
        let (source, source_bucket) = request.copy_source()?;
        let key = request.key()?.clone();
        // An older version may become the newest one unchanged.
        let names_version = source.version.is_some() && source_bucket.is_versioned();
        let onto_itself = source_bucket.stream == bucket.stream && source.key == key && !names_version;
        // Naming a class counts as a change, also where it is the one that every object has here.
        let keeps_class = !headers.contains_key("x-amz-storage-class");
        if onto_itself && keeps_class && described == Directive::Copy {
            let message = "This copy request is illegal because it is trying to copy an object to itself without \
                           changing the object's metadata, storage class, website redirect location or encryption \
                           attributes.";
            return Err(S3Error::with_message(S3ErrorCode::InvalidRequest, message));
        }
        Ok(Self {
            actor: request.context.actor(),
            stream: bucket.stream,
            key,
            source: SourceRequest::parse(request)?,
            conditions,
            described,
            tags,
            checksum,
        })
    }

    async fn attempt(&self, operations: &Operations, sharing: Sharing) -> Result<Finished, CopyError> {
        let found = self.source.clone().find(operations).await?;
        FoundSource::check_size(found.row.size)?;
        let wanted = wanted_checksums(self.checksum, &found.row);
        let transfer = Transfer {
            stream: self.stream,
            range: 0..found.row.size,
            checksums: &wanted,
            placement: Placement::InlineIfSmall,
            sharing,
        };
        let Transferred { content, etag, checksums, permit } = found.transfer(operations, transfer).await?;
        let (headers, metadata) = match &self.described {
            Directive::Copy => (found.row.headers.clone(), found.row.metadata.clone()),
            Directive::Replace(described) => described.clone(),
        };
        let tags = match &self.tags {
            Directive::Copy => found.row.tags.clone(),
            Directive::Replace(tags) => tags.clone(),
        };
        let action = PutObject {
            stream: self.stream,
            key: self.key.clone(),
            content,
            etag: etag.clone(),
            checksums: checksums.clone(),
            headers,
            metadata,
            tags,
            version: operations.fresh_version(),
            copied_from: Some(found.copied_from()),
            conditions: self.conditions.clone(),
        };
        let receipt = operations.try_submit(self.actor.clone(), action, permit).await?;
        let mut headers = HeaderMap::new();
        if let Outcome::Stored { version } = receipt.outcome {
            put_version(version, &mut headers);
        }
        found.put_version(&mut headers);
        Ok(Finished { document: copy_object_result(receipt.hlc, &etag, &checksums), headers })
    }
}

/// Whether a directive takes from the request what the copy has of it.
fn replaces(directive: Option<&str>, unknown: &'static str) -> Result<bool, S3Error> {
    match directive {
        None | Some("COPY") => Ok(false),
        Some("REPLACE") => Ok(true),
        Some(other) => {
            Err(S3Error::with_message(S3ErrorCode::InvalidArgument, unknown).extra("ArgumentValue", other))
        }
    }
}

/// The checksums that a copy has: the one asked for, else those of its source, over all its bytes; else the one that S3
/// keeps for every object.
fn wanted_checksums(asked: Option<ChecksumAlgorithm>, source: &ObjectRow) -> Vec<ChecksumAlgorithm> {
    if let Some(algorithm) = asked {
        return vec![algorithm];
    }
    let of_source: Vec<_> = source.checksums.iter().map(|checksum| checksum.algorithm).collect();
    if of_source.is_empty() { vec![ChecksumAlgorithm::Crc64nvme] } else { of_source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_are_copy_or_replace() {
        assert_eq!(replaces(None, "m"), Ok(false));
        assert_eq!(replaces(Some("COPY"), "m"), Ok(false));
        assert_eq!(replaces(Some("REPLACE"), "m"), Ok(true));
        for value in ["", "copy", "KEEP"] {
            assert_eq!(
                replaces(Some(value), "m").map_err(|error| error.code),
                Err(S3ErrorCode::InvalidArgument),
                "{value}"
            );
        }
    }
}
