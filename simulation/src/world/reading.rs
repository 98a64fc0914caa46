//! Reads: of an object, of a version, of listings. What is read is compared with what was written before it is told.

use super::client::{Checked, Doing};
use super::node::visible;
use super::request::read_object;
use super::{Owner, World};
use crate::invariants::Violation;
use crate::oracle::{Answer, Intent, OpId, Seen, SeenVersion, etag_of};
use crate::sometimes::State;
use crate::world::note;
use siltstone_log::event::{Content, ContentSource};
use siltstone_log::host::DiskResult;
use siltstone_log::id::{BlobId, Seq, StreamId, VersionRef};
use siltstone_log::name::ObjectKey;
use siltstone_log::script::{Script, Step};
use siltstone_projections::objects::{After, ListEntry, ListQuery};
use siltstone_projections::rows::{ObjectRow, ObjectSummary, VersionRow, VersionSummary};
use siltstone_projections::versions::{self, VersionEntry, VersionMarker, VersionQuery};
use siltstone_projections::{StoreError, buckets, objects};

/// A read of content under way.
pub(crate) struct Reading {
    op: OpId,
    row: ObjectRow,
    high: Seq,
    /// The blobs it holds: they are given back after it.
    holds: Vec<BlobId>,
    script: Script<Result<Vec<u8>, String>>,
}

#[expect(clippy::needless_pass_by_value, reason = "handed to map_err as it is")]
fn failed(error: StoreError) -> Violation {
    Violation::new("projections", error.to_string())
}

fn blobs_of(content: &Content) -> Vec<BlobId> {
    let Content::Slices(slices) = content else { return Vec::new() };
    let blob = |source: &ContentSource| match source {
        ContentSource::Blob { blob } => Some(*blob),
        ContentSource::Inline { .. } => None,
    };
    slices.iter().filter_map(|slice| blob(&slice.source)).collect()
}

fn seen(object: ObjectSummary) -> Seen {
    let ObjectSummary { seq, etag, size, version, .. } = object;
    Seen { seq, etag, size, version: version.into(), tags: None }
}

/// More versions than any run makes in a bucket.
const MOST_VERSIONS: usize = 100_000;

impl World {
    pub(crate) fn begin_get(
        &mut self,
        client: usize,
        op: OpId,
        stream: StreamId,
        key: &ObjectKey,
        version: Option<VersionRef>,
    ) -> Checked {
        let rows = self.store.rows();
        let high = visible(rows, stream);
        let open = buckets::get(rows, stream).map_err(failed)?.is_some_and(|bucket| bucket.is_open());
        let found = match version {
            _ if !open => None,
            None => objects::current(rows, stream, key).map_err(failed)?.map(VersionRow::Object),
            Some(version) => objects::find_version(rows, stream, key, version).map_err(failed)?,
        };
        let row = match found {
            None => {
                self.read_done(client, op, stream, high, Answer::Object(None));
                return Ok(());
            }
            Some(VersionRow::Marker(_)) => {
                self.counters.reach(State::MarkerRead);
                self.read_done(client, op, stream, high, Answer::Marker);
                return Ok(());
            }
            Some(VersionRow::Object(row)) => row,
        };
        let (log_id, index, wanted) = (self.log_id, self.index.clone(), row.clone());
        let holds = blobs_of(&row.content);
        self.hold(&holds);
        let script = Script::new(move |io| read_object(io, log_id, index, wanted));
        self.read_step(client, Box::new(Reading { op, row, high, holds, script }), None)
    }

    pub(crate) fn read_step(
        &mut self,
        client: usize,
        mut reading: Box<Reading>,
        result: Option<DiskResult>,
    ) -> Checked {
        let step = reading.script.resume(result);
        match step {
            Step::Submit(op) => {
                self.put(client, Doing::Reading(reading));
                self.submit(Owner::Client(client), op);
                Ok(())
            }
            Step::Done(bytes) => {
                self.read_content(client, &reading, bytes)?;
                self.let_go(&reading.holds)
            }
        }
    }

    fn read_content(&mut self, client: usize, reading: &Reading, bytes: Result<Vec<u8>, String>) -> Checked {
        let Reading { op, row, high, .. } = reading;
        let stream = self.history.get(*op).map_or(StreamId::SYSTEM, |entry| entry.intent.stream());
        let checker = "a read gives the bytes that were written";
        match bytes {
            Err(message) if self.rotten => {
                self.counters.reach(State::DamagedContent);
                note!(self, "damaged", {"op": op.0, "why": message});
                self.finish(client, *op, *high, Answer::Damaged);
                Ok(())
            }
            Err(message) => Err(Violation::new(checker, format!("{op:?} {row:?}: {message}"))),
            Ok(bytes) => {
                if !self.expected(row, &bytes) {
                    return Err(Violation::new(
                        checker,
                        format!("{op:?} read {} other bytes for {row:?}", bytes.len()),
                    ));
                }
                let (seq, etag, size, tags) = (row.seq, row.etag.clone(), row.size, Some(row.tags.clone()));
                let seen = Seen { seq, etag, size, version: row.version.into(), tags };
                self.read_done(client, *op, stream, *high, Answer::Object(Some(seen)));
                Ok(())
            }
        }
    }

    /// The bytes that a range of slices stands for; none where it is of no known operation.
    pub(crate) fn bytes_of(&self, content: &Content) -> Option<Vec<u8>> {
        let Content::Slices(slices) = content else { return None };
        let mut out = Vec::new();
        for slice in slices {
            let ContentSource::Blob { blob } = slice.source else { return None };
            let body = self.blob_ops.get(&blob)?.body(slice.offset + slice.len);
            out.extend_from_slice(body.get(usize::try_from(slice.offset).ok()?..)?);
        }
        Some(out)
    }

    /// Whether these are the bytes of an object: by its ETag, and by the operations that brought them.
    fn expected(&self, row: &ObjectRow, bytes: &[u8]) -> bool {
        let by_etag = !row.parts.is_empty() || etag_of(bytes) == row.etag;
        let by_slices = self.bytes_of(&row.content).is_none_or(|expected| expected == bytes);
        bytes.len() as u64 == row.size && by_etag && by_slices
    }

    /// A version that some client reads at the moment, from packs.
    pub(crate) fn being_read(&self) -> Option<(StreamId, ObjectKey, VersionRef)> {
        self.clients.iter().find_map(|client| {
            let reading = client.reading().filter(|reading| !reading.holds.is_empty())?;
            match &self.history.get(reading.op)?.intent {
                Intent::Get { stream, key, .. } => Some((*stream, key.clone(), reading.row.version.into())),
                _ => None,
            }
        })
    }

    fn read_done(&mut self, client: usize, op: OpId, stream: StreamId, high: Seq, answer: Answer) {
        self.finish(client, op, high, answer);
        self.history.shown(stream, high);
    }

    pub(crate) fn list(
        &mut self,
        client: usize,
        op: OpId,
        stream: StreamId,
        marker: Option<ObjectKey>,
    ) -> Checked {
        let high = visible(self.store.rows(), stream);
        let limit = self.work.index(5) + 1;
        let mut listed = Vec::new();
        if let Some(marker) = &marker {
            let there = objects::current(self.store.rows(), stream, marker).map_err(failed)?;
            self.counters.sometimes(State::MarkerGone, there.is_none());
        }
        let mut after = marker.map(|marker| After::Key(marker.to_string()));
        loop {
            let query = ListQuery { after, limit, ..ListQuery::default() };
            let page = objects::list(self.store.rows(), stream, &query).map_err(failed)?;
            listed.extend(page.entries.into_iter().filter_map(|entry| match entry {
                ListEntry::Object { key, object } => Some((key, seen(object))),
                ListEntry::Prefix(_) => None,
            }));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        self.read_done(client, op, stream, high, Answer::Listed(listed));
        Ok(())
    }

    pub(crate) fn list_versions(&mut self, client: usize, op: OpId, stream: StreamId) -> Checked {
        let high = visible(self.store.rows(), stream);
        let limit = self.work.index(5) + 1;
        let listed = self.all_versions(stream, limit)?;
        self.counters.sometimes(State::VersionPages, listed.len() > limit);
        self.read_done(client, op, stream, high, Answer::ListedVersions(listed));
        Ok(())
    }

    /// Every version of a bucket, in pages of so many, as a client puts them together.
    pub(crate) fn all_versions(&self, stream: StreamId, limit: usize) -> Result<Vec<SeenVersion>, Violation> {
        let mut listed: Vec<SeenVersion> = Vec::new();
        let mut after = None;
        loop {
            let query = VersionQuery { after, limit, ..VersionQuery::default() };
            let page = versions::list(self.store.rows(), stream, &query).map_err(failed)?;
            for entry in page.entries {
                let VersionEntry::Version { key, version, latest } = entry else { continue };
                let (at, id) = (version.at(), version.version());
                let object = match version {
                    VersionSummary::Object(object) => Some(seen(object)),
                    VersionSummary::Marker(_) => None,
                };
                listed.push(SeenVersion { key, version: id, seq: at.seq, latest, object });
            }
            let last = listed.last().filter(|_| page.more);
            after = last.and_then(|last| {
                Some(VersionMarker::Version(ObjectKey::parse(last.key.clone()).ok()?, last.version))
            });
            if after.is_none() {
                return Ok(listed);
            }
            if listed.len() > MOST_VERSIONS {
                let message = format!("pages of {limit} come back to {after:?}");
                return Err(Violation::new("a listing of versions ends", message));
            }
        }
    }
}
