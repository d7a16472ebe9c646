//! Merge patches: applied twice they do what they do once.

use timonier_patch::apply_merge_patch;

use crate::Target;

pub const TARGET: Target = Target {
    name: "merge-patch",
    run,
    seeds: || {
        let patches = [
            r#"{"metadata":{"labels":{"app":null,"x":"y"}},"spec":{"containers":[]}}"#,
            r#"[1]"#,
            r#"{"spec":{"a":{"b":{"c":null,"d":{"e":null}}}},"kind":{"f":1}}"#,
        ];
        patches.iter().map(|p| format!("{}\n--\n{p}", super::POD).into_bytes()).collect()
    },
    words: &[
        "null",
        "{",
        "}",
        "\"a\":",
        "\"metadata\":",
        "\"spec\":",
        "\"labels\":",
        ",",
        "[",
        "]",
    ],
};

fn run(input: &[u8]) {
    let Some((object, patch)) = super::two_documents(input) else { return };
    let once = apply_merge_patch(&object, &patch);
    assert_eq!(apply_merge_patch(&once, &patch), once, "twice is not the same as once");
}
