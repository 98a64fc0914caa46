//! Start and stop. Order: lock → log recovery → projections → packs → threads → what a crash left half done.

use super::access::AccessLimiter;
use super::admission::{Admission, FreeSpace, Limits};
use super::bucket_protocol::{self, Unfinished};
use super::catch_up::{CatchUp, CatchUpError, set_apart};
use super::command::{Action, Command, StartNode};
use super::content::{BlobKeeper, Sources, Staging};
use super::damage::FoundDamage;
use super::follower::{FollowerCall, FollowerThread, LogOutlet, ShardNotices};
use super::history::{HistoryConfig, HistoryState, HistoryWorker};
use super::inventory::Inventory;
use super::observer::{NoObserver, Observer};
use super::outcome::{EngineError, Fault, Unavailable};
use super::poller;
use super::shard::{Call, CommandResult, Notice, ReplyTo, Shard, ShardContext, shard_of};
use super::status::Progress;
use super::sweep::{self, Sweeper};
use super::tidy;
use super::{Engine, ROOT_ACCOUNT, Shared};
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use siltstone_log::driver::{LogClient, LogThread};
use siltstone_log::event::{Actor, Door, NodeStarted, TailDiscarded};
use siltstone_log::hlc::HlcClock;
use siltstone_log::host::real::{RealClock, RealDisk, RealEntropy};
use siltstone_log::host::{Clock, Entropy, Folder, draw};
use siltstone_log::id::{Hash, Position, Seq, StreamId};
use siltstone_log::layout::{DataDir, LayoutError};
use siltstone_log::pack::recovery::{PackRecoveryError, recover_packs};
use siltstone_log::pack::{BlobIndex, PackClient, PackConfig, PackThread, PackWriter};
use siltstone_log::recovery::{Recovered, RecoveryConfig, RecoveryError, recover};
use siltstone_log::script::Script;
use siltstone_log::witness::Touched;
use siltstone_log::writer::WriterConfig;
use siltstone_projections::store::cached::CachedStore;
use siltstone_projections::store::fjall::{FjallStore, Opened, applied_witness};
use siltstone_projections::store::{LogState, Store, StoreError};
use siltstone_projections::{Follower, Pace, identity};
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::{Builder, JoinHandle};

/// The folder of the projections in a data directory.
pub const PROJECTIONS: &str = Folder::Projections.name();
/// Bytes of memory for the rows that were read last.
const ROW_CACHE_BYTES: u64 = 16 << 20;

/// How an engine is set up.
#[derive(Clone)]
pub struct EngineConfig {
    /// The data directory; made where it is missing.
    pub data_dir: PathBuf,
    /// What the lock says of its holder, and `NodeStarted` of the program.
    pub program: String,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The dice.
    pub entropy: Arc<dyn Entropy>,
    /// Engine threads.
    pub shards: usize,
    /// The most commands of one shard under way; beyond it clients are told to slow down.
    pub shard_in_flight: usize,
    /// The most bytes of an object that go into its record.
    pub inline_max: usize,
    /// What is let in.
    pub limits: Limits,
    /// The log.
    pub writer: WriterConfig,
    /// The packs.
    pub packs: PackConfig,
    /// How much history is kept.
    pub history: HistoryConfig,
    /// Who keeps figures.
    pub observer: Arc<dyn Observer>,
}

impl EngineConfig {
    /// The defaults, on the real clock and dice.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            program: concat!("siltstone ", env!("CARGO_PKG_VERSION")).to_owned(),
            clock: Arc::new(RealClock::default()),
            entropy: Arc::new(RealEntropy),
            shards: 2,
            shard_in_flight: 4096,
            inline_max: 64 * 1024,
            limits: Limits {
                bytes: 128 << 20,
                read_bytes: 128 << 20,
                requests: 4096,
                per_request: 1 << 20,
                free_floor: 256 << 20,
            },
            writer: WriterConfig::default(),
            packs: PackConfig::default(),
            history: HistoryConfig::default(),
            observer: Arc::new(NoObserver),
        }
    }
}

/// Why an engine cannot start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The data directory cannot be used.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The log cannot be recovered.
    #[error("log: {0}")]
    Log(#[from] RecoveryError),
    /// The packs cannot be recovered.
    #[error("packs: {0}")]
    Packs(#[from] PackRecoveryError),
    /// The projections cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The projections cannot be brought up to date.
    #[error(transparent)]
    CatchUp(#[from] CatchUpError),
    /// A thread could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] io::Error),
    /// The record that made root's account cannot be read, and what was built without it may not make another.
    #[error(
        "the record that made root's account cannot be read, and no other account is made in its place while it may come \
         back: `siltstone log repair DIR` lists what is lost; with --accept-loss it is given up, and the next start makes \
         root's account anew"
    )]
    RootLost,
    /// The start could not be recorded.
    #[error("cannot record the start: {0}")]
    Start(EngineError),
}

/// What is open before the threads start.
struct Parts {
    data_dir: DataDir,
    disk: RealDisk,
    recovered: Recovered,
    store: Arc<dyn Store>,
    follower: Follower,
    blobs: Arc<dyn BlobIndex>,
    pack_writer: PackWriter,
    sweeper: Sweeper,
    inventory: Inventory,
    damage: Arc<FoundDamage>,
}

/// The running threads.
pub(super) struct Threads {
    notices: ShardNotices,
    shards: Vec<JoinHandle<()>>,
    log: LogThread,
    batches: Sender<FollowerCall>,
    follower: JoinHandle<()>,
    packs: PackThread,
    /// Dropped to end the workers.
    workers_stop: Sender<()>,
    workers: Vec<JoinHandle<()>>,
    /// ORDER: the lock goes last, when nothing touches the directory any more.
    data_dir: DataDir,
}

impl Threads {
    pub(super) fn stop(self) {
        // A thread that panicked has said so where it happened; there is nothing more to end in it.
        drop(self.workers_stop);
        for worker in self.workers {
            // A worker itself may hold the last handle to the engine.
            if worker.thread().id() != std::thread::current().id() {
                drop(worker.join());
            }
        }
        self.notices.all(&Notice::Stop);
        for shard in self.shards {
            drop(shard.join());
        }
        drop(self.log.stop());
        self.packs.stop();
        // ORDER: the follower ends with the sync of the projections, so everything that goes there comes before: the
        // log's last records, and the packs that were sealed.
        drop(self.batches.send(FollowerCall::Stop));
        drop(self.follower.join());
        drop(self.data_dir);
    }
}

impl Engine {
    /// Opens a data directory and starts. Blocks, for as long as recovery and catching up take.
    pub fn open(config: EngineConfig) -> Result<Self, OpenError> {
        let data_dir = DataDir::open(&config.data_dir, &config.program, &*config.entropy)?;
        Self::open_in(data_dir, config)
    }

    /// As [`Self::open`], in a data directory that is locked already.
    pub fn open_in(data_dir: DataDir, config: EngineConfig) -> Result<Self, OpenError> {
        let parts = open_parts(data_dir, &config)?;
        let engine = start_threads(config, parts)?;
        if let Err(error) = engine.record_start() {
            engine.shutdown();
            return Err(error);
        }
        engine.finish_bucket_protocols();
        Ok(engine)
    }

    /// Submits a command and waits for its result, blocking.
    fn call_blocking(&self, action: impl Into<Action>) -> CommandResult {
        let (reply, answer) = bounded(1);
        let command = Command::new(Actor::server(Door::Recovery), action, self.entropy());
        self.send(command, ReplyTo::Thread(reply))?;
        answer.recv().unwrap_or(Err(Fault::Ended("engine shard").into()))
    }

    fn record_start(&self) -> Result<(), OpenError> {
        let recovered = self.recovered();
        let started = NodeStarted {
            node: recovered.node_id,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            clean: recovered.clean,
        };
        let discarded =
            recovered.tail_discarded.map(|tail| TailDiscarded { first: tail.first, bytes: tail.bytes });
        let canonical_id = Hash(draw(self.entropy())).to_string();
        match self.call_blocking(StartNode { started, discarded, canonical_id }) {
            Ok(_) => Ok(()),
            // A full disk or a damaged `system` stream takes no record, but what is there can be read.
            Err(EngineError::Unavailable(reason @ (Unavailable::NoSpace | Unavailable::Quarantined)))
                if identity::account(&self.view(), ROOT_ACCOUNT)?.is_some() =>
            {
                tracing::warn!(%reason, "the start is not recorded");
                Ok(())
            }
            Err(EngineError::Unavailable(Unavailable::Quarantined)) => Err(OpenError::RootLost),
            Err(error) => Err(OpenError::Start(error)),
        }
    }

    /// Second halves that a crash has cut off. One that cannot be done now is repeated while the engine runs.
    fn finish_bucket_protocols(&self) {
        let unfinished = bucket_protocol::unfinished(&self.view()).unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot look for half-made buckets");
            Vec::new()
        });
        for half in unfinished {
            tracing::info!(?half, "finishing what a stop left half done");
            if let Err(error) = self.call_blocking(half.clone()) {
                tracing::warn!(%error, "cannot finish it");
                self.shared.unfinished.note(Actor::server(Door::Recovery), half);
            }
        }
    }
}

fn open_parts(data_dir: DataDir, config: &EngineConfig) -> Result<Parts, OpenError> {
    config.observer.starting("log", None);
    let mut disk = RealDisk::new(data_dir.root());
    let (mut recovered, opened) = open_log_and_projections(&data_dir, &mut disk)?;
    if let Some(discarded) = &opened.discarded {
        tracing::warn!(reason = %discarded.reason, "the projections are rebuilt from the log");
    }
    let blobs: Arc<dyn BlobIndex> = Arc::new(opened.store.blobs());
    let store: Arc<dyn Store> = Arc::new(CachedStore::new(opened.store, ROW_CACHE_BYTES));
    let damage = Arc::new(set_apart(&disk, &mut recovered, &*store)?);
    let catch_up = CatchUp {
        disk: &disk,
        recovered: &recovered,
        store: &*store,
        damage: Some(&damage),
        no_further_than: None,
    };
    let losses = catch_up.run(|item| {
        if let Some(last) = item.last() {
            let (done, of) = (last.get(), recovered.next_position.get());
            config.observer.starting("projections", Some((done, of)));
        }
    })?;
    let follower = Follower::new(&*store, recovered.log_id, losses, Pace::Live)?;
    recovered.quarantine = damage.ranges();
    tell(&recovered);
    config.observer.starting("packs", None);
    let (log_id, index) = (recovered.log_id, blobs.clone());
    let packs = Script::new(move |io| recover_packs(io, log_id, index)).run(&mut disk)?;
    for pack in &packs.unreadable {
        tracing::error!(
            pack = format_args!("{pack:08x}"),
            "the disk cannot read all of the pack; what lies there is left as it is, and looked for at the next start"
        );
    }
    let leave_free = config.limits.free_floor;
    let pack_writer = PackWriter::new(&packs, PackConfig { leave_free, ..config.packs });
    let (sweeper, inventory) = (Sweeper::new(&packs, sweep::PAGE), Inventory::new(&packs));
    Ok(Parts { data_dir, disk, recovered, store, follower, blobs, pack_writer, sweeper, inventory, damage })
}

/// Says in the server's log what an administrator has to know of the state that the log was found in.
fn tell(recovered: &Recovered) {
    for note in &recovered.notes {
        tracing::warn!(%note, "the log was damaged; no record is lost by that");
    }
    if let Some(tail) = recovered.tail_discarded {
        let (position, bytes) = (tail.first, tail.bytes);
        tracing::info!(%position, bytes, "an append that a crash interrupted was dropped; nobody was told of it");
    }
    for range in &recovered.quarantine {
        let streams = match &range.touched {
            Touched::Only(streams) if streams.is_empty() => "no bucket refuses writes for it".to_owned(),
            Touched::Only(streams) => {
                let streams: Vec<String> = streams.iter().map(ToString::to_string).collect();
                format!("these streams refuse writes until then: {}", streams.join(", "))
            }
            Touched::AllExcept(_) => {
                "every bucket that may have records there refuses writes until then".to_owned()
            }
        };
        tracing::error!(%range, %streams, "records are lost; stop the server and run `siltstone log repair` to decide");
    }
}

/// Recovers the log, with the projections as a witness of what it had once.
fn open_log_and_projections(
    data_dir: &DataDir,
    disk: &mut RealDisk,
) -> Result<(Recovered, Opened), OpenError> {
    let format = data_dir.format();
    let folder = data_dir.root().join(PROJECTIONS);
    let mut recover_log = |projection_witness| {
        let config = RecoveryConfig { log_id: format.log_id, node_id: format.node_id, projection_witness };
        Script::new(move |io| recover(io, config)).run(disk)
    };
    let open_store = |log: &Recovered| FjallStore::open(&folder, &LogState::of(log));
    let recovered = recover_log(applied_witness(&folder, format.log_id)?)?;
    match open_store(&recovered) {
        // The witness itself was lost, and the rows say more than the log. What they are ahead by was acknowledged:
        // it goes into quarantine, and is never forgotten by building the rows anew without it.
        Err(StoreError::Ahead(position)) => {
            tracing::error!(%position, "the projections are ahead of the log, which has lost its end");
            let recovered = recover_log(Some(position))?;
            let opened = open_store(&recovered)?;
            Ok((recovered, opened))
        }
        opened => Ok((recovered, opened?)),
    }
}

/// The channels between the threads.
struct Channels {
    calls: Vec<Sender<Call>>,
    inboxes: Vec<(Receiver<Call>, Receiver<Notice>)>,
    notices: ShardNotices,
}

fn channels(config: &EngineConfig) -> Channels {
    let mut channels = Channels { calls: Vec::new(), inboxes: Vec::new(), notices: ShardNotices(Vec::new()) };
    for _ in 0..config.shards.max(1) {
        let (calls, call_inbox) = bounded(config.shard_in_flight);
        // Unbounded, so that neither the log's thread nor the follower's ever waits for a shard. What is in it is
        // bounded by what the shards have under way.
        let (notices, notice_inbox) = unbounded();
        channels.calls.push(calls);
        channels.notices.0.push(notices);
        channels.inboxes.push((call_inbox, notice_inbox));
    }
    channels
}

fn start_threads(config: EngineConfig, parts: Parts) -> Result<Engine, OpenError> {
    let Parts { data_dir, disk, recovered, store, follower, blobs, pack_writer, sweeper, inventory, damage } =
        parts;
    let Channels { calls, inboxes, notices } = channels(&config);
    let last = Position(recovered.next_position.get().saturating_sub(1));
    let progress = Arc::new(Progress::new(last, follower.applied()));
    let free = poller::free_space(&disk).unwrap_or(FreeSpace::UNKNOWN);
    let admission = Admission::new(config.limits, free);

    let (batches, batch_inbox) = unbounded();
    let outlet = LogOutlet {
        batches: batches.clone(),
        notices: notices.clone(),
        progress: progress.clone(),
        observer: config.observer.clone(),
    };
    let writer = WriterConfig { leave_free: config.limits.free_floor, ..config.writer };
    let (log, log_client) = LogThread::start(&recovered, disk.clone(), config.clock.clone(), writer, outlet)?;
    let (packs, pack_client) = start_packs(pack_writer, &disk, &blobs, &notices, &progress)?;
    let follower = FollowerThread {
        store: store.clone(),
        follower,
        notices: notices.clone(),
        progress: progress.clone(),
    };
    let follower = Builder::new().name("projections".into()).spawn(move || follower.run(&batch_inbox))?;
    let keeper = BlobKeeper::new(pack_client.clone(), blobs);
    let context = shard_context(&config, &store, &keeper, &recovered, log_client);
    let shards = start_shards(&context, &recovered, inboxes)?;

    let staging = Staging {
        packs: pack_client,
        disk: disk.clone(),
        entropy: config.entropy.clone(),
        inline_max: config.inline_max,
    };
    let history = history_worker(&config, &disk, &recovered);
    let sources = Sources {
        disk: disk.clone(),
        log_id: recovered.log_id,
        blobs: keeper.clone(),
        store: store.clone(),
        damage: damage.clone(),
    };
    let shared = Arc::new(Shared {
        calls,
        store,
        admission: admission.clone(),
        staging: Arc::new(staging),
        sources: Arc::new(sources),
        blobs: keeper,
        clock: config.clock,
        entropy: config.entropy,
        denied: Mutex::new(AccessLimiter::default()),
        unfinished: Unfinished::default(),
        history: HistoryState::default(),
        progress,
        damage: damage.clone(),
        observer: config.observer,
        recovered,
        threads: Mutex::new(None),
    });
    let (workers_stop, stopped) = bounded(0);
    let workers = vec![
        start_history(history, Arc::downgrade(&shared), stopped.clone())?,
        start_poller(Arc::downgrade(&shared), disk, admission, damage, stopped.clone())?,
        start_sweep(sweeper, inventory, Arc::downgrade(&shared), stopped.clone())?,
    ];
    start_tidy(Arc::downgrade(&shared), stopped)?;
    let threads = Threads { notices, shards, log, batches, follower, packs, workers_stop, workers, data_dir };
    *shared.threads.lock().unwrap_or_else(PoisonError::into_inner) = Some(threads);
    Ok(Engine { shared })
}

fn history_worker(config: &EngineConfig, disk: &RealDisk, recovered: &Recovered) -> HistoryWorker {
    // The next pack and the next segment are allocated whole, and leave the floor free.
    let next_files = config.packs.pack_bytes.saturating_add(config.writer.segment_bytes);
    let wanted_free = config.limits.free_floor.saturating_add(next_files);
    HistoryWorker::new(config.history, disk.clone(), wanted_free, recovered.quarantine.clone())
}

fn start_history(
    worker: HistoryWorker,
    engine: Weak<Shared>,
    stop: Receiver<()>,
) -> io::Result<JoinHandle<()>> {
    Builder::new().name("history".into()).spawn(move || worker.run(&engine, &stop))
}

fn start_sweep(
    sweeper: Sweeper,
    inventory: Inventory,
    engine: Weak<Shared>,
    stop: Receiver<()>,
) -> io::Result<JoinHandle<()>> {
    Builder::new().name("sweep".into()).spawn(move || sweep::run(sweeper, inventory, &engine, &stop))
}

/// Nobody waits for it: a compaction takes up to minutes, and a stop need not.
fn start_tidy(engine: Weak<Shared>, stop: Receiver<()>) -> io::Result<()> {
    Builder::new().name("tidy".into()).spawn(move || tidy::run(&engine, &stop)).map(drop)
}

fn start_poller(
    engine: Weak<Shared>,
    disk: RealDisk,
    admission: Arc<Admission>,
    damage: Arc<FoundDamage>,
    stop: Receiver<()>,
) -> io::Result<JoinHandle<()>> {
    Builder::new()
        .name("poller".into())
        .spawn(move || poller::run(&engine, &disk, &admission, &damage, &stop))
}

fn start_packs(
    writer: PackWriter,
    disk: &RealDisk,
    blobs: &Arc<dyn BlobIndex>,
    notices: &ShardNotices,
    progress: &Arc<Progress>,
) -> io::Result<(PackThread, PackClient)> {
    let (notices, progress) = (notices.clone(), progress.clone());
    PackThread::spawn(writer, disk, blobs.clone(), move |error| {
        let fault = Fault::Disk(error);
        notices.all(&Notice::Failed(fault.clone()));
        progress.failed(fault);
    })
}

fn shard_context(
    config: &EngineConfig,
    store: &Arc<dyn Store>,
    blobs: &Arc<BlobKeeper>,
    recovered: &Recovered,
    log: LogClient,
) -> ShardContext {
    ShardContext {
        store: store.clone(),
        log,
        blobs: blobs.clone(),
        clock: config.clock.clone(),
        hlc: Arc::new(Mutex::new(HlcClock::starting_after(recovered.max_hlc))),
        epoch: config.writer.epoch,
        in_flight: config.shard_in_flight,
    }
}

fn start_shards(
    context: &ShardContext,
    recovered: &Recovered,
    inboxes: Vec<(Receiver<Call>, Receiver<Notice>)>,
) -> io::Result<Vec<JoinHandle<()>>> {
    let count = inboxes.len();
    let mut heads: Vec<BTreeMap<StreamId, Seq>> = vec![BTreeMap::new(); count];
    for (stream, head) in &recovered.heads {
        if let Some(heads) = heads.get_mut(shard_of(*stream, count)) {
            heads.insert(*stream, head.seq);
        }
    }
    let mut threads = Vec::with_capacity(count);
    for (index, (heads, (calls, notices))) in heads.into_iter().zip(inboxes).enumerate() {
        let shard = Shard::new(context.clone(), heads, index, count);
        let thread =
            Builder::new().name(format!("engine-{index}")).spawn(move || shard.run(calls, &notices))?;
        threads.push(thread);
    }
    Ok(threads)
}
