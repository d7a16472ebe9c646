//! Definitions of custom resources, and objects of the kinds that they define.

use timonier_meta::{GroupVersionKind, Time};
use timonier_schema::{crd, decode, defaults, rules};

use crate::Target;

const DEFINITION: &str = r#"{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"as.x.io"},"spec":{"group":"x.io","scope":"Namespaced","names":{"plural":"as","singular":"a","kind":"A","listKind":"AList"},"versions":[{"name":"v1","served":true,"storage":true,"subresources":{"status":{},"scale":{"specReplicasPath":".spec.n","statusReplicasPath":".status.n"}},"selectableFields":[{"jsonPath":".spec.s"}],"additionalPrinterColumns":[{"name":"S","type":"string","jsonPath":".spec.s"}],"schema":{"openAPIV3Schema":{"type":"object","x-kubernetes-validations":[{"rule":"self.spec.n < 9","message":"m"}],"properties":{"spec":{"type":"object","required":["n"],"properties":{"n":{"type":"integer","minimum":0,"maximum":10,"multipleOf":1,"default":3},"s":{"type":"string","pattern":"^[a-z]+$","maxLength":5,"format":"date-time","enum":["a","b"]},"l":{"type":"array","maxItems":3,"x-kubernetes-list-type":"map","x-kubernetes-list-map-keys":["k"],"items":{"type":"object","required":["k"],"properties":{"k":{"type":"string"},"o":{"x-kubernetes-int-or-string":true}}}},"m":{"type":"object","additionalProperties":{"type":"boolean","nullable":true}},"u":{"type":"object","x-kubernetes-preserve-unknown-fields":true},"e":{"type":"object","x-kubernetes-embedded-resource":true,"x-kubernetes-preserve-unknown-fields":true}},"oneOf":[{"required":["s"]},{"not":{"required":["l"]}}]},"status":{"type":"object","properties":{"n":{"type":"integer","format":"int32"}}}}}}}]}}"#;

pub const TARGET: Target = Target {
    name: "custom",
    run,
    seeds: || {
        let objects = [
            r#"{"apiVersion":"x.io/v1","kind":"A","metadata":{"name":"a"},"spec":{"s":"a","l":[{"k":"x","o":"5%"},{"k":"y","o":1}],"m":{"a":true,"b":null},"u":{"any":[1]},"e":{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","x":1}}}}"#,
            r#"{"apiVersion":"x.io/v1","kind":"A","metadata":{"name":"b"},"spec":{"n":11,"s":"Q","l":[{"k":"x"},{"k":"x"}],"gone":1},"status":{"n":1.5}}"#,
        ];
        objects.iter().map(|o| format!("{DEFINITION}\n--\n{o}").into_bytes()).collect()
    },
    words: &[
        "\"type\":",
        "\"object\"",
        "\"integer\"",
        "\"properties\":{",
        "\"additionalProperties\":",
        "\"items\":",
        "\"default\":",
        "\"anyOf\":[",
        "\"not\":",
        "\"pattern\":\"(a|b)*",
        "{1000}",
        "\"nullable\":true",
        "\"x-kubernetes-list-type\":\"set\"",
        "\"x-kubernetes-validations\":[{\"rule\":\"",
        "self.",
        "oldSelf",
        ".all(x, ",
        "\"jsonPath\":\".",
        "null",
        "-1",
        "1e300",
        "{",
        "}",
        "[",
        "]",
        ",",
    ],
};

fn run(input: &[u8]) {
    let Some((mut definition, mut object)) = super::two_documents(input) else { return };
    let kind =
        GroupVersionKind::new_static("apiextensions.k8s.io", "v1", "CustomResourceDefinition");
    let Some(row) = super::catalogue().by_kind(&kind) else { return };
    if decode::decode(row, &mut definition).is_err() {
        return;
    }
    let now = Time::from_unix(1_800_000_000);
    defaults::default_object(row, &mut definition, now);
    if !rules::validate_create(row, &definition).is_empty() {
        return;
    }
    let Ok(rows) = crd::rows(&definition) else { return };
    for row in rows {
        let old = object.clone();
        if decode::decode(&row, &mut object).is_err() {
            return;
        }
        defaults::default_object(&row, &mut object, now);
        drop(rules::validate_create(&row, &object));
        drop(rules::validate_update(&row, "", &object, &old));
    }
}
