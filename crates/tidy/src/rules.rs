//! The table of allowed edges, and the limits.

/// What kind of work a crate does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Pure: values in, a plan out; `#![no_std]`.
    Decides,
    /// Reads the world, carries plans out.
    Acts,
    /// Checks the others.
    Checks,
}

/// A crate, its role, and the crates of the workspace that it may use.
pub struct Rule {
    pub name: &'static str,
    pub role: Role,
    pub may_use: &'static [&'static str],
}

const fn rule(name: &'static str, role: Role, may_use: &'static [&'static str]) -> Rule {
    Rule { name, role, may_use }
}

/// Every crate of the workspace. A new crate or edge is added here in the change that needs it,
/// with the reason in that change.
pub const RULES: &[Rule] = &[
    rule("meta", Role::Decides, &[]),
    rule("object", Role::Decides, &["meta"]),
    rule("cel", Role::Decides, &["meta", "object"]),
    rule("schema", Role::Decides, &["meta", "object", "cel"]),
    rule("patch", Role::Decides, &["meta", "object", "schema"]),
    rule("policy", Role::Decides, &["meta", "object", "cel", "schema"]),
    rule("reconcile", Role::Decides, &["meta", "object"]),
    // What an object uses of a quota is one function for the admission and the controller.
    rule("controllers", Role::Decides, &["meta", "object", "reconcile", "policy"]),
    rule("scheduler", Role::Decides, &["meta", "object", "reconcile"]),
    rule("pod", Role::Decides, &["meta", "object"]),
    rule("traffic", Role::Decides, &["meta", "object"]),
    rule("store", Role::Acts, &[]),
    rule("client", Role::Acts, &["meta", "object", "reconcile", "scheduler"]),
    rule(
        "apiserver",
        Role::Acts,
        &["meta", "object", "cel", "schema", "patch", "policy", "store", "trust", "client"],
    ),
    rule("trust", Role::Acts, &[]),
    rule("oci", Role::Acts, &["meta", "trust"]),
    rule("runtime", Role::Acts, &["meta"]),
    rule("network", Role::Acts, &["meta", "traffic"]),
    rule(
        "node",
        Role::Acts,
        &[
            "meta",
            "object",
            "pod",
            "traffic",
            "client",
            "reconcile",
            "runtime",
            "network",
            "trust",
            "oci",
        ],
    ),
    rule("cli", Role::Acts, &["meta", "object", "client", "oci", "runtime", "network", "traffic"]),
    rule(
        "sim",
        Role::Checks,
        &[
            "meta",
            "object",
            "schema",
            "patch",
            "policy",
            "reconcile",
            "controllers",
            "scheduler",
            "pod",
            "store",
            "apiserver",
            "client",
        ],
    ),
    // It reaches every decoder of bytes from outside, wherever it is.
    rule(
        "fuzz",
        Role::Checks,
        &[
            "meta",
            "object",
            "cel",
            "schema",
            "patch",
            "pod",
            "apiserver",
            "oci",
            "network",
            "node",
            "cli",
        ],
    ),
    // It measures the binary from outside, as a user, and the kernel's part of a change alone.
    rule(
        "bench",
        Role::Checks,
        &["meta", "object", "client", "cli", "traffic", "network", "runtime"],
    ),
    rule("tidy", Role::Checks, &[]),
    rule(
        "timonier",
        Role::Acts,
        &[
            "meta",
            "object",
            "schema",
            "policy",
            "reconcile",
            "controllers",
            "scheduler",
            "store",
            "apiserver",
            "client",
            "oci",
            "runtime",
            "network",
            "node",
            "cli",
        ],
    ),
];

/// Why edges are limited.
pub const EDGE_REASON: &str = "crates that decide must never reach one that acts, and only the binary composes everything (ARCHITECTURE.md, crates); a new edge is added to the table with its reason";

/// Why deciding crates are `no_std`.
pub const NO_STD_REASON: &str = "a crate that decides is #![no_std], so that a clock, a socket, a thread or a random order does not compile in it";

/// Most lines of a file before its tests.
pub const MAX_LINES: usize = 600;

/// Why files are limited.
pub const LINES_REASON: &str =
    "a file is one room: past this it holds two subjects, so give the second a file of its own";

/// Crates in which `unsafe` may stand.
pub const UNSAFE_CRATES: &[&str] = &["runtime", "network"];

/// Why `unsafe` is limited.
pub const UNSAFE_REASON: &str =
    "unsafe stands only where the kernel's interface demands it, in runtime and network";
