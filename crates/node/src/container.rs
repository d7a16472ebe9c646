//! A container of a pod as the runtime takes it.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use timonier_object::Value;
use timonier_oci::Image;
use timonier_pod::env::{self, Variables};
use timonier_pod::mounts::{Propagation, VolumeMount, volume_mounts};
use timonier_pod::security::{self, Seccomp, Security, security};
use timonier_pod::{dns, resources as numbers, spec};
use timonier_runtime as rt;

use crate::shared::Shared;
use crate::volumes::{self, Inputs};

/// Where programs are looked up when nothing says otherwise (containerd's default).
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The host's file for a run's termination message.
pub(crate) fn termination_file(pod_dir: &Path, name: &str, attempt: u32) -> PathBuf {
    pod_dir.join("containers").join(name).join(format!("termination-{attempt}"))
}

/// What a container is made from.
pub(crate) struct Parts<'a> {
    pub shared: &'a Shared,
    pub inputs: &'a Inputs,
    pub container: spec::ContainerSpec<'a>,
    pub attempt: u32,
    pub image: &'a Image,
    pub services: &'a BTreeMap<String, String>,
    /// The container whose processes this one sees.
    pub target: Option<String>,
}

/// Limits in the runtime's words.
pub(crate) fn resources(limits: &numbers::Cgroup) -> rt::Resources {
    rt::Resources {
        cpu_shares: limits.cpu_shares.map(|n| n as u64),
        cpu_quota: limits.cpu_quota,
        cpu_period: limits.cpu_quota.map(|_| numbers::CPU_PERIOD as u64),
        memory_limit: limits.memory_limit,
        // No swap for containers, as upstream.
        memory_swap_limit: limits.memory_limit,
        pids_limit: limits.pids_limit,
        ..rt::Resources::default()
    }
}

/// A lack of memory ends the whole container, not one of its processes (with cgroup v2 only), as
/// upstream unless `singleProcessOOMKill` is set.
fn with_group_kill(mut resources: rt::Resources) -> rt::Resources {
    resources.unified.insert(rt::OOM_GROUP.into(), "1".into());
    resources
}

/// Why a container cannot be configured: a waiting container's reason, and its message.
pub(crate) struct Refused {
    pub reason: &'static str,
    pub message: String,
}

impl From<String> for Refused {
    fn from(message: String) -> Refused {
        Refused { reason: "CreateContainerConfigError", message }
    }
}

impl From<&str> for Refused {
    fn from(message: &str) -> Refused {
        Refused::from(message.to_owned())
    }
}

/// The configuration of a run, with the files that it mounts made. Blocks.
pub(crate) fn config(parts: &Parts<'_>) -> Result<rt::ContainerConfig, Refused> {
    let Parts { shared, inputs, container, image, .. } = parts;
    let (pod, c) = (&*inputs.pod, container.spec);
    if !c.at("volumeDevices").items().is_empty() {
        return Err("volumeDevices are not supported by this node".into());
    }
    let vars = env::environment(&env::Context {
        pod,
        container: c,
        sources: &inputs.sources,
        services: parts.services,
        node: &inputs.facts,
        pod_ips: &inputs.pod_ips,
    })?;
    let security = security(pod, c)?;
    let own = &image.config.config;
    let image_user = own.user.split(':').next().unwrap_or("");
    security::verify_non_root(pod, container.name(), &security, image_user)?;
    let list = |field: &str| {
        let list = env::expand_all(c.at(field), &vars);
        (!list.is_empty()).then_some(list)
    };
    let (command, args) = (list("command"), list("args"));
    let host = spec::host_network(pod);
    let cwd = c.at("workingDir").as_str().filter(|d| !d.is_empty());
    let memory = inputs.facts.memory_bytes;
    Ok(rt::ContainerConfig {
        name: container.name().into(),
        attempt: parts.attempt,
        labels: labels(pod, container.name()),
        annotations: BTreeMap::new(),
        image: shown_image(c.at("image").str(), image),
        image_id: shown_image_id(image),
        argv: image.argv(command.as_deref(), args.as_deref()),
        env: environment(parts, &vars),
        cwd: cwd.unwrap_or(&own.working_dir).into(),
        rootfs: rt::Rootfs::Overlay { lower_dirs: image.lower_dirs.clone() },
        volumes: image_volumes(own.volumes.keys(), c),
        mounts: mounts(parts, &vars, &security, host)?,
        security: process(shared, &security, &own.user)?,
        devices: Vec::new(),
        resources: with_group_kill(resources(&numbers::container_cgroup(c))),
        oom_score_adj: i32::try_from(numbers::oom_score_adj(pod, c, memory)).ok(),
        rlimits: Vec::new(),
        tty: c.at("tty").bool(),
        stdin: c.at("stdin").bool(),
        stdin_once: c.at("stdinOnce").bool(),
        stop_signal: stop_signal(c, &own.stop_signal),
        log_path: Some(shared.config.log_path(
            pod.namespace(),
            pod.name(),
            pod.uid(),
            container.name(),
            parts.attempt,
        )),
        pid: parts.target.clone().map(rt::PidMode::Target),
    })
}

/// The volumes of an image that no volume of the pod is mounted over, without `.` and `..`; a
/// parent comes before what is below it.
fn image_volumes<'a>(paths: impl Iterator<Item = &'a String>, container: &Value) -> Vec<String> {
    let clean = |path: &str| {
        let mut parts: Vec<&str> = Vec::new();
        for part in path.split('/') {
            match part {
                "" | "." => {}
                ".." => drop(parts.pop()),
                part => parts.push(part),
            }
        }
        format!("/{}", parts.join("/"))
    };
    let mounted = container.at("volumeMounts").items().iter();
    let mounted: Vec<String> = mounted.map(|m| clean(m.at("mountPath").str())).collect();
    let mut out: Vec<String> = paths.map(|p| clean(p)).collect();
    out.retain(|p| p != "/" && !mounted.contains(p));
    out.sort();
    out.dedup();
    out
}

fn labels(pod: &Value, name: &str) -> BTreeMap<String, String> {
    BTreeMap::from([
        ("io.kubernetes.container.name".into(), name.into()),
        ("io.kubernetes.pod.name".into(), pod.name().into()),
        ("io.kubernetes.pod.namespace".into(), pod.namespace().into()),
        (crate::worker::observe::POD_UID.into(), pod.uid().into()),
    ])
}

/// The full name of the image, as containerd shows it.
fn shown_image(stated: &str, image: &Image) -> String {
    match timonier_oci::Reference::parse(stated) {
        Ok(reference) => reference.to_string(),
        Err(_) => image.repo_tags.first().cloned().unwrap_or_else(|| stated.to_string()),
    }
}

fn shown_image_id(image: &Image) -> String {
    match image.repo_digests.first() {
        Some(name) => name.clone(),
        None => image.id.as_str().to_string(),
    }
}

fn environment(parts: &Parts<'_>, vars: &Variables) -> Vec<String> {
    let mut all = Variables::default();
    all.set("PATH", DEFAULT_PATH.into());
    let pod = &parts.inputs.pod;
    if parts.container.spec.at("tty").bool() {
        all.set("TERM", "xterm".into());
    }
    let hostname = match spec::host_network(pod) {
        true => rustix::system::uname().nodename().to_string_lossy().into_owned(),
        false => dns::hostname(pod, &parts.shared.config.cluster_domain).0,
    };
    all.set("HOSTNAME", hostname);
    for entry in &parts.image.config.config.env {
        if let Some((name, value)) = entry.split_once('=') {
            all.set(name, value.into());
        }
    }
    for (name, value) in vars.iter() {
        all.set(name, value.into());
    }
    all.into_vec().into_iter().map(|(n, v)| format!("{n}={v}")).collect()
}

fn mounts(
    parts: &Parts<'_>,
    vars: &Variables,
    security: &Security,
    host: bool,
) -> Result<Vec<rt::Mount>, String> {
    let (inputs, c) = (parts.inputs, parts.container.spec);
    let wanted = volume_mounts(c, vars)?;
    let mut out = Vec::new();
    for (i, m) in wanted.iter().enumerate() {
        out.push(volume_mount(parts, i, m)?);
    }
    let taken = |path: &str| wanted.iter().any(|m| m.path.trim_end_matches('/') == path);
    let own = own_files(parts, host)?;
    for (target, file) in own {
        if !taken(target) {
            let mount = rt::Mount::bind(file, target);
            out.push(if security.read_only_root { mount.readonly() } else { mount });
        }
    }
    let target = c.at("terminationMessagePath").str();
    let target = if target.is_empty() { "/dev/termination-log" } else { target };
    let file = termination_file(&inputs.dir, parts.container.name(), parts.attempt);
    write(&file, "", 0o666)?;
    out.push(rt::Mount::bind(file, target));
    Ok(out)
}

fn volume_mount(parts: &Parts<'_>, i: usize, m: &VolumeMount) -> Result<rt::Mount, String> {
    let inputs = parts.inputs;
    let name = parts.container.name();
    let volume = volumes::source(inputs, &m.volume).ok_or_else(|| {
        format!("cannot find volume {:?} to mount into container {name:?}", m.volume.as_str())
    })?;
    let source = match &m.sub_path {
        None => volume.path,
        Some(sub) => {
            let target = volumes::subpath_target(&inputs.dir, &m.volume, name, i, parts.attempt);
            volumes::subpath::expose(&*parts.shared.mounts, &volume.path, sub, &target).map_err(
                |e| {
                    tracing::debug!(error = %e, "sub-path");
                    format!(
                        "failed to prepare subPath for volumeMount {:?} of container {name:?}",
                        m.volume.as_str()
                    )
                },
            )?
        }
    };
    // A hostPath without a type is made as a directory, as container runtimes do.
    if !source.exists() {
        std::fs::create_dir_all(&source).map_err(|e| format!("{}: {e}", source.display()))?;
    }
    Ok(rt::Mount {
        target: m.path.clone(),
        source: rt::MountSource::Bind(source),
        readonly: m.read_only || volume.read_only,
        recursive_readonly: m.recursive_read_only,
        propagation: match m.propagation {
            Propagation::None => rt::Propagation::Private,
            Propagation::HostToContainer => rt::Propagation::Slave,
            Propagation::Bidirectional => rt::Propagation::Shared,
        },
    })
}

/// The files that the node writes for a pod: hosts, host name, resolver.
fn own_files(parts: &Parts<'_>, host: bool) -> Result<[(&'static str, PathBuf); 3], String> {
    let (config, inputs, pod) = (&parts.shared.config, parts.inputs, &*parts.inputs.pod);
    let read = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
    let etc = inputs.dir.join("etc");
    let hosts = dns::hosts_file(
        pod,
        &inputs.pod_ips,
        &config.cluster_domain,
        &if host { read(&config.hosts_file) } else { String::new() },
    );
    let resolv = dns::resolv_conf(pod, &inputs.facts, &read(&config.resolv_conf));
    let name = match host {
        true => rustix::system::uname().nodename().to_string_lossy().into_owned(),
        false => dns::hostname(pod, &config.cluster_domain).0,
    };
    let files = [
        ("/etc/hosts", etc.join("hosts"), hosts),
        ("/etc/hostname", etc.join("hostname"), format!("{name}\n")),
        ("/etc/resolv.conf", etc.join("resolv.conf"), resolv),
    ];
    let mut out = Vec::new();
    for (target, path, text) in files {
        write(&path, &text, 0o644)?;
        out.push((target, path));
    }
    Ok(out.try_into().expect("three went in"))
}

/// Writes a file in place, so that running containers see the change.
fn write(path: &Path, text: &str, mode: u32) -> Result<(), String> {
    let failed = |e: std::io::Error| format!("{}: {e}", path.display());
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(failed)?;
    }
    if std::fs::read_to_string(path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    std::fs::write(path, text).map_err(failed)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(failed)
}

fn process(shared: &Shared, s: &Security, image_user: &str) -> Result<rt::Security, Refused> {
    let id = |n: Option<i64>| n.and_then(|n| u32::try_from(n).ok());
    let mut out = rt::Security {
        user: rt::User {
            name: image_user.into(),
            uid: id(s.uid),
            gid: id(s.gid),
            supplementary: s.groups.iter().filter_map(|g| u32::try_from(*g).ok()).collect(),
            strict_groups: s.strict_groups,
        },
        capabilities: s.capabilities.clone(),
        no_new_privs: s.no_new_privileges,
        privileged: s.privileged,
        readonly_rootfs: s.read_only_root,
        seccomp: match &s.seccomp {
            Seccomp::RuntimeDefault => rt::Seccomp::Default,
            Seccomp::Unconfined => rt::Seccomp::Unconfined,
            Seccomp::Localhost(file) => {
                let path = shared.config.seccomp_dir.join(file);
                // Upstream's kubelet leaves the file to the runtime, which creates the container.
                let text = std::fs::read_to_string(&path).map_err(|e| Refused {
                    reason: "CreateContainerError",
                    message: format!("cannot load seccomp profile {:?}: {e}", path.display()),
                })?;
                rt::Seccomp::Custom(text)
            }
        },
        ..rt::Security::default()
    };
    if s.unmasked_proc || s.privileged {
        out.masked_paths = Vec::new();
        out.readonly_paths = Vec::new();
    }
    Ok(out)
}

/// The number of the signal that asks a container to stop; 0 for the default.
fn stop_signal(container: &Value, image: &str) -> i32 {
    let stated = container.at("lifecycle.stopSignal").str();
    let text = if stated.is_empty() { image } else { stated };
    let name = text.strip_prefix("SIG").unwrap_or(text);
    if let Ok(number) = name.parse() {
        return number;
    }
    if let Some(offset) = name.strip_prefix("RTMIN") {
        return 34 + offset.trim_start_matches('+').parse::<i32>().unwrap_or(0);
    }
    nix::sys::signal::Signal::from_str(&format!("SIG{name}")).map_or(0, |s| s as i32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use timonier_object::value;

    #[test]
    fn volumes_of_images() {
        let paths = ["/data/", "b", "/", "/a/./x/../y", "/a", "/mine", "/data"].map(String::from);
        let c = value!({ "volumeMounts": [{ "name": "v", "mountPath": "/mine/" }] });
        assert_eq!(image_volumes(paths.iter(), &c), ["/a", "/a/y", "/b", "/data"]);
    }

    #[test]
    fn signals() {
        let c = value!({});
        for (text, number) in
            [("", 0), ("SIGQUIT", 3), ("QUIT", 3), ("15", 15), ("SIGRTMIN+3", 37), ("x", 0)]
        {
            assert_eq!(stop_signal(&c, text), number, "{text}");
        }
        let c = value!({ "lifecycle": { "stopSignal": "SIGUSR1" } });
        assert_eq!(stop_signal(&c, "SIGQUIT"), 10);
    }
}
