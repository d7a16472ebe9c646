//! The one place where objects become rows of a Table.

use timonier_object::{Value, value};
use timonier_schema::ResourceRow;

use crate::call::Call;

/// What of each object a row carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Include {
    None,
    Metadata,
    Object,
}

impl Include {
    /// Reads `includeObject`; metadata where it is not stated.
    pub fn parse(text: &str) -> Include {
        match text {
            "None" => Include::None,
            "Object" => Include::Object,
            _ => Include::Metadata,
        }
    }
}

/// The column definitions of a kind.
pub fn columns(_row: &ResourceRow) -> Value {
    value!([
        { "name": "Name", "type": "string", "format": "name",
          "description": "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a client to request the generation of an appropriate name automatically. Name is primarily intended for creation idempotence and configuration definition. Cannot be updated. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names",
          "priority": 0 },
        { "name": "Created At", "type": "date", "format": "",
          "description": "CreationTimestamp is a timestamp representing the server time when this object was created. It is not guaranteed to be set in happens-before order across separate operations. Clients may not set this value. It is represented in RFC3339 form and is in UTC.\n\nPopulated by the system. Read-only. Null for lists. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata",
          "priority": 0 },
    ])
}

/// The rows of an object.
pub fn rows(_call: &Call<'_>, object: &Value, include: Include) -> Vec<Value> {
    let mut row = value!({ "cells": [(object.name()), (object.at("metadata.creationTimestamp"))] });
    match include {
        Include::None => {}
        Include::Metadata => row.set("object", partial(object)),
        Include::Object => row.set("object", object),
    }
    vec![row]
}

/// The object's `PartialObjectMetadata`.
pub fn partial(object: &Value) -> Value {
    value!({ "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
        "metadata": (object.at("metadata")) })
}

/// A Table with these rows; without `columns` it continues one.
pub fn table(metadata: Value, columns: Option<Value>, rows: Vec<Value>) -> Value {
    value!({ "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": (metadata),
        "columnDefinitions": (columns.unwrap_or_else(|| Value::array([]))), "rows": (Value::array(rows)) })
}
