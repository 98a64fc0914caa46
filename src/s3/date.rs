//! Times as S3 writes and reads them: ISO 8601 with milliseconds in XML, HTTP dates in headers.

use siltstone_log::hlc::Hlc;
use std::fmt;
use time::{Date, Month, OffsetDateTime, Time};

const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
/// The last second of the year 9999, after which neither form can be written.
const LAST_SECOND: i64 = 253_402_300_799;

fn seconds(instant: Hlc) -> i64 {
    i64::try_from(instant.millis() / 1000).unwrap_or(LAST_SECOND).min(LAST_SECOND)
}

fn utc(instant: Hlc) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(seconds(instant)).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// Shows an instant as `2009-10-12T17:50:30.000Z`.
#[derive(Debug, Clone, Copy)]
pub struct Iso8601(pub Hlc);

impl fmt::Display for Iso8601 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let t = utc(self.0);
        let (year, month, day) = (t.year(), u8::from(t.month()), t.day());
        let (hour, minute, second) = t.to_hms();
        let millis = self.0.millis() % 1000;
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
    }
}

/// Shows an instant as `Mon, 12 Oct 2009 17:50:30 GMT`: `Last-Modified`, to the second.
#[derive(Debug, Clone, Copy)]
pub struct HttpDate(pub Hlc);

impl fmt::Display for HttpDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let t = utc(self.0);
        let day = DAYS.get(usize::from(t.weekday().number_days_from_monday())).copied().unwrap_or_default();
        let month = MONTHS.get(usize::from(u8::from(t.month())) - 1).copied().unwrap_or_default();
        let (hour, minute, second) = t.to_hms();
        write!(f, "{day}, {:02} {month} {:04} {hour:02}:{minute:02}:{second:02} GMT", t.day(), t.year())
    }
}

impl HttpDate {
    /// The Unix second that the shown date names: what a date that a client sends back is compared with.
    pub fn unix_seconds(self) -> i64 {
        seconds(self.0)
    }
}

/// Reads an HTTP date in any of its three forms (RFC 9110, 5.6.7) into Unix seconds; `None` for anything else.
pub fn parse_http_date(text: &str) -> Option<i64> {
    let mut words = [""; 6];
    let mut count = 0;
    for word in text.split([' ', ',', '-']).filter(|word| !word.is_empty()) {
        *words.get_mut(count)? = word;
        count += 1;
    }
    let (
        // Sun, 06 Nov 1994 08:49:37 GMT and Sunday, 06-Nov-94 08:49:37 GMT
        (6, [_, day, month, year, time, "GMT" | "UTC"])
        // Sun Nov  6 08:49:37 1994
        | (5, [_, month, day, time, year, _])
    ) = (count, words)
    else {
        return None;
    };
    let month = MONTHS.iter().position(|name| *name == month)?;
    let month = Month::try_from(u8::try_from(month + 1).ok()?).ok()?;
    let year = match (year.len(), number(year)?) {
        (4, year) => year,
        // Two digits: RFC 850 dates are of this century unless that is far ahead; nobody has sent one since 1999.
        (2, year) if year >= 70 => 1900 + year,
        (2, year) => 2000 + year,
        _ => return None,
    };
    let mut parts = time.split(':');
    let mut part = || u8::try_from(number(parts.next()?)?).ok();
    let time = Time::from_hms(part()?, part()?, part()?).ok()?;
    if parts.next().is_some() {
        return None;
    }
    let date =
        Date::from_calendar_date(i32::try_from(year).ok()?, month, u8::try_from(number(day)?).ok()?).ok()?;
    Some(date.with_time(time).assume_utc().unix_timestamp())
}

fn number(digits: &str) -> Option<u32> {
    (digits.len() <= 4 && digits.bytes().all(|b| b.is_ascii_digit())).then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_instant_is_shown_in_both_forms() {
        let instant = Hlc::from_millis(1_255_369_830_007);
        assert_eq!(Iso8601(instant).to_string(), "2009-10-12T17:50:30.007Z");
        assert_eq!(HttpDate(instant).to_string(), "Mon, 12 Oct 2009 17:50:30 GMT");
        assert_eq!(HttpDate(Hlc(u64::MAX)).to_string(), "Fri, 31 Dec 9999 23:59:59 GMT");
    }

    #[test]
    fn all_three_forms_of_a_date_are_read() {
        for text in
            ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]
        {
            assert_eq!(parse_http_date(text), Some(784_111_777), "{text}");
        }
        for text in [
            "",
            "yesterday",
            "Sun, 06 Nov 1994 08:49:37 CET",
            "Sun, 31 Feb 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 25:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37:01 GMT",
            "Sun, 06 Nov 994 08:49:37 GMT",
            "1994-11-06T08:49:37Z",
        ] {
            assert_eq!(parse_http_date(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_shown_date_is_read_back(seconds in 0i64..LAST_SECOND) {
            let shown = HttpDate(Hlc::from_millis(seconds.unsigned_abs() * 1000));
            // Hlc has 48 bits of milliseconds, which end in the year 10889: every second up to 9999 fits.
            prop_assert_eq!(parse_http_date(&shown.to_string()), Some(seconds));
            prop_assert_eq!(shown.unix_seconds(), seconds);
        }

        #[test]
        fn any_text_is_read_or_refused_without_a_panic(text in "[ ,:A-Za-z0-9-]{0,40}|.{0,20}") {
            let _ = parse_http_date(&text).map(|seconds| assert!(seconds <= LAST_SECOND));
        }
    }
}
