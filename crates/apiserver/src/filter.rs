//! Whether an object is in what a list or watch selects.

use smol_str::SmolStr;
use timonier_meta::{ApiError, Requirement, Selector};
use timonier_object::Value;

use crate::call::{Call, Object};
use crate::query::ListQuery;
use crate::storage;

/// The field by which a name is selected.
const NAME: &str = "metadata.name";

/// The selectors of a list or watch, checked against the row.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    labels: Selector,
    fields: Selector,
}

impl Filter {
    /// Checks the selectors: 400 where a field cannot be selected by. A name in the path, as in
    /// `watch/pods/NAME`, selects that object alone; 400 where the field selector means another.
    pub fn new(call: &Call<'_>, query: &ListQuery) -> Result<Self, ApiError> {
        let mut fields = query.fields.clone();
        let name = call.info.path_name();
        if !name.is_empty() && fields.is_everything() {
            fields.requirements.push(Requirement::In(NAME.into(), [name.into()].into()));
        } else if !name.is_empty() && fields.exact(NAME) != Some(name) {
            return Err(ApiError::bad_request(
                "fieldSelector metadata.name doesn't match requested name",
            ));
        }
        Self::of(call, query.labels.clone(), fields)
    }

    /// As [`Filter::new`], of two selectors.
    pub fn of(call: &Call<'_>, labels: Selector, fields: Selector) -> Result<Self, ApiError> {
        for requirement in &fields.requirements {
            call.row.check_field_label(field(requirement)).map_err(ApiError::bad_request)?;
        }
        Ok(Filter { labels, fields })
    }

    /// Whether everything matches.
    pub fn is_everything(&self) -> bool {
        self.labels.is_everything() && self.fields.is_everything()
    }

    /// Whether an object of the call's version matches.
    pub fn matches_value(&self, call: &Call<'_>, object: &Value) -> bool {
        if !self.labels.matches(|k| object.label(k)) {
            return false;
        }
        if self.fields.is_everything() {
            return true;
        }
        let values: Vec<(&str, Option<SmolStr>)> = self
            .fields
            .requirements
            .iter()
            .map(|r| (field(r), call.row.field_value(object, field(r))))
            .collect();
        self.fields
            .matches(|k| values.iter().find(|(name, _)| *name == k).and_then(|(_, v)| v.as_deref()))
    }

    /// Whether an object matches. Decodes it only where the selectors need that.
    pub fn matches(&self, call: &Call<'_>, object: &Object) -> bool {
        self.is_everything() || self.matches_value(call, &object.value(call))
    }

    /// The one key that can match, where the selector names the object.
    pub fn only_key(&self, call: &Call<'_>) -> Option<SmolStr> {
        let name = self.fields.exact(NAME).filter(|n| !n.is_empty())?;
        let namespaced = call.row.namespaced;
        if namespaced && call.namespace().is_empty() {
            return None;
        }
        Some(storage::key(&call.row, call.namespace(), name))
    }
}

fn field(requirement: &Requirement) -> &str {
    match requirement {
        Requirement::In(k, _)
        | Requirement::NotIn(k, _)
        | Requirement::Exists(k)
        | Requirement::DoesNotExist(k)
        | Requirement::GreaterThan(k, _)
        | Requirement::LessThan(k, _) => k,
    }
}
