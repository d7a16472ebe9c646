//! The steps of a path into an object, and their texts in `fieldsV1` and in errors.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cmp::Ordering;
use core::fmt;

use smol_str::SmolStr;
use timonier_object::{Value, json};

/// One step of a path.
#[derive(Clone, Debug)]
pub enum Step {
    /// A field of an object.
    Field(SmolStr),
    /// The item of a list map with these keys, in order of their names.
    Key(Vec<(SmolStr, Value)>),
    /// The item of a set.
    Value(Value),
    /// The item at a place.
    Index(i64),
}

impl Step {
    /// Reads `f:name`, `k:{…}`, `v:…` or `i:n`.
    pub fn parse(text: &str) -> Option<Step> {
        let (kind, rest) = text.split_once(':')?;
        Some(match kind {
            "f" => Step::Field(rest.into()),
            "k" => {
                let keys = json::decode(rest.as_bytes()).ok()?;
                keys.as_object()?;
                let mut keys: Vec<(SmolStr, Value)> =
                    keys.entries().map(|(k, v)| (k.into(), v.clone())).collect();
                keys.sort_by(|a, b| a.0.cmp(&b.0));
                Step::Key(keys)
            }
            "v" => Step::Value(json::decode(rest.as_bytes()).ok()?),
            "i" => Step::Index(rest.parse().ok()?),
            _ => return None,
        })
    }

    /// The text in `fieldsV1`.
    pub fn key(&self) -> String {
        match self {
            Step::Field(name) => format!("f:{name}"),
            Step::Key(keys) => {
                let map: Value = keys.iter().cloned().collect();
                format!("k:{}", json::to_string(&map))
            }
            Step::Value(v) => format!("v:{}", json::to_string(v)),
            Step::Index(i) => format!("i:{i}"),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Step::Field(_) => 0,
            Step::Key(_) => 1,
            Step::Value(_) => 2,
            Step::Index(_) => 3,
        }
    }
}

/// Upstream's order of values: numbers, strings, booleans, null, then the rest by its text.
fn order(a: &Value, b: &Value) -> Ordering {
    let rank = |v: &Value| match v {
        Value::Float(_) | Value::Int(_) => 0,
        Value::Str(_) => 1,
        Value::Bool(_) => 2,
        Value::Null => 3,
        Value::Array(_) => 4,
        Value::Object(_) => 5,
    };
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => a.cmp(b),
        (Value::Str(a), Value::Str(b)) => a.cmp(b),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        _ => rank(a).cmp(&rank(b)).then_with(|| {
            let number = |v: &Value| v.as_f64().unwrap_or(0.0);
            number(a)
                .total_cmp(&number(b))
                .then_with(|| json::to_string(a).cmp(&json::to_string(b)))
        }),
    }
}

impl Ord for Step {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Step::Field(a), Step::Field(b)) => a.cmp(b),
            (Step::Key(a), Step::Key(b)) => {
                let steps =
                    a.iter().zip(b).map(|((n, v), (m, w))| n.cmp(m).then_with(|| order(v, w)));
                let first = steps.into_iter().find(|o| o.is_ne());
                first.unwrap_or_else(|| a.len().cmp(&b.len()))
            }
            (Step::Value(a), Step::Value(b)) => order(a, b),
            (Step::Index(a), Step::Index(b)) => a.cmp(b),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for Step {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Step {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Step {}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |v: &Value| match v {
            Value::Str(s) => format!("{s:?}"),
            other => json::to_string(other),
        };
        match self {
            Step::Field(name) => write!(f, ".{name}"),
            Step::Key(keys) => {
                let all: Vec<String> =
                    keys.iter().map(|(k, v)| format!("{k}={}", shown(v))).collect();
                write!(f, "[{}]", all.join(","))
            }
            Step::Value(v) => write!(f, "[={}]", shown(v)),
            Step::Index(i) => write!(f, "[{i}]"),
        }
    }
}

/// A path as errors show it.
pub fn show(path: &[Step]) -> String {
    path.iter().map(ToString::to_string).collect()
}
