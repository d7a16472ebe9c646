//! Probes: what one asks, when it is due, and what its results add up to.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use smol_str::SmolStr;
use timonier_meta::{Duration, Time};
use timonier_object::Value;

use crate::env;
use crate::spec::resolve_port;

/// The three probes of a container.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    Startup,
    Liveness,
    Readiness,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 3] = [Kind::Startup, Kind::Liveness, Kind::Readiness];

    /// The word in Events: `Readiness probe failed: …`.
    pub fn title(self) -> &'static str {
        match self {
            Kind::Startup => "Startup",
            Kind::Liveness => "Liveness",
            Kind::Readiness => "Readiness",
        }
    }

    fn field(self) -> &'static str {
        match self {
            Kind::Startup => "startupProbe",
            Kind::Liveness => "livenessProbe",
            Kind::Readiness => "readinessProbe",
        }
    }
}

/// What is asked: of a probe, or of a lifecycle hook.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Handler {
    Exec {
        command: Vec<String>,
    },
    Http {
        https: bool,
        /// Empty for the pod's address.
        host: String,
        port: u16,
        path: String,
        headers: Vec<(String, String)>,
    },
    Tcp {
        host: String,
        port: u16,
    },
    Grpc {
        port: u16,
        service: String,
    },
    /// Lifecycle hooks only.
    Sleep {
        seconds: i64,
    },
    /// The handler cannot be carried out; the text says why.
    Invalid {
        why: String,
    },
}

impl Handler {
    /// Reads a handler of a probe or a hook; `None` where none is stated.
    pub fn read(container: &Value, handler: &Value) -> Option<Handler> {
        let port = |v: &Value| resolve_port(container, v);
        let bad = |v: &Value| Handler::Invalid { why: invalid_port(v) };
        if let Some(exec) = handler.get("exec") {
            let command = exec.at("command").items().iter().map(|c| c.str().to_string()).collect();
            return Some(Handler::Exec { command });
        }
        if let Some(http) = handler.get("httpGet") {
            let Some(number) = port(http.at("port")) else { return Some(bad(http.at("port"))) };
            let headers = http.at("httpHeaders").items().iter();
            return Some(Handler::Http {
                https: http.at("scheme").str().eq_ignore_ascii_case("https"),
                host: http.at("host").str().into(),
                port: number,
                path: http.at("path").str().into(),
                headers: headers
                    .map(|h| (h.at("name").str().into(), h.at("value").str().into()))
                    .collect(),
            });
        }
        if let Some(tcp) = handler.get("tcpSocket") {
            return Some(match port(tcp.at("port")) {
                Some(number) => Handler::Tcp { host: tcp.at("host").str().into(), port: number },
                None => bad(tcp.at("port")),
            });
        }
        if let Some(grpc) = handler.get("grpc") {
            return Some(match port(grpc.at("port")) {
                Some(port) => Handler::Grpc { port, service: grpc.at("service").str().into() },
                None => bad(grpc.at("port")),
            });
        }
        let sleep = handler.get("sleep")?;
        Some(Handler::Sleep { seconds: sleep.at("seconds").int_or(0).max(0) })
    }
}

fn invalid_port(port: &Value) -> String {
    match port.as_str() {
        Some(name) => alloc::format!("couldn't find port: {name:?}"),
        None => alloc::format!("invalid port number: {port}"),
    }
}

/// A probe of a container's spec.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Probe {
    pub handler: Handler,
    pub initial_delay: Duration,
    pub timeout: Duration,
    pub period: Duration,
    pub success_threshold: u32,
    pub failure_threshold: u32,
    /// Seconds; in place of the pod's where this probe's failure kills the container.
    pub termination_grace: Option<i64>,
}

impl Probe {
    /// Reads a container's probe of this kind.
    pub fn read(container: &Value, kind: Kind) -> Option<Probe> {
        let probe = container.get(kind.field())?;
        let number = |field: &str, default: i64| match probe.at(field).int_or(0) {
            n if n > 0 => n,
            _ => default,
        };
        let mut handler = Handler::read(container, probe)?;
        if let Handler::Exec { command } = &mut handler {
            expand(command, container);
        }
        Some(Probe {
            handler,
            initial_delay: Duration::from_secs(number("initialDelaySeconds", 0)),
            timeout: Duration::from_secs(number("timeoutSeconds", 1)),
            period: Duration::from_secs(number("periodSeconds", 10)),
            success_threshold: number("successThreshold", 1) as u32,
            failure_threshold: number("failureThreshold", 3) as u32,
            termination_grace: probe.at("terminationGracePeriodSeconds").as_i64(),
        })
    }
}

/// Puts in the container's own variables that are plainly stated, as upstream does for probes;
/// those that come from elsewhere read as empty.
fn expand(command: &mut [String], container: &Value) {
    let stated = container.at("env").items();
    let value = |name: &str| {
        let found = stated.iter().rfind(|e| e.at("name").str() == name)?;
        Some(found.at("value").str().to_string())
    };
    for word in command {
        *word = env::expand(word, value);
    }
}

/// What one attempt gave.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    Success,
    /// The container answered badly; the text is what it said.
    Failure(String),
    /// The attempt itself failed, which says nothing of the container: an Event tells it, and
    /// nothing else comes of it.
    Error(String),
}

/// The standing of a probe.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    Unknown,
    Success,
    Failure,
}

/// One probe of one run of a container.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Machine {
    pub probe: Probe,
    pub verdict: Verdict,
    last: Option<bool>,
    run: u32,
    /// When the next attempt is due.
    pub due: Time,
    /// An attempt is under way.
    pub busy: bool,
    /// A failed liveness or startup probe rests until the container is replaced.
    pub on_hold: bool,
}

impl Machine {
    fn new(kind: Kind, probe: Probe, started_at: Time) -> Self {
        let verdict = match kind {
            Kind::Startup => Verdict::Unknown,
            Kind::Liveness => Verdict::Success,
            Kind::Readiness => Verdict::Failure,
        };
        let due = started_at + probe.initial_delay;
        Machine { probe, verdict, last: None, run: 0, due, busy: false, on_hold: false }
    }

    /// The attempt is over; the next is due a period later.
    fn rest(&mut self, now: Time) {
        self.busy = false;
        self.due = now.max(self.due) + self.probe.period;
        if self.due - now > self.probe.period {
            self.due = now + self.probe.period;
        }
    }

    /// Takes the result of an attempt.
    fn take(&mut self, kind: Kind, ok: bool, now: Time) {
        self.rest(now);
        self.run = if self.last == Some(ok) { self.run.saturating_add(1) } else { 1 };
        self.last = Some(ok);
        let needed = if ok { self.probe.success_threshold } else { self.probe.failure_threshold };
        if self.run < needed {
            return;
        }
        self.verdict = if ok { Verdict::Success } else { Verdict::Failure };
        if !ok && kind != Kind::Readiness {
            self.on_hold = true;
        }
    }
}

/// The probes of one run of a container.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Probes {
    machines: Vec<(Kind, Machine)>,
    /// The name of the container, for messages.
    pub container: SmolStr,
}

impl Probes {
    /// The probes for a run that started at `started_at`.
    pub fn new(container: &Value, started_at: Time) -> Self {
        let machines = Kind::ALL
            .into_iter()
            .filter_map(|k| Some((k, Machine::new(k, Probe::read(container, k)?, started_at))))
            .collect();
        Probes { machines, container: container.at("name").smol() }
    }

    /// The probes for a run found again after a restart of the node's agent: what the API's
    /// status said of this same run still stands, so that no endpoint drops out meanwhile.
    pub fn resumed(container: &Value, started_at: Time, status: &Value) -> Self {
        let mut probes = Probes::new(container, started_at);
        for (kind, machine) in &mut probes.machines {
            let holds = match kind {
                Kind::Startup => status.at("started").bool(),
                Kind::Readiness => status.at("ready").bool(),
                Kind::Liveness => continue,
            };
            if holds {
                machine.verdict = Verdict::Success;
            }
        }
        probes
    }

    /// One probe.
    pub fn get(&self, kind: Kind) -> Option<&Machine> {
        self.machines.iter().find(|(k, _)| *k == kind).map(|(_, m)| m)
    }

    fn get_mut(&mut self, kind: Kind) -> Option<&mut Machine> {
        self.machines.iter_mut().find(|(k, _)| *k == kind).map(|(_, m)| m)
    }

    /// Whether the container counts as started.
    pub fn started(&self) -> bool {
        self.get(Kind::Startup).is_none_or(|m| m.verdict == Verdict::Success)
    }

    /// Whether the container counts as ready, given that it runs.
    pub fn ready(&self) -> bool {
        self.started() && self.get(Kind::Readiness).is_none_or(|m| m.verdict == Verdict::Success)
    }

    /// The probe whose failure asks for the container's death.
    pub fn fatal(&self) -> Option<(Kind, &Probe)> {
        [Kind::Liveness, Kind::Startup].into_iter().find_map(|kind| {
            let m = self.get(kind)?;
            (m.verdict == Verdict::Failure).then_some((kind, &m.probe))
        })
    }

    /// Whether a probe of this kind may run now or later.
    fn active(&self, kind: Kind) -> bool {
        // The startup probe runs until it has succeeded; the others only then.
        (kind == Kind::Startup) != self.started()
    }

    /// Takes the probes that are due, marked as under way; and when the next one is. A container
    /// that is being stopped is asked for nothing but its readiness: it may still serve.
    pub fn take_due(&mut self, now: Time, stopping: bool) -> (Vec<(Kind, Probe)>, Option<Time>) {
        let mut due = Vec::new();
        let mut next: Option<Time> = None;
        for kind in Kind::ALL {
            if !self.active(kind) || stopping && kind != Kind::Readiness {
                continue;
            }
            let Some(machine) = self.get_mut(kind) else { continue };
            if machine.busy || machine.on_hold {
                continue;
            }
            if machine.due <= now {
                machine.busy = true;
                due.push((kind, machine.probe.clone()));
            } else {
                next = Some(next.map_or(machine.due, |n: Time| n.min(machine.due)));
            }
        }
        (due, next)
    }

    /// Takes an outcome. Gives the message of the Event `Unhealthy`, if there is one to send.
    pub fn take(&mut self, kind: Kind, outcome: &Outcome, now: Time) -> Option<String> {
        let was_started = self.started();
        let machine = self.get_mut(kind)?;
        match outcome {
            Outcome::Success => machine.take(kind, true, now),
            Outcome::Failure(_) => machine.take(kind, false, now),
            Outcome::Error(_) => machine.rest(now),
        }
        if !was_started && self.started() {
            // What waited for the start begins now, not at its old due time's rhythm.
            for other in [Kind::Liveness, Kind::Readiness] {
                if let Some(m) = self.get_mut(other) {
                    m.due = m.due.max(now);
                }
            }
        }
        let title = kind.title();
        match outcome {
            Outcome::Success => None,
            Outcome::Failure(text) => Some(alloc::format!("{title} probe failed: {text}")),
            Outcome::Error(text) => {
                Some(alloc::format!("{title} probe errored and resulted in unknown state: {text}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use timonier_object::value;

    fn at(s: i64) -> Time {
        Time::from_unix(s)
    }

    fn fail() -> Outcome {
        Outcome::Failure("no".into())
    }

    #[test]
    fn readiness_follows_its_thresholds() {
        let c = value!({ "name": "a", "readinessProbe": { "tcpSocket": { "port": 80 },
            "initialDelaySeconds": 5, "periodSeconds": 2, "failureThreshold": 2, "successThreshold": 2 } });
        let mut p = Probes::new(&c, at(100));
        assert!(!p.ready());
        assert_eq!(p.take_due(at(104), false), (alloc::vec![], Some(at(105))));
        assert_eq!(p.take_due(at(105), false).0.len(), 1);
        assert_eq!(p.take_due(at(105), false).0.len(), 0, "one attempt at a time");
        p.take(Kind::Readiness, &Outcome::Success, at(105));
        assert!(!p.ready());
        assert_eq!(p.take_due(at(106), false).1, Some(at(107)));
        p.take_due(at(107), false);
        p.take(Kind::Readiness, &Outcome::Success, at(107));
        assert!(p.ready());
        assert_eq!(
            p.take(Kind::Readiness, &fail(), at(109)).as_deref(),
            Some("Readiness probe failed: no")
        );
        assert!(p.ready());
        p.take(Kind::Readiness, &fail(), at(111));
        assert!(!p.ready() && p.fatal().is_none());
    }

    #[test]
    fn the_others_wait_for_the_startup_probe() {
        let c = value!({ "name": "a", "startupProbe": { "exec": { "command": ["x"] }, "periodSeconds": 1 },
            "livenessProbe": { "exec": { "command": ["x"] }, "failureThreshold": 1,
                               "terminationGracePeriodSeconds": 7 } });
        let mut p = Probes::new(&c, at(0));
        let (due, _) = p.take_due(at(0), false);
        assert_eq!(due[0].0, Kind::Startup);
        assert_eq!(due.len(), 1);
        p.take(Kind::Startup, &Outcome::Success, at(1));
        assert!(p.started() && p.ready());
        let (due, _) = p.take_due(at(1), false);
        assert_eq!(due[0].0, Kind::Liveness);
        p.take(Kind::Liveness, &fail(), at(1));
        let (kind, probe) = p.fatal().unwrap();
        assert_eq!((kind, probe.termination_grace), (Kind::Liveness, Some(7)));
        assert_eq!(p.take_due(at(100), false), (alloc::vec![], None), "on hold");
    }

    #[test]
    fn an_errored_attempt_says_nothing_of_the_container() {
        let probe =
            value!({ "exec": { "command": ["x"] }, "failureThreshold": 2, "periodSeconds": 5 });
        let c = value!({ "name": "a", "livenessProbe": probe });
        let mut p = Probes::new(&c, at(0));
        p.take_due(at(0), false);
        p.take(Kind::Liveness, &fail(), at(0));
        for n in 1..9 {
            assert_eq!(p.take_due(at(5 * n), false).0.len(), 1, "it goes on");
            let event = p.take(Kind::Liveness, &Outcome::Error("gone".into()), at(5 * n));
            let text = "Liveness probe errored and resulted in unknown state: gone";
            assert_eq!(event.as_deref(), Some(text));
            assert!(p.fatal().is_none());
        }
        p.take(Kind::Liveness, &fail(), at(50));
        assert!(p.fatal().is_some(), "the failure before still counts");
    }

    #[test]
    fn what_is_being_stopped_is_asked_for_its_readiness_only() {
        let probe = value!({ "exec": { "command": ["x"] } });
        let c = value!({ "name": "a", "livenessProbe": (probe.clone()), "readinessProbe": probe });
        let mut p = Probes::new(&c, at(0));
        let (due, _) = p.take_due(at(0), true);
        assert_eq!(due.iter().map(|(k, _)| *k).collect::<Vec<_>>(), [Kind::Readiness]);
        let waits = value!({ "exec": { "command": ["x"] } });
        let c = value!({ "name": "a", "startupProbe": (waits.clone()), "readinessProbe": waits });
        assert_eq!(Probes::new(&c, at(0)).take_due(at(0), true).0.len(), 0, "it never started");
    }

    #[test]
    fn a_found_run_keeps_its_standing() {
        let c = value!({ "name": "a", "readinessProbe": { "grpc": { "port": 1 } },
            "startupProbe": { "grpc": { "port": 1 } } });
        assert!(!Probes::new(&c, at(0)).ready());
        let status = value!({ "ready": true, "started": true });
        assert!(Probes::resumed(&c, at(0), &status).ready());
    }

    #[test]
    fn commands_name_variables() {
        let c = value!({ "env": [{ "name": "PORT", "value": "80" }],
            "livenessProbe": { "exec": { "command": ["ask", ":$(PORT)", "$$(PORT)", "$(NONE)"] } } });
        let Handler::Exec { command } = Probe::read(&c, Kind::Liveness).unwrap().handler else {
            panic!("a command")
        };
        assert_eq!(command, ["ask", ":80", "$(PORT)", "$(NONE)"]);
    }

    #[test]
    fn a_bad_port_is_told() {
        let c = value!({ "ports": [] });
        let h = Handler::read(&c, &value!({ "httpGet": { "port": "web" } })).unwrap();
        assert_eq!(h, Handler::Invalid { why: "couldn't find port: \"web\"".into() });
    }
}
