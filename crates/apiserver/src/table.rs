//! The one place where objects become rows of a Table.

use timonier_meta::Time;
use timonier_object::{Value, value};
use timonier_schema::columns::{self, Column};

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

/// Prints the objects of one kind.
pub struct Printer {
    columns: Vec<Column>,
    include: Include,
    now: Time,
}

impl Printer {
    /// The printer of the call's kind.
    pub fn new(call: &Call<'_>, include: Include) -> Self {
        let columns = call.row.columns();
        Printer { columns, include, now: call.server.env.now() }
    }

    /// The column definitions.
    pub fn definitions(&self) -> Value {
        columns::definitions(&self.columns)
    }

    /// The row of an object.
    pub fn row(&self, object: &Value) -> Value {
        let mut row = value!({ "cells": (columns::cells(&self.columns, object, self.now)) });
        match self.include {
            Include::None => {}
            Include::Metadata => row.set("object", partial(object)),
            Include::Object => row.set("object", object),
        }
        row
    }
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
