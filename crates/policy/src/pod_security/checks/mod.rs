//! The checks and the versions from which each counts.

mod capabilities;
mod host;
mod privileges;
mod profiles;
mod users;
mod volumes;

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use timonier_object::Value;

use super::{Level, LevelVersion, Version, Violation};

/// What is looked at.
pub struct Pod<'a> {
    pub metadata: &'a Value,
    pub spec: &'a Value,
}

/// A check: what it finds wrong.
pub type Check = fn(&Pod<'_>) -> Option<Violation>;

/// A check and the minor versions from which its forms count.
struct Row {
    id: &'static str,
    forms: &'static [(u32, Check)],
    /// The baseline check that a restricted one replaces.
    instead_of: &'static str,
}

const fn row(id: &'static str, forms: &'static [(u32, Check)]) -> Row {
    Row { id, forms, instead_of: "" }
}

/// The version of the newest form.
const NEWEST: u32 = 35;

/// In the order of upstream's messages.
static BASELINE: [Row; 12] = [
    row("appArmorProfile", &[(0, profiles::app_armor)]),
    row("capabilities_baseline", &[(0, capabilities::baseline)]),
    row("hostNamespaces", &[(0, host::namespaces)]),
    row("hostPathVolumes", &[(0, volumes::host_path)]),
    row("hostPorts", &[(0, host::ports)]),
    row("hostProbesAndHostLifecycle", &[(34, host::probes)]),
    row("privileged", &[(0, privileges::privileged)]),
    row("procMount", &[(0, privileges::proc_mount), (35, privileges::proc_mount_35)]),
    row("seLinuxOptions", &[(0, profiles::selinux), (31, profiles::selinux_31)]),
    row("seccompProfile_baseline", &[(0, profiles::seccomp_annotations), (19, profiles::seccomp)]),
    row(
        "sysctls",
        &[
            (0, privileges::sysctls),
            (27, privileges::sysctls_27),
            (29, privileges::sysctls_29),
            (32, privileges::sysctls_32),
        ],
    ),
    row("windowsHostProcess", &[(0, host::windows_process)]),
];

static RESTRICTED: [Row; 7] = [
    row(
        "allowPrivilegeEscalation",
        &[(8, privileges::escalation), (25, privileges::escalation_25)],
    ),
    Row {
        id: "capabilities_restricted",
        forms: &[(22, capabilities::restricted), (25, capabilities::restricted_25)],
        instead_of: "capabilities_baseline",
    },
    Row {
        id: "procMount_restricted",
        forms: &[(35, privileges::proc_mount)],
        instead_of: "procMount",
    },
    Row {
        id: "restrictedVolumes",
        forms: &[(0, volumes::restricted)],
        instead_of: "hostPathVolumes",
    },
    row("runAsNonRoot", &[(0, users::non_root), (35, users::non_root_35)]),
    row("runAsUser", &[(23, users::user), (35, users::user_35)]),
    Row {
        id: "seccompProfile_restricted",
        forms: &[(19, profiles::seccomp_required), (25, profiles::seccomp_required_25)],
        instead_of: "seccompProfile_baseline",
    },
];

/// The checks of a level, in the order of upstream's messages: baseline ones first.
pub fn of(at: LevelVersion) -> impl Iterator<Item = Check> {
    let minor = match at.version {
        Version::Latest => NEWEST,
        Version::Minor(minor) => minor.min(NEWEST),
    };
    let form = move |row: &Row| -> Option<Check> {
        row.forms.iter().rev().find(|(from, _)| *from <= minor).map(|(_, check)| *check)
    };
    let restricted = RESTRICTED.iter().filter(move |_| at.level == Level::Restricted);
    let replaced: Vec<&str> =
        restricted.clone().filter(|row| form(row).is_some()).map(|row| row.instead_of).collect();
    let baseline = BASELINE.iter().filter(move |_| at.level != Level::Privileged);
    let baseline = baseline.filter(move |row| !replaced.contains(&row.id));
    baseline.chain(restricted).filter_map(form)
}

impl<'a> Pod<'a> {
    /// All containers: first the init containers.
    fn containers(&self) -> impl Iterator<Item = &'a Value> {
        let lists = ["initContainers", "containers", "ephemeralContainers"];
        lists.into_iter().flat_map(|list| self.spec.at(list).items())
    }

    /// A field of the pod's own security context.
    fn own(&self, field: &str) -> &'a Value {
        self.spec.at("securityContext").at(field)
    }

    fn is_windows(&self) -> bool {
        self.spec.at("os.name").str() == "windows"
    }

    /// Whether root in the pod is nobody on the node.
    fn has_own_users(&self) -> bool {
        self.spec.at("hostUsers").as_bool() == Some(false)
    }
}

/// A field of a container's security context.
fn field<'a>(container: &'a Value, name: &str) -> &'a Value {
    container.at("securityContext").at(name)
}

fn name(container: &Value) -> &str {
    container.at("name").str()
}

fn found(reason: impl Into<String>, detail: impl Into<String>) -> Option<Violation> {
    Some(Violation { reason: reason.into(), detail: detail.into() })
}

/// `container "a"`, `containers "a", "b"`.
fn containers_named(names: &[&str]) -> String {
    format!("{} {}", plural("container", names.len()), quoted(names.iter().copied()))
}

fn plural(word: &str, count: usize) -> String {
    if count == 1 { word.into() } else { format!("{word}s") }
}

fn quoted<'a>(items: impl Iterator<Item = &'a str>) -> String {
    items.map(|item| format!("\"{item}\"")).collect::<Vec<_>>().join(", ")
}

/// Who sets something wrong: the pod, containers, or both. `None` where nobody does.
fn setters(pod: bool, containers: &[&str]) -> Option<String> {
    match (pod, containers) {
        (false, []) => None,
        (true, []) => Some("pod".into()),
        (false, names) => Some(containers_named(names)),
        (true, names) => Some(format!("pod and {}", containers_named(names))),
    }
}

/// Texts, each once and in order.
type Words<'a> = BTreeSet<&'a str>;

#[cfg(test)]
mod tests {
    use timonier_object::value;

    use super::*;

    /// What a check finds, as one text.
    pub fn text(check: Check, spec: Value) -> String {
        let metadata = spec.at("meta").clone();
        let violation = check(&Pod { metadata: &metadata, spec: &spec });
        violation.map(|v| format!("{} ({})", v.reason, v.detail)).unwrap_or_default()
    }

    #[test]
    fn messages_are_in_order_and_versions_ascend() {
        for rows in [&BASELINE[..], &RESTRICTED[..]] {
            assert!(rows.windows(2).all(|pair| pair[0].id < pair[1].id));
            assert!(rows.iter().all(|row| row.forms.windows(2).all(|f| f[0].0 < f[1].0)));
            assert!(rows.iter().all(|row| row.forms.iter().all(|f| f.0 <= NEWEST)));
        }
        let replaced = RESTRICTED.iter().map(|row| row.instead_of).filter(|id| !id.is_empty());
        for id in replaced {
            assert!(BASELINE.iter().any(|row| row.id == id), "{id}");
        }
    }

    #[test]
    fn a_version_has_its_checks() {
        let count = |level, version| of(LevelVersion { level, version }).count();
        assert_eq!(count(Level::Privileged, Version::Latest), 0);
        assert_eq!(count(Level::Baseline, Version::Minor(0)), 11);
        assert_eq!(count(Level::Baseline, Version::Latest), 12);
        // Baseline without hostPathVolumes, and restrictedVolumes and runAsNonRoot.
        assert_eq!(count(Level::Restricted, Version::Minor(0)), 12);
        assert_eq!(count(Level::Restricted, Version::Latest), 15);
        assert_eq!(count(Level::Restricted, Version::Minor(99)), 15);
    }

    #[test]
    fn who_sets_it() {
        assert_eq!(setters(false, &[]), None);
        assert_eq!(setters(true, &["a"]).unwrap(), "pod and container \"a\"");
        assert_eq!(text(host::namespaces, value!({})), "");
    }
}
