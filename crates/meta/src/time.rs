//! Points in time and spans, as the API writes them: RFC 3339 in UTC, and Go's durations.

use alloc::format;
use alloc::string::String;
use core::fmt;

/// Microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Time(pub i64);

/// A span in microseconds; may be negative.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Duration(pub i64);

impl Duration {
    pub const ZERO: Duration = Duration(0);

    /// A span of whole seconds; the longest span where it would be longer.
    pub const fn from_secs(seconds: i64) -> Self {
        Duration(seconds.saturating_mul(1_000_000))
    }

    /// A span of milliseconds; the longest span where it would be longer.
    pub const fn from_millis(ms: i64) -> Self {
        Duration(ms.saturating_mul(1_000))
    }

    /// Whole seconds, rounded towards zero.
    pub const fn as_secs(self) -> i64 {
        self.0 / 1_000_000
    }

    /// The span for `tokio` and `std`; negative becomes zero.
    pub fn to_core(self) -> core::time::Duration {
        core::time::Duration::from_micros(self.0.max(0) as u64)
    }
}

impl core::ops::Add<Duration> for Time {
    type Output = Time;
    fn add(self, d: Duration) -> Time {
        Time(self.0.saturating_add(d.0))
    }
}

impl core::ops::Sub<Duration> for Time {
    type Output = Time;
    fn sub(self, d: Duration) -> Time {
        Time(self.0.saturating_sub(d.0))
    }
}

impl core::ops::Sub<Time> for Time {
    type Output = Duration;
    fn sub(self, other: Time) -> Duration {
        Duration(self.0.saturating_sub(other.0))
    }
}

impl Time {
    /// A point from seconds since the epoch.
    pub const fn from_unix(seconds: i64) -> Self {
        Time(seconds * 1_000_000)
    }

    /// Seconds since the epoch, rounded down.
    pub const fn unix(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// The form of `metav1.Time`: `2026-11-21T20:28:51Z`.
    pub fn rfc3339(self) -> String {
        let (y, mo, d, h, mi, s) = self.civil();
        format!("{y:04}-{mo:02}-{d:02}T{h:02}:{mi:02}:{s:02}Z")
    }

    /// The form of `metav1.MicroTime`: `2026-11-21T20:28:51.000000Z`.
    pub fn rfc3339_micro(self) -> String {
        let (y, mo, d, h, mi, s) = self.civil();
        let us = self.0.rem_euclid(1_000_000);
        format!("{y:04}-{mo:02}-{d:02}T{h:02}:{mi:02}:{s:02}.{us:06}Z")
    }

    /// Reads RFC 3339 with any offset and up to nanoseconds (cut to microseconds).
    pub fn parse(text: &str) -> Option<Time> {
        let b = text.as_bytes();
        if b.len() < 20 || !text.is_ascii() {
            return None;
        }
        let digits = |from: usize, to: usize| -> Option<i64> {
            let part = &b[from..to];
            if !part.iter().all(u8::is_ascii_digit) {
                return None;
            }
            text[from..to].parse().ok()
        };
        if b[4] != b'-'
            || b[7] != b'-'
            || !matches!(b[10], b'T' | b't')
            || b[13] != b':'
            || b[16] != b':'
        {
            return None;
        }
        let (y, mo, d) = (digits(0, 4)?, digits(5, 7)?, digits(8, 10)?);
        let (h, mi, s) = (digits(11, 13)?, digits(14, 16)?, digits(17, 19)?);
        if !(1..=12).contains(&mo)
            || d < 1
            || d > days_in_month(y, mo)
            || h > 23
            || mi > 59
            || s > 59
        {
            return None;
        }
        let mut rest = &text[19..];
        let mut micros = 0i64;
        if let Some(fraction) = rest.strip_prefix('.') {
            let n = fraction.bytes().take_while(u8::is_ascii_digit).count();
            if n == 0 {
                return None;
            }
            let mut scale = 100_000;
            for c in fraction.bytes().take(n.min(6)) {
                micros += i64::from(c - b'0') * scale;
                scale /= 10;
            }
            rest = &fraction[n..];
        }
        let offset = match rest {
            "Z" | "z" => 0,
            _ => {
                let sign = match rest.as_bytes().first()? {
                    b'+' => 1,
                    b'-' => -1,
                    _ => return None,
                };
                if rest.len() != 6 || rest.as_bytes()[3] != b':' {
                    return None;
                }
                let at = text.len() - rest.len();
                let (oh, om) = (digits(at + 1, at + 3)?, digits(at + 4, at + 6)?);
                if oh > 24 || om > 60 {
                    return None;
                }
                sign * (oh * 3600 + om * 60)
            }
        };
        let seconds = days_from_civil(y, mo, d) * 86_400 + h * 3600 + mi * 60 + s - offset;
        let time = Time(seconds * 1_000_000 + micros);
        // In UTC it may be in a year whose text nobody reads.
        (0..=9999).contains(&time.civil().0).then_some(time)
    }

    /// Year, month, day, hour, minute, second in UTC.
    pub fn civil(self) -> (i64, i64, i64, i64, i64, i64) {
        let seconds = self.unix();
        let days = seconds.div_euclid(86_400);
        let of_day = seconds.rem_euclid(86_400);
        let (y, m, d) = civil_from_days(days);
        (y, m, d, of_day / 3600, of_day / 60 % 60, of_day % 60)
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rfc3339())
    }
}

/// Go's `time.ParseDuration`: `1h30m`, `300ms`, `1.5s`. `None` where Go gives an error.
pub fn parse_go_duration(text: &str) -> Option<Duration> {
    let (negative, mut rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let n = rest.bytes().take_while(|c| c.is_ascii_digit() || *c == b'.').count();
        let (number, tail) = rest.split_at(n);
        let u = tail.bytes().take_while(|c| !c.is_ascii_digit() && *c != b'.').count();
        let (unit, tail) = tail.split_at(u);
        let nanos: i128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() || whole.len() > 18 || fraction.contains('.') {
            return None;
        }
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        total += whole * nanos;
        let mut scale = nanos;
        for c in fraction.bytes() {
            scale /= 10;
            total += i128::from(c - b'0') * scale;
        }
        rest = tail;
    }
    let micros = i64::try_from(total / 1_000).ok()?;
    Some(Duration(if negative { -micros } else { micros }))
}

/// Days since the epoch of a proleptic Gregorian date (Hinnant's algorithm).
fn days_from_civil(y: i64, m: i64, d: i64) -> i64 {
    let y = if m <= 2 { y - 1 } else { y };
    let era = y.div_euclid(400);
    let yoe = y.rem_euclid(400);
    let doy = (153 * ((m + 9) % 12) + 2) / 5 + d - 1;
    let doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    era * 146_097 + doe - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let d = doy - (153 * mp + 2) / 5 + 1;
    let m = if mp < 10 { mp + 3 } else { mp - 9 };
    let y = yoe + era * 400 + i64::from(m <= 2);
    (y, m, d)
}

fn days_in_month(y: i64, m: i64) -> i64 {
    match m {
        2 if y % 4 == 0 && (y % 100 != 0 || y % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_round_trip() {
        for text in [
            "1970-01-01T00:00:00Z",
            "2026-11-21T20:28:51Z",
            "2000-02-29T23:59:59Z",
            "1969-12-31T23:59:59Z",
        ] {
            assert_eq!(Time::parse(text).unwrap().rfc3339(), text);
        }
        assert_eq!(
            Time::parse("2026-11-21T21:28:51.25+01:00").unwrap().rfc3339_micro(),
            "2026-11-21T20:28:51.250000Z"
        );
        for bad in [
            "2026-02-30T00:00:00Z",
            "2026-11-21",
            "2026-11-21T20:28:51",
            "x",
            "2026-11-21T20:28:51.Z",
            "2026-11-21T20:28:51+-1:-5",
            "2026-11-21T20:28:51+25:00",
            "9999-12-31T23:59:59-23:59",
            "0000-01-01T00:00:00+00:01",
        ] {
            assert_eq!(Time::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn go_durations() {
        assert_eq!(parse_go_duration("1h30m"), Some(Duration::from_secs(5400)));
        assert_eq!(parse_go_duration("1.5s"), Some(Duration::from_millis(1500)));
        assert_eq!(parse_go_duration("-300ms"), Some(Duration::from_millis(-300)));
        assert_eq!(parse_go_duration("0"), Some(Duration::ZERO));
        for bad in ["", "1", "1x", "s", "1.2.3s"] {
            assert_eq!(parse_go_duration(bad), None, "{bad}");
        }
    }
}
