//! YAML: what is decoded is encoded and decoded to the same.

use timonier_object::{json, yaml};

use crate::{Target, texts};

pub const TARGET: Target = Target {
    name: "yaml",
    run,
    seeds: || {
        texts(&[
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  labels: {app: web, n: '1'}\ndata:\n  k: |\n    line one\n    line two\n  f: >-\n    folded\n    text\n",
            "- a\n- 'b'\n- \"c\\n\"\n- 1\n- 1.5\n- true\n- ~\n- 0x10\n- 010\n- 2020-01-01\n- yes\n- !!str 5\n",
            "a: &x {b: 1}\nc: *x\nd:\n  <<: *x\n  e: [1, 2]\n",
            "%YAML 1.2\n---\n? k\n: v\n...\n",
        ])
    },
    words: &[
        "- ",
        ": ",
        "\n  ",
        "---\n",
        "&a ",
        "*a",
        "<<: *a",
        "|\n",
        ">-\n",
        "!!str ",
        "!!binary ",
        "'",
        "\"",
        "{",
        "}",
        "[",
        "]",
        "? ",
        "# ",
        "~",
        ".inf",
        ".nan",
        "\t",
    ],
};

fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    drop(yaml::decode_loose(text));
    let Ok(value) = yaml::decode(text) else { return };
    super::assert_encodes(&value);
    let Ok(again) = yaml::encode(&value) else { return };
    let read = yaml::decode(&again).map(|v| json::encode(&v));
    assert_eq!(read, Ok(json::encode(&value)), "it is not the same in {again:?}");
}
