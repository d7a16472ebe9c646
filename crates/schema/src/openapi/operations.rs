//! One operation of a path, in both dialects.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use timonier_meta::GroupVersionKind;
use timonier_object::{Value, value};

use super::schemas::Dialect;

/// A query or path parameter: name, type, what it does.
pub(super) type Parameter = (&'static str, &'static str, &'static str);

pub(super) const PRETTY: Parameter = ("pretty", "string", "Whether the answer is indented.");
pub(super) const FORCE: Parameter = (
    "force",
    "boolean",
    "For server-side apply: take fields over from other managers. Only with apply patches.",
);
pub(super) const WRITE: [Parameter; 3] = [
    ("dryRun", "string", "With \"All\", everything is done but the change is not stored."),
    (
        "fieldManager",
        "string",
        "The name of the actor that makes the change, at most 128 characters.",
    ),
    (
        "fieldValidation",
        "string",
        "What becomes of unknown and duplicate fields: \"Ignore\" drops them, \"Warn\" drops them with \
         a warning, \"Strict\" refuses the request.",
    ),
];
pub(super) const DELETE: [Parameter; 5] = [
    WRITE[0],
    ("gracePeriodSeconds", "integer", "Seconds until the object is gone; 0 is at once."),
    (
        "ignoreStoreReadErrorWithClusterBreakingPotential",
        "boolean",
        "Delete the object even where it cannot be read. Dangerous.",
    ),
    ("orphanDependents", "boolean", "Deprecated: use propagationPolicy."),
    (
        "propagationPolicy",
        "string",
        "What becomes of dependents: \"Orphan\", \"Background\" or \"Foreground\".",
    ),
];
pub(super) const LIST: [Parameter; 10] = [
    ("allowWatchBookmarks", "boolean", "Whether a watch may send BOOKMARK events."),
    ("continue", "string", "The token of the next page, from the page before."),
    ("fieldSelector", "string", "Selects objects by their fields."),
    ("labelSelector", "string", "Selects objects by their labels."),
    ("limit", "integer", "The most items of a page."),
    ("resourceVersion", "string", "The revision that the answer builds on."),
    (
        "resourceVersionMatch",
        "string",
        "How resourceVersion is met by a list: \"Exact\" or \"NotOlderThan\".",
    ),
    ("sendInitialEvents", "boolean", "Whether a watch begins with the present objects."),
    ("timeoutSeconds", "integer", "Seconds after which a list or watch ends."),
    ("watch", "boolean", "Send changes as a stream of events instead of a list."),
];

/// A body by its content types.
pub(super) struct Body {
    pub types: Vec<&'static str>,
    pub schema: Value,
    pub required: bool,
}

pub(super) struct Operation {
    pub id: String,
    pub tag: String,
    pub description: String,
    /// `x-kubernetes-action`, empty for none.
    pub action: &'static str,
    pub kind: Option<GroupVersionKind>,
    pub parameters: Vec<Parameter>,
    pub body: Option<Body>,
    /// Codes, and the schema of the answers.
    pub codes: &'static [(u16, &'static str)],
    pub answer: Option<Value>,
    pub produces: Vec<&'static str>,
}

impl Operation {
    pub fn write(self, dialect: Dialect) -> Value {
        let mut out = value!({ "description": (self.description), "operationId": (self.id), "tags": [(self.tag)] });
        let mut parameters: Vec<Value> = Vec::new();
        match (self.body, dialect) {
            (Some(body), Dialect::V3) => {
                let content = content(&body.types, &body.schema);
                let mut request = value!({ "content": content });
                if body.required {
                    request.set("required", true);
                }
                out.set("requestBody", request);
            }
            (Some(body), Dialect::V2) => {
                let mut parameter =
                    value!({ "in": "body", "name": "body", "schema": (body.schema) });
                if body.required {
                    parameter.set("required", true);
                }
                parameters.push(parameter);
                out.set("consumes", body.types);
            }
            (None, Dialect::V2) => out.set("consumes", Value::array(["*/*".into()])),
            (None, Dialect::V3) => {}
        }
        parameters.extend(self.parameters.iter().map(|p| query(*p, dialect)));
        if !parameters.is_empty() {
            out.set("parameters", parameters);
        }
        let mut responses = Value::object();
        for (code, text) in self.codes {
            let mut response = value!({ "description": (*text) });
            match (&self.answer, dialect) {
                (Some(schema), Dialect::V3) => {
                    response.set("content", content(&self.produces, schema));
                }
                (Some(schema), Dialect::V2) => response.set("schema", schema.clone()),
                (None, _) => {}
            }
            responses.set(&format!("{code}"), response);
        }
        responses.set("401", value!({ "description": "Unauthorized" }));
        out.set("responses", responses);
        if dialect == Dialect::V2 {
            out.set("produces", self.produces);
            out.set("schemes", Value::array(["https".into()]));
        }
        if !self.action.is_empty() {
            out.set("x-kubernetes-action", self.action);
        }
        if let Some(gvk) = self.kind {
            out.set(
                "x-kubernetes-group-version-kind",
                value!({ "group": (gvk.group), "version": (gvk.version), "kind": (gvk.kind) }),
            );
        }
        out
    }
}

/// A query parameter.
pub(super) fn query((name, ty, text): Parameter, dialect: Dialect) -> Value {
    parameter("query", name, ty, text, dialect)
}

/// A path parameter.
pub(super) fn path_parameter(name: &str, text: &str, dialect: Dialect) -> Value {
    let mut out = parameter("path", name, "string", text, dialect);
    out.set("required", true);
    out
}

fn parameter(place: &str, name: &str, ty: &str, text: &str, dialect: Dialect) -> Value {
    let mut out = value!({ "in": place, "name": name });
    if !text.is_empty() {
        out.set("description", text);
    }
    match dialect {
        Dialect::V3 => out.set("schema", value!({ "type": ty, "uniqueItems": true })),
        Dialect::V2 => {
            out.set("type", ty);
            out.set("uniqueItems", true);
        }
    }
    out
}

fn content(types: &[&'static str], schema: &Value) -> Value {
    types.iter().map(|t| (*t, value!({ "schema": schema }))).collect()
}
