use alloc::vec;

use timonier_object::value;
use timonier_schema::{Catalogue, ResourceRow};

use super::*;

fn row(group: &str, plural: &str) -> alloc::sync::Arc<ResourceRow> {
    Catalogue::builtin().resource(group, "v1", plural).unwrap().clone()
}

fn writer<'a>(row: &'a ResourceRow, manager: &'a str) -> Writer<'a> {
    let now = Time::from_unix(0);
    Writer { schema: row.schema(), manager, subresource: "", ignored: &["status"], now }
}

fn deployment(spec: Value) -> Value {
    value!({ "apiVersion": "apps/v1", "kind": "Deployment",
             "metadata": { "name": "d", "namespace": "ns" }, "spec": spec })
}

fn container(name: &str, image: &str) -> Value {
    value!({ "name": name, "image": image })
}

fn with(containers: Vec<Value>) -> Value {
    deployment(value!({ "template": { "spec": { "containers": containers } } }))
}

fn names(object: &Value) -> Vec<&str> {
    let containers = object.at("spec.template.spec.containers").items();
    containers.iter().map(|c| c.at("name").str()).collect()
}

fn entry<'a>(object: &'a Value, manager: &str) -> Option<&'a Value> {
    let all = object.at("metadata.managedFields").items();
    all.iter().find(|e| e.at("manager").str() == manager)
}

#[test]
fn each_manages_what_it_applies() {
    let row = row("apps", "deployments");
    let first = apply(
        &writer(&row, "a"),
        &Value::Null,
        &with(vec![container("x", "1"), container("y", "1")]),
        false,
    )
    .unwrap();
    assert_eq!(
        entry(&first, "a").unwrap(),
        &value!({ "manager": "a", "operation": "Apply", "apiVersion": "apps/v1",
            "time": "1970-01-01T00:00:00Z", "fieldsType": "FieldsV1",
            "fieldsV1": { "f:spec": { "f:template": { "f:spec": { "f:containers": {
                "k:{\"name\":\"x\"}": { ".": {}, "f:image": {}, "f:name": {} },
                "k:{\"name\":\"y\"}": { ".": {}, "f:image": {}, "f:name": {} } } } } } } })
    );
    let second =
        apply(&writer(&row, "b"), &first, &with(vec![container("z", "1")]), false).unwrap();
    assert_eq!(names(&second), ["x", "y", "z"]);
    // Who applies something else conflicts; the same is shared.
    let error = apply(&writer(&row, "b"), &second, &with(vec![container("x", "2")]), false);
    assert_eq!(
        error.unwrap_err().message(),
        "Apply failed with 1 conflict: conflict with \"a\": .spec.template.spec.containers[name=\"x\"].image"
    );
    let shared =
        apply(&writer(&row, "b"), &second, &with(vec![container("x", "1")]), false).unwrap();
    assert_eq!(names(&shared), ["x", "y"], "what b applies no more is gone");
    let forced =
        apply(&writer(&row, "b"), &shared, &with(vec![container("x", "2")]), true).unwrap();
    assert_eq!(forced.at("spec.template.spec.containers").items()[0].at("image").str(), "2");
    let left = entry(&forced, "a").unwrap().to_string();
    assert!(!left.contains(r#""k:{\"name\":\"x\"}":{".":{},"f:image""#), "{left}");
    // What two apply stays until both have dropped it.
    let dropped =
        apply(&writer(&row, "a"), &forced, &with(vec![container("y", "1")]), false).unwrap();
    assert_eq!(names(&dropped), ["x", "y"]);
    let gone =
        apply(&writer(&row, "b"), &dropped, &with(vec![container("y", "1")]), false).unwrap();
    assert_eq!(names(&gone), ["y"]);
}

#[test]
fn updates_take_fields_without_asking() {
    let row = row("apps", "deployments");
    let mut live =
        apply(&writer(&row, "a"), &Value::Null, &deployment(value!({ "replicas": 1 })), false)
            .unwrap();
    let old = live.clone();
    live.set("spec.replicas", 3);
    let fields = update(&writer(&row, "edit"), &old, &live, None);
    live.set("metadata.managedFields", fields);
    assert!(entry(&live, "a").is_none());
    assert_eq!(entry(&live, "edit").unwrap().at("operation").str(), "Update");
    let error = apply(&writer(&row, "a"), &live, &deployment(value!({ "replicas": 1 })), false);
    assert_eq!(
        error.unwrap_err(),
        ApplyError::Conflicts(vec![("\"edit\" using apps/v1".into(), ".spec.replicas".into())])
    );
    // A write that changes nothing changes no manager.
    assert_eq!(
        &update(&writer(&row, "other"), &live, &live, None),
        live.at("metadata.managedFields")
    );
    assert!(update(&writer(&row, "other"), &live, &live, Some(&value!([]))).is_null(), "reset");
}

#[test]
fn what_was_there_before_the_first_apply_has_a_manager() {
    let row = row("", "configmaps");
    let map = |data: Value| {
        value!({ "apiVersion": "v1", "kind": "ConfigMap",
                 "metadata": { "name": "m", "namespace": "ns" }, "data": data })
    };
    let live = map(value!({ "k": "1" }));
    let error = apply(&writer(&row, "a"), &live, &map(value!({ "k": "2" })), false).unwrap_err();
    assert_eq!(
        error.message(),
        "Apply failed with 1 conflict: conflict with \"before-first-apply\" using v1: .data.k"
    );
    // From client-side apply one comes without a conflict.
    let mut client = live.clone();
    let last = json::to_string(&map(value!({ "k": "1" })));
    client.set("metadata.annotations", value!({ LAST_APPLIED: last }));
    let moved =
        apply(&writer(&row, "kubectl"), &client, &map(value!({ "k": "2" })), false).unwrap();
    assert_eq!(moved.at("data.k").str(), "2");
    assert!(moved.annotation(LAST_APPLIED).unwrap().contains(r#""k":"2""#));
}

#[test]
fn wrong_objects_are_refused() {
    let row = row("apps", "deployments");
    let bad = deployment(value!({ "replicas": "x", "foo": 1,
        "template": { "spec": { "containers": [{ "image": "x" }] } } }));
    let error = apply(&writer(&row, "a"), &Value::Null, &bad, false).unwrap_err().message();
    assert_eq!(
        error,
        "failed to create typed patch object (ns/d; apps/v1, Kind=Deployment): errors:\n  .spec.replicas: expected numeric (int or float), got \"x\"\n  .spec.foo: field not declared in schema\n  .spec.template.spec.containers: element 0: associative list with keys has an element that omits key field \"name\" (and doesn't have default value)"
    );
    let twice = with(vec![container("x", "1"), container("x", "2")]);
    let error = apply(&writer(&row, "a"), &Value::Null, &twice, false).unwrap_err().message();
    assert!(
        error.ends_with(".spec.template.spec.containers: duplicate entries for key [name=\"x\"]")
    );
}

#[test]
fn an_apply_of_the_same_changes_nothing() {
    let row = row("apps", "deployments");
    let object = with(vec![container("x", "1")]);
    let live = apply(&writer(&row, "a"), &Value::Null, &object, false).unwrap();
    let later = Writer { now: Time::from_unix(60), ..writer(&row, "a") };
    assert_eq!(apply(&later, &live, &object, false).unwrap(), live);
}

#[test]
fn items_come_in_the_order_in_which_they_are_applied() {
    let row = row("apps", "deployments");
    let make = |names: &[&str]| with(names.iter().map(|n| container(n, "1")).collect());
    let live = apply(&writer(&row, "a"), &Value::Null, &make(&["x", "y"]), false).unwrap();
    let live = apply(&writer(&row, "b"), &live, &make(&["m"]), false).unwrap();
    let live = apply(&writer(&row, "a"), &live, &make(&["y", "n", "x"]), false).unwrap();
    assert_eq!(names(&live), ["y", "m", "n", "x"]);
}

#[test]
fn many_managers_are_put_together() {
    let row = row("", "configmaps");
    let mut live = value!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "m" } });
    let first = update(&writer(&row, "w"), &Value::Null, &live, None);
    assert!(first.is_null(), "nothing of it is anybody's");
    live.set("data.k", "v");
    live.set("metadata.managedFields", update(&writer(&row, "w"), &Value::Null, &live, None));
    for i in 0..15 {
        let old = live.clone();
        live.set(&format!("data.k{i}"), "v");
        let name = format!("w{i}");
        let fields =
            update(&Writer { now: Time::from_unix(i), ..writer(&row, &name) }, &old, &live, None);
        live.set("metadata.managedFields", fields);
    }
    assert_eq!(live.at("metadata.managedFields").items().len(), 10);
    assert!(entry(&live, "ancient-changes").is_some());
}

/// With work that grows with the square of the fields this takes minutes.
#[test]
fn very_many_fields_are_no_work() {
    let row = row("", "configmaps");
    let map = |from: usize| -> Value {
        let data: Value = (from..from + 30_000).map(|i| (alloc::format!("k{i}"), "")).collect();
        value!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "m" }, "data": data })
    };
    let fields = update(&writer(&row, "a"), &Value::Null, &map(0), None);
    let mut first = map(0);
    first.set("metadata.managedFields", fields);
    let applied = apply(&writer(&row, "b"), &first, &map(15_000), true).unwrap();
    assert_eq!(applied.at("data").as_object().unwrap().len(), 45_000);
    let of_b = entry(&applied, "b").unwrap().at("fieldsV1").get("f:data").unwrap().clone();
    assert_eq!(of_b.as_object().unwrap().len(), 30_000);
}
