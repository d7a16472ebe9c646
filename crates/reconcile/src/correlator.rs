//! From reasons to Events: repeated ones are counted, similar ones combined, floods cut off.
//! The rules and figures are upstream's `client-go/tools/record` (`EventCorrelator`).

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};

use smol_str::SmolStr;
use timonier_meta::{Duration, Time};
use timonier_object::{Value, value};

use crate::plan::{Reason, Reference};

/// Most series that are remembered; the oldest is forgotten first.
const MAX_SERIES: usize = 4096;
/// This many different messages of one kind within [`AGGREGATION_SPAN`] are combined.
const AGGREGATE_FROM: usize = 10;
const AGGREGATION_SPAN: Duration = Duration::from_secs(600);
/// Events at once of one source about one object, and the time after which one more may follow.
const BURST: f64 = 25.0;
const REFILL: Duration = Duration::from_secs(300);

/// What is to be done about an Event.
#[derive(Clone, Debug, PartialEq)]
pub enum Recorded {
    /// Create this Event.
    Create(Value),
    /// Merge `patch` into the Event; where it is gone, create `instead`.
    Patch { namespace: SmolStr, name: SmolStr, patch: Value, instead: Value },
    /// Too many from this source about this object.
    Dropped,
}

/// Remembers what one component has recorded.
#[derive(Debug, Default)]
pub struct Correlator {
    component: SmolStr,
    host: SmolStr,
    series: BTreeMap<SeriesKey, Series>,
    groups: BTreeMap<GroupKey, Group>,
    buckets: BTreeMap<Reference, Bucket>,
}

/// A message is empty where many are combined.
type SeriesKey = (GroupKey, String);
type GroupKey = (Reference, &'static str, SmolStr);

#[derive(Debug)]
struct Series {
    name: SmolStr,
    count: i64,
    first: Time,
    last: Time,
}

#[derive(Debug)]
struct Group {
    messages: BTreeSet<String>,
    last: Time,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    at: Time,
}

impl Correlator {
    /// A correlator for a component on a host (empty for the control plane).
    pub fn new(component: impl Into<SmolStr>, host: impl Into<SmolStr>) -> Self {
        Correlator { component: component.into(), host: host.into(), ..Correlator::default() }
    }

    /// What to do about a reason that occurred now.
    pub fn record(&mut self, reason: &Reason, now: Time) -> Recorded {
        let mut about = reason.involved.clone();
        about.resource_version = SmolStr::default();
        let group = (about.clone(), reason.kind.as_str(), reason.reason.clone());
        let combined = self.is_combined(&group, &reason.message, now);
        let message = if combined {
            format!("(combined from similar events): {}", reason.message)
        } else {
            reason.message.clone()
        };
        if !self.take_token(about, now) {
            return Recorded::Dropped;
        }
        let key = (group, if combined { String::new() } else { message.clone() });
        if let Some(series) = self.series.get_mut(&key) {
            series.count += 1;
            series.last = now;
            let (name, count, first) = (series.name.clone(), series.count, series.first);
            let patch = value!({
                "count": count, "lastTimestamp": (now.rfc3339()), "message": (&message),
            });
            let instead = self.event(reason, &message, &name, (count, first), now);
            let namespace = instead.namespace().into();
            return Recorded::Patch { namespace, name, patch, instead };
        }
        let nanos = now.0.max(0) as u128 * 1000;
        let name = SmolStr::from(format!("{}.{nanos:x}", reason.involved.name));
        let event = self.event(reason, &message, &name, (1, now), now);
        forget_oldest(&mut self.series, |s| s.last);
        self.series.insert(key, Series { name, count: 1, first: now, last: now });
        Recorded::Create(event)
    }

    /// Whether so many messages of the group differ that they are recorded as one.
    fn is_combined(&mut self, key: &GroupKey, message: &str, now: Time) -> bool {
        forget_oldest(&mut self.groups, |g| g.last);
        let new = || Group { messages: BTreeSet::new(), last: now };
        let group = self.groups.entry(key.clone()).or_insert_with(new);
        if now - group.last > AGGREGATION_SPAN {
            group.messages.clear();
        }
        group.last = now;
        if group.messages.len() < AGGREGATE_FROM {
            group.messages.insert(message.to_string());
        }
        group.messages.len() >= AGGREGATE_FROM
    }

    fn take_token(&mut self, about: Reference, now: Time) -> bool {
        forget_oldest(&mut self.buckets, |b| b.at);
        let bucket = self.buckets.entry(about).or_insert(Bucket { tokens: BURST, at: now });
        let refill = (now - bucket.at).0.max(0) as f64 / REFILL.0 as f64;
        bucket.tokens = (bucket.tokens + refill).min(BURST);
        bucket.at = now;
        if bucket.tokens < 1.0 {
            return false;
        }
        bucket.tokens -= 1.0;
        true
    }

    fn event(
        &self,
        reason: &Reason,
        message: &str,
        name: &str,
        (count, first): (i64, Time),
        now: Time,
    ) -> Value {
        let namespace = match reason.involved.namespace.as_str() {
            "" => "default",
            namespace => namespace,
        };
        let mut source = value!({ "component": (&self.component) });
        if !self.host.is_empty() {
            source.set("host", &self.host);
        }
        value!({
            "kind": "Event", "apiVersion": "v1",
            "metadata": { "name": name, "namespace": namespace },
            "involvedObject": (&reason.involved),
            "reason": (&reason.reason), "message": message, "source": source,
            "firstTimestamp": (first.rfc3339()), "lastTimestamp": (now.rfc3339()),
            "count": count, "type": (reason.kind.as_str()),
            "eventTime": null,
            "reportingComponent": (&self.component), "reportingInstance": (&self.host),
        })
    }
}

/// Makes room in a map that is full.
fn forget_oldest<K: Ord + Clone, V>(map: &mut BTreeMap<K, V>, at: impl Fn(&V) -> Time) {
    if map.len() < MAX_SERIES {
        return;
    }
    if let Some(key) = map.iter().min_by_key(|(_, v)| at(v)).map(|(k, _)| k.clone()) {
        map.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(message: &str) -> Reason {
        let pod = value!({ "kind": "Pod", "apiVersion": "v1",
            "metadata": { "name": "a", "namespace": "ns", "uid": "u", "resourceVersion": "7" } });
        Reason::warning(&pod, "BackOff", message)
    }

    #[test]
    fn a_repeated_event_is_counted() {
        let mut c = Correlator::new("kubelet", "n1");
        let Recorded::Create(event) = c.record(&reason("x"), Time::from_unix(1)) else { panic!() };
        assert_eq!(event.name(), "a.3b9aca00");
        assert_eq!(event.at("involvedObject.resourceVersion").str(), "7");
        assert_eq!(event.at("source"), &value!({ "component": "kubelet", "host": "n1" }));
        let second = c.record(&reason("x"), Time::from_unix(61));
        let Recorded::Patch { name, patch, instead, .. } = second else { panic!() };
        assert_eq!((name.as_str(), patch.at("count").as_i64()), ("a.3b9aca00", Some(2)));
        assert_eq!(instead.at("firstTimestamp").str(), "1970-01-01T00:00:01Z");
        assert_eq!(patch.at("lastTimestamp").str(), "1970-01-01T00:01:01Z");
    }

    #[test]
    fn similar_events_are_combined_and_floods_cut_off() {
        let mut c = Correlator::new("kubelet", "");
        let now = Time::from_unix(1);
        for i in 0..9 {
            assert!(matches!(c.record(&reason(&format!("m{i}")), now), Recorded::Create(_)));
        }
        let Recorded::Create(event) = c.record(&reason("m9"), now) else { panic!() };
        assert_eq!(event.at("message").str(), "(combined from similar events): m9");
        assert!(matches!(c.record(&reason("m10"), now), Recorded::Patch { .. }));
        let dropped = (0..30).filter(|_| c.record(&reason("m0"), now) == Recorded::Dropped).count();
        assert_eq!(dropped, 16);
        let later = now + Duration::from_secs(301);
        assert_ne!(c.record(&reason("m0"), later), Recorded::Dropped);
    }
}
