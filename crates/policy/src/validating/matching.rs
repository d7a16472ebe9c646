//! Which requests a policy and its bindings are about: `MatchResources`.

use alloc::string::String;
use alloc::sync::Arc;

use timonier_object::Value;
use timonier_schema::ResourceRow;

use crate::webhooks::{Asked, is_exempt, rule_matches, selectors_match};

/// The version of the resource in which `resources` is about the request; `None` where it is not.
/// `name` is the request's, empty where none is known yet. The error names a selector that cannot
/// be read.
pub fn chosen<'r>(
    resources: &Value,
    asked: &Asked<'r>,
    name: &str,
) -> Result<Option<&'r Arc<ResourceRow>>, String> {
    if is_exempt(asked) || !selectors_match(resources, asked)? {
        return Ok(None);
    }
    let exact = resources.at("matchPolicy").str() == "Exact";
    let rows = if exact { &asked.rows[..asked.rows.len().min(1)] } else { asked.rows };
    let find = |field: &str| {
        let rules = resources.at(field).items();
        rows.iter().find(|row| {
            rules.iter().any(|rule| named(rule, name) && rule_matches(rule, asked, row))
        })
    };
    if find("excludeResourceRules").is_some() {
        return Ok(None);
    }
    if resources.at("resourceRules").items().is_empty() {
        return Ok(asked.rows.first());
    }
    Ok(find("resourceRules"))
}

fn named(rule: &Value, name: &str) -> bool {
    let names = rule.at("resourceNames").items();
    names.is_empty() || names.iter().any(|n| n.str() == name)
}
