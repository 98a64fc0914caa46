//! The canonical run: one plan, so that each of its crashes has a name.

use crate::fault::{Mix, Plan, Scenario};

/// The run with so many operations of clients. One with fewer does the same things up to its last operation.
///
/// Everything is small, so that segments and packs end often, and nothing fails but the power.
pub fn plan(operations: u64) -> Plan {
    Plan {
        version: Plan::VERSION,
        seed: 2,
        scenario: Scenario::CrashRecovery,
        rounds: 1,
        operations,
        clients: 2,
        buckets: 2,
        keys: 4,
        mix: Mix {
            put: 12,
            delete: 4,
            delete_many: 1,
            versioning: 2,
            tag: 2,
            copy: 4,
            list_versions: 1,
            multipart: 9,
            get: 1,
            list: 1,
            create_bucket: 2,
            delete_bucket: 2,
        },
        segment_bytes: 16 * 1024,
        batch_records: 4,
        batch_bytes: 8 * 1024,
        pack_bytes: 128 * 1024,
        extent_bytes: 16 * 1024,
        inline_max: 256,
        body_max: 20_000,
        power_cut_percent: 100,
        crash_in_recovery_percent: 0,
        clean_stop_percent: 0,
        lost_projections_percent: 0,
        history_millis: Some(20),
        clock_jump_one_in: 0,
        slow_sync_one_in: 0,
        slow_read_one_in: 0,
        lost_percent: 0,
        partition_one_in: 0,
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
