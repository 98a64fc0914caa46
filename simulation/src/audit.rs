//! Looks at everything a node holds, on a copy of its disk, and compares it with every promise.

use crate::invariants::{self as promise, Checked, Violation};
use crate::oracle::{LogView, Model, OpId, Verdict, check_log};
use crate::oracle::{linearize, lists};
use crate::sometimes::State;
use crate::world::World;
use crate::world::boot::read_log;
use crate::world::disk::InstantDisk;
use crate::world::request::read_blob;
use siltstone_log::event::Event;
use siltstone_log::id::{Position, Salt};
use siltstone_log::pack::{BlobIndex, BlobPlace};
use siltstone_log::reader::{self, ReadItem, verify};
use siltstone_log::record::Record;
use siltstone_log::script::Script;

impl World {
    /// Checks the log, the content and the projections against the history. The node must be quiet or down, its
    /// recovery done.
    pub fn audit(&mut self) -> Result<Verdict, Violation> {
        let log = self.log_view()?;
        promise::positions_are_dense(&log)?;
        promise::streams_are_dense_and_time_rises(&log)?;
        let sound = self.audited.begin(&log);
        promise::chain_verifies(&log, sound)?;
        promise::bodies_match_their_hashes(&log, sound)?;
        self.audited.checked(&log);
        let verdict = check_log(&self.history, &log)?;
        self.counters.sometimes(State::UnknownHappened, verdict.unknown_happened > 0);
        self.counters.sometimes(State::UnknownDidNot, verdict.unknown_did_not > 0);
        self.counters.sometimes(State::CreationFinished, verdict.finished_by_recovery.contains("creation"));
        self.counters.sometimes(State::DeletionFinished, verdict.finished_by_recovery.contains("deletion"));
        self.inline_content_is_there(&log)?;
        self.missing_content_is_reported()?;
        if !log.has_gaps() {
            self.blobs_are_there(&verdict.model)?;
            self.projections_agree(&log, &verdict.model)?;
        }
        self.audited.read_from(&self.disk);
        if let Some(node) = self.node.as_ref().filter(|node| self.is_quiet() && !node.has_failed()) {
            promise::a_quiet_node_holds_nothing(node)?;
        }
        Ok(verdict)
    }

    /// The log as a reader sees it, and what recovery reports of it.
    fn log_view(&mut self) -> Result<LogView, Violation> {
        let mut disk = InstantDisk::new(self.observer());
        let items = Script::new(|io| read_log(io, Position(0))).run(&mut disk);
        let items = items.map_err(|error| Violation::new("the log can be read", error.to_string()))?;
        let mut damaged = false;
        // A wall clock that jumps takes the instants of removals along.
        let window_millis = self.plan.history_millis.filter(|_| self.plan.clock_jump_one_in == 0);
        let mut log = LogView { emptied: self.emptied.clone(), window_millis, ..LogView::default() };
        for item in items {
            match item {
                ReadItem::Records(records) => log.records.extend(records),
                ReadItem::Unreadable(range) => {
                    log.unreadable.push((range.first, range.last));
                    damaged |= !range.accepted;
                }
            }
        }
        if self.rotten {
            // An interrupted repair has marked records as emptied, too, though its report was never seen.
            let emptied = log.records.iter().filter(|record| record.body.is_none());
            let emptied: Vec<Position> = emptied.map(|record| record.place.position).collect();
            log.emptied.extend(emptied);
        }
        if damaged && self.log_verifies().is_ok() {
            let message = format!("{:?} cannot be read", log.unreadable);
            return Err(Violation::new("log verify names what cannot be read", message));
        }
        if let Some(node) = &self.node {
            let quarantine = &node.recovered.quarantine;
            log.unreadable.extend(quarantine.iter().map(|range| (range.first, range.last)));
        }
        self.counters.sometimes(State::UnreadableRecords, !log.unreadable.is_empty());
        if !self.rotten && !log.unreadable.is_empty() {
            let message = format!("{:?} are reported as unreadable, but nothing was damaged", log.unreadable);
            return Err(Violation::new("no quarantine without damage", message));
        }
        Ok(log)
    }

    /// I1: the bytes of every record that carries its content are those of its operation.
    fn inline_content_is_there(&mut self, log: &LogView) -> Checked {
        let fresh = |record: &&Record| record.content_len > 0 && !self.audited.has_inline(&self.disk, record);
        let wanted: Vec<(Record, OpId, u64)> =
            log.records.iter().filter(fresh).filter_map(inline_content).collect();
        let mut disk = InstantDisk::new(self.observer());
        for (record, op, size) in wanted {
            let (place, len) = (record.place, record.content_len);
            let read =
                Script::new(move |io| async move { reader::content(&io, place, len).await }).run(&mut disk);
            let checker = "I1 content is durable";
            match read {
                Ok(bytes) if bytes == op.body(size) && len == size + Salt::LEN as u64 => {
                    self.audited.read_inline(&record);
                }
                Ok(bytes) => {
                    let message = format!("{op:?} stored {size} bytes, but {} others are there", bytes.len());
                    return Err(Violation::new(checker, message));
                }
                Err(_) if self.rotten || log.reports(place.position) => {
                    self.counters.reach(State::DamagedContent);
                }
                Err(error) => return Err(Violation::new(checker, format!("{op:?}: {error}"))),
            }
        }
        Ok(())
    }

    /// I9: every blob that a version or an upload refers to is in the index, whole, with its operation's bytes.
    fn blobs_are_there(&mut self, model: &Model) -> Checked {
        let mut disk = InstantDisk::new(self.observer());
        for (blob, piece) in &model.blobs.0 {
            let (log_id, index, blob, len) = (self.log_id(), self.index.clone(), *blob, piece.len);
            let place = index.get(blob).map_err(|error| Violation::new("index", error.to_string()))?;
            let known = |place: &BlobPlace| self.audited.has_blob(&self.disk, blob, place, len);
            if place.as_ref().is_some_and(known) {
                continue;
            }
            let read =
                Script::new(move |io| async move { read_blob(&io, log_id, &index, blob, 0..len).await });
            match read.run(&mut disk) {
                Ok(bytes) if bytes == piece.op.body(len) => {
                    if let Some(place) = place {
                        self.audited.read_blob(blob, place, len);
                    }
                }
                Ok(_) => {
                    let message = format!("blob {blob} of {:?} holds other bytes", piece.op);
                    return Err(Violation::new("I9 no dangling blob", message));
                }
                Err(_) if self.rotten && !self.swept.contains(&blob) => {
                    self.counters.reach(State::DamagedContent);
                }
                Err(error) => {
                    return Err(Violation::new("I9 no dangling blob", format!("{:?}: {error}", piece.op)));
                }
            }
        }
        Ok(())
    }

    fn projections_agree(&mut self, log: &LogView, model: &Model) -> Checked {
        let Some(node) = &self.node else { return Ok(()) };
        if !node.is_quiet() {
            return Ok(());
        }
        let rows = self.store.rows();
        promise::projections_show_what_the_log_means(rows, model)?;
        promise::counters_are_a_recount(rows, model)?;
        promise::replay_gives_the_same_digest(rows, self.audited.replay(log, self.log_id)?)?;
        promise::redelivery_changes_nothing(rows, log, self.log_id())
    }

    /// A second opinion on what clients were told, which trusts no number that the node gave.
    pub fn operations_are_linearizable(&mut self) -> Checked {
        if self.rotten || self.lost_records {
            return Ok(());
        }
        lists::listings_show_what_was_stored(&self.history)?;
        let found = linearize::every_key_has_an_order(&self.history)?;
        self.counters.sometimes(State::Linearized, found > 0);
        Ok(())
    }

    /// `log verify` finds nothing that is not as it was written, save for what was given up.
    pub fn log_verifies(&self) -> Checked {
        let mut disk = InstantDisk::new(self.observer());
        let report = Script::new(|io| async move { verify(&io).await }).run(&mut disk);
        match report {
            Ok(report) if report.is_intact() => Ok(()),
            Ok(report) => {
                let findings: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
                Err(Violation::new("log verify says intact", format!("{findings:?}")))
            }
            Err(error) => Err(Violation::new("log verify says intact", error.to_string())),
        }
    }

    /// Nothing half-made is left once the node has been up for a while.
    pub fn nothing_is_half_made(&self, model: &Model) -> Checked {
        promise::names_and_buckets_agree(model)
    }
}

fn inline_content(record: &Record) -> Option<(Record, OpId, u64)> {
    let body = record.decode()?.ok()?;
    let op = OpId::parse(&body.actor.request_id)?;
    match body.event {
        Event::ObjectPut(put) if record.content_len > 0 => Some((record.clone(), op, put.size)),
        _ => None,
    }
}
