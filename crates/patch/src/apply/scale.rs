//! Who manages the replicas of an object, as its `scale` tells it (upstream
//! `managedfields/scalehandler.go`).

use alloc::vec::Vec;

use timonier_object::Value;

use super::managers::{self, Managed, Manager, Managers};
use super::path::Step;
use super::set::FieldSet;

/// The version of scales.
const SCALE: &str = "autoscaling/v1";

/// Where an object has what its scale calls `spec.replicas`.
#[derive(Clone, Copy)]
pub struct Mapping<'a> {
    /// The field, with dots.
    pub replicas: &'a str,
    /// The object's version.
    pub api_version: &'a str,
}

impl Mapping<'_> {
    /// The managers of a scale by those of its object: who manages replicas.
    pub fn to_scale(&self, object: &Value) -> Value {
        let replicas = only(self.replicas);
        let fields = only("spec.replicas");
        let all = managers::parse(object.at("metadata.managedFields")).unwrap_or_default();
        let manages = |m: &Managed| !m.fields.intersection(&replicas).is_empty();
        let scaled: Managers = all
            .into_iter()
            .filter(|(_, managed)| manages(managed))
            .map(|(m, managed)| {
                let manager = Manager::new(&m.name, m.applies, SCALE, &m.subresource);
                let api_version = SCALE.into();
                (manager, Managed { fields: fields.clone(), api_version, time: managed.time })
            })
            .collect();
        super::to_value(scaled)
    }

    /// The managers of an object after those of its scale have changed: who is no longer among them
    /// loses the replicas, who is new gets them.
    pub fn to_object(&self, object: &Value, scale: &Value) -> Value {
        let replicas = only(self.replicas);
        let mut all = managers::parse(object.at("metadata.managedFields")).unwrap_or_default();
        let scaled = managers::parse(scale.at("metadata.managedFields")).unwrap_or_default();
        let wanted = only("spec.replicas");
        let mut left: Vec<(Manager, Managed)> = scaled
            .into_iter()
            .filter(|(_, managed)| !managed.fields.intersection(&wanted).is_empty())
            .collect();
        for (manager, managed) in &mut all {
            if managed.fields.intersection(&replicas).is_empty() {
                continue;
            }
            match left.iter().position(|(m, _)| same(m, manager)) {
                Some(i) => managed.time = left.remove(i).1.time,
                None => managed.fields = managed.fields.difference(&replicas),
            }
        }
        all.retain(|_, managed| !managed.fields.is_empty());
        for (m, managed) in left {
            let manager = Manager::new(&m.name, m.applies, self.api_version, &m.subresource);
            let entry = all.entry(manager).or_insert_with(|| Managed {
                api_version: self.api_version.into(),
                ..Managed::default()
            });
            entry.fields = entry.fields.union(&replicas);
            entry.time = managed.time;
        }
        super::to_value(all)
    }
}

/// Managers are the same whatever the version of what they write.
fn same(a: &Manager, b: &Manager) -> bool {
    (&a.name, a.applies, &a.subresource) == (&b.name, b.applies, &b.subresource)
}

fn only(path: &str) -> FieldSet {
    let steps: Vec<Step> = path.split('.').map(|name| Step::Field(name.into())).collect();
    let mut set = FieldSet::default();
    set.insert(&steps);
    set
}

#[cfg(test)]
mod tests {
    use timonier_object::value;

    use super::*;

    const MAPPING: Mapping<'_> = Mapping { replicas: "spec.replicas", api_version: "apps/v1" };

    fn entry(
        manager: &str,
        operation: &str,
        version: &str,
        subresource: &str,
        fields: Value,
    ) -> Value {
        let mut entry = value!({ "manager": manager, "operation": operation, "apiVersion": version,
            "fieldsType": "FieldsV1", "fieldsV1": fields });
        if !subresource.is_empty() {
            entry.set("subresource", subresource);
        }
        entry
    }

    fn with(entries: Value) -> Value {
        value!({ "metadata": { "managedFields": entries } })
    }

    fn replicas() -> Value {
        value!({ "f:spec": { "f:replicas": {} } })
    }

    #[test]
    fn only_those_of_replicas_are_told() {
        let both = value!({ "f:spec": { "f:paused": {}, "f:replicas": {} } });
        let object = with(value!([
            (entry("a", "Apply", "apps/v1", "", both)),
            (entry("b", "Update", "apps/v1", "", value!({ "f:spec": { "f:paused": {} } })))
        ]));
        assert_eq!(
            MAPPING.to_scale(&object),
            value!([(entry("a", "Apply", "autoscaling/v1", "", replicas()))])
        );
    }

    #[test]
    fn replicas_change_hands() {
        let both = value!({ "f:spec": { "f:paused": {}, "f:replicas": {} } });
        let object = with(value!([(entry("a", "Apply", "apps/v1", "", both))]));
        let scale = with(value!([(entry("s", "Apply", "autoscaling/v1", "scale", replicas()))]));
        let paused = value!({ "f:spec": { "f:paused": {} } });
        assert_eq!(
            MAPPING.to_object(&object, &scale),
            value!([
                (entry("a", "Apply", "apps/v1", "", paused)),
                (entry("s", "Apply", "apps/v1", "scale", replicas()))
            ])
        );
        let kept = with(MAPPING.to_scale(&object));
        assert_eq!(&MAPPING.to_object(&object, &kept), object.at("metadata.managedFields"));
    }
}
