//! `.dockerignore`: the path to ask for stands in the first line.

use timonier_oci::fuzz;

use crate::{Target, texts};

pub const TARGET: Target = Target {
    name: "dockerignore",
    run,
    seeds: || {
        texts(&[
            "a/b/c.txt\n# comment\n**/*.txt\n!a/b/c.txt\n/a//b/\n*/temp?\n[a-c]*\n",
            "x\n**\n!**/x\n../y\n\\#a\n",
            "a/a/a/a/a/a/a/a/b\n**/a/**/a/**/a/**/c\n",
        ])
    },
    words: &["**/", "*", "?", "[a-z]", "[^", "]", "!", "\\", "#", "/", "..", ".", "\n", "a/"],
};

fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let (path, patterns) = text.split_once('\n').unwrap_or((text, ""));
    fuzz::ignores(patterns, path);
}
