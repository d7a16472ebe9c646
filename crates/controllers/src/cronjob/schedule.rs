//! Schedules in the form of cron, by the clocks of a time zone. As upstream's parser has it, a time
//! that the clocks skip is skipped, and one that they show twice comes twice.

use timonier_meta::{Duration, Time, Zone};

/// The minutes, hours, days, months and weekdays of a schedule, as bits.
#[derive(Clone, Debug)]
pub struct Schedule {
    zone: Zone,
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// `@every` with a span instead.
    every: Option<Duration>,
    /// Day and weekday both restrict: then either suffices.
    either_day: bool,
}

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// No schedule is searched further ahead than this: the 29th of February comes within it.
const HORIZON_DAYS: i64 = 366 * 8;

impl Schedule {
    /// Reads five fields, or a name such as `@daily`. `None` where upstream refuses it.
    pub fn parse(text: &str, zone: Zone) -> Option<Self> {
        let text = text.trim();
        if let Some(span) = text.strip_prefix("@every ") {
            let span = timonier_meta::time::parse_go_duration(span.trim())?;
            let whole = Duration::from_secs(span.as_secs().max(1));
            return Some(Schedule { every: Some(whole), ..Self::parse("* * * * *", zone)? });
        }
        let text = match text {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            other => other,
        };
        let mut fields = text.split_ascii_whitespace();
        let minutes = field(fields.next()?, 0, 59, &[])?;
        let hours = field(fields.next()?, 0, 23, &[])?;
        let (day, month, weekday) = (fields.next()?, fields.next()?, fields.next()?);
        if fields.next().is_some() {
            return None;
        }
        let free = |f: &str| f.starts_with('*') || f.starts_with('?');
        let mut weekdays = field(weekday, 0, 7, &DAYS)?;
        if weekdays & 1 << 7 != 0 {
            weekdays = (weekdays | 1) & 0x7f;
        }
        Some(Schedule {
            zone,
            minutes,
            hours,
            days: field(day, 1, 31, &[])?,
            months: field(month, 1, 12, &MONTHS)?,
            weekdays,
            every: None,
            either_day: !free(day) && !free(weekday),
        })
    }

    /// The first time after this one.
    pub fn after(&self, time: Time) -> Option<Time> {
        if let Some(every) = self.every {
            return Some(Time::from_unix(time.unix()) + every);
        }
        self.search(time, Time::from_unix(time.unix() + HORIZON_DAYS * 86_400))
    }

    /// The last time up to this one, within the last days.
    pub fn last_before(&self, time: Time) -> Option<Time> {
        if self.every.is_some() {
            return None;
        }
        // Windows ever further back, for a search runs forwards.
        let mut days = 1;
        while days <= HORIZON_DAYS {
            let mut last = None;
            let mut at = Time::from_unix(time.unix() - days * 86_400);
            while let Some(next) = self.search(at, time) {
                last = Some(next);
                at = next;
            }
            if last.is_some() {
                return last;
            }
            days *= 4;
        }
        None
    }

    /// The first time after `from`, up to `to`. From one change of the zone's offset to the next
    /// the clocks run evenly.
    fn search(&self, from: Time, to: Time) -> Option<Time> {
        let mut first = from.unix().div_euclid(60) + 1;
        let to = to.unix().div_euclid(60);
        while first <= to {
            let at = Time::from_unix(first * 60);
            let offset = self.zone.offset(at).as_secs().div_euclid(60);
            // A change within a minute (there were such, long ago) counts from the next one.
            let change = self.zone.next_change(at).map(|t| (t.unix() + 59).div_euclid(60));
            let end = change.map_or(to, |change| to.min(change.max(first + 1) - 1));
            if let Some(minute) = self.shown(first + offset, end + offset) {
                return Some(Time::from_unix((minute - offset) * 60));
            }
            first = end + 1;
        }
        None
    }

    /// The first of the minutes that the clocks show from one to another, counted from the epoch.
    fn shown(&self, first: i64, last: i64) -> Option<i64> {
        let (first_day, last_day) = (first.div_euclid(1440), last.div_euclid(1440));
        for day in (first_day..=last_day).filter(|day| self.has_day(*day)) {
            let from = if day == first_day { first.rem_euclid(1440) } else { 0 };
            let to = if day == last_day { last.rem_euclid(1440) } else { 1439 };
            if let Some(minute) = (from..=to).find(|m| self.has_minute(*m)) {
                return Some(day * 1440 + minute);
            }
        }
        None
    }

    fn has_minute(&self, of_day: i64) -> bool {
        self.hours >> (of_day / 60) & 1 == 1 && self.minutes >> (of_day % 60) & 1 == 1
    }

    /// Whether a day since the epoch is one of the schedule's.
    fn has_day(&self, day: i64) -> bool {
        let (_, month, of_month, ..) = Time::from_unix(day * 86_400).civil();
        // The epoch was a Thursday.
        let weekday = (day + 4).rem_euclid(7);
        let (by_day, by_weekday) =
            (self.days >> of_month & 1 == 1, self.weekdays >> weekday & 1 == 1);
        let day = if self.either_day { by_day || by_weekday } else { by_day && by_weekday };
        self.months >> month & 1 == 1 && day
    }
}

/// The bits of one field: `*`, `a`, `a-b`, `a/n`, `a-b/n`, and lists of them.
fn field(text: &str, low: u32, high: u32, names: &[&str]) -> Option<u64> {
    let number = |t: &str| -> Option<u32> {
        let name = names.iter().position(|n| n.eq_ignore_ascii_case(t));
        let n = match name {
            // Months count from one, weekdays from zero.
            Some(i) => u32::try_from(i).ok()? + u32::from(names.len() == 12),
            None => t.parse().ok()?,
        };
        (low..=high).contains(&n).then_some(n)
    };
    let mut bits = 0;
    for part in text.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, step.parse().ok().filter(|n| *n > 0)?),
            None => (part, 1u32),
        };
        let (from, to) = match range.split_once('-') {
            _ if range == "*" || range == "?" => (low, if high == 7 { 6 } else { high }),
            Some((from, to)) => (number(from)?, number(to)?),
            None if part.contains('/') => (number(range)?, high),
            None => (number(range)?, number(range)?),
        };
        if from > to {
            return None;
        }
        for n in (from..=to).step_by(usize::try_from(step).ok()?) {
            bits |= 1 << n;
        }
    }
    Some(bits)
}

#[cfg(test)]
mod tests {
    use alloc::string::String;

    use super::*;

    fn next(schedule: &str, from: &str) -> String {
        Schedule::parse(schedule, Zone::utc())
            .unwrap()
            .after(Time::parse(from).unwrap())
            .unwrap()
            .rfc3339()
    }

    #[test]
    fn the_next_time_is_found() {
        let from = "2026-01-01T00:59:30Z";
        for (schedule, at) in [
            ("* * * * *", "2026-01-01T01:00:00Z"),
            ("*/15 3-5 * * *", "2026-01-01T03:00:00Z"),
            ("0 0 29 2 *", "2028-02-29T00:00:00Z"),
            ("30 6 * * mon", "2026-01-05T06:30:00Z"),
            ("0 0 15 * 5", "2026-01-02T00:00:00Z"),
            ("0 0 1 jan,jul *", "2026-07-01T00:00:00Z"),
            ("0 12 * * 7", "2026-01-04T12:00:00Z"),
            ("@hourly", "2026-01-01T01:00:00Z"),
            ("@every 90s", "2026-01-01T01:01:00Z"),
        ] {
            assert_eq!(next(schedule, from), at, "{schedule}");
        }
    }

    #[test]
    fn bad_schedules_are_refused() {
        for bad in
            ["", "* * * *", "60 * * * *", "* * * * * *", "5-1 * * * *", "*/0 * * * *", "x * * * *"]
        {
            assert!(Schedule::parse(bad, Zone::utc()).is_none(), "{bad}");
        }
        assert_eq!(Schedule::parse("0 0 31 2 *", Zone::utc()).unwrap().after(Time(0)), None);
    }

    #[test]
    fn the_last_time_is_found() {
        for (schedule, at) in [
            ("0 6 * * *", "2026-01-01T06:00:00Z"),
            ("0 0 1 3 *", "2025-03-01T00:00:00Z"),
            ("*/5 * * * *", "2026-01-02T05:00:00Z"),
        ] {
            let schedule = Schedule::parse(schedule, Zone::utc()).unwrap();
            let last = schedule.last_before(Time::parse("2026-01-02T05:00:00Z").unwrap()).unwrap();
            assert_eq!(last.rfc3339(), at);
        }
    }

    #[test]
    fn clocks_of_a_zone_decide() {
        let after = |schedule: &str, from: &str| {
            let zone = Zone::named("America/New_York").unwrap();
            let schedule = Schedule::parse(schedule, zone).unwrap();
            schedule.after(Time::parse(from).unwrap()).unwrap().rfc3339()
        };
        assert_eq!(after("0 9 * * *", "2026-01-01T00:00:00Z"), "2026-01-01T14:00:00Z");
        assert_eq!(after("0 9 * * *", "2026-07-01T00:00:00Z"), "2026-07-01T13:00:00Z");
        // On the 8th of March 2026 the clocks go from 2:00 to 3:00, on the 1st of November back.
        assert_eq!(after("30 2 * * *", "2026-03-08T00:00:00-05:00"), "2026-03-09T06:30:00Z");
        let first = after("30 1 * * *", "2026-11-01T00:00:00-04:00");
        assert_eq!(first, "2026-11-01T05:30:00Z");
        assert_eq!(after("30 1 * * *", &first), "2026-11-01T06:30:00Z");
        assert_eq!(after("0 0 * * 0", "2026-10-31T12:00:00Z"), "2026-11-01T04:00:00Z");
    }
}
