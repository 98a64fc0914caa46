//! Damage at rest: it must be found and reported, wherever it is; nothing else may be lost.

use super::rounds::{Checked, Ended, MOST_EVENTS};
use crate::sometimes::State;
use crate::world::boot::read_log;
use crate::world::disk::{InstantDisk, SECTOR};
use crate::world::{Down, World};
use serde_json::json;
use siltstone_log::host::{Clock, FilePath, Folder};
use siltstone_log::id::Position;
use siltstone_log::reader::ReadItem;
use siltstone_log::script::Script;
use siltstone_log::segment::SegmentName;
use siltstone_log::witness::is_refused;

/// Where damage may fall. On a single node a damaged last batch cannot be told from a torn one without a witness, so
/// the newest batch and the newest witness are the last good copies that damage is kept off (the fault atlas).
struct Target {
    file: FilePath,
    end: u64,
}

impl World {
    /// Lets time pass, so that the log marks its last batch as durable and writes its checkpoint.
    fn idle(&mut self, millis: u64) -> Result<Ended, crate::invariants::Violation> {
        let until = self.clock.monotonic_nanos() + millis * 1_000_000;
        self.run_until(MOST_EVENTS, move |world| world.clock.monotonic_nanos() >= until && world.is_quiet())
    }

    fn last_record(&self) -> Option<(SegmentName, u64)> {
        let mut disk = InstantDisk::new(self.observer());
        let items = Script::new(|io| read_log(io, Position(0))).run(&mut disk).ok()?;
        let place = items.iter().rev().find_map(|item| match item {
            ReadItem::Records(records) => Some(records.last()?.place),
            ReadItem::Unreadable(_) => None,
        })?;
        Some((SegmentName { first: place.segment, generation: place.generation }, place.offset.into()))
    }

    fn rot_targets(&self) -> Vec<Target> {
        let Some((last, offset)) = self.last_record() else { return Vec::new() };
        let last = last.file();
        let segments = self.disk.files(Folder::Log).into_iter().filter(|(name, _)| name.ends_with(".seg"));
        let log = segments.filter_map(|(name, len)| {
            let file = FilePath::new(Folder::Log, name);
            match file.cmp(&last) {
                std::cmp::Ordering::Less => Some(Target { file, end: len }),
                // The newest batch begins at a page border before its last record.
                std::cmp::Ordering::Equal => Some(Target { file, end: offset / 4096 * 4096 }),
                std::cmp::Ordering::Greater => None,
            }
        });
        let packs = self.disk.files(Folder::Packs).into_iter();
        let packs = packs.map(|(name, len)| Target { file: FilePath::new(Folder::Packs, name), end: len });
        log.chain(packs).filter(|target| target.end > 0).collect()
    }

    /// Damages some places of the log or the packs.
    fn rot(&mut self) {
        let targets = self.rot_targets();
        for _ in 0..self.faults.between(1, 3) {
            // The log is small beside the packs, and most of them is unused.
            let log = self.faults.percent(70);
            let wanted: Vec<&Target> =
                targets.iter().filter(|target| (target.file.folder == Folder::Log) == log).collect();
            let index = self.faults.index(wanted.len());
            let Some(Target { file, end }) = wanted.get(index) else { continue };
            let offset = self.faults.below(*end);
            let how = self.faults.below(3);
            match how {
                0 | 1 => {
                    let bit = u8::try_from(self.faults.below(8)).unwrap_or(0);
                    self.disk.flip_bit(file, offset, bit);
                }
                _ if (offset / SECTOR + 1) * SECTOR <= *end => {
                    self.disk.scramble_sector(file, offset / SECTOR)
                }
                _ => continue,
            }
            self.rotten = true;
            let fields = json!({"file": file.to_string(), "at": offset, "sector": how == 2});
            self.event("rot", &fields);
        }
    }

    fn quarantined_round(&mut self) -> Checked {
        self.bring_up()?;
        self.settle_and_audit()?;
        let quarantine = self.node.as_ref().map(|node| node.recovered.quarantine.clone()).unwrap_or_default();
        let before = self.counters.acknowledged;
        self.work(self.plan.operations, false)?;
        self.audit()?;
        let refused = self.history.streams().filter(|stream| is_refused(&quarantine, **stream)).count();
        self.event("quarantined", &json!({"ranges": quarantine.len(), "streams": refused}));
        let open = quarantine.is_empty() || refused == 0;
        if open && self.counters.acknowledged == before {
            return Err(crate::invariants::Violation::new(
                "what is not damaged takes writes",
                format!("nothing went through in a round beside {quarantine:?}"),
            ));
        }
        if !quarantine.is_empty() {
            self.counters.reach(State::Quarantine);
        }
        Ok(())
    }
}

pub(super) fn rot_and_report(world: &mut World) -> Checked {
    for _ in 0..world.plan.rounds {
        world.round()?;
    }
    world.bring_up()?;
    world.work(world.plan.operations, false)?;
    world.audit()?;
    world.idle(1500)?;
    if world.faults.coin() {
        // Found by readers, while the node runs.
        world.rot();
        world.work(world.plan.operations / 2, false)?;
        world.idle(1500)?;
    }
    if world.faults.coin() {
        world.stop_cleanly()?;
    } else {
        let down = world.draw_crash();
        world.go_down(down)?;
    }
    world.rot();
    world.quarantined_round()?;
    world.stop_cleanly()?;
    world.go_down(Down::Clean)
}
