//! Pods, containers, volumes.

use alloc::vec::Vec;

use timonier_meta::Quantity;
use timonier_object::{SmolStr, Value};

use super::set_empty;

/// A volume without a source is an empty directory.
pub(super) fn volume(v: &mut Value) {
    if v.entries().all(|(name, _)| name == "name") {
        v.set("emptyDir", Value::object());
    }
    if !v.at("image").is_null() {
        let policy = pull_policy(v.at("image.reference").str());
        set_empty(v, "image.pullPolicy", policy);
    }
}

pub(super) fn container(v: &mut Value) {
    let policy = pull_policy(v.at("image").str());
    set_empty(v, "imagePullPolicy", policy);
}

/// `Always` for the tag `latest`, stated or meant.
fn pull_policy(image: &str) -> &'static str {
    if has_latest_tag(image) { "Always" } else { "IfNotPresent" }
}

fn has_latest_tag(image: &str) -> bool {
    let (name, digest) = match image.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (image, None),
    };
    let (path, last) = name.rsplit_once('/').map_or(("", name), |(p, l)| (p, l));
    let (repository, tag) = match last.split_once(':') {
        Some((repository, tag)) => (repository, Some(tag)),
        None => (last, None),
    };
    // A reference that does not parse has no tag. A path's first part may be a host.
    let inner_parts = path.split('/').skip(1).chain([repository]);
    if !inner_parts.into_iter().all(is_path_part) {
        return false;
    }
    tag.map_or(digest.is_none(), |tag| tag == "latest")
}

/// Lower-case letters and digits in pieces, with `.`, `_`, `__` or dashes between.
fn is_path_part(part: &str) -> bool {
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let mut rest = part;
    loop {
        let tail = rest.trim_start_matches(is_word);
        if tail.len() == rest.len() {
            return false;
        }
        if tail.is_empty() {
            return true;
        }
        let end = tail.find(is_word).unwrap_or(tail.len());
        let (separator, next) = tail.split_at(end);
        if !matches!(separator, "." | "_" | "__") && !separator.bytes().all(|c| c == b'-') {
            return false;
        }
        rest = next;
    }
}

pub(super) fn pod(v: &mut Value) {
    for list in ["spec.containers", "spec.initContainers"] {
        for c in v.find_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            requests_from_limits(c);
        }
    }
    pod_level_limits(v);
    pod_level_requests(v);
    if v.at("spec.hostNetwork").bool() {
        for list in ["spec.containers", "spec.initContainers"] {
            for c in v.find_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
                host_ports(c);
            }
        }
    }
}

fn requests_from_limits(container: &mut Value) {
    let limits = container.at("resources.limits").clone();
    for (name, limit) in limits.entries() {
        let requests = container.entry("resources.requests").make_object();
        if !requests.contains_key(name) {
            requests.insert(name, limit.clone());
        }
    }
}

fn host_ports(container: &mut Value) {
    for port in container.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        let number = port.at("containerPort").int_or(0);
        // Zero is written by omission.
        if number != 0 {
            set_empty(port, "hostPort", number);
        }
    }
}

fn is_huge_page(name: &str) -> bool {
    name.starts_with("hugepages-")
}

fn is_pod_level(name: &str) -> bool {
    name == "cpu" || name == "memory" || is_huge_page(name)
}

/// Huge pages limited in containers are limited for the pod.
fn pod_level_limits(pod: &mut Value) {
    let own = pod.at("spec.resources");
    if own.at("limits").is_empty() && own.at("requests").is_empty() {
        return;
    }
    for (name, limit) in aggregate(pod, "limits") {
        let asked = pod.at("spec.resources.requests").get(&name).is_some();
        let set = pod.at("spec.resources.limits").get(&name).is_some();
        if is_huge_page(&name) && !asked && !set {
            pod.entry("spec.resources.limits").make_object().insert(name, text(limit));
        }
    }
}

/// A pod with limits of its own requests what its containers do, or its limits.
fn pod_level_requests(pod: &mut Value) {
    let limits = pod.at("spec.resources.limits").clone();
    if limits.is_empty() {
        return;
    }
    let mut wanted: Vec<(SmolStr, Value)> = Vec::new();
    for (name, request) in aggregate(pod, "requests") {
        if is_pod_level(&name) && !is_huge_page(&name) {
            wanted.push((name, text(request)));
        }
    }
    for (name, limit) in limits.entries().filter(|(name, _)| is_pod_level(name)) {
        wanted.push((name.into(), limit.clone()));
    }
    for (name, amount) in wanted {
        let requests = pod.entry("spec.resources.requests").make_object();
        if !requests.contains_key(&name) {
            requests.insert(name, amount);
        }
    }
}

fn text(q: Quantity) -> Value {
    Value::from(alloc::format!("{q}"))
}

type Amounts = Vec<(SmolStr, Quantity)>;

/// What the containers need together: those that run at the same time add up, and an init
/// container counts with the sidecars started before it.
fn aggregate(pod: &Value, of: &str) -> Amounts {
    let amounts = |c: &Value| -> Amounts {
        let list = c.at("resources").get(of).into_iter().flat_map(Value::entries);
        list.filter_map(|(k, v)| Some((k.into(), Quantity::parse(v.str()).ok()?))).collect()
    };
    let mut total = Amounts::new();
    for c in pod.at("spec.containers").items() {
        merge(&mut total, &amounts(c), |a, b| a + b);
    }
    let (mut sidecars, mut peak) = (Amounts::new(), Amounts::new());
    for c in pod.at("spec.initContainers").items() {
        let mut now = amounts(c);
        if c.at("restartPolicy").str() == "Always" {
            merge(&mut total, &now, |a, b| a + b);
            merge(&mut sidecars, &now, |a, b| a + b);
            now.clone_from(&sidecars);
        } else {
            merge(&mut now, &sidecars, |a, b| a + b);
        }
        merge(&mut peak, &now, core::cmp::Ord::max);
    }
    merge(&mut total, &peak, core::cmp::Ord::max);
    total
}

fn merge(into: &mut Amounts, from: &Amounts, how: impl Fn(Quantity, Quantity) -> Quantity) {
    for (name, amount) in from {
        match into.iter_mut().find(|(n, _)| n == name) {
            Some((_, old)) => *old = how(*old, *amount),
            None => into.push((name.clone(), *amount)),
        }
    }
}

#[cfg(test)]
mod tests {
    use timonier_object::value;

    use super::super::tests::defaulted;
    use super::*;

    #[test]
    fn pull_policies_follow_the_tag() {
        for (image, always) in [
            ("nginx", true),
            ("nginx:latest", true),
            ("nginx:1.7.9", false),
            ("localhost:5000/nginx", true),
            ("localhost:5000/a/nginx:1", false),
            ("nginx@sha256:abc", false),
            ("nginx:latest@sha256:abc", true),
            ("", false),
            ("NGINX", false),
            ("a__b--c.d", true),
            ("a___b", false),
            ("a..b", false),
            ("a-", false),
        ] {
            assert_eq!(has_latest_tag(image), always, "{image}");
        }
    }

    #[test]
    fn a_pod_gets_upstreams_defaults() {
        let v = defaulted(
            "",
            "pods",
            value!({ "spec": {
                "hostNetwork": true,
                "volumes": [{ "name": "a" }, { "name": "b", "secret": { "secretName": "x" } }],
                "containers": [{
                    "name": "c", "image": "nginx",
                    "ports": [{ "containerPort": 80 }],
                    "livenessProbe": { "httpGet": { "port": 80 } },
                    "resources": { "limits": { "cpu": "1" } },
                    "env": [{ "name": "n", "valueFrom": { "fieldRef": { "fieldPath": "x" } } }],
                }],
            } }),
        );
        let spec = v.at("spec");
        assert_eq!(spec.at("restartPolicy").str(), "Always");
        assert_eq!(spec.at("enableServiceLinks"), &Value::Bool(true));
        assert_eq!(spec.at("securityContext"), &Value::object());
        assert_eq!(
            spec.at("volumes"),
            &value!([
                { "name": "a", "emptyDir": {} },
                { "name": "b", "secret": { "secretName": "x", "defaultMode": 420 } }
            ])
        );
        assert_eq!(
            spec.at("containers").items()[0],
            value!({
                "name": "c", "image": "nginx",
                "ports": [{ "containerPort": 80, "hostPort": 80, "protocol": "TCP" }],
                "livenessProbe": {
                    "httpGet": { "port": 80, "path": "/", "scheme": "HTTP" },
                    "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1,
                    "failureThreshold": 3,
                },
                "resources": { "limits": { "cpu": "1" }, "requests": { "cpu": "1" } },
                "env": [{ "name": "n", "valueFrom": { "fieldRef": { "fieldPath": "x", "apiVersion": "v1" } } }],
                "imagePullPolicy": "Always",
                "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
            })
        );
    }

    #[test]
    fn a_template_is_no_pod() {
        let v = defaulted(
            "apps",
            "replicasets",
            value!({ "spec": { "template": { "spec": {
                "containers": [{ "resources": { "limits": { "cpu": "1" } } }] } } } }),
        );
        let spec = v.at("spec.template.spec");
        assert!(spec.at("enableServiceLinks").is_null());
        assert!(spec.at("containers").items()[0].at("resources.requests").is_null());
        assert_eq!(spec.at("dnsPolicy").str(), "ClusterFirst");
    }

    #[test]
    fn pod_level_requests_come_from_containers_then_limits() {
        let v = defaulted(
            "",
            "pods",
            value!({ "spec": {
                "resources": { "limits": { "cpu": "4", "memory": "1Gi" } },
                "containers": [
                    { "resources": { "requests": { "cpu": "500m" } } },
                    { "resources": { "requests": { "cpu": "1" } } }
                ],
                "initContainers": [
                    { "restartPolicy": "Always", "resources": { "requests": { "cpu": "1" } } },
                    { "resources": { "requests": { "cpu": "2" } } }
                ],
            } }),
        );
        assert_eq!(v.at("spec.resources.requests"), &value!({ "cpu": "3", "memory": "1Gi" }));
    }
}
