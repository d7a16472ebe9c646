//! Every pod runs as a service account and finds its token. Upstream's plug-in `ServiceAccount`.

use std::sync::Arc;
use std::time::Duration;

use timonier_meta::gvk::resources;
use timonier_meta::{ApiError, names};
use timonier_object::{Value, value};
use timonier_policy::{mountable_secrets, node};

use super::{Operation, Request};

const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Upstream's one hour and seven seconds: a number by which such tokens are told apart.
pub const TOKEN_SECONDS: i64 = 3607;
const MIRROR: &str = "kubernetes.io/config.mirror";

/// A new namespace's default account can be a moment behind.
const ATTEMPTS: usize = 10;
const PAUSE: Duration = Duration::from_millis(100);

/// Fills in the account, its pull secrets, and the volume with its token.
pub async fn mutate(request: &Request<'_>, pod: &mut Value) -> Result<(), ApiError> {
    if request.operation != Operation::Create || !request.is("", "pods") {
        return Ok(());
    }
    if pod.annotation(MIRROR).is_some() {
        return check_mirror(request, pod);
    }
    let stated = match pod.at("spec.serviceAccountName").smol() {
        name if name.is_empty() => pod.at("spec.serviceAccount").smol(),
        name => name,
    };
    let name = if stated.is_empty() { "default".into() } else { stated };
    pod.set("spec.serviceAccountName", &name);
    pod.set("spec.serviceAccount", &name);
    let account = find(request, pod, &name).await?;
    if mounts_token(&account, pod) {
        mount(pod, request.call.server.env.random());
    }
    if pod.at("spec.imagePullSecrets").is_empty() && !account.at("imagePullSecrets").is_empty() {
        pod.set("spec.imagePullSecrets", account.at("imagePullSecrets"));
    }
    Ok(())
}

fn check_mirror(request: &Request<'_>, pod: &Value) -> Result<(), ApiError> {
    let refuse = |why: &str| Err(request.forbidden(pod, why));
    if !pod.at("spec.serviceAccountName").is_empty() {
        return refuse("a mirror pod may not reference service accounts");
    }
    if node::uses_secrets(pod) {
        return refuse("a mirror pod may not reference secrets");
    }
    let projects = |v: &Value| {
        let sources = v.at("projected.sources").items();
        sources.iter().any(|s| !s.at("serviceAccountToken").is_null())
    };
    if pod.at("spec.volumes").items().iter().any(projects) {
        return refuse("a mirror pod may not use ServiceAccountToken volume projections");
    }
    Ok(())
}

/// Refuses Secrets that the account does not list, where its lists bind.
pub fn validate(request: &Request<'_>, pod: &Value) -> Result<(), ApiError> {
    let check = match request.operation {
        Operation::Create if request.is("", "pods") => mountable_secrets::check,
        Operation::Update if request.call.row.gvr == resources::PODS => {
            if request.subresource != "ephemeralcontainers" {
                return Ok(());
            }
            mountable_secrets::check_ephemeral
        }
        _ => return Ok(()),
    };
    let name = pod.at("spec.serviceAccountName").str();
    let account =
        request.call.server.peek(&resources::SERVICEACCOUNTS, request.call.namespace(), name);
    match account.filter(|account| mountable_secrets::are_enforced(account)) {
        Some(account) => check(&account, pod).map_err(|why| request.forbidden(pod, &why)),
        None => Ok(()),
    }
}

async fn find(request: &Request<'_>, pod: &Value, name: &str) -> Result<Arc<Value>, ApiError> {
    let namespace = request.call.namespace();
    let attempts = if name == "default" { ATTEMPTS } else { 1 };
    for attempt in 0..attempts {
        if attempt > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        let found = request.call.server.peek(&resources::SERVICEACCOUNTS, namespace, name);
        if let Some(account) = found {
            return Ok(account);
        }
    }
    let why = format!(
        "error looking up service account {namespace}/{name}: serviceaccount {name:?} not found"
    );
    Err(request.forbidden(pod, &why))
}

/// The pod's word counts before the account's; without any the token is mounted.
fn mounts_token(account: &Value, pod: &Value) -> bool {
    let of_pod = pod.at("spec.automountServiceAccountToken").as_bool();
    of_pod.or(account.at("automountServiceAccountToken").as_bool()).unwrap_or(true)
}

fn mount(pod: &mut Value, random: u64) {
    let volume = format!("kube-api-access-{}", names::suffix(random, 5));
    let mut used = false;
    for list in ["spec.initContainers", "spec.containers"] {
        let Some(containers) = pod.find_mut(list).and_then(Value::as_array_mut) else { continue };
        for container in containers.iter_mut() {
            let taken = |m: &Value| m.at("mountPath").str() == MOUNT_PATH;
            if container.at("volumeMounts").items().iter().any(taken) {
                continue;
            }
            used = true;
            container
                .entry("volumeMounts")
                .make_array()
                .push(value!({ "name": (&volume), "readOnly": true, "mountPath": MOUNT_PATH }));
        }
    }
    if used {
        pod.entry("spec.volumes").make_array().push(token_volume(&volume));
    }
}

fn token_volume(name: &str) -> Value {
    value!({ "name": name, "projected": { "sources": [
        { "serviceAccountToken": { "expirationSeconds": TOKEN_SECONDS, "path": "token" } },
        { "configMap": { "name": "kube-root-ca.crt", "items": [{ "key": "ca.crt", "path": "ca.crt" }] } },
        { "downwardAPI": { "items": [
            { "path": "namespace", "fieldRef": { "apiVersion": "v1", "fieldPath": "metadata.namespace" } }
        ] } }
    ], "defaultMode": 420 } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_mounted_where_nothing_else_is() {
        let mut pod = value!({ "spec": { "containers": [
            { "name": "a" },
            { "name": "b", "volumeMounts": [{ "name": "x", "mountPath": MOUNT_PATH }] }] } });
        mount(&mut pod, 0);
        let containers = pod.at("spec.containers").items();
        assert_eq!(
            containers[0].at("volumeMounts").items()[0].at("name").str(),
            "kube-api-access-bbbbb"
        );
        assert_eq!(containers[1].at("volumeMounts").items().len(), 1);
        assert_eq!(pod.at("spec.volumes").items().len(), 1);
        let mut none = value!({ "spec": { "containers": [
            { "name": "b", "volumeMounts": [{ "name": "x", "mountPath": MOUNT_PATH }] }] } });
        mount(&mut none, 0);
        assert!(none.at("spec.volumes").is_null());
    }
}
