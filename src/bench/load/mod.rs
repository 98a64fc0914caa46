//! Signed requests against any S3 endpoint: a number of clients, each with one request under way.
//!
//! One thread does all of it, so that on a small machine the server, and not its load, is measured. The way of a
//! request: [`work`] says which one comes next, [`client`] signs and sends it, [`report`] shows what came of it.

mod client;
mod report;
mod work;

pub(super) use client::PAGE_KEYS;
pub use report::LoadReport;
pub use work::{Limit, Operation};

/// Which keys a page of a listing shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Listing {
    /// Those of this run.
    #[default]
    Own,
    /// The bucket's first ones.
    First,
    /// The bucket's first prefixes, up to a slash.
    Prefixes,
}

use super::BenchError;
use crate::auth::Secret;
use crate::telemetry::process::cpu_seconds_of;
use client::{Connection, Target};
use report::Tally;
use siltstone_log::host::real::{RealClock, RealEntropy};
use siltstone_log::host::{Clock, draw};
use std::sync::Arc;
use tokio::task::JoinSet;
use work::{Step, Work};

/// What to send, and to whom.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// The endpoint, `http://host:port`.
    pub endpoint: http::Uri,
    /// The region that signatures name.
    pub region: String,
    /// Who signs.
    pub access_key: String,
    /// With which secret.
    pub secret: Secret,
    /// The bucket; made if missing, and then removed.
    pub bucket: String,
    /// The requests.
    pub operation: Operation,
    /// Bytes of an object.
    pub size: usize,
    /// Clients, each with one request under way.
    pub clients: usize,
    /// When it ends.
    pub limit: Limit,
    /// Objects that are put before the clock starts, where the requests need some.
    pub objects: u64,
    /// The server's process, where it runs on this machine.
    pub server_pid: Option<u32>,
    /// Leave the objects.
    pub keep: bool,
    /// Which keys pages show.
    pub listing: Listing,
}

/// Makes a bucket where there is none.
pub fn make_bucket(options: &LoadOptions) -> Result<(), BenchError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(Session::bucket(options)).map(|_| ())
}

/// Runs the load.
pub fn run(options: &LoadOptions) -> Result<LoadReport, BenchError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let session = Session::begin(options).await?;
        let measured = session.measure().await;
        // What was put is removed also where the measuring failed.
        let cleaned = session.end().await;
        let report = measured?;
        cleaned.map(|()| report)
    })
}

/// A bucket to work in.
struct Session<'a> {
    options: &'a LoadOptions,
    target: Arc<Target>,
    /// Whether the bucket is ours to remove.
    made_bucket: bool,
    /// Objects that may exist: those of the first numbers.
    objects: std::cell::Cell<u64>,
}

impl<'a> Session<'a> {
    async fn bucket(options: &'a LoadOptions) -> Result<Self, BenchError> {
        let run = u32::from_le_bytes(draw(&RealEntropy));
        let target = Arc::new(Target::new(options, run)?);
        let mut connection = Connection::new(target.clone());
        let found = connection.exchange(&Step::HeadBucket).await?;
        let made_bucket = found.status == 404;
        if made_bucket {
            connection.exchange(&Step::CreateBucket).await?.must("creating the bucket")?;
        } else {
            found.must("looking for the bucket")?;
        }
        Ok(Self { options, target, made_bucket, objects: std::cell::Cell::new(0) })
    }

    async fn begin(options: &'a LoadOptions) -> Result<Self, BenchError> {
        let session = Self::bucket(options).await?;
        if options.operation.needs_objects() {
            let prepared = session.phase(Operation::Put, Limit::Requests(options.objects), 0).await?;
            if let Some(code) = prepared.first_error() {
                drop(session.end().await);
                return Err(BenchError::Prepare { step: "putting an object".to_owned(), answer: code });
            }
        }
        Ok(session)
    }

    /// Lets the clients send until the limit is reached.
    async fn phase(&self, operation: Operation, limit: Limit, objects: u64) -> Result<Tally, BenchError> {
        let work = Arc::new(Work::new(operation, limit, objects));
        let mut clients = JoinSet::new();
        for _ in 0..self.options.clients.max(1) {
            clients.spawn(client(Connection::new(self.target.clone()), work.clone()));
        }
        let mut tally = Tally::new();
        while let Some(client) = clients.join_next().await {
            tally.add(&client.map_err(|_| BenchError::Ended("client"))??);
        }
        tally.nanos = work.elapsed_nanos();
        self.objects.set(self.objects.get().max(work.objects()));
        Ok(tally)
    }

    async fn measure(&self) -> Result<LoadReport, BenchError> {
        let cpu = || self.options.server_pid.and_then(cpu_seconds_of);
        let before = cpu();
        let options = self.options;
        let tally = self.phase(options.operation, options.limit, options.objects).await?;
        let spent = cpu().zip(before).map(|(after, before)| after - before);
        Ok(LoadReport::new(options, &tally, spent))
    }

    async fn end(&self) -> Result<(), BenchError> {
        if self.options.keep {
            return Ok(());
        }
        let all = self.objects.get();
        self.phase(Operation::Delete, Limit::Requests(all), all).await?;
        if self.made_bucket {
            let mut connection = Connection::new(self.target.clone());
            connection.exchange(&Step::DeleteBucket).await?.must("removing the bucket")?;
        }
        Ok(())
    }
}

/// One client: sends what comes next until nothing does.
async fn client(mut connection: Connection, work: Arc<Work>) -> Result<Tally, BenchError> {
    let clock = RealClock::default();
    let mut tally = Tally::new();
    while let Some(step) = work.next() {
        let request = connection.sign(&step)?;
        let began = clock.monotonic_nanos();
        let answer = connection.send(request).await;
        tally.note(answer, clock.monotonic_nanos().saturating_sub(began));
    }
    Ok(tally)
}
