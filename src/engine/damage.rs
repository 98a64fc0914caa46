//! What is found damaged while the node runs. It is logged, counted, and written into `log/QUARANTINE`, so that the next
//! start and `log repair` know of it although recovery does not read sealed segments.

use siltstone_log::host::DiskError;
use siltstone_log::host::real::RealDisk;
use siltstone_log::id::{LogId, Position};
use siltstone_log::script::Script;
use siltstone_log::witness::{QuarantinedRange, Touched, add_range, store_quarantine};
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// Findings kept. A disk that loses more than this needs no longer list.
const MOST: usize = 1024;

#[derive(Debug, Default)]
struct Known {
    ranges: Vec<QuarantinedRange>,
    /// Whether the file lacks some of them.
    unwritten: bool,
}

/// Every range that is known to be unreadable.
#[derive(Debug)]
pub(crate) struct FoundDamage {
    log_id: LogId,
    known: Mutex<Known>,
}

impl FoundDamage {
    /// Begins with what recovery found, which is in the file.
    pub(crate) fn new(log_id: LogId, quarantine: &[QuarantinedRange]) -> Self {
        let known = Known { ranges: quarantine.to_vec(), unwritten: false };
        Self { log_id, known: Mutex::new(known) }
    }

    /// Notes positions that a reader could not read. Their streams go on: their chains do not rest on what was lost, or
    /// recovery would have seen it, and the rows have what it said.
    pub(crate) fn note(&self, first: Position, last: Position, reason: String) {
        self.add(QuarantinedRange { first, last, touched: Touched::Only(BTreeSet::new()), reason });
    }

    /// Notes a range, or the streams that refuse writes for one that is known already.
    pub(crate) fn add(&self, range: QuarantinedRange) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let refuses = match &range.touched {
            Touched::Only(streams) => !streams.is_empty(),
            Touched::AllExcept(_) => true,
        };
        let before = known.ranges.len();
        // A range that streams refuse writes for is never dropped.
        if before >= MOST && !refuses {
            return;
        }
        let (first, last, reason) = (range.first, range.last, range.reason.clone());
        let more = add_range(&mut known.ranges, range);
        known.unwritten |= more;
        if known.ranges.len() > before {
            tracing::error!(%first, %last, %reason, "records of the log cannot be read; see `siltstone log verify`");
        }
    }

    /// Every range that is known.
    pub(crate) fn ranges(&self) -> Vec<QuarantinedRange> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).ranges.clone()
    }

    /// How many ranges are known.
    pub(crate) fn count(&self) -> u64 {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).ranges.len() as u64
    }

    /// Writes down what is new. Called by one thread.
    pub(crate) fn write_down(&self, disk: &RealDisk) -> Result<(), DiskError> {
        let ranges = {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            if !std::mem::take(&mut known.unwritten) {
                return Ok(());
            }
            known.ranges.clone()
        };
        let log_id = self.log_id;
        let stored = Script::new(move |io| async move { store_quarantine(&io, log_id, &ranges).await });
        stored.run(&mut disk.clone()).inspect_err(|_| {
            self.known.lock().unwrap_or_else(PoisonError::into_inner).unwritten = true;
        })
    }
}
