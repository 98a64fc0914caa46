//! One canonical run, and every crash of it: after each of its disk operations the power is cut once for each subset
//! of the unsynced changes, and the node recovers from each under the eyes of every checker (Mohan et al.,
//! "Finding Crash-Consistency Bugs with Bounded Black-Box Crash Testing", OSDI'18, section 5.2 enumerates likewise).

mod plan;

pub use plan::plan;

use crate::invariants::{Checked, Violation};
use crate::scenario::{MOST_EVENTS, panic_message};
use crate::sometimes::Counters;
use crate::trace::Trace;
use crate::world::World;
use crate::world::disk::SimDisk;
use crate::world::node::{Life, Node};
use std::ops::{ControlFlow, RangeInclusive};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// So many unsynced changes are enumerated, the newest; older ones survive each crash.
pub const ENUMERATED: usize = 8;

/// What to look at.
#[derive(Debug, Clone)]
pub struct Request {
    /// Operations of clients in the run.
    pub operations: u64,
    /// The disk operations to crash after, counted from 1.
    pub points: RangeInclusive<u64>,
    /// Only the crash that this subset survives, a bit for each enumerated change, the lowest for the oldest.
    pub survivors: Option<u64>,
    /// Threads.
    pub jobs: usize,
}

/// How much was looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Disk operations that a crash was put after.
    pub points: u64,
    /// Of these, such that a crash leaves what one after the operation before leaves: only one of the two is tried.
    pub repeated: u64,
    /// Of these, such with more unsynced changes than are enumerated.
    pub beyond: u64,
    /// Subsets of unsynced changes, over all points.
    pub subsets: u64,
    /// Crashes that were recovered from, and looked at.
    pub states: u64,
}

impl Totals {
    fn add(&mut self, other: &Self) {
        self.points += other.points;
        self.repeated += other.repeated;
        self.beyond += other.beyond;
        self.subsets += other.subsets;
        self.states += other.states;
    }
}

/// A crash that broke a promise.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The disk operation before the crash.
    pub point: u64,
    /// The enumerated changes that survived; none where the run itself failed, before any crash.
    pub survivors: Option<u64>,
    /// The promise.
    pub violation: Violation,
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Report {
    /// How much was looked at, which is all of it where nothing failed.
    pub totals: Totals,
    /// What the nodes did after the crashes.
    pub counters: Counters,
    /// The first failure in the order of the run.
    pub failure: Option<Failure>,
}

struct Shared<'a> {
    request: &'a Request,
    failure: Mutex<Option<Failure>>,
    total: Mutex<(Totals, Counters)>,
    states: AtomicU64,
    progress: &'a (dyn Fn(u64, u64) + Sync),
}

/// Tries every crash that is asked for. Each thread calls `prepare` first; `progress` is told the disk operation that
/// a thread has come to, and the crashes that all of them have tried. The report is the same however many threads.
pub fn run(request: &Request, prepare: &(dyn Fn() + Sync), progress: &(dyn Fn(u64, u64) + Sync)) -> Report {
    let shared = Shared {
        request,
        failure: Mutex::default(),
        total: Mutex::default(),
        states: AtomicU64::new(0),
        progress,
    };
    let jobs = request.jobs.max(1) as u64;
    std::thread::scope(|scope| {
        for job in 0..jobs {
            let shared = &shared;
            scope.spawn(move || {
                prepare();
                shared.work(job, jobs);
            });
        }
    });
    let (totals, counters) = shared.total.into_inner().unwrap_or_else(PoisonError::into_inner);
    let failure = shared.failure.into_inner().unwrap_or_else(PoisonError::into_inner);
    Report { totals, counters, failure }
}

impl Shared<'_> {
    /// Goes through the whole run, and tries the crashes of every `jobs`th point.
    fn work(&self, job: u64, jobs: u64) {
        let (mut totals, mut counters) = (Totals::default(), Counters::default());
        let mut last = None;
        let mut at = 0;
        let mut visit = |world: &World| {
            at = world.counters.disk_operations;
            if at > *self.request.points.end() || self.has_failed_before(at) {
                return ControlFlow::Break(());
            }
            let disk = world.disk_with_changes_under_way();
            let moment = Some(world.moment(&disk));
            let repeated = last == moment;
            last = moment;
            if self.request.points.contains(&at) && at % jobs == job {
                // Asked for by itself, a point is tried all the same.
                let repeated = repeated && at > *self.request.points.start();
                self.point(world, &disk, repeated, &mut totals, &mut counters);
            }
            ControlFlow::Continue(())
        };
        let walked = caught(|| walk(self.request.operations, &mut visit));
        if let Err(violation) = walked {
            self.fail(Failure { point: at, survivors: None, violation });
        }
        let mut sum = self.total.lock().unwrap_or_else(PoisonError::into_inner);
        sum.0.add(&totals);
        sum.1.add(&counters);
    }

    fn point(
        &self,
        world: &World,
        disk: &SimDisk,
        repeated: bool,
        totals: &mut Totals,
        counters: &mut Counters,
    ) {
        let point = world.counters.disk_operations;
        let pending = disk.pending();
        let (older, newest) = pending.split_at(pending.len().saturating_sub(ENUMERATED));
        let subsets = 1u64 << newest.len();
        totals.points += 1;
        totals.subsets += subsets;
        totals.beyond += u64::from(!older.is_empty());
        totals.repeated += u64::from(repeated);
        if repeated {
            return;
        }
        let wanted = |subset: &u64| self.request.survivors.is_none_or(|only| only == *subset);
        for subset in (0..subsets).filter(wanted) {
            let chosen = newest.iter().enumerate().filter(|(bit, _)| subset >> bit & 1 == 1);
            let survivors: Vec<_> = older.iter().chain(chosen.map(|(_, change)| change)).copied().collect();
            let mut left = disk.clone();
            left.cut_power_but(&survivors);
            let seed = point << ENUMERATED | subset;
            let looked = caught(|| {
                let mut after = world.after_power_cut(left, seed)?;
                let looked = after.last_look();
                counters.add(&after.counters);
                looked
            });
            totals.states += 1;
            let states = self.states.fetch_add(1, Ordering::Relaxed) + 1;
            (self.progress)(point, states);
            if let Err(violation) = looked {
                return self.fail(Failure { point, survivors: Some(subset), violation });
            }
        }
    }

    fn has_failed_before(&self, point: u64) -> bool {
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.as_ref().is_some_and(|failure| failure.point < point)
    }

    fn fail(&self, failure: Failure) {
        let mut first = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        if first.as_ref().is_none_or(|first| failure.point < first.point) {
            *first = Some(failure);
        }
    }
}

fn caught(run: impl FnOnce() -> Checked) -> Checked {
    let done = catch_unwind(AssertUnwindSafe(run));
    done.unwrap_or_else(|panic| Err(Violation::new("nothing panics", panic_message(&*panic))))
}

/// Runs start, work and clean stop, and shows the world before each end of a disk operation, and at the end. All that
/// followed from one operation has then happened, up to the answers to clients.
pub fn walk(operations: u64, visit: &mut dyn FnMut(&World) -> ControlFlow<()>) -> Checked {
    type Stage = (fn(&mut World) -> Checked, fn(&World) -> bool);
    let stages: [Stage; 3] = [
        (World::start, |world| world.node.as_ref().is_some_and(|node| node.life >= Life::Started)),
        (
            |world| {
                world.operations_left = world.plan.operations;
                world.let_clients_in();
                Ok(())
            },
            |world| world.operations_left == 0 && world.is_quiet() && world.has_swept(),
        ),
        (World::stop, World::has_stopped),
    ];
    let mut world = World::new(plan(operations), Trace::none());
    for (begin, reached) in stages {
        begin(&mut world)?;
        while !reached(&world) {
            if world.is_disk_next() && visit(&world).is_break() {
                return Ok(());
            }
            let failed = world.start_failure.is_some() || world.node.as_ref().is_some_and(Node::has_failed);
            if failed || world.handled > MOST_EVENTS || !world.step()? {
                return Err(Violation::new("the run comes to its end", format!("at {:?}", world.now())));
            }
        }
    }
    let _ = visit(&world);
    Ok(())
}
