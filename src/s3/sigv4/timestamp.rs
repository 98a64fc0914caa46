use time::format_description::well_known::Rfc2822;
use time::{Date, Month, OffsetDateTime, PrimitiveDateTime, Time};

/// A request's time, and its text as signatures contain it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timestamp {
    text: String,
    seconds: i64,
}

impl Timestamp {
    /// Reads `20130524T000000Z`.
    pub fn parse_basic(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        if bytes.len() != 16 || bytes.get(8) != Some(&b'T') || bytes.get(15) != Some(&b'Z') {
            return None;
        }
        let number = |range: std::ops::Range<usize>| -> Option<u16> {
            let digits = text.get(range)?;
            digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
        };
        let small = |range| number(range).and_then(|number| u8::try_from(number).ok());
        let month = Month::try_from(small(4..6)?).ok()?;
        let date = Date::from_calendar_date(i32::from(number(0..4)?), month, small(6..8)?).ok()?;
        let time = Time::from_hms(small(9..11)?, small(11..13)?, small(13..15)?).ok()?;
        let seconds = PrimitiveDateTime::new(date, time).assume_utc().unix_timestamp();
        Some(Self { text: text.to_owned(), seconds })
    }

    /// Reads a `Date` header, in HTTP's form or the basic one.
    pub fn parse_date_header(text: &str) -> Option<Self> {
        Self::parse_basic(text).or_else(|| {
            let date = OffsetDateTime::parse(text, &Rfc2822).ok()?;
            Self::parse_basic(&basic(date.to_offset(time::UtcOffset::UTC)))
        })
    }

    /// The instant that many seconds after the Unix epoch, if its year has four digits.
    pub fn from_seconds(seconds: i64) -> Option<Self> {
        Self::parse_basic(&basic(OffsetDateTime::from_unix_timestamp(seconds).ok()?))
    }

    /// The text that is signed.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The day, `20130524`.
    pub fn day(&self) -> &str {
        self.text.get(..8).unwrap_or_default()
    }

    /// Seconds since the Unix epoch.
    pub fn seconds(&self) -> i64 {
        self.seconds
    }
}

fn basic(time: OffsetDateTime) -> String {
    let (year, month, day) = time.to_calendar_date();
    let (hour, minute, second) = time.to_hms();
    format!("{year:04}{:02}{day:02}T{hour:02}{minute:02}{second:02}Z", u8::from(month))
}
