//! JSON patches.

use timonier_object::json;
use timonier_patch::apply_json_patch;

use crate::Target;

pub const TARGET: Target = Target {
    name: "json-patch",
    run,
    seeds: || {
        let patches = [
            r#"[{"op":"add","path":"/metadata/labels/x","value":"y"},{"op":"remove","path":"/spec/nodeSelector"},{"op":"test","path":"/kind","value":"Pod"}]"#,
            r#"[{"op":"move","from":"/spec/containers/0","path":"/spec/containers/-"},{"op":"copy","from":"/metadata","path":"/copy"},{"op":"replace","path":"","value":{}}]"#,
            r#"[{"op":"add","path":"/a~1b~0c","value":[1]}]"#,
        ];
        patches.iter().map(|p| format!("{}\n--\n{p}", super::POD).into_bytes()).collect()
    },
    words: &[
        "\"op\":",
        "\"add\"",
        "\"remove\"",
        "\"move\"",
        "\"copy\"",
        "\"test\"",
        "\"replace\"",
        "\"path\":\"/",
        "\"from\":\"/",
        "~0",
        "~1",
        "/-",
        "/0",
        "/-1",
        "\"value\":",
    ],
};

fn run(input: &[u8]) {
    let Some((object, patch)) = super::two_documents(input) else { return };
    let Ok(patched) = apply_json_patch(&object, &patch) else { return };
    assert!(json::encode(&patched).len() < 64 << 20, "a small patch made something huge");
}
