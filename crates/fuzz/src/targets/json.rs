//! JSON: what is decoded is encoded and decoded to the same.

use timonier_object::json;

use crate::{Target, texts};

pub const TARGET: Target = Target {
    name: "json",
    run,
    seeds: || {
        texts(&[
            super::POD,
            r#"[1,-2.5e3,true,false,null,"\u00e9\ud83d\ude00\n\"\\/",{"":{}}]"#,
            r#"{"a":1,"a":2,"b":[[],[[]]],"c":18446744073709551615,"d":1.0,"e":-0}"#,
        ])
    },
    words: &[
        "{", "}", "[", "]", ",", ":", "\"", "\\u", "\\ud800", "null", "true", "[[[[[[[[", "{\"a\":",
    ],
};

fn run(input: &[u8]) {
    let strict = json::decode_strict(input);
    let Ok(value) = json::decode(input) else { return };
    super::assert_encodes(&value);
    if let Ok(strict) = strict {
        assert_eq!(strict.value, value, "strictness changes the value");
    }
}
