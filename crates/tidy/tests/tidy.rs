//! The workspace keeps its own rules.

use std::fs;

use timonier_tidy::rules::{
    EDGE_REASON, LINES_REASON, MAX_LINES, NO_STD_REASON, RULES, Role, UNSAFE_CRATES, UNSAFE_REASON,
};
use timonier_tidy::scan;

fn fail_with(problems: Vec<String>) {
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

#[test]
fn every_crate_has_a_rule() {
    let mut named: Vec<&str> = RULES.iter().map(|r| r.name).collect();
    named.sort_unstable();
    assert_eq!(scan::crates(), named, "{EDGE_REASON}");
}

#[test]
fn only_allowed_edges() {
    let mut problems = Vec::new();
    for rule in RULES {
        let path = scan::root().join("crates").join(rule.name).join("Cargo.toml");
        let manifest = fs::read_to_string(&path).expect("a crate has a manifest");
        for edge in scan::edges(&manifest) {
            if !rule.may_use.contains(&edge.as_str()) {
                problems.push(format!("{}: uses {edge}: {EDGE_REASON}", path.display()));
            }
        }
    }
    fail_with(problems);
}

#[test]
fn deciding_crates_reach_only_deciding_crates() {
    let role = |name: &str| RULES.iter().find(|r| r.name == name).map(|r| r.role);
    let mut problems = Vec::new();
    for rule in RULES.iter().filter(|r| r.role == Role::Decides) {
        for edge in rule.may_use {
            if role(edge) != Some(Role::Decides) {
                problems.push(format!("the table lets {} use {edge}: {EDGE_REASON}", rule.name));
            }
        }
    }
    fail_with(problems);
}

#[test]
fn deciding_crates_are_no_std() {
    let mut problems = Vec::new();
    for rule in RULES.iter().filter(|r| r.role == Role::Decides) {
        let path = scan::root().join("crates").join(rule.name).join("src/lib.rs");
        let text = fs::read_to_string(&path).expect("a crate has a lib.rs");
        if !text.lines().any(|l| l == "#![no_std]") {
            problems.push(format!("{}: {NO_STD_REASON}", path.display()));
        }
        for file in scan::rust_files(&scan::root().join("crates").join(rule.name).join("src")) {
            let text = fs::read_to_string(&file).expect("a file is readable");
            let code = text.lines().take(scan::lines_before_tests(&text));
            if code.into_iter().any(|l| l.trim_start().starts_with("extern crate std")) {
                problems.push(format!("{}: {NO_STD_REASON}", file.display()));
            }
        }
    }
    fail_with(problems);
}

#[test]
fn files_are_one_room() {
    let mut problems = Vec::new();
    for name in scan::crates() {
        for file in scan::rust_files(&scan::root().join("crates").join(name)) {
            let text = fs::read_to_string(&file).expect("a file is readable");
            let lines = scan::lines_before_tests(&text);
            if lines > MAX_LINES {
                problems.push(format!("{}: {lines} lines: {LINES_REASON}", file.display()));
            }
        }
    }
    fail_with(problems);
}

#[test]
fn unsafe_stands_only_where_it_may() {
    let mut problems = Vec::new();
    for name in scan::crates().iter().filter(|n| !UNSAFE_CRATES.contains(&n.as_str())) {
        for file in scan::rust_files(&scan::root().join("crates").join(name).join("src")) {
            let text = fs::read_to_string(&file).expect("a file is readable");
            if text.contains("allow(unsafe_code)") {
                problems.push(format!("{}: {UNSAFE_REASON}", file.display()));
            }
        }
    }
    fail_with(problems);
}

#[test]
fn the_scanner_sees_what_it_should() {
    let manifest = "[dependencies]\ntimonier-meta.workspace = true\nserde = \"1\"\n[dev-dependencies]\ntimonier-node = {}\n";
    assert_eq!(scan::edges(manifest), ["meta"]);
    assert_eq!(scan::lines_before_tests("a\nb\n#[cfg(test)]\nc"), 2);
}
