//! Whether an image is pulled before a container starts.

use timonier_object::Value;

/// `imagePullPolicy`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PullPolicy {
    Always,
    IfNotPresent,
    Never,
}

/// The policy of a container; the API server's default where none is stated.
pub fn pull_policy(container: &Value) -> PullPolicy {
    match container.at("imagePullPolicy").str() {
        "Always" => PullPolicy::Always,
        "Never" => PullPolicy::Never,
        "IfNotPresent" => PullPolicy::IfNotPresent,
        _ if is_latest(container.at("image").str()) => PullPolicy::Always,
        _ => PullPolicy::IfNotPresent,
    }
}

/// Whether a reference has the tag `latest`, stated or not, and no digest.
fn is_latest(image: &str) -> bool {
    if image.contains('@') {
        return false;
    }
    let last = image.rsplit('/').next().unwrap_or(image);
    last.split_once(':').is_none_or(|(_, tag)| tag == "latest")
}

/// What to do about an image.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Need {
    /// Use the one that is here.
    Use,
    Pull,
    /// `ErrImageNeverPull`.
    Refuse,
}

/// Decides from the policy and whether the image is here.
pub fn need(policy: PullPolicy, present: bool) -> Need {
    match (policy, present) {
        (PullPolicy::Always, _) | (PullPolicy::IfNotPresent, false) => Need::Pull,
        (PullPolicy::Never, false) => Need::Refuse,
        (_, true) => Need::Use,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use timonier_object::value;

    #[test]
    fn latest_is_always_pulled() {
        for (image, policy) in [
            ("nginx", PullPolicy::Always),
            ("r:5000/nginx", PullPolicy::Always),
            ("r:5000/nginx:latest", PullPolicy::Always),
            ("nginx:1.7.9", PullPolicy::IfNotPresent),
            ("nginx@sha256:aa", PullPolicy::IfNotPresent),
        ] {
            assert_eq!(pull_policy(&value!({ "image": image })), policy, "{image}");
        }
        assert_eq!(need(PullPolicy::Never, false), Need::Refuse);
        assert_eq!(need(PullPolicy::IfNotPresent, true), Need::Use);
        assert_eq!(need(PullPolicy::Always, true), Need::Pull);
    }
}
