//! The real kubectl against the API: reading, changing, errors, discovery.

use crate::cluster::Cluster;
use crate::shell::{Result, contains, equal};

pub fn get_in_all_forms(cluster: &Cluster) -> Result {
    let ns = cluster.namespace("get-forms")?;
    ns.kubectl(&["create", "configmap", "one", "--from-literal=a=1"])?;
    ns.kubectl(&["create", "configmap", "two", "--from-literal=b=2"])?;
    ns.kubectl(&["label", "configmap", "two", "tier=x"])?;
    contains(&ns.kubectl(&["get", "configmaps"])?, &["NAME", "DATA", "AGE", "one", "two"])?;
    contains(&ns.kubectl(&["get", "cm", "one", "-o", "yaml"])?, &["kind: ConfigMap", "a: \"1\""])?;
    contains(&ns.kubectl(&["get", "cm", "one", "-o", "json"])?, &["\"kind\": \"ConfigMap\""])?;
    let path = ns.kubectl(&["get", "cm", "one", "-o", "jsonpath={.data.a}"])?;
    equal("jsonpath", path.as_str(), "1")?;
    equal("name", ns.kubectl(&["get", "cm", "one", "-o", "name"])?.trim(), "configmap/one")?;
    let columns =
        ["get", "cm", "-l", "tier=x", "--no-headers", "-o", "custom-columns=N:.metadata.name"];
    equal("custom columns and a label", ns.kubectl(&columns)?.trim(), "two")?;
    let field = ["get", "cm", "--field-selector=metadata.name=one", "-o", "name"];
    equal("a field selector", ns.kubectl(&field)?.trim(), "configmap/one")?;
    let paged = ns.kubectl(&["get", "cm", "--chunk-size=1", "-o", "name"])?;
    contains(&paged, &["configmap/one", "configmap/two", "configmap/kube-root-ca.crt"])?;
    contains(&ns.kubectl(&["get", "namespaces", "-A"])?, &["default", "kube-system", "Active"])?;
    contains(&ns.kubectl(&["get", "nodes", "-o", "wide"])?, &["Ready", "INTERNAL-IP"])
}

pub fn create_and_change(cluster: &Cluster) -> Result {
    let ns = cluster.namespace("change")?;
    let manifest = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, labels: {x: z}}\ndata: {a: one, b: two}\n";
    contains(&ns.apply(manifest)?, &["configmap/c created"])?;
    contains(&ns.apply(manifest)?, &["configmap/c unchanged"])?;
    let changed = manifest.replace("b: two", "c: three");
    let diff = crate::shell::run(&mut ns.command(&["diff", "-f", "-"]), &changed)?;
    equal("diff's exit code", diff.status, 1)?;
    contains(&diff.stdout, &["-  b: two", "+  c: three"])?;
    contains(&ns.apply(&changed)?, &["configmap/c configured"])?;
    equal(
        "applied data",
        ns.kubectl(&["get", "cm", "c", "-o", "jsonpath={.data}"])?.as_str(),
        r#"{"a":"one","c":"three"}"#,
    )?;
    ns.kubectl(&["patch", "cm", "c", "--type=merge", "-p", r#"{"data":{"a":null}}"#])?;
    ns.kubectl(&[
        "patch",
        "cm",
        "c",
        "--type=json",
        "-p",
        r#"[{"op":"add","path":"/data/d","value":"4"}]"#,
    ])?;
    ns.kubectl(&["patch", "cm", "c", "-p", r#"{"data":{"e":"5"}}"#])?;
    equal(
        "patched data",
        ns.kubectl(&["get", "cm", "c", "-o", "jsonpath={.data}"])?.as_str(),
        r#"{"c":"three","d":"4","e":"5"}"#,
    )?;
    ns.kubectl(&["annotate", "cm", "c", "note=hello"])?;
    ns.kubectl(&["label", "cm", "c", "x-"])?;
    let object = ns.kubectl(&["get", "cm", "c", "-o", "json"])?;
    contains(&object, &["\"note\": \"hello\""])?;
    contains(&ns.kubectl_with(&["replace", "-f", "-"], &object)?, &["configmap/c replaced"])?;
    contains(
        &ns.kubectl(&["create", "cm", "dry", "--dry-run=server"])?,
        &["created (server dry run)"],
    )?;
    contains(&ns.kubectl_fails(&["get", "cm", "dry"], "")?, &["NotFound"])?;
    contains(&ns.kubectl(&["delete", "cm", "c"])?, &["configmap \"c\" deleted"])
}

pub fn errors_are_upstreams(cluster: &Cluster) -> Result {
    let ns = cluster.namespace("errors")?;
    let missing = ns.kubectl_fails(&["get", "pod", "nope"], "")?;
    equal("not found", missing.trim(), "Error from server (NotFound): pods \"nope\" not found")?;
    ns.kubectl(&["create", "cm", "a"])?;
    let twice = ns.kubectl_fails(&["create", "cm", "a"], "")?;
    contains(&twice, &["configmaps \"a\" already exists"])?;
    let unknown = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: u}\nspec: {x: 1}\n";
    let strict = ns.kubectl_fails(&["create", "--validate=strict", "-f", "-"], unknown)?;
    contains(&strict, &["strict decoding error: unknown field \"spec\""])?;
    let bad = "apiVersion: v1\nkind: Pod\nmetadata: {name: Bad_Name}\nspec: {containers: [{name: a, image: b}]}\n";
    let invalid = ns.kubectl_fails(&["create", "-f", "-"], bad)?;
    contains(
        &invalid,
        &["The Pod \"Bad_Name\" is invalid: metadata.name: Invalid value: \"Bad_Name\""],
    )?;
    let stale = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, resourceVersion: \"1\"}\n";
    let conflict = ns.kubectl_fails(&["replace", "-f", "-"], stale)?;
    contains(
        &conflict,
        &["Operation cannot be fulfilled on configmaps \"a\": the object has been modified"],
    )?;
    let other = ns.kubectl_fails(&["--as=nobody", "get", "pods"], "")?;
    contains(
        &other,
        &[
            "pods is forbidden: User \"nobody\" cannot list resource \"pods\" in API group \"\" in the namespace \"errors\"",
        ],
    )
}

pub fn discovery_and_explain(cluster: &Cluster) -> Result {
    let ns = cluster.namespace("discovery")?;
    let resources = ns.kubectl(&["api-resources"])?;
    contains(&resources, &["deployments", "deploy", "apps/v1", "configmaps", "endpointslices"])?;
    contains(&ns.kubectl(&["api-versions"])?, &["apps/v1", "batch/v1", "networking.k8s.io/v1"])?;
    let explain = ns.kubectl(&["explain", "deployment.spec.strategy", "--recursive"])?;
    contains(&explain, &["KIND:       Deployment", "rollingUpdate", "maxSurge"])?;
    contains(&ns.kubectl(&["version"])?, &["Server Version: v1.35"])?;
    contains(&ns.kubectl(&["cluster-info"])?, &["is running at"])?;
    contains(&ns.kubectl(&["auth", "whoami"])?, &["Username", "system:masters"])
}
