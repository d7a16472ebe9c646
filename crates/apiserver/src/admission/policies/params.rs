//! The objects that a binding uses a policy with.

use std::sync::Arc;

use timonier_meta::{GroupVersion, GroupVersionKind};
use timonier_object::{Value, label_selector};
use timonier_schema::ResourceRow;

use crate::call::Call;
use crate::{objects, storage, versions};

/// The params of a binding, each for an evaluation of its own: null where the policy or the
/// binding has none, nothing where none is there and the binding allows that.
pub async fn find(call: &Call<'_>, policy: &Value, binding: &Value) -> Result<Vec<Value>, String> {
    let (kind, reference) = (policy.at("spec.paramKind"), binding.at("spec.paramRef"));
    if kind.is_null() {
        return Ok(vec![Value::Null]);
    }
    let row = row(call, kind)?;
    if reference.is_null() {
        return Ok(vec![Value::Null]);
    }
    let namespace = namespace(call, &row, reference)?;
    let name = reference.at("name").str();
    let mut found = Vec::new();
    let snapshot = call.server.store.snapshot();
    if name.is_empty() {
        let selector = label_selector(reference.at("selector"))?;
        let prefix = storage::prefix(&row, namespace);
        let all = snapshot.range(&prefix, None).map(|item| objects::decode(item));
        found.extend(all.filter(|o| selector.matches(|key| o.label(key))));
    } else if let Some(item) = snapshot.get(&storage::key(&row, namespace, name)) {
        found.push(objects::decode(item));
    }
    if found.is_empty() && reference.at("parameterNotFoundAction").str() == "Deny" {
        let why = "no params found for policy binding with `Deny` parameterNotFoundAction";
        return Err(why.into());
    }
    versions::from_storage(call.server, &row, found).await.map_err(|error| error.message)
}

fn row(call: &Call<'_>, kind: &Value) -> Result<Arc<ResourceRow>, String> {
    let gv = kind.at("apiVersion").str();
    let (group, version) = gv.split_once('/').unwrap_or(("", gv));
    let gvk = GroupVersionKind {
        group: group.into(),
        version: version.into(),
        kind: kind.at("kind").smol(),
    };
    call.catalogue.by_kind(&gvk).cloned().ok_or_else(|| {
        let gv = GroupVersion { group: gvk.group.clone(), version: gvk.version.clone() };
        format!("failed to find resource referenced by paramKind: '{gv}, Kind={}'", gvk.kind)
    })
}

/// The namespace to look in; empty for params that are in none.
fn namespace<'a>(
    call: &'a Call<'_>,
    row: &ResourceRow,
    reference: &'a Value,
) -> Result<&'a str, String> {
    let stated = reference.at("namespace").str();
    match (row.namespaced, stated) {
        (false, "") => Ok(""),
        (false, _) => {
            Err("paramRef.namespace must not be provided for a cluster-scoped `paramKind`".into())
        }
        (true, "") if call.namespace().is_empty() => Err(
            "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources"
                .into(),
        ),
        (true, "") => Ok(call.namespace()),
        (true, stated) => Ok(stated),
    }
}
