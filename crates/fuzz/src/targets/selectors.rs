//! Label and field selectors: as text they are read back the same.

use timonier_meta::Selector;

use crate::{Target, texts};

pub const TARGET: Target = Target {
    name: "selectors",
    run,
    seeds: || {
        texts(&[
            "app=web,tier in (a, b),!old,env notin (x),z",
            "a!=b,c==d,e>5,f<3",
            "metadata.name=a,status.phase!=Running",
            r"a=b\,c\=d\\",
            "x in (),y in (,a)",
            "",
        ])
    },
    words: &[
        "=",
        "==",
        "!=",
        "!",
        " in (",
        " notin (",
        ")",
        ",",
        ">",
        "<",
        "\\",
        "\\,",
        "a/b",
        "kubernetes.io/x",
        " ",
    ],
};

fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(selector) = Selector::parse(text) {
        let again = selector.to_string();
        assert_eq!(Selector::parse(&again).as_ref(), Ok(&selector), "read back from {again:?}");
        selector.matches(|key| (key.len() % 2 == 0).then_some("5"));
    }
    if let Ok(selector) = Selector::parse_fields(text) {
        selector.matches(|_| Some("a"));
    }
}
