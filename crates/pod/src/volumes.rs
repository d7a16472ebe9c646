//! What a pod's volumes are, and the files of those that are made from API objects.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use smol_str::SmolStr;
use timonier_object::Value;

use crate::downward::{self, NodeFacts};
use crate::resources::{pod_cgroup, quantity};
use crate::security::token_user;
use crate::sources::{Kind, Reference, Sources, TokenSpec, contents, not_found};

/// The mode of files where none is stated.
const DEFAULT_MODE: u32 = 0o644;

/// The kinds of volumes that the node makes itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Volume {
    /// `configMap`, `secret`, `downwardAPI`, `projected`: files made by [`files`]. `memory` says
    /// that they never reach a disk.
    Files {
        memory: bool,
    },
    /// `sizeLimit` in bytes. In memory, `size` is that of the file system.
    EmptyDir {
        memory: bool,
        size: Option<i64>,
    },
    HostPath {
        path: String,
        kind: SmolStr,
    },
    /// `persistentVolumeClaim`.
    Claim {
        name: SmolStr,
        read_only: bool,
    },
    /// The text says what cannot be done.
    Unsupported(String),
}

impl Volume {
    /// Whether every mount of it is read-only, whatever the mount says. What is made from API
    /// objects is the node's to write (upstream's `mustMountRO`, since CVE-2017-1002102).
    pub fn read_only(&self) -> bool {
        match self {
            Volume::Files { .. } => true,
            Volume::Claim { read_only, .. } => *read_only,
            Volume::EmptyDir { .. } | Volume::HostPath { .. } | Volume::Unsupported(_) => false,
        }
    }
}

/// Reads a volume of the spec.
pub fn read(pod: &Value, volume: &Value, node: &NodeFacts) -> Volume {
    let source = volume.entries().find(|(k, v)| *k != "name" && !v.is_null());
    let Some((kind, source)) = source else {
        // Upstream's default.
        return Volume::EmptyDir { memory: false, size: None };
    };
    match kind {
        "configMap" | "downwardAPI" => Volume::Files { memory: kind == "downwardAPI" },
        "secret" | "projected" => Volume::Files { memory: true },
        "emptyDir" => empty_dir(pod, source, node),
        "hostPath" => Volume::HostPath {
            path: source.at("path").str().into(),
            kind: source.at("type").smol(),
        },
        "persistentVolumeClaim" => Volume::Claim {
            name: source.at("claimName").smol(),
            read_only: source.at("readOnly").bool(),
        },
        "ephemeral" => Volume::Claim {
            name: format!("{}-{}", pod.name(), volume.at("name").str()).into(),
            read_only: false,
        },
        other => Volume::Unsupported(format!(
            "failed to get Plugin from volumeSpec for volume {:?} err=no volume plugin matched: {other}",
            volume.at("name").str()
        )),
    }
}

fn empty_dir(pod: &Value, source: &Value, node: &NodeFacts) -> Volume {
    let limit = quantity(source.get("sizeLimit")).value();
    let limit = (limit > 0).then_some(limit);
    match source.at("medium").str() {
        "" => Volume::EmptyDir { memory: false, size: limit },
        "Memory" => {
            let node = node.allocatable.get("memory").map(|q| q.value());
            let bounds = [limit, pod_cgroup(pod, None).memory_limit, node];
            Volume::EmptyDir { memory: true, size: bounds.into_iter().flatten().min() }
        }
        other => Volume::Unsupported(format!("unknown storage medium {other:?}")),
    }
}

/// One file of a volume.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct File {
    /// Below the volume, without `..`.
    pub path: String,
    pub mode: u32,
    pub data: Vec<u8>,
    /// `None` leaves root.
    pub owner: Option<i64>,
}

/// What the files of volumes are made from.
pub struct Context<'a> {
    pub pod: &'a Value,
    pub sources: &'a dyn Sources,
    pub node: &'a NodeFacts,
    pub pod_ips: &'a [SmolStr],
}

/// The files of a [`Volume::Files`]. The error is what follows
/// `MountVolume.SetUp failed for volume "x" : `.
pub fn files(ctx: &Context<'_>, volume: &Value) -> Result<Vec<File>, String> {
    let mut out = Vec::new();
    let mode = |v: &Value| v.at("defaultMode").as_i64().map_or(DEFAULT_MODE, |m| m as u32);
    if let Some(source) = volume.get("configMap") {
        object(ctx, Kind::ConfigMap, "name", source, mode(source), &mut out)?;
    } else if let Some(source) = volume.get("secret") {
        object(ctx, Kind::Secret, "secretName", source, mode(source), &mut out)?;
    } else if let Some(source) = volume.get("downwardAPI") {
        downward_files(ctx, source, mode(source), &mut out)?;
    } else if let Some(projected) = volume.get("projected") {
        let mode = mode(projected);
        for source in projected.at("sources").items() {
            projection(ctx, source, mode, &mut out)?;
        }
    }
    for file in &out {
        let bad = |part: &str| part == ".." || part.is_empty();
        if file.path.split('/').any(bad) || file.path.starts_with("..") {
            return Err(format!("invalid path: {:?}", file.path));
        }
    }
    // The last of several files at one path counts.
    let mut seen = alloc::collections::BTreeSet::new();
    out.reverse();
    out.retain(|f| seen.insert(f.path.clone()));
    out.reverse();
    Ok(out)
}

fn projection(
    ctx: &Context<'_>,
    source: &Value,
    mode: u32,
    out: &mut Vec<File>,
) -> Result<(), String> {
    if let Some(s) = source.get("configMap") {
        return object(ctx, Kind::ConfigMap, "name", s, mode, out);
    }
    if let Some(s) = source.get("secret") {
        return object(ctx, Kind::Secret, "name", s, mode, out);
    }
    if let Some(s) = source.get("downwardAPI") {
        return downward_files(ctx, s, mode, out);
    }
    if let Some(s) = source.get("serviceAccountToken") {
        let token = ctx.sources.token(&TokenSpec::read(s))?;
        let owner = token_user(ctx.pod);
        let private = owner.is_some() || crate::security::fs_group(ctx.pod).is_some();
        out.push(File {
            path: s.at("path").str().into(),
            mode: if private { 0o600 } else { mode },
            data: token.as_bytes().to_vec(),
            owner,
        });
        return Ok(());
    }
    let kind = source.entries().next().map_or("", |(k, _)| k);
    Err(format!("projected source {kind:?} is not supported by this node"))
}

fn object(
    ctx: &Context<'_>,
    kind: Kind,
    name_field: &str,
    source: &Value,
    default_mode: u32,
    out: &mut Vec<File>,
) -> Result<(), String> {
    let optional = source.at("optional").bool();
    let reference = Reference { kind, name: source.at(name_field).smol() };
    let Some(object) = ctx.sources.object(&reference) else {
        return if optional { Ok(()) } else { Err(not_found(&reference)) };
    };
    let data = contents(kind, object);
    let items = source.at("items").items();
    if items.is_empty() {
        out.extend(data.into_iter().map(|(key, data)| File {
            path: key.to_string(),
            mode: default_mode,
            data,
            owner: None,
        }));
        return Ok(());
    }
    for item in items {
        let key = item.at("key").str();
        let Some((_, bytes)) = data.iter().find(|(k, _)| *k == key) else {
            if optional {
                continue;
            }
            let noun = if kind == Kind::ConfigMap { "config" } else { "secret" };
            return Err(format!("references non-existent {noun} key: {key}"));
        };
        out.push(File {
            path: item.at("path").str().into(),
            mode: item.at("mode").as_i64().map_or(default_mode, |m| m as u32),
            data: bytes.clone(),
            owner: None,
        });
    }
    Ok(())
}

fn downward_files(
    ctx: &Context<'_>,
    source: &Value,
    default_mode: u32,
    out: &mut Vec<File>,
) -> Result<(), String> {
    for item in source.at("items").items() {
        let text = match item.get("fieldRef") {
            Some(field) => {
                downward::field(ctx.pod, field.at("fieldPath").str(), ctx.node, ctx.pod_ips)?
            }
            None => downward::resource(ctx.pod, None, item.at("resourceFieldRef"), ctx.node)?,
        };
        out.push(File {
            path: item.at("path").str().into(),
            mode: item.at("mode").as_i64().map_or(default_mode, |m| m as u32),
            data: text.into_bytes(),
            owner: None,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::fixture::Fixed;
    use timonier_object::value;

    fn run(sources: &Fixed, volume: Value) -> Result<Vec<(String, u32, String)>, String> {
        let pod = value!({ "metadata": { "name": "p", "labels": { "a": "b" } },
            "spec": { "containers": [{ "name": "c" }] } });
        let node = NodeFacts::default();
        let ctx = Context { pod: &pod, sources, node: &node, pod_ips: &[] };
        let text = |f: File| (f.path, f.mode, String::from_utf8(f.data).unwrap());
        files(&ctx, &volume).map(|all| all.into_iter().map(text).collect())
    }

    #[test]
    fn items_modes_and_optional() {
        let sources = Fixed::default().with(
            Kind::ConfigMap,
            "cm",
            value!({ "data": { "a": "1", "b": "2" } }),
        );
        let all = run(&sources, value!({ "configMap": { "name": "cm" } })).unwrap();
        assert_eq!(all.len(), 2);
        let some = run(
            &sources,
            value!({ "configMap": { "name": "cm", "defaultMode": 256,
                "items": [{ "key": "a", "path": "x/y" }, { "key": "b", "path": "z", "mode": 511 }] } }),
        );
        let want = [("x/y".to_string(), 256, "1".to_string()), ("z".into(), 511, "2".into())];
        assert_eq!(some.unwrap(), want);
        assert_eq!(
            run(
                &sources,
                value!({ "configMap": { "name": "cm", "items": [{ "key": "q", "path": "q" }] } })
            ),
            Err("references non-existent config key: q".into())
        );
        assert_eq!(
            run(&sources, value!({ "secret": { "secretName": "s" } })),
            Err("secret \"s\" not found".into())
        );
        assert_eq!(
            run(&sources, value!({ "secret": { "secretName": "s", "optional": true } })),
            Ok(Vec::new())
        );
        assert!(
            run(
                &sources,
                value!({ "configMap": { "name": "cm", "items": [{ "key": "a", "path": "../x" }] } })
            )
            .is_err()
        );
    }

    #[test]
    fn projected_as_the_service_account_volume_is() {
        let mut sources = Fixed::default().with(
            Kind::ConfigMap,
            "kube-root-ca.crt",
            value!({ "data": { "ca.crt": "CA" } }),
        );
        sources.token = Some("jwt".into());
        let got = run(
            &sources,
            value!({ "projected": { "defaultMode": 420, "sources": [
                { "serviceAccountToken": { "path": "token", "expirationSeconds": 3607 } },
                { "configMap": { "name": "kube-root-ca.crt", "items": [{ "key": "ca.crt", "path": "ca.crt" }] } },
                { "downwardAPI": { "items": [{ "path": "labels", "fieldRef": { "fieldPath": "metadata.labels" } }] } }] } }),
        );
        let want = [
            ("token".to_string(), 420, "jwt".to_string()),
            ("ca.crt".into(), 420, "CA".into()),
            ("labels".into(), 420, "a=\"b\"".into()),
        ];
        assert_eq!(got.unwrap(), want);
    }

    #[test]
    fn kinds_of_volumes() {
        let pod = value!({ "spec": { "containers": [] } });
        let node = NodeFacts::default();
        let get = |v: Value| read(&pod, &v, &node);
        assert_eq!(
            get(value!({ "name": "v", "emptyDir": { "medium": "Memory", "sizeLimit": "1Mi" } })),
            Volume::EmptyDir { memory: true, size: Some(1 << 20) }
        );
        assert_eq!(
            get(value!({ "name": "v", "emptyDir": {} })),
            Volume::EmptyDir { memory: false, size: None }
        );
        assert_eq!(get(value!({ "name": "v", "secret": {} })), Volume::Files { memory: true });
        assert!(matches!(get(value!({ "name": "v", "nfs": {} })), Volume::Unsupported(_)));
    }
}
