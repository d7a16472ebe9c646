//! Server-side apply of a pod: what comes of it is a pod.

use timonier_meta::{GroupVersionKind, Time};
use timonier_object::Value;
use timonier_patch::apply::{Writer, apply, update};
use timonier_schema::decode;

use crate::Target;

const LIVE: &str = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","managedFields":[{"manager":"b","operation":"Apply","apiVersion":"v1","time":"2026-01-01T00:00:00Z","fieldsType":"FieldsV1","fieldsV1":{"f:metadata":{"f:labels":{".":{},"f:a":{}},"f:finalizers":{".":{},"v:\"x/y\"":{}}},"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{".":{},"f:name":{},"f:ports":{"k:{\"containerPort\":80,\"protocol\":\"TCP\"}":{".":{},"f:containerPort":{}}}}}}}},{"manager":"kubectl","operation":"Update","apiVersion":"v1","fieldsType":"FieldsV1","subresource":"status","fieldsV1":{"f:status":{"f:x":{"i:0":{}}}}}],"labels":{"a":"1"},"finalizers":["x/y"]},"spec":{"containers":[{"name":"c","image":"i","ports":[{"containerPort":80,"protocol":"TCP"}]}]}}"#;

pub const TARGET: Target = Target {
    name: "apply",
    run,
    seeds: || {
        let applied = [
            super::POD,
            r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","labels":{"a":"2"},"finalizers":["z/z"]},"spec":{"containers":[{"name":"d"},{"name":"c","ports":[{"containerPort":81}]}]}}"#,
            r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"}}"#,
        ];
        applied.iter().map(|a| format!("{LIVE}\n--\n{a}").into_bytes()).collect()
    },
    words: &[
        "\"f:spec\":{",
        "\"f:metadata\":",
        "\".\":{}",
        "\"k:{\\\"name\\\":\\\"c\\\"}\":",
        "\"v:1\":{}",
        "\"i:0\":{}",
        "\"manager\":",
        "\"kubectl\"",
        "\"Apply\"",
        "\"Update\"",
        "\"finalizers\":[",
        "\"ports\":[",
        "\"containerPort\":",
        "\"env\":[",
        "null",
        "{",
        "}",
        "[",
        "]",
        ",",
    ],
};

fn run(input: &[u8]) {
    let Some((live, applied)) = super::two_documents(input) else { return };
    let catalogue = super::catalogue();
    let kind = GroupVersionKind::new_static("", "v1", "Pod");
    let Some(row) = catalogue.by_kind(&kind) else { return };
    let decoded = |mut value: Value| -> Option<Value> {
        decode::decode(row, &mut value).ok()?;
        (value.gvk()? == kind).then_some(value)
    };
    let (Some(live), Some(applied)) = (decoded(live), decoded(applied)) else { return };
    let Some(schema) = catalogue.schema_of(&kind) else { return };
    let now = Time::from_unix(1_800_000_000);
    let writer = Writer { schema, manager: "kubectl", subresource: "", ignored: &[], now };
    let sent = live.at("metadata.managedFields");
    drop(update(&writer, &Value::Null, &live, Some(sent)));
    drop(update(&writer, &live, &applied, None));
    if let Err(error) = apply(&writer, &live, &applied, false) {
        assert!(!error.message().is_empty());
    }
    let Ok(once) = apply(&writer, &live, &applied, true) else { return };
    let again = decoded(once.clone());
    assert_eq!(again.as_ref(), Some(&once), "what was applied is not an object of its kind");
    drop(apply(&writer, &once, &applied, false));
}
