//! The environment of a container, and the expansion of `$(VAR)`.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use timonier_object::Value;

use crate::downward::{self, NodeFacts};
use crate::sources::{Kind, Reference, Sources, contents, key_text, not_found};

/// Variables in the order in which they are set.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Variables(Vec<(String, String)>);

impl Variables {
    /// A variable's value.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// Sets a variable in its place, or at the end.
    pub fn set(&mut self, name: &str, value: String) {
        match self.0.iter_mut().find(|(n, _)| n == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name.to_string(), value)),
        }
    }

    /// Names and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(n, v)| (n.as_str(), v.as_str()))
    }

    /// The pairs themselves.
    pub fn into_vec(self) -> Vec<(String, String)> {
        self.0
    }
}

/// Everything that an environment is made from.
pub struct Context<'a> {
    pub pod: &'a Value,
    pub container: &'a Value,
    pub sources: &'a dyn Sources,
    /// The variables of services ([`service_variables`]).
    pub services: &'a BTreeMap<String, String>,
    pub node: &'a NodeFacts,
    /// The pod's addresses.
    pub pod_ips: &'a [smol_str::SmolStr],
}

/// The environment of a container. The error is the message of `CreateContainerConfigError`.
pub fn environment(ctx: &Context<'_>) -> Result<Variables, String> {
    let mut vars = Variables::default();
    for from in ctx.container.at("envFrom").items() {
        import(ctx, from, &mut vars)?;
    }
    for var in ctx.container.at("env").items() {
        let name = var.at("name").str();
        let value = match var.get("valueFrom") {
            Some(from) if !from.is_empty() => match value_from(ctx, from)? {
                Some(value) => value,
                None => continue,
            },
            _ => expand(var.at("value").str(), |n| {
                vars.get(n).or_else(|| ctx.services.get(n).map(String::as_str)).map(str::to_string)
            }),
        };
        vars.set(name, value);
    }
    for (name, value) in ctx.services {
        if vars.get(name).is_none() {
            vars.set(name, value.clone());
        }
    }
    Ok(vars)
}

fn import(ctx: &Context<'_>, from: &Value, vars: &mut Variables) -> Result<(), String> {
    let prefix = from.at("prefix").str();
    let (kind, source) = match (from.get("configMapRef"), from.get("secretRef")) {
        (Some(source), _) => (Kind::ConfigMap, source),
        (_, Some(source)) => (Kind::Secret, source),
        _ => return Ok(()),
    };
    let reference = Reference { kind, name: source.at("name").smol() };
    let Some(object) = ctx.sources.object(&reference) else {
        return match source.at("optional").bool() {
            true => Ok(()),
            false => Err(not_found(&reference)),
        };
    };
    let keys: Vec<&str> = match kind {
        Kind::ConfigMap => object.at("data").entries().map(|(k, _)| k).collect(),
        Kind::Secret => contents(kind, object).into_iter().map(|(k, _)| k).collect(),
    };
    for key in keys {
        let name = format!("{prefix}{key}");
        // A name with '=' would end inside the value.
        if name.is_empty() || name.contains('=') {
            continue;
        }
        vars.set(&name, key_text(kind, object, key).unwrap_or_default());
    }
    Ok(())
}

/// `None` where an optional key is not there.
fn value_from(ctx: &Context<'_>, from: &Value) -> Result<Option<String>, String> {
    if let Some(field) = from.get("fieldRef") {
        let path = field.at("fieldPath").str();
        return downward::field(ctx.pod, path, ctx.node, ctx.pod_ips).map(Some);
    }
    if let Some(resource) = from.get("resourceFieldRef") {
        return downward::resource(ctx.pod, Some(ctx.container), resource, ctx.node).map(Some);
    }
    for (kind, field) in [(Kind::ConfigMap, "configMapKeyRef"), (Kind::Secret, "secretKeyRef")] {
        let Some(source) = from.get(field) else { continue };
        let optional = source.at("optional").bool();
        let reference = Reference { kind, name: source.at("name").smol() };
        let Some(object) = ctx.sources.object(&reference) else {
            return if optional { Ok(None) } else { Err(not_found(&reference)) };
        };
        let key = source.at("key").str();
        return match key_text(kind, object, key) {
            Some(text) => Ok(Some(text)),
            None if optional => Ok(None),
            None => Err(format!(
                "couldn't find key {key} in {} {}/{}",
                kind.title(),
                ctx.pod.namespace(),
                reference.name
            )),
        };
    }
    let source = from.entries().next().map_or("", |(k, _)| k);
    Err(format!("unsupported source of an environment variable: {source:?}"))
}

/// Upstream's expansion: `$(NAME)` becomes the value, `$$` becomes `$`, everything else and
/// every unknown name stays as it is.
pub fn expand(text: &str, lookup: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let tail = &rest[at + 1..];
        if let Some(after) = tail.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) =
            tail.strip_prefix('(').and_then(|inner| inner.split_once(')'))
        {
            match lookup(name) {
                Some(value) => out.push_str(&value),
                None => {
                    out.push_str("$(");
                    out.push_str(name);
                    out.push(')');
                }
            }
            rest = after;
        } else {
            out.push('$');
            rest = tail;
        }
    }
    out.push_str(rest);
    out
}

/// `command` or `args` of a container with its variables put in.
pub fn expand_all(list: &Value, vars: &Variables) -> Vec<String> {
    let lookup = |name: &str| vars.get(name).map(str::to_string);
    list.items().iter().map(|item| expand(item.str(), lookup)).collect()
}

/// As [`expand`], but an unknown name is an error: the rule of `subPathExpr`.
pub fn expand_strict(text: &str, vars: &Variables) -> Result<String, String> {
    let missing = core::cell::Cell::new(false);
    let out = expand(text, |name| {
        let value = vars.get(name).map(str::to_string);
        missing.set(missing.get() || value.is_none());
        value
    });
    if missing.get() { Err(format!("missing value for {text:?}")) } else { Ok(out) }
}

/// The variables that tell a pod of the services in its namespace, and of the API server.
/// `services` are all services of the cluster.
pub fn service_variables<'a>(
    pod: &Value,
    services: impl IntoIterator<Item = &'a Value>,
) -> BTreeMap<String, String> {
    let links = pod.at("spec.enableServiceLinks").as_bool().unwrap_or(true);
    let mut chosen: BTreeMap<&str, &Value> = BTreeMap::new();
    for service in services {
        let ip = service.at("spec.clusterIP").str();
        if ip.is_empty() || ip == "None" {
            continue;
        }
        if links && service.namespace() == pod.namespace() {
            chosen.insert(service.name(), service);
        } else if service.namespace() == "default" && service.name() == "kubernetes" {
            chosen.entry("kubernetes").or_insert(service);
        }
    }
    let mut vars = BTreeMap::new();
    for (name, service) in chosen {
        one_service(&name.to_uppercase().replace('-', "_"), service, &mut vars);
    }
    vars
}

fn one_service(name: &str, service: &Value, vars: &mut BTreeMap<String, String>) {
    let ip = service.at("spec.clusterIP").str();
    let host = if ip.contains(':') { format!("[{ip}]") } else { ip.to_string() };
    let mut set = |key: String, value: String| {
        vars.insert(key, value);
    };
    set(format!("{name}_SERVICE_HOST"), ip.to_string());
    for (i, port) in service.at("spec.ports").items().iter().enumerate() {
        let number = port.at("port").int_or(0);
        let protocol = match port.at("protocol").str() {
            "" => "TCP",
            p => p,
        };
        let url = format!("{}://{host}:{number}", protocol.to_lowercase());
        if i == 0 {
            set(format!("{name}_SERVICE_PORT"), number.to_string());
            set(format!("{name}_PORT"), url.clone());
        }
        let port_name = port.at("name").str();
        if !port_name.is_empty() {
            let port_name = port_name.to_uppercase().replace('-', "_");
            set(format!("{name}_SERVICE_PORT_{port_name}"), number.to_string());
        }
        let prefix = format!("{name}_PORT_{number}_{}", protocol.to_uppercase());
        set(prefix.clone(), url);
        set(format!("{prefix}_PROTO"), protocol.to_lowercase());
        set(format!("{prefix}_PORT"), number.to_string());
        set(format!("{prefix}_ADDR"), ip.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::fixture::Fixed;
    use timonier_object::value;

    #[test]
    fn expansion_is_upstreams() {
        let lookup = |n: &str| match n {
            "A" => Some("a".to_string()),
            "E" => Some(String::new()),
            _ => None,
        };
        for (text, want) in [
            ("$(A)", "a"),
            ("x$(A)y$(A)", "xaya"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$a"),
            ("$(B)", "$(B)"),
            ("$A", "$A"),
            ("$(A", "$(A"),
            ("$", "$"),
            ("$$", "$"),
            ("[$(E)]", "[]"),
            ("é$(A)é", "éaé"),
            ("$($(A))", "$($(A))"),
        ] {
            assert_eq!(expand(text, lookup), want, "{text}");
        }
    }

    #[test]
    fn the_whole_environment() {
        let pod = value!({ "metadata": { "name": "p", "namespace": "ns" } });
        let container = value!({ "name": "c",
            "envFrom": [{ "prefix": "P_", "configMapRef": { "name": "cm" } },
                        { "secretRef": { "name": "absent", "optional": true } }],
            "env": [{ "name": "ONE", "value": "1$(P_k)" },
                { "name": "TWO", "value": "$(ONE)-$(SVC)" },
                { "name": "NAME", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } },
                { "name": "S", "valueFrom": { "secretKeyRef": { "name": "s", "key": "user" } } },
                { "name": "NO", "valueFrom": { "configMapKeyRef": { "name": "cm", "key": "x", "optional": true } } }] });
        let sources = Fixed::default()
            .with(Kind::ConfigMap, "cm", value!({ "data": { "k": "v" } }))
            .with(Kind::Secret, "s", value!({ "data": { "user": "YWRtaW4=" } }));
        let services = BTreeMap::from([("SVC".to_string(), "s".to_string())]);
        let node = NodeFacts::default();
        let mut ctx = Context {
            pod: &pod,
            container: &container,
            sources: &sources,
            services: &services,
            node: &node,
            pod_ips: &[],
        };
        let vars = environment(&ctx).unwrap();
        let got: Vec<_> = vars.iter().map(|(n, v)| format!("{n}={v}")).collect();
        assert_eq!(got, ["P_k=v", "ONE=1v", "TWO=1v-s", "NAME=p", "S=admin", "SVC=s"]);
        let bad = value!({ "env": [{ "name": "X", "valueFrom": { "configMapKeyRef": { "name": "cm", "key": "x" } } }] });
        ctx.container = &bad;
        assert_eq!(environment(&ctx).unwrap_err(), "couldn't find key x in ConfigMap ns/cm");
        let bad = value!({ "envFrom": [{ "secretRef": { "name": "absent" } }] });
        ctx.container = &bad;
        assert_eq!(environment(&ctx).unwrap_err(), "secret \"absent\" not found");
    }

    #[test]
    fn services_become_variables() {
        let pod = value!({ "metadata": { "namespace": "ns" } });
        let kubernetes = value!({ "metadata": { "name": "kubernetes", "namespace": "default" },
            "spec": { "clusterIP": "10.96.0.1", "ports": [{ "name": "https", "port": 443, "protocol": "TCP" }] } });
        let web = value!({ "metadata": { "name": "my-web", "namespace": "ns" },
            "spec": { "clusterIP": "10.96.0.2", "ports": [{ "port": 80 }] } });
        let headless = value!({ "metadata": { "name": "h", "namespace": "ns" }, "spec": { "clusterIP": "None" } });
        let all = [kubernetes, web, headless];
        let vars = service_variables(&pod, &all);
        assert_eq!(vars["KUBERNETES_SERVICE_PORT_HTTPS"], "443");
        assert_eq!(vars["MY_WEB_PORT_80_TCP"], "tcp://10.96.0.2:80");
        assert_eq!(vars["MY_WEB_SERVICE_HOST"], "10.96.0.2");
        assert_eq!(vars.len(), 8 + 7);
        let off =
            value!({ "metadata": { "namespace": "ns" }, "spec": { "enableServiceLinks": false } });
        assert_eq!(service_variables(&off, &all).len(), 8);
    }
}
