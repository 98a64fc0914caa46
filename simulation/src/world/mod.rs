//! The simulated world: one node's disk and clock, an event queue, and the clients. What happens next is always the
//! earliest event in the queue; nothing else moves time on, and nothing else draws dice that matter.
//!
//! [`boot`] brings the node up, [`serve`] carries out what its state machines want, [`client`] plays the clients.

pub mod boot;
pub mod client;
pub mod clock;
pub mod cut;
pub mod disk;
pub mod history;
pub mod network;
pub mod node;
pub mod random;
pub mod reading;
pub mod request;
pub mod serve;
pub mod store;
pub mod sweep;

use crate::audited::Audited;
use crate::fault::Plan;
use crate::invariants::Violation;
use crate::oracle::{History, OpId};
use crate::sometimes::{Counters, State};
use crate::trace::Trace;
use boot::Boot;
use client::Client;
use clock::SimClock;
use disk::{Crash, InFlight, SimDisk, operation_name};
use node::Node;
use random::{Random, SimEntropy};
use serde_json::json;
use siltstone_log::hlc::Hlc;
use siltstone_log::host::{Clock, DiskOp, DiskResult, Now, Ticket};
use siltstone_log::id::{BlobId, LogId, NodeId, Position, Seq, StreamId};
use siltstone_log::pack::BlobPlace;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use store::{SimIndex, SimStore};

/// Notes an event in the trace, where one is kept.
macro_rules! note {
    ($world:ident, $kind:expr, $($fields:tt)+) => {
        if $world.trace.is_on() {
            let fields = ::serde_json::json!($($fields)+);
            $world.event($kind, &fields);
        }
    };
}
pub(crate) use note;

/// What ends a run that was asked for up to an instant: no promise.
pub const UNTIL: &str = "the run ends here";

/// Who handed a disk operation in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// The log's writer, under its ticket.
    Writer(Ticket),
    /// The pack writer, under its ticket.
    Packs(Ticket),
    /// A client's own reading or staging.
    Client(usize),
    /// What runs before the node serves.
    Boot,
}

/// Something that will happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Happening {
    /// A disk operation is done.
    Disk(u64),
    /// The log's writer wants to be told that time passed.
    WriterTick,
    /// The projections take the next committed batch.
    Follow,
    /// The streams' tasks are told of a batch that was applied.
    Tell,
    /// A client begins its next operation.
    Client(usize),
    /// A client's request arrives at the node.
    Arrive(usize),
    /// A client is told what its request came to.
    Told(usize),
    /// A client waits no longer for this operation.
    GiveUp(usize, OpId),
    /// The poller looks at the disk, and repeats second halves that were refused.
    Poll,
    /// The history worker looks for versions that have left the window.
    Expire,
    /// The sweep looks at its next page.
    Sweep,
}

/// Why the node went down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Down {
    /// A crash.
    Crash(Crash),
    /// It was told to stop, and did.
    Clean,
    /// The disk failed, and it ended itself.
    DiskFailed,
}

/// What is left of staged blobs that no record came to name; their guards put them here.
pub type GivenBack = Arc<Mutex<Vec<(BlobId, BlobPlace)>>>;

/// Everything there is.
pub struct World {
    /// What was drawn from the seed.
    pub plan: Plan,
    /// The time.
    pub clock: SimClock,
    /// The node's disk.
    pub disk: SimDisk,
    /// What happened.
    pub trace: Trace,
    /// How often.
    pub counters: Counters,
    /// What clients asked for and were told.
    pub history: History,
    /// The projections' store.
    pub store: SimStore,
    /// The index of blobs.
    pub index: Arc<SimIndex>,
    /// What the sweeps of all starts gave back.
    pub swept: BTreeSet<BlobId>,
    /// The operation that brought each blob.
    pub blob_ops: BTreeMap<BlobId, OpId>,
    /// The running node.
    pub node: Option<Node>,
    pub(crate) boot: Option<Boot>,
    pub(crate) clients: Vec<Client>,
    pub(crate) uploads: Vec<crate::workload::KnownUpload>,
    pub(crate) entropy: SimEntropy,
    /// Decides when things are done.
    pub(crate) schedule: Random,
    /// Decides what clients do.
    pub(crate) work: Random,
    /// Decides crashes and other faults.
    pub faults: Random,
    pub(crate) given_back: GivenBack,
    pub(crate) log_id: LogId,
    pub(crate) node_id: NodeId,
    /// Operations that clients may still begin in this round.
    pub operations_left: u64,
    pub(crate) next_op: u64,
    /// Whether content may have rotted, so that a reader may report damage.
    pub rotten: bool,
    /// Whether records could not be read at a start, or were given up: a stream may then end with numbers that no
    /// reader sees.
    pub lost_records: bool,
    /// The last position that was in quarantine.
    pub lost_through: Option<Position>,
    /// Whether the projections are not to be used again, as a repair has it.
    pub condemned: bool,
    /// Positions whose body or content a repair gave up.
    pub emptied: BTreeSet<Position>,
    /// Why the last start came to nothing.
    pub start_failure: Option<boot::StartFailure>,
    /// Until then the node stands still.
    pub(crate) paused_until: u64,
    /// What earlier looks found sound.
    pub(crate) audited: Audited,
    /// When the run ends, whatever is left to do.
    pub until: Option<u64>,
    /// Events handled.
    pub handled: u64,
    queue: BTreeMap<(u64, u64), Happening>,
    next_event: u64,
    in_flight: BTreeMap<u64, (Owner, InFlight)>,
    next_in_flight: u64,
}

impl World {
    /// An empty data directory, and nobody there yet.
    pub fn new(plan: Plan, trace: Trace) -> Self {
        let seed = plan.seed;
        let disk = SimDisk::new(seed, plan.disk_options());
        let mut ids = Random::new(seed, "ids");
        let (log_id, node_id) = (LogId(ids.bytes()), NodeId(ids.bytes()));
        Self {
            plan,
            clock: SimClock::default(),
            disk,
            trace,
            counters: Counters::default(),
            history: History::default(),
            store: SimStore::default(),
            index: Arc::new(SimIndex::default()),
            swept: BTreeSet::new(),
            blob_ops: BTreeMap::new(),
            node: None,
            boot: None,
            clients: Vec::new(),
            uploads: Vec::new(),
            entropy: SimEntropy::new(ids),
            schedule: Random::new(seed, "schedule"),
            work: Random::new(seed, "work"),
            faults: Random::new(seed, "faults"),
            given_back: GivenBack::default(),
            log_id,
            node_id,
            operations_left: 0,
            next_op: 1,
            rotten: false,
            lost_records: false,
            lost_through: None,
            condemned: false,
            emptied: BTreeSet::new(),
            start_failure: None,
            paused_until: 0,
            audited: Audited::default(),
            until: None,
            handled: 0,
            queue: BTreeMap::new(),
            next_event: 0,
            in_flight: BTreeMap::new(),
            next_in_flight: 0,
        }
    }

    /// The log's id.
    pub fn log_id(&self) -> LogId {
        self.log_id
    }

    /// What a driver would know of the time.
    pub fn now(&self) -> Now {
        self.clock.now()
    }

    fn at(&mut self, nanos: u64, happening: Happening) {
        self.next_event += 1;
        self.queue.insert((nanos, self.next_event), happening);
    }

    fn after(&mut self, nanos: u64, happening: Happening) {
        self.at(self.clock.monotonic_nanos().saturating_add(nanos), happening);
    }

    /// Hands an operation to the disk.
    pub(crate) fn submit(&mut self, owner: Owner, op: DiskOp) {
        let in_flight = self.disk.begin(op);
        let id = self.next_in_flight;
        self.next_in_flight += 1;
        let takes = in_flight.takes_nanos;
        self.in_flight.insert(id, (owner, in_flight));
        self.after(takes, Happening::Disk(id));
    }

    /// Whether nothing is under way anywhere: no operation of a client, the node or the disk.
    pub fn is_quiet(&self) -> bool {
        self.in_flight.is_empty()
            && self.boot.is_none()
            && self.clients.iter().all(Client::is_idle)
            && self.node.as_ref().is_none_or(Node::is_quiet)
    }

    fn is_under_way(&self, wanted: impl Fn(&Owner, &DiskOp) -> bool) -> bool {
        self.in_flight.values().any(|(owner, in_flight)| wanted(owner, &in_flight.op))
    }

    /// Whether the log is being written or synced.
    pub fn is_writing_log(&self) -> bool {
        self.is_under_way(|owner, op| {
            matches!(owner, Owner::Writer(_)) && matches!(op, DiskOp::Write { .. } | DiskOp::Sync { .. })
        })
    }

    /// Whether a pack is being written or synced.
    pub fn is_writing_packs(&self) -> bool {
        self.is_under_way(|owner, op| match owner {
            Owner::Packs(_) => true,
            Owner::Client(_) => matches!(op, DiskOp::Write { .. }),
            Owner::Writer(_) | Owner::Boot => false,
        })
    }

    /// Lets the next event happen. Says whether there was one.
    pub fn step(&mut self) -> Result<bool, Violation> {
        let Some(((nanos, _), happening)) = self.queue.pop_first() else { return Ok(false) };
        self.clock.advance_to(nanos);
        if self.until.is_some_and(|until| nanos > until) {
            return Err(Violation::new(UNTIL, "the instant that was asked for"));
        }
        self.handled += 1;
        if self.stands_still(happening) {
            self.at(self.paused_until, happening);
            return Ok(true);
        }
        match happening {
            Happening::Disk(id) => self.disk_done(id)?,
            Happening::WriterTick => self.writer_tick()?,
            Happening::Follow => self.follow()?,
            Happening::Tell => self.tell()?,
            Happening::Client(client) => self.client_turn(client)?,
            Happening::Arrive(client) => self.arrive(client)?,
            Happening::Told(client) => self.tell_client(client),
            Happening::GiveUp(client, op) => self.give_up(client, op),
            Happening::Poll => self.poll()?,
            Happening::Expire => self.expire()?,
            Happening::Sweep => self.sweep()?,
        }
        Ok(true)
    }

    fn disk_done(&mut self, id: u64) -> Result<(), Violation> {
        let Some((owner, in_flight)) = self.in_flight.remove(&id) else { return Ok(()) };
        let result = self.disk.complete(&in_flight);
        self.counters.disk_operations += 1;
        self.trace_disk(owner, &in_flight.op, &result);
        match owner {
            Owner::Writer(ticket) => self.writer_disk(ticket, result),
            Owner::Packs(ticket) => self.packs_disk(ticket, result),
            Owner::Client(client) => self.client_disk(client, result),
            Owner::Boot => self.boot_disk(result),
        }
    }

    fn trace_disk(&mut self, owner: Owner, op: &DiskOp, result: &DiskResult) {
        if !self.trace.is_on() {
            return;
        }
        let owner = match owner {
            Owner::Writer(_) => "writer".to_owned(),
            Owner::Packs(_) => "packs".to_owned(),
            Owner::Client(client) => format!("client {client}"),
            Owner::Boot => "boot".to_owned(),
        };
        let (target, offset, len) = match op {
            DiskOp::Create { file, len, .. } | DiskOp::Truncate { file, len } => (file.to_string(), 0, *len),
            DiskOp::Write { file, offset, data } => {
                (file.to_string(), *offset, data.iter().map(|bytes| bytes.len() as u64).sum())
            }
            DiskOp::Read { file, offset, len, .. }
            | DiskOp::Punch { file, offset, len }
            | DiskOp::StartWriteback { file, offset, len } => (file.to_string(), *offset, *len),
            DiskOp::Sync { file } | DiskOp::Remove { file } => (file.to_string(), 0, 0),
            DiskOp::Rename { file, to } => (format!("{file} to {to}"), 0, 0),
            DiskOp::SyncFolder { folder } | DiskOp::List { folder } | DiskOp::FreeSpace { folder } => {
                (folder.name().to_owned(), 0, 0)
            }
        };
        let outcome = result.as_ref().map_or_else(|error| format!("{:?}", error.kind), |_| "ok".to_owned());
        let name = operation_name(op);
        let mut fields =
            json!({"by": owner, "op": name, "on": target, "at": offset, "len": len, "result": outcome});
        if let DiskOp::Write { data, .. } = op {
            let mut hasher = blake3::Hasher::new();
            for bytes in data {
                hasher.update(bytes);
            }
            fields["bytes"] = json!(hasher.finalize().to_hex()[..16]);
        }
        self.event("disk", &fields);
    }

    /// Notes an event in the trace; [`note`] does not make its fields where nobody keeps it.
    pub(crate) fn event(&mut self, kind: &str, fields: &serde_json::Value) {
        self.trace.event(self.clock.monotonic_nanos(), kind, fields);
    }

    /// The node goes down. What is left of disk, projections and index is drawn.
    pub fn go_down(&mut self, down: Down) -> Result<(), Violation> {
        let crash = match down {
            Down::Crash(crash) => crash,
            Down::Clean | Down::DiskFailed => Crash::Kill,
        };
        let under_way: Vec<String> =
            self.in_flight.values().map(|(by, op)| format!("{by:?} {}", operation_name(&op.op))).collect();
        note!(self, "down", {"why": format!("{down:?}"), "under_way": under_way});
        if self.node.as_ref().is_some_and(Node::is_rolling) && down != Down::Clean {
            self.counters.reach(State::CrashInRoll);
        }
        let in_flight: Vec<InFlight> =
            std::mem::take(&mut self.in_flight).into_values().map(|(_, op)| op).collect();
        self.queue.clear();
        self.paused_until = 0;
        self.node = None;
        if self.boot.take().is_some() {
            self.counters.reach(State::CrashInRecovery);
        }
        let unanswered = self.clients.iter().filter(|client| !client.is_idle()).count();
        self.counters.unknown += unanswered as u64;
        self.clients.clear();
        self.history.node_went_down();
        self.given_back = GivenBack::default();
        self.disk.crash(crash, &in_flight);
        if let Down::Crash(crash) = down {
            self.counters.crashes += 1;
            self.counters.sometimes(State::Kill, crash == Crash::Kill);
            self.counters.sometimes(State::PowerCut, crash == Crash::PowerCut);
        }
        if crash == Crash::PowerCut {
            self.cut_power()?;
        }
        if self.faults.percent(self.plan.lost_projections_percent) {
            self.lose_projections();
        }
        Ok(())
    }

    /// The projections and the index of blobs are deleted, as anybody may.
    pub(crate) fn lose_projections(&mut self) {
        self.store.clear();
        self.index = Arc::new(SimIndex::default());
        self.counters.reach(State::Rebuilt);
        note!(self, "projections-lost", {});
    }

    fn cut_power(&mut self) -> Result<(), Violation> {
        let failed = |error: String| Violation::new("simulation", error);
        let left = self.store.after_power_cut(&mut self.faults);
        let (store, behind) = left.map_err(|error| failed(error.to_string()))?;
        self.store = store;
        self.counters.sometimes(State::ProjectionsBehind, behind);
        self.index =
            self.index.after_power_cut(&mut self.faults).map_err(|error| failed(error.to_string()))?;
        Ok(())
    }

    /// The newest durable record of a stream, as the running node has published it.
    pub(crate) fn durable(&self, stream: StreamId) -> Seq {
        self.node.as_ref().map_or(Seq(0), |node| node.durable(stream))
    }

    /// The next instant for a command's records.
    pub(crate) fn tick(&mut self) -> Hlc {
        let wall = self.clock.wall_millis();
        self.node.as_mut().map_or(Hlc(0), |node| node.hlc.tick(wall))
    }

    /// A position that the projections know to have been durable.
    pub(crate) fn projection_witness(&self) -> Option<Position> {
        node::applied(self.store.rows()).filter(|position| position.get() > 0)
    }
}
