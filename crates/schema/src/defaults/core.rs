//! The other kinds of the core group.

use timonier_object::Value;

use super::{set_default, set_empty};

pub(super) fn service(v: &mut Value) {
    match v.at("spec.sessionAffinity").str() {
        "None" => {
            v.remove("spec.sessionAffinityConfig");
        }
        "ClientIP" => set_default(v, "spec.sessionAffinityConfig.clientIP.timeoutSeconds", 10_800),
        _ => {}
    }
    for port in v.find_mut("spec.ports").and_then(Value::as_array_mut).into_iter().flatten() {
        set_empty(port, "protocol", "TCP");
        let number = port.at("port").int_or(0);
        set_empty(port, "targetPort", number);
    }
    let kind = v.at("spec.type").smol();
    let balanced = kind == "LoadBalancer";
    let external = balanced
        || kind == "NodePort"
        || kind == "ClusterIP" && !v.at("spec.externalIPs").is_empty();
    if external {
        set_empty(v, "spec.externalTrafficPolicy", "Cluster");
    }
    if matches!(kind.as_str(), "NodePort" | "LoadBalancer" | "ClusterIP") {
        set_default(v, "spec.internalTrafficPolicy", "Cluster");
    }
    if balanced {
        set_default(v, "spec.allocateLoadBalancerNodePorts", true);
        let ingress = v.find_mut("status.loadBalancer.ingress").and_then(Value::as_array_mut);
        for address in ingress.into_iter().flatten().filter(|a| !a.at("ip").is_empty()) {
            set_default(address, "ipMode", "VIP");
        }
    }
}

pub(super) fn endpoints(v: &mut Value) {
    for subset in v.get_mut("subsets").and_then(Value::as_array_mut).into_iter().flatten() {
        for port in subset.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
            set_empty(port, "protocol", "TCP");
        }
    }
}

/// The template's labels are the selector and the controller's labels.
pub(super) fn replication_controller(v: &mut Value) {
    let labels = v.at("spec.template.metadata.labels").clone();
    if !labels.is_empty() {
        set_empty(v, "spec.selector", labels.clone());
        set_empty(v, "metadata.labels", labels);
    }
}

pub(super) fn namespace(v: &mut Value) {
    let name = v.at("metadata.name").smol();
    if !name.is_empty() {
        let labels = v.entry("metadata.labels").make_object();
        labels.insert("kubernetes.io/metadata.name", Value::Str(name));
    }
}

pub(super) fn node_status(v: &mut Value) {
    let capacity = v.at("capacity").clone();
    if !capacity.is_null() {
        set_default(v, "allocatable", capacity);
    }
}

pub(super) fn limit_range_item(v: &mut Value) {
    if v.at("type").str() != "Container" {
        return;
    }
    for (from, to) in [("max", "default"), ("default", "defaultRequest"), ("min", "defaultRequest")]
    {
        let amounts = v.at(from).clone();
        for (name, amount) in amounts.entries() {
            let target = v.entry(to).make_object();
            if !target.contains_key(name) {
                target.insert(name, amount.clone());
            }
        }
    }
}

/// `stringData` is written into `data` and never read back.
pub(super) fn secret(v: &mut Value) {
    let Some(Value::Object(plain)) = v.remove("stringData") else { return };
    for (name, text) in plain {
        let data = v.entry("data").make_object();
        data.insert(name, Value::from(crate::base64::encode(text.str().as_bytes())));
    }
}

#[cfg(test)]
mod tests {
    use timonier_object::value;

    use super::super::tests::defaulted;

    #[test]
    fn services() {
        let v = defaulted(
            "",
            "services",
            value!({ "spec": { "ports": [{ "port": 80 }, { "port": 1, "targetPort": "x" }] } }),
        );
        assert_eq!(
            v.at("spec"),
            &value!({
                "ports": [
                    { "port": 80, "targetPort": 80, "protocol": "TCP" },
                    { "port": 1, "targetPort": "x", "protocol": "TCP" }
                ],
                "sessionAffinity": "None", "type": "ClusterIP", "internalTrafficPolicy": "Cluster",
            })
        );
        let v = defaulted(
            "",
            "services",
            value!({ "spec": { "type": "LoadBalancer", "sessionAffinity": "ClientIP" } }),
        );
        assert_eq!(v.at("spec.externalTrafficPolicy").str(), "Cluster");
        assert_eq!(v.at("spec.allocateLoadBalancerNodePorts"), &true.into());
        assert_eq!(
            v.at("spec.sessionAffinityConfig.clientIP.timeoutSeconds").as_i64(),
            Some(10_800)
        );
    }

    #[test]
    fn secrets_take_plain_text() {
        let v = defaulted(
            "",
            "secrets",
            value!({ "data": { "a": "YQ==" }, "stringData": { "a": "b", "c": "" } }),
        );
        assert_eq!(v.at("data"), &value!({ "a": "Yg==", "c": "" }));
        assert!(v.get("stringData").is_none());
        assert_eq!(v.at("type").str(), "Opaque");
    }

    #[test]
    fn limit_ranges_and_namespaces() {
        let v = defaulted(
            "",
            "limitranges",
            value!({ "spec": { "limits": [
                { "type": "Container", "max": { "cpu": "2" }, "min": { "cpu": "1", "memory": "1Ki" } },
                { "type": "Pod", "max": { "cpu": "2" } }
            ] } }),
        );
        assert_eq!(
            v.at("spec.limits"),
            &value!([
                {
                    "type": "Container", "max": { "cpu": "2" }, "min": { "cpu": "1", "memory": "1Ki" },
                    "default": { "cpu": "2" }, "defaultRequest": { "cpu": "2", "memory": "1Ki" },
                },
                { "type": "Pod", "max": { "cpu": "2" } }
            ])
        );
        let v = defaulted("", "namespaces", value!({ "metadata": { "name": "a" } }));
        assert_eq!(v.label("kubernetes.io/metadata.name"), Some("a"));
        assert_eq!(v.at("status.phase").str(), "Active");
    }
}
