//! Operations on the service as a whole.

mod list_buckets;

pub(super) use list_buckets::list_buckets;
