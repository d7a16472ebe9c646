//! A number and what it was before.

use timonier_meta::Time;

use super::STALE;

/// The values of a number, each with the time until which it held.
#[derive(Default)]
pub struct History(Vec<(Time, i64)>);

impl History {
    /// The number is now this.
    pub fn note(&mut self, value: i64, now: Time) {
        if self.0.last().is_some_and(|(_, last)| *last == value) {
            return;
        }
        if let Some((until, _)) = self.0.last_mut() {
            *until = now;
        }
        self.0.push((Time(i64::MAX), value));
    }

    /// The highest value that somebody may still believe in.
    pub fn most(&self, now: Time) -> Option<i64> {
        self.believable(now).max()
    }

    /// The lowest value that somebody may still believe in.
    pub fn fewest(&self, now: Time) -> Option<i64> {
        self.believable(now).min()
    }

    fn believable(&self, now: Time) -> impl Iterator<Item = i64> {
        self.0.iter().filter(move |(until, _)| *until >= now - STALE).map(|(_, value)| *value)
    }
}
