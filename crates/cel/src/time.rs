//! Timestamps and durations to the nanosecond, and the parts of a timestamp in a time zone.

use alloc::format;
use alloc::string::String;

use timonier_meta::Time;

pub(crate) const SECOND: i128 = 1_000_000_000;

/// 0001-01-01T00:00:00Z in nanoseconds.
pub(crate) const FIRST: i128 = -62_135_596_800 * SECOND;
/// The last nanosecond of year 9999.
pub(crate) const LAST: i128 = 253_402_300_800 * SECOND - 1;

/// Reads RFC 3339 to the nanosecond.
pub(crate) fn parse_timestamp(text: &str) -> Option<i128> {
    let seconds = i128::from(Time::parse(text)?.unix());
    let fraction = text.split_once('.').map_or("", |(_, rest)| rest);
    let digits = fraction.bytes().take_while(u8::is_ascii_digit).take(9);
    let (nanos, scale) = digits.fold((0i128, SECOND), |(n, scale), c| {
        let scale = scale / 10;
        (n + i128::from(c - b'0') * scale, scale)
    });
    debug_assert!(scale >= 1);
    Some(seconds * SECOND + nanos).filter(|t| (FIRST..=LAST).contains(t))
}

/// RFC 3339 with as many digits of a second as there are.
pub(crate) fn format_timestamp(t: i128) -> String {
    let seconds = t.div_euclid(SECOND) as i64;
    let whole = Time::from_unix(seconds).rfc3339();
    match t.rem_euclid(SECOND) {
        0 => whole,
        nanos => {
            let digits = format!("{nanos:09}");
            format!("{}.{}Z", whole.trim_end_matches('Z'), digits.trim_end_matches('0'))
        }
    }
}

/// Go's `time.ParseDuration`, to the nanosecond.
pub(crate) fn parse_duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let digits = |s: &str| s.bytes().take_while(u8::is_ascii_digit).count();
        let (whole, tail) = rest.split_at(digits(rest));
        let (fraction, tail) = match tail.strip_prefix('.') {
            Some(tail) => tail.split_at(digits(tail)),
            None => ("", tail),
        };
        let letters = tail.bytes().take_while(|c| !c.is_ascii_digit() && *c != b'.').count();
        let (unit, tail) = tail.split_at(letters);
        let unit: i128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => SECOND,
            "m" => 60 * SECOND,
            "h" => 3600 * SECOND,
            _ => return None,
        };
        if whole.is_empty() && fraction.is_empty() || whole.len() > 19 {
            return None;
        }
        total += if whole.is_empty() { 0 } else { whole.parse::<i128>().ok()? * unit };
        let mut scale = unit;
        for c in fraction.bytes().take(18) {
            scale /= 10;
            total += i128::from(c - b'0') * scale;
        }
        if total > i128::from(i64::MAX) + 1 {
            return None;
        }
        rest = tail;
    }
    i64::try_from(if negative { -total } else { total }).ok()
}

/// Seconds with an `s`, as cel-go writes durations.
pub(crate) fn format_duration(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let nanos = i128::from(nanos).unsigned_abs();
    let (whole, rest) = (nanos / SECOND as u128, nanos % SECOND as u128);
    if rest == 0 {
        return format!("{sign}{whole}s");
    }
    let digits = format!("{rest:09}");
    format!("{sign}{whole}.{}s", digits.trim_end_matches('0'))
}

/// The parts of a timestamp.
pub(crate) struct Civil {
    pub year: i64,
    /// From 0.
    pub month: i64,
    /// From 0.
    pub day_of_year: i64,
    /// From 1.
    pub day: i64,
    /// Sunday is 0.
    pub day_of_week: i64,
    pub hour: i64,
    pub minute: i64,
    pub second: i64,
    pub millisecond: i64,
}

/// The parts of a timestamp, `offset` seconds east of UTC.
pub(crate) fn civil(t: i128, offset: i64) -> Civil {
    let t = t + i128::from(offset) * SECOND;
    let seconds = t.div_euclid(SECOND) as i64;
    let (year, month, day, hour, minute, second) = Time::from_unix(seconds).civil();
    let days = seconds.div_euclid(86_400);
    let (_, _, _, h, m, s) = (year, month, day, hour, minute, second);
    let first = Time::parse(&format!("{:04}-01-01T00:00:00Z", year.clamp(0, 9999)));
    let first = first.map_or(days, |t| t.unix().div_euclid(86_400));
    Civil {
        year,
        month: month - 1,
        day_of_year: days - first,
        day,
        day_of_week: (days + 4).rem_euclid(7),
        hour: h,
        minute: m,
        second: s,
        millisecond: (t.rem_euclid(SECOND) / 1_000_000) as i64,
    }
}

/// Seconds east of UTC of `UTC`, `+05:30`, `-08:00`. There is no database of zones here.
pub(crate) fn zone_offset(zone: &str) -> Option<i64> {
    if matches!(zone, "" | "UTC" | "Etc/UTC" | "GMT" | "Z") {
        return Some(0);
    }
    let (sign, rest) = match zone.as_bytes()[0] {
        b'-' => (-1, &zone[1..]),
        b'+' => (1, &zone[1..]),
        _ => (1, zone),
    };
    let (hours, minutes) = rest.split_once(':')?;
    let number = |s: &str| {
        let plain = (1..=2).contains(&s.len()) && s.bytes().all(|c| c.is_ascii_digit());
        plain.then(|| s.parse::<i64>().ok()).flatten()
    };
    Some(sign * (number(hours)? * 3600 + number(minutes)? * 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps() {
        let t = parse_timestamp("2009-02-13T23:31:30.123456789Z").unwrap();
        assert_eq!(t, 1_234_567_890_123_456_789);
        assert_eq!(format_timestamp(t), "2009-02-13T23:31:30.123456789Z");
        assert_eq!(format_timestamp(-1), "1969-12-31T23:59:59.999999999Z");
        assert_eq!(parse_timestamp("0001-01-01T00:00:00Z"), Some(FIRST));
        assert_eq!(parse_timestamp("9999-12-31T23:59:59.999999999Z"), Some(LAST));
        assert_eq!(parse_timestamp("0000-01-01T00:00:00Z"), None);
        let c = civil(t, 0);
        assert_eq!((c.year, c.month, c.day, c.day_of_year, c.day_of_week), (2009, 1, 13, 43, 5));
        assert_eq!((c.hour, c.minute, c.second, c.millisecond), (23, 31, 30, 123));
        assert_eq!(civil(t, 3600).day, 14);
    }

    #[test]
    fn durations() {
        for (text, nanos) in [
            ("1.5s", Some(1_500_000_000)),
            ("-1h30m", Some(-5_400_000_000_000)),
            ("100ns", Some(100)),
            (".5s", Some(500_000_000)),
            ("0", Some(0)),
            ("1", None),
            ("s", None),
            ("9999999h", None),
            ("1.2.3s", None),
        ] {
            assert_eq!(parse_duration(text), nanos, "{text}");
        }
        assert_eq!(format_duration(-1_500_000_000), "-1.5s");
        assert_eq!(zone_offset("-08:00"), Some(-28_800));
        assert_eq!(zone_offset("Nowhere/City"), None);
    }
}
