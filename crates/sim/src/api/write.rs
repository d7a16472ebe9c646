//! What writes do.

use std::sync::Arc;

use timonier_client::{DeleteOptions, PatchType, Propagation};
use timonier_meta::gvk::resources::{NAMESPACES, PODS};
use timonier_meta::{ApiError, Duration, GroupResource, ObjectKey, names};
use timonier_object::{Value, value};
use timonier_patch::{MergeSchema, apply_json_patch, apply_merge_patch, apply_strategic};

use super::{Api, State};

/// Seconds between the deletion of a pod and its end, where it does not say.
const GRACE: i64 = 30;

impl Api {
    pub(super) fn create_object(
        &self,
        resource: &GroupResource,
        namespace: &str,
        mut object: Value,
    ) -> Result<Arc<Value>, ApiError> {
        let mut state = self.writable()?;
        if object.name().is_empty() {
            let name = names::generate(object.at("metadata.generateName").str(), self.env.random());
            object.set("metadata.name", name);
        }
        if !namespace.is_empty() {
            object.set("metadata.namespace", namespace);
            let key = ObjectKey::new("", namespace);
            let open =
                state.get(&NAMESPACES.group_resource(), &key).is_ok_and(|n| !n.is_deleting());
            if !open && resource.resource != "leases" {
                let why = format!(
                    "unable to create new content in namespace {namespace} because it is being terminated"
                );
                return Err(ApiError::forbidden(resource, object.name(), &why));
            }
        }
        if state.get(resource, &object.key()).is_ok() {
            return Err(ApiError::already_exists(resource, object.name()));
        }
        object.set("metadata.uid", self.env.uid());
        object.set("metadata.creationTimestamp", self.env.now().rfc3339());
        object.set("metadata.generation", 1);
        if *resource == PODS.group_resource() {
            object.set("status.phase", "Pending");
        }
        if *resource == NAMESPACES.group_resource() {
            object.set("spec.finalizers", value!(["kubernetes"]));
            object.set("status.phase", "Active");
        }
        Ok(state.put(resource, object, &*self.env))
    }

    pub(super) fn bind(&self, key: &ObjectKey, binding: &Value) -> Result<Arc<Value>, ApiError> {
        let pods = PODS.group_resource();
        let mut state = self.writable()?;
        let old = state.get(&pods, key)?;
        let wanted = binding.uid();
        let bound = !old.at("spec.nodeName").is_empty();
        if bound || old.is_deleting() || !wanted.is_empty() && wanted != old.uid() {
            return Err(ApiError::conflict(&pods, &key.name, "pod is already assigned or gone"));
        }
        let mut pod = Value::clone(&old);
        pod.set("spec.nodeName", binding.at("target.name"));
        Ok(state.put(&pods, pod, &*self.env))
    }

    pub(super) fn replace(
        &self,
        resource: &GroupResource,
        key: &ObjectKey,
        subresource: &str,
        new: Value,
    ) -> Result<Arc<Value>, ApiError> {
        let mut state = self.writable()?;
        let old = state.get(resource, key)?;
        self.store(&mut state, resource, &old, subresource, new)
    }

    pub(super) fn change(
        &self,
        resource: &GroupResource,
        key: &ObjectKey,
        subresource: &str,
        kind: PatchType,
        patch: &Value,
    ) -> Result<Arc<Value>, ApiError> {
        let mut state = self.writable()?;
        let old = state.get(resource, key)?;
        let refused =
            |e: timonier_patch::PatchError| ApiError::conflict(resource, &key.name, e.message());
        let mut new = match kind {
            PatchType::Json => apply_json_patch(&old, patch).map_err(refused)?,
            PatchType::Merge => apply_merge_patch(&old, patch),
            PatchType::Strategic => apply_strategic(Known(""), &old, patch).map_err(refused)?,
            PatchType::Apply => return Err(ApiError::bad_request("no apply here")),
        };
        if patch.find("metadata.resourceVersion").is_none() {
            new.set("metadata.resourceVersion", old.resource_version());
        }
        self.store(&mut state, resource, &old, subresource, new)
    }

    fn store(
        &self,
        state: &mut State,
        resource: &GroupResource,
        old: &Arc<Value>,
        subresource: &str,
        mut new: Value,
    ) -> Result<Arc<Value>, ApiError> {
        let version = new.resource_version();
        let other = !new.uid().is_empty() && new.uid() != old.uid();
        if other || !version.is_empty() && version != old.resource_version() {
            return Err(ApiError::modified(resource, old.name()));
        }
        match subresource {
            "" => {
                if resource.resource != "events" && resource.resource != "leases" {
                    keep(&mut new, old, "status");
                }
                if *resource == NAMESPACES.group_resource() {
                    keep(&mut new, old, "spec");
                }
            }
            "status" | "finalize" => {
                let field = if subresource == "status" { "status" } else { "spec" };
                let mut changed = Value::clone(old);
                keep(&mut changed, &new, field);
                new = changed;
            }
            other => return Err(ApiError::not_found(resource, other)),
        }
        for fixed in
            ["uid", "creationTimestamp", "resourceVersion", "deletionTimestamp", "generation"]
        {
            let path = format!("metadata.{fixed}");
            match old.find(&path) {
                Some(value) => new.set(&path, value),
                None => drop(new.remove(&path)),
            }
        }
        if new.at("spec") != old.at("spec") {
            new.set("metadata.generation", old.generation() + 1);
        }
        if new == **old {
            return Ok(old.clone());
        }
        let stored = state.put(resource, new, &*self.env);
        Ok(self.finish(state, resource, stored))
    }

    /// An object that is being deleted goes when nothing holds it any more.
    fn finish(
        &self,
        state: &mut State,
        resource: &GroupResource,
        object: Arc<Value>,
    ) -> Arc<Value> {
        let held = object.finalizers().next().is_some()
            || *resource == NAMESPACES.group_resource()
                && !object.at("spec.finalizers").items().is_empty()
            || object.at("metadata.deletionGracePeriodSeconds").int_or(0) > 0;
        if !object.is_deleting() || held {
            return object;
        }
        state.drop(resource, &object.key(), &*self.env).unwrap_or(object)
    }

    pub(super) fn remove(
        &self,
        resource: &GroupResource,
        key: &ObjectKey,
        options: &DeleteOptions,
    ) -> Result<Arc<Value>, ApiError> {
        let mut state = self.writable()?;
        let old = state.get(resource, key)?;
        let wanted = &options.preconditions;
        let other = wanted.uid.as_ref().is_some_and(|u| u != old.uid())
            || wanted.resource_version.as_ref().is_some_and(|v| v != old.resource_version());
        if other {
            return Err(ApiError::conflict(resource, &key.name, "Precondition failed"));
        }
        let mut new = Value::clone(&old);
        let finalizer = match options.propagation {
            Some(Propagation::Foreground) => "foregroundDeletion",
            Some(Propagation::Orphan) => "orphan",
            _ => "",
        };
        if !finalizer.is_empty() && !old.is_deleting() {
            new.entry("metadata.finalizers").make_array().push(finalizer.into());
        }
        let grace = grace(resource, &old, options);
        if !old.is_deleting() {
            let at = self.env.now() + Duration::from_secs(grace);
            new.set("metadata.deletionTimestamp", at.rfc3339());
        } else if grace > 0 {
            return Ok(old);
        }
        new.set("metadata.deletionGracePeriodSeconds", grace);
        if *resource == NAMESPACES.group_resource() {
            new.set("status.phase", "Terminating");
        }
        let stored = state.put(resource, new, &*self.env);
        Ok(self.finish(&mut state, resource, stored))
    }
}

/// Only a pod that may run on a node has time to end.
fn grace(resource: &GroupResource, object: &Value, options: &DeleteOptions) -> i64 {
    let ended = matches!(object.at("status.phase").str(), "Succeeded" | "Failed");
    if *resource != PODS.group_resource() || object.at("spec.nodeName").is_empty() || ended {
        return 0;
    }
    options.grace_period_seconds.unwrap_or(GRACE)
}

/// Takes a field from another state.
fn keep(object: &mut Value, from: &Value, field: &str) {
    match from.get(field) {
        Some(value) => object.set(field, value),
        None => drop(object.remove(field)),
    }
}

/// What strategic merge has to know of the lists that controllers patch.
struct Known(&'static str);

impl MergeSchema for Known {
    fn field(&self, name: &str) -> Option<Self> {
        Some(Known(match name {
            "conditions" => "type",
            "ownerReferences" => "uid",
            "finalizers" => "-",
            _ => "",
        }))
    }

    fn element(&self) -> Option<Self> {
        Some(Known(""))
    }

    fn strategy(&self, name: &str) -> bool {
        name == "merge" && !self.0.is_empty()
    }

    fn merge_key(&self) -> &str {
        if self.0 == "-" { "" } else { self.0 }
    }
}
