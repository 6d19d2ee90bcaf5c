//! Times as they stand in rows and on the wire, in whole seconds.
//!
//! Rows write `YYYY-MM-DD HH:MM:SS` in UTC, the wire RFC 3339; both are read. Missing, unparsable and the epoch itself
//! are the same thing: no time at all (merging.md, "Times"), which is why every use is an `Option<RowTime>`.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use time::format_description::well_known::Rfc3339;
use time::{Date, Month, OffsetDateTime, PrimitiveDateTime, Time};

/// What stands where a time is demanded and none is known; a peer would fill a missing one with its own now.
pub const UNKNOWN_TIME: &str = "1970-01-01 00:00:00";

/// Milliseconds in one second.
pub const MS_PER_S: i64 = 1_000;

/// A point in time in whole seconds since the Unix epoch, never the epoch itself.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowTime(i64);

impl RowTime {
    /// Takes seconds since the Unix epoch; the epoch itself means "not known".
    #[must_use]
    pub fn from_unix_s(seconds: i64) -> Option<Self> {
        (seconds != 0 && OffsetDateTime::from_unix_timestamp(seconds).is_ok()).then_some(Self(seconds))
    }

    /// Takes milliseconds since the Unix epoch, cut to the second.
    #[must_use]
    pub fn from_unix_ms(ms: i64) -> Option<Self> {
        Self::from_unix_s(ms.div_euclid(MS_PER_S))
    }

    /// Reads either text form.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let seconds = parse_row(text)
            .or_else(|| OffsetDateTime::parse(text, &Rfc3339).ok().map(OffsetDateTime::unix_timestamp))
            .or_else(|| parse_row(&text.replacen('T', " ", 1)))?;
        Self::from_unix_s(seconds)
    }

    /// Returns seconds since the Unix epoch.
    #[must_use]
    pub fn unix_s(self) -> i64 {
        self.0
    }

    /// Returns the time `seconds` later.
    #[must_use]
    pub fn plus_s(self, seconds: i64) -> Self {
        Self::from_unix_s(self.0.saturating_add(seconds)).unwrap_or(self)
    }

    /// Writes RFC 3339 in UTC, as status output and lease columns have it.
    #[must_use]
    pub fn rfc3339(self) -> String {
        let text = self.to_string();
        format!("{}T{}Z", &text[..10], &text[11..])
    }
}

/// Writes a row's text for a time that may be unknown.
#[must_use]
pub fn row_text(time: Option<RowTime>) -> String {
    time.map_or_else(|| UNKNOWN_TIME.to_owned(), |time| time.to_string())
}

/// Writes milliseconds since the epoch as RFC 3339 in UTC, cut to the second.
#[must_use]
pub fn rfc3339_from_ms(ms: i64) -> String {
    RowTime::from_unix_ms(ms).map_or_else(|| "1970-01-01T00:00:00Z".to_owned(), RowTime::rfc3339)
}

fn parse_row(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let shape = bytes.len() == 19
        && [(4, b'-'), (7, b'-'), (10, b' '), (13, b':'), (16, b':')].iter().all(|&(at, byte)| bytes[at] == byte)
        && bytes.iter().enumerate().all(|(at, byte)| matches!(at, 4 | 7 | 10 | 13 | 16) || byte.is_ascii_digit());
    if !shape {
        return None;
    }
    let number = |from: usize, to: usize| text[from..to].parse::<u16>().ok();
    let small = |from: usize| number(from, from + 2).and_then(|n| u8::try_from(n).ok());
    let month = Month::try_from(small(5)?).ok()?;
    let date = Date::from_calendar_date(i32::from(number(0, 4)?), month, small(8)?).ok()?;
    let time = Time::from_hms(small(11)?, small(14)?, small(17)?).ok()?;
    Some(PrimitiveDateTime::new(date, time).assume_utc().unix_timestamp())
}

impl fmt::Display for RowTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = OffsetDateTime::from_unix_timestamp(self.0).map_err(|_| fmt::Error)?;
        let (date, time) = (at.date(), at.time());
        let (month, day) = (u8::from(date.month()), date.day());
        let (hour, minute, second) = (time.hour(), time.minute(), time.second());
        let Some(year) = u16::try_from(date.year()).ok().filter(|&year| year < 10_000) else {
            return write!(f, "{:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}", date.year());
        };
        // Digit by digit it takes a fifth of what a format does, and every row has some.
        let mut text = *b"0000-00-00 00:00:00";
        let digit = |number: u16| b"0123456789"[usize::from(number % 10)];
        let parts = [month, day, hour, minute, second].map(u16::from);
        let parts = [year / 100, year % 100].into_iter().chain(parts);
        for (place, part) in [0, 2, 5, 8, 11, 14, 17].into_iter().zip(parts) {
            (text[place], text[place + 1]) = (digit(part / 10), digit(part));
        }
        f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for RowTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for RowTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RowTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("a time is YYYY-MM-DD HH:MM:SS or RFC 3339"))
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_written_with_all_its_digits() {
        let text = |seconds: i64| RowTime::from_unix_s(seconds).unwrap().to_string();
        assert_eq!(text(1_790_000_009), "2026-09-21 14:13:29");
        assert_eq!(text(-1), "1969-12-31 23:59:59");
        assert_eq!(text(253_402_300_799), "9999-12-31 23:59:59");
        assert_eq!(text(-62_167_219_200), "0000-01-01 00:00:00");
        // No clock says so; it is written all the same.
        assert_eq!(text(-62_167_219_201), "-001-12-31 23:59:59");
    }

    #[test]
    fn both_forms_are_one_instant() {
        let row = RowTime::parse("2026-11-22 14:02:49").unwrap();
        assert_eq!(RowTime::parse("2026-11-22T14:02:49Z"), Some(row));
        assert_eq!(RowTime::parse("2026-11-22T15:02:49.987+01:00"), Some(row));
        assert_eq!(RowTime::parse("2026-11-22T14:02:49"), Some(row));
        assert_eq!(row.to_string(), "2026-11-22 14:02:49");
        assert_eq!(row.rfc3339(), "2026-11-22T14:02:49Z");
    }

    #[test]
    fn unknown_times_are_no_times() {
        for text in ["", "yesterday", UNKNOWN_TIME, "1970-01-01T00:00:00Z", "2026-13-01 00:00:00", "2026-1-1 00:00:0é"]
        {
            assert_eq!(RowTime::parse(text), None, "{text}");
        }
        assert_eq!(row_text(None), UNKNOWN_TIME);
    }
}
