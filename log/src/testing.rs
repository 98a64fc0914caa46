//! What the tests of this crate share: a log on a disk in memory, driven operation by operation.

use crate::event::{Actor, Body, Door, Event, NodeStarted};
use crate::hlc::Hlc;
use crate::host::mem::MemDisk;
use crate::host::{Completion, DiskOp, DiskResult, Now, Ticket};
use crate::id::{Epoch, LogId, NodeId, Position, Salt, Seq, StreamId};
use crate::reader::{LogReader, ReadError, ReadItem, VerifyReport, verify};
use crate::record::{DraftContent, Record, RecordDraft, Salted};
use crate::recovery::{Recovered, RecoveryConfig, RecoveryError, recover};
use crate::script::Script;
use crate::writer::{
    CommittedBatch, Submission, WriteRefusal, Writer, WriterConfig, WriterEffect, WriterInput,
};
use std::collections::{BTreeMap, VecDeque};

pub(crate) const LOG: LogId = LogId([0xab; 16]);

pub(crate) fn recovery_config() -> RecoveryConfig {
    RecoveryConfig { log_id: LOG, node_id: NodeId([0xcd; 16]), projection_witness: None }
}

pub(crate) fn small_segments() -> WriterConfig {
    WriterConfig { segment_bytes: WriterConfig::MIN_SEGMENT_BYTES, ..WriterConfig::default() }
}

pub(crate) fn recover_disk(disk: &MemDisk) -> Result<Recovered, RecoveryError> {
    Script::new(|io| recover(io, recovery_config())).run(&mut disk.clone())
}

pub(crate) fn stream(n: u8) -> StreamId {
    StreamId([n; 16])
}

/// A record with a real body and as much inline content as wanted.
pub(crate) fn draft(stream: StreamId, seq: u64, content: usize) -> RecordDraft {
    let event = Event::NodeStarted(NodeStarted {
        node: NodeId([1; 16]),
        version: format!("{stream}/{seq}"),
        clean: true,
    });
    let kind = event.kind();
    let body = Body { actor: Actor::server(Door::Worker), event }.encode().unwrap();
    let fill = u8::try_from(seq % 251).unwrap();
    let content = match content {
        0 => DraftContent::None,
        len => DraftContent::Inline(Salted::new(Salt([3; 16]), &vec![fill; len])),
    };
    RecordDraft {
        stream,
        seq: Seq(seq),
        hlc: Hlc::from_millis(1000 + seq),
        epoch: Epoch(0),
        kind,
        ignorable: false,
        body: Salted::new(Salt([2; 16]), &body),
        content,
    }
}

/// Gives an operation another outcome than the disk would.
pub(crate) type Fault = Box<dyn FnMut(&DiskOp) -> Option<DiskResult>>;

/// A writer on a disk in memory. Operations are carried out in order, each completed before the next is begun.
pub(crate) struct Rig {
    pub disk: MemDisk,
    pub writer: Writer,
    pub now: Now,
    pub committed: Vec<CommittedBatch>,
    pub refused: Vec<(u64, WriteRefusal)>,
    pub failed: bool,
    pub stopped: bool,
    /// Operations not carried out yet.
    pub waiting: VecDeque<(Ticket, DiskOp)>,
    pub fault: Fault,
    next_token: u64,
    seqs: BTreeMap<StreamId, u64>,
}

impl Rig {
    pub fn new(disk: MemDisk, config: WriterConfig) -> Self {
        let recovered = recover_disk(&disk).unwrap();
        let mut rig = Self {
            disk,
            writer: Writer::new(&recovered, config),
            now: Now { wall_millis: 1_000_000, monotonic_nanos: 1 },
            committed: Vec::new(),
            refused: Vec::new(),
            failed: false,
            stopped: false,
            waiting: VecDeque::new(),
            fault: Box::new(|_| None),
            next_token: 0,
            seqs: recovered.heads.iter().map(|(stream, head)| (*stream, head.seq.0)).collect(),
        };
        rig.input(WriterInput::Tick);
        rig.settle();
        rig
    }

    pub fn input(&mut self, input: WriterInput) {
        let mut out = Vec::new();
        self.writer.handle(self.now, input, &mut out);
        for effect in out {
            match effect {
                WriterEffect::Disk(ticket, op) => self.waiting.push_back((ticket, op)),
                WriterEffect::Committed(batch) => self.committed.push(batch),
                WriterEffect::Refused { token, reason } => self.refused.push((token, reason)),
                WriterEffect::Failed(_) => self.failed = true,
                WriterEffect::Stopped => self.stopped = true,
            }
        }
    }

    /// Carries out the operation that waits longest. Says whether there was one.
    pub fn step(&mut self) -> bool {
        let Some((ticket, op)) = self.waiting.pop_front() else { return false };
        let result = (self.fault)(&op).unwrap_or_else(|| self.disk.execute(&op));
        self.now.monotonic_nanos += 1000;
        self.input(WriterInput::Disk(Completion { ticket, result }));
        true
    }

    pub fn settle(&mut self) {
        while self.step() {}
    }

    /// Lets time pass, up to what the writer waits for.
    pub fn wait(&mut self, nanos: u64) {
        self.now.monotonic_nanos += nanos;
        self.input(WriterInput::Tick);
        self.settle();
    }

    pub fn submit(&mut self, priority: bool, drafts: Vec<RecordDraft>) -> u64 {
        self.next_token += 1;
        self.input(WriterInput::Submit(Submission { token: self.next_token, priority, drafts }));
        self.next_token
    }

    /// The stream's next draft.
    pub fn next_draft(&mut self, stream: StreamId, content: usize) -> RecordDraft {
        let seq = self.seqs.entry(stream).or_default();
        *seq += 1;
        draft(stream, *seq, content)
    }

    /// Writes one record, alone in its batch.
    pub fn write(&mut self, stream: StreamId, content: usize) {
        let draft = self.next_draft(stream, content);
        self.submit(false, vec![draft]);
        self.settle();
    }

    pub fn stop(&mut self) {
        self.input(WriterInput::Stop);
        self.settle();
        assert!(self.stopped);
    }

    pub fn records(&self) -> Vec<Record> {
        self.committed.iter().flat_map(|batch| batch.records.clone()).collect()
    }
}

pub(crate) fn read_all(disk: &MemDisk, from: u64) -> Result<Vec<ReadItem>, ReadError> {
    let read = |io| async move {
        let mut reader = LogReader::open(&io, Position(from)).await?;
        let mut items = Vec::new();
        while let Some(item) = reader.next(&io).await? {
            items.push(item);
        }
        Ok(items)
    };
    Script::new(read).run(&mut disk.clone())
}

/// All readable records, places left out: a recovery writes them anew elsewhere.
pub(crate) fn logical(items: &[ReadItem]) -> Vec<Record> {
    let records = items.iter().flat_map(|item| match item {
        ReadItem::Records(records) => records.clone(),
        ReadItem::Unreadable(_) => Vec::new(),
    });
    records.map(without_place).collect()
}

pub(crate) fn without_place(mut record: Record) -> Record {
    record.place.generation = 0;
    record.place.offset = 0;
    record.place.segment = Position(0);
    record
}

pub(crate) fn verify_disk(disk: &MemDisk) -> VerifyReport {
    Script::new(|io| async move { verify(&io).await }).run(&mut disk.clone()).unwrap()
}
