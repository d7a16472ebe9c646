//! Custom resources: they are observed as soon as their definition is established.

use std::collections::BTreeMap;
use std::sync::Arc;

use timonier_meta::gvk::resources::CUSTOMRESOURCEDEFINITIONS;
use timonier_meta::{GroupVersionResource, ObjectKey};
use timonier_object::Value;
use timonier_reconcile::ResourceInfo;

use super::{Caches, Notice};

/// Observes what CustomResourceDefinitions define, in their stored version, and stops when they
/// are gone. Runs until the future is dropped; the definitions themselves must be observed.
pub async fn follow_definitions(caches: Arc<Caches>) {
    let mut notices = caches.subscribe();
    let mut known: BTreeMap<ObjectKey, ResourceInfo> = BTreeMap::new();
    let present: Vec<Arc<Value>> =
        caches.world().table(&CUSTOMRESOURCEDEFINITIONS).iter().cloned().collect();
    for definition in present {
        note(&caches, &mut known, definition.key(), Some(&definition));
    }
    loop {
        for notice in notices.recv().await {
            match notice {
                Notice::Changed(c) if c.is(&CUSTOMRESOURCEDEFINITIONS) => {
                    note(&caches, &mut known, c.key, c.new.as_deref());
                }
                Notice::Lost => {
                    let all: BTreeMap<ObjectKey, Arc<Value>> = caches
                        .world()
                        .table(&CUSTOMRESOURCEDEFINITIONS)
                        .iter()
                        .map(|d| (d.key(), d.clone()))
                        .collect();
                    let gone: Vec<ObjectKey> =
                        known.keys().filter(|k| !all.contains_key(k)).cloned().collect();
                    gone.into_iter().for_each(|key| note(&caches, &mut known, key, None));
                    all.into_iter().for_each(|(key, d)| note(&caches, &mut known, key, Some(&d)));
                }
                _ => {}
            }
        }
    }
}

fn note(
    caches: &Arc<Caches>,
    known: &mut BTreeMap<ObjectKey, ResourceInfo>,
    key: ObjectKey,
    definition: Option<&Value>,
) {
    let Some(definition) = definition else {
        if let Some(info) = known.remove(&key) {
            caches.remove(&info.resource.group_resource());
        }
        return;
    };
    if let Some(info) = defined(definition).filter(|info| known.get(&key) != Some(info)) {
        caches.add(info.clone());
        known.insert(key, info);
    }
}

/// What an established definition defines.
fn defined(definition: &Value) -> Option<ResourceInfo> {
    if !definition.condition_is_true("Established") {
        return None;
    }
    let versions = definition.at("spec.versions").items().iter();
    let served = || versions.clone().filter(|v| v.at("served").bool());
    let version = served().find(|v| v.at("storage").bool()).or_else(|| served().next())?;
    Some(ResourceInfo {
        resource: GroupVersionResource {
            group: definition.at("spec.group").smol(),
            version: version.at("name").smol(),
            resource: definition.at("spec.names.plural").smol(),
        },
        kind: definition.at("spec.names.kind").smol(),
        namespaced: definition.at("spec.scope").str() == "Namespaced",
    })
}
