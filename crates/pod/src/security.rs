//! Who a container's process is and what it may do: the pod's security context and the
//! container's own merged.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use smol_str::SmolStr;
use timonier_meta::capabilities;
use timonier_object::Value;

/// The seccomp profile of a container.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Seccomp {
    RuntimeDefault,
    Unconfined,
    /// A file below the node's directory of profiles.
    Localhost(String),
}

/// The merged security context.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Security {
    /// `None` leaves the image's user.
    pub uid: Option<i64>,
    pub gid: Option<i64>,
    /// fsGroup and supplementalGroups.
    pub groups: Vec<i64>,
    /// `supplementalGroupsPolicy: Strict`.
    pub strict_groups: bool,
    pub non_root: bool,
    /// `CAP_…`, in order.
    pub capabilities: Vec<String>,
    pub privileged: bool,
    pub read_only_root: bool,
    pub no_new_privileges: bool,
    pub seccomp: Seccomp,
    /// `procMount: Unmasked`.
    pub unmasked_proc: bool,
}

/// What a container may do unless told otherwise (containerd's list), without `CAP_`.
const DEFAULT: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// Merges the security contexts. The error is the message of `CreateContainerConfigError`.
pub fn security(pod: &Value, container: &Value) -> Result<Security, String> {
    let outer = pod.at("spec.securityContext");
    let inner = container.at("securityContext");
    let pick = |field: &str| {
        let own = inner.at(field);
        if own.is_null() { outer.at(field) } else { own }
    };
    let privileged = inner.at("privileged").bool();
    let groups = outer.at("fsGroup").as_i64().into_iter();
    let more = outer.at("supplementalGroups").items().iter().filter_map(Value::as_i64);
    Ok(Security {
        uid: pick("runAsUser").as_i64(),
        gid: pick("runAsGroup").as_i64(),
        groups: more.chain(groups).collect(),
        strict_groups: outer.at("supplementalGroupsPolicy").str() == "Strict",
        non_root: pick("runAsNonRoot").bool(),
        capabilities: capabilities(inner.at("capabilities"), privileged)?,
        privileged,
        read_only_root: inner.at("readOnlyRootFilesystem").bool(),
        no_new_privileges: inner.at("allowPrivilegeEscalation").as_bool() == Some(false),
        seccomp: seccomp(pick("seccompProfile"), privileged)?,
        unmasked_proc: inner.at("procMount").str() == "Unmasked",
    })
}

fn capabilities(stated: &Value, privileged: bool) -> Result<Vec<String>, String> {
    let bare = |v: &Value| -> String {
        let upper = v.str().to_uppercase();
        upper.strip_prefix("CAP_").unwrap_or(&upper).into()
    };
    let add: Vec<String> = stated.at("add").items().iter().map(bare).collect();
    let drop: Vec<String> = stated.at("drop").items().iter().map(bare).collect();
    let has = |list: &[String], name: &str| list.iter().any(|c| c == name);
    for name in add.iter().chain(&drop) {
        if name != "ALL" && !capabilities::ALL.contains(&name.as_str()) {
            return Err(format!("unknown capability \"CAP_{name}\""));
        }
    }
    let kept = |name: &str| {
        if has(&add, name) {
            return true;
        }
        if has(&add, "ALL") || privileged {
            return !has(&drop, name);
        }
        DEFAULT.contains(&name) && !has(&drop, name) && !has(&drop, "ALL")
    };
    Ok(capabilities::ALL.iter().filter(|c| kept(c)).map(|c| format!("CAP_{c}")).collect())
}

fn seccomp(profile: &Value, privileged: bool) -> Result<Seccomp, String> {
    match profile.at("type").str() {
        _ if privileged => Ok(Seccomp::Unconfined),
        "Unconfined" => Ok(Seccomp::Unconfined),
        // Without a profile upstream runs unconfined unless the node says otherwise; this one
        // does: secure from the first day.
        "" | "RuntimeDefault" => Ok(Seccomp::RuntimeDefault),
        "Localhost" => match profile.at("localhostProfile").str() {
            "" => Err("localhostProfile must be set if seccompProfile type is Localhost.".into()),
            file if file.starts_with('/') || file.split('/').any(|part| part == "..") => {
                Err(format!("invalid seccomp profile name: {file:?}"))
            }
            file => Ok(Seccomp::Localhost(file.into())),
        },
        other => Err(format!("unknown seccomp profile type {other:?}")),
    }
}

/// Upstream `verifyRunAsNonRoot`. `image_user` is the image's `USER` without its group; empty
/// means root.
pub fn verify_non_root(
    pod: &Value,
    container: &str,
    security: &Security,
    image_user: &str,
) -> Result<(), String> {
    if !security.non_root {
        return Ok(());
    }
    let what = format!("(pod: \"{}\", container: {container})", crate::spec::describe(pod));
    match security.uid {
        Some(0) => return Err(format!("container's runAsUser breaks non-root policy {what}")),
        Some(_) => return Ok(()),
        None => {}
    }
    match image_user.parse::<i64>() {
        Ok(0) => Err(format!("container has runAsNonRoot and image will run as root {what}")),
        Ok(_) => Ok(()),
        Err(_) if image_user.is_empty() => {
            Err(format!("container has runAsNonRoot and image will run as root {what}"))
        }
        Err(_) => Err(format!(
            "container has runAsNonRoot and image has non-numeric user ({image_user}), cannot verify user is non-root {what}"
        )),
    }
}

/// The group that owns the pod's volumes.
pub fn fs_group(pod: &Value) -> Option<i64> {
    pod.at("spec.securityContext.fsGroup").as_i64()
}

/// Whether ownership is left alone where the volume's root already has it.
pub fn fs_group_on_root_mismatch(pod: &Value) -> bool {
    pod.at("spec.securityContext.fsGroupChangePolicy").str() == "OnRootMismatch"
}

/// The user that owns projected tokens: the one that all containers run as, if it is stated.
pub fn token_user(pod: &Value) -> Option<i64> {
    let mut found = None;
    for c in crate::spec::all_containers(pod) {
        let own = c.spec.at("securityContext.runAsUser").as_i64();
        let user = own.or_else(|| pod.at("spec.securityContext.runAsUser").as_i64())?;
        match found {
            None => found = Some(user),
            Some(other) if other != user => return None,
            Some(_) => {}
        }
    }
    found
}

/// `sysctls` of the pod.
pub fn sysctls(pod: &Value) -> Vec<(SmolStr, SmolStr)> {
    let list = pod.at("spec.securityContext.sysctls").items().iter();
    list.map(|s| (s.at("name").smol(), s.at("value").smol())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use timonier_object::value;

    fn merged(pod: Value, container: Value) -> Result<Security, String> {
        security(
            &value!({ "spec": { "securityContext": pod } }),
            &value!({ "securityContext": container }),
        )
    }

    #[test]
    fn the_container_wins() {
        let s = merged(
            value!({ "runAsUser": 1, "runAsGroup": 2, "fsGroup": 3, "supplementalGroups": [4] }),
            value!({ "runAsUser": 5, "allowPrivilegeEscalation": false }),
        )
        .unwrap();
        assert_eq!((s.uid, s.gid, s.groups), (Some(5), Some(2), alloc::vec![4, 3]));
        assert!(s.no_new_privileges && s.seccomp == Seccomp::RuntimeDefault);
        assert_eq!(s.capabilities.len(), 14);
    }

    #[test]
    fn capabilities_add_and_drop() {
        let caps =
            |c: Value| merged(Value::Null, value!({ "capabilities": c })).map(|s| s.capabilities);
        assert_eq!(
            caps(value!({ "drop": ["ALL"], "add": ["NET_BIND_SERVICE"] })).unwrap(),
            ["CAP_NET_BIND_SERVICE"]
        );
        assert_eq!(caps(value!({ "drop": ["CAP_KILL"] })).unwrap().len(), 13);
        assert_eq!(caps(value!({ "add": ["ALL"] })).unwrap().len(), 41);
        assert_eq!(
            caps(value!({ "add": ["NONE"] })).unwrap_err(),
            "unknown capability \"CAP_NONE\""
        );
    }

    #[test]
    fn non_root_is_verified() {
        let pod = value!({ "metadata": { "name": "p", "namespace": "n", "uid": "u" } });
        let check = |uid: Option<i64>, image: &str| {
            let mut s = merged(Value::Null, value!({ "runAsNonRoot": true })).unwrap();
            s.uid = uid;
            verify_non_root(&pod, "c", &s, image)
        };
        assert!(check(Some(1), "").is_ok() && check(None, "101").is_ok());
        assert_eq!(
            check(None, "").unwrap_err(),
            "container has runAsNonRoot and image will run as root (pod: \"p_n(u)\", container: c)"
        );
        assert!(check(Some(0), "1").unwrap_err().starts_with("container's runAsUser breaks"));
        assert!(check(None, "nginx").unwrap_err().contains("non-numeric user (nginx)"));
    }

    #[test]
    fn profiles_do_not_leave_their_directory() {
        let profile = |p: &str| {
            merged(
                Value::Null,
                value!({ "seccompProfile": { "type": "Localhost", "localhostProfile": p } }),
            )
        };
        assert!(profile("a/b.json").is_ok());
        assert!(profile("../x").is_err() && profile("/x").is_err() && profile("").is_err());
    }
}
