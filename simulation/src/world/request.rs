//! What a door would do for a client: build the engine's actions, and read content back through the product's readers.

use super::store::SimIndex;
use crate::oracle::{Condition, Intent, OpId};
use siltstone::engine::command::{
    AbortMultipart, CompleteMultipart, Conditions, CreateBucket, CreateMultipart, DeleteBucket, DeleteObject,
    DeleteObjects, EtagMatch, KeyDeletion, NamedPart, PutObject, UploadPart,
};
use siltstone::engine::{Action, ROOT_ACCOUNT, StagedContent};
use siltstone_log::event::{Actor, Content, ContentHeaders, ContentSource, Door};
use siltstone_log::host::DiskReply;
use siltstone_log::id::{BlobId, LogId, Salt, VersionId};
use siltstone_log::name::ObjectKey;
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
        out.extend(reader.accept(bytes).map_err(|damage| damage.to_string())?.unwrap_or_default());
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

/// No bucket keeps versions here, so that the id of a marker is never used.
fn deletion(key: ObjectKey, conditions: Conditions) -> KeyDeletion {
    KeyDeletion { key, version: None, marker: VersionId::default(), conditions }
}

pub(crate) fn action_of(intent: Intent, content: StagedContent) -> Action {
    let (headers, metadata, checksums) = (ContentHeaders::default(), Vec::new(), Vec::new());
    match intent {
        Intent::CreateBucket { name, stream } => {
            CreateBucket { name, owner: ROOT_ACCOUNT, location: String::new(), stream, tags: vec![] }.into()
        }
        Intent::DeleteBucket { name, stream } => DeleteBucket { name, stream }.into(),
        Intent::Put { stream, key, etag, condition, .. } => {
            let conditions = conditions(condition);
            let (tags, version, copied_from) = (Vec::new(), VersionId::default(), None);
            PutObject {
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
                conditions,
            }
            .into()
        }
        Intent::Delete { stream, key, condition } => {
            DeleteObject { stream, deletion: deletion(key, conditions(condition)) }.into()
        }
        Intent::DeleteMany { stream, keys } => {
            let deletions = keys.into_iter().map(|key| deletion(key, Conditions::default())).collect();
            DeleteObjects { stream, deletions }.into()
        }
        Intent::BeginUpload { stream, key, upload } => {
            let tags = Vec::new();
            CreateMultipart { stream, upload, key, headers, metadata, checksum: None, tags }.into()
        }
        Intent::Part { stream, key, upload, number, etag, .. } => {
            let copied_from = None;
            UploadPart { stream, key, upload, number, content, etag, checksums, copied_from }.into()
        }
        Intent::Complete { stream, key, upload, parts } => {
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
                version: VersionId::default(),
                conditions,
            }
            .into()
        }
        Intent::Abort { stream, key, upload } => AbortMultipart { stream, key, upload }.into(),
        Intent::Get { .. } | Intent::List { .. } => unreachable!("reads are no commands"),
    }
}
