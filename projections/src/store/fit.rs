//! Whether rows belong to a log, and to a point that it has reached. Every store's owner asks before it goes on from
//! rows that it found.

use super::{Rows, Space, StoreError, meta};
use crate::changes::SpaceMeta;
use crate::follower::cursors;
use crate::rows::SCHEMA;
use siltstone_log::id::{Head, LogId, Position, StreamId};
use siltstone_log::mutants::{Mutant, active};
use siltstone_log::recovery::Recovered;
use siltstone_log::witness::QuarantinedRange;
use std::collections::BTreeMap;
use std::ops::Bound;

/// What the projections are derived from, as recovery found it.
#[derive(Debug, Clone, Copy)]
pub struct LogState<'a> {
    /// The log.
    pub log_id: LogId,
    /// The position its next record gets.
    pub next_position: Position,
    /// The last record of each stream that can be read.
    pub heads: &'a BTreeMap<StreamId, Head>,
    /// What cannot be read.
    pub quarantine: &'a [QuarantinedRange],
}

impl<'a> LogState<'a> {
    /// The state of a log that was recovered.
    pub fn of(log: &'a Recovered) -> Self {
        Self {
            log_id: log.log_id,
            next_position: log.next_position,
            heads: &log.heads,
            quarantine: &log.quarantine,
        }
    }

    /// Whether a stream may have had records, up to a position, that cannot be read any more.
    fn may_have_lost(&self, stream: StreamId, through: Position) -> bool {
        let mut lost = self.quarantine.iter();
        lost.any(|range| range.first <= through && range.touched.contains(stream))
            && !active(Mutant::ForgetLostEnd)
    }
}

/// Checks a space of a store against a log. Rows that remember records which are in quarantine now fit: they hold what
/// was acknowledged, and building them anew would forget it. Rows without anything fit every log.
///
/// [`StoreError::Ahead`] accuses the log, [`StoreError::Damaged`] the rows; [`StoreError::OnlyCopy`] accuses the log of rows
/// that cannot be read.
pub fn check_fit(rows: &dyn Rows, space: Space, log: &LogState<'_>) -> Result<(), StoreError> {
    let damaged = |reason: String| Err(StoreError::Damaged(format!("{space}: {reason}")));
    let found = meta(rows, space)?;
    if found == SpaceMeta::default() {
        let first = rows.range(space, Bound::Unbounded, Bound::Unbounded).next();
        return first.map_or(Ok(()), |_| damaged("rows without their record".to_owned()));
    }
    if found.log_id != log.log_id {
        return damaged(format!("of log {}, not {}", found.log_id, log.log_id));
    }
    if found.schema != SCHEMA {
        return match log.quarantine.iter().map(|range| range.first).min() {
            Some(lost) if lost <= found.applied => Err(StoreError::OnlyCopy { schema: found.schema, lost }),
            Some(_) | None => damaged(format!("schema {}, not {SCHEMA}", found.schema)),
        };
    }
    if found.applied >= log.next_position {
        return Err(StoreError::Ahead(found.applied));
    }
    for cursor in cursors(rows, space) {
        let (stream, cursor) = cursor?;
        let head = log.heads.get(&stream).copied().unwrap_or_default();
        let lost = cursor.seq > head.seq && !log.may_have_lost(stream, found.applied);
        if lost || (cursor.seq == head.seq && cursor.hash != head.hash) {
            return damaged(format!("stream {stream} at record {} is not the log's", cursor.seq));
        }
    }
    Ok(())
}
