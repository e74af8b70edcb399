//! Time as XAPI writes it, and the pool's own (possibly wrong) clock.

use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// Formats seconds since 1970 as `20260821T02:00:23Z`.
pub(crate) fn format(seconds: i64) -> Arc<str> {
    let time = Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH);
    Arc::from(time.strftime("%Y%m%dT%H:%M:%SZ").to_string())
}

/// Seconds since 1970 of a time in XAPI's own form.
pub(crate) fn seconds(text: &str) -> Option<i64> {
    let date = DateTime::strptime("%Y%m%dT%H:%M:%S", text.trim_end_matches('Z')).ok()?;
    date.to_zoned(TimeZone::UTC).ok().map(|z| z.timestamp().as_second())
}

/// Normalises the forms of a time that clients send: with or without dashes and zone, or seconds since 1970.
pub(crate) fn parse(text: &str) -> Option<Arc<str>> {
    if let Some(known) = seconds(text) {
        return Some(format(known));
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(format(time.as_second()));
    }
    text.trim_end_matches('.').parse().ok().map(format)
}

/// The pool's clock: the machine's, plus a skew that a test may set.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Clock {
    pub(crate) skew_seconds: i64,
}

impl Clock {
    pub(crate) fn now(self) -> i64 {
        Timestamp::now().as_second() + self.skew_seconds
    }

    pub(crate) fn text(self) -> Arc<str> {
        format(self.now())
    }
}
