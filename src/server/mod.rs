//! The running server. Start order: settings → lock → keys → health and metrics → log, projections, packs, engine →
//! doors → ready line; the stop goes the other way.

mod doors;
mod process;
mod signals;
mod vitals;

use crate::auth::Authenticator;
use crate::config::{Config, ConfigError, Environment, Settings};
use crate::console::Console;
use crate::engine::{Engine, EngineConfig, Fault, HistoryConfig, Limits as EngineLimits, OpenError};
use crate::keys::{Keys, KeysError, RootOrigin, StoredCredentials};
use crate::listener::{self, Limits, Tls, TlsError};
use crate::s3::domains::Domains;
use crate::s3::operations::Operations;
use crate::s3::server::ServerLimits;
use crate::s3::sigv4::Scope;
use crate::s3::{S3State, server as s3_server};
use crate::telemetry::health::{Health, Phase};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::trace::{self, Level};
use doors::{ConsoleDoor, MetricsDoor};
use process::Connections;
use serde::Serialize;
use signals::{Hangup, Signals};
use siltstone_log::host::real::{RealClock, RealDisk, RealEntropy};
use siltstone_log::host::{Clock, Entropy};
use siltstone_log::layout::{DataDir, LayoutError};
use siltstone_log::pack::PackConfig;
use siltstone_log::writer::WriterConfig;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use vitals::Vitals;

/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;

/// What the process holds locked, and the log's start events name.
pub const PROGRAM: &str = concat!("siltstone ", env!("CARGO_PKG_VERSION"));

/// How a server ended that had started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// It was told to, and everything under way was finished or given its time.
    Stopped,
    /// It was told to a second time, while it was still finishing.
    Interrupted,
    /// The disk failed. Nothing was acknowledged afterwards.
    DiskFailed(Fault),
}

/// Why a server could not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// No data directory is configured.
    #[error("no data directory: give --data-dir DIR")]
    NoDataDir,
    /// The data directory cannot be used.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The keys cannot be used.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// A listener's address cannot be used.
    #[error("{listener} listener on {address}: {error}")]
    Listen {
        /// Which.
        listener: &'static str,
        /// Where.
        address: SocketAddr,
        /// The system's words.
        error: io::Error,
    },
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The engine cannot start.
    #[error(transparent)]
    Engine(#[from] OpenError),
    /// The system gives no threads, signals or stdout.
    #[error("the system gives no resources: {0}")]
    System(#[from] io::Error),
    /// The metrics contradict each other.
    #[error(transparent)]
    Metrics(#[from] prometheus::Error),
}

#[derive(Serialize)]
struct ReadyLine {
    event: &'static str,
    s3: String,
    console: String,
    metrics: String,
}

/// Gathers the configuration again, for what can change while the server runs.
pub type Reread = Box<dyn Fn() -> Result<Config, ConfigError> + Send>;

/// Serves until it is told to stop or the disk fails.
pub fn run(config: &Config, env: &Environment, reread: Reread) -> Result<Ended, ServeError> {
    let settings = &config.settings;
    let level = trace::start(settings.telemetry.log_level);
    process::end_with_core_threads();
    let connections = Connections::within(process::raise_file_limit(), settings.limits.connections);
    if settings.server.data_dir.as_os_str().is_empty() {
        return Err(ServeError::NoDataDir);
    }
    let (clock, entropy): (Arc<dyn Clock>, Arc<dyn Entropy>) =
        (Arc::new(RealClock::default()), Arc::new(RealEntropy));
    // ORDER: the lock comes before everything that could disturb a server that works here already.
    let data_dir = DataDir::open(&settings.server.data_dir, PROGRAM, &*entropy)?;
    let disk = RealDisk::new(data_dir.root());
    let keys = Arc::new(Keys::open(&disk, env, &*entropy)?);
    // ORDER: before anything else can fail. The next start finds them made already and does not show them.
    show_root(&keys, &settings.server.data_dir);
    let tls = &settings.tls;
    let tls = if tls.cert.as_os_str().is_empty() { None } else { Some(Tls::open(&tls.cert, &tls.key)?) };
    let tls = tls.map(Arc::new);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("async").build()?;
    let reload = Reload { reread, level, tls: tls.clone() };
    let world = World { clock, entropy, disk, keys, connections, tls };
    let ended = runtime.block_on(async {
        // ORDER: before anything that takes time; a SIGHUP that nobody has taken over ends the process.
        tokio::spawn(reload.on_hangup(Hangup::catch()?));
        serve(settings, data_dir, world).await
    })?;
    // Threads that still wait for a client's bytes do not hold the process up.
    runtime.shutdown_background();
    Ok(ended)
}

/// What the server works with besides its settings.
struct World {
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    disk: RealDisk,
    keys: Arc<Keys>,
    connections: Connections,
    tls: Option<Arc<Tls>>,
}

/// What SIGHUP renews: the certificate and the log level.
struct Reload {
    reread: Reread,
    level: Level,
    tls: Option<Arc<Tls>>,
}

impl Reload {
    async fn on_hangup(self, mut hangup: Hangup) {
        while hangup.next().await.is_some() {
            self.run();
        }
    }

    /// What cannot be used leaves the server as it was.
    fn run(&self) {
        match (self.reread)() {
            Ok(config) => {
                let log_level = config.settings.telemetry.log_level;
                match self.level.set(log_level) {
                    Ok(()) => tracing::info!(level = log_level.as_str(), "log level read again"),
                    Err(error) => tracing::error!(%error, "the log level cannot be changed"),
                }
                self.renew_certificate(&config.settings);
            }
            // Where a configuration cannot be used, nothing that it names is.
            Err(error) => tracing::error!(%error, "the configuration cannot be used, the old one stays"),
        }
    }

    /// Takes the certificate from where the configuration has it now. Whether there is one is decided at the start: the
    /// listeners, and what they announced, stay as they are.
    fn renew_certificate(&self, settings: &Settings) {
        let paths = Some(&settings.tls).filter(|tls| !tls.cert.as_os_str().is_empty());
        match (&self.tls, paths) {
            (None, None) => {}
            (Some(tls), Some(paths)) => match tls.reload(&paths.cert, &paths.key) {
                Ok(()) => tracing::info!("certificate read again"),
                Err(error) => tracing::error!(%error, "the certificate cannot be used, the old one stays"),
            },
            (Some(_), None) | (None, Some(_)) => {
                tracing::error!(
                    "TLS is switched on and off by a restart only, the listeners stay as they are"
                );
            }
        }
    }
}

async fn serve(settings: &Settings, data_dir: DataDir, world: World) -> Result<Ended, ServeError> {
    let mut signals = Signals::catch()?;
    let health = Health::default();
    let metrics = Arc::new(Metrics::new()?);
    let started = world.clock.wall_millis() / 1000;
    let vitals = Arc::new(Vitals::new(health.clone(), metrics, world.disk.clone(), started));
    let listeners = Listeners::bind(settings)?;
    let (stop_side, side_stopped) = watch::channel(false);
    let console_door = Arc::new(ConsoleDoor::new(vitals.clone()));
    let side_limits = Limits {
        connections: world.connections.side,
        header_timeout: settings.limits.header_timeout,
        read_buffer: 64 << 10,
        drain: Duration::from_secs(1),
    };
    let Listeners { s3, console, metrics, addresses } = listeners;
    // ORDER: health answers before the log is opened, which can take long.
    let console = tokio::spawn(listener::serve(
        console,
        console_door.clone(),
        side_limits,
        world.tls.clone(),
        until(side_stopped.clone()),
    ));
    let metrics_door = Arc::new(MetricsDoor::new(vitals.clone()));
    let metrics =
        tokio::spawn(listener::serve(metrics, metrics_door, side_limits, None, until(side_stopped)));

    let opening = {
        let config = engine_config(settings, &world, &vitals);
        tokio::task::spawn_blocking(move || Engine::open_in(data_dir, config))
    };
    let engine = tokio::select! {
        biased;
        () = signals.stop() => return Ok(Ended::Interrupted),
        opened = opening => opened.map_err(io::Error::other)??,
    };
    vitals.engine_opened(engine.clone());
    console_door.open(console_state(settings, &world, &engine));
    let s3 = s3.listen(BACKLOG).map_err(|error| ServeError::Listen {
        listener: "s3",
        address: settings.listeners.s3,
        error,
    })?;
    let (stop_s3, s3_stopped) = watch::channel(false);
    let s3_limits = ServerLimits {
        connections: world.connections.s3,
        header_timeout: settings.limits.header_timeout,
        drain: settings.server.drain_timeout,
    };
    let state = Arc::new(s3_state(settings, &world, &engine, &vitals));
    let s3 = tokio::spawn(s3_server::serve(s3, state, s3_limits, world.tls.clone(), until(s3_stopped)));
    health.enter(Phase::Serving);
    announce(&addresses, scheme(world.tls.is_some()))?;

    let running = Running { engine, health, stop_s3, s3, stop_side, side: vec![console, metrics] };
    Ok(running.until_end(signals).await)
}

/// A server that has printed its ready line.
struct Running {
    engine: Engine,
    health: Health,
    stop_s3: watch::Sender<bool>,
    s3: JoinHandle<bool>,
    stop_side: watch::Sender<bool>,
    side: Vec<JoinHandle<bool>>,
}

impl Running {
    async fn until_end(self, mut signals: Signals) -> Ended {
        let (engine, health) = (self.engine.clone(), self.health.clone());
        let failed = async {
            let fault = engine.failed().await;
            health.enter(Phase::Failed);
            tracing::error!(%fault, "the disk failed: nothing is acknowledged any more, the process ends");
            Ended::DiskFailed(fault)
        };
        tokio::pin!(failed);
        tokio::select! {
            biased;
            ended = &mut failed => return ended,
            () = signals.stop() => {}
        }
        tracing::info!("stopping: requests under way are finished");
        tokio::select! {
            biased;
            ended = &mut failed => ended,
            () = signals.stop() => Ended::Interrupted,
            () = self.drain() => Ended::Stopped,
        }
    }

    async fn drain(self) {
        let Self { engine, health, stop_s3, s3, stop_side, side } = self;
        // ORDER: not ready before the door closes, so that a load balancer that looks now sends nothing more; the
        // engine ends after the last request that needs it, and the probes answer until then.
        health.enter(Phase::Draining);
        let _ = stop_s3.send(true);
        if !s3.await.unwrap_or(false) {
            tracing::warn!("requests were cut off: they took longer than server.drain_timeout");
        }
        let stopping = tokio::task::spawn_blocking(move || engine.shutdown());
        if let Err(error) = stopping.await {
            tracing::error!(%error, "the engine did not stop in order");
        }
        let _ = stop_side.send(true);
        for listener in side {
            let _ = listener.await;
        }
        tracing::info!("stopped");
    }
}

/// Done once the other side says so, or is gone.
async fn until(mut stopped: watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

struct Listeners {
    s3: TcpSocket,
    console: TcpListener,
    metrics: TcpListener,
    addresses: [SocketAddr; 3],
}

impl Listeners {
    /// Takes all addresses. The S3 one does not listen yet: a client is refused until it can be served.
    fn bind(settings: &Settings) -> Result<Self, ServeError> {
        let addresses = &settings.listeners;
        let (s3, s3_address) = bind("s3", addresses.s3)?;
        let listen = |listener, address| {
            let (socket, bound) = bind(listener, address)?;
            let listening = socket.listen(BACKLOG);
            listening.map(|socket| (socket, bound)).map_err(|error| ServeError::Listen {
                listener,
                address,
                error,
            })
        };
        let (console, console_address) = listen("console", addresses.console)?;
        let (metrics, metrics_address) = listen("metrics", addresses.metrics)?;
        Ok(Self { s3, console, metrics, addresses: [s3_address, console_address, metrics_address] })
    }
}

fn bind(listener: &'static str, address: SocketAddr) -> Result<(TcpSocket, SocketAddr), ServeError> {
    let bound = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // A restart must not wait for connections of the process before it to time out.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        let bound = socket.local_addr()?;
        Ok((socket, bound))
    };
    bound().map_err(|error| ServeError::Listen { listener, address, error })
}

fn engine_config(settings: &Settings, world: &World, vitals: &Arc<Vitals>) -> EngineConfig {
    let defaults = EngineConfig::new(&settings.server.data_dir);
    EngineConfig {
        program: PROGRAM.to_owned(),
        clock: world.clock.clone(),
        entropy: world.entropy.clone(),
        inline_max: usize::try_from(settings.content.inline_threshold.0).unwrap_or(usize::MAX),
        limits: EngineLimits {
            bytes: settings.limits.body_memory.0,
            read_bytes: settings.limits.body_memory.0,
            requests: settings.limits.requests.into(),
            free_floor: settings.space.floor.0,
            ..defaults.limits
        },
        writer: WriterConfig { segment_bytes: settings.log.segment_size.0, ..defaults.writer },
        packs: PackConfig { pack_bytes: settings.content.pack_size.0, ..defaults.packs },
        history: HistoryConfig {
            window_millis: u64::from(settings.history.window_days) * 24 * 3_600_000,
            max_bytes: settings.history.max_bytes.map(|size| size.0),
        },
        observer: vitals.clone(),
        ..defaults
    }
}

fn authenticator(scope: Scope, world: &World, engine: &Engine) -> Authenticator {
    let view = engine.view();
    let changes = view.changes();
    let credentials = StoredCredentials::new(world.keys.clone(), Arc::new(view), changes);
    Authenticator::new(Arc::new(credentials), world.clock.clone(), scope)
}

fn console_state(settings: &Settings, world: &World, engine: &Engine) -> Console {
    Console {
        backend: Arc::new(engine.clone()),
        authenticator: authenticator(Scope::console(settings.server.region.as_str()), world, engine),
        keys: world.keys.clone(),
        entropy: world.entropy.clone(),
    }
}

fn s3_state(settings: &Settings, world: &World, engine: &Engine, vitals: &Arc<Vitals>) -> S3State {
    let scope = Scope::s3(settings.server.region.as_str())
        .accepting_sigv2(settings.s3.sigv2_links, settings.s3.sigv2_headers);
    S3State {
        authenticator: authenticator(scope, world, engine),
        domains: Domains::new(settings.s3.domains.0.clone()),
        scheme: scheme(world.tls.is_some()),
        handler: Arc::new(Operations::new(engine.clone(), settings.server.region.as_str())),
        observer: vitals.clone(),
        clock: world.clock.clone(),
        entropy: world.entropy.clone(),
    }
}

/// Says where the root credentials are, and shows those that were made just now, the only time. Those not as a log
/// line: log lines are collected and kept.
fn show_root(keys: &Keys, data_dir: &Path) {
    let file = data_dir.join("keys").join("root.json");
    match keys.root.origin() {
        RootOrigin::Environment => tracing::info!("the root credentials are those of the environment"),
        RootOrigin::Stored => {
            tracing::info!(file = %file.display(), "the root credentials are kept in a file; print it to see them");
        }
        RootOrigin::Created => {
            let (access_key, secret_key) = (keys.root.access_key(), keys.root.secret_key().as_str());
            let text = format!(
                "Root credentials, made for this data directory and shown this once (kept in {}):\n  \
                 access key: {access_key}\n  secret key: {secret_key}\n",
                file.display()
            );
            // Without a stderr they are still in the file.
            let _ = io::stderr().write_all(text.as_bytes());
        }
    }
}

fn scheme(tls: bool) -> &'static str {
    if tls { "https" } else { "http" }
}

fn announce(addresses: &[SocketAddr; 3], scheme: &str) -> io::Result<()> {
    let [s3, console, metrics] = addresses;
    let (s3, console) = (format!("{scheme}://{s3}"), format!("{scheme}://{console}"));
    let metrics = format!("http://{metrics}");
    tracing::info!(%s3, %console, %metrics, "serving");
    let line = serde_json::to_string(&ReadyLine { event: "ready", s3, console, metrics })?;
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
