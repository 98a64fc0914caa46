//! Where a range of the log begins or ends: at a position, or at a moment.

use crate::config::value::SettingValue;
use clap::Args;
use siltstone_log::host::Clock;
use siltstone_log::host::real::RealClock;
use siltstone_log::record::Record;
use std::time::Duration;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, OffsetDateTime, Time};

/// A position, or a moment by the clock that the records were stamped with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// A position in the log.
    Position(u64),
    /// Milliseconds since 1970.
    Moment(u64),
}

impl Bound {
    /// Reads `17`, `2026-11-20T08:00:00Z`, `2026-11-20` (midnight UTC), or `2h ago`.
    pub fn parse(text: &str) -> Result<Self, String> {
        Self::at(text, RealClock::default().wall_millis())
    }

    /// As [`Bound::parse`], at a moment.
    fn at(text: &str, now: u64) -> Result<Self, String> {
        if let Ok(position) = text.parse() {
            return Ok(Self::Position(position));
        }
        if let Some(age) = text.strip_suffix("ago") {
            let age = Duration::parse(age).map_err(|error| error.to_string())?;
            let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
            return Ok(Self::Moment(now.saturating_sub(age)));
        }
        let day = format_description!("[year]-[month]-[day]");
        let midnight = Date::parse(text, day).map(|date| date.with_time(Time::MIDNIGHT).assume_utc());
        let moment = OffsetDateTime::parse(text, &Rfc3339).or(midnight).map_err(|_| {
            "it is no position and no time; write for example 17, 2026-11-20T08:00:00Z, 2026-11-20 or `2h ago`"
        })?;
        let millis = u64::try_from(moment.unix_timestamp_nanos() / 1_000_000);
        millis.map(Self::Moment).map_err(|_| "times before 1970 are in no log".to_owned())
    }

    /// Where to begin to read for what lies at or behind this: the beginning for a moment, whose position is not known.
    pub fn first_position(self) -> u64 {
        match self {
            Self::Position(position) => position,
            Self::Moment(_) => 1,
        }
    }

    /// Whether a record lies before this.
    pub fn is_behind(self, record: &Record) -> bool {
        match self {
            Self::Position(position) => record.place.position.get() < position,
            Self::Moment(millis) => record.hlc.millis() < millis,
        }
    }

    /// Whether a record lies behind this.
    pub fn is_before(self, record: &Record) -> bool {
        match self {
            Self::Position(position) => record.place.position.get() > position,
            Self::Moment(millis) => record.hlc.millis() > millis,
        }
    }
}

/// A range of the log, both ends included.
#[derive(Debug, Clone, Copy, Args)]
pub struct Range {
    /// The first position, or a time: 2026-11-20T08:00:00Z, 2026-11-20, '2h ago'
    #[arg(long, default_value = "1", value_name = "POSITION|TIME", value_parser = Bound::parse)]
    pub from: Bound,
    /// The last position, or a time
    #[arg(long, value_name = "POSITION|TIME", value_parser = Bound::parse)]
    pub to: Option<Bound>,
}

impl Range {
    /// Everything from a bound on.
    pub fn from(from: Bound) -> Self {
        Self { from, to: None }
    }

    /// Whether a record lies in it.
    pub fn contains(&self, record: &Record) -> bool {
        !self.from.is_behind(record) && !self.to.is_some_and(|to| to.is_before(record))
    }

    /// Whether nothing more can come at or behind a position. Moments end nothing: their position is not known.
    pub fn is_past(&self, position: u64) -> bool {
        matches!(self.to, Some(Bound::Position(to)) if position > to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_a_position_a_time_or_an_age() {
        let now = 1_700_000_000_123;
        let at = |text| Bound::at(text, now);
        assert_eq!(at("17"), Ok(Bound::Position(17)));
        for (text, millis) in [
            ("2023-11-14T22:13:20Z", 1_700_000_000_000),
            ("2023-11-14T23:13:20.5+01:00", 1_700_000_000_500),
            ("2023-11-14", 1_699_920_000_000),
            ("2h ago", now - 7_200_000),
            ("90 s ago", now - 90_000),
            ("2d ago", now - 172_800_000),
            ("99999999 d ago", 0),
        ] {
            assert_eq!(at(text), Ok(Bound::Moment(millis)), "{text}");
        }
        for text in ["", "-1", "ago", "2 ago", "yesterday", "2023-11-14T22:13:20", "2023-13-01", "1969-12-31"]
        {
            assert!(at(text).is_err(), "{text}");
        }
    }
}
