//! The end of the history window, and blobs that nothing refers to any more.

use super::client::Checked;
use super::node::{Life, Waiter};
use super::{Happening, World};
use crate::invariants::Violation;
use crate::sometimes::State;
use crate::world::note;
use siltstone::engine::history::{WindowEnd, beyond_window};
use siltstone::engine::outcome::{EngineError, Receipt};
use siltstone_log::event::{Actor, Door};
use siltstone_log::id::BlobId;
use siltstone_log::pack::{BlobIndex, BlobPlace, PackInput};
use siltstone_log::witness::is_refused;
use siltstone_projections::StoreError;
use siltstone_projections::objects::{self, Removal};

impl World {
    /// The worker looks again in a while.
    pub(crate) fn look_at_history(&mut self) {
        if self.plan.history_millis.is_some() {
            // Sometimes so soon that clients still read what goes.
            let unit = if self.schedule.coin() { 1_000_000 } else { 20_000 };
            let delay = self.schedule.between(1, 20) * unit;
            self.after(delay, Happening::Expire);
        }
    }

    /// Submits what has left the window, as the product plans it.
    pub(crate) fn expire(&mut self) -> Checked {
        let serving = self.node.as_ref().is_some_and(|node| node.life == Life::Serving);
        let Some(window) = self.plan.history_millis.filter(|_| serving) else { return Ok(()) };
        if self.operations_left == 0 {
            return Ok(());
        }
        let now = self.now();
        let rows = self.store.rows();
        let failed = |error: StoreError| Violation::new("projections", error.to_string());
        let oldest = objects::expiring(rows, Removal::default()).next().transpose().map_err(failed)?;
        let Some(node) = &mut self.node else { return Ok(()) };
        let (newest, oldest) = (node.recovered.max_hlc, oldest.map(|row| row.at.removed));
        let end = node.window_end.get_or_insert_with(|| WindowEnd::starting(window, now, newest, oldest));
        end.advance(window, now);
        let quarantine = &node.recovered.quarantine;
        let gone = beyond_window(rows, *end, &|stream| is_refused(quarantine, stream)).map_err(failed)?;
        for action in gone {
            self.command(Waiter::Expire, Actor::server(Door::Worker), action)?;
        }
        self.look_at_history();
        Ok(())
    }

    /// What came of it: a refusal is tried again at the next look.
    pub(crate) fn expired(&mut self, result: &Result<Receipt, EngineError>) {
        self.counters.sometimes(State::VersionsExpired, result.is_ok());
        note!(self, "expired", {"done": result.is_ok()});
    }

    /// A reader has begun: what it reads stays until it ends (`engine::content::BlobKeeper`).
    pub(crate) fn hold(&mut self, blobs: &[BlobId]) {
        let Some(node) = &mut self.node else { return };
        for blob in blobs {
            *node.readers.entry(*blob).or_insert(0) += 1;
        }
    }

    /// A reader has ended.
    pub(crate) fn let_go(&mut self, blobs: &[BlobId]) -> Checked {
        for blob in blobs {
            let Some(node) = &mut self.node else { return Ok(()) };
            let Some(readers) = node.readers.get_mut(blob) else { continue };
            *readers -= 1;
            if *readers == 0 {
                node.readers.remove(blob);
                if let Some(place) = node.unwanted.remove(blob) {
                    self.counters.reach(State::FreedAfterReader);
                    self.free_at(*blob, place)?;
                }
            }
        }
        Ok(())
    }

    /// Gives back a blob that nothing refers to any more, durably.
    pub(crate) fn free(&mut self, blob: BlobId) -> Checked {
        let place = self.index.get(blob).map_err(|error| Violation::new("index", error.to_string()))?;
        match place {
            Some(place) => self.free_at(blob, place),
            None => Ok(()),
        }
    }

    /// As [`Self::free`], where the place is known.
    pub(crate) fn free_at(&mut self, blob: BlobId, place: BlobPlace) -> Checked {
        let Some(node) = &mut self.node else { return Ok(()) };
        if node.readers.contains_key(&blob) {
            node.unwanted.insert(blob, place);
            return Ok(());
        }
        self.packs_input(PackInput::Free { blob, place })
    }
}
