//! Strategic merge patches of a pod.

use timonier_meta::GroupVersionKind;
use timonier_object::value;
use timonier_patch::apply_strategic;

use crate::Target;

pub const TARGET: Target = Target {
    name: "strategic",
    run,
    seeds: || {
        let patches = [
            r#"{"spec":{"containers":[{"name":"main","image":"b"},{"name":"new","image":"c"}]}}"#,
            r#"{"spec":{"containers":[{"$patch":"delete","name":"main"}],"$setElementOrder/containers":[{"name":"x"},{"name":"main"}],"$retainKeys":["containers"]}}"#,
            r#"{"metadata":{"$deleteFromPrimitiveList/finalizers":["a.b/c"],"finalizers":["d"],"$setElementOrder/finalizers":["d","e"],"ownerReferences":[{"uid":"u","name":"z"}]}}"#,
            r#"{"spec":{"$patch":"replace","volumes":[{"name":"v","$retainKeys":["name","hostPath"],"hostPath":{"path":"/"}}]}}"#,
            r#"{"spec":{"tolerations":[{"key":"z"}],"nodeSelector":null}}"#,
        ];
        patches.iter().map(|p| format!("{}\n--\n{p}", super::POD).into_bytes()).collect()
    },
    words: &[
        "\"$patch\":",
        "\"delete\"",
        "\"replace\"",
        "\"merge\"",
        "\"$retainKeys\":[",
        "\"$setElementOrder/containers\":[",
        "\"$setElementOrder/env\":[",
        "\"$deleteFromPrimitiveList/finalizers\":[",
        "\"name\":",
        "null",
        "\"env\":[",
        "\"ports\":[",
        "{",
        "}",
        "[",
        "]",
        ",",
    ],
};

fn run(input: &[u8]) {
    let Some((object, patch)) = super::two_documents(input) else { return };
    let catalogue = super::catalogue();
    let kind = GroupVersionKind::new_static("", "v1", "Pod");
    let Some(schema) = catalogue.schema_of(&kind) else { return };
    let empty = apply_strategic(schema, &object, &value!({}));
    if object.as_object().is_some() {
        assert!(empty.is_ok_and(|o| o == object), "an empty patch changes something");
    }
    drop(apply_strategic(schema, &object, &patch));
}
