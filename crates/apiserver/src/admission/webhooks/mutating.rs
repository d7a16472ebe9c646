//! Hooks that may change the object, one after the other.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use timonier_meta::ApiError;
use timonier_object::{Value, json};
use timonier_patch::apply_json_patch;
use timonier_policy::webhooks::{Hook, hooks};
use timonier_schema::ResourceRow;

use super::ask::{About, Question, configurations, given_back, rows, seen};
use crate::query::FieldValidation;
use crate::{decode, structure};

/// Lets the hooks change the object. Where a later one changed it, those that want to see that
/// are asked once more.
pub async fn mutate(
    about: &About<'_>,
    old: Option<&Value>,
    object: &mut Value,
) -> Result<(), ApiError> {
    let configurations = configurations(about.call, "mutatingwebhookconfigurations");
    if configurations.is_empty() {
        return Ok(());
    }
    let old = old.unwrap_or(&Value::Null);
    let rows = rows(about.call);
    let hooks: Vec<Hook<'_>> = configurations.iter().flat_map(|c| hooks(c)).collect();
    let mut last_change = None;
    for (i, hook) in hooks.iter().enumerate() {
        if one(about, *hook, &rows, old, object).await? {
            last_change = Some(i);
        }
    }
    let Some(last) = last_change else { return Ok(()) };
    for hook in hooks[..last].iter().filter(|hook| hook.runs_again()) {
        one(about, *hook, &rows, old, object).await?;
    }
    Ok(())
}

/// Asks one hook. Whether it changed the object.
async fn one(
    about: &About<'_>,
    hook: Hook<'_>,
    rows: &[Arc<ResourceRow>],
    old: &Value,
    object: &mut Value,
) -> Result<bool, ApiError> {
    let question = Question { about, object, old };
    let Some((answer, row)) = question.ask(hook, rows).await? else { return Ok(false) };
    if let Some(refusal) = answer.refusal {
        return Err(refusal);
    }
    if answer.patch.is_empty() {
        return Ok(false);
    }
    let own = *about.kind == about.call.row.gvk;
    let base = if own { seen(about.call, &row, object).await? } else { object.clone() };
    let patched = apply(&base, &answer.patch).map_err(ApiError::internal)?;
    let new = if own {
        read_back(about, given_back(about.call, &row, patched).await?)?
    } else {
        let (call, validation) = (about.call, FieldValidation::Ignore);
        decode::accept_as(call, about.kind, patched, Vec::new(), validation)?
    };
    let changed = new != *object;
    *object = new;
    Ok(changed)
}

fn apply(object: &Value, patch: &str) -> Result<Value, String> {
    let bytes = STANDARD.decode(patch).map_err(|e| format!("illegal base64 data: {e}"))?;
    let patch = json::decode(&bytes)?;
    apply_json_patch(object, &patch).map_err(|e| e.to_string())
}

/// A patched object is read like one that was sent: what its kind does not know is dropped, what
/// is missing gets its default.
fn read_back(about: &About<'_>, object: Value) -> Result<Value, ApiError> {
    let call = about.call;
    let mut object = decode::accept(call, object, Vec::new(), FieldValidation::Ignore)?;
    structure::default(&call.row, &mut object, call.server.env.now());
    Ok(object)
}
