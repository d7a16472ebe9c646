//! `metav1.LabelSelector` to [`Selector`].

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;

use timonier_meta::{Requirement, Selector, SmolStr};

use crate::Value;

/// Reads a label selector. Null matches nothing and `{}` everything, as upstream's
/// `LabelSelectorAsSelector`. The error is upstream's text for a bad operator.
pub fn label_selector(selector: &Value) -> Result<Selector, String> {
    if selector.is_null() {
        return Ok(Selector::nothing());
    }
    let mut out =
        Selector::of_pairs(selector.at("matchLabels").entries().map(|(k, v)| (k, v.str())));
    for e in selector.at("matchExpressions").items() {
        let key = e.at("key").smol();
        let values: BTreeSet<SmolStr> = e.at("values").items().iter().map(Value::smol).collect();
        out.requirements.push(match e.at("operator").str() {
            "In" => Requirement::In(key, values),
            "NotIn" => Requirement::NotIn(key, values),
            "Exists" => Requirement::Exists(key),
            "DoesNotExist" => Requirement::DoesNotExist(key),
            other => return Err(format!("{other:?} is not a valid label selector operator")),
        });
    }
    Ok(out)
}

/// Reads a requirement of a term that selects nodes; `None` where nothing can fulfil it: an
/// unknown operator, or a comparison with something that is no number.
pub fn node_requirement(e: &Value) -> Option<Requirement> {
    let key = e.at("key").smol();
    let values = || e.at("values").items().iter().map(Value::smol).collect::<BTreeSet<SmolStr>>();
    let number = || e.at("values").items().first().and_then(|v| v.str().parse().ok());
    Some(match e.at("operator").str() {
        "In" => Requirement::In(key, values()),
        "NotIn" => Requirement::NotIn(key, values()),
        "Exists" => Requirement::Exists(key),
        "DoesNotExist" => Requirement::DoesNotExist(key),
        "Gt" => Requirement::GreaterThan(key, number()?),
        "Lt" => Requirement::LessThan(key, number()?),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value;

    #[test]
    fn null_and_empty_differ() {
        assert!(!label_selector(&Value::Null).unwrap().matches(|_| None));
        assert!(label_selector(&Value::object()).unwrap().matches(|_| None));
        let s = value!({ "matchLabels": { "a": "b" }, "matchExpressions": [{ "key": "c", "operator": "DoesNotExist" }] });
        assert!(label_selector(&s).unwrap().matches(|k| (k == "a").then_some("b")));
        assert!(
            label_selector(&value!({ "matchExpressions": [{ "key": "c", "operator": "x" }] }))
                .is_err()
        );
    }
}
