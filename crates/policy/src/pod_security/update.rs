//! Which changes of a pod are looked at.

use timonier_object::Value;

/// Whether a change of a pod is one that its level depends on: a container is there or has an image
/// that was not.
pub fn is_significant(new: &Value, old: &Value) -> bool {
    let changed = |list: &str| {
        let (new, old) = (new.at(list).items(), old.at(list).items());
        new.len() != old.len() || new.iter().zip(old).any(|(a, b)| a.at("image") != b.at("image"))
    };
    if changed("spec.containers") || changed("spec.initContainers") {
        return true;
    }
    let before = old.at("spec.ephemeralContainers").items();
    new.at("spec.ephemeralContainers").items().iter().any(|now| {
        let was = before.iter().find(|was| was.at("name") == now.at("name"));
        was.is_none_or(|was| was.at("image") != now.at("image"))
    })
}

#[cfg(test)]
mod tests {
    use timonier_object::value;

    use super::*;

    #[test]
    fn images_and_new_containers_count() {
        let old = value!({ "spec": { "containers": [{ "name": "a", "image": "x" }] } });
        let mut new = old.clone();
        new.set("metadata.labels.a", "b");
        assert!(!is_significant(&new, &old));
        new.set("spec.containers", value!([{ "name": "a", "image": "y" }]));
        assert!(is_significant(&new, &old));
        let mut debugged = old.clone();
        debugged.set("spec.ephemeralContainers", value!([{ "name": "d", "image": "z" }]));
        assert!(is_significant(&debugged, &old));
        assert!(!is_significant(&debugged, &debugged));
    }
}
