//! Times as people say them: how long ago, and what the clock on the wall showed.

use engram_proto::time::RowTime;

/// Now, and the wall clock's distance from UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    /// Seconds since the Unix epoch.
    pub(crate) unix_s: i64,
    /// Seconds east of UTC; none where the system does not say.
    pub(crate) offset_s: Option<i32>,
}

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const YEAR: i64 = 365 * DAY;

/// Says a length of time in its largest unit: `12 s`, `3 min`, `5 h`, `8 d`, `2 y`.
pub(crate) fn duration(seconds: i64) -> String {
    match seconds.max(0) {
        s if s < MINUTE => format!("{s} s"),
        s if s < HOUR => format!("{} min", s / MINUTE),
        s if s < 2 * DAY => format!("{} h", s / HOUR),
        s if s < 2 * YEAR => format!("{} d", s / DAY),
        s => format!("{} y", s / YEAR),
    }
}

impl Moment {
    /// Says how old a row's or report's time is; nothing for a time that is none.
    pub(crate) fn age(self, text: &str) -> String {
        RowTime::parse(text).map_or_else(String::new, |at| duration(self.unix_s - at.unix_s()))
    }

    /// Says how long ago it was.
    pub(crate) fn ago(self, text: &str) -> String {
        match RowTime::parse(text).map(|at| self.unix_s - at.unix_s()) {
            None => String::new(),
            Some(seconds) if seconds < 1 => "just now".to_owned(),
            Some(seconds) => format!("{} ago", duration(seconds)),
        }
    }

    /// Says how far ahead it is; nothing for what is over.
    pub(crate) fn ahead(self, text: &str) -> Option<String> {
        let seconds = RowTime::parse(text)?.unix_s() - self.unix_s;
        (seconds > 0).then(|| format!("in {}", duration(seconds)))
    }

    /// Says what the wall clock showed: `14:02` today, `2026-11-21 14:02` before.
    pub(crate) fn clock(self, text: &str) -> String {
        let Some(at) = self.local(text) else { return String::new() };
        let today = self.local_text(self.unix_s).map(|now| now[..10].to_owned());
        let short = if today.as_deref() == Some(&at[..10]) { &at[11..16] } else { &at[..16] };
        format!("{short}{}", self.zone())
    }

    /// Says what date and clock showed, in full.
    pub(crate) fn date(self, text: &str) -> String {
        self.local(text).map_or_else(String::new, |at| format!("{}{}", &at[..16], self.zone()))
    }

    /// Says what the date was.
    pub(crate) fn day(self, text: &str) -> String {
        self.local(text).map_or_else(String::new, |at| at[..10].to_owned())
    }

    /// Says what the wall clock showed to the second, without a date for today.
    pub(crate) fn second(self, text: &str) -> String {
        let Some(at) = self.local(text) else { return String::new() };
        let today = self.local_text(self.unix_s).map(|now| now[..10].to_owned());
        if today.as_deref() == Some(&at[..10]) { at[11..].to_owned() } else { at }
    }

    fn local(self, text: &str) -> Option<String> {
        self.local_text(RowTime::parse(text)?.unix_s())
    }

    fn local_text(self, unix_s: i64) -> Option<String> {
        let offset = i64::from(self.offset_s.unwrap_or_default());
        RowTime::from_unix_s(unix_s + offset).map(|at| at.to_string())
    }

    fn zone(self) -> &'static str {
        if self.offset_s.is_some() { "" } else { " UTC" }
    }
}

#[cfg(test)]
mod tests {
    use crate::render::fixture::VIEW;
    use crate::render::when::{Moment, duration};

    #[test]
    fn lengths_are_said_in_their_largest_unit() {
        let said = [-3, 0, 59, 60, 3_600, 172_799, 172_800, 63_072_000].map(duration);
        assert_eq!(said, ["0 s", "0 s", "59 s", "1 min", "1 h", "47 h", "2 d", "2 y"]);
    }

    #[test]
    fn times_are_relative_to_now_and_here() {
        let now = VIEW.moment;
        assert_eq!(now.ago("2026-11-22T14:29:48Z"), "12 s ago");
        assert_eq!(now.ago("2026-11-22 14:30:00"), "just now");
        assert_eq!(now.ago("2026-11-22 14:31:00"), "just now", "a clock ahead of ours");
        assert_eq!(now.age(""), "");
        assert_eq!(now.ahead("2026-11-22T14:32:00Z").as_deref(), Some("in 2 min"));
        assert_eq!(now.ahead("2026-11-22T14:29:00Z"), None);
        assert_eq!(now.clock("2026-11-22T14:02:49Z"), "14:02");
        assert_eq!(now.clock("2026-11-21T14:02:49Z"), "2026-11-21 14:02");
        assert_eq!(now.second("2026-11-22T14:02:49Z"), "14:02:49");
        let vienna = Moment { offset_s: Some(3_600), ..now };
        assert_eq!(vienna.clock("2026-11-21T23:30:00Z"), "00:30", "today, here");
        let nowhere = Moment { offset_s: None, ..now };
        assert_eq!(nowhere.clock("2026-11-22T14:02:49Z"), "14:02 UTC");
        assert_eq!(nowhere.date("2026-11-22T14:02:49Z"), "2026-11-22 14:02 UTC");
    }
}
