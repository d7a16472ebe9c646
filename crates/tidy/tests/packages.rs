//! What comes from outside the workspace is what may: licences, sources, bans, duplicates. Known
//! vulnerabilities are not looked up, because their list is on the network.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;
use timonier_tidy::licence;
use timonier_tidy::packages::{
    BANNED, BUILD_ONLY, DUPLICATE_REASON, DUPLICATES, EXCEPTIONS, LICENCE_REASON, LICENCES, SOURCE,
    SOURCE_REASON,
};
use timonier_tidy::scan;

/// Cargo's description of every package that a build for Linux uses.
fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--locked", "--all-features", "--format-version", "1"])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(scan::root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo writes JSON")
}

/// Packages as `(name, version, the rest)`, those of the workspace left out.
fn packages(metadata: &Value) -> Vec<(&str, &str, &Value)> {
    let list = metadata["packages"].as_array().expect("there are packages");
    list.iter()
        .filter(|p| !p["source"].is_null())
        .map(|p| (text(&p["name"]), text(&p["version"]), p))
        .collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn fail_with(problems: Vec<String>) {
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

#[test]
fn licences_are_allowed() {
    let metadata = metadata();
    let packages = packages(&metadata);
    assert!(packages.len() > 100, "cargo names {} packages", packages.len());
    let mut problems = Vec::new();
    for (name, version, package) in &packages {
        let stated = text(&package["license"]);
        let excepted = EXCEPTIONS.iter().any(|(n, l, _)| n == name && *l == stated);
        if !excepted && !licence::is_met(stated, LICENCES) {
            problems.push(format!("{name} {version}: licence {stated:?}: {LICENCE_REASON}"));
        }
    }
    for (name, licence, _) in EXCEPTIONS {
        if !packages.iter().any(|(n, _, p)| n == name && text(&p["license"]) == *licence) {
            problems
                .push(format!("{name} under {licence} is not used any more: take it off the list"));
        }
    }
    fail_with(problems);
}

#[test]
fn sources_are_allowed_and_nothing_banned_comes_in() {
    let metadata = metadata();
    let mut problems = Vec::new();
    for (name, version, package) in packages(&metadata) {
        let source = text(&package["source"]);
        if source != SOURCE {
            problems.push(format!("{name} {version} from {source}: {SOURCE_REASON}"));
        }
        if let Some((_, reason)) = BANNED.iter().find(|(banned, _)| *banned == name) {
            problems.push(format!("{name} {version}: {reason}"));
        }
    }
    fail_with(problems);
}

#[test]
fn build_only_packages_are_not_linked() {
    let metadata = metadata();
    let list = metadata["packages"].as_array().expect("there are packages");
    let mut problems = Vec::new();
    for package in list {
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let rule = BUILD_ONLY.iter().find(|(name, _)| *name == text(&dependency["name"]));
            if let Some((name, reason)) = rule.filter(|_| dependency["kind"] != "build") {
                problems.push(format!("{} uses {name}: {reason}", text(&package["name"])));
            }
        }
    }
    fail_with(problems);
}

#[test]
fn duplicates_are_known() {
    let metadata = metadata();
    let used = metadata["resolve"]["nodes"].as_array().expect("there are nodes");
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, version, package) in packages(&metadata) {
        if used.iter().any(|node| node["id"] == package["id"]) {
            versions.entry(name).or_default().push(version);
        }
    }
    versions.retain(|_, versions| versions.len() > 1);
    let mut problems: Vec<String> = versions
        .iter()
        .filter(|(name, _)| !DUPLICATES.contains(name))
        .map(|(name, versions)| format!("{name} {}: {DUPLICATE_REASON}", versions.join(", ")))
        .collect();
    let gone = DUPLICATES.iter().filter(|name| !versions.contains_key(**name));
    problems.extend(gone.map(|name| format!("{name} has one version now: take it off the list")));
    fail_with(problems);
}
