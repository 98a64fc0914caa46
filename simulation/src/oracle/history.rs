//! What clients asked for and what they were told.

use siltstone::engine::outcome::{Outcome, Rejection, Unavailable};
use siltstone_log::event::Versioning;
use siltstone_log::id::{Position, Seq, StreamId, UploadId, VersionId, VersionRef};
use siltstone_log::name::{BucketName, ObjectKey};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::world::random::Random;

/// Names one operation of a run; every record carries it as its request id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpId(pub u64);

const PREFIX: &str = "op-";

impl OpId {
    /// The request id that its records carry.
    pub fn request_id(self) -> String {
        format!("{PREFIX}{}", self.0)
    }

    /// Reads a request id back.
    pub fn parse(request_id: &str) -> Option<Self> {
        request_id.strip_prefix(PREFIX)?.parse().ok().map(Self)
    }

    /// The operation's body: bytes that no other operation has.
    pub fn body(self, len: u64) -> Vec<u8> {
        let mut random = Random::new(self.0, "body");
        let mut block = [0; 4096];
        random.fill(&mut block);
        let mut body = Vec::with_capacity(usize::try_from(len).unwrap_or(0));
        for chunk in 0..len.div_ceil(4096) {
            block[..8].copy_from_slice(&(self.0 << 20 | chunk).to_le_bytes());
            body.extend_from_slice(&block);
        }
        body.truncate(usize::try_from(len).unwrap_or(0));
        body
    }
}

/// The ETag the simulation gives bytes: the engine takes it as the door computed it.
pub fn etag_of(body: &[u8]) -> String {
    blake3::hash(body).to_hex()[..32].to_owned()
}

/// A condition on a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// None.
    None,
    /// The key must hold no object.
    Absent,
    /// The key must hold an object with this ETag.
    Etag(String),
}

/// Names and values.
pub type Tags = Vec<(String, String)>;

/// Bytes of a version that a copy is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopySource {
    /// The version's key.
    pub key: ObjectKey,
    /// The record that made it.
    pub seq: Seq,
    /// Which of its bytes.
    pub range: Range<u64>,
}

/// One deletion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteKey {
    /// The key.
    pub key: ObjectKey,
    /// Exactly this version; none for what the key holds.
    pub version: Option<VersionRef>,
    /// The id of a delete marker, where one is made.
    pub marker: VersionId,
}

/// What an operation is meant to do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of the engine's actions")]
pub enum Intent {
    CreateBucket {
        name: BucketName,
        stream: StreamId,
        tags: Tags,
    },
    DeleteBucket {
        name: BucketName,
        stream: StreamId,
    },
    SetVersioning {
        stream: StreamId,
        versioning: Versioning,
    },
    Put {
        stream: StreamId,
        key: ObjectKey,
        size: u64,
        etag: String,
        condition: Condition,
        tags: Tags,
        version: VersionId,
    },
    Copy {
        stream: StreamId,
        key: ObjectKey,
        source: CopySource,
        etag: String,
        tags: Tags,
        version: VersionId,
    },
    Delete {
        stream: StreamId,
        delete: DeleteKey,
        condition: Condition,
    },
    DeleteMany {
        stream: StreamId,
        deletes: Vec<DeleteKey>,
    },
    Tag {
        stream: StreamId,
        key: ObjectKey,
        version: Option<VersionRef>,
        tags: Tags,
    },
    BeginUpload {
        stream: StreamId,
        key: ObjectKey,
        upload: UploadId,
    },
    Part {
        stream: StreamId,
        key: ObjectKey,
        upload: UploadId,
        number: u16,
        size: u64,
        etag: String,
    },
    CopyPart {
        stream: StreamId,
        key: ObjectKey,
        upload: UploadId,
        number: u16,
        source: CopySource,
        etag: String,
    },
    Complete {
        stream: StreamId,
        key: ObjectKey,
        upload: UploadId,
        parts: Vec<(u16, String)>,
        version: VersionId,
    },
    Abort {
        stream: StreamId,
        key: ObjectKey,
        upload: UploadId,
    },
    Get {
        stream: StreamId,
        key: ObjectKey,
        version: Option<VersionRef>,
    },
    List {
        stream: StreamId,
        /// The page after this key; none for all pages from the beginning.
        after: Option<ObjectKey>,
    },
    ListVersions {
        stream: StreamId,
    },
}

impl Intent {
    /// The stream whose state decides it.
    pub fn stream(&self) -> StreamId {
        match self {
            Self::CreateBucket { .. } => StreamId::SYSTEM,
            Self::DeleteBucket { stream, .. }
            | Self::SetVersioning { stream, .. }
            | Self::Put { stream, .. }
            | Self::Copy { stream, .. }
            | Self::Delete { stream, .. }
            | Self::DeleteMany { stream, .. }
            | Self::Tag { stream, .. }
            | Self::BeginUpload { stream, .. }
            | Self::Part { stream, .. }
            | Self::CopyPart { stream, .. }
            | Self::Complete { stream, .. }
            | Self::Abort { stream, .. }
            | Self::Get { stream, .. }
            | Self::List { stream, .. }
            | Self::ListVersions { stream } => *stream,
        }
    }

    /// Whether it changes nothing.
    pub fn is_read(&self) -> bool {
        matches!(self, Self::Get { .. } | Self::List { .. } | Self::ListVersions { .. })
    }

    /// The operation's name in traces.
    pub fn name(&self) -> &'static str {
        match self {
            Self::CreateBucket { .. } => "create-bucket",
            Self::DeleteBucket { .. } => "delete-bucket",
            Self::SetVersioning { .. } => "set-versioning",
            Self::Put { .. } => "put",
            Self::Copy { .. } => "copy",
            Self::Delete { .. } => "delete",
            Self::DeleteMany { .. } => "delete-many",
            Self::Tag { .. } => "tag",
            Self::BeginUpload { .. } => "begin-upload",
            Self::Part { .. } => "part",
            Self::CopyPart { .. } => "copy-part",
            Self::Complete { .. } => "complete",
            Self::Abort { .. } => "abort",
            Self::Get { .. } => "get",
            Self::List { .. } => "list",
            Self::ListVersions { .. } => "list-versions",
        }
    }
}

/// An object as a read showed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The record that stored it.
    pub seq: Seq,
    /// Its ETag.
    pub etag: String,
    /// Its size.
    pub size: u64,
    /// Its version.
    pub version: VersionRef,
    /// Its tags; none where the read does not show them.
    pub tags: Option<Tags>,
}

/// A version as a listing showed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenVersion {
    /// Its key.
    pub key: String,
    /// Its version.
    pub version: VersionRef,
    /// The record that made it.
    pub seq: Seq,
    /// Whether it is the key's newest.
    pub latest: bool,
    /// The object; none for a delete marker.
    pub object: Option<Seen>,
}

/// What a client was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Nothing: it was under way when the node went down, or something broke.
    Unknown,
    /// Done, with the engine's receipt.
    Done {
        /// The stream that decided it.
        stream: StreamId,
        /// Its last record there.
        seq: Seq,
        /// That record's position.
        position: Position,
        /// What the engine told.
        outcome: Outcome,
    },
    /// The client's doing; nothing was changed.
    Rejected(Rejection),
    /// It did not happen.
    Refused(Unavailable),
    /// The object a read showed, its bytes already compared, or that there was none.
    Object(Option<Seen>),
    /// The version that was asked for is a delete marker.
    Marker,
    /// The keys a listing showed, in its order.
    Listed(Vec<(String, Seen)>),
    /// The versions a listing showed, in its order.
    ListedVersions(Vec<SeenVersion>),
    /// The content could not be read and the reader said so.
    Damaged,
}

/// One operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it was meant to do.
    pub intent: Intent,
    /// The newest record of its stream that anyone had been told of when it began: it may not see less.
    pub low: Seq,
    /// The newest durable record of its stream when it was answered: it may not have seen more.
    pub high: Seq,
    /// What the client was told.
    pub answer: Answer,
    /// When it began, counted in beginnings and ends of operations.
    pub began: u64,
    /// When it was answered for certain; where it never was, when the node that had it went down.
    pub ended: u64,
}

/// Every operation of a run.
#[derive(Debug, Clone, Default)]
pub struct History {
    entries: BTreeMap<OpId, Entry>,
    told: BTreeMap<StreamId, Seq>,
    moment: u64,
    open: BTreeSet<OpId>,
}

impl History {
    /// Notes that an operation begins.
    pub fn invoke(&mut self, op: OpId, intent: Intent) {
        let low = self.told(intent.stream());
        self.moment += 1;
        self.open.insert(op);
        let (began, ended) = (self.moment, u64::MAX);
        self.entries.insert(op, Entry { intent, low, high: low, answer: Answer::Unknown, began, ended });
    }

    /// Notes an answer. `durable` is the newest durable record of the operation's stream now.
    pub fn answer(&mut self, op: OpId, durable: Seq, answer: Answer) {
        let Some(entry) = self.entries.get_mut(&op) else { return };
        if let Answer::Done { stream, seq, .. } = &answer {
            let told = self.told.entry(*stream).or_default();
            *told = (*told).max(*seq);
        }
        self.moment += 1;
        // A client that was told nothing certain knows no more than one that was told nothing: a write whose sync failed
        // shows after the next start, or never.
        if answer != Answer::Unknown {
            self.open.remove(&op);
            entry.ended = self.moment;
        }
        entry.high = durable;
        entry.answer = answer;
    }

    /// What the node had under way has happened by now, or never will.
    pub fn node_went_down(&mut self) {
        self.moment += 1;
        for op in std::mem::take(&mut self.open) {
            if let Some(entry) = self.entries.get_mut(&op) {
                entry.ended = self.moment;
            }
        }
    }

    /// Notes that a reader was shown a stream's state as of a record: nobody may be shown less afterwards.
    pub fn shown(&mut self, stream: StreamId, seq: Seq) {
        let told = self.told.entry(stream).or_default();
        *told = (*told).max(seq);
    }

    /// The newest record of a stream that anyone was told of.
    pub fn told(&self, stream: StreamId) -> Seq {
        self.told.get(&stream).copied().unwrap_or_default()
    }

    /// The streams that anyone was told of, with the newest record told.
    pub fn all_told(&self) -> &BTreeMap<StreamId, Seq> {
        &self.told
    }

    /// Every stream that an operation was meant for.
    pub fn streams(&self) -> impl Iterator<Item = &StreamId> {
        self.told.keys()
    }

    /// One operation.
    pub fn get(&self, op: OpId) -> Option<&Entry> {
        self.entries.get(&op)
    }

    /// Every operation in order of its beginning.
    pub fn entries(&self) -> impl Iterator<Item = (OpId, &Entry)> {
        self.entries.iter().map(|(op, entry)| (*op, entry))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_certain_answer_ends_when_the_node_goes_down() {
        let mut history = History::default();
        let intent = Intent::ListVersions { stream: StreamId([1; 16]) };
        for op in [OpId(1), OpId(2)] {
            history.invoke(op, intent.clone());
        }
        history.answer(OpId(1), Seq(0), Answer::Unknown);
        history.answer(OpId(2), Seq(0), Answer::Damaged);
        let ended = |history: &History, op| history.get(op).unwrap().ended;
        assert_eq!((ended(&history, OpId(1)), ended(&history, OpId(2))), (u64::MAX, 4));
        history.node_went_down();
        assert_eq!((ended(&history, OpId(1)), ended(&history, OpId(2))), (5, 4));
    }

    #[test]
    fn bodies_of_different_operations_differ_and_have_their_length() {
        for len in [1, 20, 4096, 5000] {
            assert_eq!(OpId(3).body(len).len() as u64, len);
            assert_ne!(OpId(3).body(len + 15), OpId(4).body(len + 15));
        }
        assert_eq!(OpId::parse(&OpId(17).request_id()), Some(OpId(17)));
        assert_eq!(OpId::parse("x"), None);
    }
}
