//! The targets, one file each.

mod apply;
mod cel;
mod compression;
mod credentials;
mod custom;
mod dns;
mod dockerfile;
mod dockerignore;
mod documents;
mod grpc;
mod json;
mod json_patch;
mod kubeconfig;
mod layer;
mod merge_patch;
mod netlink;
mod objects;
mod protobuf;
mod quantity;
mod query;
mod references;
mod registry;
mod resolv_conf;
mod selectors;
mod spdy;
mod strategic_patch;
mod times;
mod url;
mod websocket;
mod yaml;

use std::sync::{Arc, OnceLock};

use timonier_object::{Value, json as codec};
use timonier_schema::Catalogue;

use crate::Target;

/// Every target.
pub fn all() -> [Target; 30] {
    [
        apply::TARGET,
        cel::TARGET,
        compression::TARGET,
        credentials::TARGET,
        custom::TARGET,
        dns::TARGET,
        dockerfile::TARGET,
        dockerignore::TARGET,
        documents::TARGET,
        grpc::TARGET,
        json::TARGET,
        json_patch::TARGET,
        kubeconfig::TARGET,
        layer::TARGET,
        merge_patch::TARGET,
        netlink::TARGET,
        objects::TARGET,
        protobuf::TARGET,
        quantity::TARGET,
        query::TARGET,
        references::TARGET,
        registry::TARGET,
        resolv_conf::TARGET,
        selectors::TARGET,
        spdy::TARGET,
        strategic_patch::TARGET,
        times::TARGET,
        url::TARGET,
        websocket::TARGET,
        yaml::TARGET,
    ]
}

/// Two JSON documents with a line of `--` between them.
fn two_documents(input: &[u8]) -> Option<(Value, Value)> {
    let at = input.windows(4).position(|w| w == b"\n--\n")?;
    let decode = |bytes| codec::decode(bytes).ok();
    Some((decode(&input[..at])?, decode(&input[at + 4..])?))
}

/// What is encoded as JSON is decoded and encoded to the same. The values need not be equal: a whole
/// number is written without a fraction, as upstream does, and read as an integer.
fn assert_encodes(value: &Value) {
    let once = codec::encode(value);
    let again = codec::decode(&once).map(|value| codec::encode(&value));
    let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert_eq!(again.map(|b| shown(&b)), Ok(shown(&once)), "it is not the same after encoding");
}

/// Kubernetes' kinds.
fn catalogue() -> &'static Catalogue {
    static KINDS: OnceLock<Arc<Catalogue>> = OnceLock::new();
    KINDS.get_or_init(Catalogue::builtin)
}

/// A pod that has most of what patches and validation look at.
const POD: &str = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","namespace":"default","labels":{"app":"web"},"finalizers":["a.b/c"],"ownerReferences":[{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"r","uid":"u"}]},"spec":{"containers":[{"name":"main","image":"nginx:1","command":["sh","-c","x"],"env":[{"name":"A","value":"b"},{"name":"N","valueFrom":{"fieldRef":{"fieldPath":"metadata.name"}}}],"ports":[{"containerPort":80,"protocol":"TCP"}],"resources":{"requests":{"cpu":"100m","memory":"64Mi"}},"volumeMounts":[{"name":"v","mountPath":"/v"}],"livenessProbe":{"httpGet":{"path":"/","port":80}}}],"volumes":[{"name":"v","emptyDir":{}}],"tolerations":[{"key":"k","operator":"Exists"}],"nodeSelector":{"disk":"ssd"}}}"#;
