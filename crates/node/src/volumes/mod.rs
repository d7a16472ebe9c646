//! The volumes of a pod: made, kept up to date, removed.

mod atomic;
pub(crate) mod host;
mod host_path;
pub(crate) mod subpath;

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use timonier_meta::{SmolStr, Time};
use timonier_object::Value;
use timonier_pod::downward::NodeFacts;
use timonier_pod::security::{fs_group, fs_group_on_root_mismatch};
use timonier_pod::volumes::{self, Volume};

use crate::objects::PodSources;
use host::Mounts;

/// Everything that the volumes of a pod are made from.
#[derive(Clone)]
pub(crate) struct Inputs {
    pub pod: Arc<Value>,
    /// The pod's directory.
    pub dir: PathBuf,
    pub sources: PodSources,
    pub facts: Arc<NodeFacts>,
    pub pod_ips: Vec<SmolStr>,
    /// Paths of claims on this node, by volume name.
    pub claims: std::collections::BTreeMap<SmolStr, Result<PathBuf, String>>,
    pub now: Time,
}

/// Makes all volumes; what is there already stays. Blocks. The error is the message of the Event
/// `FailedMount`.
pub(crate) fn mount(inputs: &Inputs, mounts: &dyn Mounts) -> Result<(), String> {
    for volume in inputs.pod.at("spec.volumes").items() {
        one(inputs, mounts, volume).map_err(|why| {
            format!("MountVolume.SetUp failed for volume {:?} : {why}", volume.at("name").str())
        })?;
    }
    Ok(())
}

/// Writes the files of volumes made from API objects again. Blocks.
pub(crate) fn refresh(inputs: &Inputs) -> Result<(), String> {
    for volume in inputs.pod.at("spec.volumes").items() {
        let kind = volumes::read(&inputs.pod, volume, &inputs.facts);
        if matches!(kind, Volume::Files { .. }) {
            write_files(inputs, volume).map_err(|why| {
                format!("MountVolume.SetUp failed for volume {:?} : {why}", volume.at("name").str())
            })?;
        }
    }
    Ok(())
}

/// Removes all mounts below the pod's directory, then what is in its volumes. Blocks.
pub(crate) fn unmount(dir: &Path, mounts: &dyn Mounts) -> Result<(), String> {
    let points = mounts.below(dir).map_err(|e| e.to_string())?;
    for point in points {
        mounts.unmount(&point).map_err(|e| format!("unmounting {}: {e}", point.display()))?;
    }
    for part in ["volumes", "volume-subpaths"] {
        // Should a mount have been overlooked, what is mounted there is not deleted.
        timonier_runtime::remove_tree(&dir.join(part)).map_err(|e| format!("removing {e}"))?;
    }
    Ok(())
}

/// Where a sub-path for one run of a container is made available: mount `i` of its list.
pub(crate) fn subpath_target(
    dir: &Path,
    volume: &str,
    container: &str,
    i: usize,
    attempt: u32,
) -> PathBuf {
    dir.join("volume-subpaths").join(volume).join(container).join(format!("{i}-{attempt}"))
}

/// Takes the sub-paths of one run away. What cannot be removed goes with the pod.
pub(crate) fn release_subpaths(dir: &Path, container: &str, attempt: u32, mounts: &dyn Mounts) {
    let list = |dir: PathBuf| fs::read_dir(dir).into_iter().flatten().flatten();
    let suffix = format!("-{attempt}");
    for target in list(dir.join("volume-subpaths")).flat_map(|v| list(v.path().join(container))) {
        if !target.file_name().to_string_lossy().ends_with(&suffix) {
            continue;
        }
        let path = target.path();
        let result = mounts.unmount(&path).and_then(|()| match path.is_dir() {
            true => fs::remove_dir(&path),
            false => fs::remove_file(&path),
        });
        if let Err(error) = result {
            tracing::debug!(%error, path = %path.display(), "removing a sub-path");
        }
    }
}

/// A volume as it is mounted.
pub(crate) struct Source {
    /// Where it is on the host.
    pub path: PathBuf,
    /// Whether no container may write to it, whatever its mount says.
    pub read_only: bool,
}

/// What a volume of this name is mounted from.
pub(crate) fn source(inputs: &Inputs, name: &str) -> Option<Source> {
    let volume = inputs.pod.at("spec.volumes").items().iter();
    let volume = volume.into_iter().find(|v| v.at("name").str() == name)?;
    let kind = volumes::read(&inputs.pod, volume, &inputs.facts);
    let read_only = kind.read_only();
    let path = match kind {
        Volume::HostPath { path, .. } => path.into(),
        Volume::Claim { .. } => inputs.claims.get(name)?.as_ref().ok().cloned()?,
        _ => own_dir(&inputs.dir, volume),
    };
    Some(Source { path, read_only })
}

/// The volumes of a pod that are kept on the node's disk for it: name and directory.
pub(crate) fn on_disk(pod: &Value, pod_dir: &Path, node: &NodeFacts) -> Vec<(SmolStr, PathBuf)> {
    let mut out = Vec::new();
    for volume in pod.at("spec.volumes").items() {
        let kind = volumes::read(pod, volume, node);
        if let Volume::EmptyDir { memory: false, .. } | Volume::Files { memory: false } = kind {
            out.push((volume.at("name").smol(), own_dir(pod_dir, volume)));
        }
    }
    out
}

fn own_dir(pod_dir: &Path, volume: &Value) -> PathBuf {
    let kind = volume.entries().map(|(k, _)| k).find(|k| *k != "name").unwrap_or("emptyDir");
    let plugin = match kind {
        "configMap" => "configmap",
        "downwardAPI" => "downward-api",
        "emptyDir" => "empty-dir",
        other => other,
    };
    pod_dir.join("volumes").join(format!("kubernetes.io~{plugin}")).join(volume.at("name").str())
}

fn one(inputs: &Inputs, mounts: &dyn Mounts, volume: &Value) -> Result<(), String> {
    let name = volume.at("name").str();
    if name.is_empty() || name.contains('/') || name == ".." {
        return Err(format!("invalid name {name:?}"));
    }
    let dir = own_dir(&inputs.dir, volume);
    match volumes::read(&inputs.pod, volume, &inputs.facts) {
        Volume::Files { memory } => {
            make(&dir, mounts, memory, None)?;
            write_files(inputs, volume)
        }
        Volume::EmptyDir { memory, size } => {
            let new = make(&dir, mounts, memory, size)?;
            match group(&inputs.pod) {
                Some(group) if new || !fs_group_on_root_mismatch(&inputs.pod) => {
                    own(&dir, group, fs_group_on_root_mismatch(&inputs.pod))
                        .map_err(|e| e.to_string())
                }
                _ => Ok(()),
            }
        }
        Volume::HostPath { path, kind } => host_path::check(Path::new(&path), &kind),
        Volume::Claim { name: claim, .. } => match inputs.claims.get(name) {
            Some(Ok(_)) => Ok(()),
            Some(Err(why)) => Err(why.clone()),
            None => Err(format!("persistentvolumeclaim {:?} not found", claim.as_str())),
        },
        Volume::Unsupported(why) => Err(why),
    }
}

/// Makes a volume's directory; gives whether it is new.
fn make(dir: &Path, mounts: &dyn Mounts, memory: bool, size: Option<i64>) -> Result<bool, String> {
    let text = |e: io::Error| format!("{}: {e}", dir.display());
    let mut new = !dir.exists();
    fs::create_dir_all(dir).map_err(text)?;
    if memory && !mounts.is_point(dir).map_err(text)? {
        mounts.tmpfs(dir, size).map_err(text)?;
        new = true;
    }
    if new {
        fs::set_permissions(dir, Permissions::from_mode(0o777)).map_err(text)?;
    }
    Ok(new)
}

fn group(pod: &Value) -> Option<u32> {
    fs_group(pod).and_then(|g| u32::try_from(g).ok())
}

fn write_files(inputs: &Inputs, volume: &Value) -> Result<(), String> {
    let ctx = volumes::Context {
        pod: &inputs.pod,
        sources: &inputs.sources,
        node: &inputs.facts,
        pod_ips: &inputs.pod_ips,
    };
    let files = volumes::files(&ctx, volume)?;
    let dir = own_dir(&inputs.dir, volume);
    let group = group(&inputs.pod);
    atomic::write(&dir, &files, group, inputs.now).map_err(|e| e.to_string())?;
    match group {
        Some(group) => own_root(&dir, group).map_err(|e| e.to_string()),
        None => Ok(()),
    }
}

fn own_root(dir: &Path, group: u32) -> io::Result<()> {
    lchown(dir, None, Some(group))?;
    fs::set_permissions(dir, Permissions::from_mode(0o2777))
}

/// Gives everything below a directory to a group, readable and writable: upstream's
/// `SetVolumeOwnership`.
fn own(dir: &Path, group: u32, on_mismatch: bool) -> io::Result<()> {
    let meta = fs::symlink_metadata(dir)?;
    if on_mismatch && meta.gid() == group && meta.mode() & 0o2070 == 0o2070 {
        return Ok(());
    }
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            own(&entry.path(), group, false)?;
        } else {
            lchown(entry.path(), None, Some(group))?;
            if !kind.is_symlink() {
                let mode = entry.metadata()?.mode() & 0o7777;
                fs::set_permissions(entry.path(), Permissions::from_mode(mode | 0o660))?;
            }
        }
    }
    lchown(dir, None, Some(group))?;
    fs::set_permissions(dir, Permissions::from_mode(meta.mode() & 0o7777 | 0o2770))
}
