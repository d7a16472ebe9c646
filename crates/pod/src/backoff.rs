//! Growing delays: upstream's `flowcontrol.Backoff` for one key.

use alloc::format;
use alloc::string::String;

use timonier_meta::{Duration, Time};

/// The delays of restarts and image pulls: 10 s, doubled up to 5 min.
pub const RESTART: Limits =
    Limits { first: Duration::from_secs(10), last: Duration::from_secs(300) };
/// The delays between attempts to mount volumes.
pub const VOLUMES: Limits =
    Limits { first: Duration::from_millis(500), last: Duration::from_secs(122) };
/// The delays between attempts to create a sandbox.
pub const SANDBOX: Limits = Limits { first: Duration::from_secs(1), last: Duration::from_secs(10) };

/// First and longest delay.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub first: Duration,
    pub last: Duration,
}

/// The delay of one key. Forgotten after twice the longest delay without an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Backoff {
    delay: Duration,
    updated: Option<Time>,
}

impl Backoff {
    /// Notes an event at `at`: the delay starts, doubles, or starts anew after a long quiet time.
    pub fn next(&mut self, limits: Limits, at: Time) {
        self.delay = match self.updated {
            Some(before) if at - before <= Duration(limits.last.0 * 2) => {
                Duration((self.delay.0 * 2).min(limits.last.0))
            }
            _ => limits.first,
        };
        self.updated = Some(at);
    }

    /// The end of the delay that an event at `since` waits for; `None` where it need not wait.
    pub fn until(&self, limits: Limits, since: Time) -> Option<Time> {
        let updated = self.updated?;
        if since - updated > Duration(limits.last.0 * 2) {
            return None;
        }
        Some(since + self.delay)
    }

    /// The present delay.
    pub fn delay(&self) -> Duration {
        self.delay
    }

    /// Starts from nothing.
    pub fn reset(&mut self) {
        *self = Backoff::default();
    }
}

/// A duration as Go prints it: `10s`, `1m20s`, `2h0m0s`, `1.5s`, `300ms`, `0s`.
pub fn go_duration(d: Duration) -> String {
    let us = d.0.unsigned_abs();
    let sign = if d.0 < 0 { "-" } else { "" };
    if us == 0 {
        return "0s".into();
    }
    if us < 1_000 {
        return format!("{sign}{us}µs");
    }
    if us < 1_000_000 {
        return format!("{sign}{}ms", fraction(us, 1_000));
    }
    let (h, m) = (us / 3_600_000_000, us / 60_000_000 % 60);
    let s = fraction(us % 60_000_000, 1_000_000);
    match (h, m) {
        (0, 0) => format!("{sign}{s}s"),
        (0, m) => format!("{sign}{m}m{s}s"),
        (h, m) => format!("{sign}{h}h{m}m{s}s"),
    }
}

fn fraction(n: u64, unit: u64) -> String {
    if n.is_multiple_of(unit) {
        return format!("{}", n / unit);
    }
    let digits = if unit == 1_000 { 3 } else { 6 };
    let text = format!("{}.{:0digits$}", n / unit, n % unit);
    text.trim_end_matches('0').into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_to_the_longest_and_forgets() {
        let mut b = Backoff::default();
        let mut at = Time::from_unix(1000);
        assert_eq!(b.until(RESTART, at), None);
        let mut seen = alloc::vec::Vec::new();
        for _ in 0..7 {
            b.next(RESTART, at);
            seen.push(b.delay().as_secs());
            at = at + b.delay();
        }
        assert_eq!(seen, [10, 20, 40, 80, 160, 300, 300]);
        let later = at + Duration::from_secs(601);
        assert_eq!(b.until(RESTART, later), None);
        b.next(RESTART, later);
        assert_eq!(b.delay().as_secs(), 10);
        assert_eq!(b.until(RESTART, later), Some(later + Duration::from_secs(10)));
    }

    #[test]
    fn durations_print_as_go_does() {
        for (us, text) in [
            (10_000_000, "10s"),
            (80_000_000, "1m20s"),
            (300_000_000, "5m0s"),
            (7_200_000_000, "2h0m0s"),
            (1_500_000, "1.5s"),
            (300_000, "300ms"),
            (1_234, "1.234ms"),
            (0, "0s"),
            (-1_000_000, "-1s"),
        ] {
            assert_eq!(go_duration(Duration(us)), text);
        }
    }
}
