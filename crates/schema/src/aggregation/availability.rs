//! Whether the server behind an APIService can be used: upstream's available condition controller.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;

use timonier_meta::Time;
use timonier_object::{Value, value};

use super::Remote;

/// What the condition `Available` is to say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verdict {
    pub available: bool,
    pub reason: &'static str,
    pub message: String,
}

impl Verdict {
    fn no(reason: &'static str, message: String) -> Self {
        Verdict { available: false, reason, message }
    }

    /// The server answered.
    pub fn passed() -> Self {
        Verdict { available: true, reason: "Passed", message: "all checks passed".to_string() }
    }

    /// The server did not answer at `url` as it should.
    pub fn no_answer(url: &str, why: &str) -> Self {
        let message = format!("failing or missing response from {url}: {why}");
        Verdict::no("FailedDiscoveryCheck", message)
    }
}

/// Whether it is worth asking the server: its Service, where it is, and its EndpointSlices. The
/// error says what is missing.
pub fn reachable(
    remote: &Remote,
    service: Option<&Value>,
    slices: &[Arc<Value>],
) -> Result<(), Verdict> {
    let (name, namespace, port) = (&remote.service, &remote.namespace, remote.port);
    let Some(service) = service else {
        let text = format!("service/{name} in {namespace:?} is not present");
        return Err(Verdict::no("ServiceNotFound", text));
    };
    if !matches!(service.at("spec.type").str(), "" | "ClusterIP") {
        return Ok(());
    }
    let ports = service.at("spec.ports").items();
    let found = ports.iter().find(|p| p.at("port").as_i64() == Some(i64::from(port)));
    let Some(found) = found else {
        let text = format!("service/{name} in {namespace:?} is not listening on port {port}");
        return Err(Verdict::no("ServicePortError", text));
    };
    let of_service =
        |slice: &&Arc<Value>| slice.label("kubernetes.io/service-name") == Some(name.as_str());
    if !slices.iter().any(|slice| of_service(&slice)) {
        let text = format!("cannot find endpointslices for service/{name} in {namespace:?}");
        return Err(Verdict::no("EndpointsNotFound", text));
    }
    let port_name = found.at("name").str();
    let serves = |slice: &Arc<Value>| {
        let endpoints = slice.at("endpoints").items();
        let ready = endpoints.iter().any(|e| e.at("conditions.ready").as_bool().unwrap_or(true));
        let ports = slice.at("ports").items();
        ready && ports.iter().any(|p| p.at("name").str() == port_name && !p.at("port").is_null())
    };
    if !slices.iter().filter(of_service).any(serves) {
        let text = format!(
            "endpointslices for service/{name} in {namespace:?} have no addresses with port name {port_name:?}"
        );
        return Err(Verdict::no("MissingEndpoints", text));
    }
    Ok(())
}

/// The status of an APIService with the condition; `None` where it says that already. The time of
/// a condition is that of its last change.
pub fn with_condition(status: &Value, verdict: &Verdict, now: Time) -> Option<Value> {
    let says = if verdict.available { "True" } else { "False" };
    let mut status = status.clone();
    let conditions = status.entry("conditions").make_array();
    let condition = |since: Value| {
        value!({ "type": "Available", "status": says, "lastTransitionTime": since,
            "reason": (verdict.reason), "message": (&verdict.message) })
    };
    let now = Value::from(now.rfc3339());
    match conditions.iter_mut().find(|c| c.at("type").str() == "Available") {
        None => conditions.push(condition(now)),
        Some(old) => {
            let kept = old.at("status").str() == says;
            let since = if kept { old.at("lastTransitionTime").clone() } else { now };
            let new = condition(since);
            let same = ["status", "reason", "message"].iter().all(|f| old.at(f) == new.at(f));
            if same {
                return None;
            }
            *old = new;
        }
    }
    Some(status)
}

/// The status of an APIService that this server answers for itself.
pub fn local(now: Time) -> Value {
    let verdict = Verdict {
        available: true,
        reason: "Local",
        message: "Local APIServices are always available".to_string(),
    };
    with_condition(&Value::object(), &verdict, now).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::super::tests::api_service;
    use super::*;

    fn slice(ready: bool, port: &str) -> Arc<Value> {
        Arc::new(value!({ "metadata": { "labels": { "kubernetes.io/service-name": "s" } },
            "endpoints": [{ "addresses": ["10.0.0.1"], "conditions": { "ready": ready } }],
            "ports": [{ "name": port, "port": 443 }] }))
    }

    #[test]
    fn what_is_missing_is_named() {
        let remote = Remote::of(&api_service("v1", "a.b", 1)).unwrap();
        let service =
            value!({ "spec": { "type": "ClusterIP", "ports": [{ "name": "p", "port": 7443 }] } });
        let other = value!({ "spec": { "type": "ClusterIP", "ports": [{ "port": 1 }] } });
        let external = value!({ "spec": { "type": "ExternalName" } });
        let why = |service: Option<&Value>, slices: &[Arc<Value>]| {
            reachable(&remote, service, slices).err().map(|v| (v.reason, v.message))
        };
        let text = |reason, message: &str| Some((reason, message.to_string()));
        assert_eq!(why(None, &[]), text("ServiceNotFound", "service/s in \"ns\" is not present"));
        assert_eq!(
            why(Some(&other), &[]),
            text("ServicePortError", "service/s in \"ns\" is not listening on port 7443")
        );
        assert_eq!(
            why(Some(&service), &[]),
            text("EndpointsNotFound", "cannot find endpointslices for service/s in \"ns\"")
        );
        for slices in [vec![slice(false, "p")], vec![slice(true, "q")]] {
            assert_eq!(
                why(Some(&service), &slices),
                text(
                    "MissingEndpoints",
                    "endpointslices for service/s in \"ns\" have no addresses with port name \"p\""
                )
            );
        }
        assert_eq!(why(Some(&service), &[slice(false, "p"), slice(true, "p")]), None);
        assert_eq!(why(Some(&external), &[]), None);
    }

    #[test]
    fn conditions_change_only_when_they_say_something_else() {
        let (now, later) = (Time::from_unix(1), Time::from_unix(2));
        let status = value!({ "conditions": [{ "type": "Other", "status": "True" }] });
        let first = with_condition(&status, &Verdict::passed(), now).unwrap();
        assert_eq!(first.at("conditions").items().len(), 2);
        assert_eq!(with_condition(&first, &Verdict::passed(), later), None);
        let bad = Verdict::no_answer("https://h", "x");
        let second = with_condition(&first, &bad, later).unwrap();
        let condition = &second.at("conditions").items()[1];
        assert_eq!(condition.at("status").str(), "False");
        assert_eq!(condition.at("lastTransitionTime").str(), later.rfc3339());
        assert_eq!(condition.at("message").str(), "failing or missing response from https://h: x");
        let bad = Verdict::no_answer("https://h", "y");
        let third = with_condition(&second, &bad, Time::from_unix(3)).unwrap();
        assert_eq!(
            third.at("conditions").items()[1].at("lastTransitionTime").str(),
            later.rfc3339()
        );
    }
}
