//! Server-side apply, and who manages what.

use timonier_object::{Value, json, value};

use crate::common::{Api, MAPS, config_map};

const YAML: (&str, &str) = ("content-type", "application/apply-patch+yaml");

async fn apply(api: &mut Api, path: &str, body: &str) -> (u16, Value) {
    let (code, bytes) = api.raw("PATCH", path, &[YAML], body.to_string()).await;
    (code, json::decode(&bytes).unwrap())
}

fn map(data: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n{data}")
}

fn managers(object: &Value) -> Vec<String> {
    let entries = object.at("metadata.managedFields").items();
    let line = |e: &Value| format!("{} {}", e.at("manager").str(), e.at("operation").str());
    entries.iter().map(line).collect()
}

#[tokio::test(start_paused = true)]
async fn objects_are_created_merged_and_fought_for() {
    let mut api = Api::start().await;
    let path = format!("{MAPS}/a?fieldManager=one");
    let (code, made) = apply(&mut api, &path, &map("  k: v\n  x: z\n")).await;
    assert_eq!((code, managers(&made)), (201, vec!["one Apply".to_string()]), "{made}");
    let (code, same) = apply(&mut api, &path, &map("  k: v\n  x: z\n")).await;
    assert_eq!((code, same.resource_version()), (200, made.resource_version()));
    let other = format!("{MAPS}/a?fieldManager=two");
    let (code, conflict) = apply(&mut api, &other, &map("  k: w\n")).await;
    assert_eq!(code, 409);
    assert_eq!(
        conflict.at("message").str(),
        "Apply failed with 1 conflict: conflict with \"one\": .data.k"
    );
    let cause = &conflict.at("details.causes").items()[0];
    assert_eq!(
        (cause.at("reason").str(), cause.at("field").str()),
        ("FieldManagerConflict", ".data.k")
    );
    let dry = format!("{other}&force=true&dryRun=All");
    assert_eq!(apply(&mut api, &dry, &map("  k: w\n")).await.1.at("data.k").str(), "w");
    assert_eq!(api.get(&format!("{MAPS}/a")).await.at("data.k").str(), "v");
    let (_, forced) = apply(&mut api, &format!("{other}&force=true"), &map("  k: w\n")).await;
    assert_eq!(forced.at("data"), &value!({ "k": "w", "x": "z" }));
    let (_, less) = apply(&mut api, &path, &map("  z: z\n")).await;
    assert_eq!(less.at("data"), &value!({ "k": "w", "z": "z" }), "x was its own alone");
}

#[tokio::test(start_paused = true)]
async fn other_writes_are_noted() {
    let mut api = Api::start().await;
    api.headers.push(("user-agent", "edit/v1 (x)".into()));
    let made = api.create(MAPS, config_map("a")).await;
    assert_eq!(managers(&made), ["edit Update"]);
    let mut next = made.clone();
    next.set("data.l", "1");
    next.remove("metadata.managedFields");
    let path = format!("{MAPS}/a?fieldManager=put");
    let (_, put) = api.call("PUT", &path, &next).await;
    assert_eq!(managers(&put), ["edit Update", "put Update"]);
    let (code, conflict) =
        apply(&mut api, &format!("{MAPS}/a?fieldManager=one"), &map("  l: '2'\n")).await;
    assert_eq!(code, 409);
    assert_eq!(
        conflict.at("message").str(),
        "Apply failed with 1 conflict: conflict with \"put\" using v1: .data.l"
    );
    let mut reset = put.clone();
    reset.set("metadata.managedFields", value!([]));
    let (_, reset) = api.call("PUT", &path, &reset).await;
    assert!(managers(&reset).is_empty());
    let (_, applied) =
        apply(&mut api, &format!("{MAPS}/a?fieldManager=one"), &map("  m: '2'\n")).await;
    assert_eq!(managers(&applied), ["one Apply", "before-first-apply Update"]);
}

#[tokio::test(start_paused = true)]
async fn wrong_applies_are_refused() {
    let mut api = Api::start().await;
    let path = format!("{MAPS}/a?fieldManager=one");
    for (path, body, code, text) in [
        (
            &format!("{MAPS}/a"),
            map(""),
            422,
            "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch",
        ),
        (&path, "kind: Pod\napiVersion: v1".into(), 400, "invalid object type: v1, Kind=Pod"),
        (
            &path,
            map("  k: v\nfoo: 1\n"),
            500,
            "failed to create typed patch object (default/a; v1, Kind=ConfigMap): .foo: field not declared in schema",
        ),
        (
            &format!("{path}&fieldValidation=Strict"),
            map("  k: v\n  k: w\n"),
            400,
            "error strict decoding YAML: yaml: unmarshal errors:\n  line 7: key \"k\" already set in map",
        ),
    ] {
        let (got, status) = apply(&mut api, path, &body).await;
        assert_eq!((got, status.at("message").str()), (code, text));
    }
    assert_eq!(
        api.call("GET", &format!("{MAPS}/a"), &Value::Null).await.0,
        404,
        "nothing is stored"
    );
}

#[tokio::test(start_paused = true)]
async fn the_status_is_applied_apart() {
    let mut api = Api::start().await;
    let path = "/apis/apps/v1/namespaces/default/deployments/d";
    let spec = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\nspec:\n  selector: {matchLabels: {a: b}}\n  template:\n    metadata: {labels: {a: b}}\n    spec: {containers: [{name: c, image: x}]}\nstatus: {replicas: 7}\n";
    let (code, made) = apply(&mut api, &format!("{path}?fieldManager=one"), spec).await;
    assert_eq!(code, 201, "{made}");
    assert!(made.at("status.replicas").is_null());
    assert!(!made.at("metadata.managedFields").to_string().contains("f:status"));
    let status =
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\nstatus: {replicas: 2}\n";
    let (code, changed) = apply(&mut api, &format!("{path}/status?fieldManager=s"), status).await;
    assert_eq!((code, changed.at("status.replicas").as_i64()), (200, Some(2)));
    let entries = changed.at("metadata.managedFields").items();
    assert_eq!(entries.iter().filter(|e| e.at("subresource").str() == "status").count(), 1);
    assert_eq!(
        apply(&mut api, &format!("{path}/scale?fieldManager=s"), status).await.0,
        400,
        "a Deployment is no Scale"
    );
}

#[tokio::test(start_paused = true)]
async fn json_is_applied_as_deep_as_it_is_created() {
    let mut api = Api::start().await;
    let deep = (0..80).fold(value!("end"), |below, _| value!({ "a": (below) }));
    let revision = value!({ "apiVersion": "apps/v1", "kind": "ControllerRevision",
        "metadata": { "name": "r" }, "revision": 1, "data": (deep.clone()) });
    let path = "/apis/apps/v1/namespaces/default/controllerrevisions/r?fieldManager=one";
    let (code, made) = apply(&mut api, path, &revision.to_string()).await;
    assert_eq!(code, 201, "{made}");
    assert_eq!(made.at("data"), &deep);
}
