//! The network between clients and node: messages are lost, late and overtake each other, clients are cut off in one
//! direction or both, give up, and the node stands still. What a client gave up on goes on without it: whoever looks at
//! the history knows only that it may happen, at any time after.

use super::client::{Checked, Client, Doing};
use super::{Happening, World};
use crate::oracle::{Answer, Intent, OpId};
use crate::sometimes::State;
use crate::workload::Work;
use crate::world::note;
use siltstone_log::host::Clock;
use siltstone_log::id::Seq;

impl World {
    /// Whether the network loses the message that is on its way: who asked never learns what came of it.
    pub(super) fn loses_message(&mut self) -> bool {
        let lost = self.plan.lost_percent > 0 && self.faults.percent(self.plan.lost_percent);
        self.counters.sometimes(State::MessageLost, lost);
        lost
    }

    pub(super) fn is_cut_off(&mut self, client: usize) -> bool {
        let now = self.clock.monotonic_nanos();
        let begins = self.faults.once_in(self.plan.partition_one_in);
        self.counters.sometimes(State::Partition, begins);
        let lasts = if begins { self.faults.between(1, 20) * 1_000_000 } else { 0 };
        let Some(client) = self.clients.get_mut(client) else { return false };
        client.cut_off_until = client.cut_off_until.max(now + lasts);
        client.cut_off_until > now
    }

    /// Nothing is lost, late or cut off any more.
    pub(crate) fn heal_network(&mut self) {
        self.plan.heal_network();
        for client in &mut self.clients {
            (client.cut_off_until, client.deaf_until) = (0, 0);
        }
    }

    /// A client more, which begins within a millisecond.
    pub(super) fn add_client(&mut self, cut_off_until: u64) {
        let client = self.clients.len();
        let asked = OpId(0);
        self.clients.push(Client {
            doing: Doing::Nothing,
            asked,
            cut_off_until,
            deaf_until: 0,
            gave_up: false,
        });
        let delay = self.schedule.between(1, 1000) * 1000;
        self.after(delay, Happening::Client(client));
    }

    /// How long a message is under way, drawn anew for each: a later one may come first.
    pub(super) fn delay(&mut self) -> u64 {
        self.schedule.between(1, self.plan.delay_millis.max(1) * 1000) * 1000
    }

    /// Sends a request to the node.
    pub(super) fn send(&mut self, client: usize, op: OpId, work: Work) -> Checked {
        if let Some(client) = self.clients.get_mut(client) {
            client.asked = op;
        }
        self.note_race(&work.intent);
        self.maybe_stand_still();
        self.maybe_deafen(client);
        if self.plan.patience_millis > 0 {
            self.after(self.plan.patience_millis * 1_000_000, Happening::GiveUp(client, op));
        }
        if self.plan.delay_millis == 0 {
            return self.take_request(client, op, work);
        }
        self.put(client, Doing::Sending(Box::new(work)));
        let delay = self.delay();
        self.after(delay, Happening::Arrive(client));
        Ok(())
    }

    fn note_race(&mut self, intent: &Intent) {
        let (Intent::Complete { upload, .. } | Intent::Abort { upload, .. }) = intent else { return };
        let completes = matches!(intent, Intent::Complete { .. });
        let mut others = self.clients.iter().filter(|client| !client.is_idle());
        let raced = others.any(|client| match self.history.get(client.asked).map(|entry| &entry.intent) {
            Some(Intent::Complete { upload: other, .. }) => other == upload && !completes,
            Some(Intent::Abort { upload: other, .. }) => other == upload && completes,
            _ => false,
        });
        self.counters.sometimes(State::CompleteRacedAbort, raced);
    }

    pub(super) fn arrive(&mut self, client: usize) -> Checked {
        let Some((op, gave_up)) = self.clients.get(client).map(|client| (client.asked, client.gave_up))
        else {
            return Ok(());
        };
        match self.take(client) {
            Doing::Sending(work) => {
                self.counters.sometimes(State::LateRequest, gave_up);
                let newer = self.clients.iter().any(|other| {
                    other.asked > op && !matches!(other.doing, Doing::Sending(_) | Doing::Nothing)
                });
                self.counters.sometimes(State::Overtaken, newer);
                self.take_request(client, op, *work)
            }
            doing => {
                self.put(client, doing);
                Ok(())
            }
        }
    }

    pub(super) fn tell_client(&mut self, client: usize) {
        let op = self.clients.get(client).map_or(OpId(0), |client| client.asked);
        match self.take(client) {
            Doing::Hearing(told) => self.told(client, op, told.0, told.1),
            doing => self.put(client, doing),
        }
    }

    /// The client waits no longer: another takes its place, and the request goes on.
    pub(super) fn give_up(&mut self, client: usize, op: OpId) {
        let Some(waiting) = self.clients.get_mut(client) else { return };
        if waiting.asked != op || waiting.is_idle() || waiting.gave_up {
            return;
        }
        waiting.gave_up = true;
        let cut_off_until = waiting.cut_off_until;
        self.counters.reach(State::GaveUp);
        self.counters.unknown += 1;
        note!(self, "gave-up", {"op": op.0});
        self.history.answer(op, Seq(0), Answer::Unknown);
        self.add_client(cut_off_until);
    }

    fn maybe_deafen(&mut self, client: usize) {
        if self.faults.once_in(self.plan.deaf_one_in) {
            self.counters.reach(State::OneWayPartition);
            let until = self.clock.monotonic_nanos() + self.faults.between(1, 60) * 1_000_000;
            if let Some(client) = self.clients.get_mut(client) {
                client.deaf_until = until;
            }
        }
    }

    /// Whether nothing that is sent to the client arrives.
    pub(super) fn is_deaf(&self, client: usize) -> bool {
        let now = self.clock.monotonic_nanos();
        self.clients.get(client).is_some_and(|client| client.deaf_until > now)
    }

    /// The whole process is stopped for a while; its disk finishes what it has, and nobody is there to be told.
    fn maybe_stand_still(&mut self) {
        if self.faults.once_in(self.plan.pause_one_in) {
            self.counters.reach(State::Paused);
            let lasts = self.faults.between(1, 3000) * 1_000_000;
            self.paused_until = self.clock.monotonic_nanos() + lasts;
            note!(self, "paused", {"nanos": lasts});
        }
    }

    /// Whether an event has to wait for the node to go on.
    pub(super) fn stands_still(&self, happening: Happening) -> bool {
        let clients_own =
            matches!(happening, Happening::Client(_) | Happening::Told(_) | Happening::GiveUp(..));
        !clients_own && self.clock.monotonic_nanos() < self.paused_until
    }
}
