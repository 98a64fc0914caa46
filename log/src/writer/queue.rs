//! What waits for the disk, and what of it goes into the next batch.

use super::{Submission, WriteRefusal, WriterConfig};
use crate::batch::{FRAME_BYTES, MAX_BATCH_BYTES, MAX_BATCH_RECORDS, table_bytes};
use crate::frame::draft_bytes;
use crate::id::{Head, Seq, StreamId};
use crate::record::RecordDraft;
use std::collections::{BTreeMap, VecDeque};

pub(super) struct Waiting {
    submission: Submission,
    bytes: u64,
    since: u64,
}

/// Submissions in order of arrival.
#[derive(Default)]
pub(super) struct Queue {
    waiting: VecDeque<Waiting>,
    bytes: u64,
}

/// What the next batch holds.
#[derive(Default)]
pub(super) struct Taken {
    submissions: Vec<Waiting>,
    /// The streams it touches, with their last record in it.
    pub streams: BTreeMap<StreamId, Seq>,
    records: usize,
    record_bytes: u64,
}

impl Taken {
    /// Bytes that the batch will take, without padding.
    pub fn bytes(&self) -> u64 {
        (FRAME_BYTES + table_bytes(self.streams.len())) as u64 + self.record_bytes
    }

    pub fn is_empty(&self) -> bool {
        self.submissions.is_empty()
    }

    /// Whether all of it may use the last reserved space.
    pub fn is_priority(&self) -> bool {
        !self.is_empty() && self.submissions.iter().all(|waiting| waiting.submission.priority)
    }

    /// When the oldest submission came.
    pub fn oldest(&self) -> u64 {
        self.submissions.first().map_or(0, |waiting| waiting.since)
    }

    /// The submissions' tokens, in order.
    pub fn tokens(&self) -> impl Iterator<Item = u64> {
        self.submissions.iter().map(|waiting| waiting.submission.token)
    }

    /// The records, in order.
    pub fn into_drafts(self) -> Vec<RecordDraft> {
        let mut drafts = Vec::with_capacity(self.records);
        for waiting in self.submissions {
            drafts.extend(waiting.submission.drafts);
        }
        drafts
    }
}

/// Bytes that a submission's records take. `None` where it can never be in a batch.
pub(super) fn submission_bytes(submission: &Submission) -> Option<u64> {
    let count = submission.drafts.len();
    if !(1..=MAX_BATCH_RECORDS).contains(&count) {
        return None;
    }
    let records =
        submission.drafts.iter().map(draft_bytes).try_fold(0u64, |sum, bytes| sum.checked_add(bytes?))?;
    // The table is counted as if each record had a stream of its own.
    let most = records.checked_add((FRAME_BYTES + table_bytes(count)) as u64)?;
    (most <= u64::from(MAX_BATCH_BYTES)).then_some(records)
}

impl Queue {
    pub fn push(&mut self, submission: Submission, bytes: u64, since: u64) {
        self.bytes += bytes;
        self.waiting.push_back(Waiting { submission, bytes, since });
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    fn pop(&mut self) -> Option<Waiting> {
        let waiting = self.waiting.pop_front()?;
        self.bytes = self.bytes.saturating_sub(waiting.bytes);
        Some(waiting)
    }

    /// Gives up all that waits (`all`), or what has no right to the reserve.
    pub fn drain(&mut self, all: bool, mut refuse: impl FnMut(u64)) {
        let bytes = &mut self.bytes;
        self.waiting.retain(|waiting| {
            let keep = waiting.submission.priority && !all;
            if !keep {
                *bytes = bytes.saturating_sub(waiting.bytes);
                refuse(waiting.submission.token);
            }
            keep
        });
    }

    /// Takes back what was taken for a batch that cannot be written, save what has no right to the reserve, which is
    /// refused. What was decided upon something refused does not follow its stream any more, and is refused when it is
    /// taken again.
    pub fn put_back(&mut self, taken: Taken, mut refuse: impl FnMut(u64)) {
        let (kept, refused): (Vec<_>, Vec<_>) =
            taken.submissions.into_iter().partition(|waiting| waiting.submission.priority);
        for waiting in refused {
            refuse(waiting.submission.token);
        }
        for waiting in kept.into_iter().rev() {
            self.bytes += waiting.bytes;
            self.waiting.push_front(waiting);
        }
    }

    /// Takes submissions up to the limits of a batch; never splits one. Those that do not follow their streams' last
    /// records are refused whole.
    pub fn take(
        &mut self,
        config: &WriterConfig,
        heads: &BTreeMap<StreamId, Head>,
        mut refuse: impl FnMut(u64, WriteRefusal),
    ) -> Taken {
        let mut taken = Taken::default();
        while let Some(next) = self.waiting.front() {
            let records = taken.records + next.submission.drafts.len();
            let bytes = taken.record_bytes + next.bytes;
            let full = records > config.batch_records || bytes > config.batch_bytes as u64;
            if full && !taken.is_empty() {
                break;
            }
            let Some(waiting) = self.pop() else { break };
            match follow(&taken.streams, heads, &waiting.submission) {
                Err(reason) => refuse(waiting.submission.token, reason),
                Ok(streams) => {
                    taken.streams.extend(streams);
                    taken.records += waiting.submission.drafts.len();
                    taken.record_bytes += waiting.bytes;
                    taken.submissions.push(waiting);
                }
            }
        }
        taken
    }
}

/// The streams' last records after a submission, if each of its drafts follows what is there.
fn follow(
    taken: &BTreeMap<StreamId, Seq>,
    heads: &BTreeMap<StreamId, Head>,
    submission: &Submission,
) -> Result<BTreeMap<StreamId, Seq>, WriteRefusal> {
    let mut after: BTreeMap<StreamId, Seq> = BTreeMap::new();
    for draft in &submission.drafts {
        let stream = draft.stream;
        let last = after.get(&stream).or_else(|| taken.get(&stream)).copied();
        let last = last.unwrap_or_else(|| heads.get(&stream).copied().unwrap_or_default().seq);
        let expected = last.next();
        if draft.seq != expected {
            return Err(WriteRefusal::OutOfOrder { stream, expected, found: draft.seq });
        }
        after.insert(stream, draft.seq);
    }
    Ok(after)
}
