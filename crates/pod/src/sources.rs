//! What a pod reads from other objects: which ones, and their contents.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use smol_str::SmolStr;
use timonier_object::Value;

use crate::spec::all_containers;

/// The kind of an object that a pod reads.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
    ConfigMap,
    Secret,
}

impl Kind {
    /// The word in upstream's error texts: `configmap "x" not found`.
    pub fn noun(self) -> &'static str {
        match self {
            Kind::ConfigMap => "configmap",
            Kind::Secret => "secret",
        }
    }

    /// The kind's name.
    pub fn title(self) -> &'static str {
        match self {
            Kind::ConfigMap => "ConfigMap",
            Kind::Secret => "Secret",
        }
    }
}

/// An object in the pod's namespace.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Reference {
    pub kind: Kind,
    pub name: SmolStr,
}

/// A bound service account token that a volume asks for.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TokenSpec {
    /// Empty for the API server's own.
    pub audience: SmolStr,
    pub expiration_seconds: i64,
}

/// The contents that volumes and environments are made from. The node fills it from its watches.
pub trait Sources {
    /// The object, if it exists.
    fn object(&self, reference: &Reference) -> Option<&Value>;

    /// A valid token; the error says why there is none.
    fn token(&self, spec: &TokenSpec) -> Result<&str, String>;
}

/// The objects that the pod's containers and volumes read, image pull secrets not among them.
pub fn references(pod: &Value) -> BTreeSet<Reference> {
    let mut out = BTreeSet::new();
    let mut add = |kind, name: &Value| {
        if !name.str().is_empty() {
            out.insert(Reference { kind, name: name.smol() });
        }
    };
    for container in all_containers(pod) {
        for from in container.spec.at("envFrom").items() {
            add(Kind::ConfigMap, from.at("configMapRef.name"));
            add(Kind::Secret, from.at("secretRef.name"));
        }
        for var in container.spec.at("env").items() {
            add(Kind::ConfigMap, var.at("valueFrom.configMapKeyRef.name"));
            add(Kind::Secret, var.at("valueFrom.secretKeyRef.name"));
        }
    }
    for volume in pod.at("spec.volumes").items() {
        add(Kind::ConfigMap, volume.at("configMap.name"));
        add(Kind::Secret, volume.at("secret.secretName"));
        for source in volume.at("projected.sources").items() {
            add(Kind::ConfigMap, source.at("configMap.name"));
            add(Kind::Secret, source.at("secret.name"));
        }
    }
    out
}

/// The tokens that the pod's volumes ask for.
pub fn tokens(pod: &Value) -> BTreeSet<TokenSpec> {
    let volumes = pod.at("spec.volumes").items().iter();
    volumes
        .flat_map(|v| v.at("projected.sources").items())
        .filter_map(|s| s.get("serviceAccountToken"))
        .map(TokenSpec::read)
        .collect()
}

impl TokenSpec {
    /// Reads a `serviceAccountToken` projection.
    pub fn read(projection: &Value) -> Self {
        TokenSpec {
            audience: projection.at("audience").smol(),
            expiration_seconds: projection.at("expirationSeconds").int_or(3600),
        }
    }
}

/// All keys of a ConfigMap or Secret with their bytes. Values that are not valid base64 are left
/// out; the API server lets none in.
pub fn contents(kind: Kind, object: &Value) -> Vec<(&str, Vec<u8>)> {
    let text = |v: &Value| v.str().as_bytes().to_vec();
    let binary = |v: &Value| STANDARD.decode(v.str()).ok();
    match kind {
        Kind::ConfigMap => object
            .at("data")
            .entries()
            .map(|(k, v)| (k, text(v)))
            .chain(object.at("binaryData").entries().filter_map(|(k, v)| Some((k, binary(v)?))))
            .collect(),
        Kind::Secret => {
            object.at("data").entries().filter_map(|(k, v)| Some((k, binary(v)?))).collect()
        }
    }
}

/// One key's text, as environments use it: `binaryData` does not count.
pub fn key_text(kind: Kind, object: &Value, key: &str) -> Option<String> {
    let value = object.at("data").get(key)?;
    match kind {
        Kind::ConfigMap => Some(value.str().to_string()),
        Kind::Secret => {
            let bytes = STANDARD.decode(value.str()).ok()?;
            Some(String::from_utf8_lossy(&bytes).into_owned())
        }
    }
}

/// Upstream's text for an object that is not there.
pub fn not_found(reference: &Reference) -> String {
    format!("{} {:?} not found", reference.kind.noun(), reference.name.as_str())
}

#[cfg(test)]
pub(crate) mod fixture {
    use super::*;
    use alloc::collections::BTreeMap;

    /// Sources from a list, for tests.
    #[derive(Default)]
    pub struct Fixed {
        pub objects: BTreeMap<Reference, Value>,
        pub token: Option<String>,
    }

    impl Fixed {
        pub fn with(mut self, kind: Kind, name: &str, object: Value) -> Self {
            self.objects.insert(Reference { kind, name: name.into() }, object);
            self
        }
    }

    impl Sources for Fixed {
        fn object(&self, reference: &Reference) -> Option<&Value> {
            self.objects.get(reference)
        }

        fn token(&self, _: &TokenSpec) -> Result<&str, String> {
            self.token.as_deref().ok_or_else(|| "no token".to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use timonier_object::value;

    #[test]
    fn references_from_everywhere() {
        let pod = value!({ "spec": {
            "containers": [{ "name": "a",
                "envFrom": [{ "configMapRef": { "name": "c1" } }, { "secretRef": { "name": "s1" } }],
                "env": [{ "name": "X", "valueFrom": { "secretKeyRef": { "name": "s2", "key": "k" } } }] }],
            "volumes": [{ "name": "v", "configMap": { "name": "c2" } },
                { "name": "p", "projected": { "sources": [{ "secret": { "name": "s3" } },
                    { "serviceAccountToken": { "path": "token", "expirationSeconds": 600 } }] } }] } });
        let names: Vec<_> = references(&pod).into_iter().map(|r| r.name).collect();
        assert_eq!(names, ["c1", "c2", "s1", "s2", "s3"]);
        let token = TokenSpec { audience: "".into(), expiration_seconds: 600 };
        assert_eq!(tokens(&pod).into_iter().collect::<Vec<_>>(), [token]);
    }

    #[test]
    fn secrets_are_decoded() {
        let secret = value!({ "data": { "k": "YWRtaW4=" } });
        assert_eq!(key_text(Kind::Secret, &secret, "k").as_deref(), Some("admin"));
        assert_eq!(contents(Kind::Secret, &secret), [("k", b"admin".to_vec())]);
    }
}
