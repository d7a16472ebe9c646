//! Pod security: how much a pod may ask of its node, by three levels that labels of the namespace
//! choose (upstream `k8s.io/pod-security-admission`).
//!
//! ```text
//! labels of the namespace ─ Policy::of ─► enforce, audit, warn: level and version each
//! pod + LevelVersion ─ checks ─► Violation: reason and detail ─ detail()/reasons() ─► text
//! ```

mod checks;
mod namespace;
mod update;

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use timonier_meta::{FieldError, FieldPath};
use timonier_object::Value;

pub use namespace::{evaluate_namespace, needs_evaluation};
pub use update::is_significant;

/// How strict.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    Privileged,
    Baseline,
    Restricted,
}

/// The minor version of Kubernetes whose checks count.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Version {
    Minor(u32),
    Latest,
}

/// A level as a certain version means it. Prints as `baseline:v1.35`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LevelVersion {
    pub level: Level,
    pub version: Version,
}

/// What a namespace wants done with pods that are not at its levels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policy {
    /// Such pods are refused.
    pub enforce: LevelVersion,
    /// Such pods are noted in the audit log.
    pub audit: LevelVersion,
    /// Their writers are told.
    pub warn: LevelVersion,
}

/// What a check found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// What kind of thing is wrong, as `host namespaces`.
    pub reason: String,
    /// Where it is, as `hostNetwork=true`.
    pub detail: String,
}

impl Level {
    fn parse(text: &str) -> Result<Self, &'static str> {
        match text {
            "privileged" => Ok(Level::Privileged),
            "baseline" => Ok(Level::Baseline),
            "restricted" => Ok(Level::Restricted),
            _ => Err("must be one of privileged, baseline, restricted"),
        }
    }
}

impl Version {
    fn parse(text: &str) -> Result<Self, &'static str> {
        const WRONG: &str = "must be \"latest\" or \"v1.x\"";
        if text == "latest" {
            return Ok(Version::Latest);
        }
        let digits = text.strip_prefix("v1.").ok_or(WRONG)?;
        let plain = !digits.is_empty() && digits.bytes().all(|c| c.is_ascii_digit());
        if !plain || (digits.len() > 1 && digits.starts_with('0')) {
            return Err(WRONG);
        }
        digits.parse().map(Version::Minor).map_err(|_| WRONG)
    }
}

impl fmt::Display for LevelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Level::Privileged => "privileged",
            Level::Baseline => "baseline",
            Level::Restricted => "restricted",
        };
        match self.version {
            Version::Latest => write!(f, "{level}:latest"),
            Version::Minor(minor) => write!(f, "{level}:v1.{minor}"),
        }
    }
}

/// The policy of a namespace that says nothing.
const OPEN: LevelVersion = LevelVersion { level: Level::Privileged, version: Version::Latest };

impl Policy {
    /// Reads a namespace's labels; wrong ones are told, and count as upstream counts them: a wrong
    /// `enforce` as restricted, a wrong `audit` or `warn` as privileged, a wrong version as latest.
    pub fn of(labels: &Value) -> (Policy, Vec<FieldError>) {
        let mut errors = Vec::new();
        let mut policy = Policy { enforce: OPEN, audit: OPEN, warn: OPEN };
        let (mut enforced, mut warned, mut warn_version) = (false, false, false);
        for (mode, to) in [
            ("enforce", &mut policy.enforce),
            ("audit", &mut policy.audit),
            ("warn", &mut policy.warn),
        ] {
            if let Some(text) = label(labels, mode) {
                warned |= mode == "warn";
                match Level::parse(text) {
                    Ok(level) => {
                        enforced |= mode == "enforce";
                        to.level = level;
                    }
                    Err(why) => {
                        to.level =
                            if mode == "enforce" { Level::Restricted } else { Level::Privileged };
                        errors.push(wrong(mode, text, why));
                    }
                }
            }
            let mode = format!("{mode}-version");
            if let Some(text) = label(labels, &mode) {
                warn_version |= mode == "warn-version";
                to.version = Version::parse(text).unwrap_or_else(|why| {
                    errors.push(wrong(&mode, text, why));
                    Version::Latest
                });
            }
        }
        // Whom something is refused from the start is told of it at workloads too.
        if !warned && enforced && policy.enforce.level > policy.warn.level {
            policy.warn.level = policy.enforce.level;
            if !warn_version {
                policy.warn.version = policy.enforce.version;
            }
        }
        (policy, errors)
    }

    /// Whether nothing is looked at.
    pub fn is_open(&self) -> bool {
        let levels = [self.enforce.level, self.audit.level, self.warn.level];
        levels.iter().all(|level| *level == Level::Privileged)
    }
}

fn label<'a>(labels: &'a Value, mode: &str) -> Option<&'a str> {
    labels.get(&format!("pod-security.kubernetes.io/{mode}"))?.as_str()
}

fn wrong(mode: &str, text: &str, why: &str) -> FieldError {
    let path = FieldPath::new("metadata.labels").key(&format!("pod-security.kubernetes.io/{mode}"));
    FieldError::invalid_str(&path, text, why)
}

/// What of a pod (or of a template of pods) the level does not allow; nothing where it is allowed.
pub fn evaluate(at: LevelVersion, metadata: &Value, spec: &Value) -> Vec<Violation> {
    checks::of(at).filter_map(|check| check(&checks::Pod { metadata, spec })).collect()
}

/// The violations with their details, as errors and warnings about one object say them.
pub fn detail(violations: &[Violation]) -> String {
    let one = |v: &Violation| match v.detail.as_str() {
        "" => v.reason.clone(),
        detail => format!("{} ({detail})", v.reason),
    };
    violations.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// The violations without their details, as warnings about many pods say them.
pub fn reasons(violations: &[Violation]) -> String {
    violations.iter().map(|v| v.reason.clone()).collect::<Vec<_>>().join(", ")
}

/// What an error says of a pod that is refused; `None` where it is not.
pub fn refusal(policy: &Policy, metadata: &Value, spec: &Value) -> Option<String> {
    let at = policy.enforce;
    let found = evaluate(at, metadata, spec);
    let text = || format!("violates PodSecurity {:?}: {}", at.to_string(), detail(&found));
    (!found.is_empty()).then(text)
}

/// What the writer of a pod or workload is told; `None` where that is nothing.
pub fn warning(policy: &Policy, metadata: &Value, spec: &Value) -> Option<String> {
    let at = policy.warn;
    let found = evaluate(at, metadata, spec);
    let text = || format!("would violate PodSecurity {:?}: {}", at.to_string(), detail(&found));
    (!found.is_empty()).then(text)
}

#[cfg(test)]
mod tests {
    use timonier_object::value;

    use super::*;

    #[test]
    fn labels_choose() {
        let (policy, errors) = Policy::of(&value!({}));
        assert!(policy.is_open() && errors.is_empty());
        let (policy, errors) = Policy::of(&value!({
            "pod-security.kubernetes.io/enforce": "baseline",
            "pod-security.kubernetes.io/enforce-version": "v1.30",
            "pod-security.kubernetes.io/audit": "restricted" }));
        assert!(errors.is_empty());
        assert_eq!(policy.enforce.to_string(), "baseline:v1.30");
        assert_eq!(policy.audit.to_string(), "restricted:latest");
        // What is refused is warned of.
        assert_eq!(policy.warn.to_string(), "baseline:v1.30");
        let (policy, errors) = Policy::of(&value!({
            "pod-security.kubernetes.io/enforce": "strict",
            "pod-security.kubernetes.io/warn": "lax",
            "pod-security.kubernetes.io/warn-version": "v1.01" }));
        assert_eq!(policy.enforce.level, Level::Restricted);
        assert_eq!(policy.warn.level, Level::Privileged);
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \"strict\": must be one of privileged, baseline, restricted",
                "metadata.labels[pod-security.kubernetes.io/warn]: Invalid value: \"lax\": must be one of privileged, baseline, restricted",
                "metadata.labels[pod-security.kubernetes.io/warn-version]: Invalid value: \"v1.01\": must be \"latest\" or \"v1.x\"",
            ]
        );
    }

    #[test]
    fn a_plain_pod_is_baseline_and_not_restricted() {
        let spec = value!({ "containers": [{ "name": "a" }, { "name": "b" }] });
        let at = |level| LevelVersion { level, version: Version::Latest };
        assert!(evaluate(at(Level::Privileged), &Value::Null, &spec).is_empty());
        assert!(evaluate(at(Level::Baseline), &Value::Null, &spec).is_empty());
        let policy = Policy { enforce: at(Level::Restricted), audit: OPEN, warn: OPEN };
        assert_eq!(
            refusal(&policy, &Value::Null, &spec).unwrap(),
            "violates PodSecurity \"restricted:latest\": allowPrivilegeEscalation != false (containers \"a\", \"b\" must set securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (containers \"a\", \"b\" must set securityContext.capabilities.drop=[\"ALL\"]), runAsNonRoot != true (pod or containers \"a\", \"b\" must set securityContext.runAsNonRoot=true), seccompProfile (pod or containers \"a\", \"b\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")"
        );
        assert_eq!(warning(&policy, &Value::Null, &spec), None);
    }

    #[test]
    fn a_hardened_pod_is_restricted() {
        let spec = value!({
            "securityContext": { "runAsNonRoot": true, "seccompProfile": { "type": "RuntimeDefault" } },
            "volumes": [{ "name": "v", "emptyDir": {} }],
            "containers": [{ "name": "a", "securityContext": { "allowPrivilegeEscalation": false,
                "capabilities": { "drop": ["ALL"], "add": ["NET_BIND_SERVICE"] } } }] });
        for minor in 0..40 {
            let at = LevelVersion { level: Level::Restricted, version: Version::Minor(minor) };
            assert_eq!(evaluate(at, &Value::Null, &spec), [], "{at}");
        }
    }
}
