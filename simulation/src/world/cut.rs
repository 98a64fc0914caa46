//! The world as a power cut would leave it, beside the one that goes on: for looking at every crash of one run.

use super::disk::SimDisk;
use super::node::Node;
use super::random::{Random, SimEntropy};
use super::{Happening, World};
use crate::invariants::Violation;
use crate::sometimes::State;
use crate::trace::Trace;

/// What a crash at some instant depends on, apart from which unsynced changes survive it. Equal moments of one run
/// have equal crashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    changes: u64,
    pending: usize,
    invoked: u64,
    answered: u64,
    commits: usize,
    index_calls: usize,
}

impl World {
    /// Whether what happens next is the end of a disk operation.
    pub fn is_disk_next(&self) -> bool {
        matches!(self.queue.first_key_value(), Some((_, Happening::Disk(_))))
    }

    /// The disk, with what is under way carried out and not synced.
    pub fn disk_with_changes_under_way(&self) -> SimDisk {
        self.disk.with_changes_under_way(self.in_flight.values().map(|(_, in_flight)| in_flight))
    }

    /// What a crash now depends on; `disk` is [`World::disk_with_changes_under_way`].
    pub fn moment(&self, disk: &SimDisk) -> Moment {
        Moment {
            changes: disk.changes(),
            pending: disk.pending().len(),
            invoked: self.next_op,
            answered: self.counters.acknowledged + self.counters.refused,
            commits: self.store.committed(),
            index_calls: self.index.called(),
        }
    }

    /// The world after a power cut that left this disk. `seed` draws what is left of projections and index, and all
    /// that comes after; the same seed gives the same world.
    pub fn after_power_cut(&self, disk: SimDisk, seed: u64) -> Result<Self, Violation> {
        let failed = |error: String| Violation::new("simulation", error);
        let mut faults = Random::new(seed, "faults after the cut");
        let (store, behind) =
            self.store.after_power_cut(&mut faults).map_err(|error| failed(error.to_string()))?;
        let index = self.index.after_power_cut(&mut faults).map_err(|error| failed(error.to_string()))?;
        let mut history = self.history.clone();
        history.node_went_down();
        let mut world = Self {
            clock: self.clock.apart(),
            disk,
            history,
            store,
            index,
            faults,
            swept: self.swept.clone(),
            blob_ops: self.blob_ops.clone(),
            uploads: self.uploads.clone(),
            // Other dice than the run's: drawn again, its identifiers would come twice.
            entropy: SimEntropy::new(Random::new(seed, "ids after the cut")),
            schedule: Random::new(seed, "schedule after the cut"),
            work: Random::new(seed, "work after the cut"),
            log_id: self.log_id,
            node_id: self.node_id,
            next_op: self.next_op,
            ..Self::new(self.plan.clone(), Trace::none())
        };
        world.disk.reseed(seed);
        world.counters.crashes = 1;
        world.counters.reach(State::PowerCut);
        world.counters.sometimes(State::ProjectionsBehind, behind);
        world.counters.sometimes(State::CrashInRoll, self.node.as_ref().is_some_and(Node::is_rolling));
        Ok(world)
    }
}
