//! Security contexts of pods and containers, and what an operating system rules out.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::ToString;

use timonier_meta::names;

use super::super::at::{At, Errors};
use super::super::common::{check, descending_path, id};
use super::{Pod, all_containers};

/// Checks the pod's security context.
pub fn pod_security(e: &mut Errors, pod: &Pod<'_>) {
    let at = pod.spec.get("securityContext");
    id(e, &at.get("fsGroup"));
    id(e, &at.get("runAsUser"));
    id(e, &at.get("runAsGroup"));
    for group in at.get("supplementalGroups").items() {
        id(e, &group);
    }
    let share = pod.spec.get("shareProcessNamespace").named(at.path.child("shareProcessNamespace"));
    if share.bool() && pod.spec.get("hostPID").bool() {
        share.invalid(e, "ShareProcessNamespace and HostPID cannot both be enabled");
    }
    sysctls(e, pod, &at.get("sysctls"));
    let policy = |e: &mut Errors, field: &str, values: &[&str]| {
        let field = at.get(field);
        if field.is_set() {
            field.one_of(e, values);
        }
    };
    policy(e, "fsGroupChangePolicy", &["Always", "OnRootMismatch"]);
    seccomp(e, &at.get("seccompProfile"));
    windows_options(e, &at.get("windowsOptions"));
    app_armor(e, &at.get("appArmorProfile"));
    policy(e, "supplementalGroupsPolicy", &["Merge", "Strict"]);
    // `MountOption` needs a feature that is off.
    policy(e, "seLinuxChangePolicy", &["Recursive"]);
}

/// Checks a container's security context.
pub fn container_security(e: &mut Errors, at: &At<'_>, host_users: bool) {
    if !at.is_set() {
        return;
    }
    id(e, &at.get("runAsUser"));
    id(e, &at.get("runAsGroup"));
    let proc = at.get("procMount");
    if proc.is_set() {
        if !matches!(proc.str(), "Default" | "Unmasked") {
            proc.unsupported(e, &["Default", "Unmasked"]);
        }
        if host_users && proc.str() == "Unmasked" {
            proc.bad_str(e, "`hostUsers` must be false to use `Unmasked`");
        }
    }
    seccomp(e, &at.get("seccompProfile"));
    let escalate = at.get("allowPrivilegeEscalation");
    if escalate.is_set() && !escalate.bool() {
        if at.get("privileged").bool() {
            at.invalid(
                e,
                "cannot set `allowPrivilegeEscalation` to false and `privileged` to true",
            );
        }
        for capability in at.get("capabilities.add").items() {
            if capability.str() == "CAP_SYS_ADMIN" {
                at.invalid(e, "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN");
            }
        }
    }
    windows_options(e, &at.get("windowsOptions"));
    app_armor(e, &at.get("appArmorProfile"));
}

const SYSCTL: &str = r"must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";

fn sysctls(e: &mut Errors, pod: &Pod<'_>, at: &At<'_>) {
    let mut seen = BTreeSet::new();
    for item in at.items() {
        let name = item.get("name");
        let text = name.str();
        if text.is_empty() {
            name.required(e, "");
        } else if text.len() > 253 || !text.split(['.', '/']).all(is_sysctl_segment) {
            name.bad_str(e, SYSCTL);
        } else if seen.contains(text) {
            name.bad_duplicate(e, text);
        }
        let dotted = text.replace('/', ".");
        let ipc = dotted.starts_with("kernel.shm")
            || dotted.starts_with("kernel.msg")
            || dotted.starts_with("fs.mqueue.")
            || dotted == "kernel.sem";
        if pod.spec.get("hostNetwork").bool() && dotted.starts_with("net.") {
            name.bad_str(e, "may not be specified when 'hostNetwork' is true");
        } else if pod.spec.get("hostIPC").bool() && ipc {
            name.bad_str(e, "may not be specified when 'hostIPC' is true");
        }
        seen.insert(text);
    }
}

fn is_sysctl_segment(text: &str) -> bool {
    let b = text.as_bytes();
    let edge = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    !b.is_empty()
        && edge(b[0])
        && edge(b[b.len() - 1])
        && b.iter().all(|&c| edge(c) || c == b'-' || c == b'_')
}

const PROFILES: [&str; 3] = ["Localhost", "RuntimeDefault", "Unconfined"];

fn seccomp(e: &mut Errors, at: &At<'_>) {
    if !at.is_set() {
        return;
    }
    let (kind, local) = (at.get("type"), at.get("localhostProfile"));
    if kind.is_empty() {
        kind.required(e, "type is required when seccompProfile is set");
    } else {
        kind.one_of(e, &PROFILES);
    }
    if kind.str() == "Localhost" {
        if local.is_set() {
            descending_path(e, &local);
        } else {
            local.required(e, "must be set when seccomp type is Localhost");
        }
    } else if local.is_set() {
        // Upstream prints the profile as its own type does.
        let printed = timonier_object::value!({
            "Type": (kind.value.clone()), "LocalhostProfile": (local.value.clone())
        });
        local.bad(e, printed, "can only be set when seccomp type is Localhost");
    }
}

fn app_armor(e: &mut Errors, at: &At<'_>) {
    if !at.is_set() {
        return;
    }
    let (kind, local) = (at.get("type"), at.get("localhostProfile"));
    match kind.str() {
        "Localhost" => {
            let text = local.str();
            if local.is_set() && text.trim() != text {
                local.bad_str(e, "must not be padded with whitespace");
            } else if text.is_empty() {
                local.required(e, "must be set when AppArmor type is Localhost");
            }
            if text.len() > 4095 {
                local.too_long(e, 4095);
            }
        }
        "RuntimeDefault" | "Unconfined" => {
            if local.is_set() {
                local.bad_str(e, "can only be set when AppArmor type is Localhost");
            }
        }
        "" => kind.required(e, "type is required when appArmorProfile is set"),
        _ => kind.unsupported(e, &PROFILES),
    }
}

fn windows_options(e: &mut Errors, at: &At<'_>) {
    let (name, spec) = (at.get("gmsaCredentialSpecName"), at.get("gmsaCredentialSpec"));
    if name.is_set() {
        check(e, &name, names::dns1123_subdomain);
    }
    if spec.is_set() {
        if spec.is_empty() {
            spec.bad_str(e, "gmsaCredentialSpec cannot be an empty string");
        } else if spec.str().len() > 64 * 1024 {
            spec.bad_str(e, "gmsaCredentialSpec size must be under 64 KiB");
        }
    }
    let user = at.get("runAsUserName");
    if user.is_set() {
        windows_user(e, &user);
    }
}

fn windows_user(e: &mut Errors, at: &At<'_>) {
    let text = at.str();
    let early = if text.is_empty() {
        Some("runAsUserName cannot be an empty string")
    } else if text.chars().any(|c| c.is_ascii_control()) {
        Some("runAsUserName cannot contain control characters")
    } else if text.matches('\\').count() > 1 {
        Some("runAsUserName cannot contain more than one backslash")
    } else {
        None
    };
    if let Some(why) = early {
        at.bad_str(e, why);
        return;
    }
    let (domain, user) = match text.split_once('\\') {
        Some((domain, user)) => (Some(domain), user),
        None => (None, text),
    };
    if domain.is_some_and(|d| d.len() >= 256) {
        at.bad_str(e, "runAsUserName's Domain length must be under 256 characters");
    }
    if domain.is_some_and(|d| !is_net_bios(d) && !d.split('.').all(is_dns_label)) {
        at.bad_str(e, "runAsUserName's Domain doesn't match the NetBios nor the DNS format");
    }
    if user.is_empty() {
        at.bad_str(e, "runAsUserName's User cannot be empty");
    } else if user.len() > 104 {
        at.bad_str(e, "runAsUserName's User length must not be longer than 104 characters");
    }
    if !user.is_empty() && user.chars().all(|c| c == '.' || c == ' ') {
        at.bad_str(e, "runAsUserName's User cannot contain only periods or spaces");
    }
    if user.chars().any(|c| "\"/\\:;|=,+*?<>@[]".contains(c)) {
        at.bad_str(
            e,
            "runAsUserName's User cannot contain the following characters: \"/\\:;|=,+*?<>@[]",
        );
    }
}

fn is_net_bios(text: &str) -> bool {
    (1..=15).contains(&text.chars().count())
        && !text.starts_with('.')
        && !text.chars().any(|c| "\\/:*?\"<>|".contains(c))
}

fn is_dns_label(text: &str) -> bool {
    let b = text.as_bytes();
    (1..=63).contains(&b.len())
        && b[0].is_ascii_alphanumeric()
        && b[b.len() - 1].is_ascii_alphanumeric()
        && b.iter().all(|c| c.is_ascii_alphanumeric() || *c == b'-')
}

/// Containers of Windows' host process kind come all together or not at all.
pub fn host_process(e: &mut Errors, pod: &Pod<'_>) {
    let of_pod = pod.spec.get("securityContext.windowsOptions.hostProcess");
    let (mut all, mut hosts) = (0, 0);
    for container in all_containers(&pod.spec) {
        all += 1;
        let own = container.get("securityContext.windowsOptions.hostProcess");
        if of_pod.is_set() && own.is_set() && of_pod.bool() != own.bool() {
            let why = format!(
                "pod hostProcess value must be identical if both are specified, was {}",
                of_pod.bool()
            );
            own.invalid(e, why);
        }
        if own.bool() || !own.is_set() && of_pod.bool() {
            hosts += 1;
        }
    }
    if hosts == 0 {
        return;
    }
    if hosts != all {
        pod.spec.bad(e, "\"\"", "If pod contains any hostProcess containers then all containers must be HostProcess containers");
    }
    let network = pod.spec.get("hostNetwork");
    if !network.bool() {
        let why = "hostNetwork must be true if pod contains any hostProcess containers";
        network.bad(e, false, why);
    }
}

/// Pods with their own user namespace cannot share the host's.
pub fn own_users(e: &mut Errors, pod: &Pod<'_>) {
    if pod.host_users {
        return;
    }
    let why = "when `hostUsers` is false";
    for (field, name) in
        [("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")]
    {
        if pod.spec.get(field).bool() {
            pod.spec.get(name).forbidden(e, why);
        }
    }
    for container in all_containers(&pod.spec) {
        if !container.get("volumeDevices").is_empty() {
            container.get("volumeDevices").forbidden(e, why);
        }
    }
}

/// `os` and what it rules out.
pub fn operating_system(e: &mut Errors, pod: &Pod<'_>) {
    let os = pod.spec.get("os");
    if !os.is_set() {
        return;
    }
    let name = os.get("name");
    match name.str() {
        "" => name.required(e, ""),
        "linux" => on_linux(e, pod),
        "windows" => on_windows(e, pod),
        _ => os.bad_os(e, name.str()),
    }
}

impl At<'_> {
    fn bad_os(&self, e: &mut Errors, name: &str) {
        let error =
            timonier_meta::FieldError::not_supported(&self.path, name, &["linux", "windows"]);
        e.push(error);
    }
}

fn on_linux(e: &mut Errors, pod: &Pod<'_>) {
    let containers = all_containers(&pod.spec);
    for at in core::iter::once(pod.spec.clone()).chain(containers) {
        let options = at.get("securityContext.windowsOptions");
        if options.is_set() {
            options.forbidden(e, "windows options cannot be set for a linux pod");
        }
    }
}

fn on_windows(e: &mut Errors, pod: &Pod<'_>) {
    const POD: [&str; 15] = [
        "securityContext.appArmorProfile",
        "securityContext.seLinuxOptions",
        "hostUsers",
        "hostPID",
        "hostIPC",
        "securityContext.seccompProfile",
        "securityContext.fsGroup",
        "securityContext.fsGroupChangePolicy",
        "securityContext.sysctls",
        "shareProcessNamespace",
        "securityContext.runAsUser",
        "securityContext.runAsGroup",
        "securityContext.supplementalGroups",
        "securityContext.supplementalGroupsPolicy",
        "securityContext.seLinuxChangePolicy",
    ];
    const CONTAINER: [&str; 10] = [
        "appArmorProfile",
        "seLinuxOptions",
        "seccompProfile",
        "capabilities",
        "readOnlyRootFilesystem",
        "privileged",
        "allowPrivilegeEscalation",
        "procMount",
        "runAsUser",
        "runAsGroup",
    ];
    let why = "cannot be set for a windows pod".to_string();
    for field in POD {
        let at = pod.spec.get(field);
        let plain = matches!(field, "hostPID" | "hostIPC") && !at.bool();
        if at.is_set() && !plain && !(field.ends_with("sysctls") && at.is_empty()) {
            at.forbidden(e, why.clone());
        }
    }
    for container in all_containers(&pod.spec) {
        let context = container.get("securityContext");
        for field in CONTAINER {
            if context.get(field).is_set() {
                context.get(field).forbidden(e, why.clone());
            }
        }
    }
}
