//! The columns that `kubectl get` shows, as upstream's `pkg/printers/internalversion` defines
//! them: one table of columns a resource, one function where a cell needs more than a path.

mod cells;
mod cluster;
mod network;
mod pods;
mod storage;
mod workloads;

use alloc::vec::Vec;

use smol_str::SmolStr;
use timonier_meta::{GroupVersionResource, Time};
use timonier_object::{Value, value};

pub use cells::human_duration;

/// How a cell is computed.
#[derive(Clone)]
pub enum Cell {
    /// The value at a path of field names; absent gives an empty cell.
    Path(SmolStr),
    /// The time since the time at a path, as `3d4h`.
    Age(SmolStr),
    /// Anything else.
    Compute(fn(&Value, Time) -> Value),
    /// A JSONPath of a CustomResourceDefinition's printer column, and whether it is a date.
    JsonPath(SmolStr, bool),
}

/// One column of a table.
#[derive(Clone)]
pub struct Column {
    pub name: SmolStr,
    /// `string`, `integer`, `number`, `boolean` or `date`.
    pub kind: SmolStr,
    /// `name` for the column that identifies the row.
    pub format: SmolStr,
    pub description: SmolStr,
    /// 0 is always shown, 1 with `-o wide`.
    pub priority: i64,
    pub cell: Cell,
}

impl Column {
    const fn new(name: &'static str, kind: &'static str, priority: i64, cell: Cell) -> Self {
        let empty = SmolStr::new_static("");
        Column {
            name: SmolStr::new_static(name),
            kind: SmolStr::new_static(kind),
            format: empty,
            description: SmolStr::new_static(""),
            priority,
            cell,
        }
    }

    fn definition(&self) -> Value {
        value!({
            "name": (&self.name), "type": (&self.kind), "format": (&self.format),
            "description": (&self.description), "priority": (self.priority),
        })
    }

    fn cell(&self, object: &Value, now: Time) -> Value {
        match &self.cell {
            Cell::Path(path) => object.find(path).cloned().unwrap_or_else(|| Value::from("")),
            Cell::Age(path) => cells::since(object.at(path), now).into(),
            Cell::Compute(compute) => compute(object, now),
            Cell::JsonPath(path, date) => {
                let found = cells::json_path(object, path);
                if *date { cells::since(&found, now).into() } else { found }
            }
        }
    }
}

/// A string column from a path.
const fn path(name: &'static str, path: &'static str) -> Column {
    Column::new(name, "string", 0, Cell::Path(SmolStr::new_static(path)))
}

/// A string column that is computed.
const fn text(name: &'static str, compute: fn(&Value, Time) -> Value) -> Column {
    Column::new(name, "string", 0, Cell::Compute(compute))
}

/// An integer column from a path; absent counts as 0.
const fn count(name: &'static str, compute: fn(&Value, Time) -> Value) -> Column {
    Column::new(name, "integer", 0, Cell::Compute(compute))
}

/// The age, which most resources end their narrow columns with.
const fn age() -> Column {
    Column::new("Age", "string", 0, Cell::Age(SmolStr::new_static("metadata.creationTimestamp")))
}

/// The same column, shown with `-o wide` only.
fn wide(column: Column) -> Column {
    Column { priority: 1, ..column }
}

/// The name, which every table begins with.
fn name() -> Column {
    let column = path("Name", "metadata.name");
    Column { format: SmolStr::new_static("name"), ..column }
}

/// The columns of a built-in resource; those of others are name and creation time.
pub fn columns(resource: &GroupVersionResource) -> Vec<Column> {
    let key = (resource.group.as_str(), resource.resource.as_str());
    let rest = workloads::columns(key)
        .or_else(|| pods::columns(key))
        .or_else(|| network::columns(key))
        .or_else(|| storage::columns(key))
        .or_else(|| cluster::columns(key));
    match rest {
        Some(rest) => core::iter::once(name()).chain(rest).collect(),
        None if key.1 == "events" => cluster::event_columns(),
        None => fallback(),
    }
}

/// Upstream's columns for what has no printer.
pub fn fallback() -> Vec<Column> {
    let created = Column::new(
        "Created At",
        "date",
        0,
        Cell::Path(SmolStr::new_static("metadata.creationTimestamp")),
    );
    alloc::vec![name(), created]
}

/// The columns of a custom resource: the name, then `additionalPrinterColumns`, or the age where
/// there are none.
pub fn custom_columns(additional: &Value) -> Vec<Column> {
    let mut columns = alloc::vec![name()];
    for c in additional.items() {
        let kind = c.at("type").smol();
        columns.push(Column {
            name: c.at("name").smol(),
            format: c.at("format").smol(),
            description: c.at("description").smol(),
            priority: c.at("priority").int_or(0),
            cell: Cell::JsonPath(c.at("jsonPath").smol(), kind == "date"),
            kind,
        });
    }
    if columns.len() == 1 {
        let cell = Cell::JsonPath(SmolStr::new_static(".metadata.creationTimestamp"), true);
        columns.push(Column::new("Age", "date", 0, cell));
    }
    columns
}

/// The column definitions of a Table.
pub fn definitions(columns: &[Column]) -> Value {
    Value::array(columns.iter().map(Column::definition))
}

/// The cells of one row.
pub fn cells(columns: &[Column], object: &Value, now: Time) -> Value {
    Value::array(columns.iter().map(|c| c.cell(object, now)))
}

#[cfg(test)]
mod tests {
    use alloc::string::{String, ToString};

    use timonier_meta::gvk::resources;

    use super::*;

    /// The cells of a row, joined.
    pub(super) fn row(resource: &GroupVersionResource, object: &Value) -> String {
        let now = Time::parse("2026-01-01T00:10:00Z").unwrap();
        let cells = cells(&columns(resource), object, now);
        let text: Vec<String> = cells
            .items()
            .iter()
            .map(|c| c.as_str().map_or_else(|| c.to_string(), ToString::to_string))
            .collect();
        text.join("|")
    }

    #[test]
    fn every_row_has_a_cell_a_column_and_begins_with_the_name() {
        for (group, plural) in [("", "pods"), ("apps", "deployments"), ("x", "y"), ("", "nodes")] {
            let resource = GroupVersionResource {
                group: group.into(),
                version: "v1".into(),
                resource: plural.into(),
            };
            let columns = columns(&resource);
            let cells = cells(&columns, &Value::object(), Time(0));
            assert_eq!(cells.items().len(), columns.len(), "{plural}");
            assert_eq!(definitions(&columns).items()[0].at("format").str(), "name");
        }
    }

    #[test]
    fn custom_columns_follow_their_paths() {
        let columns = custom_columns(&value!([
            { "name": "Image", "type": "string", "jsonPath": ".spec.containers[0].image" },
            { "name": "Born", "type": "date", "jsonPath": ".metadata.creationTimestamp" },
        ]));
        let object = value!({ "metadata": { "name": "a", "creationTimestamp": "2026-01-01T00:00:00Z" },
            "spec": { "containers": [{ "image": "x" }] } });
        let cells = cells(&columns, &object, Time::parse("2026-01-01T00:00:30Z").unwrap());
        assert_eq!(cells, value!(["a", "x", "30s"]));
    }

    #[test]
    fn configmaps_count_their_data() {
        let object = value!({ "metadata": { "name": "a", "creationTimestamp": "2026-01-01T00:00:00Z" },
            "data": { "x": "1" }, "binaryData": { "y": "" } });
        assert_eq!(row(&resources::CONFIGMAPS, &object), "a|2|10m");
    }
}
