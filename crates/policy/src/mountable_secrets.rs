//! Which Secrets pods of a service account may use, where the account says that its lists are all
//! (upstream `plugin/pkg/admission/serviceaccount`).

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use timonier_object::Value;

const ANNOTATION: &str = "kubernetes.io/enforce-mountable-secrets";

/// Whether the lists of the account bind. Words count as Go's `strconv.ParseBool` reads them.
pub fn are_enforced(account: &Value) -> bool {
    let word = account.annotation(ANNOTATION);
    word.is_some_and(|w| matches!(w, "1" | "t" | "T" | "true" | "TRUE" | "True"))
}

/// Why a new pod may not use a Secret that it uses; nothing where it may use all.
pub fn check(account: &Value, pod: &Value) -> Result<(), String> {
    let spec = pod.at("spec");
    let allowed = names(account.at("secrets"));
    let of = account.name();
    for volume in spec.at("volumes").items() {
        let secret = volume.at("secret");
        let name = secret.at("secretName").str();
        if !secret.is_null() && !allowed.contains(&name) {
            return Err(format!(
                "volume with secret.secretName=\"{name}\" is not allowed because service account {of} does not reference that secret"
            ));
        }
    }
    containers(account, spec.at("initContainers"), "init container")?;
    containers(account, spec.at("containers"), "container")?;
    let pulls = names(account.at("imagePullSecrets"));
    for (i, secret) in spec.at("imagePullSecrets").items().iter().enumerate() {
        let name = secret.at("name").str();
        if !pulls.contains(&name) {
            return Err(format!(
                "imagePullSecrets[{i}].name=\"{name}\" is not allowed because service account {of} does not reference that imagePullSecret"
            ));
        }
    }
    Ok(())
}

/// The same for the ephemeral containers of a pod that runs.
pub fn check_ephemeral(account: &Value, pod: &Value) -> Result<(), String> {
    containers(account, pod.at("spec.ephemeralContainers"), "ephemeral container")
}

fn names(list: &Value) -> Vec<&str> {
    list.items().iter().map(|item| item.at("name").str()).collect()
}

fn containers(account: &Value, list: &Value, what: &str) -> Result<(), String> {
    let allowed = names(account.at("secrets"));
    let of = account.name();
    for container in list.items() {
        let who = container.at("name").str();
        let refuse = |with: String, name: &str| {
            Err(format!(
                "{what} {who} with {with} referencing secret.secretName=\"{name}\" is not allowed because service account {of} does not reference that secret"
            ))
        };
        for variable in container.at("env").items() {
            let key = variable.at("valueFrom.secretKeyRef");
            let name = key.at("name").str();
            if !key.is_null() && !allowed.contains(&name) {
                return refuse(format!("envVar {}", variable.at("name").str()), name);
            }
        }
        for source in container.at("envFrom").items() {
            let secret = source.at("secretRef");
            let name = secret.at("name").str();
            if !secret.is_null() && !allowed.contains(&name) {
                return refuse(String::from("envFrom"), name);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use timonier_object::value;

    use super::*;

    #[test]
    fn only_listed_secrets_are_used() {
        let mut account = value!({ "metadata": { "name": "sa" }, "secrets": [{ "name": "a" }] });
        assert!(!are_enforced(&account));
        let mut notes = Value::object();
        notes.make_object().insert(ANNOTATION, "true".into());
        account.set("metadata.annotations", notes);
        assert!(are_enforced(&account));
        let of = |spec: Value| check(&account, &value!({ "spec": (spec) })).err();
        assert_eq!(
            of(
                value!({ "volumes": [{ "name": "v", "secret": { "secretName": "a" } }, { "name": "w" }] })
            ),
            None
        );
        assert_eq!(
            of(value!({ "volumes": [{ "name": "v", "secret": { "secretName": "b" } }] })).unwrap(),
            "volume with secret.secretName=\"b\" is not allowed because service account sa does not reference that secret"
        );
        assert_eq!(
            of(value!({ "initContainers": [{ "name": "i", "env": [{ "name": "E", "valueFrom": { "secretKeyRef": { "name": "b", "key": "k" } } }] }] })).unwrap(),
            "init container i with envVar E referencing secret.secretName=\"b\" is not allowed because service account sa does not reference that secret"
        );
        assert_eq!(
            of(value!({ "imagePullSecrets": [{ "name": "a" }] })).unwrap(),
            "imagePullSecrets[0].name=\"a\" is not allowed because service account sa does not reference that imagePullSecret"
        );
        let debugged = value!({ "spec": { "ephemeralContainers": [{ "name": "d", "envFrom": [{ "secretRef": { "name": "b" } }] }] } });
        assert_eq!(
            check_ephemeral(&account, &debugged).unwrap_err(),
            "ephemeral container d with envFrom referencing secret.secretName=\"b\" is not allowed because service account sa does not reference that secret"
        );
    }
}
