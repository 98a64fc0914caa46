//! What a door would do for a client: build the engine's actions, and read content back through the product's readers.

use super::store::SimIndex;
use crate::oracle::{Condition, CopySource, DeleteKey, Intent, OpId};
use siltstone::engine::command::{
    AbortMultipart, CompleteMultipart, Conditions, CreateBucket, CreateMultipart, DeleteBucket, DeleteObject,
    DeleteObjects, EtagMatch, KeyDeletion, NamedPart, PutObject, SetVersioning, TagObject, UploadPart,
};
use siltstone::engine::{Action, Need, ROOT_ACCOUNT, StagedContent};
use siltstone_log::event::{Actor, Content, ContentHeaders, ContentSource, CopiedFrom, Door};
use siltstone_log::host::DiskReply;
use siltstone_log::id::{BlobId, LogId, Salt, VersionRef};
use siltstone_log::name::BucketName;
use siltstone_log::pack::{BlobIndex, BlobReader};
use siltstone_log::reader;
use siltstone_log::script::Io;
use siltstone_projections::rows::ObjectRow;
use std::sync::Arc;

/// Who a client is in the records.
pub(crate) fn actor(op: OpId) -> Actor {
    Actor {
        account: Some(ROOT_ACCOUNT),
        user: "client".to_owned(),
        request_id: op.request_id(),
        door: Door::S3,
        ..Actor::server(Door::S3)
    }
}

/// Reads an object's bytes through the product's readers, block by block.
pub async fn read_object(
    io: Io,
    log_id: LogId,
    index: Arc<SimIndex>,
    row: ObjectRow,
) -> Result<Vec<u8>, String> {
    match &row.content {
        Content::Empty => Ok(Vec::new()),
        Content::Inline => {
            let place = row.place.ok_or("inline content without a place")?;
            let content = reader::content(&io, place, row.size + Salt::LEN as u64).await;
            Ok(content.map_err(|error| error.to_string())?.to_vec())
        }
        Content::Slices(slices) => {
            let mut out = Vec::new();
            for slice in slices {
                let ContentSource::Blob { blob } = slice.source else {
                    return Err("a slice of a record".to_owned());
                };
                let range = slice.offset..slice.offset + slice.len;
                out.extend(read_blob(&io, log_id, &index, blob, range).await?);
            }
            Ok(out)
        }
    }
}

/// Reads a range of a blob.
pub async fn read_blob(
    io: &Io,
    log_id: LogId,
    index: &SimIndex,
    blob: BlobId,
    range: std::ops::Range<u64>,
) -> Result<Vec<u8>, String> {
    let place = index.get(blob).map_err(|error| error.to_string())?;
    let place = place.ok_or_else(|| format!("blob {blob} is not in the index"))?;
    let mut reader = BlobReader::new(log_id, blob, &place, range);
    let mut out = Vec::new();
    while let Some(op) = reader.next_read() {
        let bytes = match io.run(op).await {
            Ok(DiskReply::Data(bytes)) => bytes,
            Ok(other) => return Err(format!("a read answered {other:?}")),
            Err(error) => return Err(error.to_string()),
        };
        let read = reader.accept(bytes).map_err(|damage| damage.to_string())?;
        out.extend_from_slice(&read.unwrap_or_default());
    }
    Ok(out)
}

fn conditions(condition: Condition) -> Conditions {
    match condition {
        Condition::None => Conditions::default(),
        Condition::Absent => Conditions { if_none_match: Some(EtagMatch::Any), ..Conditions::default() },
        Condition::Etag(etag) => {
            Conditions { if_match: Some(EtagMatch::Etags(vec![etag])), ..Conditions::default() }
        }
    }
}

fn deletion(delete: DeleteKey, conditions: Conditions) -> KeyDeletion {
    let DeleteKey { key, version, marker } = delete;
    KeyDeletion { key, version, marker, conditions }
}

/// Where a copy came from, for the record; nothing is computed from it.
fn copied_from(source: &CopySource) -> Option<CopiedFrom> {
    let bucket = BucketName::parse("the-same").ok()?;
    Some(CopiedFrom { bucket, key: source.key.clone(), version: VersionRef::Null })
}

fn upload_part(intent: Intent, content: StagedContent) -> Option<Action> {
    let checksums = Vec::new();
    let action = match intent {
        Intent::Part { stream, key, upload, number, etag, .. } => {
            UploadPart { stream, key, upload, number, content, etag, checksums, copied_from: None }
        }
        Intent::CopyPart { stream, key, upload, number, source, etag } => {
            let copied_from = copied_from(&source);
            UploadPart { stream, key, upload, number, content, etag, checksums, copied_from }
        }
        _ => return None,
    };
    Some(action.into())
}

fn put_object(intent: Intent, content: StagedContent) -> Option<PutObject> {
    let (intent_conditions, copied_from) = match &intent {
        Intent::Put { condition, .. } => (conditions(condition.clone()), None),
        Intent::Copy { source, .. } => (Conditions::default(), copied_from(source)),
        _ => return None,
    };
    let (Intent::Put { stream, key, etag, tags, version, .. }
    | Intent::Copy { stream, key, etag, tags, version, .. }) = intent
    else {
        return None;
    };
    let (headers, metadata, checksums) = (ContentHeaders::default(), Vec::new(), Vec::new());
    Some(PutObject {
        stream,
        key,
        content,
        etag,
        checksums,
        headers,
        metadata,
        tags,
        version,
        copied_from,
        conditions: intent_conditions,
    })
}

/// What the doors ask to be let in with; nothing for reads, whose room is no matter here.
pub(crate) fn need_of(intent: &Intent) -> Option<Need> {
    match intent {
        Intent::Put { size, .. } | Intent::Part { size, .. } => Some(Need::Store { bytes: *size }),
        Intent::Copy { .. }
        | Intent::CopyPart { .. }
        | Intent::Tag { .. }
        | Intent::SetVersioning { .. }
        | Intent::BeginUpload { .. }
        | Intent::Complete { .. } => Some(Need::Store { bytes: 0 }),
        Intent::CreateBucket { .. }
        | Intent::DeleteBucket { .. }
        | Intent::Delete { .. }
        | Intent::DeleteMany { .. }
        | Intent::Abort { .. } => Some(Need::Manage),
        Intent::Get { .. } | Intent::List { .. } | Intent::ListVersions { .. } => None,
    }
}

/// The engine's action for what a client means to do; none for a read.
pub(crate) fn action_of(intent: Intent, content: StagedContent) -> Option<Action> {
    let (headers, metadata) = (ContentHeaders::default(), Vec::new());
    Some(match intent {
        Intent::CreateBucket { name, stream, tags } => {
            CreateBucket { name, owner: ROOT_ACCOUNT, location: String::new(), stream, tags }.into()
        }
        Intent::DeleteBucket { name, stream } => DeleteBucket { name, stream }.into(),
        Intent::SetVersioning { stream, versioning } => SetVersioning { stream, versioning }.into(),
        Intent::Put { .. } | Intent::Copy { .. } => put_object(intent, content)?.into(),
        Intent::Delete { stream, delete, condition } => {
            DeleteObject { stream, deletion: deletion(delete, conditions(condition)) }.into()
        }
        Intent::DeleteMany { stream, deletes } => {
            let deletions = deletes.into_iter().map(|delete| deletion(delete, Conditions::default()));
            DeleteObjects { stream, deletions: deletions.collect() }.into()
        }
        Intent::Tag { stream, key, version, tags } => TagObject { stream, key, version, tags }.into(),
        Intent::BeginUpload { stream, key, upload } => {
            let tags = Vec::new();
            CreateMultipart { stream, upload, key, headers, metadata, checksum: None, tags }.into()
        }
        Intent::Part { .. } | Intent::CopyPart { .. } => upload_part(intent, content)?,
        Intent::Complete { stream, key, upload, parts, version } => {
            let named = |(number, etag)| NamedPart { number, etag, checksums: Vec::new() };
            let parts = parts.into_iter().map(named).collect();
            let (size, checksum, checksum_kind) = (None, None, None);
            let conditions = Conditions::default();
            CompleteMultipart {
                stream,
                key,
                upload,
                parts,
                size,
                checksum,
                checksum_kind,
                version,
                conditions,
            }
            .into()
        }
        Intent::Abort { stream, key, upload } => AbortMultipart { stream, key, upload }.into(),
        Intent::Get { .. } | Intent::List { .. } | Intent::ListVersions { .. } => return None,
    })
}
