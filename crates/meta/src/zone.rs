//! Time zones, by the database that comes with the program.

use jiff::Timestamp;
use jiff::tz::{TimeZone, TimeZoneDatabase};

use crate::time::{Duration, Time};

/// A zone of the IANA database.
#[derive(Clone, Debug)]
pub struct Zone(TimeZone);

impl Zone {
    /// The zone of a name such as `Europe/Paris`, written as the database has it.
    pub fn named(name: &str) -> Option<Zone> {
        if name == "UTC" {
            return Some(Zone::utc());
        }
        let zone = TimeZoneDatabase::bundled().get(name).ok()?;
        (zone.iana_name() == Some(name)).then_some(Zone(zone))
    }

    /// The zone without an offset.
    pub fn utc() -> Zone {
        Zone(TimeZone::UTC)
    }

    /// What has to be added to a time to get what the clocks show then.
    pub fn offset(&self, at: Time) -> Duration {
        Duration::from_secs(i64::from(self.0.to_offset(timestamp(at)).seconds()))
    }

    /// When the offset changes next.
    pub fn next_change(&self, after: Time) -> Option<Time> {
        let next = self.0.following(timestamp(after)).next()?;
        Some(Time::from_unix(next.timestamp().as_second()))
    }
}

/// The same point; what is out of bounds is cut.
fn timestamp(at: Time) -> Timestamp {
    let bound = if at.0 < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::from_microsecond(at.0).unwrap_or(bound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_have_their_offsets() {
        let paris = Zone::named("Europe/Paris").unwrap();
        let winter = Time::parse("2026-01-01T00:00:00Z").unwrap();
        assert_eq!(paris.offset(winter), Duration::from_secs(3600));
        let change = paris.next_change(winter).unwrap();
        assert_eq!(change.rfc3339(), "2026-03-29T01:00:00Z");
        assert_eq!(paris.offset(change), Duration::from_secs(7200));
        assert_eq!(Zone::utc().next_change(winter), None);
        for bad in ["", "Mars/Olympus", "europe/paris", "Local"] {
            assert!(Zone::named(bad).is_none(), "{bad}");
        }
        for good in ["UTC", "Etc/UTC", "US/Pacific", "Asia/Kolkata", "EST5EDT"] {
            assert!(Zone::named(good).is_some(), "{good}");
        }
    }
}
