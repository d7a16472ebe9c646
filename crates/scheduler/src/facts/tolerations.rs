//! Taints against tolerations, as upstream's `k8s.io/component-helpers/scheduling/corev1`.

use alloc::vec::Vec;

use smol_str::SmolStr;
use timonier_object::Value;

use super::Taint;

/// What a taint does to pods that do not tolerate it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    NoSchedule,
    PreferNoSchedule,
    NoExecute,
}

impl Effect {
    /// Reads an effect; `None` where it is empty or unknown.
    pub fn read(text: &str) -> Option<Self> {
        match text {
            "NoSchedule" => Some(Effect::NoSchedule),
            "PreferNoSchedule" => Some(Effect::PreferNoSchedule),
            "NoExecute" => Some(Effect::NoExecute),
            _ => None,
        }
    }
}

/// One toleration of a pod.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Toleration {
    /// Empty tolerates every key.
    pub key: SmolStr,
    /// The value that the taint must have; `None` tolerates every value.
    pub value: Option<SmolStr>,
    /// `None` tolerates every effect.
    pub effect: Option<Effect>,
}

impl Toleration {
    /// Reads `spec.tolerations`.
    pub fn read_all(list: &Value) -> Vec<Self> {
        let read = |t: &Value| Toleration {
            key: t.at("key").smol(),
            value: (t.at("operator").str() != "Exists").then(|| t.at("value").smol()),
            effect: Effect::read(t.at("effect").str()),
        };
        list.items().iter().map(read).collect()
    }

    /// Whether the taint is tolerated.
    pub fn tolerates(&self, taint: &Taint) -> bool {
        self.effect.is_none_or(|e| e == taint.effect)
            && (self.key.is_empty() || self.key == taint.key)
            && self.value.as_ref().is_none_or(|v| *v == taint.value)
    }
}

/// Whether one of the tolerations fits the taint.
pub fn tolerated(taint: &Taint, tolerations: &[Toleration]) -> bool {
    tolerations.iter().any(|t| t.tolerates(taint))
}

/// The first taint that keeps the pod away.
pub fn untolerated<'a>(taints: &'a [Taint], tolerations: &[Toleration]) -> Option<&'a Taint> {
    taints.iter().find(|t| t.effect != Effect::PreferNoSchedule && !tolerated(t, tolerations))
}

#[cfg(test)]
mod tests {
    use super::*;
    use timonier_object::value;

    #[test]
    fn keys_values_effects_and_wildcards() {
        let taint = Taint { key: "k".into(), value: "v".into(), effect: Effect::NoSchedule };
        let fits = |t: Value| tolerated(&taint, &Toleration::read_all(&Value::array([t])));
        assert!(fits(value!({ "key": "k", "value": "v" })));
        assert!(fits(
            value!({ "key": "k", "operator": "Equal", "value": "v", "effect": "NoSchedule" })
        ));
        assert!(fits(value!({ "key": "k", "operator": "Exists" })));
        assert!(fits(value!({ "operator": "Exists" })));
        assert!(!fits(value!({ "key": "k", "value": "w" })));
        assert!(!fits(value!({ "key": "k" })));
        assert!(!fits(value!({ "key": "j", "operator": "Exists" })));
        assert!(!fits(value!({ "key": "k", "operator": "Exists", "effect": "NoExecute" })));
    }
}
