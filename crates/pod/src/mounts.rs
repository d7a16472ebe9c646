//! Where a container's volumes go.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use smol_str::SmolStr;
use timonier_object::Value;

use crate::env::{Variables, expand_strict};

/// Kubernetes' `None`, `HostToContainer`, `Bidirectional`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Propagation {
    #[default]
    None,
    HostToContainer,
    Bidirectional,
}

/// One `volumeMounts` entry, its variables put in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VolumeMount {
    pub volume: SmolStr,
    /// Absolute path in the container.
    pub path: String,
    /// Below the volume; `None` for the whole of it. Never absolute and without `..`, but what it
    /// names may still be a link: open it step by step.
    pub sub_path: Option<String>,
    pub read_only: bool,
    pub recursive_read_only: bool,
    pub propagation: Propagation,
}

/// The mounts of a container. The error is the message of `CreateContainerConfigError`.
pub fn volume_mounts(container: &Value, vars: &Variables) -> Result<Vec<VolumeMount>, String> {
    container.at("volumeMounts").items().iter().map(|m| one(m, vars)).collect()
}

fn one(m: &Value, vars: &Variables) -> Result<VolumeMount, String> {
    let expression = m.at("subPathExpr").str();
    let sub_path = match expression {
        "" => m.at("subPath").str().into(),
        text => expand_strict(text, vars)?,
    };
    if sub_path.starts_with('/') {
        return Err(format!("error SubPath `{sub_path}` must not be an absolute path"));
    }
    if sub_path.split('/').any(|part| part == "..") {
        return Err(format!("unable to provision SubPath `{sub_path}`: must not contain '..'"));
    }
    let path = m.at("mountPath").str();
    let path = if path.starts_with('/') { path.into() } else { format!("/{path}") };
    let read_only = m.at("readOnly").bool();
    Ok(VolumeMount {
        volume: m.at("name").smol(),
        path,
        sub_path: (!sub_path.is_empty()).then_some(sub_path),
        read_only,
        recursive_read_only: read_only
            && matches!(m.at("recursiveReadOnly").str(), "Enabled" | "IfPossible"),
        propagation: match m.at("mountPropagation").str() {
            "HostToContainer" => Propagation::HostToContainer,
            "Bidirectional" => Propagation::Bidirectional,
            _ => Propagation::None,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use timonier_object::value;

    #[test]
    fn sub_paths_expand_and_stay_inside() {
        let mut vars = Variables::default();
        vars.set("POD", "web".into());
        vars.set("UP", "../x".into());
        let get = |m: Value| volume_mounts(&value!({ "volumeMounts": [m] }), &vars);
        let m = get(
            value!({ "name": "v", "mountPath": "data", "subPathExpr": "a/$(POD)", "readOnly": true }),
        );
        let m = &m.unwrap()[0];
        assert_eq!((m.path.as_str(), m.sub_path.as_deref()), ("/data", Some("a/web")));
        assert!(m.read_only && !m.recursive_read_only);
        for bad in [
            value!({ "name": "v", "subPathExpr": "$(NONE)" }),
            value!({ "name": "v", "subPathExpr": "$(UP)" }),
            value!({ "name": "v", "subPath": "/etc" }),
        ] {
            assert!(get(bad).is_err());
        }
    }
}
