//! The plan of a run: everything that is drawn once from its seed, printed before anything happens.

use crate::world::disk::DiskOptions;
use crate::world::random::Random;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What a run is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scenario {
    /// Write, crash anywhere, recover, compare.
    CrashRecovery,
    /// A sync fails: nothing is acknowledged after it, the process ends, and a restart has lost nothing.
    FailedFsync,
    /// Bits and sectors rot at rest: found and reported, never silent; `log repair` lets writes go on.
    DiskRot,
    /// The volume fills up and gets space again.
    FullDisk,
    /// Crashes between the halves of creating and deleting buckets.
    BucketProtocol,
    /// Writes are lost or misdirected, reads stale or fail once, the disk is another one or its own of before: found and
    /// reported, and nothing is lost of which there is another copy.
    LyingDisk,
    /// Requests and answers take long and overtake each other, clients give up and their requests arrive after that, one
    /// direction is cut, the node stands still for a while; and some records are an older program's.
    SlowNetwork,
}

impl Scenario {
    /// Every scenario.
    pub const ALL: [Self; 7] = [
        Self::CrashRecovery,
        Self::FailedFsync,
        Self::DiskRot,
        Self::FullDisk,
        Self::BucketProtocol,
        Self::LyingDisk,
        Self::SlowNetwork,
    ];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::CrashRecovery => "crash_recovery",
            Self::FailedFsync => "failed_fsync",
            Self::DiskRot => "disk_rot",
            Self::FullDisk => "full_disk",
            Self::BucketProtocol => "bucket_protocol",
            Self::LyingDisk => "lying_disk",
            Self::SlowNetwork => "slow_network",
        }
    }

    /// Finds a scenario by its name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scenario| scenario.name() == name)
    }

    /// The scenario that a seed stands for where none is named: a third of them crash and recover.
    pub fn of_seed(seed: u64) -> Self {
        let drawn = Random::new(seed, "scenario").index(Self::ALL.len() + 1);
        Self::ALL.get(drawn).copied().unwrap_or(Self::CrashRecovery)
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How often each operation comes up, relative to the others; 0 switches it off.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mix {
    /// Put an object.
    pub put: u64,
    /// Delete one key.
    pub delete: u64,
    /// Delete several keys.
    pub delete_many: u64,
    /// Switch the keeping of versions.
    pub versioning: u64,
    /// Give a version tags.
    pub tag: u64,
    /// Copy inside a bucket.
    pub copy: u64,
    /// List the versions of a bucket.
    pub list_versions: u64,
    /// Steps of multipart uploads.
    pub multipart: u64,
    /// Read an object.
    pub get: u64,
    /// List a bucket.
    pub list: u64,
    /// Create a bucket.
    pub create_bucket: u64,
    /// Delete a bucket.
    pub delete_bucket: u64,
}

/// What is drawn once a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// What its fields mean, [`Plan::VERSION`].
    pub version: u32,
    /// The seed.
    pub seed: u64,
    /// The scenario.
    pub scenario: Scenario,
    /// How often the node starts, works and stops.
    pub rounds: u64,
    /// Operations in each round, at most.
    pub operations: u64,
    /// Clients that work at the same time.
    pub clients: u64,
    /// Bucket names in play.
    pub buckets: u64,
    /// Keys in play in each bucket.
    pub keys: u64,
    /// The operations.
    pub mix: Mix,
    /// Bytes of a log segment.
    pub segment_bytes: u64,
    /// Records in a batch.
    pub batch_records: usize,
    /// Bytes in a batch.
    pub batch_bytes: usize,
    /// Bytes of a pack.
    pub pack_bytes: u64,
    /// Content bytes in an extent.
    pub extent_bytes: u32,
    /// The largest content that lies in its record.
    pub inline_max: u64,
    /// The largest body, save for the rare part that must be large.
    pub body_max: u64,
    /// Percent of crashes that cut the power.
    pub power_cut_percent: u64,
    /// Percent of recoveries that a crash interrupts.
    pub crash_in_recovery_percent: u64,
    /// Percent of rounds that end with a clean stop.
    pub clean_stop_percent: u64,
    /// Percent of starts that find no projections.
    pub lost_projections_percent: u64,
    /// How long versions that were deleted or replaced are kept, in milliseconds; none for ever.
    pub history_millis: Option<u64>,
    /// One operation in so many comes with a jump of the wall clock; 0 for never.
    pub clock_jump_one_in: u64,
    /// One sync in so many is slow; 0 for never.
    pub slow_sync_one_in: u64,
    /// One read in so many is slow; 0 for never.
    pub slow_read_one_in: u64,
    /// Percent of requests, and of answers, that the network loses.
    pub lost_percent: u64,
    /// One operation in so many begins a time in which its client reaches nobody; 0 for never.
    pub partition_one_in: u64,
    /// The longest time that a request, and an answer, is under way, in milliseconds; 0 for none.
    pub delay_millis: u64,
    /// How long clients wait for an answer, in milliseconds; 0 for ever. Their request goes on without them.
    pub patience_millis: u64,
    /// One operation in so many begins a time in which answers reach its client no more, though its requests arrive; 0
    /// for never.
    pub deaf_one_in: u64,
    /// One operation in so many comes with a pause of the whole node (SIGSTOP); 0 for never.
    pub pause_one_in: u64,
    /// Percent of records that are written in the first schema of their event, where that can say them.
    pub first_schema_percent: u64,
    /// One sync in so many fails; 0 for never.
    pub failed_sync_one_in: u64,
    /// One write in so many fails; 0 for never.
    pub failed_write_one_in: u64,
    /// Where readers are lied to: one read in so many fails, and would succeed if it were asked again; 0 for never.
    pub failed_read_one_in: u64,
    /// Where readers are lied to: one read in so many gives what was there before a write; 0 for never.
    pub stale_read_one_in: u64,
    /// One submission in so many is refused for want of space, whatever it is for; 0 for never.
    pub refused_one_in: u64,
    /// Bytes of the volume.
    pub capacity: u64,
    /// Bytes that the allocation of segments and packs leaves free.
    pub leave_free: u64,
}

impl Plan {
    /// Raised with every change of what a plan's fields mean, or of what is drawn after it.
    pub const VERSION: u32 = 2;

    /// Plans that do less: half of something, or one class of operations or faults fewer.
    #[must_use]
    pub fn smaller(&self) -> Vec<Self> {
        let mut plans = Vec::new();
        let mut with = |change: fn(&mut Self)| {
            let mut plan = self.clone();
            change(&mut plan);
            if format!("{plan:?}") != format!("{self:?}") {
                plans.push(plan);
            }
        };
        with(|plan| plan.rounds = plan.rounds.div_ceil(2));
        with(|plan| plan.operations = plan.operations.div_ceil(2));
        with(|plan| plan.clients = plan.clients.div_ceil(2));
        with(|plan| plan.buckets = plan.buckets.div_ceil(2));
        with(|plan| plan.keys = plan.keys.div_ceil(2));
        with(|plan| plan.mix.delete = 0);
        with(|plan| plan.mix.delete_many = 0);
        with(|plan| plan.mix.versioning = 0);
        with(|plan| plan.mix.tag = 0);
        with(|plan| plan.mix.copy = 0);
        with(|plan| plan.mix.list_versions = 0);
        with(|plan| plan.mix.multipart = 0);
        with(|plan| plan.mix.get = 0);
        with(|plan| plan.mix.list = 0);
        with(|plan| plan.mix.delete_bucket = 0);
        with(|plan| plan.history_millis = None);
        with(|plan| plan.clock_jump_one_in = 0);
        with(|plan| plan.slow_sync_one_in = 0);
        with(|plan| plan.slow_read_one_in = 0);
        with(|plan| plan.lost_percent = 0);
        with(|plan| plan.partition_one_in = 0);
        with(|plan| plan.delay_millis = 0);
        with(|plan| plan.patience_millis = 0);
        with(|plan| plan.deaf_one_in = 0);
        with(|plan| plan.pause_one_in = 0);
        with(|plan| plan.first_schema_percent = 0);
        with(|plan| plan.refused_one_in = 0);
        with(|plan| plan.failed_sync_one_in = 0);
        with(|plan| plan.failed_write_one_in = 0);
        with(|plan| plan.failed_read_one_in = 0);
        with(|plan| plan.stale_read_one_in = 0);
        with(|plan| plan.crash_in_recovery_percent = 0);
        with(|plan| plan.lost_projections_percent = 0);
        with(|plan| plan.clean_stop_percent = 0);
        plans
    }

    /// Takes over what another plan says of the network.
    pub fn take_network(&mut self, other: &Self) {
        self.lost_percent = other.lost_percent;
        self.partition_one_in = other.partition_one_in;
        self.delay_millis = other.delay_millis;
        self.patience_millis = other.patience_millis;
        self.deaf_one_in = other.deaf_one_in;
        self.pause_one_in = other.pause_one_in;
    }

    /// Nothing is lost, late or cut off any more.
    pub fn heal_network(&mut self) {
        (self.lost_percent, self.partition_one_in, self.delay_millis) = (0, 0, 0);
        (self.patience_millis, self.deaf_one_in, self.pause_one_in) = (0, 0, 0);
    }

    /// Reads a plan, or the plan that a trace begins with.
    pub fn parse(text: &str) -> Result<Self, String> {
        let first = text.lines().next().unwrap_or_default();
        let value: serde_json::Value =
            serde_json::from_str(first).map_err(|error| format!("neither a plan nor a trace: {error}"))?;
        let mut value = value;
        if value["e"] == "plan"
            && let Some(fields) = value.as_object_mut()
        {
            for field in ["n", "t", "e"] {
                fields.remove(field);
            }
        }
        match value["version"].as_u64() {
            Some(version) if version == u64::from(Self::VERSION) => {}
            Some(version) => {
                return Err(format!("of version {version}; this program has version {}", Self::VERSION));
            }
            None => return Err("neither a plan nor a trace: it has no version".to_owned()),
        }
        serde_json::from_value(value).map_err(|error| format!("not a plan of this version: {error}"))
    }

    /// Draws the plan of a seed.
    pub fn draw(seed: u64, scenario: Scenario) -> Self {
        let mut random = Random::new(seed, "plan");
        let mut plan = Self::base(seed, scenario, &mut random);
        match scenario {
            Scenario::CrashRecovery => {}
            Scenario::FailedFsync => {
                plan.failed_sync_one_in = random.between(8, 60);
                plan.failed_write_one_in = if random.coin() { random.between(30, 200) } else { 0 };
                plan.power_cut_percent = 70;
            }
            Scenario::DiskRot => {
                plan.rounds = random.between(2, 3);
                plan.segment_bytes = 1024 * random.between(16, 40);
                plan.mix.create_bucket = 2;
                plan.mix.delete_bucket = 0;
            }
            Scenario::LyingDisk => {
                plan.rounds = random.between(2, 4);
                plan.segment_bytes = 1024 * random.between(16, 40);
                plan.failed_read_one_in = random.between(10, 100);
                plan.stale_read_one_in = random.between(5, 50);
            }
            Scenario::SlowNetwork => {
                plan.clients = random.between(2, 8);
                plan.delay_millis = random.between(1, 40);
                let patience = plan.delay_millis * random.between(1, 8) + random.between(5, 20);
                plan.patience_millis = if random.percent(80) { patience } else { 0 };
                plan.deaf_one_in = if random.coin() { random.between(20, 200) } else { 0 };
                plan.pause_one_in = if random.coin() { random.between(20, 200) } else { 0 };
                plan.first_schema_percent = if random.coin() { random.between(10, 100) } else { 0 };
            }
            Scenario::FullDisk => {
                plan.rounds = random.between(1, 3);
                plan.capacity =
                    plan.segment_bytes * random.between(6, 14) + plan.pack_bytes * random.between(2, 4);
                plan.mix.delete = 8;
                // The halves of creating and deleting buckets meet the full volume.
                if random.coin() {
                    (plan.mix.create_bucket, plan.mix.delete_bucket) = (12, 12);
                    plan.buckets = random.between(2, 6);
                    plan.keys = random.between(1, 3);
                }
                if random.coin() {
                    plan.leave_free = plan.segment_bytes * random.between(1, 4);
                    plan.capacity += plan.leave_free;
                }
            }
            Scenario::BucketProtocol => {
                plan.buckets = random.between(1, 3);
                plan.keys = random.between(1, 2);
                plan.operations = random.between(4, 30);
                plan.rounds = random.between(4, 10);
                plan.clean_stop_percent = 5;
                plan.refused_one_in = if random.coin() { random.between(3, 20) } else { 0 };
                plan.mix.create_bucket = 20;
                plan.mix.delete_bucket = 20;
                plan.mix.put = 5;
                plan.mix.delete = 8;
                plan.mix.multipart = 3;
            }
        }
        plan
    }

    fn base(seed: u64, scenario: Scenario, random: &mut Random) -> Self {
        // Swarm: each class of operations and faults is off in some of the runs, so that the others meet undisturbed.
        let some =
            |random: &mut Random, most: u64| if random.percent(75) { random.between(1, most) } else { 0 };
        let mix = Mix {
            put: random.between(5, 20),
            delete: some(random, 6),
            delete_many: some(random, 2),
            versioning: some(random, 3),
            tag: some(random, 3),
            copy: some(random, 6),
            list_versions: some(random, 3),
            multipart: some(random, 12),
            get: some(random, 8),
            list: some(random, 3),
            create_bucket: random.between(1, 3),
            delete_bucket: some(random, 2),
        };
        let extent_bytes = 1024 * 64 * u32::try_from(random.between(1, 4)).unwrap_or(1);
        let inline_max = 1 << random.between(6, 13);
        Self {
            version: Self::VERSION,
            seed,
            scenario,
            rounds: random.between(1, 6),
            operations: random.between(10, 80),
            clients: random.between(1, 8),
            buckets: random.between(1, 4),
            keys: random.between(1, 12),
            mix,
            segment_bytes: 1024 * random.between(16, 96),
            batch_records: sized(random.between(1, 32)),
            batch_bytes: sized(1024 * random.between(4, 64)),
            pack_bytes: 1024 * (random.between(300, 1500) / 4 * 4),
            extent_bytes,
            inline_max,
            body_max: if random.percent(80) { inline_max * 3 } else { 600_000 },
            power_cut_percent: *random.pick(&[0, 50, 100]).unwrap_or(&50),
            crash_in_recovery_percent: if random.coin() { random.between(10, 60) } else { 0 },
            clean_stop_percent: random.between(0, 30),
            lost_projections_percent: if random.coin() { random.between(5, 50) } else { 0 },
            // A round takes about a tenth of a second: some windows end while what left them is still read.
            history_millis: *random.pick(&[None, Some(2), Some(20), Some(200)]).unwrap_or(&None),
            clock_jump_one_in: if random.coin() { random.between(5, 50) } else { 0 },
            slow_sync_one_in: if random.coin() { random.between(10, 200) } else { 0 },
            slow_read_one_in: if random.coin() { random.between(3, 30) } else { 0 },
            lost_percent: if random.coin() { random.between(1, 10) } else { 0 },
            partition_one_in: if random.coin() { random.between(20, 200) } else { 0 },
            delay_millis: 0,
            patience_millis: 0,
            deaf_one_in: 0,
            pause_one_in: 0,
            first_schema_percent: 0,
            failed_sync_one_in: 0,
            failed_write_one_in: 0,
            failed_read_one_in: 0,
            stale_read_one_in: 0,
            refused_one_in: 0,
            capacity: 1 << 40,
            leave_free: 0,
        }
    }

    /// The disk's options while the node works.
    pub fn disk_options(&self) -> DiskOptions {
        DiskOptions {
            capacity: self.capacity,
            slow_sync_one_in: self.slow_sync_one_in,
            slow_read_one_in: self.slow_read_one_in,
            failed_sync_one_in: self.failed_sync_one_in,
            failed_write_one_in: self.failed_write_one_in,
            ..DiskOptions::default()
        }
    }
}

fn sized(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}
