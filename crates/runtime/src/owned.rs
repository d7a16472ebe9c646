//! The cgroups of one sandbox.
//!
//! All sandboxes that a pod has, one after the other, have the pod's cgroup as their parent: what
//! ends or removes one of them must not touch what another one runs.

use std::fs;
use std::path::Path;

/// The group of the process that holds the pod's PID namespace.
pub fn pause(dir: &Path, parent: &str) -> String {
    let id = dir.file_name().unwrap_or_default().to_string_lossy();
    format!("{}/pause-{id}", parent.trim_end_matches('/'))
}

/// Every group that the sandbox with this directory may have.
pub fn all(dir: &Path, parent: &str) -> Vec<String> {
    let containers = fs::read_dir(dir.join("containers")).into_iter().flatten().flatten();
    let parent = parent.trim_end_matches('/');
    containers
        .map(|c| format!("{parent}/{}", c.file_name().to_string_lossy()))
        .chain([pause(dir, parent)])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_sandboxes_of_a_pod_share_no_group() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        fs::create_dir_all(one.join("containers/a")).unwrap();
        fs::create_dir_all(two.join("containers/b")).unwrap();
        assert_eq!(all(&one, "/k/pod1/"), ["/k/pod1/a", "/k/pod1/pause-one"]);
        assert_eq!(all(&two, "/k/pod1"), ["/k/pod1/b", "/k/pod1/pause-two"]);
    }
}
